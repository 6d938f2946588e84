"""The Python interface as it is meant: paths, arrays, results kept and shown, the verbs; nothing else is changed."""

import inspect
import json
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import cv2
import h5py
import numpy as np
import pytest
import scenes
from small_scans import speckle

import speckle_rec as sr
from speckle_rec.cli import VERBS
from speckle_rec.errors import InputError, SpeckleRecError
from speckle_rec.verbs import as_verb

ROOT = Path(__file__).resolve().parents[1]
N = 12
CONFIG = sr.Config(jobs=1, fusion="smooth", device="cpu")


@pytest.fixture(scope="module")
def frames():
    face = np.array([*scenes.SECTOR.face_mm, 0])
    from speckle_rec import geometry
    T = scenes.trajectory(tilt_rad=np.linspace(0, 0.03, N), x_mm=np.linspace(0, 0.5, N))
    return np.stack([scenes.phantom()(geometry.translation(face) @ t @ geometry.translation(-face), k)
                     for k, t in enumerate(T)])


PIXEL = tuple(np.diag(scenes.SCALE)[:2])


@pytest.fixture(scope="module")
def result(frames):
    return sr.reconstruct(frames, pixel_mm=PIXEL, frame_rate_hz=25, config=CONFIG)


# -- what is reconstructed

def test_arrays_files_and_scans_are_the_same(tmp_path, frames, result):
    np.save(tmp_path / "a.npy", frames)
    scan = sr.Scan.from_arrays(frames, pixel_mm=PIXEL, frame_rate_hz=25)
    for given, options in ((scan, {}), (tmp_path / "a.npy", {"pixel_mm": PIXEL, "frame_rate_hz": 25}),
                           (np.load(tmp_path / "a.npy", mmap_mode="r"), {"pixel_mm": PIXEL, "frame_rate_hz": 25})):
        got = sr.reconstruct(given, config=CONFIG, **options)
        np.testing.assert_array_equal(got.T_first_frame, result.T_first_frame)
        assert got.scan.frame_rate_hz == 25


class Sliced:
    """Like a dask array: a shape, a type, slices that become arrays; counts how much is read at a time."""

    def __init__(self, data):
        self.data, self.shape, self.dtype, self.most = data, data.shape, data.dtype, 0

    def __getitem__(self, key):
        part = self.data[key]
        self.most = max(self.most, len(part))
        return part


def test_what_can_be_sliced_is_read_by_block():
    lazy = Sliced(speckle(300))
    scan = sr.Scan.from_arrays(lazy, pixel_mm=0.2)
    assert scan.n_frames == 300 and lazy.most <= 1
    for start, block in scan.blocks():
        np.testing.assert_array_equal(block, lazy.data[start:start + 64])
    assert lazy.most == 64


def test_dask_and_hdf5_arrays(tmp_path):
    da = pytest.importorskip("dask.array", reason="NOT RUN: dask is not installed")
    array = da.from_array(speckle(5), chunks=(2, 48, 64))
    np.testing.assert_array_equal(sr.Scan.from_arrays(array, pixel_mm=0.2).frames(1, 4), speckle(5)[1:4])
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x"] = speckle(5)
        np.testing.assert_array_equal(sr.Scan.from_arrays(file["x"], pixel_mm=0.2).frames(), speckle(5))


# -- a result

def test_a_result_is_shown_in_five_lines(result):
    assert len(repr(result).splitlines()) == 5 and "12 frames" in repr(result) and "shape" in repr(result)
    html = result._repr_html_()
    assert html.startswith("<div>") and html.count("<tr>") == 4 and result.verdict["shape"] in html
    bare = sr.Reconstruction(*(getattr(result, n) for n in ("T_first_frame", "T_prev_frame", "covariance",
                                                            "confidence")), warnings=["<script>"])
    assert "<script>" not in bare._repr_html_() and len(repr(bare).splitlines()) == 5


def test_a_result_is_saved_and_loaded(tmp_path, frames, result):
    np.save(tmp_path / "a.npy", frames)
    made = sr.reconstruct(tmp_path / "a.npy", pixel_mm=PIXEL, config=CONFIG)
    summary = made.save(tmp_path / "r")
    assert (tmp_path / "r" / "volume.nrrd").is_file() and (tmp_path / "r" / "report.html").is_file()
    assert summary == json.loads((tmp_path / "r" / "summary.json").read_text()) | {"verdict": summary["verdict"]}
    again = sr.Reconstruction.load(tmp_path / "r")
    for name in ("T_first_frame", "T_prev_frame", "covariance", "confidence"):
        np.testing.assert_allclose(getattr(again, name), getattr(made, name), atol=1e-12)
    assert again.verdict == made.verdict and again.scan.n_frames == N and again.geometry.kind == made.geometry.kind
    assert repr(again) == repr(made)
    with pytest.raises(InputError, match="overwrite"):
        made.save(tmp_path / "r")
    (tmp_path / "a.npy").unlink()
    assert sr.Reconstruction.load(tmp_path / "r").scan is None
    with pytest.raises(InputError, match=r"result\.scan"):
        sr.Reconstruction.load(tmp_path / "r").to_volume()


