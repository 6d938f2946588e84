"""Curves judged by what they are for: motion of single frame pairs, estimated and compared with the tracked one."""

from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

from ..kernels.cells import LOSS, Pairs, cell_fit, cell_weights, of_pair
from ..pairs.correlation import between_rows
from ..speckle.cell_regression import parts
from ..speckle.curves import Curves, forms_of, speed_rows
from ..speckle.strengths import WORST_CELL, CellStrengths, cell_model
from ..trajectory.hypothesis_tracking import TEMPER
from .training import Record

Array = NDArray[np.float64]

SENSITIVE = (0.40, 0.95)          # correlation of the clearest fifth of the cells
PIVOT_MM = 0.05                   # how well the contact point is held while single pairs are judged
LAGS = 8
HELD = 5
NAMES = ("focus", "yaw", "tilt")


@numba.njit(nogil=True, cache=True)
def fit_pairs(start, mean, precision, pairs, cells, loss, out):
    """Levenberg-Marquardt of single pairs: out [M, 3] from start [M, 3] under a Gaussian prior about mean [M, 3].

    precision : [3, 3].   pairs, cells, loss : `Pairs`, `CellModel` of all windows, `Loss`.

    The variances are held while a pair is solved and taken anew `HELD` times (METHOD.md (3.8)).
    """
    g, H = np.empty(3), np.empty((3, 3))
    gt, Ht = np.empty(3), np.empty((3, 3))
    rho, rest, weights = pairs.rho, pairs.rest, np.empty(pairs.rho.shape[1])
    for m in range(start.shape[0]):
        x = start[m].copy()
        temper = pairs.temper[m]
        model = of_pair(cells, pairs, m)
        for _ in range(HELD):
            cell_weights(x, model, rho[m], rest[m], loss, weights)
            d = x - mean[m]
            cost = temper * cell_fit(x, weights, model, rho[m], rest[m], loss, g, H) + 0.5 * d @ precision @ d
            damping = 1e-3
            for _ in range(10):
                A = temper * H + precision
                for k in range(3):
                    A[k, k] *= 1.0 + damping
                trial = x - np.linalg.solve(A, temper * g + precision @ (x - mean[m]))
                d = trial - mean[m]
                new = temper * cell_fit(trial, weights, model, rho[m], rest[m], loss, gt, Ht) \
                    + 0.5 * d @ precision @ d
                if new < cost:
                    done = cost - new < 1e-6 * abs(cost)
                    x, cost = trial, new
                    g[:] = gt
                    H[:] = Ht
                    damping = max(damping * 0.2, 1e-9)
                    if done:
                        break
                else:
                    damping *= 8.0
                    if damping > 1e6:
                        break
        out[m] = x


@dataclass(frozen=True)
class PairErrors:
    """Pair estimates of a scan against the tracker, each of `NAMES`: displacement at the focus, yaw, tilt.

    Attributes
    ----------
    gain : [3], median of estimate over truth where the truth is above half its rms; NaN where nothing moved.
    error : [3], median of |estimate - truth| over the rms of the truth.
    estimate, truth : [M, 3], mm, rad, rad.
    """

    scan: str
    gain: Array
    error: Array
    estimate: Array
    truth: Array


def sensitive(record: Record) -> NDArray[np.int64]:
    """Pairs of a record that are near enough to be told and far enough to tell something."""
    top = np.quantile(np.nan_to_num(record.rho.astype(np.float64)), 0.8, axis=1)
    lag = record.j - record.i
    return np.flatnonzero((top > SENSITIVE[0]) & (top < SENSITIVE[1]) & (lag <= LAGS))


def rest_of(curves: Curves, record: Record) -> NDArray[np.float32]:
    """Part of Q [M, P] that in-plane motion adds."""
    return np.float32(curves.steering) * np.square(record.turn.astype(np.float32))


def resampled(curves: Curves, record: Record) -> NDArray[np.float32]:
    """Correlations [M, P] without what moves between rows of pixels have cost."""
    between = between_rows(record.lines, record.planar, record.row_mm[0])
    return record.rho / curves.kept(between)


def judge_pairs(record: Record, curves: Curves, coefficients: Array) -> PairErrors:
    """Estimate the pairs of a record with the contact point and the sign given, and compare."""
    m = sensitive(record)
    floor, slow, stretch = parts(coefficients, record.signs.astype(float))
    floor = np.where(floor < WORST_CELL, 0, floor)
    truth, out = record.xi[m], np.empty((len(m), 3))
    precision = np.diag([1 / PIVOT_MM**2, 1e-2, 1e-2])
    window = np.zeros(int(record.j.max(initial=0)) + 1, np.int64)
    window[record.j] = record.window
    strengths = CellStrengths((1 - slow) * floor, slow * floor, window, stretch)
    pairs = Pairs(record.i[m].astype(np.int64), record.j[m].astype(np.int64), resampled(curves, record)[m],
                  rest_of(curves, record)[m], np.full(len(m), TEMPER), speed_rows(record.slide[m]))
    filtered = curves.through(record.filtered)
    fit_pairs(0.9 * truth + 1e-4, truth * [1, 0, 0], precision, pairs,
              cell_model(forms_of(curves, record.lines), strengths, filtered), LOSS, out)
    to = np.array([[1, curves.focus_mm, 0], [0, 0, 1], [0, 1, 0]])
    e, t = out @ to.T, truth @ to.T
    gain, error = np.full(3, np.nan), np.full(3, np.nan)
    for k in range(3):
        rms = np.sqrt(np.mean(t[:, k] ** 2)) if len(t) else 0.0
        moved = np.abs(t[:, k]) > max(rms / 2, 1e-9)
        if moved.sum() >= 10:
            gain[k] = np.median(e[moved, k] / t[moved, k])
            error[k] = np.median(np.abs(e[:, k] - t[:, k])) / rms
    return PairErrors(record.name, gain, error, e, t)


def lag_one_excess(record: Record, curves: Curves, coefficients: Array) -> tuple[float, int]:
    """Mean residual of the correlations at lag 1 less that at lags 2 to 4 of like distance, and the pairs at lag 1.

    A machine that blends each picture with the one before (persistence) makes neighbours more alike than their
    distance says; clean simulated rotations show .02 to .05.
    """
    lag = record.j - record.i
    floor, slow, stretch = parts(coefficients, record.signs.astype(float))
    U = forms_of(curves, record.lines)
    w = record.window
    q = (np.square(np.einsum("pkm,nm->npk", U, record.xi)).sum(-1) + rest_of(curves, record)) * stretch[w] ** 2
    curves = curves.through(record.filtered)
    f = curves.expected(q, lag[:, None].astype(float), floor[w], slow[w], slide=record.slide[:, None])
    e = np.where(floor[w] < WORST_CELL, np.nan, resampled(curves, record) - f)
    means = []
    for lo, hi in ((0.05, 0.3), (0.3, 1.0), (1.0, 3.0)):
        level = (q >= lo) & (q < hi) & np.isfinite(e)
        one, few = level & (lag == 1)[:, None], level & ((lag >= 2) & (lag <= 4))[:, None]
        if one.sum() > 100 and few.sum() > 100:
            means.append(float(e[one].mean() - e[few].mean()))
    return (float(np.mean(means)) if means else float("nan")), int((lag == 1).sum())
