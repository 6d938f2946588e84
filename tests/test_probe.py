"""Synthetic fields of view with speckle, overlays and shadows are found again in mm and degrees."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.field_of_view import draw
from speckle_rec.probe import field

SCALE = np.diag([0.22447, 0.23554, 1.0, 1.0])


def sector(apex=(72.0, -31.0), radius=40.0, depth=90.0, half_deg=34.0, shape=(480, 640)):
    half = np.deg2rad(half_deg)
    return field.ProbeGeometry("curvilinear", shape, SCALE, apex, radius, (0.0, depth), (-half, half))


def assert_close(found, true, mm=0.5, deg=0.5, *, depth=True):
    assert found.source == "frames", found.reason
    assert found.fit_error_mm < 0.2
    g = found.geometry
    assert g.kind == true.kind
    np.testing.assert_allclose(g.face_mm, true.face_mm, atol=mm)
    np.testing.assert_allclose(g.apex_mm, true.apex_mm, atol=mm)
    assert abs(g.radius_mm - true.radius_mm) < mm
    unit = 1.0 if true.kind == "linear" else np.deg2rad(deg) / mm
    np.testing.assert_allclose(g.lateral, true.lateral, atol=mm * unit)
    if depth:
        np.testing.assert_allclose(g.depth_mm, true.depth_mm, atol=mm)


@settings(max_examples=8)
@given(x=st.floats(62, 82), radius=st.floats(10, 62), half=st.floats(18, 37), depth=st.floats(50, 95),
       top=st.floats(2, 8), seed=st.integers(0, 99))
def test_sector_is_recovered(x, radius, half, depth, top, seed):
    rise = radius * np.cos(np.deg2rad(half))
    true = sector((x, top - rise), radius, min(depth, 108 + rise - top - radius), half)
    assert_close(field.find(draw(true, seed=seed), SCALE), true)


@pytest.mark.parametrize("options", [
    {"dark_from_mm": 45}, {"shadows": [(-0.7, -0.3, 5.0)]}, {"shadows": [(0.1, 0.3, 0.0)]}, {"saturated_mm": 4.0},
    {"n": 1, "overlay": False}, {"n": 3}, {"flicker": 1.0}, {"flicker": 2.0, "dark_from_mm": 60},
    {"dark_from_mm": 30, "saturated_mm": 3.0}])
def test_sector_with_dark_depth_shadow_or_saturated_face(options):
    true = sector()
    assert_close(field.find(draw(true, **options), SCALE), true, depth="dark_from_mm" not in options)


@pytest.mark.parametrize("true", [sector((60.0, -31.0)), sector((84.0, -29.0), half_deg=36),
                                  sector((72.0, -36.0), radius=38), sector(depth=120.0)])
def test_sector_that_the_image_clips(true):
    assert_close(field.find(draw(true, overlay=False), SCALE), true, depth=true.depth_mm[1] < 100)


@settings(max_examples=4)
@given(x=st.floats(40, 90), y=st.floats(1, 10), width=st.floats(25, 50), depth=st.floats(40, 95),
       seed=st.integers(0, 99))
def test_linear_is_recovered(x, y, width, depth, seed):
    half = width / 2
    true = field.ProbeGeometry("linear", (480, 640), SCALE, (x, y), 0.0, (0.0, depth), (-half, half))
    assert_close(field.find(draw(true, seed=seed), SCALE), true)


def test_linear_that_fills_the_image():
    frames = np.random.default_rng(0).integers(0, 255, (8, 200, 100), dtype=np.uint8)
    found = field.find(frames, SCALE)
    assert found.source == "frames"
    np.testing.assert_allclose(np.diff(found.geometry.lateral), 100 * SCALE[0, 0], atol=0.5)
    np.testing.assert_allclose(found.geometry.depth_mm[1], 200 * SCALE[1, 1], atol=0.5)


@pytest.mark.parametrize("flip", [False, True])
def test_a_bone_at_the_border_is_no_side_of_a_picture_that_fills_the_image(flip):
    """Above its round shadow, below it and on the other side the picture reaches the border."""
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 255, (8, 400, 200), dtype=np.uint8)
    row, column = np.mgrid[:400, :200]
    frames[:, (np.hypot(column - 200, (row - 190) * 1.2) < 60) & (row > 150) & (row < 230)] = 0
    found = field.find(frames[:, :, ::-1] if flip else frames, SCALE)
    assert found.source == "frames" and found.geometry.kind == "linear"
    np.testing.assert_allclose(np.diff(found.geometry.lateral), 200 * SCALE[0, 0], atol=0.5)


@pytest.mark.parametrize("frames", [
    np.zeros((5, 480, 640), np.uint8), np.full((5, 480, 640), 128, np.uint8),
    np.where(np.hypot(*np.mgrid[-240:240, -320:320]) < 20, 200, 0).astype(np.uint8)[None],
    np.zeros((1, 2, 2), np.uint8)])
def test_built_in_where_frames_show_nothing(frames):
    found = field.find(frames, SCALE)
    assert found.source == "built-in" and found.reason
    assert found.geometry.radius_mm == 40.0


@pytest.mark.parametrize(("wide", "high"), [(60, 60), (100, 100), (180, 180), (230, 230), (100, 200), (200, 100)])
def test_blob_is_not_a_field_of_view(wide, high):
    y, x = np.mgrid[-240:240, -320:320]
    frames = np.random.default_rng(1).integers(0, 255, (6, 480, 640)) * (np.hypot(x / wide, y / high) < 1)
    found = field.find(frames.astype(np.uint8), SCALE)
    assert found.source == "built-in" and found.reason


def test_side_edge_is_not_that_of_a_shadow_beside_it():
    """The content reaches the true edge in two rows of five only."""
    true = field.ProbeGeometry("linear", (480, 640), SCALE, (70.0, 6.0), 0.0, (0.0, 60.0), (-22.0, 22.0))
    assert_close(field.find(draw(true, shadows=[(-22.5, -19.0, 24.0)]), SCALE), true)


def test_face_is_found_where_most_columns_begin_at_a_shadow():
    true = sector((94.0, -20.0), radius=31.0, half_deg=31, depth=85.0)
    assert_close(field.find(draw(true, shadows=[(-0.6, -0.35, 25.0), (0.35, 0.6, 25.0)]), SCALE), true)


def test_geometry_is_equal_from_run_to_run():
    frames = draw(sector(), shadows=[(-0.7, -0.3, 5.0)], n=3)
    a, b = (field.find(frames, SCALE).geometry for _ in range(2))
    assert (a.apex_mm, a.radius_mm, a.depth_mm, a.lateral) == (b.apex_mm, b.radius_mm, b.depth_mm, b.lateral)


@pytest.mark.parametrize("geometry", [
    field.ultrasonix_4dc7(SCALE), sector(radius=10.0, apex=(72.0, 0.0)),
    field.ProbeGeometry("linear", (300, 200), SCALE, (22.0, 2.0), 0.0, (0.0, 60.0), (-18.0, 18.0))])
def test_cells_tile_the_field_in_equal_sizes(geometry):
    cells = field.cells(geometry)
    inside = cells.labels >= 0
    assert not (inside & ~geometry.mask()).any()
    assert np.array_equal(np.bincount(cells.labels[inside]), cells.n_px)
    assert cells.labels.max() == len(cells) - 1
    nominal = 4.4**2 / (SCALE[0, 0] * SCALE[1, 1])
    assert 0.6 * nominal < cells.n_px.min() and cells.n_px.max() < 1.45 * nominal
    assert cells.centres[:, 0].min() > geometry.depth_mm[0] + 3
    column = np.round(cells.centres_mm[:, 0] / SCALE[0, 0] - 1).astype(int)
    row = np.round(cells.centres_mm[:, 1] / SCALE[1, 1] - 1).astype(int)
    assert np.array_equal(cells.labels[row, column], np.arange(len(cells)))


def test_notes_tell_what_was_not_seen():
    assert field.find(draw(sector()), SCALE).notes == ()
    shadowed = field.find(draw(sector(), shadows=[(-0.7, -0.3, 5.0)]), SCALE)
    assert any("1 of 2 side edges" in note for note in shadowed.notes)
    small = field.find(draw(sector((72.0, -6.0), radius=14.0)), SCALE)
    assert any("not the 40 mm" in note for note in small.notes)


@pytest.mark.parametrize(("name", "scale_mm", "width_mm"), [("BoneUltrasound_L14", 0.0854, 39.88),
                                                            ("SpinePhantomFreehand", 0.0820, 36.49)])
def test_linear_probes_of_published_sequences(name, scale_mm, width_mm):
    sitk = pytest.importorskip("SimpleITK")
    path = Path(__file__).resolve().parents[2] / "shared" / "data" / "plus" / f"{name}.igs.mha"
    if not path.is_file():
        pytest.skip(f"NOT TESTED: {path} is not here")
    frames = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
    found = field.find(frames, np.diag([scale_mm, scale_mm, 1.0, 1.0]))
    assert found.source == "frames" and found.geometry.kind == "linear"
    assert np.diff(found.geometry.lateral) == pytest.approx(width_mm, abs=0.1)
    assert found.geometry.depth_mm[1] > 48


def test_default_cells_are_about_400_of_20_by_20_px():
    cells = field.cells(field.ultrasonix_4dc7(SCALE))
    assert 380 <= len(cells) <= 480 and 17 <= np.sqrt(np.median(cells.n_px)) <= 21


def test_plot_writes_a_png(tmp_path):
    geometry = field.ultrasonix_4dc7(SCALE)
    field.plot(geometry, draw(geometry, n=1)[0], tmp_path / "probe.png", measured_mm=field.cells(geometry).centres_mm)
    assert (tmp_path / "probe.png").read_bytes().startswith(b"\x89PNG")


def test_a_sector_upside_down_is_told():
    found = field.find(draw(sector())[:, ::-1], SCALE)
    assert found.source == "built-in" and "upside down" in found.reason
