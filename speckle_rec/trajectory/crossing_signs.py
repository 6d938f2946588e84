"""Signs of a trajectory where planes cross: mirrors that the anatomy on both sides of the turn asks for."""

from itertools import chain

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from .. import geometry as se3
from ..frames.working_images import spaced
from .crossing_volumes import Anatomy, Sides, overlap
from .factors import Factors
from .mirror_tests import flip, proposals
from .solver import drawn, solve, total_cost

Array = NDArray[np.float64]

ITERATIONS = 8
CLEARLY = 0.1           # of the similarity by which a mirror image must be more alike
DOUBTFUL = 0.3          # similarity that no true trajectory falls below
PLACES, PLACES_APART = 8, 40    # frames at which a mirror is tried then
OPEN, STANDING = 500.0, 800.0   # cost of a mirror that speckle leaves open, solved anew and as it stands
TELLS = 0.03            # of the similarity by which it must then be more alike
OPEN_ROUNDS, TRIED = 3, 3       # rounds, and mirrors a round of those that the anatomy does not tell apart
ARM_MM = 50.0           # of rotations beside shifts


def right_handed(T: Array, anatomy: Anatomy, apart: Sides) -> tuple[Array, tuple[int, ...]]:
    """The trajectory with the part after the turn mirrored, where the anatomy asks for it clearly.

    Where neither is like what true trajectories show, the turn itself may go the wrong way: then places where the
    probe hardly moved before it are tried, for the turn alone and for all that comes after.
    """
    last = int(anatomy.frames[apart.after[0]])

    def alike(*places: int) -> float:
        return overlap(flip(T, *places), anatomy, apart).similarity

    here, turned = alike(), alike(last)
    best: tuple[float, tuple[int, ...]] = max((here + CLEARLY, ()), (turned, (last,)))
    if max(here, turned) < DOUBTFUL:
        early, late = (int(anatomy.frames[rows[len(rows) // 2]]) for rows in (apart.before, apart.after))
        end = still_places(T, last, late)[:1]
        for t in still_places(T, early, last):
            best = max(best, (alike(t), (t,)), (alike(t, *end), (t, *end)))
    return flip(T, *best[1]), best[1]


def settled(T: Array, factors: Factors, anatomy: Anatomy, apart: Sides) -> tuple[Array, tuple[int, ...]]:
    """The trajectory with those mirrors that speckle leaves open and that the anatomy asks for.

    A stroke that shows no place that was seen before has a sign that hardly costs; bones and fasciae tell it. Of
    mirrors that make the anatomy about as much more alike, the one that speckle minds least comes first.
    """
    mirrored: tuple[int, ...] = ()
    for _ in range(OPEN_ROUNDS):
        here, cost = overlap(T, anatomy, apart).similarity, total_cost(T, factors)
        options = [(change, overlap(flip(T, *frames), anatomy, apart).similarity - here, frames)
                   for change, frames in chain.from_iterable(proposals(T, factors)) if change < STANDING]
        most = max((more for _, more, _ in options), default=0.0)
        for _, _, frames in sorted(o for o in options if o[1] >= max(TELLS, most - TELLS))[:TRIED]:
            trial = solve(drawn(flip(T, *frames), factors), factors, ITERATIONS)
            if total_cost(trial, factors) <= cost + OPEN:
                T, mirrored = trial, mirrored + frames
                break
        else:
            break
    return T, mirrored


def still_places(T: Array, start: int, stop: int) -> list[int]:
    """Up to `PLACES` frames of start..stop-1 where a trajectory [N, 4, 4] hardly moves out of its plane, the stillest
    first."""
    step = se3.log(se3.steps(T))[:, 2:5] * np.array([1, *2 * [ARM_MM]])
    pace = gaussian_filter1d(np.linalg.norm(step, axis=1), 3)
    return spaced((start + np.argsort(pace[start:stop], kind="stable")).tolist(), PLACES_APART, PLACES)
