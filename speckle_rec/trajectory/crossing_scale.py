"""Scale of a trajectory where planes cross: how far to stretch it for both sides of the turn to show the same."""

from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from .. import geometry as se3
from ..frames.working_images import threads
from .crossing_volumes import Anatomy, Sides, overlap

Array = NDArray[np.float64]

STRETCHES = (0.6, 0.68, 0.76, 0.85, 0.95, 1.06, 1.19, 1.34, 1.5)
MOST = 0.4, 2.5         # stretches that are believed
APART = 8               # frames, over which motions are compared
COARSE_MM = 2.4         # voxels, and ...
SMOOTH_MM = 2.0         # ... width of the volumes by which stretches are told apart


def stretched(T: Array, tilt: float, yaw: float) -> Array:
    """A trajectory [N, 4, 4] whose steps go `tilt` times as far along z and about x, and `yaw` times about y."""
    return se3.chain(se3.exp(se3.log(se3.steps(T)) * np.array([1, 1, tilt, tilt, yaw, 1])))


def at_best(T: Array, anatomy: Anatomy, apart: Sides) -> float:
    """How alike both sides are at the stretch at which they are most alike.

    At a wrong one right signs show nothing: a tenth takes a tenth of the similarity, a third all but a fifth.
    """
    return max(_coarsely(T, [(s, s) for s in STRETCHES], anatomy, apart))


def stretch(T: Array, anatomy: Anatomy, apart: Sides) -> tuple[float, float]:
    """Factors of tilt and of yaw (see `stretched`) at which both sides show most alike the same."""
    def alike(x: Any) -> float:
        return -overlap(stretched(T, *x), anatomy, apart, pairs=0).similarity

    tried = list(product(STRETCHES, STRETCHES))
    start = tried[int(np.argmax(_coarsely(T, tried, anatomy, apart)))]
    found = minimize(alike, start, method="Nelder-Mead",
                     options={"initial_simplex": [start, (start[0] + 0.06, start[1]), (start[0], start[1] + 0.06)],
                              "xatol": 0.004, "fatol": 0.001, "maxfev": 30})
    return float(found.x[0]), float(found.x[1])


def stretch_between(T: Array, X: Array) -> tuple[float, float]:
    """Factors of tilt and of yaw by which a trajectory [N, 4, 4] became another, least squares over stretches of it."""
    before, after = (se3.log(se3.inverse(Y[:-APART]) @ Y[APART:])[:, [3, 4]] for Y in (T, X))
    tilt, yaw = np.clip((before * after).sum(0) / np.maximum(np.square(before).sum(0), 1e-12), *MOST)
    return float(tilt), float(yaw)


def _coarsely(T: Array, by: Sequence[tuple[float, float]], anatomy: Anatomy, apart: Sides) -> list[float]:
    """How alike both sides are at each of some stretches of tilt and yaw."""
    coarse = anatomy.coarse

    def alike(x: tuple[float, float]) -> float:
        return overlap(stretched(T, *x), coarse, apart, SMOOTH_MM, COARSE_MM, pairs=0, jobs=1).similarity

    with threads(2) as pool:
        return list(pool.map(alike, by))
