"""Which device computes, what is said about it, and what happens when its memory runs out."""

import types
from types import SimpleNamespace

import numpy as np
import pytest
from small_scans import speckle

from speckle_rec.cli import main
from speckle_rec.compute import device
from speckle_rec.errors import InputError, SpeckleRecError
from speckle_rec.frames.working_images import WorkingImages
from speckle_rec.pairs.batched.frames import Batches, DeviceFrames
from speckle_rec.probe.field import ProbeGeometry
from speckle_rec.scan import Scan

GEOMETRY = ProbeGeometry("linear", (48, 64), np.diag([0.2, 0.2, 1, 1]), (6.4, 0.2), 0.0, (0.0, 9.0), (-6.0, 6.0))


@pytest.fixture
def fresh():
    device.why_not.cache_clear()
    yield
    device.why_not.cache_clear()


def fake_cupy(monkeypatch, module):
    """Put a module (or an error) in the place of cupy."""
    real = device.import_module

    def load(name):
        if name != "cupy":
            return real(name)
        if isinstance(module, Exception):
            raise module
        return module

    monkeypatch.setattr(device, "import_module", load)


def failing_driver():
    raise RuntimeError("cudaErrorInsufficientDriver:\n driver too old")


@pytest.mark.parametrize("module, reason", [
    (ModuleNotFoundError("No module named 'cupy'", name="cupy"), "cupy is not installed (pip install"),
    (ImportError("libcudart.so.12: cannot open", name="cupy._core"), "cannot be imported: libcudart.so.12"),
    (SimpleNamespace(cuda=SimpleNamespace(is_available=lambda: False)), "no device or no driver"),
    (SimpleNamespace(cuda=SimpleNamespace(is_available=failing_driver)), "failed: cudaErrorInsufficientDriver: driver"),
])
def test_why_there_is_no_gpu(monkeypatch, fresh, capsys, tmp_path, module, reason):
    fake_cupy(monkeypatch, module)
    assert reason in device.why_not() and "\n" not in device.why_not()
    with pytest.raises(InputError, match="--device gpu"):
        device.choose("gpu")
    assert device.choose("auto")[0] == device.choose("cpu")[0] == "cpu"
    assert main(["doctor"]) == 0
    assert f"GPU: not used: {device.why_not()}" in capsys.readouterr().out
    (tmp_path / "scan.h5").write_bytes(b"")
    for verb in (["reconstruct", "scan.h5"], ["evaluate", ".", "-o", "out"], ["compound", "scan.h5", "--poses", "p",
                                                                            "-o", "v.nrrd"]):
        assert main([*verb, "--device", "gpu"]) == 2
        err = capsys.readouterr().err
        assert err.count("\n") == 1 and reason in err


def test_auto_warns_only_where_cupy_is_installed(monkeypatch):
    monkeypatch.setattr(device, "why_not", lambda: "CUDA finds no device or no driver")
    monkeypatch.setattr(device, "installed", lambda: False)
    assert device.choose("auto") == ("cpu", None)
    monkeypatch.setattr(device, "installed", lambda: True)
    assert device.choose("auto") == ("cpu", "the GPU is not used: CUDA finds no device or no driver")
    assert device.choose("cpu") == ("cpu", None)


def test_a_gpu_that_computes_nonsense_is_not_used(monkeypatch, fresh):
    wrong = types.ModuleType("cupy")
    wrong.cuda = SimpleNamespace(is_available=lambda: True)
    wrong.zeros, wrong.ones, wrong.asarray = np.zeros, np.zeros, np.asarray
    fake_cupy(monkeypatch, wrong)
    monkeypatch.setattr(device.metadata, "version", lambda name: "1")
    assert device.why_not() == "a trial kernel failed: wrong results"
    wrong.ones = np.ones
    device.why_not.cache_clear()
    assert device.why_not() is None


# -- memory

def test_batches_halve_until_they_fit():
    asked = []

    def work(rows):
        asked.append(rows.stop - rows.start)
        if rows.stop - rows.start > 5:
            raise MemoryError
        return np.arange(rows.start, rows.stop)

    batches = Batches(np, 16)
    np.testing.assert_array_equal(np.concatenate(batches.run(work, 11)), np.arange(11))
    assert asked == [11, 8, 4, 4, 3]
    assert batches.at_once == 4
    assert batches.run(work, 0) == []


def test_a_pair_that_does_not_fit_is_told_in_one_line():
    def work(rows):
        raise MemoryError
    with pytest.raises(SpeckleRecError, match="one frame pair; use --device cpu"):
        Batches(np, 8).run(work, 3)


def images(n=70):
    return WorkingImages.of(Scan.from_arrays(speckle(n), scale=GEOMETRY.scale), GEOMETRY)


def test_frames_that_do_not_fit_are_told_in_one_line():
    def empty(*args):
        raise MemoryError
    with pytest.raises(SpeckleRecError, match=r"no 0\.0 GB for 70 frames; use --device cpu"):
        DeviceFrames(images(), SimpleNamespace(empty=empty))


class Late(np.ndarray):
    """An array whose copies from pinned memory happen as late as they may."""

    pending: list = []      # noqa: RUF012

    def set(self, source, stream=None):
        assert stream is not None
        Late.pending.append((self, source))


def deliver():
    """Do all copies that were asked for, from what the buffers hold now."""
    for target, source in Late.pending:
        np.asarray(target)[...] = source
    Late.pending.clear()


def test_frames_go_up_through_two_buffers_and_are_waited_for():
    """No buffer is filled again before it was sent off, and the work waits for each block."""
    buffers, waited = [], []

    def pinned(size):
        buffers.append(bytearray(size))
        return buffers[-1]

    def stream(non_blocking):
        return SimpleNamespace(record=lambda: SimpleNamespace(synchronize=deliver))

    cuda = SimpleNamespace(alloc_pinned_memory=pinned, Stream=stream,
                           get_current_stream=lambda: SimpleNamespace(wait_event=waited.append))
    xp = SimpleNamespace(empty=lambda shape, kind: np.zeros(shape, kind).view(Late), cuda=cuda, asarray=np.asarray)
    made = images()
    frames = DeviceFrames(made, xp)
    for k, (start, block) in enumerate(frames.blocks(), 1):
        assert len(waited) == k and len(block) == min(32, 70 - start)
    assert len({id(event) for event in waited}) == 3
    deliver()
    np.testing.assert_array_equal(np.asarray(frames.data), made.scan.frames())
    assert [len(b) for b in buffers] == [32 * 48 * 64] * 2
