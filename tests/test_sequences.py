"""Sequences as recorders really write them: numbers, states, time stamps, formats."""

import json
import re

import nrrd
import numpy as np
import pytest
import SimpleITK
from small_scans import random_poses, speckle

from speckle_rec.cli import main
from speckle_rec.errors import InputError
from speckle_rec.io import calib, plus, timestamps
from speckle_rec.scan import Scan
from tools.reliability import world

M = np.diag([0.1, 0.12, 0.1, 1])
QUICK = ["--no-volume", "--no-progress"]


def sequence(path, n=5, frames=None, T=None, image_to_probe=M, compress=True, **options):
    frames = speckle(n) if frames is None else frames
    T = random_poses(len(frames)) if T is None else T
    plus.write(path, iter([(0, frames)]), frames.shape, T, image_to_probe=image_to_probe, compress=compress, **options)
    return path


def edited(path, change):
    """The sequence with its head, a text, changed by a function."""
    head, mark, pixels = path.read_bytes().partition(b"ElementDataFile = LOCAL\n")
    path.write_bytes(change(head.decode()).encode() + mark + pixels)
    return path


def renumbered(number, width=4):
    def change(head):
        return re.sub(r"Seq_Frame(\d+)_", lambda m: f"Seq_Frame{number(int(m[1])):0{width}d}_", head)
    return change


def without(*frames):
    def change(head):
        return re.sub(rf"Seq_Frame0*({'|'.join(map(str, frames))})_.*\n", "", head)
    return change


# -- numbers of frames

@pytest.mark.parametrize("origin, width", [(0, 4), (0, 6), (0, 1), (1, 4), (1, 3), (120, 5), (99_999, 8)])
def test_numbers_of_any_width_and_origin(tmp_path, origin, width):
    path = edited(sequence(tmp_path / "a.igs.mha"), renumbered(lambda k: k + origin, width))
    scan = Scan.open(path)
    assert scan.tracked_ok.all() and not scan.warnings
    np.testing.assert_allclose(scan.T_world_tool, random_poses(5), atol=1e-9)
    np.testing.assert_allclose(scan.timestamps_s, np.arange(5) / 20)


@pytest.mark.parametrize("origin", [0, 1])
def test_missing_ones_are_told(tmp_path, origin):
    path = edited(sequence(tmp_path / "a.igs.mha", 8), without(2, 5))
    scan = Scan.open(edited(path, renumbered(lambda k: k + origin)))
    assert scan.tracked_ok.tolist() == [k not in (2, 5) for k in range(8)]
    np.testing.assert_allclose(scan.T_world_tool[6], random_poses(8)[6], atol=1e-9)
    assert "nothing is known of 2 frames (2, 5)" in scan.warnings[0]


def test_numbers_of_more_frames_than_there_are(tmp_path):
    more = edited(sequence(tmp_path / "a.igs.mha", 8, compress=False), lambda h: h.replace("64 48 8", "64 48 5"))
    scan = Scan.open(more)
    assert scan.n_frames == 5 and scan.tracked_ok.all() and "found those of 8" in scan.warnings[0]


# -- states

@pytest.mark.parametrize("state", ["INVALID", "MISSING", "OUT_OF_VIEW", "REQ_TIMEOUT"])
def test_image_to_probe_that_is_not_valid(tmp_path, state):
    def spoil(head):
        bad = "1 0 0 0 0 1 0 0 0 0 1 0 0 0 0 1"
        return re.sub("\nImageToProbeTransform = .*", "", head) + "".join(
            f"Seq_Frame{k:04d}_ImageToProbeTransform = {bad}\nSeq_Frame{k:04d}_ImageToProbeTransformStatus = {state}\n"
            for k in range(5))
    path = edited(sequence(tmp_path / "a.igs.mha"), spoil)
    with_reference = Scan.open(path)        # which knows the pixel size too
    np.testing.assert_allclose(with_reference.scale, np.diag([0.1, 0.12, 1, 1]), atol=1e-9)
    assert any("status is not OK" in warning for warning in with_reference.warnings)
    edited(path, lambda head: re.sub(r"Seq_Frame\d+_ImageToReference.*\n", "", head))
    with pytest.raises(InputError, match="--pixel-mm"):
        Scan.open(path)


