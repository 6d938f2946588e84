"""GPU kernels agree with their CPU twins: in numba's CUDA simulator, as plain loops, and on a GPU where there is one."""

import os
import subprocess
import sys
from pathlib import Path

import gpu_parity
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


@pytest.mark.parametrize("name", gpu_parity.CASES)
def test_kernel_on_a_gpu(name, cupy):
    gpu_parity.CASES[name](cupy.asarray)


def test_results_stay_on_the_gpu(cupy):
    assert launch.xp_of(cupy.zeros(1)) is cupy
    assert launch.xp_of(np.zeros(1)) is np
