"""Bad input is told in one line with exit status 2, or flagged in the result; never a traceback."""

import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from small_scans import random_poses, speckle, write_scan

from speckle_rec import config
from speckle_rec.cli import main
from speckle_rec.errors import InputError
from speckle_rec.io import calib, plus, trajectory
from speckle_rec.scan import Scan
from speckle_rec.speckle.calibration import DEFAULT_FILE, Calibration

BAD_CALIBRATION = {
    "not rigid": (np.diag([0.2, 0.2, 1, 1]), np.diag([2.0, 1, 1, 1]), "rigid"),
    "mirrored": (np.diag([0.2, 0.2, 1, 1]), np.diag([1.0, 1, -1, 1]), "right-handed"),
    "NaN": (np.diag([0.2, 0.2, 1, 1]), np.full((4, 4), np.nan), "finite"),
    "no scale": (np.diag([0.0, 0.2, 1, 1]), np.eye(4), "scaling"),
    "negative scale": (np.diag([-0.2, 0.2, 1, 1]), np.eye(4), "scaling"),
}


def h5(path: Path, **datasets) -> Path:
    with h5py.File(path, "w") as file:
        for key, value in datasets.items():
            file[key] = value
    return path


def nan_frames() -> np.ndarray:
    frames = speckle(3).astype(np.float32)
    frames[1, 5, 5] = np.nan
    return frames


def external(path: Path) -> Path:
    h5(path.with_name("other.h5"), frames=speckle(3))
    with h5py.File(path, "w") as file:
        file["frames"] = h5py.ExternalLink("other.h5", "/frames")
    return path


def cut(path: Path) -> Path:
    write_scan(path, speckle(40))
    path.write_bytes(path.read_bytes()[:40_000])
    return path


def empty_chunks(path: Path) -> Path:
    with h5py.File(path, "w") as file:
        file.create_dataset("frames", (10**6, 480, 640), np.uint8, chunks=(1, 480, 640))
    return path


def mha(path: Path, old: bytes = b"", new: bytes = b"") -> Path:
    plus.write(path, iter([(0, speckle(3))]), (3, 48, 64), random_poses(3))
    path.write_bytes(path.read_bytes().replace(old, new, 1) if old else path.read_bytes()[:-800])
    return path


BAD_SCANS = {
    "missing": ("a.h5", lambda p: p, "no such file"),
    "missing mha": ("a.mha", lambda p: p, "no such file"),
    "text": ("a.h5", lambda p: p.write_text("not HDF5"), "HDF5"),
    "empty file": ("a.h5", lambda p: p.touch(), "HDF5"),
    "truncated": ("a.h5", cut, "truncated"),
    "no frames": ("a.h5", lambda p: h5(p, images=speckle(3)), "expected a dataset 'frames', found images"),
    "frames is a group": ("a.h5", lambda p: h5(p, **{"frames/x": speckle(3)}), "group"),
    "one image": ("a.h5", lambda p: h5(p, frames=speckle(1)[0]), "shape"),
    "colour": ("a.h5", lambda p: h5(p, frames=np.zeros((3, 48, 64, 3), np.uint8)), "shape"),
    "no frame": ("a.h5", lambda p: h5(p, frames=np.zeros((0, 48, 64), np.uint8)), "none"),
    "tiny images": ("a.h5", lambda p: h5(p, frames=np.zeros((3, 2, 2), np.uint8)), "pixels a side"),
    "NaN": ("a.h5", lambda p: h5(p, frames=nan_frames()), "NaN or infinity in frame 1"),
    "out of range": ("a.h5", lambda p: h5(p, frames=speckle(3).astype(float) * 3), "0..255"),
    "complex": ("a.h5", lambda p: h5(p, frames=speckle(3).astype(complex)), "uint8"),
    "text frames": ("a.h5", lambda p: h5(p, frames=np.full((3, 48, 64), b"x")), "uint8"),
    "external link": ("a.h5", external, "link"),
    "nothing stored": ("a.h5", empty_chunks, "no frame is stored"),
    "no pixel size": ("a.h5", lambda p: h5(p, frames=speckle(3)), "--pixel-mm"),
    "no pixel size mha": ("a.mha", lambda p: plus.write(p, iter([(0, speckle(3))]), (3, 48, 64), random_poses(3)),
                          "--pixel-mm"),
    "text mha": ("a.mha", lambda p: p.write_text("hello"), "MetaImage"),
    "binary mha": ("a.mha", lambda p: p.write_bytes(bytes(10_000)), "MetaImage"),
    "truncated mha": ("a.mha", mha, "truncated"),
    "no size": ("a.mha", lambda p: mha(p, b"DimSize = 64 48 3", b"DimSize = 64 48"), "DimSize"),
    "huge size": ("a.mha", lambda p: mha(p, b"DimSize = 64 48 3", b"DimSize = 6400 4800 300000"), "cannot hold"),
    "signed pixels": ("a.mha", lambda p: mha(p, b"MET_UCHAR", b"MET_SHORT"), "MET_UCHAR"),
    "colour mha": ("a.mha", lambda p: mha(p, b"NumberOfChannels = 1", b"NumberOfChannels = 3"), "Channels"),
    "another file": ("a.mha", lambda p: mha(p, b"= LOCAL", b"= /etc/passwd"), "LOCAL"),
    "orientation": ("a.mha", lambda p: mha(p, b"Orientation = MF", b"Orientation = XY"), "Orientation"),
}