def test_image_to_probe_of_the_first_frame_that_is_valid(tmp_path):
    row = " ".join(f"{v:g}" for v in M.ravel())

    def later(head):
        return re.sub("\nImageToProbeTransform = .*", "", head) + "".join(
            f"Seq_Frame{k:04d}_ImageToProbeTransform = {row if k == 3 else '1 0 0 0 0 1 0 0 0 0 1 0 0 0 0 1'}\n"
            f"Seq_Frame{k:04d}_ImageToProbeTransformStatus = {'OK' if k == 3 else 'INVALID'}\n" for k in range(5))
    scan = Scan.open(edited(sequence(tmp_path / "a.igs.mha"), later))
    np.testing.assert_allclose(np.diag(scan.scale)[:2], (0.1, 0.12))


def test_a_depth_that_was_changed_is_refused(tmp_path):
    def deeper(head):
        return head + "".join(f"Seq_Frame{k:04d}_ImageToProbeTransform = {s} 0 0 0 0 {s} 0 0 0 0 1 0 0 0 0 1\n"
                              for k, s in enumerate((0.1, 0.1, 0.2)))
    path = edited(sequence(tmp_path / "a.igs.mha", image_to_probe=None), deeper)
    with pytest.raises(InputError, match="depth was changed"):
        Scan.open(path)


def test_image_to_reference_alone_gives_poses_and_pixel_size(tmp_path):
    whole = Scan.open(sequence(tmp_path / "a.igs.mha"))
    path = edited(sequence(tmp_path / "b.igs.mha"),
                  lambda h: re.sub(r"Seq_Frame\d+_ProbeTo.*\n|ImageToProbe.*\n", "", h).replace(
                      "Seq_Frame0003_ImageToReferenceTransformStatus = OK",
                      "Seq_Frame0003_ImageToReferenceTransformStatus = INVALID"))
    scan = Scan.open(path)
    np.testing.assert_allclose(scan.scale, whole.scale, atol=1e-9)
    assert scan.tracked_ok.tolist() == [True, True, True, False, True]
    np.testing.assert_allclose(scan.T_first_frame_tracked[[0, 1, 2, 4]], whole.T_first_frame_tracked[[0, 1, 2, 4]],
                               atol=1e-6)


def bad_images(path, pixels):
    path.parent.mkdir()
    frames, ok = world.frames(14, (96, 128)), np.ones(14, bool)
    ok[[4, 9, 10]] = False
    frames[~ok] = pixels
    sequence(path, frames=frames, image_ok=ok, image_to_probe=np.diag([0.2, 0.2, 0.2, 1]))
    return ok


def test_images_that_are_not_valid_take_no_part(tmp_path, capsys):
    results = []
    for name, pixels in (("black", 0), ("noise", np.random.default_rng(0).integers(0, 255, (3, 96, 128)))):
        ok = bad_images(tmp_path / name / "a.igs.mha", pixels)
        out = tmp_path / name / "r"
        assert main(["reconstruct", str(tmp_path / name / "a.igs.mha"), "-o", str(out), "-q", "--sequence"]) == 0
        results.append([(out / file).read_bytes() for file in ("poses.h5", "volume.nrrd", "accumulation.nrrd")])
        told = json.loads((out / "summary.json").read_text())["warnings"]
        assert any("3 of 14 frames carry no valid image (first: 4)" in warning for warning in told)
        written = Scan.open(out / "scan.igs.mha")
        np.testing.assert_array_equal(written.image_ok, ok)
    assert results[0] == results[1]


