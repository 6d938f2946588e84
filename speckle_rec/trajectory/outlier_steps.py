"""Leaps: steps many times as long as those about them, beyond which a short part of a scan goes the wrong way.

Where speckle is weak a solve may stop with a few frames on the wrong side of what follows, bound to it by one step that
no hand takes. A steady motion over the leap is proposed instead, and taken where it costs less (METHOD.md, section 8).
"""

import numpy as np
from numpy.typing import NDArray

from .. import geometry as se3
from ..frames.working_images import spaced
from .factors import Factors
from .lost_frames import nearby, step_lengths
from .solver import solve, total_cost

Array = NDArray[np.float64]

AROUND = 8          # frames to each side whose median is the usual step
LONG = 3.0          # times the usual step: without lost frames hands stay below 2, with them some steps are longer
BRIDGE = 12         # frames to each side of a leap over which the motion is made steady
TRIED = 4           # leaps of a scan, the longest first
CHEAPER = 2e-4      # of the cost, by which a trajectory must be: twice what a solve leaves


def leaps(T: Array) -> list[int]:
    """Frames of poses [N, 4, 4] into which a step leaps, the longest first and `BRIDGE` apart, at most `TRIED`."""
    length = step_lengths(T)
    if len(length) <= 2 * AROUND:
        return []
    times = length / np.maximum(np.nanmedian(nearby(length, AROUND), axis=1), 1e-9)
    order = np.argsort(-times, kind="stable")
    return spaced((1 + order[times[order] > LONG]).tolist(), BRIDGE, TRIED)


def bridged(T: Array, frame: int) -> Array:
    """Poses [N, 4, 4] whose steps change evenly from `BRIDGE` frames before `frame` to as many after it; what follows
    moves along rigidly."""
    first, last = max(frame - BRIDGE, 2), min(frame + BRIDGE, len(T) - 2)
    step = se3.log(se3.steps(T))
    share = np.linspace(0, 1, last - first + 3)[1:-1, None]
    step[first:last + 1] = (1 - share) * step[first - 1] + share * step[last + 1]
    part = T[first - 1] @ se3.chain(np.concatenate([np.eye(4)[None], se3.exp(step[first:last + 1])]))
    return np.concatenate([T[:first - 1], part, part[-1] @ se3.inverse(T[last]) @ T[last + 1:]])


def mended(T: Array, factors: Factors) -> tuple[Array, int]:
    """Poses [N, 4, 4] without the leaps that `factors` do not ask for, and how many there were.

    Poses that do not leap come back as they are.
    """
    places, count = leaps(T), 0
    found = solve(T, factors) if places else T
    for frame in places:
        trial = solve(bridged(found, frame), factors)
        if total_cost(trial, factors) < (1 - CHEAPER) * total_cost(found, factors):
            found, count = trial, count + 1
    return (found, count) if count else (T, 0)