@pytest.mark.parametrize("case", BAD_SCANS)
def test_bad_scan(tmp_path, capsys, monkeypatch, fake_pipeline, case):
    monkeypatch.chdir(tmp_path)
    name, make, expected = BAD_SCANS[case]
    make(tmp_path / name)
    assert main(["reconstruct", name]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and name in err and expected in err, err
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize("case", BAD_CALIBRATION)
def test_bad_calibration(tmp_path, capsys, scan_file, fake_pipeline, case):
    scale, T, expected = BAD_CALIBRATION[case]
    calib.write_challenge(tmp_path / "calib_matrix.csv", scale, T)
    for extra in (["--calib", str(tmp_path / "calib_matrix.csv")], []):
        assert main(["reconstruct", str(scan_file), "-o", str(tmp_path / "out"), *extra]) == 2
        err = capsys.readouterr().err
        assert err.count("\n") == 1 and "calib_matrix.csv" in err and expected in err


@pytest.mark.parametrize("text", ["", "1 2 3", "hello", "a,b\n1,2", "1 2 3 x\n" * 4, "<a>", "<a/>", "1 " * 15 + "nan"])
def test_unreadable_calibration(tmp_path, scan_file, text):
    (tmp_path / "c.csv").write_text(text)
    with pytest.raises(InputError, match=r"c\.csv"):
        Scan.open(scan_file, calib=tmp_path / "c.csv")


@pytest.mark.parametrize("arguments, expected", [
    (["reconstrct"], "Did you mean 'reconstruct'"),
    (["reconstruct"], "SCAN"),
    (["reconstruct", "a.h5", "--ddff"], "--ddf"),
    (["reconstruct", "a.h5", "--device", "gppu"], "did you mean 'gpu'"),
    (["reconstruct", "a.h5", "-j", "-3"], "jobs"),
    (["reconstruct", "a.h5", "-j", "x"], "--jobs"),
    (["reconstruct", "*.h5"], "no scan"),
    (["reconstruct", "."], "none"),
    (["reconstruct", "a.h5", "-c", "missing.toml"], "no such configuration"),
    (["reconstruct", "a.h5", "--calibration", "missing.npz"], "no such file"),
    (["check", "a.h5"], "no such file"),
    (["export", "nothing", "--to", "tum"], "expected a result folder"),
    (["export", "nothing", "--to", "tumm"], "did you mean 'tum'"),
])
def test_bad_usage(tmp_path, capsys, monkeypatch, fake_pipeline, arguments, expected):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and expected in err, err


@pytest.mark.parametrize("text, expected", [
    ("devise = 'cpu'", "did you mean 'device'"), ("jobs = 'two'", "expected int, found str"), ("jobs = [", "TOML"),
    ("jobs = true", "expected int, found bool"), ("jobs = -1", "jobs")])
def test_bad_config(tmp_path, text, expected):
    (tmp_path / "c.toml").write_text(text)
    with pytest.raises(InputError, match=expected):
        config.load(tmp_path / "c.toml")


def test_config_overrides(tmp_path):
    (tmp_path / "c.toml").write_text("device = 'cpu'\njobs = 2\n")
    assert config.load(tmp_path / "c.toml", jobs=3, seed=None) == config.Config(device="cpu", jobs=3)


@pytest.mark.parametrize("text", ["", "1 2 3", "x y z", "0 0 0 0 0 0 0 2", " ".join("2" * 12), "nan " * 12])
def test_bad_trajectory(tmp_path, text):
    (tmp_path / "t.txt").write_text(text)
    with pytest.raises(InputError, match=r"t\.txt"):
        trajectory.read(tmp_path / "t.txt")


@pytest.mark.parametrize("n, bad", [(2, None), (6, slice(None)), (6, 0), (6, 3)])
def test_nan_tforms_are_flagged(tmp_path, capsys, fake_pipeline, n, bad):
    T = random_poses(n)
    if bad is not None:
        T[bad] = np.nan
    write_scan(tmp_path / "a.h5", speckle(n), T)
    assert main(["reconstruct", str(tmp_path / "a.h5"), "-o", str(tmp_path / "out"), "--no-volume"]) == 0
    assert ("warning" in capsys.readouterr().err) == (bad is not None)


def test_one_frame_is_the_identity_with_a_warning(tmp_path, capsys):
    write_scan(tmp_path / "a.h5", speckle(1))
    assert main(["reconstruct", str(tmp_path / "a.h5"), "-o", str(tmp_path / "out"), "--no-volume"]) == 0
    assert "one frame" in capsys.readouterr().err
    with h5py.File(tmp_path / "out" / "poses.h5") as file:
        np.testing.assert_array_equal(file["T_first_frame"][()], np.eye(4)[None])


def test_no_traceback_from_a_shell(tmp_path):
    root = Path(__file__).resolve().parents[1]
    run = subprocess.run([sys.executable, str(root / "cli.py"), "reconstruct", "missing.h5"], cwd=tmp_path,
                         capture_output=True, text=True, check=False)
    assert run.returncode == 2 and run.stderr == "speckle-rec: missing.h5: no such file\n" and run.stdout == ""


@pytest.mark.parametrize("at, byte", [(16, 0), (24, 255), (24, 127)])
def test_a_heap_that_hdf5_would_walk_for_ever(tmp_path, at, byte):
    data = bytearray(DEFAULT_FILE.read_bytes())
    heap = data.index(b"GCOL")
    data[heap + at:heap + 32] = bytes([byte]) * (32 - at)
    (tmp_path / "c.h5").write_bytes(data)
    with pytest.raises(InputError, match=r"c\.h5: the HDF5 file is damaged"):
        Calibration.load(tmp_path / "c.h5")
