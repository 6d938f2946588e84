"""Where a scan shows speckle that moves: what a result rests on.

Water, shadow, wires, text and frozen pictures correlate as well as tissue does, and are no evidence of any motion. A
cell is believed if speckle fills it, has texture, is not cut off by saturation, and changes over the scan: and where
that of other cells changes, its own pattern must not stay where it is.
"""

import numpy as np
from numpy.typing import NDArray

from ..probe.field import Cells
from .features import GreyFeatures, shrink
from .overlay import FLICKER
from .working_images import WorkingImages

Frame = NDArray[np.uint8]

EVERY = 2                   # of the samples: half of them tell
DIM, FILLED = 10, 0.5       # grey level that half of a cell's pixels must exceed: wires leave a cell of water dark
TEXTURE = 2.0               # grey levels, standard deviation about the local mean: four times that of rounding at least
SATURATED, CUT_OFF = 250, 0.5       # grey level, and share of a cell's pixels, from which nothing of speckle is left
STAYS, GOES = 0.8, 0.5      # correlation of far frames over that of neighbours: of what stays, and of what moves
OTHERS = 0.05               # share of the lit cells that must move for those that stay to be static


def speckled(frames: Frame, following: Frame, images: WorkingImages, cells: Cells) -> NDArray[np.bool_]:
    """Which cells [P] show moving speckle.

    Parameters
    ----------
    frames, following : uint8 [n, rows, columns] over a scan as shown, see `static.samples`.   cells : of `images`.
    """
    frames, following = frames[::EVERY], following[::EVERY]
    inside, n = cells.labels >= 0, len(cells)
    at, n_px = cells.labels[inside], np.maximum(np.bincount(cells.labels[inside], minlength=n), 1)

    def mean(pixels: NDArray[np.floating] | NDArray[np.bool_]) -> NDArray[np.float64]:
        return np.bincount(at, pixels, n) / n_px

    features = GreyFeatures(images.geometry.mask())
    shown = np.stack([shrink(frame, images.factor)[inside] for frame in frames])
    lit = np.median([mean(pixels > DIM) for pixels in shown], axis=0) >= FILLED
    whole = np.median([mean(pixels >= SATURATED) for pixels in shown], axis=0) < CUT_OFF
    middle = np.median(shown, axis=0)
    change = mean(np.quantile(np.abs(shown - middle), 0.9, axis=0)) > FLICKER

    def unit(frame: Frame) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
        pixels = features(shrink(frame, images.factor))[inside]
        pixels -= mean(pixels)[at]
        spread = np.sqrt(mean(pixels**2))
        return (pixels / np.maximum(spread, 1e-3)[at]).astype(np.float32), spread

    now, spread = zip(*(unit(frame) for frame in frames), strict=True)
    texture = np.median(spread, axis=0) >= TEXTURE
    good = lit & whole & change & texture
    near = np.mean([mean(a * unit(b)[0]) for a, b in zip(now, following, strict=True)], axis=0)
    half = len(now) // 2
    far = np.mean([mean(a * b) for a, b in zip(now, now[half:], strict=False)], axis=0)
    goes = (near > 0) & (far < GOES * near)
    return good & ~((far > STAYS * near) & (near > 0) & (goes[good].mean() >= OTHERS if good.any() else False))
