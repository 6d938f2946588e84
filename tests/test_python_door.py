"""Wrong values given from Python are told as `InputError`s of one line."""

import dataclasses
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from small_scans import COLUMNS, ROWS, random_poses, speckle

import speckle_rec as sr
from speckle_rec import volume
from speckle_rec.errors import InputError
from speckle_rec.probe import field as probe
from speckle_rec.scan import ScanContent
from speckle_rec.speckle.calibration import Uncalibrated

N = 4
FRAMES = speckle(N)
SCALE = np.diag([0.2, 0.2, 1, 1])
POSES = random_poses(N)
NAN = float("nan")


def told(call, *words):
    """The message of the `InputError` that a call ends in: one line that says each of `words`."""
    with pytest.raises(InputError) as caught:
        call()
    text = str(caught.value)
    assert "\n" not in text and len(text) < 400 and all(word in text for word in words), text
    return text


def scan():
    return sr.Scan.from_arrays(FRAMES, scale=SCALE)


def with_nan(array, at=(-1, 0, 0)):
    out = np.array(array, float)
    out[at] = np.nan
    return out


class Tensor:
    """Like a tensor on a GPU: it does not become an array."""

    dtype, shape = "float32", (4, 48, 64)

    def __array__(self, *_, **__):
        raise TypeError("can't convert cuda:0 device type tensor to numpy")


# -- reconstruct

@pytest.mark.parametrize("value, way", [
    (None, "Scan.from_arrays"), (3, "Scan"), (b"scan.h5", "Scan"), (sr.Scan, "Scan"),
    (ScanContent("x", None, None, SCALE), "Scan"), ({"frames": FRAMES}, "Scan")])
def test_what_is_no_scan(value, way):
    told(lambda: sr.reconstruct(value), "expected a Scan", way)


@pytest.mark.parametrize("value, way", [
    ("scan.h5", "no such file"), (Path("scan.h5"), "no such file"), (FRAMES, "pixel_mm="),
    (FRAMES.tolist(), "pixel_mm="), ([1, [2]], "array [N, rows, columns]"), (Tensor(), "array [N, rows, columns]"),
    (FRAMES[0], "[N, rows, columns]"), ("", "expected")])
def test_paths_and_frames_that_will_not_do(value, way):
    told(lambda: sr.reconstruct(value), way)


@pytest.mark.parametrize("options", [{"pixel_mm": 0}, {"pixel_mm": "x"}, {"pixel_mm": (1, 2, 3)}, {"pixel_mm": NAN},
                                     {"pixel_mm": 0.1, "frame_rate_hz": 0}, {"pixel_mm": 0.1, "frame_rate_hz": "x"}])
def test_sizes_and_rates_of_frames(options):
    told(lambda: sr.reconstruct(FRAMES, **options), list(options)[-1])
    told(lambda: sr.reconstruct(scan(), **options), "a Scan has its own")


@pytest.mark.parametrize("device, word", [("cuda", "'gpu'"), ("cuda:0", "'gpu'"), ("CPU", "'cpu'"), ("", "auto"),
                                          ("GPU", "'gpu'"), (None, "auto"), (0, "auto"), (["cpu"], "auto"),
                                          (np.array(["cpu", "gpu"]), "auto")])
def test_devices(device, word):
    told(lambda: sr.reconstruct(scan(), device=device), "device", "auto, cpu, gpu", word)


@pytest.mark.parametrize("value, words", [
    ("calibration.h5", ["Calibration.load(path)"]), (Path("c.h5"), ["Calibration.load(path)"]), (3, ["Calibration"]),
    (np.eye(4), ["Calibration"]), (sr.Calibration, ["Calibration"]), ({}, ["Calibration"]),
    (sr.Curves(waist_mm=NAN), ["waist_mm"]), (sr.Curves(waist_mm=-1), ["waist_mm"]),
    (sr.Curves(focus_mm="x"), ["calibration"]), (sr.Curves(mix=(1, 2)), ["mix"]),
    (sr.Calibration(sr.Curves(), np.zeros((1, 2))), ["coefficients"]),
    (sr.Calibration(sr.Curves(), None), ["calibration"]), (sr.Calibration("x", np.zeros((3, 3))), ["calibration"]),
    (dataclasses.replace(sr.Calibration.shipped(), gain=NAN), ["gain"])])
