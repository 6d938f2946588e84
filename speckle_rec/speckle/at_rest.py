"""What a cell would correlate by with the probe at rest, and what of it outlasts a far motion.

Noise, shadow and thin echoes lower a cell's correlation at every distance; so does motion, and not alike: under a tilt
the middle of the field decorrelates most, under a yaw its sides. A cell's correlation at lag 1 tells the two apart as
little as a single look can, and who reads it as strength explains away the very profile by which a yaw is told from
none, and a tilt from a shift. How the correlation falls from lag to lag tells them apart, whatever the motion is
(METHOD.md (3.6)).
"""

import numba
import numpy as np
from numpy.typing import NDArray

from ..frames.texture import WINDOW_HALF, windows
from ..pairs.correlation import Correlations
from .curves import TABLE_PER_UNIT, Curves
from .strengths import typical_correlation

Array = NDArray[np.float64]

NEAR_LAG = 8                            # frames: pairs that tell strength are no further apart
FAR_LAGS = (16, 32)                     # those that tell what stays
LAG_UNIT = 4.0                          # lag whose Q is the rate
RATES = np.geomspace(0.02, 20.0, 31)    # Q at that lag that are tried
MOST_STRENGTH = 1.2                     # what is more is noise


def usual_fall(usual: Curves) -> NDArray[np.float32]:
    """Share [L, n] of its correlation at rest that a usual cell keeps at a lag (`Curves.tables`), at
    sqrt(Q) = k / TABLE_PER_UNIT."""
    tables = usual.tables()
    return ((1 - usual.slow_share) * tables[..., 0] + usual.slow_share * tables[..., 1]).astype(np.float32)


@numba.njit(nogil=True, cache=True)
def _kept(lag, rate, fall):
    """What a usual cell keeps at a lag, moving steadily: Q grows as the square of the lag."""
    row = lag if lag < fall.shape[0] else 0
    return fall[row, min(int(np.sqrt(rate) * lag / LAG_UNIT * TABLE_PER_UNIT), fall.shape[1] - 1)]


@numba.njit(nogil=True, cache=True, parallel=True)
def _fitted(first, last, lag, rho, rates, fall, noise, found):
    strength, rate = found[0], found[1]
    for w in numba.prange(first.size):
        for p in range(rho.shape[1]):
            product, square, energy = np.zeros(rates.size), np.zeros(rates.size), 0.0
            for m in range(first[w], last[w]):
                r = rho[m, p]
                if np.isfinite(r):
                    floor = noise[lag[m]] if lag[m] < noise.size else 0.0
                    r -= floor
                    energy += r * r
                    for s in range(rates.size):
                        f = _kept(lag[m], rates[s], fall) - floor
                        product[s] += r * f
                        square[s] += f * f
            least = np.inf
            for s in range(rates.size):
                if square[s] > 0 and energy - product[s] * product[s] / square[s] < least:
                    least = energy - product[s] * product[s] / square[s]
                    strength[w, p], rate[w, p] = product[s] / square[s], rates[s]


def strengths_at_rest(speckle: Correlations, n_frames: int, usual: Curves) -> tuple[Array, Array]:
    """Correlation [W, P] of each cell at rest about each window, and Q [W, P] of `LAG_UNIT` frames there.

    Least squares of rho = strength f(rate (lag / LAG_UNIT)^2) + (1 - strength) R(lag) over near pairs, f the fall of a
    usual cell and R what a filter over time leaves of noise: the motion is taken as steady through a window, and its
    size as the cell's own. Both are 0 where a window has no pairs.
    """
    middle, _ = windows(n_frames)
    lag = speckle.j - speckle.i
    near = np.flatnonzero(lag <= NEAR_LAG)
    j, rho = speckle.j[near], speckle.rho[near]
    strength, rate = found = np.zeros((2, len(middle), speckle.rho.shape[1]))
    _fitted(np.searchsorted(j, middle - WINDOW_HALF), np.searchsorted(j, middle + WINDOW_HALF + 1),
            lag[near], rho, RATES, usual_fall(usual), usual.noise(), found)
    return np.clip(strength, 0, MOST_STRENGTH), rate


def outlasting(speckle: Correlations, strength: Array, rate: Array, n_frames: int, usual: Curves
               ) -> tuple[Array, Array]:
    """Median correlation [W, P] at far lags above what is left of a cell's strength by its own fall, and pairs [W].

    Parameters
    ----------
    strength, rate : of `strengths_at_rest`.
    """
    lag, fall = speckle.j - speckle.i, usual_fall(usual)

    def left(window: int, pairs: NDArray[np.int64]) -> Array:
        at = np.sqrt(rate[window]) * lag[pairs, None] / LAG_UNIT * TABLE_PER_UNIT
        row = np.where(lag[pairs] < len(fall), lag[pairs], 0)[:, None]
        return strength[window] * fall[row, np.minimum(at, fall.shape[1] - 1).astype(int)]

    return typical_correlation(speckle, n_frames, FAR_LAGS, left)
