"""A scan's frames at the resolution the measurements work at."""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..io.source import sampled
from ..probe.field import ProbeGeometry
from ..scan import Scan
from .features import shrink

PIXEL_MM = 0.2      # finer pixels are averaged: speckle below 10 MHz is not smaller than two of these
BLOCK = 32


@dataclass(frozen=True)
class WorkingImages:
    """Frames of a scan, shrunk by a whole factor where pixels are much finer than speckle.

    Attributes
    ----------
    scan : the scan.   geometry : field of view at the working resolution.   factor : px per working px.
    """

    scan: Scan
    geometry: ProbeGeometry
    factor: int

    @classmethod
    def of(cls, scan: Scan, geometry: ProbeGeometry) -> "WorkingImages":
        """Working images of a scan whose full-resolution field of view is `geometry`."""
        factor = max(1, round(PIXEL_MM / float(np.sqrt(scan.scale[0, 0] * scan.scale[1, 1]))))
        centre = np.diag([factor, factor, 1.0, 1.0])
        centre[:2, 3] = (1 - factor) / 2
        shape = (scan.shape[0] // factor, scan.shape[1] // factor)
        static = geometry.static
        if static is not None:      # all of the pixels that have a part in one
            static = shrink(static.astype(np.float32), factor) > 0
        return cls(scan, replace(geometry, shape=shape, scale=geometry.scale @ centre, static=static), factor)

    def frames(self, start: int, stop: int) -> list[NDArray[np.uint8]]:
        """Frames start..stop-1."""
        return [shrink(frame, self.factor) for frame in self.scan.frames(start, stop)]

    def blocks(self) -> Iterator[tuple[int, list[NDArray[np.uint8]]]]:
        """(start, frames) over the scan; the next ones are read meanwhile."""
        with threads(1) as reader:
            ahead = reader.submit(self.frames, 0, BLOCK)
            for start in range(0, self.scan.n_frames, BLOCK):
                frames, then = ahead.result(), start + BLOCK
                if then < self.scan.n_frames:
                    ahead = reader.submit(self.frames, then, then + BLOCK)
                yield start, frames


def sample_frames(scan: Scan, n: int = 40) -> NDArray[np.uint8]:
    """Up to `n` frames [n, rows, columns] spread evenly over a scan."""
    return sampled(scan.source, n)


def threads(jobs: int) -> ThreadPoolExecutor:
    """Pool of worker threads; 0 takes all cores."""
    import os
    return ThreadPoolExecutor(jobs or len(os.sched_getaffinity(0)))


def spaced(order: Iterable[int], apart: int, most: int) -> list[int]:
    """The first `most` frames of `order` of which no two are less than `apart` frames from each other."""
    out: list[int] = []
    for k in order:
        if len(out) == most:
            break
        if all(abs(k - other) >= apart for other in out):
            out.append(k)
    return out
