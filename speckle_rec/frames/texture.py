"""What a scan shows of its tissue by itself: texture of every cell, over which the curves adapt.

Real tissue decorrelates more slowly than ideal speckle, noise faster; both show in one image: in the width of
the in-plane correlation, in brightness and in contrast (Gee, Housden et al. 2006; Laporte & Arbel 2011).
"""

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from ..probe.field import Cells, ProbeGeometry
from .features import AmplitudeFeatures
from .working_images import WorkingImages, threads

Array = NDArray[np.float64]

EVERY = 4                              # frames: texture changes slowly
SPECKLE_SNR = 1.91                     # mean over standard deviation of a Rayleigh amplitude
AXIAL_SHIFT_PX, LATERAL_SHIFT_PX = 2, 4
WINDOW_STEP, WINDOW_HALF = 16, 24      # frames: how often and over how many frames cells are judged
TEXTURE = ("depth", "brightness", "contrast", "axial", "lateral")


@numba.njit(nogil=True, cache=True, fastmath={"contract", "reassoc", "nsz", "arcp"})
def texture_sums(grey, amplitude, high, labels, down, right, sums):
    """Sums over cells [P, 7]: n, grey, A, A^2, h^2, h h(down), h h(right) of one frame's images [H, W]."""
    sums[:] = 0
    rows, columns = labels.shape
    for r in range(rows - down):
        for c in range(columns - right):
            cell = labels[r, c]
            if cell >= 0:
                a = amplitude[r, c]
                h = high[r, c]
                sums[cell, 0] += 1
                sums[cell, 1] += grey[r, c]
                sums[cell, 2] += a
                sums[cell, 3] += a * a
                sums[cell, 4] += h * h
                sums[cell, 5] += h * high[r + down, c]
                sums[cell, 6] += h * high[r, c + right]


def windows(n_frames: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Middle frames [W] of the windows in which cells are judged, and the window [N] of each frame."""
    middle = np.arange(WINDOW_STEP // 2, max(n_frames, WINDOW_STEP), WINDOW_STEP)
    return middle, np.minimum(np.arange(n_frames) // WINDOW_STEP, len(middle) - 1)


class TextureMeter:
    """Measures the texture of single frames."""

    def __init__(self, geometry: ProbeGeometry, cells: Cells, grey_per_neper: float):
        self.cells, self.features = cells, AmplitudeFeatures(geometry.mask(), geometry.pixel_mm, grey_per_neper)

    def __call__(self, frame: NDArray[np.uint8]) -> Array:
        """Sums [P, 7] of `texture_sums`."""
        amplitude = self.features.amplitude(frame)
        sums = np.empty((len(self.cells), 7))
        texture_sums(frame, amplitude, self.features.of(amplitude), self.cells.labels, AXIAL_SHIFT_PX,
                     LATERAL_SHIFT_PX, sums)
        return sums


def describe(sums: Array, depth_mm: Array, reach_mm: float) -> Array:
    """Texture [..., P, 5] of the sums [..., P, 7] of cells at `depth_mm` [P]; `reach_mm` is the last depth."""
    n = np.maximum(sums[..., 0], 1)
    grey, mean, square, energy, axial, lateral = (sums[..., k] / n for k in range(1, 7))
    deviation = np.sqrt(np.maximum(square - mean**2, 1e-12))
    contrast = np.log(np.maximum(deviation / np.maximum(mean, 1e-6) * SPECKLE_SNR, 1e-2))
    energy = np.maximum(energy, 1e-9)
    depth = np.broadcast_to(2 * depth_mm / reach_mm - 1, grey.shape)
    return np.stack([depth, grey / 50 - 2, np.clip(contrast, -2, 2), 2 * axial / energy, 2 * lateral / energy], -1)


def measure(images: WorkingImages, cells: Cells, grey_per_neper: float, jobs: int = 0) -> Array:
    """Texture [W, P, 5] of a scan's cells, by `windows`: the quantities of `TEXTURE`, about 0 +- 1 on clean speckle."""
    meter = TextureMeter(images.geometry, cells, grey_per_neper)
    sums, frame = [], []
    with threads(jobs) as pool:
        for start, block in images.blocks():
            picks = [k for k in range(len(block)) if (start + k) % EVERY == 0]
            sums += list(pool.map(lambda k, block=block: meter(block[k]), picks))
            frame += [start + k for k in picks]
    middle, _ = windows(images.scan.n_frames)
    at = np.array(frame)
    values = [describe(np.sum([sums[k] for k in np.flatnonzero(np.abs(at - m) <= WINDOW_HALF)], axis=0),
                       cells.centres[:, 0], images.geometry.depth_mm[1]) for m in middle]
    return np.array(values)
