"""Which device computes: whether a GPU works, and if not, why."""

from functools import cache
from importlib import import_module, metadata
from importlib.util import find_spec
from typing import Any

import numpy as np

from ..errors import InputError

EXTRAS = "pip install 'speckle-rec[gpu12]' for CUDA 12, 'speckle-rec[gpu13]' for CUDA 13"


@cache
def why_not() -> str | None:
    """Why no GPU can be used, on one line; None where one works: it has been given work and done it right."""
    try:
        cupy: Any = import_module("cupy")
    except ImportError as error:
        if error.name == "cupy":
            return f"cupy is not installed ({EXTRAS})"
        return f"cupy cannot be imported: {_one_line(error)}"
    try:
        if not cupy.cuda.is_available():
            return "CUDA finds no device or no driver"
        metadata.version("numba-cuda")
        _try_out(cupy)
    except metadata.PackageNotFoundError:
        return f"numba-cuda is not installed ({EXTRAS})"
    except Exception as error:      # whatever a driver, a compiler or a device of the wrong kind comes up with
        return f"a trial kernel failed: {_one_line(error)}"
    return None


def _try_out(cupy: Any) -> None:
    """Run one kernel and one product on the GPU.

    Raises
    ------
    RuntimeError
        If the results are wrong.
    """
    from ..kernels import gpu
    surfaces = cupy.zeros((1, 3, 3), np.float32)
    image = cupy.asarray(np.random.default_rng(0).normal(size=(6, 6)).astype(np.float32))
    one = cupy.ones(1, np.int64)
    gpu.block_ncc(image, image, one, one, 4, 1, surfaces)
    whole = (slice(None),) * 3
    product, _ = gpu.similarity(cupy.ones((2, 1, 3), np.float32), [(whole, whole)])
    if not (abs(float(surfaces[0, 1, 1]) - 1) < 1e-5 and abs(float(product[0, 1]) - 3) < 1e-5):
        raise RuntimeError("wrong results")


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__


def installed() -> bool:
    """True where a GPU is meant to be used: cupy is installed."""
    return find_spec("cupy") is not None


def choose(device: str) -> tuple[str, str | None]:
    """("cpu" or "gpu", warning or None) of "auto", "cpu" or "gpu".

    "auto" takes a GPU that works. It warns where cupy is installed but cannot be used; without cupy nobody expects
    a GPU, and `doctor` says how to get one.

    Raises
    ------
    InputError
        If a GPU is demanded and none works.
    """
    if device == "cpu":
        return "cpu", None
    reason = why_not()
    if reason is None:
        return "gpu", None
    if device == "gpu":
        raise InputError(f"--device gpu: {reason}; use auto or cpu")
    return "cpu", f"the GPU is not used: {reason}" if installed() else None


def arrays(device: str) -> Any:
    """Array module of "cpu" (numpy) or "gpu" (cupy)."""
    return import_module("cupy") if device == "gpu" else np


def to_host(array: Any) -> Any:
    """A numpy array of what lies on any device."""
    return array.get() if hasattr(array, "get") else array


def name() -> str:
    """Name and memory of the GPU in use."""
    cupy = arrays("gpu")
    found = cupy.cuda.runtime.getDeviceProperties(cupy.cuda.Device().id)
    return f"{found['name'].decode()}, {found['totalGlobalMem'] / 2**30:.0f} GiB"
