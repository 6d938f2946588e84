"""Fixtures: a scan file, a stand-in for the estimate, and where the public example data lie."""

import importlib
import os
import sys
import types
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")      # as the command line does

import hypothesis
import numpy as np
import pytest
from small_scans import random_poses, speckle

from speckle_rec import geometry
from speckle_rec.io import calib, tusrec
from speckle_rec.result import Reconstruction
from speckle_rec.storage import outputs as output_files

hypothesis.settings.register_profile("untimed", deadline=None,      # a busy machine is no failure
                                     suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("untimed")


@pytest.fixture
def scan_file(tmp_path) -> Path:
    """A tracked TUS-REC scan of six frames in the training layout."""
    path = tmp_path / "frames_transfs" / "007" / "RH_rotation.h5"
    path.parent.mkdir(parents=True)
    tusrec.write_scan(path, speckle(6), random_poses(6))
    known = calib.built_in()
    calib.write_challenge(tmp_path / "calib_matrix.csv", known.scale, known.T_tool_image)
    return path


@pytest.fixture
def fake_pipeline(monkeypatch, request):
    """Put a stand-in in place of the estimate: frame i lies i * 0.1 mm along z.

    Figures, which take a second a result, are left out unless the test is marked `figures`.
    """
    if request.node.get_closest_marker("figures") is None:
        monkeypatch.setattr(output_files, "_write_plots", lambda *args: None)
        monkeypatch.setattr(output_files, "write_report", lambda *args: None)

    def reconstruct(scan, *, calibration=None, config=None, device="auto", progress=None):
        offset = np.zeros((scan.n_frames, 3))
        offset[:, 2] = 0.1 * np.arange(scan.n_frames)
        T_first_frame = geometry.translation(offset)
        if progress:
            progress("matching", scan.n_frames, scan.n_frames)
        return Reconstruction(T_first_frame, geometry.steps(T_first_frame), np.zeros((scan.n_frames, 6, 6)),
                              np.ones(scan.n_frames, np.float32), numbers={"elevational_path_mm": 1.0, "nan": np.nan})

    module = types.ModuleType("speckle_rec.pipeline")
    module.reconstruct = reconstruct
    monkeypatch.setitem(sys.modules, "speckle_rec.pipeline", module)
    return reconstruct


@pytest.fixture(scope="session")
def cupy():
    """cupy, where it finds a GPU that works; otherwise the test is skipped with what is missing."""
    from speckle_rec.compute.device import why_not
    reason = why_not()
    if reason is not None:
        pytest.skip(f"NOT RUN ON A GPU: {reason}")
    return importlib.import_module("cupy")


@pytest.fixture
def shared_data() -> Path:
    """The public example data beside the checkout; the test is skipped, with a reason, where they are not."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no example data at {folder}")
    return folder