def test_calibrations(value, words):
    told(lambda: sr.reconstruct(scan(), calibration=value), *words)


@pytest.mark.parametrize("value", ["smooth", {"fusion": "smooth"}, Path("c.toml"), sr.Config, 0, ""])
def test_configurations_of_another_kind(value):
    told(lambda: sr.reconstruct(scan(), config=value), "expected a Config")


@pytest.mark.parametrize("fields, words", [
    ({"fusion": "smoth"}, ["fusion", "'smooth'"]), ({"fusion": None}, ["fusion", "revisits"]),
    ({"fusion": 3}, ["fusion"]), ({"fusion": ["smooth"]}, ["fusion"]), ({"device": "cuda"}, ["device", "gpu"]),
    ({"device": None}, ["device"]),
    ({"jobs": -1}, ["jobs", "-1"]), ({"jobs": NAN}, ["jobs", "nan"]), ({"jobs": 2.5}, ["jobs"]),
    ({"jobs": "4"}, ["jobs"]),
    ({"jobs": True}, ["jobs"]), ({"jobs": None}, ["jobs"]), ({"jobs": 10**30}, ["jobs"]), ({"jobs": [1]}, ["jobs"]),
    ({"seed": -1}, ["seed"]), ({"seed": 1 << 63}, ["seed"]), ({"seed": 0.5}, ["seed"]), ({"seed": NAN}, ["seed"]),
    ({"seed": "0"}, ["seed"]), ({"mirrored": "yes"}, ["mirrored", "True or False"]), ({"mirrored": None}, ["mirrored"]),
    ({"mirrored": 1}, ["mirrored"])])
def test_fields_of_a_configuration(fields, words):
    told(lambda: sr.Config(**fields), *words)
    told(lambda: dataclasses.replace(sr.Config(), **fields), *words)


def test_right_fields_are_taken():
    assert sr.Config(jobs=np.int64(2), seed=np.uint8(3)).jobs == 2


def test_progress_is_called():
    told(lambda: sr.reconstruct(scan(), progress=True), "progress", "function")


def test_a_scale_that_was_changed_afterwards():
    changed = scan()
    changed.scale = np.diag([0, 0, 1, 1])
    told(lambda: sr.reconstruct(changed), "scale")
    changed.scale = with_nan(SCALE, (0, 0))
    told(lambda: sr.reconstruct(changed), "scale", "finite")


def test_a_gpu_in_the_configuration_is_no_wish_to_ignore(monkeypatch):
    from speckle_rec.compute import device
    monkeypatch.setattr(device, "why_not", lambda: "none there")
    told(lambda: sr.reconstruct(scan(), config=sr.Config(device="gpu")), "gpu", "none there")


def test_a_single_frame_is_the_identity():
    result = sr.reconstruct(sr.Scan.from_arrays(FRAMES[:1], scale=SCALE))
    assert np.array_equal(result.T_first_frame, np.eye(4)[None]) and "one frame" in result.warnings[0]


# -- Scan

@pytest.mark.parametrize("frames", [
    None, 3, "frames", b"", {}, [], [[1, 2], [3]], FRAMES[0], FRAMES[..., None], FRAMES[:0], FRAMES[:, :4],
    np.zeros((2, 48, 0), np.uint8), FRAMES.astype(complex), FRAMES.astype(object), FRAMES.astype(str), FRAMES > 100,
    FRAMES.astype(int) * 300, FRAMES.astype(int) - 300, with_nan(FRAMES), np.full((2, 48, 64), np.inf), Tensor(),
    np.zeros((2, 48, 64), "M8[s]"), [FRAMES[0], FRAMES[1, :20]], np.zeros((1, 48, 9000), np.uint8)])
