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
from speckle_rec.io import ply, staging, trajectory
from speckle_rec.result import Reconstruction
from speckle_rec.scan import Scan
from speckle_rec.storage import folder as results
from speckle_rec.storage import outputs as output_files

SMALL = output_files.Outputs(ddf=False, volume=False, sequence=True, report=False)


def reconstruction(n: int) -> Reconstruction:
    T = geometry.chain(random_poses(n))
    return Reconstruction(T, geometry.steps(T), np.tile(np.eye(6), (n, 1, 1)), np.ones(n, np.float32),
                          warnings=["a warning"], numbers={"x_mm": np.float64(2), "bad": np.inf, "n": np.int64(3)},
                          run_times_s={"matching": 1.5})


def test_write_and_read(tmp_path):
    scan, result = Scan.from_arrays(speckle(5), pixel_mm=0.2), reconstruction(5)
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


@settings(max_examples=25)
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


def test_simpleitk_places_the_pixels_of_a_written_sequence(tmp_path):
    """What 3D Slicer and PLUS see: image and transforms from SimpleITK's reader alone."""
    SimpleITK = pytest.importorskip("SimpleITK")
    T_tool_image = random_poses(1, seed=9, size=1.0)[0]
    scan = Scan.from_arrays(speckle(5), scale=np.diag([0.2, 0.3, 1, 1]), T_tool_image=T_tool_image)
    T = geometry.chain(random_poses(5, size=0.7))
    output_files.write_sequence(tmp_path / "scan.igs.mha", scan, T)
    image = SimpleITK.ReadImage(str(tmp_path / "scan.igs.mha"))
    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(image), speckle(5))

    def stored(key):
        return np.array(image.GetMetaData(key).split(), float).reshape(4, 4)

    corners = np.array([[0, 0, 0, 1], [63, 0, 0, 1], [0, 47, 0, 1], [20, 30, 0, 1]], float)   # PLUS counts from 0
    for i in range(5):
        ours = (corners + [1, 1, 0, 0]) @ (T[i] @ scan.scale).T
        direct = stored(f"Seq_Frame{i:04d}_ImageToReferenceTransform")
        by_probe = stored(f"Seq_Frame{i:04d}_ProbeToReferenceTransform") @ stored("ImageToProbeTransform")
        np.testing.assert_allclose(corners @ direct.T, ours, atol=1e-8)
        np.testing.assert_allclose(corners @ by_probe.T, ours, atol=1e-8)


def test_meshio_reads_the_frames_and_the_path(tmp_path):
    meshio = pytest.importorskip("meshio")
    T, confidence = geometry.chain(random_poses(6, size=0.5)), np.linspace(0, 1, 6).astype(np.float32)
    outline = np.array([[0.0, 0], [10, 0], [12, 8], [5, 10], [-2, 8], [0, 0]])
    ply.write(tmp_path / "frames.ply", T, outline, confidence)
    mesh = meshio.read(tmp_path / "frames.ply")
    (faces,), (path,) = ([block.data for block in mesh.cells if block.type == kind] for kind in ("polygon", "line"))
    assert faces.shape == (6, 5) and path.shape == (5, 2)
    corners = np.column_stack([outline[:-1], np.zeros(5), np.ones(5)])
    for i, face in enumerate(faces):
        np.testing.assert_allclose(mesh.points[face], (corners @ T[i].T)[:, :3], atol=1e-6)
        assert (mesh.point_data["frame"][face] == i).all()
    np.testing.assert_allclose(mesh.points[np.append(path[:, 0], path[-1, 1])], (T @ [5, 5, 0, 1])[:, :3], atol=1e-6)
    np.testing.assert_allclose(mesh.point_data["confidence"][path[:, 1]], confidence[1:], atol=1e-4)
    ply.write(tmp_path / "one.ply", T[:1], outline, confidence[:1])
    assert len(meshio.read(tmp_path / "one.ply").points) == 6


def test_evidence_is_kept_beside_the_poses(tmp_path):
    result = reconstruction(5)
    result.evidence.update(phase=np.array(["fan", "fan", "still", "fan", "rock"]), reversals=np.array([2]))
    results.write(tmp_path / "r", Scan.from_arrays(speckle(5), pixel_mm=0.2), result, config={}, outputs=SMALL)
    with h5py.File(tmp_path / "r" / "poses.h5") as file:
        assert np.asarray(file["evidence/phase"]).astype(str).tolist() == ["fan", "fan", "still", "fan", "rock"]
        assert file["evidence/reversals"][0] == 2
        assert len(file["covariance"].attrs["about_mm"]) == 3


def test_long_writing_counts_up_to_all_of_it(tmp_path):
    seen: dict[str, list[tuple[int, int]]] = {}
    results.write(tmp_path / "r", Scan.from_arrays(speckle(5), pixel_mm=0.2), reconstruction(5), config={},
                  outputs=output_files.Outputs(ddf=True, volume=True, sequence=True, report=False),
                  progress=lambda stage, done, total: seen.setdefault(stage, []).append((done, total)))
    assert set(seen) == {"writing ddf", "writing sequence", "writing volume"}
    assert (8, 8) in seen["writing ddf"] and (5, 5) in seen["writing sequence"] and (5, 5) in seen["writing volume"]
