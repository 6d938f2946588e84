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
from ..products.stages import NO_FILTER
from .curves import TABLE_PER_UNIT, Curves
from .strengths import WORST_CELL, CellStrengths, relative, typical_correlation

Array = NDArray[np.float64]

NEAR_LAG = 8                            # frames: pairs that tell strength are no further apart
FAR_LAGS = (16, 32)                     # those that tell what stays
LAG_UNIT = 4.0                          # lag whose Q is the rate
RATES = np.geomspace(0.02, 20.0, 31)    # Q at that lag that are tried
MOST_STRENGTH = 1.2                     # what is more is noise


def usual_fall(usual: Curves) -> NDArray[np.float32]:
    """What frames share of a usual cell's tissue at a speed and lag, and what each shows of it (`Curves.tables`),
    [2, V, L, n], at sqrt(Q) = k / TABLE_PER_UNIT."""
    tables, s = usual.tables(), usual.slow_share
    shared = (1 - s) * tables[..., 0] + s * tables[..., 1]
    shown = (1 - s) * tables[..., 4] + s * tables[..., 5] if usual.filtered else np.ones_like(shared)
    return np.stack([shared, shown]).astype(np.float32)


@numba.njit(nogil=True, cache=True)
def _place(lag, rate, fall):
    """Row and column of `fall` for a lag, moving steadily: Q grows as the square of the lag."""
    row = lag if lag < fall.shape[2] else 0
    return row, min(int(np.sqrt(rate) * lag / LAG_UNIT * TABLE_PER_UNIT), fall.shape[3] - 1)


@numba.njit(nogil=True, cache=True, parallel=True)
def _fitted(spans, lag, speed, rho, rates, fall, noise, found):
    (first, last), strength, rate = spans, found[0], found[1]
    for w in numba.prange(first.size):
        for p in range(rho.shape[1]):
            product, square, energy = np.zeros(rates.size), np.zeros(rates.size), 0.0
            more = np.zeros(rates.size)     # tissue that is shown, beside noise
            for m in range(first[w], last[w]):
                r = rho[m, p]
                if np.isfinite(r):
                    v = speed[m]
                    floor = noise[v, lag[m]] if lag[m] < noise.shape[1] else 0.0
                    energy += (r - floor) * (r - floor)
                    for s in range(rates.size):
                        row, at = _place(lag[m], rates[s], fall)
                        more[s] = fall[1, v, row, at] - 1.0
                        f = fall[0, v, row, at] - floor - r * more[s]
                        product[s] += (r - floor) * f
                        square[s] += f * f
            least = np.inf
            for s in range(rates.size):
                if square[s] > 0:
                    found_here = product[s] / square[s]
                    shown = max(1.0 + found_here * more[s], 1e-6)
                    left = (energy - product[s] * found_here) / (shown * shown)
                    if left < least:
                        least, strength[w, p], rate[w, p] = left, found_here, rates[s]


def strengths_at_rest(speckle: Correlations, n_frames: int, usual: Curves) -> tuple[Array, Array]:
    """Correlation [W, P] of each cell at rest about each window, and Q [W, P] of `LAG_UNIT` frames there.

    Least squares of rho = strength f(rate (lag / LAG_UNIT)^2) over near pairs, f the fall of a usual cell; behind a
    filter over time of (3.7b), both sides times its denominator, which is the same at all lags. The motion is taken as
    steady through a window, and its size as the cell's own. Both are 0 where a window has no pairs.
    """
    middle, _ = windows(n_frames)
    lag = speckle.j - speckle.i
    near = np.flatnonzero(lag <= NEAR_LAG)
    j, rho = speckle.j[near], speckle.rho[near]
    strength, rate = found = np.zeros((2, len(middle), speckle.rho.shape[1]))
    spans = np.searchsorted(j, middle - WINDOW_HALF), np.searchsorted(j, middle + WINDOW_HALF + 1)
    _fitted(spans, lag[near], usual.speeds(speckle)[near], rho, RATES, usual_fall(usual), usual.noise(), found)
    return np.clip(strength, 0, MOST_STRENGTH), rate


def outlasting(speckle: Correlations, strength: Array, rate: Array, n_frames: int, usual: Curves
               ) -> tuple[Array, Array]:
    """Median correlation [W, P] at far lags above what is left of a cell's strength by its own fall, and pairs [W].

    Parameters
    ----------
    strength, rate : of `strengths_at_rest`.
    """
    lag, speed, fall = speckle.j - speckle.i, usual.speeds(speckle), usual_fall(usual)

    def left(window: int, pairs: NDArray[np.int64]) -> Array:
        at = np.sqrt(rate[window]) * lag[pairs, None] / LAG_UNIT * TABLE_PER_UNIT
        row = np.where(lag[pairs] < fall.shape[2], lag[pairs], 0)[:, None]
        shared, shown = fall[:, speed[pairs, None], row, np.minimum(at, fall.shape[3] - 1).astype(int)]
        return strength[window] * shared / np.maximum(1 + strength[window] * (shown - 1), 1e-6)

    return typical_correlation(speckle, n_frames, FAR_LAGS, left)


def cell_strengths(speckle: Correlations, n_frames: int, curves: Curves) -> CellStrengths:
    """How well each cell correlates at rest, from its lag-1 correlation alone: no regression, no tissue factor.

    Noise, shadow and thin echoes lower a cell's correlation at every distance. Cells beside each other see
    nearly the same motion, so that a cell's median correlation at lag 1 over that of the clearest cells
    is its strength relative to theirs, whatever the motion was (METHOD.md (3.6)). The simple version, for curves
    without a calibration; `calibration.Calibration.strengths` is the other.
    """
    strength = curves.floor * np.clip(relative(_neighbours(speckle, n_frames, curves)), 0, 1.03)
    strength[strength < WORST_CELL] = 0
    return CellStrengths((1 - curves.slow_share) * strength, curves.slow_share * strength, windows(n_frames)[1],
                         np.ones_like(strength))


def _neighbours(speckle: Correlations, n_frames: int, curves: Curves) -> Array:
    """Correlation [W, P] of each cell at lag 1 about each window, as it would be without the filter over time."""
    if not curves.filtered:
        return typical_correlation(speckle, n_frames, (1, 1))[0]
    strength, rate = strengths_at_rest(speckle, n_frames, curves)
    return strength * curves.through(NO_FILTER).expected(rate / LAG_UNIT**2, 1, slow=curves.slow_share)
