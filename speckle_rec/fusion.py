"""From measured increments to an SE(3) trajectory with covariance.

`smooth` is the simple version: a Kalman filter and Rauch-Tung-Striebel smoother over the increments.
`solve` is the batch version: Gauss-Newton over all pairs at once (METHOD.md, section 5).
"""

from dataclasses import dataclass, replace

import numba
import numpy as np
from numpy.typing import NDArray

from . import geometry as se3
from .correlation import Correlations
from .curves import Curves
from .direction import TEMPER
from .fan import Hand, standing
from .inplane import PlanarMotion, match_information
from .kernels.cells import LOSS, CellModel, Loss, Pairs, cell_cost, cell_fit, cell_weights, of_window
from .kernels.twists import jacobians, relative_twists
from .normal import Normal
from .revisit import Loops
from .strengths import CellStrengths, cell_model

Array = NDArray[np.float64]

PLANAR = np.array([0, 1, 5])       # x, y, roll of a twist
ALL = np.arange(6)
OUT_OF_PLANE = np.array([2, 3, 4])  # z, tilt, yaw
MOST_LAG = 36       # frames: pairs further apart are loops, outside the band
DRAW = 10.0
REACHES = (12.0, 6.0, 3.0)  # in sqrt(Q), of the revisits that are drawn together
LOOP_TEMPER = 0.3   # loops share cells with their neighbours, but no lags
NEAREST, FALL = 3.0, 0.75   # weight of neighbours at lag 1 in the last solve, and the power by which it falls
HOLD = 4             # steps for which the variances of the correlations are held
ACCELERATION = np.array([0.06, 0.06, 0.05, 0.003, 0.003, 0.003])   # mm, rad per frame^2: a hand's, at most
LEAST_ACCELERATION = ACCELERATION / 20
MEANT = 2.0          # times the usual change of a step: a hand means to speed up and to slow down, too


def smooth(increment: Array, covariance: Array, acceleration: Array = ACCELERATION) -> tuple[Array, Array]:
    """Kalman filter and RTS smoother of the twist from frame to frame (Rauch, Tung & Striebel 1965).

    State: the increment, a random walk whose steps have the standard deviations `acceleration`.
    Measurement: the increment, with its covariance.

    Parameters
    ----------
    increment : [N, 6] measured twists into each frame (entry 0 is ignored).   covariance : [N, 6, 6].

    Returns
    -------
    increment [N, 6], covariance [N, 6, 6], smoothed; entry 0 is zero.
    """
    N = len(increment)
    process = np.diag(np.square(acceleration))
    x, P = np.zeros((N, 6)), np.zeros((N, 6, 6))
    ahead = np.zeros((N, 6, 6))
    mean, var = np.zeros(6), process * 100
    for k in range(1, N):
        ahead[k] = var + process if k > 1 else var
        gain = np.linalg.solve(ahead[k] + covariance[k], ahead[k]).T
        mean = mean + gain @ (increment[k] - mean)
        var = (np.eye(6) - gain) @ ahead[k]
        var = (var + var.T) / 2
        x[k], P[k] = mean, var
    for k in range(N - 2, 0, -1):
        back = np.linalg.solve(ahead[k + 1], P[k]).T
        x[k] += back @ (x[k + 1] - x[k])
        P[k] += back @ (P[k + 1] - ahead[k + 1]) @ back.T
    return x, P


def step_measurements(T: Array, planar_covariance: Array, out_of_plane_covariance: Array) -> tuple[Array, Array]:
    """Increments [N, 6] of a trajectory with the covariance [N, 6, 6] of what measured them.

    Parameters
    ----------
    planar_covariance : [N, 3, 3] of (x, y, roll).   out_of_plane_covariance : [N, 3, 3] of (z, tilt, yaw).
    """
    covariance = np.zeros((len(T), 6, 6))
    covariance[:, PLANAR[:, None], PLANAR] = planar_covariance
    covariance[:, OUT_OF_PLANE[:, None], OUT_OF_PLANE] = out_of_plane_covariance
    return se3.log(se3.steps(T)), covariance


