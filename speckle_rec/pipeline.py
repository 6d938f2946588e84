"""From frames to poses: the method on one screen (docs/METHOD.md tells it as a paper would)."""

from collections.abc import Sequence
from dataclasses import replace
from os import PathLike
from typing import Any

from numpy.typing import NDArray

from .arguments import as_scan, settled, with_settings
from .compute.clock import Clock, Progress
from .config import Config
from .frames.view import look
from .io.orientation import Orientation
from .pairs.measure import measure
from .result import Reconstruction, still
from .scan import Scan
from .speckle.calibration import Calibration
from .speckle.curves import Curves
from .trajectory.conclude import conclude
from .trajectory.model_choice import estimate_with


def reconstruct(scan: Scan | str | PathLike[str] | Any, *, calibration: Calibration | Curves | None = None,
                config: Config | None = None, device: str = "auto", progress: Progress | None = None,
                pixel_mm: float | Sequence[float] | None = None, frame_rate_hz: float | None = None,
                orientation: Orientation | str | PathLike[str] | NDArray[Any] | None = None,
                **settings: Any) -> Reconstruction:
    """Poses of every frame of a scan, from its images alone.

    Parameters
    ----------
    scan : frames and pixel scale, the path of a file that `Scan.open` reads, or an array of frames [N, rows, columns]
        (NumPy, dask, a memory map); tracked poses, if the scan has any, are never looked at.
    calibration : of this machine; by default the one shipped, or bare curves for linear probes and scans
        without the protocol's rocks. Bare curves go without the regression over what the images show of each cell.
    config : the few parameters; defaults if None.
    device : "cpu", "gpu", or "auto" for that of `config` (by default a GPU that works); where frame pairs are
        measured.
    progress : called with (stage, done, total).
    pixel_mm : width and height of a pixel, or one number for both, of frames or of a file that does not tell.
    frame_rate_hz : of frames, or of a file instead of its own; by default 20.
    orientation : of an inertial sensor on the probe, which tells the mirror image, tilt and turn: a CSV file
        (docs/HANDEDNESS.md), or a table [K, 5] of times (s) and quaternions (w, x, y, z).
    **settings : parameters of `Config` by name, instead of those of `config`: swept="away", motion="sweep", ...

    Raises
    ------
    InputError
        If an argument is not what it should be, "gpu" is asked for and none works, or what is told of the directions
        of the motion disagrees.
    """
    scan = as_scan(scan, pixel_mm, frame_rate_hz)
    config, device = settled(scan, calibration, with_settings(config, settings), device, progress)
    sensor = None if orientation is None else Orientation.of(orientation)
    if scan.n_frames == 1:
        return replace(still(), scan=scan)
    clock = Clock(progress)
    with clock.stage("probe"):
        view = look(scan.filled().kept())
    if not view.measurable:
        config = replace(config, fusion="smooth")
    measurements = measure(view, config, device, clock)
    trajectory, speckle, measurements = estimate_with(calibration, view, measurements, config, clock)
    return replace(conclude(view, measurements, speckle, trajectory, config, clock, sensor), scan=scan)
