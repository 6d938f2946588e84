"""Batch solve: poses that all factors of a trajectory ask for at once, by Gauss-Newton (METHOD.md, section 5)."""

from dataclasses import replace

import numba
import numpy as np
from numpy.typing import NDArray

from .. import geometry as se3
from ..geometry import OUT_OF_PLANE, PLANAR
from ..kernels.cells import cell_cost, cell_fit, cell_weights, of_pair
from ..kernels.twists import jacobians, relative_twists
from .factors import Factors
from .hand import standing
from .normal_equations import Normal

Array = NDArray[np.float64]

ALL = np.arange(6)
DRAW = 10.0
REACHES = (12.0, 6.0, 3.0)  # in sqrt(Q), of the revisits that are drawn together
HOLD = 4             # steps for which the variances of the correlations are held


@numba.njit(nogil=True, cache=True, parallel=True)
def _all_fits(xi, weights, pairs, cells, loss, cost, gradient, hessian):
    for m in numba.prange(xi.shape[0]):
        model = of_pair(cells, pairs, m)
        cost[m] = cell_fit(xi[m], weights[m], model, pairs.rho[m], pairs.rest[m], loss, gradient[m], hessian[m])


@numba.njit(nogil=True, cache=True, parallel=True)
def _all_weights(xi, pairs, cells, loss, weights):
    for m in numba.prange(xi.shape[0]):
        model = of_pair(cells, pairs, m)
        cell_weights(xi[m], model, pairs.rho[m], pairs.rest[m], loss, weights[m])


@numba.njit(nogil=True, cache=True, parallel=True)
def _all_costs(xi, rows, pairs, cells, loss, cost):
    for n in numba.prange(rows.size):
        m = rows[n]
        model = of_pair(cells, pairs, m)
        cost[n] = cell_cost(xi[n], model, pairs.rho[m], pairs.rest[m], loss)


def pair_costs(T: Array, f: Factors, which: NDArray[np.bool_] | None = None) -> Array:
    """Weighed cost of each pair's correlations, of all pairs or those of `which` [M]."""
    rows = np.arange(len(f.pairs.i)) if which is None else np.flatnonzero(which)
    xi = out_of_plane_between(T, f.pairs.i[rows], f.pairs.j[rows])
    cost = np.empty(len(rows))
    _all_costs(xi, rows, f.pairs, f.cells, f.loss, cost)
    return f.pairs.temper[rows] * cost


def total_cost(T: Array, f: Factors) -> float:
    """What `solve` minimises."""
    e = twists_between(T, f.planar_i, f.planar_j)[:, PLANAR] - f.planar
    chi2 = np.einsum("mi,mij,mj->m", e, f.planar_information, e)
    step = se3.log(se3.steps(T))[1:]
    change = np.diff(f.pace(np.arange(1, len(T)))[:, None] * step, axis=0)
    return float(pair_costs(T, f).sum() + 4.5 * np.log1p(chi2 / 9).sum()
                 + 10 * np.log1p(np.square(change / f.acceleration).sum(1) / 20).sum()
                 + standing(T, f) + (f.crossings.pull(f.crossings.moved(T))[0] if f.crossings else 0.0)
                 + 0.5 * (f.step_precision(np.arange(1, len(T))) * np.square(step[:, OUT_OF_PLANE])).sum())


def twists_between(T: Array, i: NDArray[np.int64], j: NDArray[np.int64]) -> Array:
    """Twists [M, 6] from frames i to frames j of poses [N, 4, 4]."""
    out = np.empty((len(i), 6))
    if relative_twists(np.ascontiguousarray(T[:, :3]), i, j, out):
        return se3.log(se3.inverse(T[i]) @ T[j])
    return out


def out_of_plane_between(T: Array, i: NDArray[np.int64], j: NDArray[np.int64]) -> Array:
    """(z, tilt, yaw) [M, 3] of `twists_between`."""
    return np.take(twists_between(T, i, j), OUT_OF_PLANE, axis=1)


