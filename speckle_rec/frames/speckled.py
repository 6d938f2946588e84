"""Where a scan shows speckle that moves: what a result rests on.

Water, shadow, wires, text and frozen pictures correlate as well as tissue does, and are no evidence of any motion. A
cell is believed if speckle fills it, has texture, is not cut off by saturation, and changes over the scan: and where
that of other cells changes, its own pattern must not stay where it is. What stays is haze or reverberation, which block
matching would take for a probe at rest: it takes no part in what is measured.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..io.source import sampled_pairs
from ..probe.field import Cells, cells
from .features import GreyFeatures, shrink
from .overlay import FLICKER, without
from .working_images import WorkingImages

Frame = NDArray[np.uint8]

SAMPLES = 20                # frames that tell, each with one ...
NEAR = 4                    # ... so many frames on, beyond a scanner's filter over time, which keeps noise alike
FILLED = 0.08               # share of a cell that its texture fills: of wires in water .03 to .1, of speckle more
TEXTURE = 2.0               # grey levels, standard deviation about the local mean: four times that of rounding at least
SATURATED, CUT_OFF = 250, 0.5       # grey level, and share of a cell's pixels, from which nothing of speckle is left
STAYS = 0.65                # correlation of far frames over that of near ones: tissue to .3, haze .85 to 1
APART = 4                   # part of a scan that far frames are apart
FEWEST = 60                 # frames of a scan, in fewer of which tissue may not have gone yet
CLEAR, FOLLOWED = 0.1, 0.2  # correlation from which a pattern stays, and goes: recursions leave noise some .1
OTHERS = 0.05               # share of the good cells that must move for those that stay to be static


@dataclass(frozen=True)
class Shown:
    """What cells show: bool [P] each.

    Attributes
    ----------
    moving : speckle that moves.   standing : a pattern that stays where it is while that of others moves.
    """

    moving: NDArray[np.bool_]
    standing: NDArray[np.bool_]


@dataclass(frozen=True)
class Measured:
    """What of a scan is measured.

    Attributes
    ----------
    images : working images, whose field of view is without what stands still.   cells : of it.
    moving : bool [P], cells that show speckle that moves.   standing_share : of the cells, taken out.
    """

    images: WorkingImages
    cells: Cells
    moving: NDArray[np.bool_]
    standing_share: float = 0.0


def measured(images: WorkingImages) -> Measured:
    """What of a scan is measured: cells of what does not stand still."""
    samples, grid = sampled_pairs(images.scan.source, SAMPLES, NEAR), cells(images.geometry)
    seen = shown(*samples, images, grid)
    if images.scan.n_frames < FEWEST or not seen.standing.any():
        return Measured(images, grid, seen.moving)
    mask = (grid.labels >= 0) & seen.standing[grid.labels]
    if images.geometry.static is not None:
        mask |= images.geometry.static
    clear = replace(images, geometry=without(images.geometry, mask))
    if clear.geometry is images.geometry:
        return Measured(images, grid, seen.moving)
    left = cells(clear.geometry)
    return Measured(clear, left, shown(*samples, clear, left).moving, float(seen.standing.mean()))


def shown(frames: Frame, following: Frame, images: WorkingImages, grid: Cells) -> Shown:
    """What the cells of a field of view show.

    Parameters
    ----------
    frames, following : uint8 [n, rows, columns] spread over a scan, and `NEAR` frames on.   grid : cells of `images`.
    """
    inside, n = grid.labels >= 0, len(grid)
    at, n_px = grid.labels[inside], np.maximum(np.bincount(grid.labels[inside], minlength=n), 1)

    def mean(pixels: NDArray[np.floating] | NDArray[np.bool_]) -> NDArray[np.float64]:
        return np.bincount(at, pixels, n) / n_px

    features = GreyFeatures(images.geometry.mask(), images.geometry.pixel_mm)
    grey = np.stack([shrink(frame, images.factor)[inside] for frame in frames])
    whole = np.median([mean(pixels >= SATURATED) for pixels in grey], axis=0) < CUT_OFF
    middle = np.median(grey, axis=0)
    change = mean(np.quantile(np.abs(grey - middle), 0.9, axis=0)) > FLICKER

    def unit(frame: Frame) -> tuple[NDArray[np.float32], NDArray[np.float64], NDArray[np.float64]]:
        pixels = features(shrink(frame, images.factor))[inside]
        pixels -= mean(pixels)[at]
        spread = np.sqrt(mean(pixels**2))
        pixels /= np.maximum(spread, 1e-3)[at]
        return pixels.astype(np.float32), spread, 1 / np.maximum(mean(pixels**4), 1e-3)

    now, spread, filled = zip(*(unit(frame) for frame in frames), strict=True)
    texture = (np.median(spread, axis=0) >= TEXTURE) & (np.median(filled, axis=0) >= FILLED)
    good = whole & change & texture
    near = np.mean([mean(a * unit(b)[0]) for a, b in zip(now, following, strict=True)], axis=0)
    far = _far(now, mean)
    stays = (far > CLEAR) & (far > STAYS * near)
    goes = good & (near > FOLLOWED) & ~stays
    standing = stays & bool(goes.sum() >= OTHERS * max(good.sum(), 1))
    return Shown(good & ~standing, standing)


def _far(now: Sequence[NDArray[np.float32]], mean: Callable[[NDArray[np.float32]], NDArray[np.float64]]
         ) -> NDArray[np.float64]:
    """Mean correlation [P] of each cell over all pairs of frames that are a part of the scan apart."""
    apart = max(len(now) // APART, 1)
    later, total = np.zeros_like(now[0]), np.zeros_like(now[0])
    for k in range(len(now) - 1, apart - 1, -1):
        later += now[k]
        total += now[k - apart] * later
    n = len(now) - apart
    return mean(total) / max(n * (n + 1) / 2, 1)
