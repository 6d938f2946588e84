"""Signs of a trajectory where planes cross: mirrors that the anatomy on both sides of the turn asks for."""

from itertools import chain

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from .. import geometry as se3
from ..frames.working_images import spaced
from .crossing_scale import at_best
from .crossing_volumes import Anatomy, Sides
from .factors import Factors
from .mirror_tests import flip, proposals
from .solver import drawn, solve, total_cost

Array = NDArray[np.float64]

ITERATIONS = 8
DOUBTFUL = 0.3          # similarity that no true trajectory falls below
PLACES, PLACES_APART = 8, 40    # frames at which a mirror is tried then
WORTH = 1000.0          # cost for which anatomy stands that is wholly alike: log(1 - similarity^2) of it
STANDING = 800.0        # change of cost of a mirror that speckle leaves open, as it stands
OPEN = 40               # of these, so many of the least change
SHORTEST = 24           # frames of a part, below which its few planes show too little anatomy to tell its sign
LEAST = 50.0            # of both, by which a mirror must be better ...
ASKED = 20.0            # ... and of the anatomy alone: what speckle asks for, mirror tests have seen to
ROUNDS, TRIED = 4, 2    # rounds, and mirrors that are solved in each
ARM_MM = 50.0           # of rotations beside shifts


def settled(T: Array, factors: Factors, anatomy: Anatomy, apart: Sides) -> tuple[Array, tuple[int, ...]]:
    """The trajectory with those mirrors that speckle and anatomy together ask for, solved then, and their frames.

    A stroke that shows no place that was seen before has a sign that hardly costs; bones and fasciae tell it. They are
    compared at the scale at which they are most alike, since curves may be off by more than the anatomy forgives.
    """
    mirrored: tuple[int, ...] = ()

    def tried(T: Array) -> tuple[float, float, Array]:
        X = solve(drawn(T, factors), factors, ITERATIONS)
        return *weighed(X, factors, anatomy, apart), X

    here, similarity, _ = tried(T)
    for _ in range(ROUNDS):
        options = sorted((change + told(at_best(flip(T, *frames), anatomy, apart)), frames)
                         for change, frames in mirrors(T, factors, anatomy, apart, similarity < DOUBTFUL))
        trials = [(tried(flip(T, *frames)), frames) for _, frames in options[:TRIED]]
        asked = [trial for trial in trials if told(trial[0][1]) < told(similarity) - ASKED]
        best, frames = min(asked, key=lambda trial: trial[0][0], default=((here, similarity, T), ()))
        if best[0] > here - LEAST:
            break
        (here, similarity, T), mirrored = best, mirrored + frames
    return T, mirrored


def told(similarity: float) -> float:
    """What anatomy that is so much alike is worth, in cost: the likelihood of a correlation."""
    return WORTH * float(np.log1p(-np.clip(similarity, 0, 0.99) ** 2))


def weighed(T: Array, factors: Factors, anatomy: Anatomy, apart: Sides) -> tuple[float, float]:
    """Cost of a trajectory by speckle and anatomy together, and its similarity."""
    similarity = at_best(T, anatomy, apart)
    return total_cost(T, factors) + told(similarity), similarity


def mirrors(T: Array, factors: Factors, anatomy: Anatomy, apart: Sides,
            doubtful: bool) -> list[tuple[float, tuple[int, ...]]]:
    """Changes of cost and frames of mirrors that may be right.

    Those that speckle leaves open, and that of all after the turn. Where the anatomy agrees with nothing, the turn
    itself may go the wrong way: then places where the probe hardly moved before it, for the turn alone and all after.
    None makes a part below `SHORTEST`.
    """
    def long(places: tuple[int, ...]) -> bool:
        return bool(np.diff([0, *sorted(places), len(T)]).min() >= SHORTEST)

    found = sorted((change, places) for change, places in chain.from_iterable(proposals(T, factors))
                   if change < STANDING and long(places))[:OPEN]
    last = int(anatomy.frames[apart.after[0]])
    more: list[tuple[int, ...]] = [(last,)]
    if doubtful:
        early, late = (int(anatomy.frames[rows[len(rows) // 2]]) for rows in (apart.before, apart.after))
        end = still_places(T, last, late)[:1]
        more += [places for t in still_places(T, early, last) for places in ((t,), (t, *end))]
    cost = total_cost(T, factors)
    return found + [(total_cost(flip(T, *places), factors) - cost, places) for places in filter(long, more)]


def still_places(T: Array, start: int, stop: int) -> list[int]:
    """Up to `PLACES` frames of start..stop-1 where a trajectory [N, 4, 4] hardly moves out of its plane, the stillest
    first."""
    step = se3.log(se3.steps(T))[:, 2:5] * np.array([1, *2 * [ARM_MM]])
    pace = gaussian_filter1d(np.linalg.norm(step, axis=1), 3)
    return spaced((start + np.argsort(pace[start:stop], kind="stable")).tolist(), PLACES_APART, PLACES)
