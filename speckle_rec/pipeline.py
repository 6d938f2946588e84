"""From frames to poses: the method on one screen (docs/METHOD.md tells it as a paper would)."""

from dataclasses import replace

from .arguments import settled
from .compute.clock import Clock, Progress
from .compute.memory import keep_freed
from .config import Config
from .frames.view import look
from .pairs.measure import measure
from .result import Reconstruction, still
from .scan import Scan
from .speckle.calibration import Calibration
from .speckle.curves import Curves
from .trajectory.conclude import conclude
from .trajectory.model_choice import estimate_with


def reconstruct(scan: Scan, *, calibration: Calibration | Curves | None = None, config: Config | None = None,
                device: str = "auto", progress: Progress | None = None) -> Reconstruction:
    """Poses of every frame of a scan, from its images alone.

    Parameters
    ----------
    scan : frames and pixel scale; tracked poses, if the scan has any, are never looked at.
    calibration : of this machine; by default the one shipped for curvilinear probes, physical curves for linear
        ones. Bare curves go without the regression over what the images show of each cell.
    config : the few parameters; defaults if None.
    device : "cpu", "gpu", or "auto" for that of `config` (by default a GPU that works); where frame pairs are
        measured.
    progress : called with (stage, done, total).

    Raises
    ------
    InputError
        If an argument is not what it should be, or "gpu" is asked for and none works.
    """
    config, device = settled(scan, calibration, config, device, progress)
    if scan.n_frames == 1:
        return still()
    keep_freed()
    clock = Clock(progress)
    with clock.stage("probe"):
        view = look(scan.filled().kept())
    if not view.measurable:
        config = replace(config, fusion="smooth")
    measurements = measure(view, config, device, clock)
    trajectory, speckle, measurements = estimate_with(calibration, view, measurements, config, clock)
    return conclude(view, measurements, speckle, trajectory, config, clock)
