"""benchmarks/gpu.py: its steps run (on numpy, where their times mean nothing), and it owns up to having no GPU."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import scenes

from speckle_rec import geometry
from speckle_rec.compute import device
from speckle_rec.frames.working_images import WorkingImages
from speckle_rec.pairs import backends
from speckle_rec.result import Reconstruction
from speckle_rec.scan import Scan

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = ROOT / "benchmarks" / "gpu.py"


@pytest.fixture
def benchmark(monkeypatch):
    spec = importlib.util.spec_from_file_location("gpu_benchmark", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "gpu_benchmark", module)
    spec.loader.exec_module(module)

    def once(run, wait, repeats=1):
        run()
        return 1.0

    monkeypatch.setattr(module, "best", once)
    return module


def test_without_a_gpu_it_is_one_line_and_status_2():
    if device.why_not() is None:
        pytest.skip("there is a GPU")
    ran = subprocess.run([sys.executable, SCRIPT], env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True,
                         text=True, timeout=300)
    assert ran.returncode == 2 and ran.stdout == ""
    assert ran.stderr == f"benchmarks/gpu.py: no GPU to measure: {device.why_not()}\n"


def test_every_kernel_runs_and_has_a_row(benchmark):
    benchmark.EDGE, benchmark.FIELDS = 20, 2
    frames = np.stack([scenes.frame()] * 2)
    rows = benchmark.kernels(np, frames, scenes.SECTOR, 2)
    lines = benchmark.table(rows, 1e9, 2e9, 1e9, lambda: None)
    assert len(lines) == len(rows) + 2 and len(rows) == 13
    fields = next(row for row in rows if row.name == "displacement fields")
    assert fields.bytes == 2 * 3 * 260 * 300 * 4
    assert f"of the write bandwidth: {fields.bytes / 2e9:.2f}" in "\n".join(lines)
    assert all(row.operations > 0 for row in rows)


def test_ceilings(benchmark):
    copy, write, gemm = benchmark.ceilings(np, lambda: None, size=1000, edge=16)
    assert (copy, write, gemm) == (8000.0, 4000.0, 2.0 * 16**3)


def test_stages_of_a_scan(benchmark):
    scan = Scan.from_arrays(np.stack([scenes.frame(seed=k) for k in range(3)]), scale=scenes.SCALE)
    images = WorkingImages.of(scan, scenes.SECTOR)
    times = benchmark.stages(backends.OnGpu(images, np), images, lambda: None)
    assert list(times) == ["in-plane motion", "speckle correlation", "revisits"]


def test_parity_of_two_results(benchmark, scan_file):
    scan = Scan.open(scan_file)
    true = scan.T_first_frame_tracked
    lifted = true.copy()
    lifted[3, 2, 3] += 0.5
    one, other = (Reconstruction(T, geometry.steps(T), np.zeros((6, 6, 6)), np.ones(6, np.float32))
                  for T in (true, lifted))
    assert "apart: 0.5 mm at most, 0 in the median" in benchmark.parity(scan, one, other)
    assert "scores 1.0000, 0." in benchmark.parity(scan, one, other)
    scan.T_world_tool = None
    assert "scores" not in benchmark.parity(scan, one, other)
