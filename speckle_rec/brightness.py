"""Sudden changes of brightness all over the field of view: the gain was turned, or the probe lifted."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .working import WorkingImages

JUMP = 6.0         # grey levels from one frame to the next, 2 dB; tissue that moves changes by one at most
EVERY_PX = 4       # pixels down and across that are looked at
PATCH = 8          # of these along the edge of a patch


def changes(images: WorkingImages) -> NDArray[np.float64]:
    """Change [N] of grey level into each frame, of pixels lit in both: median over patches of the field of their means.

    Moving speckle brightens as many pixels as it darkens, and a shadow falls on some patches; the gain moves all of a
    compressed image alike.
    """
    mask = images.geometry.mask()[::EVERY_PX, ::EVERY_PX]
    row, column = np.nonzero(mask)
    patch = row // PATCH * mask.shape[1] + column // PATCH
    out = np.zeros(images.scan.n_frames)
    before: NDArray[Any] = np.zeros(int(mask.sum()), np.int16)
    for start, block in images.blocks():
        for k, frame in enumerate(block, start):
            now = frame[::EVERY_PX, ::EVERY_PX][mask].astype(np.int16)
            lit = (now > 0) & (before > 0)
            count, total = np.bincount(patch[lit]), np.bincount(patch[lit], (now - before)[lit])
            out[k] = np.median(total[count > 0] / count[count > 0]) if lit.any() else 0.0
            before = now
    return out


def warnings_of(changes: NDArray[np.float64]) -> list[str]:
    """What a user should know of sudden changes, one line."""
    at = np.flatnonzero(np.abs(changes) >= JUMP)
    if not len(at):
        return []
    return [f"the brightness of the whole image jumps at {len(at)} {'frame' if len(at) == 1 else 'frames'} (first: "
            f"{at[0]}, by {changes[at[0]]:+.0f} grey levels): was the gain changed, or the probe lifted? Motion there "
            "is less reliable"]
