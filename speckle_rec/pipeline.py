"""From frames to poses: the method on one screen (docs/METHOD.md tells it as a paper would)."""

from collections.abc import Sequence
from dataclasses import replace
from os import PathLike
from typing import Any

from .arguments import as_scan, settled
from .compute.clock import Clock, Progress
from .config import Config
from .frames.view import look
from .pairs.measure import measure
from .result import Reconstruction, still
from .scan import Scan
from .speckle.calibration import Calibration
from .speckle.curves import Curves
from .trajectory.conclude import conclude
from .trajectory.model_choice import estimate_with


def reconstruct(scan: Scan | str | PathLike[str] | Any, *, calibration: Calibration | Curves | None = None,
                config: Config | None = None, device: str = "auto", progress: Progress | None = None,
                pixel_mm: float | Sequence[float] | None = None, frame_rate_hz: float | None = None) -> Reconstruction:
    """Poses of every frame of a scan, from its images alone.

    Parameters
    ----------
    scan : frames and pixel scale, the path of a file that `Scan.open` reads, or an array of frames [N, rows, columns]
        (NumPy, dask, a memory map); tracked poses, if the scan has any, are never looked at.
    calibration : of this machine; by default the one shipped for curvilinear probes, physical curves for linear
        ones. Bare curves go without the regression over what the images show of each cell.
    config : the few parameters; defaults if None.
    device : "cpu", "gpu", or "auto" for that of `config` (by default a GPU that works); where frame pairs are
        measured.
    progress : called with (stage, done, total).
    pixel_mm : width and height of a pixel, or one number for both, of frames or of a file that does not tell.
    frame_rate_hz : of frames, or of a file instead of its own; by default 20.

    Raises
    ------
    InputError
        If an argument is not what it should be, or "gpu" is asked for and none works.
    """
    scan = as_scan(scan, pixel_mm, frame_rate_hz)
    config, device = settled(scan, calibration, config, device, progress)
    if scan.n_frames == 1:
        return replace(still(), scan=scan)
    clock = Clock(progress)
    with clock.stage("probe"):
        view = look(scan.filled().kept())
    if not view.measurable:
        config = replace(config, fusion="smooth")
    measurements = measure(view, config, device, clock)
    trajectory, speckle, measurements = estimate_with(calibration, view, measurements, config, clock)
    return replace(conclude(view, measurements, speckle, trajectory, config, clock), scan=scan)
