"""``compound --poses``: poses that somebody else found, and whether they are those of the scan."""

import re
from dataclasses import replace

import h5py
import numpy as np
import pytest
from small_scans import random_poses, speckle

from speckle_rec import geometry
from speckle_rec.cli import main
from speckle_rec.errors import InputError
from speckle_rec.io import calib, trajectory, tusrec
from speckle_rec.result import Reconstruction
from speckle_rec.scan import Scan
from speckle_rec.storage import folder as results
from speckle_rec.storage import given
from speckle_rec.storage import outputs as output_files

N = 40
RATE = 20.0


def sweep(n=N):
    """T_first_frame [n, 4, 4] of a hand that goes .3 mm a frame and turns a little."""
    twist = np.zeros((n, 6))
    twist[:, 2], twist[:, 4] = 0.3 * np.arange(n), 0.002 * np.arange(n)
    return geometry.exp(twist)


def scan_of(timestamps_s=None, T_world_tool=None, **more):
    known = calib.built_in()
    return Scan.from_arrays(speckle(N), scale=known.scale, T_tool_image=known.T_tool_image,
                            timestamps_s=timestamps_s, frame_rate_hz=RATE, T_world_tool=T_world_tool, **more)


def tum(path, T, times):
    trajectory.write_tum(path / "poses.txt", T, np.asarray(times, float))
    return path / "poses.txt"


def has(found, frames, T, poses):
    """Whether just those frames have those poses."""
    np.testing.assert_allclose(found.T_first_frame[frames], T[poses], atol=1e-6)
    left_out = np.setdiff1d(np.arange(N), frames)
    return np.isnan(found.T_first_frame[left_out]).all()


CLOCK = 1.7e9 + np.arange(N) / RATE


