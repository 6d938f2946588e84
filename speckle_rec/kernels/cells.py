"""What the correlations of a frame pair's cells say of a motion: cost, gradient and hessian.

Cells go `LANES` at a time through short loops over rows of one work array, which compile to vector instructions, and
sums are taken lane by lane and then in pairs of lanes. So nothing is left to a compiler's liberties of rounding: what
it would make of them depends on which kernels it finds compiled already, and a scan must come out with the same bytes
on every machine of a cluster.

Common arguments: xi [3], (z mm, tilt rad, yaw rad). cells : a `CellModel` of one window and lag. loss : a `Loss`.
rho [P], correlations; rest [P], part of Q from in-plane motion, METHOD.md (3.9): Q = stretch^2 (|U xi|^2 + rest).
"""

import math
from typing import Any, NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

njit = numba.njit(nogil=True, cache=True, error_model="numpy")

LANES = 64
AT_ONCE = 512       # cells of whose terms `FEW` logarithms are taken: they cost as much as the rest
FEW = 8
# Rows of the work array: sums of gradient (3) and hessian (6), product of the losses' terms, U xi (3), place in the
# table, expected correlation f and its slope by Q, weight, residual, slopes of f by xi (3).
(_SUMS, _PRODUCT, _ARM, _PLACE, _F, _SLOPE, _WEIGHT, _RESIDUAL, _BY,
 _END) = (k * LANES for k in (0, 9, 10, 13, 14, 15, 16, 17, 18, 21))


class CellModel(NamedTuple):
    """What is expected of the cells of a scan, of P cells in W windows; of one window, see `of_window`; or of one
    window and lag, see `at_lag`.

    Attributes
    ----------
    forms : [3, 3, P], of `by_entry`.
    fast, slow, stretch : [W, P], or [P] of one window; see `strengths.CellStrengths`.
    window : int64 [N], row of them that holds at each frame.
    table : [1, 1, n, 4], K(Q), K(kappa Q) and their slopes by Q at sqrt(Q) = k / per_unit, METHOD.md (3.7); behind a
        filter over time [V, L, n, 8], `Curves.tables`, METHOD.md (3.7b), at V speeds in the plane and lags 1 to L - 1,
        the first that of all longer lags. Of one speed and lag [n, 4] or [n, 8].
    per_unit : entries of the table by sqrt(Q).   noise : [V, L], correlation of noise there; of one lag a number.
    """

    forms: NDArray[np.float64]
    fast: NDArray[np.float64]
    slow: NDArray[np.float64]
    stretch: NDArray[np.float64]
    window: NDArray[np.int64]
    table: NDArray[np.float64]
    per_unit: float
    noise: NDArray[np.float64]

    def sampled(self, every: int) -> "CellModel":
        """One of so many cells."""
        forms, fast, slow, stretch = (np.ascontiguousarray(x[..., ::every]) for x in self[:4])
        return self._replace(forms=forms, fast=fast, slow=slow, stretch=stretch)

    def every(self, every: int) -> "CellModel":
        """The model where one of so many frames is left: lags count these."""
        return self._replace(window=np.ascontiguousarray(self.window[::every]), noise=self.noise[:, ::every].copy(),
                             table=np.ascontiguousarray(self.table[:, ::every]))


class Loss(NamedTuple):
    """How correlations are weighed against the curves, METHOD.md (3.8).

    Attributes
    ----------
    samples : independent speckles of a cell, as the correlation's variance sees them.
    extra : misfit of the curves, in correlation.
    cutoff : of the Cauchy loss, in standard deviations.
    """

    samples: float = 25.0
    extra: float = 0.04
    cutoff: float = 2.0


LOSS = Loss()


class Pairs(NamedTuple):
    """Frame pairs and what their cells say.

    Attributes
    ----------
    i, j : int64 [M], frames, i < j.   rho : float32 [M, P], correlations, NaN where there is none.
    rest : float32 [M, P], part of Q from in-plane motion.
    temper : [M], weight of each pair: neighbours in time and place are not independent.
    speed : int64 [M], row of the tables for its speed in the plane, see `Curves.tables`.
    """

    i: NDArray[np.int64]
    j: NDArray[np.int64]
    rho: NDArray[np.float32]
    rest: NDArray[np.float32]
    temper: NDArray[np.float64]
    speed: NDArray[np.int64]

    def picked(self, which: Any) -> "Pairs":
        """Some of the pairs: a mask, a slice, or rows."""
        return Pairs(*(x[which] for x in self))

    def sampled(self, every: int) -> "Pairs":
        """The same pairs with one of so many cells, weighed up."""
        return self._replace(rho=np.ascontiguousarray(self.rho[:, ::every]),
                             rest=np.ascontiguousarray(self.rest[:, ::every]), temper=self.temper * every)


def by_entry(forms: NDArray[np.float64]) -> NDArray[np.float64]:
    """U of all cells, [P, 3, 3], as the kernels take it: [3, 3, P], the cells of an entry next to each other."""
    return np.ascontiguousarray(np.moveaxis(forms, 0, -1))


