"""The learned baseline: its network against published facts, training that learns and resumes, its fields."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import reference
from small_scans import dataset, random_poses, speckle

torch = pytest.importorskip("torch", reason="torch is not installed: the learned baseline is NOT tested; "
                                            "pip install 'speckle-rec[bench]'")
FOLDER = Path(__file__).resolve().parents[1] / "benchmarks" / "learned"


@pytest.fixture(autouse=True)
def _modules(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))


def test_network_is_efficientnet_b1():
    from network import EfficientNetB1, pair_network
    assert sum(p.numel() for p in EfficientNetB1(3, 1000).parameters()) == 7_794_184   # published: 7.8 M
    still = pair_network().eval()(torch.rand(2, 2, 48, 64))
    assert still.shape == (2, 6) and not still.any()


def test_six_numbers_are_zyx_and_mm():
    from network import poses
    from scipy.spatial.transform import Rotation
    six = torch.from_numpy(np.random.default_rng(0).normal(size=(5, 6)))
    T = poses(six).numpy()
    np.testing.assert_allclose(T[:, :3, :3], Rotation.from_euler("ZYX", six[:, :3].numpy()).as_matrix(), atol=1e-12)
    np.testing.assert_array_equal(T[:, :3, 3], six[:, 3:])


def test_fields_are_the_organisers():
    from predict_ddfs import fields
    T, scale = random_poses(4), np.diag([0.2, 0.25, 1, 1.0])
    np.testing.assert_allclose(fields(T, scale, (48, 64)), reference.fields(T, scale, (48, 64)), atol=1e-4)


def train(root, out, *more):
    command = [sys.executable, FOLDER / "train.py", root, "-o", out, "--batch", "4", "--every", "2", *more]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(FOLDER.parents[1]), *sys.path])}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_training_resumes_to_the_same_weights(tmp_path, monkeypatch):
    root = dataset(tmp_path / "data", ("001/RH_rotation", "002/RH_rotation"))
    out = train(root, tmp_path / "a.pt", "--steps", "4", "--held-out", "0.5")
    assert "5 pairs of 1 scans to train, 5 of 1" in out and "step 4" in out
    train(root, tmp_path / "b.pt", "--steps", "2", "--held-out", "0.5")
    assert "goes on after step 2" in train(root, tmp_path / "b.pt", "--steps", "4", "--held-out", "0.5", "--resume")
    a, b = (torch.load(tmp_path / f"{name}.pt.state", weights_only=True)["network"] for name in "ab")
    assert all(torch.equal(a[key], b[key]) for key in a)
    import predict_ddfs
    monkeypatch.setattr(predict_ddfs, "WEIGHTS", tmp_path / "a.pt")
    marks = np.array([[0, 64, 48], [3, 5, 7]])
    GP, GL, LP, _ = predict_ddfs.predict_ddfs(speckle(5), marks, str(root / "calib_matrix.csv"), "cpu")
    assert GP.shape == LP.shape == (4, 3, 48 * 64) and np.isfinite(GP).all()
    np.testing.assert_array_equal(GP[0], LP[0])
    np.testing.assert_array_equal(GL[:, 0], GP[-1, :, -1])
