"""Brightness over a scan: sudden changes, as of the gain or where the probe lifts off; saturation and shadow."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .working_images import WorkingImages

Array = NDArray[np.float64]

JUMP = 6.0         # grey levels from one frame to the next, 2 dB; tissue that moves changes by one at most
PART = 0.2         # of the field's patches
PART_JUMP = 12.0   # grey levels; speckle that is new in every frame changes so many patches by five at most
EVERY_PX = 4       # pixels down and across that are looked at
PATCH = 8          # of these along the edge of a patch
SATURATED = 250    # grey levels
MOST_SATURATED = 0.1
DARK = 20          # grey levels; of simulated forearms a tenth to a quarter is darker
MOST_DARK = 0.5


@dataclass(frozen=True)
class Brightness:
    """Grey levels of the field of view.

    Attributes
    ----------
    change : [N, 3] into each frame, of pixels lit in both: over patches of the field, the change that a share `PART`
        stays below, the median, and the one that a share `PART` exceeds.
    saturated : [N], share of the pixels that are as bright as they can be.
    dark : [N], share of the pixels that show hardly anything.
    """

    change: Array
    saturated: Array
    dark: Array


def measure(images: WorkingImages) -> Brightness:
    """Grey levels over a scan.

    Moving speckle brightens as many pixels as it darkens, and a shadow falls on some patches; the gain moves all of a
    compressed image alike.
    """
    mask = images.geometry.mask()[::EVERY_PX, ::EVERY_PX]
    row, column = np.nonzero(mask)
    patch = row // PATCH * mask.shape[1] + column // PATCH
    n = images.scan.n_frames
    out = Brightness(np.zeros((n, 3)), np.zeros(n), np.zeros(n))
    before = np.zeros(len(patch), np.int16)
    for start, block in images.blocks():
        for k, frame in enumerate(block, start):
            now = frame[::EVERY_PX, ::EVERY_PX][mask].astype(np.int16)
            lit = (now > 0) & (before > 0)
            if lit.any():
                count, total = np.bincount(patch[lit]), np.bincount(patch[lit], (now - before)[lit])
                out.change[k] = np.quantile(total[count > 0] / count[count > 0], (PART, 0.5, 1 - PART))
            out.saturated[k] = np.mean(now >= SATURATED)
            out.dark[k] = np.mean(now < DARK)
            before = now
    return out


def warnings_of(found: Brightness) -> list[str]:
    """What a user should know of sudden changes, of the whole image and of parts of it, of saturation and shadow."""
    changes, saturated, dark = found.change, float(np.median(found.saturated)), float(np.median(found.dark))
    whole = np.abs(changes[:, 1]) >= JUMP
    part = ~whole & (np.abs(changes[:, [0, 2]]) >= PART_JUMP).any(1)
    out = []
    if whole.any():
        at = int(np.argmax(whole))
        out.append(f"the brightness of the whole image jumps at {_frames(whole)} (first: {at}, by "
                   f"{changes[at, 1]:+.0f} grey levels): was the gain changed, or the probe lifted? Motion there is "
                   "less reliable")
    if part.any():
        out.append(f"the brightness of a part of the image jumps at {_frames(part)} (first: {np.argmax(part)}): did "
                   "one side of the probe lift off? Motion there is less reliable")
    if saturated > MOST_SATURATED:
        out.append(f"{saturated:.0%} of the field of view is saturated and shows no speckle: lower the gain")
    if dark > MOST_DARK:
        out.append(f"{dark:.0%} of the field of view is dark, in shadow or at low gain: motion rests on what is left")
    return out


def _frames(which: NDArray[np.bool_]) -> str:
    return f"{which.sum()} frame{'s' * bool(which.sum() > 1)}"