def touching(f: Factors, first: int, last: int) -> Factors:
    """The factors of pairs of which a frame lies in first..last."""
    p, s = ((i <= last) & (j >= first) & ((i >= first) | (j <= last))
            for i, j in ((f.planar_i, f.planar_j), (f.pairs.i, f.pairs.j)))
    return replace(f.picked(s), planar_i=f.planar_i[p], planar_j=f.planar_j[p], planar=f.planar[p],
                   planar_information=f.planar_information[p])


def weights_at(T: Array, f: Factors) -> NDArray[np.float32]:
    """Inverse variances [M, P] of the correlations along a trajectory [N, 4, 4], METHOD.md (3.8)."""
    xi = out_of_plane_between(T, f.pairs.i, f.pairs.j)
    weights = np.empty(f.pairs.rho.shape, np.float32)
    _all_weights(xi, f.pairs, f.cells, f.loss, weights)
    return weights


def linearise(T: Array, f: Factors, weights: NDArray[np.float32] | None = None,
              part: tuple[int, int] | None = None, reach: float | None = None) -> tuple[float, Normal]:
    """Cost of a trajectory [N, 4, 4] under the factors, and its normal equations.

    Parameters
    ----------
    weights : [M, P] of the correlations, `weights_at` T by default.
    part : first and last frame that may move, all by default; `f` then holds the pairs that touch them.
    reach : if given, revisits count by their distance, METHOD.md (8.3), not by their correlations.
    """
    N, pairs = len(T), f.pairs
    begin, end = part or (0, N - 1)
    lag = np.concatenate([pairs.j - pairs.i, f.planar_j - f.planar_i])
    normal = Normal(end - begin + 1, int(max(lag[lag <= f.most_lag].max(initial=1), 2)), begin)
    total = 0.0

    def twist(i, j, rows=ALL):
        """Of each pair, and its change [M, D, 6] by that of frame i, of frame j: METHOD.md (5.2)."""
        xi = twists_between(T, i, j)
        before, after = np.empty((2, len(xi), len(rows), 6))
        jacobians(xi, rows, before, after)
        return np.take(xi, rows, axis=1), before, after

    def paced(k):
        """`twist` of the steps into frames k, a frame time's: METHOD.md (5.4b)."""
        pace = f.pace(k)[:, None]
        xi, before, after = twist(k - 1, k)
        return pace * xi, pace[..., None] * before, pace[..., None] * after

    if len(pairs.i):
        now, Ji, Jj = twist(pairs.i, pairs.j, OUT_OF_PLANE)
        cost, g, H = np.empty(len(now)), np.empty((len(now), 3)), np.empty((len(now), 3, 3))
        weights = weights_at(T, f) if weights is None else weights
        _all_fits(now, weights, pairs, f.cells, f.loss, cost, g, H)
        if reach:
            far, gram = f.revisits, f.gram
            pull = now[far] @ gram
            Q = (pull * now[far]).sum(1)
            weight = DRAW / pairs.temper[far] / (1 + Q / reach**2)                                          # (8.3)
            cost[far] = DRAW / pairs.temper[far] * reach**2 / 2 * np.log1p(Q / reach**2)
            g[far], H[far] = weight[:, None] * pull, weight[:, None, None] * gram
        total += (pairs.temper * cost).sum()
        normal.add([(pairs.i, Ji), (pairs.j, Jj)], pairs.temper[:, None] * g, pairs.temper[:, None, None] * H)

    xi, Ji, Jj = twist(f.planar_i, f.planar_j, PLANAR)
    e = xi - f.planar
    chi2 = np.einsum("mi,mij,mj->m", e, f.planar_information, e)
    total += 4.5 * np.log1p(chi2 / 9).sum()
    W = f.planar_information / (1 + chi2 / 9)[:, None, None]
    normal.add([(f.planar_i, Ji), (f.planar_j, Jj)], (W @ e[..., None])[..., 0], W)

    if f.contact_precision:
        # METHOD.md (5.5): the contact point drifts about where it was, slowly
        k = np.arange(max(begin, 1), min(end + 2, N))
        e = T[k, :3, 3]
        apart2 = np.square(e).sum(1) / f.contact_reach_mm**2
        total += 0.5 * f.contact_precision * f.contact_reach_mm**2 * np.log1p(apart2).sum()
        J = np.zeros((len(k), 3, 6))
        J[:, :, :3] = T[k, :3, :3]
        weight = f.contact_precision / (1 + apart2)
        normal.add([(k, J)], weight[:, None] * e, weight[:, None, None] * np.eye(3))

    if f.holds_steps:
        k = np.arange(max(begin, 1), min(end + 2, N))
        step, Ji, Jj = twist(k - 1, k, OUT_OF_PLANE)
        precision = f.step_precision(k)
        total += 0.5 * (precision * np.square(step)).sum()
        normal.add([(k - 1, Ji), (k, Jj)], precision * step, precision[:, None] * np.eye(3))

    if f.crossings:
        c = f.crossings
        pulled, pull = c.pull(c.moved(T))
        total += pulled
        normal.add([(c.i, se3.adjoint(T[c.i])), (c.j, -se3.adjoint(T[c.j]))], pull, c.hessian)

    if f.lean_precision:
        k = np.arange(max(begin, 1), end + 1)
        e = T[k, :3, 1] - T[0, :3, 1]
        total += 0.5 * f.lean_precision * np.square(e).sum()
        J = np.zeros((len(k), 3, 6))
        J[:, :, 3], J[:, :, 5] = T[k, :3, 2], -T[k, :3, 0]
        W = f.lean_precision * np.eye(3)
        normal.add([(k, J)], e @ W, np.broadcast_to(W, (len(k), 3, 3)))

    k = np.arange(max(begin - 1, 1), min(end + 2, N - 1))
    if len(k):
        before, Ja, Jb = paced(k)
        after, Jc, Jd = paced(k + 1)
        e = after - before
        chi2 = np.square(e / f.acceleration).sum(1)
        total += 10 * np.log1p(chi2 / 20).sum()
        W = np.diag(1 / np.square(f.acceleration)) / (1 + chi2 / 20)[:, None, None]
        normal.add([(k - 1, -Ja), (k, Jc - Jb), (k + 1, Jd)], (W @ e[..., None])[..., 0], W)
    return total, normal