def chained_covariance(T_first_frame: Array, increment_covariance: Array, scale_uncertainty: float) -> Array:
    """Covariance [N, 6, 6] of a chain of independent increments, as a twist in the first frame.

    Sigma_k = Sigma_(k-1) + Ad(T_k) Sigma_step Ad(T_k)^T (Barfoot & Furgale 2014, first order), and the
    common relative error of all out-of-plane motion, which no smoothing takes away.
    """
    ad = se3.adjoint(T_first_frame)
    random = np.cumsum(ad @ increment_covariance @ np.swapaxes(ad, 1, 2), axis=0)
    common = np.zeros((len(T_first_frame), 6))
    common[:, OUT_OF_PLANE] = scale_uncertainty * se3.log(T_first_frame)[:, OUT_OF_PLANE]
    return random + common[:, :, None] * common[:, None, :]


def hand_acceleration(planar_step: Array) -> Array:
    """Standard deviations [6] of the change of a step, out of the plane as it is seen in the plane.

    A hand shakes much the same along the image as across it, METHOD.md (5.4): z moves like x, tilt and yaw like roll.

    Parameters
    ----------
    planar_step : [N, 3] twists (x, y, roll) into each frame.
    """
    if len(planar_step) < 4:
        return ACCELERATION
    x, y, roll = np.median(np.abs(np.diff(planar_step[1:], axis=0)), axis=0) / 0.6745
    return np.clip([x, y, x, roll, roll, roll], LEAST_ACCELERATION, ACCELERATION)


@dataclass(frozen=True)
class Crossings:
    """What crossing planes show of where they lie to each other, METHOD.md (9.1): quadratic about a trajectory.

    Attributes
    ----------
    i, j : [M] frames, i < j.   T : [N, 4, 4] trajectory about which.
    gradient : [M, 6], hessian : [M, 6, 6] of the cost by the twist of frame i less that of frame j, in the first frame.
    """

    i: NDArray[np.int64]
    j: NDArray[np.int64]
    T: Array
    gradient: Array
    hessian: Array

    def moved(self, T: Array) -> Array:
        """Twists [M, 6] of the frames i less those of the frames j since `self.T`."""
        k, at = np.unique(np.concatenate([self.i, self.j]), return_inverse=True)
        e = se3.log(T[k] @ se3.inverse(self.T[k]))[at]
        return e[:len(self.i)] - e[len(self.i):]

    def pull(self, e: Array) -> tuple[float, Array]:
        """Cost, and its gradient [M, 6], of twists [M, 6]."""
        force = (self.hessian @ e[..., None])[..., 0]
        return float(((0.5 * force + self.gradient) * e).sum()), force + self.gradient