def test_frames(frames):
    told(lambda: sr.Scan.from_arrays(frames, scale=SCALE), "frames")


@pytest.mark.parametrize("field, value, words", [
    ("scale", 0.2, ["scale", "np.diag"]), ("scale", (0.2, 0.2), ["scale", "np.diag"]), ("scale", np.eye(3), ["scale"]),
    ("scale", "0.2", ["scale"]), ("scale", with_nan(SCALE, (0, 0)), ["scale", "finite"]), ("scale", -SCALE, ["scale"]),
    ("scale", np.zeros((4, 4)), ["scale"]), ("scale", SCALE * 1j, ["scale"]), ("scale", np.ones((4, 4)), ["scale"]),
    ("scale", np.diag([0.2, 0.2, 1, 1])[None], ["scale"]), ("scale", [[1, 2], [3]], ["scale"]),
    ("T_tool_image", np.eye(3), ["T_tool_image"]), ("T_tool_image", 2 * np.eye(4), ["T_tool_image", "rigid"]),
    ("T_tool_image", "x", ["T_tool_image"]), ("T_tool_image", POSES, ["T_tool_image"]),
    ("T_world_tool", POSES[:2], ["T_world_tool", "[4, 4, 4]"]), ("T_world_tool", np.eye(4), ["T_world_tool"]),
    ("T_world_tool", "x", ["T_world_tool"]), ("T_world_tool", POSES.astype(object), ["T_world_tool"]),
    ("landmarks", [[1, 2]], ["landmarks"]), ("landmarks", [1, 2, 3], ["landmarks"]), ("landmarks", "x", ["landmarks"]),
    ("landmarks", [[N, 1, 1]], ["landmarks", "outside"]), ("landmarks", [[-1, 1, 1]], ["landmarks", "outside"]),
    ("landmarks", [[1, 0, 1]], ["landmarks", "outside"]), ("landmarks", [[1, COLUMNS + 1, 1]], ["outside"]),
    ("landmarks", [[1, 1, ROWS + 1]], ["outside"]), ("landmarks", [[1, 1.5, 1]], ["landmarks", "whole"]),
    ("landmarks", [[1, NAN, 1]], ["landmarks", "finite"]), ("landmarks", [[1, 1], [1, 1], [1, 1]], ["landmarks"]),
    ("timestamps_s", np.arange(3), ["timestamps_s", "[4]"]), ("timestamps_s", [0, 1, 1, 2], ["ascending", "frame 1"]),
    ("timestamps_s", [3, 2, 1, 0], ["ascending"]), ("timestamps_s", [0, 1, NAN, 3], ["timestamps_s", "finite"]),
    ("timestamps_s", np.arange(4)[:, None], ["timestamps_s"]), ("timestamps_s", 0.05, ["timestamps_s"]),
    ("timestamps_s", ["a"] * 4, ["timestamps_s"]),
    ("frame_rate_hz", 0, ["frame_rate_hz"]), ("frame_rate_hz", -20, ["frame_rate_hz", "-20"]),
    ("frame_rate_hz", NAN, ["frame_rate_hz", "nan"]), ("frame_rate_hz", np.inf, ["frame_rate_hz"]),
    ("frame_rate_hz", "20", ["frame_rate_hz"]), ("frame_rate_hz", [20], ["frame_rate_hz"]),
    ("frame_rate_hz", True, ["frame_rate_hz"]), ("frame_rate_hz", 1e-300, ["frame_rate_hz"]),
    ("frame_rate_hz", 20j, ["frame_rate_hz"]), ("frame_rate_hz", 10**400, ["frame_rate_hz"]),
    ("name", None, ["name"]), ("name", 3, ["name"]), ("name", "", ["name"]), ("name", "../up", ["name"]),
    ("name", ".hidden", ["name"]), ("name", "two\nlines", ["name"]), ("name", "x" * 300, ["name"])])
def test_what_is_known_of_the_frames(field, value, words):
    told(lambda: sr.Scan.from_arrays(FRAMES, **{"scale": SCALE, field: value}), *words)


