"""What pairs of frames tell: motion in the plane, correlation of cells, places that are seen again."""

from dataclasses import replace

from ..compute.clock import Clock
from ..config import Config
from ..products.stages import NO_FILTER, Measurements, View
from . import time_filter
from .backends import backend_of
from .loop_closures import NO_LOOPS
from .planar_chain import planar_chain


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
        filtered = time_filter.find(images) if config.time_filter == "auto" else NO_FILTER
        planar, duplicate = pairs.planar_motion(progress=report)
        planar = time_filter.unpulled(planar, filtered)
        step, covariance = planar_chain(planar, view.scan.n_frames)
    with clock.stage("speckle correlation") as report:
        speckle = pairs.correlate(view.cells, step, duplicate, progress=report).without(view.lost)
    loops = NO_LOOPS
    if config.fusion == "revisits":
        with clock.stage("revisits") as report:
            loops = pairs.find_loops(view.cells, step, duplicate, progress=report)
            loops = replace(loops, speckle=loops.speckle.without(view.lost))
    return Measurements(planar, step, covariance, duplicate, speckle, loops, images, pairs.name, filtered,
                        (*pairs.warnings, *time_filter.warnings_of(filtered)))
