import dataclasses

import h5py
import numpy as np
import pytest
from small_scans import random_poses, speckle, write_scan

from speckle_rec import geometry
from speckle_rec.errors import InputError
from speckle_rec.io import calib, tusrec
from speckle_rec.scan import Scan


def test_training_layout(scan_file):
    scan = Scan.open(scan_file)
    assert (scan.name, scan.n_frames, scan.shape) == ("sub007__RH_rotation", 6, (48, 64))
    np.testing.assert_array_equal(scan.frames(2, 4), speckle(6)[2:4])
    np.testing.assert_array_equal(np.concatenate([b for _, b in scan.blocks(4)]), speckle(6))
    assert [start for start, _ in scan.blocks(4)] == [0, 4]
    np.testing.assert_allclose(scan.T_world_tool, random_poses(6), atol=1e-6)
    C = scan.T_tool_image
    for j, T in enumerate(scan.T_first_frame_tracked):
        expected = np.linalg.inv(C) @ np.linalg.inv(scan.T_world_tool[0]) @ scan.T_world_tool[j] @ C
        np.testing.assert_allclose(T, expected, atol=1e-9)
    assert scan.calibration_source.endswith("calib_matrix.csv")


def test_split_layout_and_old_names(tmp_path):
    frames = tmp_path / "frames" / "051" / "LH_Per_L_DtP.h5"
    poses = tmp_path / "transfs" / "051" / "LH_Per_L_DtP.h5"
    for path in (frames, poses):
        path.parent.mkdir(parents=True)
    write_scan(frames, speckle(3))
    with h5py.File(poses, "w") as file:
        file["tforms"] = random_poses(3).astype(np.float32)
    scan = Scan.open(frames)
    assert scan.name == "sub051__LH_Per_L_DtP"
    np.testing.assert_allclose(scan.T_world_tool, random_poses(3), atol=1e-6)
    assert [entry.name for entry in tusrec.entries(tmp_path)] == [scan.name]
    with pytest.raises(InputError, match="under frames/"):
        Scan.open(poses)


def test_scan_without_poses(tmp_path):
    write_scan(tmp_path / "a.h5", speckle(2))
    scan = Scan.open(tmp_path / "a.h5")
    assert scan.name == "a" and scan.T_world_tool is None and scan.T_first_frame_tracked is None


def test_calibration_and_landmarks_beside_the_scan(scan_file):
    root = scan_file.parents[2]
    scale, T_tool_image = np.diag([0.2, 0.25, 1, 1]), random_poses(1)[0]
    calib.write_challenge(root / "calib_matrix.csv", scale, T_tool_image)
    (root / "landmarks").mkdir()
    points = np.array([[0, 1, 1], [5, 64, 48]])
    with h5py.File(root / "landmarks" / "landmark_007.h5", "w") as file:
        file["RH_rotation"] = points
    scan = Scan.open(scan_file)
    np.testing.assert_array_equal(scan.scale, scale)
    np.testing.assert_allclose(scan.T_tool_image, T_tool_image, atol=1e-12)
    np.testing.assert_array_equal(scan.landmarks, points)
    assert scan.calibration_source.endswith("calib_matrix.csv")


def test_landmarks_outside_are_left_out_with_a_warning(scan_file):
    path = scan_file.parents[2] / "landmark_007.h5"
    with h5py.File(path, "w") as file:
        file["RH_rotation"] = np.array([[6, 1, 1]])
    scan = Scan.open(scan_file)
    assert scan.landmarks is None and "outside" in scan.warnings[0]
    with pytest.raises(InputError, match="outside"):
        Scan.open(scan_file, landmarks=path)


def test_built_in_calibration_is_the_published_one(shared_data):
    published = calib.read(shared_data / "tusrec" / "calib_matrix.csv", (480, 640))
    np.testing.assert_array_equal(calib.built_in().scale, published.scale)
    np.testing.assert_allclose(calib.built_in().T_tool_image, published.T_tool_image, atol=1e-12)


def test_unusable_tforms_are_flagged_not_used(tmp_path):
    T = random_poses(5)
    T[2, 0, 0], T[3] = np.nan, np.diag([1, 1, -1, 1])
    write_scan(tmp_path / "a.h5", speckle(5), T)
    calib.write_challenge(tmp_path / "c.csv", np.diag([0.2, 0.2, 1, 1]), np.eye(4))
    scan = Scan.open(tmp_path / "a.h5", calib=tmp_path / "c.csv")
    assert scan.tracked_ok.tolist() == [True, True, False, False, True]
    assert "2 of 5 frames" in scan.warnings[0]
    assert np.isfinite(scan.T_first_frame_tracked).all(axis=(1, 2)).tolist() == scan.tracked_ok.tolist()


@pytest.mark.parametrize("dtype, factor, note", [
    (np.float32, 1, "converted"), (np.float64, 1 / 255, "multiplied by 255"), (np.int32, 1, "converted"),
    (np.dtype(">u2"), 1, "converted")])
def test_other_pixel_types_are_converted_and_said(tmp_path, dtype, factor, note):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["frames"] = (speckle(3) * factor).astype(dtype)
    scan = Scan.open(tmp_path / "a.h5", pixel_mm=0.2)
    np.testing.assert_array_equal(scan.frames(), speckle(3))
    assert note in scan.warnings[0]


def test_frames_that_are_kept_are_read_once(monkeypatch):
    frames, read = speckle(9), []

    class Counted:
        n_frames, shape = len(frames), frames.shape[1:]

        def read(self, start, stop):
            read.append((start, stop))
            return frames[start:stop]

    scan = dataclasses.replace(Scan.from_arrays(frames, pixel_mm=0.2), source=Counted())
    kept = scan.kept()
    for start, stop in ((2, 5), (0, 9), (3, 9), (0, 2), (9, 9)):
        np.testing.assert_array_equal(kept.frames(start, stop), frames[start:stop])
    assert read == [(2, 5), (0, 9)]
    np.testing.assert_array_equal(np.concatenate([block for _, block in kept.blocks(4)]), frames)
    monkeypatch.setattr("speckle_rec.scan.KEPT_BYTES", frames.size - 1)
    assert scan.kept() is scan


def test_from_arrays():
    scan = Scan.from_arrays(speckle(4), scale=np.diag([0.1, 0.1, 1, 1]), T_world_tool=random_poses(4),
                            T_tool_image=np.eye(4), landmarks=[[1, 2, 3]])
    assert scan.n_frames == 4 and scan.frames(1, 2).dtype == np.uint8
    np.testing.assert_allclose(scan.T_first_frame_tracked, geometry.image_trajectory(random_poses(4), np.eye(4)),
                               atol=1e-12)
    with pytest.raises(InputError, match="rigid"):
        Scan.from_arrays(speckle(2), T_tool_image=2 * np.eye(4), pixel_mm=0.2)
    with pytest.raises(InputError, match="NaN"):
        Scan.from_arrays(np.full((2, 48, 64), np.nan))


def test_reading_stays_within_a_block(tmp_path):
    """Frames come from the file by block: no array of the whole scan is made."""
    import tracemalloc
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("frames", (400, 120, 128), np.uint8, chunks=(1, 120, 128), compression=1)
        file["frames"][:] = 7
    tracemalloc.start()
    total = sum(int(block.sum()) for _, block in Scan.open(tmp_path / "a.h5", pixel_mm=0.2).blocks(32))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert total == 7 * 400 * 120 * 128 and peak < 400 * 120 * 128 / 2