@pytest.mark.parametrize("own, times, frames, poses, told", [
    (None, np.arange(N) / RATE, range(N), range(N), None),
    (CLOCK, CLOCK, range(N), range(N), None),
    (CLOCK, CLOCK + 0.02, range(N), range(N), None),
    # One frame late on the same clock is one frame late, and not the same frames.
    (CLOCK, CLOCK + 1 / RATE, range(1, N), range(N - 1), "1 of 40 frames have no pose"),
    (CLOCK, CLOCK[5:30], range(5, 30), range(25), "15 of 40 frames have no pose"),
    (CLOCK, CLOCK[::2], range(0, N, 2), range(N // 2), "20 of 40 frames"),
    (None, np.arange(0, N, 4) / RATE, range(0, N, 4), range(N // 4), "30 of 40 frames"),
    # A tracker of five times the rate that ran before and after.
    (CLOCK, 1.7e9 - 1 + np.arange(500) / 100 + 0.001, range(N), range(100, 100 + 5 * N, 5),
     "not the identity"),
    # Other clocks, of which one pose a frame tells which is whose.
    (CLOCK, np.arange(N) / RATE, range(N), range(N), "another clock"),
    (None, CLOCK, range(N), range(N), "another clock"),
    (None, np.arange(N), range(N), range(N), "taken in order: the time stamps are 1 s apart"),
])
def test_time_stamps_find_their_frames(tmp_path, own, times, frames, poses, told):
    T = np.repeat(sweep(), -(-len(times) // N), 0)[:len(times)]
    found = given.for_scan(scan_of(own), tum(tmp_path, T, times))
    assert has(found, list(frames), T, list(poses))
    told = [] if told is None else [told]
    assert [piece in text for piece, text in zip(told, found.warnings, strict=True)] == [True] * len(told)


@pytest.mark.parametrize("own, times", [
    (CLOCK, np.arange(N - 1) / RATE), (None, CLOCK[:-1]), (None, np.arange(N - 1)),
    (CLOCK, CLOCK + 3600 * np.arange(N)), (np.arange(N) / RATE, np.arange(N)), (None, np.arange(N + 5) / RATE)])
def test_time_stamps_of_no_frames_are_refused(tmp_path, own, times):
    with pytest.raises(InputError, match=r"poses\.txt: expected one pose for each of 40 frames, or time stamps on"):
        given.for_scan(scan_of(own), tum(tmp_path, sweep(len(times)), times))


@pytest.mark.parametrize("spoil, told", [
    (lambda rows: rows[::-1], "that ascend, found 1.9 (pose 2) after 1.95"),
    (lambda rows: rows[[0, 1, 1, *range(3, N)]], "that ascend, found 0.05 (pose 3)"),
    (lambda rows: rows * [1000 * 1e9] + [0] * 8, "ms or ns"),
    (lambda rows: np.where(np.arange(8) == 7, rows * 1.1, rows), "unit quaternions"),
    (lambda rows: np.where(np.arange(8) > 3, rows * 1e200, rows), "unit quaternions"),
    (lambda rows: np.where(np.arange(8) > 3, 0, rows), "found a length of 0 (pose 1)"),
    (lambda rows: np.where(np.arange(8) == 3, np.nan, rows), "finite"),
    (lambda rows: np.where((np.arange(8) > 0) & (np.arange(8) < 4), rows * 1e6, rows), "are they in mm"),
])
def test_a_tum_file_that_is_damaged(tmp_path, spoil, told):
    path = tum(tmp_path, sweep(), np.arange(N) / RATE)
    rows = np.loadtxt(path)
    if "ms or ns" in told:
        rows[:, 0] = (rows[:, 0] + 1.7e9) * 1000
    else:
        rows = spoil(rows)
    np.savetxt(path, rows)
    with pytest.raises(InputError, match=re.escape(told)):
        given.for_scan(scan_of(), path)


def kitti(path, T):
    trajectory.write_kitti(path / "kitti.txt", T)
    return path / "kitti.txt"


def scaled(T, factor):
    out = T.copy()
    out[:, :3, 3] *= factor
    return out


@pytest.mark.parametrize("spoil, told", [
    (lambda T: T[:-1], "expected 40 poses, one a frame of scan, found 39"),
    (lambda T: scaled(T, 1000), "found 300 mm a frame (median)"),
    (lambda T: T * np.where(np.arange(N) == 7, -1, 1)[:, None, None], "mirrored"),
    (lambda T: T * np.where(np.arange(N) == 7, 1.01, 1)[:, None, None], "rigid"),
])
def test_a_kitti_file_that_is_of_something_else(tmp_path, spoil, told):
    with pytest.raises(InputError, match=re.escape(told)):
        given.for_scan(scan_of(), kitti(tmp_path, spoil(sweep())))


def test_one_pose_in_other_units(tmp_path):
    T = sweep()
    T[7, :3, 3] *= 9000
    with pytest.raises(InputError, match=r"1\.8.e\+04 mm from frame \d to \d; are the units right\? TUM and KITTI"):
        given.for_scan(scan_of(), kitti(tmp_path, T))


@pytest.mark.parametrize("factor, told", [(1, None), (0.0001, "a path of 0.0012 mm in all"),
                                          (100, "a path of 1.17 m, 30 mm a frame"), (0, "a path of 0 mm in all"),
                                          (0.001, "a path of 0.012 mm in all")])
def test_lengths_that_are_unlikely_are_told(tmp_path, factor, told):
    warnings = given.for_scan(scan_of(), kitti(tmp_path, scaled(sweep(), factor))).warnings
    assert len(warnings) == (told is not None)
    assert told is None or (told in warnings[0] and "metres" in warnings[0])


def test_a_leap_is_told(tmp_path):
    T = sweep()
    T[20:, :3, 3] += 80
    (warning,) = given.for_scan(scan_of(), kitti(tmp_path, T)).warnings
    assert "1 steps of more than 50 mm a frame, the first from frame 19" in warning


def test_poses_of_a_world(tmp_path):
    (warning,) = given.for_scan(scan_of(), kitti(tmp_path, geometry.translation(np.array([0, 0, 200.0])) @ sweep())
                                ).warnings
    assert "frame 0 is not the identity" in warning


def result(folder, scan, T):
    n = len(T)
    found = Reconstruction(T, geometry.steps(T), np.zeros((n, 6, 6)), np.ones(n, np.float32))
    results.write(folder, scan, found, config={}, outputs=output_files.Outputs(volume=False, report=False))
    return folder


def test_a_result_belongs_to_its_scan(tmp_path, monkeypatch):
    monkeypatch.setattr(output_files, "_write_plots", lambda *args: None)
    scan = scan_of()
    folder = result(tmp_path / "result", scan, sweep())
    for source in (folder, folder / "poses.h5", folder / "poses_tum.txt", folder / "poses_kitti.txt"):
        found = given.for_scan(scan, source)
        assert found.warnings == () and has(found, range(N), sweep(), range(N))
    (warning,) = given.for_scan(replace(scan, name="other"), folder).warnings
    assert "the scan 'scan', not 'other'" in warning
    coarse = replace(scan, scale=scan.scale @ np.diag([2, 2, 1, 1.0]))
    assert "pixels of" in given.for_scan(coarse, folder).warnings[0]
    with pytest.raises(InputError, match="expected 6 poses"):
        given.for_scan(Scan.from_arrays(speckle(6), pixel_mm=0.2), folder)
    with h5py.File(folder / "poses.h5", "a") as file:
        file["T_first_frame"][3] = np.nan
    with pytest.raises(InputError, match="finite"):
        given.for_scan(scan, folder)


def test_the_scans_own_tracking(tmp_path):
    """From the first frame that is tracked; those that are not are left out."""
    C = calib.built_in().T_tool_image
    T_world_tool = geometry.exp(np.array([100.0, 20, 3, 1, 0.3, 0.2])) @ sweep() @ geometry.inverse(C)
    found = given.for_scan(scan_of(T_world_tool=T_world_tool), given.TRACKED)
    assert found.warnings == () and has(found, range(N), sweep(), range(N))
    T_world_tool[[0, 1, 9]] = np.nan
    found = given.for_scan(scan_of(T_world_tool=T_world_tool), given.TRACKED)
    frames = np.setdiff1d(np.arange(N), [0, 1, 9])
    assert has(found, frames, geometry.inverse(sweep()[2]) @ sweep(), frames)
    assert ["3 of 40" in text or "frame 2" in text for text in found.warnings] == [True, True]
    for scan, told in ((scan_of(), "expected tracked poses for --poses tracked, found none"),
                       (scan_of(T_world_tool=np.full((N, 4, 4), np.nan)), "no frame with one that is valid"),
                       (replace(scan_of(T_world_tool=sweep()), T_tool_image=None), "--calib"),
                       (scan_of(T_world_tool=scaled(sweep(), 1000)), "units")):
        with pytest.raises(InputError, match=told):
            given.for_scan(scan, given.TRACKED)


def test_compound_says_in_a_line_what_it_left_out(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    T = random_poses(6)
    T[2] = np.nan
    tusrec.write_scan(tmp_path / "a.h5", speckle(6), T)
    known = calib.built_in()
    calib.write_challenge(tmp_path / "calib_matrix.csv", known.scale, known.T_tool_image)
    assert main(["compound", "a.h5", "--poses", "tracked", "-o", "v.nrrd", "--spacing-mm", "2"]) == 0
    out, err = capsys.readouterr()
    assert (tmp_path / "v.nrrd").is_file() and "1 of 6 frames are not tracked" in err and "Traceback" not in err
    (tmp_path / "bad.txt").write_text("1 0 0 0 0 0 0 1\n0 0 0 0 0 0 0 1\n")
    assert main(["compound", "a.h5", "--poses", "bad.txt", "-o", "w.nrrd"]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and "ascend" in err and not (tmp_path / "w.nrrd").exists()
