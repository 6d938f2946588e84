"""Compounding puts every pixel where its pose says, and the file says where that is."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speckle_rec import geometry, volume
from speckle_rec.errors import InputError
from speckle_rec.io import nrrd, volumes
from speckle_rec.probe import field
from speckle_rec.scoring import agreement

SCALE = np.diag([0.5, 0.4, 1.0, 1.0])
SHAPE = (60, 50)
LINEAR_PROBE = field.ProbeGeometry("linear", SHAPE, SCALE, (12.5, 1.0), 0.0, (0.0, 22.0), (-11.0, 11.0))


def sweep(n, step=(0.0, 0.0, 0.4), turn=(0.0, 0.0, 0.0)):
    T_prev = geometry.exp(np.tile([*step, *turn], (n, 1)))
    return geometry.chain(T_prev)


def phantom(points):
    """Grey value of a smooth analytic phantom at image mm [..., 3]."""
    x, y, z = np.moveaxis(points, -1, 0)
    return 120 + 60 * np.sin(x / 4) * np.cos(y / 5) + 40 * np.sin(z / 6)


def acquire(T):
    c, r = np.meshgrid(np.arange(1, SHAPE[1] + 1), np.arange(1, SHAPE[0] + 1))
    p = geometry.pixel_points(SCALE, c, r)
    world = np.einsum("nij,rcj->nrci", T[:, :3, :3], p) + T[:, None, None, :3, 3]
    return np.round(phantom(world)).astype(np.uint8)


def blocks(frames, size=7):
    return ((i, frames[i : i + size]) for i in range(0, len(frames), size))


def voxel_mm(v):
    z, y, x = np.indices(v.data.shape)
    return np.stack([x, y, z], -1) * v.spacing_mm + v.origin_mm


@settings(max_examples=8)
@given(turn=st.tuples(*[st.floats(-0.01, 0.01)] * 3), seed=st.integers(0, 9),
       interpolation=st.sampled_from(volume.INTERPOLATIONS), compounding=st.sampled_from(volume.COMPOUNDINGS))
def test_analytic_phantom_is_recovered(turn, seed, interpolation, compounding):
    T = sweep(40, np.random.default_rng(seed).normal(0, 0.3, 3), turn)
    v = volume.compound_scan(blocks(acquire(T)), T, LINEAR_PROBE, 0.6, interpolation=interpolation,
                             compounding=compounding, hole_radius=0)
    seen = v.accumulation > 0
    assert seen.sum() > 1000 and (v.data[~seen] == 0).all()
    error = v.data[seen] - phantom(voxel_mm(v))[seen]
    assert np.sqrt(np.mean(error**2)) < (4 if compounding == "MEAN" else 12)


def test_a_single_slice_on_the_grid_is_the_image():
    frames = np.random.default_rng(0).integers(0, 255, (1, *SHAPE), dtype=np.uint8)
    scale = np.diag([0.5, 0.5, 1.0, 1.0])
    whole = field.ProbeGeometry("linear", SHAPE, scale, (12.75, 0.5), 0.0, (0.0, 29.5), (-12.25, 12.25))
    scan = SimpleNamespace(blocks=lambda: blocks(frames))
    for interpolation in volume.INTERPOLATIONS:
        done = []
        v = volume.compound_scan(scan, np.eye(4)[None], whole, 0.5, interpolation=interpolation,
                                 hole_radius=0, progress=lambda *at, done=done: done.append(at))
        assert done == [(1, 1)]
        assert v.origin_mm == (0.5, 0.5, 0.0)
        assert np.array_equal(v.data[0, : SHAPE[0], : SHAPE[1]], frames[0])


def test_maximum_and_latest_keep_their_promise():
    frames = np.stack([np.full(SHAPE, g, np.uint8) for g in (10, 200, 90)])
    T = np.tile(np.eye(4), (3, 1, 1))
    grey = {mode: volume.compound_scan(blocks(frames, 1), T, LINEAR_PROBE, compounding=mode).data.max()
            for mode in volume.COMPOUNDINGS}
    assert grey == {"MEAN": 100, "MAXIMUM": 200, "LATEST": 90}


def test_holes_between_frames_are_filled_and_the_outside_is_not():
    T = sweep(12, (0, 0, 1.5))
    holes, filled = (volume.compound_scan(blocks(acquire(T)), T, LINEAR_PROBE, 0.5, interpolation="NEAREST",
                                          hole_radius=radius) for radius in (0, 2))
    inner = np.s_[4:-8, 8:-8, 8:-8]
    assert (holes.data[inner] == 0).any() and (filled.data[inner] > 0).all()
    assert (filled.data > 0).sum() < 1.2 * filled.data[4:-4].size
    added = (filled.data > 0) & (holes.data == 0)
    assert np.abs(filled.data - phantom(voxel_mm(filled)))[added].mean() < 8


def test_fan_is_clipped_and_frames_without_pose_left_out():
    fan = field.ProbeGeometry("curvilinear", SHAPE, SCALE, (12.5, -5.0), 8.0, (0.0, 15.0), (-0.5, 0.5))
    T = np.tile(np.eye(4), (2, 1, 1))
    T[1] = np.nan
    frames = np.stack([np.full(SHAPE, g, np.uint8) for g in (50, 250)])
    v = volume.compound_scan(blocks(frames), T, fan, 0.5, interpolation="NEAREST")
    assert set(np.unique(v.data)) == {0, 50}
    with pytest.raises(InputError, match="finite poses"):
        volume.compound_scan(blocks(frames), T[1:], fan)


def test_memory_is_planned_before():
    T = sweep(10, (5, 0, 30))
    grid = volume.plan(T, LINEAR_PROBE, max_bytes=2_000_000)
    assert grid.spacing_mm > 0.5 and grid.memory_bytes <= 2_000_000
    with pytest.raises(InputError, match="ask for"):
        volume.plan(T, LINEAR_PROBE, 0.1, max_bytes=2_000_000)
    low, high = np.array([0.0, 0, 0]), np.array([5.0, 5, 5])
    assert volume.plan(T, LINEAR_PROBE, 0.5, roi_mm=(low, high)).size == (12, 12, 12)
    with pytest.raises(InputError, match="MEDIAN"):
        volume.compound_scan([], T, LINEAR_PROBE, compounding="MEDIAN")


@pytest.mark.parametrize("compounding", volume.COMPOUNDINGS)
def test_in_slabs_as_whole(compounding):
    T = sweep(30, (0.1, 0.2, 1.3), (0.002, 0.004, 0))
    scan = SimpleNamespace(blocks=lambda: blocks(acquire(T)))
    options = {"spacing_mm": 0.5, "compounding": compounding}
    whole = volume.compound_scan(scan, T, LINEAR_PROBE, **options)
    little = volume.plan(T, LINEAR_PROBE, 0.5).memory_bytes // 5
    seen = []
    parts = volume.compound_scan(scan, T, LINEAR_PROBE, **options, max_bytes=little,
                                 progress=lambda done, total: seen.append((done, total)))
    assert isinstance(parts.data.base, np.memmap) and not isinstance(whole.data.base, np.memmap)
    np.testing.assert_array_equal(parts.data, whole.data)
    np.testing.assert_array_equal(parts.accumulation, whole.accumulation)
    assert seen[-1][0] == seen[-1][1] >= 5 * 30 and [done for done, _ in seen] == sorted(done for done, _ in seen)
    with pytest.raises(InputError, match="iterator"):
        volume.compound_scan(blocks(acquire(T)), T, LINEAR_PROBE, **options, max_bytes=little)


def test_region_of_interest_is_a_part_of_the_whole():
    T = sweep(20)
    scan = SimpleNamespace(blocks=lambda: blocks(acquire(T)))
    whole = volume.compound_scan(scan, T, LINEAR_PROBE, 0.5, hole_radius=0)
    low = np.array(whole.origin_mm) + 0.5 * np.array([10, 12, 3])
    part = volume.compound_scan(scan, T, LINEAR_PROBE, 0.5, hole_radius=0, roi_mm=(low, low + 4.0))
    assert part.origin_mm == tuple(low) and part.data.shape == (10, 10, 10)
    np.testing.assert_array_equal(part.data, whole.data[3:13, 12:22, 10:20])


def test_simpleitk_resamples_each_frame_from_the_volume(tmp_path):
    """An outside reader that knows nothing of poses but where a slice lies finds the frames in the file."""
    sitk = pytest.importorskip("SimpleITK")
    T = sweep(50, (0.05, -0.03, 0.35), (0.006, 0.004, 0.002))
    frames = acquire(T)
    nrrd.write(tmp_path / "v.nrrd", volume.compound_scan(blocks(frames), T, LINEAR_PROBE, 0.4))
    image = sitk.ReadImage(str(tmp_path / "v.nrrd"), sitk.sitkFloat32)
    inside = np.s_[6:48, 8:42]
    for i in (10, 25, 40):
        corner = T[i] @ SCALE @ [1, 1, 0, 1]
        slice_of = sitk.Image(SHAPE[1], SHAPE[0], 1, sitk.sitkFloat32)
        slice_of.SetOrigin(corner[:3].tolist())
        slice_of.SetSpacing([SCALE[0, 0], SCALE[1, 1], 1.0])
        slice_of.SetDirection(T[i][:3, :3].ravel().tolist())
        found = sitk.GetArrayFromImage(sitk.Resample(image, slice_of, sitk.Transform(), sitk.sitkLinear, -1.0))[0]
        assert (found[inside] >= 0).all()
        error = found[inside] - frames[i][inside]
        assert np.abs(error).mean() < 2.5, f"frame {i}: {np.abs(error).mean():.2f} grey levels"
        assert np.abs(found[inside] - frames[(i + 20) % 50][inside]).mean() > 10


def test_one_oblique_slice_lies_where_simpleitk_puts_it():
    sitk = pytest.importorskip("SimpleITK")
    T = geometry.exp(np.array([[3.0, -2, 5, 0.5, -0.3, 0.2]]))
    scale = np.diag([0.25, 0.25, 1.0, 1.0])
    fan = field.ProbeGeometry("linear", SHAPE, scale, (6.375, 0.25), 0.0, (0.0, 14.75), (-6.125, 6.125))
    frame = acquire(np.eye(4)[None])
    v = volume.compound_scan(blocks(frame), T, fan, 0.5, interpolation="NEAREST", hole_radius=0)
    thick = np.repeat(frame, 9, axis=0).astype(np.float32)    # a slice has no thickness: voxels are two pixels wide
    source = sitk.GetImageFromArray(thick)
    source.SetSpacing([0.25, 0.25, 0.25])
    source.SetDirection(T[0, :3, :3].ravel().tolist())
    source.SetOrigin((T[0] @ scale @ [1, 1, 0, 1] - T[0] @ [0, 0, 1, 0])[:3].tolist())
    wanted = sitk.Resample(source, [int(n) for n in v.data.shape[::-1]], sitk.Transform(), sitk.sitkLinear,
                           v.origin_mm, [0.5] * 3, np.eye(3).ravel().tolist(), -1.0)
    wanted = sitk.GetArrayFromImage(wanted)
    seen = v.accumulation > 0
    assert seen.sum() > 900 and (wanted[seen] >= 0).mean() > 0.95
    assert np.abs(v.data - wanted)[seen & (wanted >= 0)].mean() < 2


def test_agreement_of_volumes():
    T = sweep(30)
    scan = SimpleNamespace(blocks=lambda: blocks(acquire(T)))
    same = agreement.of_trajectories(scan, T, T, LINEAR_PROBE)[2]
    assert same.ncc == pytest.approx(1) and same.overlap == 1 and same.spacing_mm == 0.5
    moved = T.copy()
    moved[:, 2, 3] += 6.0
    off = agreement.of_trajectories(scan, moved, T, LINEAR_PROBE)[2]
    assert 0.45 < off.overlap < 0.65    # 12 mm and the filled rim, moved by 6
    moved[:, :3, 3] = T[:, :3, 3] + [5.0, 0, 0]
    assert agreement.of_trajectories(scan, moved, T, LINEAR_PROBE)[2].ncc < 0.7
    gap = T.copy()
    gap[5:25] = np.nan
    assert agreement.of_trajectories(scan, T, gap, LINEAR_PROBE)[2].ncc == pytest.approx(1)
    a, b = (volume.compound_scan(scan, T, LINEAR_PROBE, mm) for mm in (1.0, 1.2))
    with pytest.raises(InputError, match="same grid"):
        agreement.agreement(a, b)


def test_nrrd_is_read_back_where_it_was(tmp_path):
    sitk = pytest.importorskip("SimpleITK")
    T = sweep(9, (0.2, 0, 0.5))
    v = volume.compound_scan(blocks(acquire(T)), T, LINEAR_PROBE, 0.7)
    nrrd.write(tmp_path / "volume.nrrd", v, accumulation=tmp_path / "accumulation.nrrd")
    image = sitk.ReadImage(str(tmp_path / "volume.nrrd"))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), v.data)
    np.testing.assert_allclose(image.GetOrigin(), v.origin_mm)
    np.testing.assert_allclose(image.GetSpacing(), [0.7] * 3)
    np.testing.assert_allclose(image.GetDirection(), np.eye(3).ravel())
    at = image.TransformIndexToPhysicalPoint((3, 4, 2))
    np.testing.assert_allclose(at, voxel_mm(v)[2, 4, 3])
    buffer = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "accumulation.nrrd")))
    np.testing.assert_allclose(buffer, v.accumulation)


@pytest.mark.parametrize("suffix", [".mha", ".nii.gz", ".nii"])
def test_other_programs_find_each_voxel_where_the_nrrd_has_it(tmp_path, suffix):
    sitk, nibabel = pytest.importorskip("SimpleITK"), pytest.importorskip("nibabel")
    T = sweep(9, (0.2, 0, 0.5))
    v = volume.compound_scan(blocks(acquire(T)), T, LINEAR_PROBE, 0.7)
    nrrd.write(tmp_path / "volume.nrrd", v)
    volumes.write(tmp_path / f"volume{suffix}", nrrd.read(tmp_path / "volume.nrrd"))
    one, other = (sitk.ReadImage(str(tmp_path / name)) for name in ("volume.nrrd", f"volume{suffix}"))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(other), v.data)
    at = (3, 4, 2)
    places = [image.TransformIndexToPhysicalPoint(at) for image in (one, other)]
    np.testing.assert_allclose(*places, atol=1e-5)
    if suffix != ".mha":
        image = nibabel.load(tmp_path / f"volume{suffix}")
        np.testing.assert_array_equal(np.asarray(image.dataobj), v.data.transpose(2, 1, 0))
        ras = (image.affine @ [*at, 1])[:3]
        np.testing.assert_allclose(ras * [-1, -1, 1], voxel_mm(v)[2, 4, 3], atol=1e-5)


def test_volumes_of_unknown_name_or_without_their_reader_are_told(tmp_path, monkeypatch):
    T = sweep(3)
    v = volume.compound_scan(blocks(acquire(T)), T, LINEAR_PROBE, 1.0)
    with pytest.raises(InputError, match=r"\*\.nrrd"):
        volumes.write(tmp_path / "volume.stl", v)
    monkeypatch.setitem(sys.modules, "SimpleITK", None)
    with pytest.raises(InputError, match=r"speckle-rec\[itk\]"):
        volumes.write(tmp_path / "volume.mha", v)
    (tmp_path / "no.nrrd").write_text("something else")
    with pytest.raises(InputError, match="expected a volume as NRRD"):
        nrrd.read(tmp_path / "no.nrrd")
