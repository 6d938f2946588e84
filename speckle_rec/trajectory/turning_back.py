"""Sweeps that seem to turn back over places which nothing shows again.

Where a sweep slows down, speckle hardly tells whether it goes on or turns back. A probe that turns back sees the same
places again, and revisits are found by their pictures, whatever the trajectory. So where none were found, a turn that
the correlations of neighbours ask for by a small margin only is not believed (METHOD.md, section 8).
"""

import numpy as np
from numpy.typing import NDArray

from .. import geometry as se3
from ..pairs.loop_closures import GAP
from .factors import Factors
from .mirror_tests import flip
from .solver import solve, total_cost

Array = NDArray[np.float64]

BACK_MM = 5.0        # way back over the same places that revisits would hardly miss
REFUTED = 100.0      # cost of neighbours, up to which that nothing was seen again says more


def way(T: Array, lever_mm: float) -> Array:
    """Way [N] (mm) out of the image plane of the beam's waist, `lever_mm` below the face, by poses [N, 4, 4]."""
    step = se3.log(se3.steps(T))
    return np.cumsum(step[:, 2] + lever_mm * step[:, 3])


def turning_points(gone: Array, least_mm: float = BACK_MM, least_frames: int = GAP) -> list[int]:
    """Frames at which a way [N] (mm) turns, and goes back by `least_mm` and for `least_frames` at least."""
    found: list[int] = []
    sign, best = 0.0, 0
    for k in range(1, len(gone)):
        if sign == 0:
            if abs(gone[k] - gone[0]) >= least_mm:
                sign, best = float(np.sign(gone[k] - gone[0])), k
        elif sign * (gone[k] - gone[best]) >= 0:
            best = k
        elif sign * (gone[best] - gone[k]) >= least_mm and k - best >= least_frames:
            found.append(best)
            sign, best = -sign, k
    return found


def carried_on(T: Array, f: Factors, lever_mm: float) -> Array:
    """The sweep [N, 4, 4] without turns that nothing seen again bears out, where that costs little.

    Parameters
    ----------
    T : solved poses.   f : factors, few or no revisits among them.   lever_mm : see `way`.
    """
    turns = turning_points(way(T, lever_mm))
    if not turns:
        return T
    onward = solve(flip(T, *turns), f)
    return onward if total_cost(onward, f) < total_cost(T, f) + REFUTED else T