def test_a_sequence_without_any_valid_image_is_refused(tmp_path):
    sequence(tmp_path / "a.igs.mha", image_ok=np.zeros(5, bool))
    with pytest.raises(InputError, match="found none of 5"):
        Scan.open(tmp_path / "a.igs.mha")


def test_frames_without_image_show_the_one_before():
    ok = np.array([False, True, True, False, False, True])
    scan = Scan.from_arrays(speckle(6), pixel_mm=0.2)
    scan.image_ok = ok
    np.testing.assert_array_equal(scan.filled().frames(), speckle(6)[[1, 1, 2, 2, 2, 5]])
    np.testing.assert_array_equal(scan.filled().frames(3, 5), speckle(6)[[2, 2]])
    np.testing.assert_array_equal(scan.frames(), speckle(6))


def test_a_first_frame_without_tracking_costs_no_score(tmp_path, fake_pipeline):
    score = {}
    for name, lost in (("all", []), ("first", [0]), ("middle", [0, 1, 6])):
        ok = np.ones(12, bool)
        ok[lost] = False
        path = sequence(tmp_path / f"{name}.igs.mha", 12, tracked_ok=ok)
        assert main(["reconstruct", str(path), "-o", str(tmp_path / name), "-q", *QUICK]) == 0
        summary = json.loads((tmp_path / name / "summary.json").read_text())
        score[name] = summary["score"]
        if lost:
            assert score[name]["frames_scored"] == 12 - len(lost)
            assert any(f"{len(lost)} of 12 frames have no tracked pose" in w for w in summary["warnings"])
    assert all(np.isfinite(score[name]["final"]) for name in score)
    # A scan that begins at frame 1 has the same score.
    sequence(tmp_path / "cut.igs.mha", frames=speckle(12)[1:], T=random_poses(12)[1:])
    assert main(["reconstruct", str(tmp_path / "cut.igs.mha"), "-o", str(tmp_path / "cut"), "-q", *QUICK]) == 0
    cut = json.loads((tmp_path / "cut" / "summary.json").read_text())["score"]
    assert score["first"]["GPE"] == pytest.approx(cut["GPE"], rel=1e-6)
    assert score["first"]["LPE"] == pytest.approx(cut["LPE"], rel=1e-6)


# -- time stamps

@pytest.mark.parametrize("change, bad", [
    ({4: 3 * 0.05}, [4]), ({4: 0.10}, [4]), ({4: 99.0}, [4]), ({0: 50.0}, [0]), ({11: 0.0}, [11]), ({5: np.nan}, [5]),
    ({3: 0.3, 4: 0.25}, None)])
def test_one_bad_stamp_does_not_throw_all_away(change, bad):
    true = np.arange(12) * 0.05
    given = true.copy()
    given[list(change)] = list(change.values())
    times, told = timestamps.repaired(given, "a")
    assert (np.diff(times) > 0).all() and timestamps.rate_hz(times) == pytest.approx(20, rel=0.01)
    if bad is not None:
        np.testing.assert_allclose(times, true, atol=1e-9)
        assert len(told) == 1 and f"frames {bad[0]})" in told[0]


def test_good_stamps_stay_and_useless_ones_go():
    good = np.array([0.0, 0.1, 0.15, 2.0])
    assert timestamps.repaired(good, "a") == (good, []) or timestamps.repaired(good, "a")[0] is good
    assert timestamps.repaired(np.zeros(6), "a")[0] is None and timestamps.repaired(np.zeros(6), "a")[1]
    assert timestamps.repaired(np.full(6, np.nan), "a") == (None, [])


def test_stamps_of_a_sequence(tmp_path):
    times = np.arange(8) / 25
    times[3] = times[2]
    scan = Scan.open(sequence(tmp_path / "a.igs.mha", 8, timestamps_s=times))
    assert scan.frame_rate_hz == pytest.approx(25, rel=1e-3) and "frames 3)" in scan.warnings[0]
    np.testing.assert_allclose(scan.timestamps_s, np.arange(8) / 25, atol=1e-6)


