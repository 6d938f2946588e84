"""How well each cell of a scan correlates at rest, and with the curves what is expected of it in motion."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..frames.texture import WINDOW_HALF, windows
from ..kernels.cells import CellModel, by_entry
from ..pairs.correlation import Correlations
from .curves import TABLE_PER_UNIT, Curves

Array = NDArray[np.float64]
Ints = NDArray[np.int64]

WORST_CELL = 0.25                     # a cell whose correlation at rest is below this says nothing


@dataclass(frozen=True)
class CellStrengths:
    """Correlation of cells at rest, split into a fast and a slow part, and how fast it falls in this tissue.

    Attributes
    ----------
    fast, slow : float64 [W, P], 0 for cells that say nothing.   window : int64 [N], row that holds at each frame.
    stretch : float64 [W, P], factor of sqrt(Q): below 1 where tissue decorrelates more slowly than the curves say.
    """

    fast: Array
    slow: Array
    window: NDArray[np.int64]
    stretch: Array


def typical_correlation(correlations: Correlations, n_frames: int, lags: tuple[int, int],
                        less: Callable[[int, Ints], Array] | None = None) -> tuple[Array, Array]:
    """Median correlation [W, P] of each cell about each window over pairs of first <= lag <= last, and pairs [W].

    Parameters
    ----------
    less : of a window and its pairs [K], what is taken off their correlations first, [K, P].
    """
    i, j, rho = correlations.i, correlations.j, correlations.rho
    middle, _ = windows(n_frames)
    picked = np.flatnonzero((j - i >= lags[0]) & (j - i <= lags[1]))
    out, count = np.zeros((len(middle), rho.shape[1])), np.zeros(len(middle))
    for k, centre in enumerate(middle):
        near = picked[np.abs(j[picked] - centre) <= WINDOW_HALF]
        count[k] = len(near)
        if len(near):
            out[k] = np.median(np.nan_to_num(rho[near] - (less(k, near) if less else 0)), axis=0)
    return out, count


def relative(strength: Array) -> Array:
    """Strength [W, P] of each cell over that of the clearest fifth of its window."""
    return strength / np.maximum(np.quantile(strength, 0.8, axis=1, keepdims=True), 1e-3)


def cell_model(forms: Array, strengths: CellStrengths, curves: Curves) -> CellModel:
    """What is expected of cells with `forms` [P, 3, 3], as kernels take it."""
    fast, slow, stretch = (np.ascontiguousarray(strengths.fast), np.ascontiguousarray(strengths.slow),
                           np.ascontiguousarray(strengths.stretch))
    window = np.ascontiguousarray(strengths.window)
    return CellModel(by_entry(forms), fast, slow, stretch, window, curves.tables(), float(TABLE_PER_UNIT),
                     curves.noise())