def test_right_values_are_taken():
    made = sr.Scan.from_arrays(FRAMES.tolist(), scale=SCALE.tolist(), landmarks=[[0.0, 1, 1]],
                               timestamps_s=[0, 1, 2, 5], T_world_tool=with_nan(POSES), T_tool_image=np.eye(4,
                               dtype=int))
    assert made.frame_rate_hz == 1 and made.timestamps_s.dtype == np.float64 and made.landmarks.dtype == np.int64
    assert made.tracked_ok.tolist() == [True] * 3 + [False]
    assert sr.Scan.from_arrays(FRAMES, pixel_mm=0.2).frame_rate_hz == 20
    assert sr.Scan.from_arrays(FRAMES, pixel_mm=0.2, frame_rate_hz=Fraction(61, 2)).frame_rate_hz == 30.5
    assert sr.Scan.from_arrays(FRAMES[:1], pixel_mm=0.2, timestamps_s=[7]).frame_rate_hz == 20


@pytest.mark.parametrize("value", [None, 3, b"scan.h5", ["scan.h5"], FRAMES, "a\0b", Tensor(), "", ".", "none.h5"])
def test_paths(value, tmp_path):
    told(lambda: sr.Scan.open(value))
    told(lambda: sr.Calibration.load(value))


@pytest.mark.parametrize("field", ["calib", "landmarks"])
@pytest.mark.parametrize("value", [3, np.eye(4), b"x", "a\0b", "none.csv", "."])
def test_paths_beside_a_scan(scan_file, field, value):
    told(lambda: sr.Scan.open(scan_file, **{field: value}))


# -- ddf

BAD_POSES = [np.eye(4), POSES[:, :3], POSES.tolist()[:1] + [[1]], None, "x", 3, with_nan(POSES), POSES.astype(object),
             POSES * 1j, POSES[..., None], {}, np.full((2, 4, 4), np.inf)]
BAD_SCALES = [0.2, (0.2, 0.2), np.eye(3), None, "x", with_nan(SCALE, (0, 0)), SCALE[None], SCALE * 1j]
BAD_SHAPES = [None, 480, (480,), (480, 640, 3), (0, 640), (-1, 4), (48.5, 64), ("48", "64"), (NAN, 4), (True, 2),
              (10**9, 10**9)]


@pytest.mark.parametrize("T", BAD_POSES, ids=str)
def test_fields_of_wrong_poses(T):
    for call in (sr.ddf.fields, sr.ddf.blocks):
        told(lambda call=call: call(T, SCALE, (ROWS, COLUMNS)), "poses")
    told(lambda: sr.ddf.landmarks(T, SCALE, [[1, 1, 1]]), "poses")


@pytest.mark.parametrize("scale", BAD_SCALES, ids=str)
def test_fields_of_a_wrong_scale(scale):
    for call in (sr.ddf.fields, sr.ddf.blocks):
        told(lambda call=call: call(POSES, scale, (ROWS, COLUMNS)), "scale")
    told(lambda: sr.ddf.landmarks(POSES, scale, [[1, 1, 1]]), "scale")


@pytest.mark.parametrize("shape", BAD_SHAPES, ids=str)
def test_fields_of_a_wrong_shape(shape):
    for call in (sr.ddf.fields, sr.ddf.blocks):
        told(lambda call=call: call(POSES, SCALE, shape), "shape")


@pytest.mark.parametrize("marks", [[1, 2, 3], [[1, 2]], [[N, 1, 1]], [[-1, 1, 1]], [[1.5, 1, 1]], [[1, NAN, 1]],
                                   "x", None, [[1, 2, 3], [4]], [[1, 1e30, 1]], np.zeros((3, 4), int), [["1", "1",
                                   "1"]]], ids=str)
def test_wrong_landmarks(marks):
    told(lambda: sr.ddf.landmarks(POSES, SCALE, marks), "landmarks")