# -- formats and spacings

@pytest.mark.parametrize("name", ["a.igs.mha", "A.IGS.MHA", "a.mha", "a.mhd", "a.igs.mhd", "a.nrrd", "a.nhdr"])
@pytest.mark.parametrize("compress", [True, False])
def test_what_simpleitk_writes(tmp_path, name, compress):
    image = SimpleITK.GetImageFromArray(speckle(4))
    image.SetSpacing((0.1, 0.12, 1.0))
    SimpleITK.WriteImage(image, str(tmp_path / name.lower()), useCompression=compress)
    (tmp_path / name.lower()).rename(tmp_path / name)
    scan = Scan.open(tmp_path / name)
    assert scan.name.lower() == "a" and tuple(np.diag(scan.scale)[:2]) == pytest.approx((0.1, 0.12))
    np.testing.assert_array_equal(scan.frames(1, 3), speckle(4)[1:3])
    np.testing.assert_array_equal(scan.frames(), speckle(4))


@pytest.mark.parametrize("name", ["a.mha", "a.nrrd"])
def test_a_spacing_of_one_tells_nothing(tmp_path, name):
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(speckle(4)), str(tmp_path / name))
    with pytest.raises(InputError, match="nothing tells the pixel size"):
        Scan.open(tmp_path / name)
    calib.write_challenge(tmp_path / "calib_matrix.csv", np.diag([0.2, 0.25, 1, 1]), np.eye(4))
    assert Scan.open(tmp_path / name).scale[1, 1] == 0.25


def test_a_spacing_in_metres_is_refused(tmp_path):
    image = SimpleITK.GetImageFromArray(speckle(4))
    image.SetSpacing((1e-4, 1e-4, 1.0))
    SimpleITK.WriteImage(image, str(tmp_path / "a.mha"))
    with pytest.raises(InputError, match="is the unit mm"):
        Scan.open(tmp_path / "a.mha")


@pytest.mark.parametrize("encoding", ["raw", "gzip"])
def test_igs_nrrd_of_plus(tmp_path, encoding):
    T, frames = random_poses(4), speckle(4)
    header = {"kinds": ["domain", "domain", "list"], "encoding": encoding, "UltrasoundImageOrientation": "MN"}
    for k in range(4):
        header[f"Seq_Frame{k:04d}_ProbeToReferenceTransform"] = " ".join(f"{v:.12g}" for v in T[k].ravel())
        header[f"Seq_Frame{k:04d}_ProbeToReferenceTransformStatus"] = "OK" if k != 2 else "INVALID"
        header[f"Seq_Frame{k:04d}_Timestamp"] = f"{k / 10}"
        header[f"Seq_Frame{k:04d}_ImageStatus"] = "OK"
    header["ImageToProbeTransform"] = " ".join(f"{v:g}" for v in M.ravel())
    nrrd.write(str(tmp_path / "a.igs.nrrd"), frames[:, ::-1].transpose(2, 1, 0), header)
    scan = Scan.open(tmp_path / "a.igs.nrrd")
    assert scan.name == "a" and scan.tracked_ok.tolist() == [True, True, False, True]
    np.testing.assert_array_equal(scan.frames(), frames)
    np.testing.assert_allclose(scan.T_world_tool[3], T[3], atol=1e-9)
    np.testing.assert_allclose(np.diag(scan.scale)[:2], (0.1, 0.12))
    assert scan.frame_rate_hz == pytest.approx(10)


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("encoding", ["raw", "gzip"])
def test_seq_nrrd_of_slicer(tmp_path, first, encoding):
    frames = speckle(4).transpose(2, 1, 0)[:, :, None]        # columns, rows, 1, N
    space = [[0.1, 0, 0], [0, 0.12, 0], [0, 0, 1.0]]
    lost = [np.nan] * 3
    header = {"kinds": ["domain"] * 3 + ["list"], "encoding": encoding, "space": "left-posterior-superior",
              "space directions": np.array([*space, lost]), "space origin": [0.0, 0, 0],
              "axis 3 index type": "numeric", "axis 3 index unit": "s", "axis 3 index values": "0 0.1 0.2 0.3"}
    if first:
        frames = np.moveaxis(frames, 3, 0)
        header |= {"kinds": ["list"] + ["domain"] * 3, "space directions": np.array([lost, *space])}
        header = {key.replace("axis 3", "axis 0"): value for key, value in header.items()}
    nrrd.write(str(tmp_path / "a.seq.nrrd"), frames, header)
    scan = Scan.open(tmp_path / "a.seq.nrrd")
    np.testing.assert_array_equal(scan.frames(), speckle(4))
    np.testing.assert_array_equal(scan.frames(2, 3), speckle(4)[2:3])
    np.testing.assert_allclose(np.diag(scan.scale)[:2], (0.1, 0.12))
    assert scan.frame_rate_hz == pytest.approx(10) and scan.shape == (48, 64)