def solve(T_start: Array, factors: Factors, iterations: int = 20, least_gain: float = 1e-4,
          part: tuple[int, int] | None = None, reach: float | None = None) -> Array:
    """Levenberg-Marquardt over all poses, or those of a `part` (first, last frame); frame 0 keeps its pose.

    The variances of the correlations are held for `HOLD` steps at a time, then taken anew (METHOD.md (3.8)).
    """
    T = T_start.copy()
    moving = slice(None)
    if part:
        factors, moving = touching(factors, *part), slice(part[0], part[1] + 1)
    damping, left = 1e-4, iterations
    while left > 0:
        weights = weights_at(T, factors)
        first, normal = linearise(T, factors, weights, part, reach)
        cost = first
        for _ in range(min(HOLD, left)):
            left -= 1
            trial = T.copy()
            trial[moving] = T[moving] @ se3.exp(normal.step(damping))
            new, next_normal = linearise(trial, factors, weights, part, reach)
            if new < cost:
                gain, T, cost, normal = cost - new, trial, new, next_normal
                damping = max(damping / 10, 1e-7)
                if gain < least_gain * cost:
                    break
            else:
                damping *= 10
        if first - cost < least_gain * cost or damping > 1e3:
            break
    T = T_start[:1] @ se3.inverse(T[:1]) @ T
    T[:1] = T_start[:1]
    return T


def drawn(T: Array, factors: Factors, iterations: int = 8) -> Array:
    """Poses whose revisits have been drawn together, those within a shrinking reach (METHOD.md (8.3)).

    A correlation hardly changes where the trajectory puts a revisit far away, so that `solve` alone leaves it there;
    a distance always pulls (graduated non-convexity: Yang, Antonante, Tzoumas & Carlone 2020).
    """
    for reach in REACHES:
        T = solve(T, factors, iterations, reach=reach)
    return T
