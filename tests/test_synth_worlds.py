"""Worlds: files that hold all of a simulated machine, hand and tissue, and data sets that are made of them."""

import dataclasses
import importlib.util
import sys
import tomllib
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speckle_rec import geometry as se3
from speckle_rec.cli import main
from speckle_rec.errors import InputError
from speckle_rec.io import calib
from speckle_rec.probe.field import find
from speckle_rec.scan import Scan
from speckle_rec.synth import ScanSettings, codec, draw, shipped, simulate_scan, world
from speckle_rec.synth import machine as effects
from speckle_rec.synth.beam import Beam
from speckle_rec.synth.dataset import scans_of, simulate_dataset
from speckle_rec.synth.machine import Machine, TimeFilter, noise_correlation
from speckle_rec.synth.picture import CODECS, GREY_MAPS, PROBES, Picture, fitted
from speckle_rec.synth.scan import frames, plan, renderer_of
from speckle_rec.synth.settings import TissueModel
from speckle_rec.synth.trajectory import Hand
from speckle_rec.synth.world import World

ROOT = Path(__file__).resolve().parents[1]
SMALL = Picture(**fitted("linear 38", 25.0, (0.4, 0.42)))
TINY = World(tissue="phantom", density_per_mm3=1.0, picture=SMALL, beam=Beam(n_lines=64))
FILTERS = [Machine(filter="mean", filter_frames=n) for n in (2, 3, 4)] + [
    Machine(filter="recursion", filter_share=p) for p in (0.1, 0.4, 0.7)]


def some(p, pick):
    """The frames `pick` of a plan."""
    per_frame = ("T_world_image", "T_world_shown", "repeats", "time_s", "phase", "tforms", "gain_db")
    return dataclasses.replace(p, **{name: getattr(p, name)[pick] for name in per_frame},
                               contact=None if p.contact is None else p.contact[pick])


# Files

@given(u=st.fixed_dictionaries({key: st.floats(0, 1, exclude_max=True) for key in draw.DRAWN}),
       seed=st.integers(0, 2**32))
@settings(max_examples=40, deadline=None)
def test_a_world_comes_back_from_its_file(u, seed):
    drawn = draw.world_at(u, seed)
    assert world.parsed(drawn.text(), "world") == drawn


numbers = st.floats(0, 1e3, allow_subnormal=True)


@given(hand=st.builds(Hand, drift_mm=st.tuples(*[st.tuples(numbers, numbers)] * 3), wobble_deg=numbers,
                      tremor_mm=numbers), jitter=st.floats(0, 0.3), sliders=st.lists(st.floats(-60, 60), min_size=2),
       levels=st.integers(2, 256))
@settings(max_examples=40, deadline=None)
def test_numbers_of_any_kind_come_back(hand, jitter, sliders, levels):
    other = dataclasses.replace(TINY, hand=hand, machine=Machine(interval_jitter=jitter),
                                picture=dataclasses.replace(SMALL, tgc_db=tuple(sliders), levels=levels))
    assert world.parsed(other.text(), "world") == other


def test_the_file_names_every_setting():
    table = tomllib.loads(TINY.text())
    assert set(table) == {f.name for f in dataclasses.fields(World)}
    for name, part in vars(TINY).items():
        if dataclasses.is_dataclass(part):
            assert set(table[name]) == {f.name for f in dataclasses.fields(part)}
    identity = {"name", "subject", "seed", "n_frames"}
    assert {f.name for f in dataclasses.fields(ScanSettings)} - identity == set(table) - {"motion"}