@pytest.mark.parametrize("array, header, expected", [
    (speckle(4).astype(np.int16), {}, "uint8"),
    (speckle(4), {"encoding": "bzip2"}, "raw or gzip"),
    (speckle(4)[:, None].repeat(3, 1), {"kinds": ["domain", "domain", "RGB-color", "list"]}, "greyscale"),
    (speckle(4)[:, None].repeat(3, 1), {"kinds": ["domain", "domain", "domain", "list"]}, "volumes"),
    (speckle(4)[0], {}, "list")])
def test_other_nrrd_is_refused(tmp_path, capsys, array, header, expected):
    nrrd.write(str(tmp_path / "a.seq.nrrd"), array.T, header)
    assert main(["check", str(tmp_path / "a.seq.nrrd"), "--pixel-mm", ".1"]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and expected in err, err


@pytest.mark.parametrize("name, content", [("a.nrrd", b"hello"), ("a.nrrd", b"NRRD0004\ntype: uint8\n"),
                                           ("a.nrrd", b""), ("a.seq.nrrd", b"NRRD0005\n" + bytes(3000)),
                                           ("a.mhd", b"NDims = 3\n"), ("a.igs.nhdr", b"NRRD0004\ndimension: x\n\n")])
def test_damaged_heads(tmp_path, capsys, name, content):
    (tmp_path / name).write_bytes(content)
    assert main(["check", str(tmp_path / name), "--pixel-mm", ".1"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("elsewhere", ["/etc/passwd", "../b.raw", "LIST", "b%03d.raw 1 4 1", "missing.raw", ""])
def test_pixels_elsewhere_are_refused(tmp_path, elsewhere):
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(speckle(4)), str(tmp_path / "a.mhd"))
    text = (tmp_path / "a.mhd").read_text()
    (tmp_path / "a.mhd").write_text(re.sub("ElementDataFile = .*", f"ElementDataFile = {elsewhere}", text))
    with pytest.raises(InputError, match=r"a\.mhd|missing\.raw"):
        Scan.open(tmp_path / "a.mhd", pixel_mm=0.1)


def test_a_folder_of_every_format(tmp_path, fake_pipeline):
    image = SimpleITK.GetImageFromArray(speckle(4))
    image.SetSpacing((0.1, 0.1, 1))
    (tmp_path / "in").mkdir()
    for name in ("a.igs.mha", "b.igs.mhd", "c.igs.nrrd", "d.seq.nrrd"):
        SimpleITK.WriteImage(image, str(tmp_path / "in" / name))
    assert main(["reconstruct", str(tmp_path / "in"), "-o", str(tmp_path / "out"), "-q", *QUICK]) == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a", "b", "c", "d"]