@pytest.mark.parametrize("out", [[], "x", np.empty((3, 3, ROWS * COLUMNS)), np.empty((2, 3, 4), np.float32),
                                 np.empty((3, 3, 2 * ROWS * COLUMNS), np.float32)[..., ::2]],
                         ids=lambda o: type(o).__name__)
def test_wrong_memory_to_write_into(out):
    told(lambda: sr.ddf.fields(POSES, SCALE, (ROWS, COLUMNS), out=out), "fields")


def test_lists_will_do():
    got = sr.ddf.fields(POSES.tolist(), SCALE.tolist(), [ROWS, COLUMNS])
    np.testing.assert_array_equal(got, sr.ddf.fields(POSES, SCALE, (ROWS, COLUMNS)))


# -- Reconstruction, compounding

@pytest.mark.parametrize("field, value", [
    ("T_first_frame", np.eye(4)), ("T_first_frame", None), ("T_first_frame", "x"), ("T_prev_frame", POSES[:2]),
    ("T_prev_frame", None), ("covariance", np.zeros((N, 4, 4))), ("covariance", np.zeros((2, 6, 6))),
    ("covariance", None), ("confidence", np.zeros((N, 1))), ("confidence", 1.0), ("confidence", ["a"] * N)])
def test_parts_of_a_reconstruction(field, value):
    parts = {"T_first_frame": POSES, "T_prev_frame": POSES, "covariance": np.zeros((N, 6, 6)),
             "confidence": np.zeros(N, np.float32)}
    told(lambda: sr.Reconstruction(**{**parts, field: value}), f"Reconstruction: {field}")


FIELD = probe.ProbeGeometry("linear", (ROWS, COLUMNS), SCALE, (6.0, 0.0), 0.0, (0.0, 9.0), (-6.0, 6.0))


@pytest.mark.parametrize("options, words", [
    ({"T_first_frame": POSES[:2]}, ["pose for every frame"]), ({"T_first_frame": np.eye(4)}, ["poses"]),
    ({"T_first_frame": "poses.h5"}, ["poses"]), ({"T_first_frame": np.full((N, 4, 4), NAN)}, ["finite poses"]),
    ({"geometry": None}, ["ProbeGeometry"]), ({"geometry": dataclasses.replace(FIELD, shape=(40, 60))}, ["geometry"]),
    ({"spacing_mm": 0}, ["spacing"]), ({"spacing_mm": -1}, ["spacing"]), ({"spacing_mm": NAN}, ["spacing"]),
    ({"spacing_mm": "1"}, ["spacing"]), ({"interpolation": "CUBIC"}, ["CUBIC"]), ({"compounding": None}, ["None"]),
    ({"device": "cuda"}, ["device"]), ({"hole_radius": -1}, ["hole_radius"]), ({"hole_radius": 1.5}, ["hole_radius"]),
    ({"roi_mm": (1, 2)}, ["region"]), ({"roi_mm": ([0, 0, 0], [NAN, 1, 1])}, ["region"]),
    ({"roi_mm": ([1, 1, 1], [0, 0, 0])}, ["region"]), ({"scan": [(0, FRAMES.astype(float))]}, ["frames uint8"]),
    ({"scan": [(0, FRAMES[:, :20])]}, ["frames uint8"])])
def test_compounding(options, words):
    given = {"scan": scan(), "T_first_frame": np.tile(np.eye(4), (N, 1, 1)), "geometry": FIELD, "spacing_mm": 1.0}
    told(lambda: volume.compound_scan(**{**given, **options}), *words)


def test_bare_curves_still_pass_the_door():
    from speckle_rec.arguments import settled
    for calibration in (None, sr.Curves(), sr.Curves.usual("linear"), Uncalibrated.of(sr.Curves()),
                        sr.Calibration.shipped(), sr.Curves.of_lens(7e6, 6, 40)):
        assert settled(scan(), calibration, None, "cpu", None) == (sr.Config(), "cpu")
    assert settled(scan(), None, sr.Config(device="cpu"), "auto", print)[1] == "cpu"
