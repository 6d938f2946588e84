"""What pairs of frames tell: motion in the plane, correlation of cells, places that are seen again."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..compute.clock import Clock
from ..config import Config
from ..frames.working_images import WorkingImages
from ..products.stages import NO_FILTER, Measurements, TimeFilter, View
from . import lag_closure, time_filter
from .backends import Backend, Progress, backend_of
from .block_matching import PlanarMotion
from .loop_closures import NO_LOOPS
from .planar_chain import planar_chain

Array = NDArray[np.float64]


@dataclass(frozen=True)
class InPlane:
    """In-plane motion of a scan.

    Attributes
    ----------
    motion : of pairs.   step : [N, 3] (x, y, roll) into each frame, as they agree on it.
    covariance : [N, 3, 3] of it.   duplicate : bool [N], frames that show the picture before again.
    filtered : the scanner's filter over time.
    """

    motion: PlanarMotion
    step: Array
    covariance: Array
    duplicate: NDArray[np.bool_]
    filtered: TimeFilter


def in_plane(images: WorkingImages, pairs: Backend, filtered: str, progress: Progress = None) -> InPlane:
    """Matches of pairs, near ones made to see what far ones do, and the steps that they agree on.

    Parameters
    ----------
    filtered : "auto" or "none", `Config.time_filter`.
    """
    found = time_filter.find(images) if filtered == "auto" else NO_FILTER
    matches, duplicate = pairs.planar_motion(progress=progress)
    motion = lag_closure.closed(matches)
    return InPlane(motion, *planar_chain(motion, images.scan.n_frames), duplicate, found)


def measure(view: View, config: Config, device: str, clock: Clock) -> Measurements:
    """Measure the pairs of a scan, on the CPU or a GPU.

    Raises
    ------
    InputError
        If `device` is "gpu" and none works.
    """
    images = view.images
    pairs = backend_of(images, device, config.jobs)
    with clock.stage("in-plane motion") as report:
        planar = in_plane(images, pairs, config.time_filter, report)
    lost = np.ones_like(view.lost) if planar.filtered.only_noise else view.lost
    with clock.stage("speckle correlation") as report:
        speckle = pairs.correlate(view.cells, planar.step, planar.duplicate, progress=report).without(lost)
    loops = NO_LOOPS
    if config.fusion == "revisits":
        with clock.stage("revisits") as report:
            loops = pairs.find_loops(view.cells, planar.step, planar.duplicate, progress=report)
            loops = replace(loops, speckle=loops.speckle.without(lost))
    return Measurements(planar.motion, planar.step, planar.covariance, planar.duplicate, speckle, loops, images,
                        pairs.name, planar.filtered, (*pairs.warnings, *time_filter.warnings_of(planar.filtered)))