@dataclass
class Factors:
    """What a batch solve weighs against each other.

    Attributes
    ----------
    planar_i, planar_j : [K], frames, i < j;  planar : [K, 3] (x, y, roll);  planar_information : [K, 3, 3].
    pairs, cells, loss : frame pairs, what their cells say and what is expected of them, see `kernels.cells`.
    acceleration : [6] standard deviations of the change of the step.
    contact_precision : 1/mm^2, a frame, of the face's centre about where it started; 0 for sweeps.
    contact_rate_precision : 1/mm^2, of its step along z; 0 for sweeps.
    lean_precision : 1/rad^2, a frame, of the beam's axis about where it started.
    contact_reach_mm : beyond which the contact point is no longer pulled back harder (Cauchy).
    most_lag : frames; pairs further apart are revisits.
    crossings : of planes that cross after a turn.
    phase_precision : [N, 2], 1/rad^2, of the tilt and the yaw of the step into each frame, as the phase of the protocol
        holds them (`protocol.phase_precision`); None where phases are not known.
    elapsed : [N], frame times that the step into each frame took (`lost_frames`); None where all took one.
    """

    planar_i: NDArray[np.int64]
    planar_j: NDArray[np.int64]
    planar: Array
    planar_information: Array
    pairs: Pairs
    cells: CellModel
    loss: Loss
    acceleration: NDArray[np.float64]
    contact_precision: float = 0.0
    contact_rate_precision: float = 0.0
    lean_precision: float = 0.0
    contact_reach_mm: float = 6.0
    most_lag: int = MOST_LAG
    crossings: Crossings | None = None
    phase_precision: Array | None = None
    elapsed: Array | None = None

    @classmethod
    def of(cls, planar: PlanarMotion, speckle: Correlations, forms: Array, strengths: CellStrengths,
           curves: Curves, hand: Hand, loops: Loops | None = None, acceleration: Array = ACCELERATION) -> "Factors":
        """Factors of a scan's measurements, with the weights of `direction`.

        acceleration : [6] usual change of the step (`hand_acceleration`); `MEANT` times as much is allowed for.
        """
        temper = np.full(len(speckle.i), TEMPER)
        if loops:
            planar = planar.joined(loops.planar)
            speckle = speckle.joined(loops.speckle)
            temper = np.concatenate([temper, np.full(len(loops), LOOP_TEMPER)])
        return cls(planar.i, planar.j, planar.twist, match_information(planar), curves.pairs(speckle, temper),
                   cell_model(forms, strengths, curves), LOSS, MEANT * acceleration, hand.contact_precision,
                   hand.contact[0], hand.lean_precision, hand.contact_reach_mm)

    def picked(self, which: NDArray[np.bool_]) -> "Factors":
        """The same factors with the correlations of some pairs [M] only."""
        return replace(self, pairs=self.pairs.picked(which))

    def judged(self, strengths: CellStrengths) -> "Factors":
        """The same factors with other strengths of the cells."""
        return replace(self, cells=self.cells._replace(fast=strengths.fast, slow=strengths.slow,
                                                       stretch=strengths.stretch))

    def weighed(self, by: Array) -> "Factors":
        """The same factors with the correlations of each pair weighed by [M] times as much."""
        return replace(self, pairs=self.pairs._replace(temper=self.pairs.temper * by))

    def by_lag(self) -> "Factors":
        """The same factors with the weights of neighbours falling with their lag, METHOD.md (5.1b)."""
        lag = np.maximum(self.pairs.j - self.pairs.i, 1)
        return self.weighed(np.where(self.revisits, 1, NEAREST / lag**FALL))

    def step_precision(self, k: NDArray[np.int64]) -> Array:
        """Precision [M, 3] of the steps along z, in tilt and in yaw into frames k [M]: 0 where nothing holds them."""
        out = np.zeros((len(k), 3))
        out[:, 0] = self.contact_rate_precision
        if self.phase_precision is not None:
            out[:, 1:] = self.phase_precision[k]
        return out

    def pace(self, k: NDArray[np.int64]) -> Array:
        """Steps into frames k [M] that a frame time takes: 1 where none was lost before them."""
        return np.ones(len(k)) if self.elapsed is None else 1 / self.elapsed[k]

    @property
    def gram(self) -> Array:
        """Mean [3, 3] of U^T U over the cells: xi^T gram xi is the mean Q of a motion."""
        forms = np.ascontiguousarray(np.moveaxis(self.cells.forms, -1, 0))
        return np.einsum("pai,paj->ij", forms, forms) / len(forms)

    @property
    def revisits(self) -> NDArray[np.bool_]:
        """Which pairs [M] are revisits."""
        return self.pairs.j - self.pairs.i > self.most_lag


@numba.njit(nogil=True, cache=True, parallel=True)
def _all_fits(xi, weights, pairs, cells, loss, cost, gradient, hessian):
    for m in numba.prange(xi.shape[0]):
        of_pair = of_window(cells, cells.window[pairs.j[m]])
        cost[m] = cell_fit(xi[m], weights[m], of_pair, pairs.rho[m], pairs.rest[m], loss, gradient[m], hessian[m])


@numba.njit(nogil=True, cache=True, parallel=True)
def _all_weights(xi, pairs, cells, loss, weights):
    for m in numba.prange(xi.shape[0]):
        of_pair = of_window(cells, cells.window[pairs.j[m]])
        cell_weights(xi[m], of_pair, pairs.rho[m], pairs.rest[m], loss, weights[m])


@numba.njit(nogil=True, cache=True, parallel=True)
def _all_costs(xi, rows, pairs, cells, loss, cost):
    for n in numba.prange(rows.size):
        m = rows[n]
        of_pair = of_window(cells, cells.window[pairs.j[m]])
        cost[n] = cell_cost(xi[n], of_pair, pairs.rho[m], pairs.rest[m], loss)


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
