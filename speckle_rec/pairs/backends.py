"""Where a scan is measured: the same three steps on the CPU's threads or on a GPU."""

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..compute import device
from ..frames.working_images import WorkingImages
from ..probe.field import Cells
from . import block_matching, correlation, loop_closures
from .batched import correlation as batched_correlation
from .batched import matching, revisits
from .batched.frames import Batches, DeviceFrames
from .block_matching import PlanarMotion
from .correlation import Correlations
from .loop_closures import Loops

Array = NDArray[np.float64]
Progress = Callable[[int, int], None] | None


class Backend(Protocol):
    """What `pipeline.reconstruct` asks of a device; `warnings` says what it is not told otherwise."""

    name: str
    warnings: list[str]

    def planar_motion(self, *, progress: Progress = None) -> tuple[PlanarMotion, NDArray[np.bool_]]: ...
    def correlate(self, cells: Cells, planar_step: Array, skip: NDArray[np.bool_], *,
                  progress: Progress = None) -> Correlations: ...
    def find_loops(self, cells: Cells, planar_step: Array, skip: NDArray[np.bool_], *,
                   progress: Progress = None) -> Loops: ...


class OnCpu:
    """Measurements on the CPU, the specification of those on a GPU."""

    name = "cpu"

    def __init__(self, images: WorkingImages, jobs: int, warnings: list[str]):
        self.images, self.jobs, self.warnings = images, jobs, warnings

    def planar_motion(self, *, progress: Progress = None) -> tuple[PlanarMotion, NDArray[np.bool_]]:
        return block_matching.planar_motion(self.images, jobs=self.jobs, progress=progress)

    def correlate(self, cells: Cells, planar_step: Array, skip: NDArray[np.bool_], *,
                  progress: Progress = None) -> Correlations:
        return correlation.correlate(self.images, cells, planar_step, skip, jobs=self.jobs, progress=progress)

    def find_loops(self, cells: Cells, planar_step: Array, skip: NDArray[np.bool_], *,
                   progress: Progress = None) -> Loops:
        return loop_closures.find_loops(self.images, cells, planar_step, skip, jobs=self.jobs, progress=progress)


class OnGpu:
    """Measurements on a GPU (`xp`: cupy), or their steps on the CPU (numpy)."""

    name = "gpu"

    def __init__(self, images: WorkingImages, xp: Any):
        self.frames, self.batches = DeviceFrames(images, xp), Batches(xp)
        self.warnings: list[str] = []

    def planar_motion(self, *, progress: Progress = None) -> tuple[PlanarMotion, NDArray[np.bool_]]:
        return matching.planar_motion(self.frames, batches=self.batches, progress=progress)

    def correlate(self, cells: Cells, planar_step: Array, skip: NDArray[np.bool_], *,
                  progress: Progress = None) -> Correlations:
        return batched_correlation.correlate(self.frames, cells, planar_step, skip, batches=self.batches,
                                             progress=progress)

    def find_loops(self, cells: Cells, planar_step: Array, skip: NDArray[np.bool_], *,
                   progress: Progress = None) -> Loops:
        return revisits.find_loops(self.frames, cells, planar_step, skip, batches=self.batches, progress=progress)


def backend_of(images: WorkingImages, wanted: str, jobs: int = 0) -> Backend:
    """Where to measure a scan, for the whole of it: "cpu", "gpu", or "auto" for a GPU that works.

    Raises
    ------
    InputError
        If "gpu" is wanted and none works.
    SpeckleRecError
        If the GPU cannot hold the scan.
    """
    chosen, warning = device.choose(wanted)
    if chosen == "gpu":
        return OnGpu(images, device.arrays(chosen))
    return OnCpu(images, jobs, [] if warning is None else [warning])