@pytest.mark.parametrize(("old", "new", "told"), [
    ("levels = 256", "level = 256", "picture: unknown key 'level'; did you mean 'levels'?"),
    ('motion = "rotation"', 'motoin = "rotation"', "unknown key 'motoin'; did you mean 'motion'?"),
    ("levels = 256", "levels = 2.5", "picture: levels: expected a whole number"),
    ("levels = 256", "levels = 400", "picture: levels: expected a whole number of 2 to 256"),
    ("text = false", "text = 0", "picture: text: expected true or false"),
    ("noise_db = -8.0", "noise_db = nan", "beam: noise_db: expected a finite number"),
    ("noise_db = -8.0", 'noise_db = "low"', "beam: noise_db: expected a number"),
    ("noise_db = -8.0", "noise_db = true", "beam: noise_db: expected a number"),
    ('lens = "hard"', 'lens = "glass"', "beam: lens: expected"),
    ("pixel_mm = [0.4, 0.42]", "pixel_mm = [0.4]", "picture: pixel_mm: expected a list of 2, found 1"),
    ("pixel_mm = [0.4, 0.42]", "pixel_mm = 0.4", "picture: pixel_mm: expected a list"),
    ('filter = "none"', 'filter = "median"', "machine: filter: expected one of none, mean, recursion"),
    ("top_mm", "top_mm = = ", "expected TOML")])
