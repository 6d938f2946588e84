"""Sudden changes of brightness: of all the field of view where the gain was turned, of a part where the probe lifts."""

import numpy as np
from numpy.typing import NDArray

from .working import WorkingImages

Array = NDArray[np.float64]

JUMP = 6.0         # grey levels from one frame to the next, 2 dB; tissue that moves changes by one at most
PART = 0.2         # of the field's patches
PART_JUMP = 12.0   # grey levels; speckle that is new in every frame changes so many patches by five at most
EVERY_PX = 4       # pixels down and across that are looked at
PATCH = 8          # of these along the edge of a patch


def changes(images: WorkingImages) -> Array:
    """Change [N, 3] of grey level into each frame, of pixels lit in both: over patches of the field, the change that
    a share `PART` stays below, the median, and the one that a share `PART` exceeds.

    Moving speckle brightens as many pixels as it darkens, and a shadow falls on some patches; the gain moves all of a
    compressed image alike.
    """
    mask = images.geometry.mask()[::EVERY_PX, ::EVERY_PX]
    row, column = np.nonzero(mask)
    patch = row // PATCH * mask.shape[1] + column // PATCH
    out = np.zeros((images.scan.n_frames, 3))
    before = np.zeros(len(patch), np.int16)
    for start, block in images.blocks():
        for k, frame in enumerate(block, start):
            now = frame[::EVERY_PX, ::EVERY_PX][mask].astype(np.int16)
            lit = (now > 0) & (before > 0)
            if lit.any():
                count, total = np.bincount(patch[lit]), np.bincount(patch[lit], (now - before)[lit])
                out[k] = np.quantile(total[count > 0] / count[count > 0], (PART, 0.5, 1 - PART))
            before = now
    return out


def warnings_of(changes: Array) -> list[str]:
    """What a user should know of sudden changes [N, 3], a line each for the whole image and for parts of it."""
    whole = np.abs(changes[:, 1]) >= JUMP
    part = ~whole & (np.abs(changes[:, [0, 2]]) >= PART_JUMP).any(1)
    out = []
    if whole.any():
        at = int(np.argmax(whole))
        out.append(f"the brightness of the whole image jumps at {_frames(whole)} (first: {at}, by "
                   f"{changes[at, 1]:+.0f} grey levels): was the gain changed, or the probe lifted? Motion there is less reliable")
    if part.any():
        out.append(f"the brightness of a part of the image jumps at {_frames(part)} (first: {int(np.argmax(part))}): "
                   "did one side of the probe lift off? Motion there is less reliable")
    return out


def _frames(which: NDArray[np.bool_]) -> str:
    return f"{which.sum()} frame{'s' * bool(which.sum() > 1)}"