def test_a_result_becomes_a_volume_and_a_figure(tmp_path, result):
    volume = result.to_volume(spacing_mm=1.0)
    assert volume.data.any() and volume.spacing_mm == 1
    same = sr.compound(result.scan, result, tmp_path / "v.nrrd", spacing_mm=1.0)
    np.testing.assert_array_equal(same.data, volume.data)
    assert (tmp_path / "v.nrrd").is_file()
    figure = result.plot(tmp_path / "p.png")
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG") and len(figure.axes) >= 8


# -- the verbs

def test_verbs_have_the_names_and_defaults_of_the_command_line():
    for name in ("evaluate", "compound"):
        function, verb = getattr(sr, name), getattr(import_module(f"speckle_rec.cli.{name}"), name)
        ours = {k: p.default for k, p in inspect.signature(function).parameters.items()}
        for option, default in as_verb.options(verb).items():
            if option in ours:
                assert ours[option] == default, (name, option)
        assert not set(as_verb.options(verb)) - set(ours) - {"accumulation", "jobs"}
    assert {"evaluate", "calibrate", "simulate", "compound", "reconstruct"} <= set(VERBS) & set(sr.__all__)


def test_a_data_set_is_simulated_evaluated_and_refused(tmp_path, monkeypatch):
    from speckle_rec.verbs import simulate as module
    seen = {}
    monkeypatch.setattr(module.verb, "simulate", lambda out, layout="train", frames=1600, quiet=False,
                        no_progress=False: seen.update(out=out, frames=frames, quiet=quiet))
    folder = tmp_path / "d" / "frames_transfs" / "000"
    folder.mkdir(parents=True)
    (folder / "a.h5").touch()
    assert sr.simulate(tmp_path / "d", frames=20) == [folder / "a.h5"]
    assert seen == {"out": tmp_path / "d", "frames": 20, "quiet": True}
    with pytest.raises(InputError, match="layout, frames, found 'frame'"):
        sr.simulate(tmp_path / "d", frame=20)
    with pytest.raises(InputError):
        sr.evaluate(tmp_path / "none", tmp_path / "e")
    with pytest.raises(InputError):
        sr.evaluate(3, tmp_path / "e")
    with pytest.raises(SpeckleRecError):
        sr.calibrate(tmp_path / "none.h5", tmp_path / "c.h5")


def test_evaluate_returns_rows_and_means(scan_file, tmp_path):
    found = sr.evaluate(scan_file.parents[2], tmp_path / "e", config=CONFIG)
    assert [row.name for row in found.rows] == ["sub007__RH_rotation"] and not found.failed
    assert "final" in found.mean() and (tmp_path / "e" / "metrics.csv").is_file()


# -- the caller's process

def state():
    import locale
    import signal
    import tempfile
    import warnings

    import matplotlib
    import numba
    return {"environment": dict(os.environ), "threads": (numba.get_num_threads(), cv2.getNumThreads()),
            "signals": [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)], "errors": np.geterr(),
            "filters": list(warnings.filters), "backend": matplotlib.rcParams["backend"], "cwd": Path.cwd(),
            "locale": locale.setlocale(locale.LC_ALL), "random": np.random.get_state()[1].tolist(),  # noqa: NPY002
            "tempdir": tempfile.tempdir, "paths": list(sys.path), "recursion": sys.getrecursionlimit()}


def test_a_call_leaves_the_process_as_it_was(frames, tmp_path, monkeypatch):
    import ctypes
    changed = []
    real = ctypes.CDLL

    class Watched:
        def __init__(self, *args, **options):
            self._real = real(*args, **options)

        def __getattr__(self, name):
            if name == "mallopt":
                changed.append(name)
            return getattr(self._real, name)
    monkeypatch.setattr(ctypes, "CDLL", Watched)
    before = state()
    sr.reconstruct(frames, pixel_mm=PIXEL, config=CONFIG).plot()
    after = state()
    assert {name for name in before if before[name] != after[name]} == set() and not changed
    sr.tune()
    assert changed


def test_an_import_is_quick_and_changes_nothing():
    code = ("import os, sys, time; before = dict(os.environ); start = time.perf_counter(); import speckle_rec as sr; "
            "took = time.perf_counter() - start; names = dir(sr); "
            "print(took, dict(os.environ) == before, 'numpy' in sys.modules, sr.__version__, *names)")
    best = 9.0
    for _ in range(3):
        took, same, numpy, version, *names = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
        best = min(best, float(took))
    assert (same, numpy, version) == ("True", "False", sr.__version__) and set(sr.__all__) <= set(names)
    assert best < 1.0       # 0.05 s where nothing else runs


def test_all_that_is_named_is_there():
    for name in sr.__all__:
        assert getattr(sr, name) is not None
    names: dict = {}
    exec("from speckle_rec import *", names)
    assert set(sr.__all__) <= set(names) and (ROOT / "speckle_rec" / "py.typed").is_file()
    with pytest.raises(AttributeError):
        sr.nothing  # noqa: B018