def test_a_damaged_world_is_refused_in_one_line(old, new, told, tmp_path, capsys):
    text = TINY.text()
    assert old in text
    file = tmp_path / "w.toml"
    file.write_text(text.replace(old, new, 1))
    assert main(["simulate", str(tmp_path / "out"), "--world", str(file)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "w.toml" in error and told in error


def test_a_part_that_is_no_table_is_refused():
    with pytest.raises(InputError, match="w: machine: expected a table, found 3"):
        world.parsed("machine = 3", "w")


def test_what_is_no_world_is_refused_in_one_line(tmp_path, capsys):
    (tmp_path / "b.toml").write_bytes(b"\xff\xfe\x00")
    for words in (["--world", "juge-01"], ["--world", str(tmp_path)], ["--world", str(tmp_path / "b.toml")],
                  ["--world", str(tmp_path / "none.toml")], ["--world-of", str(tmp_path)],
                  ["--world", "fit-01", "--world-of", str(tmp_path)]):
        assert main(["simulate", str(tmp_path / "out"), *words]) == 2
        assert capsys.readouterr().err.count("\n") == 1


def test_settings_that_are_left_out_have_their_defaults():
    assert world.parsed("", "empty") == World()
    assert world.parsed("[picture]\ndepth_mm = 70", "short").picture == Picture(depth_mm=70.0)


# Worlds that are shipped, and those that are drawn

def test_thirty_worlds_are_shipped_and_no_two_are_alike():
    assert shipped.names() == tuple(sorted(f"{g}-{k:02d}" for g in shipped.GROUPS for k in range(1, 11)))
    all_of_them = [shipped.named(name) for name in shipped.names()]
    assert len({w.text() for w in all_of_them}) == 30
    for group in shipped.GROUPS:
        members = [shipped.named(name) for name in shipped.group(group)]
        rotations = sum(w.motion == "rotation" for w in members)
        assert len(members) == 10 and 6 <= rotations <= 8
        assert sum(w.picture.probe.startswith("linear") for w in members) >= 3
        assert {w.beam.lens for w in members} == {"hard", "soft", "gaussian"}
        assert {w.machine.filter for w in members} == {"none", "mean", "recursion"}
        assert {w.picture.grey_map for w in members} == set(GREY_MAPS)
        assert any(w.picture.text for w in members) and any(w.clutter.haze_db > -50 for w in members)


@pytest.mark.parametrize("name", shipped.names())
def test_a_shipped_world_renders(name):
    """Three frames, in thin tissue for the sake of time."""
    w = dataclasses.replace(shipped.named(name), density_per_mm3=0.05, tissue="phantom", tissue_model=TissueModel())
    p = plan(w.settings(n_frames=12, name=None))
    q = some(p, slice(4, 7))
    shown = np.stack(list(frames(q, renderer_of(q))))
    assert shown.shape == (3, *w.picture.shape) and shown.dtype == np.uint8
    assert shown[:, p.geometry.mask()].std() > 2


def test_a_random_world_is_that_of_its_seed():
    assert draw.random_world(3) == draw.random_world(3) != draw.random_world(4)
    motions = [draw.random_world(seed).motion for seed in range(60)]
    assert 0.5 < motions.count("rotation") / 60 < 0.85


def test_rotations_of_600_frames_go_through_their_angles_at_real_speeds():
    for seed in range(4):
        drawn = dataclasses.replace(draw.random_world(seed), motion="rotation", hand=None)
        p = plan(drawn.settings(n_frames=600, seed=seed))
        x, y = p.geometry.face_mm
        at = (p.T_world_image @ np.array([x, y + 40, 0, 1]))[:, :3]
        step = np.linalg.norm(np.diff(at, axis=0), axis=1)
        assert 0.05 < np.median(step) < 1.5 and np.quantile(step, 0.98) < 1.5
        turned = se3.inverse(p.T_world_image[0]) @ p.T_world_image
        angle = np.rad2deg(np.abs(np.arctan2(turned[:, 0, 2], turned[:, 2, 2])))
        assert np.median(angle[p.phase == "fan again"]) > 70


def test_the_documentation_has_the_ranges():
    assert draw.table() in (ROOT / "docs" / "SIMULATOR-world.md").read_text(encoding="utf-8")


# Data sets

def test_a_data_set_goes_on_in_its_world(tmp_path, capsys):
    file = tmp_path / "tiny.toml"
    TINY.write(file)
    one, more = tmp_path / "one", tmp_path / "more"
    assert main(["simulate", str(one), "--world", str(file), "--frames", "11", "--scans", "LH*", "--seed", "5"]) == 0
    assert main(["simulate", str(more), "--world-of", str(one), "--subjects", "2", "--scans", "RH*"]) == 0
    assert world.read(one / "world.toml") == world.read(more / "world.toml") == TINY
    assert sorted(p.parent.name for p in (more / "frames_transfs").glob("*/*.h5")) == ["001", "002"]
    with h5py.File(more / "frames_transfs/001/RH_rotation.h5") as a, h5py.File(
            more / "frames_transfs/002/RH_rotation.h5") as b, h5py.File(one / "frames_transfs/000/LH_rotation.h5") as c:
        assert a["frames"].shape == b["frames"].shape == c["frames"].shape == (11, *SMALL.shape)
        assert (a["frames"][3] != b["frames"][3]).any() and (a["frames"][3] != c["frames"][3]).any()
    # Another world does not go into the same folder.
    capsys.readouterr()
    assert main(["simulate", str(one), "--world", "fit-01", "--frames", "11", "--scans", "RH*"]) == 2
    assert "another world" in capsys.readouterr().err


def test_options_change_a_world(tmp_path):
    file = tmp_path / "tiny.toml"
    TINY.write(file)
    assert main(["simulate", str(tmp_path / "set"), "--world", str(file), "--frames", "10", "--scans", "RH*",
                 "--persistence", ".5", "--lens-aperture", "7", "--overlay"]) == 0
    made = world.read(tmp_path / "set" / "world.toml")
    assert made.beam == dataclasses.replace(TINY.beam, aperture_mm=7.0, receive_elevation_aperture_mm=7.0)
    assert (made.machine.filter, made.machine.filter_share) == ("recursion", 0.5)
    assert made.picture == dataclasses.replace(SMALL, text=True, ruler=True)


def test_a_data_set_of_another_probe_carries_its_calibration(tmp_path):
    scans = scans_of(TINY, [0], n_frames=12, pattern="RH*")
    simulate_dataset(tmp_path, scans)
    scan = Scan.open(tmp_path / "frames_transfs/000/RH_rotation.h5")
    np.testing.assert_allclose(scan.scale, np.diag([0.4, 0.42, 1, 1]))
    assert scan.shape == SMALL.shape
    np.testing.assert_allclose(scan.T_tool_image, calib.built_in().T_tool_image)
    truth = plan(scans[0]).T_world_image
    corners = se3.pixel_points(scan.scale, np.array([1, SMALL.shape[1]]), np.array([1, SMALL.shape[0]]))
    corners = np.column_stack([corners[:, :3], np.ones(2)])
    moved = se3.inverse(truth[0]) @ truth
    assert np.abs((scan.T_first_frame_tracked - moved) @ corners.T).max() < 2e-3


def test_equal_settings_make_equal_bits():
    w = dataclasses.replace(TINY, machine=Machine(filter="recursion", filter_on="amplitude", interval_jitter=0.1,
                                                  duplicates=0.2, drops=0.1, lift_offs=1, gain_change_db=2.0))
    one, other = (simulate_scan(n_frames=12, threads=threads, **{
        f.name: getattr(w, f.name) for f in dataclasses.fields(w) if f.name != "motion"}) for threads in (1, 3))
    np.testing.assert_array_equal(one.frames, other.frames)
    np.testing.assert_array_equal(one.tforms, other.tforms)


# Pictures

@pytest.mark.parametrize("crop", [0.0, 0.2])
@pytest.mark.parametrize("probe", PROBES)
def test_the_field_of_view_of_every_probe_is_found(probe, crop):
    picture = Picture(**fitted(probe, 50.0, (0.25, 0.26), crop=crop, beside_mm=8), text=True, ruler=True, border=True,
                      grey_map="s-shaped", map_strength=0.6, sides_db=4.0, tgc_db=(0.0, 3.0, -3.0))
    shown = simulate_scan(n_frames=10, density_per_mm3=2.0, tissue="phantom", picture=picture).frames
    true = picture.geometry()
    found = find(shown, true.scale)
    assert found.source == "frames", found.reason
    seen, field = found.geometry.field(), true.field()
    assert found.geometry.kind == true.kind and (seen & field).sum() / (seen | field).sum() > 0.97
    assert abs(found.geometry.depth_mm[1] - true.depth_mm[1]) < 0.5


@given(name=st.sampled_from(GREY_MAPS), share=st.floats(0, 1))
def test_grey_maps_ascend_and_keep_black_and_white(name, share):
    picture = dataclasses.replace(SMALL, grey_map=name, map_strength=share if name == "s-shaped" else 0.3 + 2.7 * share)
    grey = picture.mapped(np.linspace(0, 255, 2000, dtype=np.float32))
    assert (np.diff(grey) >= -1e-4).all()
    np.testing.assert_allclose(grey[[0, -1]], (0, 255), atol=1e-3)


def still(picture):
    """One frame of a phantom."""
    p = plan(ScanSettings(tissue="phantom", density_per_mm3=4.0, n_frames=10, picture=picture, beam=TINY.beam))
    q = some(p, slice(0, 1))
    return next(iter(frames(q, renderer_of(q)))).astype(int), p.geometry.mask()


def test_gains_by_side_and_depth_brighten_by_what_they_say():
    plain, mask = still(SMALL)
    grey_per_db = 255 / TINY.beam.dynamic_range_db
    aside, _ = still(dataclasses.replace(SMALL, sides_db=10.0))
    x = np.nonzero(mask)[1]
    changed = (aside - plain)[mask]
    rise = np.polyfit(x, changed / grey_per_db, 1)[0] * (x.max() - x.min())
    assert abs(rise - 10) < 1
    deep, _ = still(dataclasses.replace(SMALL, tgc_db=(0.0, 8.0)))
    y = np.nonzero(mask)[0]
    rise = np.polyfit(y, (deep - plain)[mask] / grey_per_db, 1)[0] * (y.max() - y.min())
    assert abs(rise - 8) < 1


def test_levels_are_told_apart_as_many_as_asked_for():
    frame = np.arange(256, dtype=np.uint8)[None]
    for levels in (2, 16, 64, 200):
        shown = dataclasses.replace(SMALL, levels=levels).quantised(frame)
        assert len(np.unique(shown)) == levels and np.abs(shown.astype(int) - frame).max() <= 255 / (levels - 1) / 2 + 1


def test_fewer_lines_than_columns_make_neighbouring_columns_alike():
    def likeness(n_lines):
        w = dataclasses.replace(TINY, picture=Picture(**fitted("linear 50", 20.0, (0.1, 0.2))),
                                beam=Beam(n_lines=n_lines, transmit_f_number=2.0, receive_f_number=1.5))
        p = plan(w.settings(n_frames=10))
        q = some(p, slice(0, 1))
        shown = next(iter(frames(q, renderer_of(q)))).astype(float)[20:-20, 20:-20]
        return np.corrcoef(shown[:, :-3].ravel(), shown[:, 3:].ravel())[0, 1]
    assert likeness(96) > likeness(256) + 0.05


# Time

@pytest.mark.parametrize("machine", FILTERS, ids=lambda m: f"{m.filter} {m.filter_frames} {m.filter_share}")
@pytest.mark.parametrize("dtype", [np.float32, np.uint8])
def test_noise_behind_a_filter_correlates_as_documented(machine, dtype):
    rng, shown = np.random.default_rng(0), TimeFilter(machine)
    new = (100 + 30 * rng.standard_normal((300, 400))).astype(dtype)
    out = np.array([shown(frame) for frame in new], float)[30:]
    out -= out.mean(0)
    measured = [np.mean(out[:len(out) - lag] * out[lag:]) / np.mean(out**2) for lag in range(5)]
    np.testing.assert_allclose(measured, noise_correlation(machine, 4), atol=0.03)


@pytest.mark.parametrize("on", ["grey", "amplitude"])
def test_frames_of_noise_correlate_by_the_filter(on):
    """Behind picture and scan conversion: where there is no echo, a mean of three correlates by 2/3, 1/3, 0."""
    quiet = dataclasses.replace(TINY, density_per_mm3=1e-6, beam=Beam(n_lines=64, noise_db=0.0, tgc_db_cm_mhz=0.0),
                                machine=Machine(filter="mean", filter_frames=3, filter_on=on))
    p = plan(quiet.settings(n_frames=40))
    shown = np.array(list(frames(p, renderer_of(p))), float)[3:, 8:-8, 8:-8]
    shown -= shown.mean((0, 2), keepdims=True)
    measured = [np.mean(shown[:len(shown) - lag] * shown[lag:]) / np.mean(shown**2) for lag in (1, 2, 3)]
    np.testing.assert_allclose(measured, (2 / 3, 1 / 3, 0), atol=0.06)


def test_intervals_jitter_by_what_they_should_and_poses_are_those_of_their_time():
    n = 3000
    recording = effects.record(n, Machine(interval_jitter=0.1), np.random.default_rng(0))
    time = recording.pose_instant + recording.late
    assert abs(np.diff(time).std() - 0.1) < 0.01 and (np.diff(time) > 0).all()
    steady = se3.exp(np.arange(n + 1)[:, None] * np.array([0.2, 0, 0.1, 0, 1e-3, 0]))
    written, shown = recording.poses(steady)
    np.testing.assert_allclose(written, se3.exp(time[:, None] * np.array([0.2, 0, 0.1, 0, 1e-3, 0])), atol=1e-9)
    np.testing.assert_array_equal(written, shown)


def test_a_compressed_picture_without_pyav_is_refused_in_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(InputError, match=r"pip install 'speckle-rec\[video\]'") as error:
        next(codec.through([np.zeros((32, 32), np.uint8)], "h264 low"))
    assert "\n" not in str(error.value)


def test_video_compression_keeps_frames_and_costs_quality():
    pytest.importorskip("av", reason="PyAV is not installed: compressed pictures are not tested")
    rng = np.random.default_rng(0)
    given_frames = [rng.integers(60, 200, (33, 47)).astype(np.uint8).repeat(2, 0) for _ in range(7)]
    error = {}
    for name in CODECS:
        out = list(codec.through(given_frames, name))
        assert len(out) == 7 and all(f.shape == (66, 47) and f.dtype == np.uint8 for f in out)
        error[name] = np.mean([np.abs(a.astype(int) - b).mean() for a, b in zip(out, given_frames, strict=True)])
    assert error["none"] == 0 < error["h264 high"] < error["h264 medium"] < error["h264 low"]


# The benchmark

@pytest.fixture(scope="module")
def bench():
    spec = importlib.util.spec_from_file_location("worlds_benchmark", ROOT / "benchmarks" / "worlds.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_an_error_as_large_as_claimed_is_told_as_such(bench):
    """Twists about the face of frame 0, drawn from the covariance that is claimed."""
    rng, n = np.random.default_rng(0), 4000
    field = Picture().geometry()
    half = rng.normal(size=(6, 6)) * np.array([1, 1, 1, 0.02, 0.02, 0.02])[:, None]
    twist = rng.normal(size=(n, 6)) @ half.T * 0.1
    face = np.array([*field.face_mm, 0.0])
    true = se3.exp(np.column_stack([rng.normal(size=(n, 3)) * 10, rng.normal(size=(n, 3)) * 0.3]))
    off = se3.translation(face) @ se3.exp(twist) @ se3.translation(-face) @ true
    covariance = np.broadcast_to(half @ half.T * 0.01, (n, 6, 6))
    once, twice = (bench.errors_over_claimed(off, true, covariance / k**2, field) for k in (1, 2))
    for of in ("error", "angle"):
        assert 0.6 < once[f"{of}_over_claimed"] < 1.1 and 1.4 < once[f"{of}_over_claimed_95"] < 2.6
        assert all(abs(twice[name] / once[name] - 2) < 1e-6 for name in once if name.startswith(of))


def test_steps_right_as_often_as_confidence_says_lie_on_the_diagonal(bench):
    """And those that are wrong by twice what is allowed for in every second step do not."""
    rng, n = np.random.default_rng(1), 20_000
    field = Picture().geometry()
    true = np.broadcast_to(se3.translation([0.0, 0.0, 0.8]), (n, 4, 4))
    confidence = rng.uniform(0, 1, n)
    wrong = rng.uniform(0, 1, n) > confidence
    off = true @ np.where(wrong[:, None, None], se3.translation([0.0, 0.5, 0.0]), np.eye(4))
    sure, right, _ = bench.about_right({"a": {"confidence_bins": bench.reliability(confidence, off, true, field)}})
    assert len(sure) == 10 and np.abs(sure - right).max() < 0.05
    swapped = {"a": {"confidence_bins": bench.reliability(1 - confidence, off, true, field)}}
    sure, right, _ = bench.about_right(swapped)
    assert np.abs(sure - right).max() > 0.7


def test_every_world_counts_the_same_in_the_reliability(bench):
    few, many = [[0, 0.0, 0]] * 10, [[0, 0.0, 0]] * 10
    few[7], many[7] = [10, 7.5, 10], [1000, 750.0, 0]
    sure, right, apart = bench.about_right({"a": {"confidence_bins": few}, "b": {"confidence_bins": many}, "c": {}})
    assert sure == [0.75] and right == [0.5] and 0.3 < apart[0] < 0.4


def test_a_row_a_world_and_the_worst_of_all(bench):
    rows = {"a": {"final": 0.5, "mirror_given": 0.6, "path": 0.5, "along_z": 1.0, "summary": "one"},
            "b": {"final": -0.2, "mirror_given": 0.1, "path": 1.5, "along_z": 0.9, "summary": "other"},
            "c": {"final": 0.0, "mirror_given": 0.0, "failed": "no field of view"}}
    text = bench.table(rows).splitlines()
    assert text[2].startswith("| a | 0.500 | 0.600 | 0.50 |") and "no field of view" in text[4]
    assert bench.trust(rows)
    assert text[5].startswith("| **mean** | 0.100 |") and text[7].startswith("| **worst** | -0.200 | 0.000 | 0.50 |")


def test_data_are_kept_by_the_content_of_their_world(bench, tmp_path):
    def job(w, **more):
        values = {"frames": 600, "seed": 0, "variants": (), "threads": 1, "overwrite": False, **more}
        return bench.Job("x", w, tmp_path, tmp_path, **values).key
    assert job(TINY) == job(dataclasses.replace(TINY)) != job(dataclasses.replace(TINY, density_per_mm3=2.0))
    assert job(TINY) != job(TINY, frames=300) and job(TINY) != job(TINY, seed=1)
