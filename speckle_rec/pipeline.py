"""From frames to poses: the method on one screen (docs/METHOD.md tells it as a paper would)."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from . import geometry as se3
from .confidence import judge
from .config import Config
from .decorrelation import Curves, correlate
from .direction import out_of_plane_steps
from .fusion import chained_covariance, smooth
from .inplane import planar_chain, planar_motion
from .probe import cells, find
from .result import Reconstruction
from .scan import Scan
from .working import WorkingImages

Progress = Callable[[str, int, int], None]


def reconstruct(scan: Scan, *, calibration: Curves | None = None, config: Config | None = None,
                device: str = "auto", progress: Progress | None = None) -> Reconstruction:
    """Poses of every frame of a scan, from its images alone.

    Parameters
    ----------
    scan : frames and pixel scale; tracked poses, if the scan has any, are never looked at.
    calibration : decorrelation curves; the physical default if None.
    config : the few parameters; defaults if None.
    device : "cpu"; "auto" takes the CPU too, as there is no GPU path yet.
    progress : called with (stage, done, total).

    Returns
    -------
    Reconstruction

    Raises
    ------
    InputError
        If `device` is not one that works here.
    """