@njit
def of_window(cells, w):
    """The model [P] of cells in window w."""
    return CellModel(cells.forms, cells.fast[w], cells.slow[w], cells.stretch[w], cells.window, cells.table,
                     cells.per_unit, cells.noise)


@njit
def at_lag(cells, lag, speed):
    """The model of one window for pairs so many frames apart, at a speed in the plane."""
    row = lag if lag < cells.noise.shape[1] else 0
    return CellModel(cells.forms, cells.fast, cells.slow, cells.stretch, cells.window, cells.table[speed, row],
                     cells.per_unit, cells.noise[speed, row])


@njit
def of_pair(cells, pairs, m):
    """The model of cells in all windows for pair m."""
    return at_lag(of_window(cells, cells.window[pairs.j[m]]), pairs.j[m] - pairs.i[m], pairs.speed[m])


@njit
def _expect(xi, cells, rest, begin, n, slopes, work):
    """U xi of n cells from `begin`, and what they are expected to correlate by, with its slope by Q if wanted.

    f = fast K(Q) + slow K(kappa Q), METHOD.md (3.7); behind a filter over time what both frames share of tissue and of
    noise over what each shows of them, METHOD.md (3.7b).
    """
    forms, stretch, table, per_unit, noise = cells.forms, cells.stretch, cells.table, cells.per_unit, cells.noise
    x, y, z = xi[0], xi[1], xi[2]
    end = begin + n
    u00, u01, u02 = forms[0, 0, begin:end], forms[0, 1, begin:end], forms[0, 2, begin:end]
    u10, u11, u12 = forms[1, 0, begin:end], forms[1, 1, begin:end], forms[1, 2, begin:end]
    u20, u21, u22 = forms[2, 0, begin:end], forms[2, 1, begin:end], forms[2, 2, begin:end]
    more, wide, last = rest[begin:end], stretch[begin:end], len(table) - 1
    quick, late = cells.fast[begin:end], cells.slow[begin:end]
    for q in range(n):
        a = u00[q] * x + u01[q] * y + u02[q] * z
        b = u10[q] * x + u11[q] * y + u12[q] * z
        c = u20[q] * x + u21[q] * y + u22[q] * z
        work[q + _ARM], work[q + _ARM + LANES], work[q + _ARM + 2 * LANES] = a, b, c
        work[q + _PLACE] = min(np.sqrt(a * a + b * b + c * c + more[q]) * wide[q] * per_unit, float(last))
    for q in range(n):
        at = min(int(work[q + _PLACE]), last - 1)
        t = work[q + _PLACE] - at
        low, high = table[np.uint64(at)], table[np.uint64(at + 1)]      # unsigned: indices from the end cost a branch
        work[q + _F] = quick[q] * (low[0] + t * (high[0] - low[0])) + late[q] * (low[1] + t * (high[1] - low[1]))
        if slopes:
            work[q + _SLOPE] = (quick[q] * (low[2] + t * (high[2] - low[2]))
                                + late[q] * (low[3] + t * (high[3] - low[3])))
    if table.shape[1] == 4:
        return
    for q in range(n):
        at = min(int(work[q + _PLACE]), last - 1)
        t = work[q + _PLACE] - at
        low, high = table[np.uint64(at)], table[np.uint64(at + 1)]
        hiss = max(1.0 - quick[q] - late[q], 0.0)
        shown = (quick[q] * (low[4] + t * (high[4] - low[4])) + late[q] * (low[5] + t * (high[5] - low[5])) + hiss)
        work[q + _F] = (work[q + _F] + noise * hiss) / max(shown, 1e-9)
        if slopes:
            by_q = quick[q] * (low[6] + t * (high[6] - low[6])) + late[q] * (low[7] + t * (high[7] - low[7]))
            work[q + _SLOPE] = (work[q + _SLOPE] - work[q + _F] * by_q) / max(shown, 1e-9)


@njit
def _taken_together(first, work):
    """The lanes of a row added in pairs, of pairs and so on."""
    half = LANES // 2
    while half:
        for q in range(half):
            work[first + q] += work[first + q + half]
        half //= 2
    return work[first]


@njit
def _logarithms(work):
    """Sum of the logarithms of the products that the lanes hold, which are 1 again."""
    half = LANES // 2
    while half >= FEW:
        for q in range(half):
            work[_PRODUCT + q] *= work[_PRODUCT + q + half]
        half //= 2
    total = 0.0
    for q in range(FEW):
        total += math.log(work[_PRODUCT + q])
    work[_PRODUCT:_PRODUCT + LANES] = 1.0
    return total


