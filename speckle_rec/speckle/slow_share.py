"""The slow share of every cell, measured on the scan itself where the probe has moved far.

A regression over texture (METHOD.md (7.2)) knows how much of a cell's correlation belongs to structure that outlasts
the beam only on average: tissue that runs along the arm stays alike through a fan across it, and not through a turn.
Pairs far apart show it, once the motion is known roughly (METHOD.md (7.8)).
"""

import numba
import numpy as np
from numpy.typing import NDArray

from .. import geometry as se3
from ..frames.texture import WINDOW_HALF, windows
from ..pairs.correlation import Correlations
from .curves import Curves
from .strengths import CellStrengths, cell_model

Array = NDArray[np.float64]

FAR = 8.0              # Q from which a pair counts: a scale that is wrong by a fifth matters little there
FARTHEST = 40.0        # Q up to which it does: beyond, what outlasts the beam ends too, sooner than K(kappa Q) says
REGRESSION_SD = 0.15   # of the share that the regression gives
INFORMATION = 2.0      # of one correlation about the share: neighbours in place and time are not independent
MOST = 0.9


@numba.njit(nogil=True, cache=True, parallel=True)
def _sums(xi, pairs, cells, floor, middle, product, square):
    forms, stretch, per_unit, noise = cells.forms, cells.stretch, cells.per_unit, cells.noise
    i, j, rho, rest = pairs.i, pairs.j, pairs.rho, pairs.rest
    last = cells.table.shape[2] - 1
    for w in numba.prange(middle.size):
        for m in range(j.size):
            if abs(j[m] - middle[w]) > WINDOW_HALF:
                continue
            row, speed = j[m] - i[m] if j[m] - i[m] < noise.shape[1] else 0, pairs.speed[m]
            table = cells.table[speed, row]
            for p in range(rho.shape[1]):
                r = rho[m, p]
                if not np.isfinite(r) or floor[w, p] <= 0.0:
                    continue
                q = rest[m, p]
                for a in range(3):
                    v = forms[a, 0, p] * xi[m, 0] + forms[a, 1, p] * xi[m, 1] + forms[a, 2, p] * xi[m, 2]
                    q += v * v
                q *= stretch[w, p] * stretch[w, p]
                if q < FAR or q > FARTHEST:
                    continue
                at = min(int(np.sqrt(q) * per_unit), last)
                hiss = max(1.0 - floor[w, p], 0.0)
                x, y = table[at, 1] - table[at, 0], r - floor[w, p] * table[at, 0] - hiss * noise[speed, row]
                if table.shape[1] > 4:      # behind a filter a quotient is expected, its denominator has the share too
                    shown = floor[w, p] * table[at, 4] + hiss
                    x = (x - r * (table[at, 5] - table[at, 4])) / shown
                    y = (y + r * (shown - 1.0)) / shown
                product[w, p] += floor[w, p] * x * y
                square[w, p] += floor[w, p] * x * floor[w, p] * x


def adapt(strengths: CellStrengths, T: Array, speckle: Correlations, forms: Array, curves: Curves) -> CellStrengths:
    """Strengths with the slow share of each cell and window measured on pairs that `T` puts far apart.

    Least squares of (3.7), or (3.7b), for the share, about the one given: f = floor ((1 - s) K(Q) + s K(kappa Q)).

    Parameters
    ----------
    strengths : by regression, or bare.   T : [N, 4, 4] first estimate of the poses.   forms : [P, 3, 3].
    """
    middle, _ = windows(len(T))
    floor = strengths.fast + strengths.slow
    given = strengths.slow / np.maximum(floor, 1e-6)
    xi = np.ascontiguousarray(se3.log(se3.inverse(T[speckle.i]) @ T[speckle.j])[:, 2:5])
    product, square = np.zeros(floor.shape), np.zeros(floor.shape)
    _sums(xi, curves.pairs(speckle), cell_model(forms, strengths, curves), floor, middle, product, square)
    share = (INFORMATION * product + given / REGRESSION_SD**2) / (INFORMATION * square + 1 / REGRESSION_SD**2)
    share = np.clip(share, 0, MOST)
    return CellStrengths((1 - share) * floor, share * floor, strengths.window, strengths.stretch)
