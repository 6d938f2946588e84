"""Where a side of the probe loses contact: its lines show nothing, at all depths, until it is down again.

Noise correlates with nothing, which reads as motion: a turn, where one side is lost. Cells under a lifted side take no
part (METHOD.md (3.12)).
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ..probe.field import Cells
from .working_images import WorkingImages

Array = NDArray[np.float64]
Lost = NDArray[np.bool_]

EVERY_PX = 2        # pixels down and across that are looked at
STRIPS = 16         # across the face
APART, HALF = 10, 5     # frames between looks at the usual brightness, and looks before and after: five seconds
LIT = 45.0          # grey levels that a cell usually has, from which it can tell
FALL = 20.0         # grey levels, 6.5 dB: a strip is that much darker than usual, gain apart
TELL = 0.25         # of a strip's cells that must be lit for it to tell
STEADY = 0.8        # quantile of the strips' changes that is the gain's: fewer than so many lift off at once


def lost_in(images: WorkingImages, cells: Cells) -> Lost:
    """Which cells [N, P] of a scan have no contact in a frame, see `lifted`."""
    return lifted(levels(images, cells), cells.centres[:, 1])


def levels(images: WorkingImages, cells: Cells) -> Array:
    """Mean grey level [N, P] of each cell in each frame."""
    level = level_meter(cells)
    return np.stack([level(frame) for _, block in images.blocks() for frame in block])


def level_meter(cells: Cells) -> Callable[[NDArray[np.uint8]], Array]:
    """The mean grey level [P] of each cell as a function of a frame."""
    labels = cells.labels[::EVERY_PX, ::EVERY_PX]
    inside = labels >= 0
    at = labels[inside]
    count = np.maximum(np.bincount(at, minlength=len(cells)), 1)
    return lambda frame: np.bincount(at, frame[::EVERY_PX, ::EVERY_PX][inside], len(cells)) / count


def lifted(level: Array, lateral: Array) -> Lost:
    """Which cells [N, P] lie under a side of the probe that has no contact in a frame.

    A side is what lies outward of strips of the face that are darker than usual at all depths, seen from where the
    others are; strips that are never lit do not stand between, and tell of nothing inward of them. All of the face
    lifted at once looks like the gain and is not told.

    Parameters
    ----------
    level : [N, P], see `levels`.   lateral : [P], place of the cells across the face.
    """
    n = len(level)
    thin = np.pad(level[::APART], ((HALF, HALF), (0, 0)), mode="edge")
    usual = np.median(np.lib.stride_tricks.sliding_window_view(thin, 2 * HALF + 1, axis=0), axis=-1)
    return fallen(level, usual[np.minimum((np.arange(n) + APART // 2) // APART, len(usual) - 1)], lateral)


def fallen(level: Array, usual: Array, lateral: Array) -> Lost:
    """Which cells [N, P] lie under a side without contact, by how bright they usually are [N, P]; see `lifted`."""
    width = max(float(np.ptp(lateral)), 1e-9)
    strip = np.minimum(((lateral - lateral.min()) / width * STRIPS).astype(int), STRIPS - 1)
    member = (strip[:, None] == np.arange(STRIPS)).astype(float)
    lit = usual > LIT
    count = lit @ member
    fall = np.where(lit, level - usual, 0) @ member / np.maximum(count, 1)
    tells = (count > 0) & (count >= TELL * member.sum(0))
    gain = np.array([np.quantile(f[t], STEADY) if t.any() else 0.0 for f, t in zip(fall, tells, strict=True)])
    dark = tells & (fall < gain[:, None] - FALL)
    out = np.zeros_like(dark)
    for way in (slice(None), slice(None, None, -1)):
        side = np.logical_and.accumulate((dark | ~tells)[:, way], axis=1)
        inmost = np.logical_or.accumulate((side & dark[:, way])[:, ::-1], axis=1)[:, ::-1]
        out |= (side & inmost)[:, way]
    out[:, 1:] |= out[:, :-1].copy()        # a strip is half lost before it is dark
    out[:, :-1] |= out[:, 1:].copy()
    return np.asarray(out[:, strip])


def warnings_of(lost: Lost) -> list[str]:
    """What a user should know of a probe that lost contact."""
    at = np.flatnonzero(lost.any(1))
    return [f"a side of the probe shows no contact in {len(at)} frame{'s' * (len(at) > 1)} (first: {at[0]}): what it "
            "shows there takes no part"] if len(at) else []
