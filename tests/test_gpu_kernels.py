"""GPU kernels agree with their CPU twins: in the CUDA simulator, as plain loops, and on a GPU where there is one."""

import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import gpu_parity
import numba
import numpy as np
import pytest

from speckle_rec.kernels import launch


@pytest.mark.parametrize("name", gpu_parity.CASES)
def test_kernel_as_a_plain_loop(name):
    gpu_parity.CASES[name](np.asarray)


def test_kernels_in_the_cuda_simulator():
    """In a process of its own: numba reads the variable once, when it is imported."""
    ran = subprocess.run([sys.executable, gpu_parity.__file__], env={**os.environ, "NUMBA_ENABLE_CUDASIM": "1"},
                         cwd=Path(gpu_parity.__file__).parent, capture_output=True, text=True, timeout=600)
    assert ran.returncode == 0, ran.stderr[-3000:]
    assert ran.stdout.strip() == f"simulator: {len(gpu_parity.CASES)} cases agree"


@pytest.fixture
def ptx(monkeypatch):
    """Compile a kernel for the types of its arguments, as for a GPU of compute capability 8.0; none is needed."""
    try:
        metadata.version("numba-cuda")
    except metadata.PackageNotFoundError:
        pytest.skip("NOT COMPILED FOR CUDA: numba-cuda is not installed (extras [gpu12], [gpu13])")
    from numba import cuda
    dispatcher = sys.modules[type(cuda.jit(device=True)(lambda x: x)).__module__]
    monkeypatch.setattr(dispatcher, "get_current_device", lambda: SimpleNamespace(compute_capability=(8, 0)))
    return lambda kernel, types: cuda.compile_ptx(launch.cuda_function(kernel), types, cc=(8, 0))[0]


@pytest.mark.parametrize("name", gpu_parity.CASES)
def test_kernel_compiles_for_cuda(name, ptx, monkeypatch):
    """The simulator runs Python; a CUDA compiler knows fewer functions, and other types."""
    called = {}
    run = launch.Kernel.__call__

    def record(kernel, shape, *arguments):
        types = tuple(numba.typeof(a) for a in (shape, *arguments))
        called[id(kernel), types] = kernel, types
        run(kernel, shape, *arguments)

    monkeypatch.setattr(launch.Kernel, "__call__", record)
    gpu_parity.CASES[name](np.asarray)
    for kernel, types in called.values():
        assert ".visible .entry" in ptx(kernel, types)


@pytest.mark.parametrize("name", gpu_parity.CASES)
def test_kernel_on_a_gpu(name, cupy):
    gpu_parity.CASES[name](cupy.asarray)


def test_results_stay_on_the_gpu(cupy):
    assert launch.xp_of(cupy.zeros(1)) is cupy
    assert launch.xp_of(np.zeros(1)) is np