@njit
def cell_weights(held, cells, rho, rest, loss, out):
    """Inverse variances [P] of the cells' correlations about the curves at a motion `held`; 0 where they say nothing.

    sigma^2 = (1 - f^2)^2 / samples + extra^2, METHOD.md (3.8), which a solver keeps while it steps: free it would
    favour too much motion. Cells without a correlation, or whose fast and slow parts are both 0, say nothing.
    """
    fast, slow, samples, extra = cells.fast, cells.slow, loss.samples, loss.extra
    work = np.empty(_END)
    for begin in range(0, rho.size, LANES):
        n = min(LANES, rho.size - begin)
        end = begin + n
        _expect(held, cells, rest, begin, n, False, work)
        seen, quick, late, made = rho[begin:end], fast[begin:end], slow[begin:end], out[begin:end]
        for q in range(n):
            f = work[q + _F]
            told = np.isfinite(seen[q]) and quick[q] + late[q] > 0.0
            made[q] = 1.0 / ((1.0 - f * f) * (1.0 - f * f) / samples + extra * extra) if told else 0.0


@njit
def cell_fit(xi, weights, cells, rho, rest, loss, gradient, hessian):
    """Robust cost of one pair's cell correlations at xi, with gradient [3] and Gauss-Newton hessian [3, 3].

    Residual (rho - f) sqrt(weight), f as `_expect` says, with the `weights` of `cell_weights`. Cauchy loss of the given
    cutoff.
    """
    forms, stretch, cutoff = cells.forms, cells.stretch, loss.cutoff
    work = np.empty(_END)
    work[:_PRODUCT] = 0.0
    work[_PRODUCT:_PRODUCT + LANES] = 1.0
    cost, per = 0.0, 1.0 / (cutoff * cutoff)
    for begin in range(0, rho.size, LANES):
        n = min(LANES, rho.size - begin)
        end = begin + n
        _expect(xi, cells, rest, begin, n, True, work)
        seen, weight, wide = rho[begin:end], weights[begin:end], stretch[begin:end]
        for q in range(n):
            w = float(weight[q])
            e = seen[q] - work[q + _F]
            e = e if w > 0.0 else 0.0
            chi2 = e * e * w * per
            work[q + _PRODUCT] *= 1.0 + chi2
            work[q + _WEIGHT], work[q + _RESIDUAL] = w / (1.0 + chi2), e
            work[q + _SLOPE] *= 2.0 * wide[q] * wide[q]
        for m in range(3):
            u, v, s = forms[0, m, begin:end], forms[1, m, begin:end], forms[2, m, begin:end]
            for q in range(n):
                work[q + m * LANES + _BY] = work[q + _SLOPE] * (
                    work[q + _ARM] * u[q] + work[q + _ARM + LANES] * v[q] + work[q + _ARM + 2 * LANES] * s[q])
        for q in range(n):
            w, e = work[q + _WEIGHT], work[q + _RESIDUAL]
            d0, d1, d2 = work[q + _BY], work[q + _BY + LANES], work[q + _BY + 2 * LANES]
            w0, w1, w2 = w * d0, w * d1, w * d2
            work[q] -= w0 * e
            work[q + LANES] -= w1 * e
            work[q + 2 * LANES] -= w2 * e
            work[q + 3 * LANES] += w0 * d0
            work[q + 4 * LANES] += w1 * d0
            work[q + 5 * LANES] += w1 * d1
            work[q + 6 * LANES] += w2 * d0
            work[q + 7 * LANES] += w2 * d1
            work[q + 8 * LANES] += w2 * d2
        if end % AT_ONCE == 0 or end == rho.size:
            cost += _logarithms(work)
    for m in range(3):
        gradient[m] = _taken_together(m * LANES, work)
        for k in range(m + 1):
            hessian[m, k] = hessian[k, m] = _taken_together((3 + m * (m + 1) // 2 + k) * LANES, work)
    return 0.5 * cutoff * cutoff * cost


@njit
def cell_cost(xi, cells, rho, rest, loss):
    """The cost of `cell_fit` alone, weights taken at xi: for comparing hypotheses that lie far apart."""
    fast, slow, samples, extra, cutoff = cells.fast, cells.slow, loss.samples, loss.extra, loss.cutoff
    work = np.empty(_END)
    work[_PRODUCT:_PRODUCT + LANES] = 1.0
    cost, per = 0.0, 1.0 / (cutoff * cutoff)
    for begin in range(0, rho.size, LANES):
        n = min(LANES, rho.size - begin)
        end = begin + n
        _expect(xi, cells, rest, begin, n, False, work)
        seen, quick, late = rho[begin:end], fast[begin:end], slow[begin:end]
        for q in range(n):
            f = work[q + _F]
            e = seen[q] - f
            e = e if np.isfinite(seen[q]) and quick[q] + late[q] > 0.0 else 0.0
            variance = (1.0 - f * f) * (1.0 - f * f) / samples + extra * extra
            work[q + _PRODUCT] *= 1.0 + e * e / variance * per
        if end % AT_ONCE == 0 or end == rho.size:
            cost += _logarithms(work)
    return 0.5 * cutoff * cutoff * cost
