"""The entry for the challenge: its interface, the self-test, the stand-ins, the image."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import reference
from small_scans import dataset, random_poses, speckle

from speckle_rec import geometry
from speckle_rec.evaluation import engines
from speckle_rec.io import tusrec
from speckle_rec.io.calib import built_in
from speckle_rec.result import Reconstruction
from speckle_rec.scan import Scan

FOLDER = Path(__file__).resolve().parents[1] / "submission"
MARKS = np.array([[0, 64, 48], [1, 1, 1], [4, 5, 7]])


def load(name):
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def entry(tmp_path, monkeypatch):
    """predict_ddfs with an engine that gives poses known to the test; returns (module, poses, calibration file)."""
    root = dataset(tmp_path / "data")
    T = random_poses(5)
    T[0] = np.eye(4)
    result = Reconstruction(T, geometry.steps(T), np.zeros((5, 6, 6)), np.zeros(5, np.float32))
    monkeypatch.setitem(engines.ENGINES, "speckle", lambda scan, setup: result)
    return load("predict_ddfs"), result, str(root / "calib_matrix.csv")


def test_fields_are_the_organisers(entry):
    module, result, calib = entry
    got = module.predict_ddfs(speckle(5), MARKS, calib, "cpu")
    scale = built_in().scale
    for k, T in ((0, result.T_first_frame), (2, result.T_prev_frame)):
        wanted = reference.fields(T, scale, (48, 64))
        np.testing.assert_allclose(got[k], wanted, atol=1e-4)
        np.testing.assert_allclose(got[k + 1], reference.at_landmarks(wanted, MARKS, (48, 64)), atol=1e-4)
    assert all(type(values) is np.ndarray and values.dtype == np.float32 for values in got)


@pytest.mark.parametrize(("given", "asked"), [("cpu", "cpu"), ("cuda", "auto"), ("cuda:0", "auto")])
def test_device_is_that_of_the_organisers(entry, monkeypatch, given, asked):
    module, result, calib = entry
    seen = []

    def engine(scan, setup):
        seen.append(setup.config.device)
        return result

    monkeypatch.setitem(engines.ENGINES, "speckle", engine)
    module.predict_ddfs(speckle(5), MARKS, calib, given)
    assert seen == [asked]


@pytest.mark.parametrize("failure", ["raises", "nan"])
def test_a_failure_does_not_end_the_organisers_loop(entry, monkeypatch, capsys, failure):
    module, _, calib = entry

    def broken(scan, setup):
        if failure == "raises":
            raise RuntimeError("no speckle")
        T = np.full((scan.n_frames, 4, 4), np.nan)
        return Reconstruction(T, T, np.zeros((scan.n_frames, 6, 6)), np.zeros(scan.n_frames, np.float32))

    for name in ("speckle", "inplane"):
        monkeypatch.setitem(engines.ENGINES, name, broken)
    got = module.predict_ddfs(speckle(5), MARKS, calib, "cpu")
    assert not any(values.any() for values in got)
    assert capsys.readouterr().err.count("engine failed") == 2


def test_self_test_over_noise(tmp_path):
    """The real thing, by the command an entrant types, on a scan without any signal."""
    root = dataset(tmp_path / "data", ("050/RH_rotation",), "val")
    command = [sys.executable, FOLDER / "selftest.py", "--data", root, "--results", tmp_path / "results"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "as expected" in done.stdout and "sub050__RH_rotation" in done.stdout
    with h5py.File(tmp_path / "results" / "metrics.h5") as file:
        assert sorted(file) == ["GLE", "GPE", "LLE", "LPE", "time_elapsed"] and np.isfinite(file["GPE"][:]).all()
    again = subprocess.run(command, capture_output=True, text=True, check=False)
    assert again.returncode == 1 and "is there" in again.stderr


def test_self_test_measures_as_the_challenge_does(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    module = load("selftest")
    est, true = random_poses(5, 1), random_poses(5, 2)
    scale = np.diag([0.2, 0.25, 1, 1.0])
    both = (est, geometry.steps(est)), (true, geometry.steps(true))
    fields = []
    for T in both[0]:
        dense = reference.fields(T, scale, (48, 64)).astype(np.float32)
        fields += [dense, reference.at_landmarks(dense, MARKS, (48, 64))]
    errors, _ = module.measure(fields, both[1], scale, (5, 48, 64), MARKS)
    np.testing.assert_allclose(errors, reference.errors(*both[0], *both[1], scale, (48, 64), MARKS), rtol=1e-4)
    assert module.check([f.astype(np.float32) for f in fields], (5, 48, 64), MARKS) == []
    fields[1] = fields[1] + 1
    assert "not the field" in module.check([f.astype(np.float32) for f in fields], (5, 48, 64), MARKS)[0]


def test_true_poses_are_the_package_s(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    module = load("selftest")
    root = dataset(tmp_path / "data", ("050/RH_rotation",), "val")
    scan = Scan.open(tusrec.entries(root)[0].path)
    _, _, tforms = module.load(root, "sub050__RH_rotation")
    first, prev = module.true_poses(tforms, module.read_calibration(root / "calib_matrix.csv")[1])
    np.testing.assert_allclose(first, scan.T_first_frame_tracked, atol=1e-4)
    np.testing.assert_allclose(prev, geometry.steps(scan.T_first_frame_tracked), atol=1e-4)


def test_stand_in_for_pytorch3d(monkeypatch):
    torch = pytest.importorskip("torch", reason="torch is not installed: the stand-in for pytorch3d is NOT tested")
    from scipy.spatial.transform import Rotation
    monkeypatch.syspath_prepend(str(FOLDER))
    from pytorch3d import transforms
    R = Rotation.random(20, rng=0)
    for convention in ("ZYX", "XYZ", "YXZ", "ZXY"):
        angles = torch.tensor(R.as_euler(convention))
        matrix = transforms.euler_angles_to_matrix(angles, convention)
        np.testing.assert_allclose(matrix.numpy(), R.as_matrix(), atol=1e-12)
        np.testing.assert_allclose(transforms.matrix_to_euler_angles(matrix, convention).numpy(), angles, atol=1e-9)
    quaternions = torch.tensor(3 * R.as_quat(scalar_first=True))
    np.testing.assert_allclose(transforms.quaternion_to_matrix(quaternions).numpy(), R.as_matrix(), atol=1e-12)


def test_dockerfile_suits_old_builders():
    text = (FOLDER / "Dockerfile").read_text()
    assert "<<" not in text and "ARG DEVICE=cpu" in text
    assert subprocess.run(["sh", "-n", FOLDER / "build_without_docker.sh"], check=False).returncode == 0


def test_trim_leaves_what_is_imported(tmp_path):
    """h5py imports its tests, torch one program; the rest of tests, headers and programs goes."""
    kept = ["h5py/tests/__init__.py", "torch/bin/torch_shm_manager", "torch/nn/tests.py", "a/test_data/x"]
    gone = ["scipy/special/tests/data/x", "torch/test/x", "torch/include/a/x.h", "torch/bin/test_api", "a/b/tests/x.py"]
    for name in (*kept, *gone):
        (tmp_path / "p" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "p" / name).write_text("")
    (tmp_path / "bin").mkdir()
    for name, does in (("python", f'case "$1" in -c) echo {tmp_path / "p"};; esac'), ("strip", "true")):
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{does}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    subprocess.run(["sh", FOLDER / "trim.sh"], check=True, env={"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"})
    there = [str(path.relative_to(tmp_path / "p")) for path in (tmp_path / "p").rglob("*") if path.is_file()]
    assert sorted(there) == sorted(kept)


@pytest.mark.timeout(3 * 3600)
def test_image_without_a_docker_engine(tmp_path):
    """Minutes and gigabytes: on demand only."""
    missing = [tool for tool in ("buildah", "debootstrap") if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"{' and '.join(missing)} not installed: the submission's IMAGE IS NOT TESTED")
    if not os.environ.get("SPECKLE_REC_IMAGE_TEST"):
        pytest.skip("the submission's IMAGE IS NOT TESTED: set SPECKLE_REC_IMAGE_TEST to the folder of a val-layout "
                    "data set (takes minutes, root, and about 8 GB)")
    work = os.environ.get("SPECKLE_REC_IMAGE_WORK", tmp_path)      # kept from run to run: base system and layers
    done = subprocess.run(["sh", FOLDER / "build_without_docker.sh", os.environ["SPECKLE_REC_IMAGE_TEST"], work],
                          capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    size = re.search(r"image: (\d+) MiB unpacked", done.stdout)
    assert size and int(size[1]) * 2**20 < 1.5e9, done.stdout[-300:]
