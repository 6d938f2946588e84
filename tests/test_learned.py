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


def test_small_frames_are_metric():
    """A bright spot lies where its mm say, whatever the size of pixels."""
    from data import GRID, PIXEL_MM, T_image_grid, small
    for mm in (0.16, 0.25):
        shape = round(60 / mm), round(80 / mm)
        scale = np.diag([mm, mm, 1, 1.0])
        frame = np.zeros(shape, np.uint8)
        frame[round(30 / mm), round(60 / mm)] = 255
        row, column = np.unravel_index(small(frame, scale).argmax(), GRID)
        x, y, _ = T_image_grid(scale, shape)[:3, 3]
        assert (column + 0.5 - GRID[1] / 2) * PIXEL_MM == pytest.approx(60 - x, abs=1.2 * PIXEL_MM)
        assert (row + 0.5) * PIXEL_MM == pytest.approx(30 - y, abs=1.2 * PIXEL_MM)


@pytest.mark.parametrize("model", ["pair", "sequence"])
def test_a_network_of_windows_is_trained_kept_and_asked(tmp_path, monkeypatch, model):
    import train_small
    from data import keep
    from network import MODELS
    monkeypatch.syspath_prepend(str(FOLDER.parent))
    from rivals import network

    from speckle_rec.io import tusrec
    from speckle_rec.scan import Scan
    root = dataset(tmp_path / "data", ("001/RH_rotation",), n_frames=36)
    scan = Scan.open(tusrec.entries(root)[0].path)
    for part in ("training", "held-out"):
        keep(scan, tmp_path / "scans" / part / "a.npz")
    monkeypatch.setitem(train_small.BATCH, model, (2, 2 if model == "pair" else 32))
    out = tmp_path / f"{model}.pt"
    words = f"train {tmp_path / 'scans'} --model {model} -o {out} --steps 2"
    monkeypatch.setattr(sys, "argv", words.split())
    train_small.main()
    assert out.with_suffix(".csv").read_text().startswith("step,seconds,training_loss_mm,held_out_ratio\n0,")
    with torch.no_grad():
        assert MODELS[model]().eval()(torch.rand(2, 4, 120, 160)).shape == (2, 3, 6)
    steps, parameters = network(out)
    T = steps(scan)
    assert T.shape == (36, 4, 4) and parameters > 5e5
    R = T[:, :3, :3]
    np.testing.assert_allclose(R @ R.transpose(0, 2, 1), np.tile(np.eye(3), (36, 1, 1)), atol=1e-5)


def test_chained_steps_and_distances_of_corners():
    from train_small import chained, distance

    from speckle_rec import geometry
    steps = geometry.steps(random_poses(6))[1:]
    np.testing.assert_allclose(chained(torch.from_numpy(steps)[None])[0].numpy(),
                               geometry.chain(np.concatenate([np.eye(4)[None], steps]))[1:], atol=1e-12)
    shift = torch.eye(4)
    shift[:3, 3] = torch.tensor([3.0, 0, 4])
    assert float(distance(shift, torch.eye(4))) == pytest.approx(5)
