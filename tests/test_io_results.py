import json
import os
import tomllib

import h5py
import numpy as np
import pytest
from evo.tools import file_interface
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation
from small_scans import random_poses, speckle

from speckle_rec import geometry
from speckle_rec.errors import InputError
from speckle_rec.io import results, staging, trajectory
from speckle_rec.result import Reconstruction
from speckle_rec.scan import Scan

SMALL = results.Outputs(ddf=False, volume=False, sequence=True, report=False)


def reconstruction(n: int) -> Reconstruction:
    T = geometry.chain(random_poses(n))
    return Reconstruction(T, geometry.steps(T), np.tile(np.eye(6), (n, 1, 1)), np.ones(n, np.float32),
                          warnings=["a warning"], numbers={"x_mm": np.float64(2), "bad": np.inf, "n": np.int64(3)},
                          run_times_s={"matching": 1.5})


def test_write_and_read(tmp_path):
    scan, result = Scan.from_arrays(speckle(5)), reconstruction(5)
    folder = tmp_path / "out" / "scan"
    summary = results.write(folder, scan, result, config={"a": 1, "none": None, "path": tmp_path}, outputs=SMALL,
                            score={"GPE": 1.0, "GLE": None}, calibration_hash="abc")
    assert summary == json.loads((folder / "summary.json").read_text())
    assert summary["numbers"] == {"x_mm": 2.0, "bad": None, "n": 3} and summary["score"]["GPE"] == 1
    assert summary["run_times_s"]["matching"] == 1.5 and summary["warnings"] == ["a warning"]
    assert tomllib.loads((folder / "config.toml").read_text()) == {"a": 1, "path": str(tmp_path)}
    stored = results.read(folder)
    np.testing.assert_allclose(stored.T_first_frame, result.T_first_frame, atol=1e-12)
    np.testing.assert_allclose(stored.T_prev_frame, result.T_prev_frame, atol=1e-12)
    assert stored.shape == (48, 64) and stored.confidence.dtype == np.float32
    with h5py.File(folder / "poses.h5") as file:
        assert {"units", "convention", "version", "calibration_hash"} <= set(file.attrs)
        assert file["covariance"].attrs["order"] == "tx, ty, tz, rx, ry, rz"
        assert file["T_first_frame"].dtype == np.float64
    sequence = Scan.open(folder / "scan.igs.mha")
    np.testing.assert_array_equal(sequence.frames(), speckle(5))
    np.testing.assert_allclose(sequence.T_first_frame_tracked, result.T_first_frame, atol=1e-8)
    assert sorted(p.name for p in folder.parent.iterdir()) == ["scan"]


def test_a_folder_appears_whole_or_not_at_all(tmp_path):
    folder = tmp_path / "r"
    with pytest.raises(RuntimeError), staging.staged(folder) as partial:
        (partial / "poses.h5").touch()
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
    with staging.staged(folder) as partial:
        (partial / "poses.h5").touch()
        (partial / "summary.json").touch()
        assert not folder.exists()
    assert staging.is_complete(folder)
    with pytest.raises(InputError, match="--overwrite"), staging.staged(folder):
        pass
    with staging.staged(folder, overwrite=True) as partial:
        (partial / "new").touch()
    assert [p.name for p in folder.iterdir()] == ["new"]
    with pytest.raises(InputError, match="not a result"), staging.staged(folder, overwrite=True):
        pass


def test_left_overs_of_killed_runs_are_swept(tmp_path):
    import socket
    dead, alive = (tmp_path / f".r.partial-{socket.gethostname()}-{pid}" for pid in (2**22 + 7, os.getppid()))
    dead.mkdir()
    alive.mkdir()
    with staging.staged(tmp_path / "r") as partial:
        (partial / "x").touch()
    assert not dead.exists() and alive.exists()


def test_evo_reads_what_is_written(tmp_path):
    T, times = geometry.chain(random_poses(20, size=1.0)), np.arange(20) / 20
    trajectory.write_tum(tmp_path / "tum.txt", T, times)
    trajectory.write_kitti(tmp_path / "kitti.txt", T)
    tum = file_interface.read_tum_trajectory_file(tmp_path / "tum.txt")
    kitti = file_interface.read_kitti_poses_file(tmp_path / "kitti.txt")
    np.testing.assert_allclose(tum.timestamps, times)
    for poses in (tum.poses_se3, kitti.poses_se3):
        np.testing.assert_allclose(np.array(poses)[:, :3, 3] * 1000, T[:, :3, 3], atol=1e-8)
        np.testing.assert_allclose(np.array(poses)[:, :3, :3], T[:, :3, :3], atol=1e-9)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 9), st.integers(0, 1000), st.floats(0.01, 3))
def test_trajectories_come_back(tmp_path_factory, n, seed, size):
    folder, T = tmp_path_factory.mktemp("t"), random_poses(n, seed, size)
    trajectory.write_tum(folder / "t.txt", T, np.arange(n) / 7)
    trajectory.write_kitti(folder / "k.txt", T)
    for name in ("t.txt", "k.txt"):
        np.testing.assert_allclose(trajectory.read(folder / name), T, atol=1e-7)


def test_csv_holds_every_parametrisation(tmp_path):
    T = geometry.chain(random_poses(6, size=0.5))
    steps, scale = geometry.steps(T), np.diag([0.2, 0.3, 1, 1])
    trajectory.write_csv(tmp_path / "p.csv", T, steps, np.arange(6.0), scale, (48, 64))
    table = np.genfromtxt(tmp_path / "p.csv", delimiter=",", names=True)
    for prefix, poses in (("global", T), ("local", steps)):
        got = np.column_stack([table[f"{prefix}_m{i}{j}"] for i in range(4) for j in range(4)]).reshape(-1, 4, 4)
        np.testing.assert_allclose(got, poses, atol=1e-8)
        angles = np.column_stack([table[f"{prefix}_{a}_rad"] for a in ("rz", "ry", "rx")])
        for i in range(6):
            cz, cy, cx = np.cos(angles[i])
            sz, sy, sx = np.sin(angles[i])
            R = (np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]]) @ np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
                 @ np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]]))
            np.testing.assert_allclose(R, poses[i, :3, :3], atol=1e-8)
        quaternions = np.column_stack([table[f"{prefix}_q{a}"] for a in "xyzw"])
        np.testing.assert_allclose(Rotation.from_quat(quaternions).as_matrix(), poses[:, :3, :3], atol=1e-8)
        corner = np.column_stack([table[f"{prefix}_br_{a}_mm"] for a in "xyz"])
        np.testing.assert_allclose(corner, (poses @ scale @ (64, 48, 0, 1))[:, :3], atol=1e-7)
