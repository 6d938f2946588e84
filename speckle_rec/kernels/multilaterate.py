"""One frame against several earlier ones: the out-of-plane step that best explains all cell correlations.

Bodies are scalar loops over arrays, compiled by numba; nothing here knows of scans or configuration.
"""

from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from .cells import CellModel, Loss, Pairs, at_lag, cell_cost, cell_fit, cell_weights, of_window

njit = numba.njit(nogil=True, cache=True)


class StepPrior(NamedTuple):
    """What is known of a step (z, tilt, yaw) from the step before.

    Attributes
    ----------
    precision : [3, 3], inverse covariance of the change of step from frame to frame.
    still : [3], precision of the step itself about 0.   pull : share of the face's offset along z that it goes back.
    start : [3], a step that breaks the sign's symmetry at rest; which of the two signs it ends in is open.
    """

    precision: NDArray[np.float64]
    still: NDArray[np.float64]
    pull: float
    start: NDArray[np.float64]


class Expected(NamedTuple):
    """Gaussian prior of one frame's step: mean [3] and precision [3, 3]."""

    mean: NDArray[np.float64]
    precision: NDArray[np.float64]


class Seen(NamedTuple):
    """What one frame's correlations with S earlier frames say.

    Attributes
    ----------
    before : [S, 3, 4], planar-moved pose of the new frame in each source, without the step.
    pairs : with each of them.   cells : of the frame's window.
    """

    before: NDArray[np.float64]
    pairs: Pairs
    cells: CellModel
    loss: Loss


class Track(NamedTuple):
    """What `multilaterate` fills: poses [N, 3, 4], steps [N, 3] with covariances [N, 3, 3], and costs [N]."""

    poses: NDArray[np.float64]
    steps: NDArray[np.float64]
    covariances: NDArray[np.float64]
    costs: NDArray[np.float64]


@njit
def compose(A, B, out):
    """out = A @ B for poses [3, 4]."""
    for r in range(3):
        for c in range(4):
            v = A[r, 3] if c == 3 else 0.0
            for k in range(3):
                v += A[r, k] * B[k, c]
            out[r, c] = v


@njit
def out_of_plane(X, xi):
    """(z, tilt, yaw) of the twist log X, for angles below about 1 rad (third order in the angle)."""
    wx, wy, wz = (X[2, 1] - X[1, 2]) / 2, (X[0, 2] - X[2, 0]) / 2, (X[1, 0] - X[0, 1]) / 2
    s2 = wx * wx + wy * wy + wz * wz
    stretch = 1.0 + s2 / 6.0 + 3.0 * s2 * s2 / 40.0
    wx, wy, wz = wx * stretch, wy * stretch, wz * stretch
    x, y, z = X[0, 3], X[1, 3], X[2, 3]
    cx, cy, cz = wy * z - wz * y, wz * x - wx * z, wx * y - wy * x
    xi[0] = z - cz / 2 + (wx * cy - wy * cx) / 12
    xi[1] = wx
    xi[2] = wy


@njit
def step_pose(xi, out):
    """Pose [3, 4] of the twist (0, 0, z, tilt, yaw, 0), second order in the angles."""
    a, c = xi[1], xi[2]
    t2 = a * a + c * c
    k = 0.5 - t2 / 24
    s = 1.0 - t2 / 6
    out[0, 0], out[0, 1], out[0, 2] = 1 - k * c * c, k * a * c, s * c
    out[1, 0], out[1, 1], out[1, 2] = k * a * c, 1 - k * a * a, -s * a
    out[2, 0], out[2, 1], out[2, 2] = -s * c, s * a, 1 - k * t2
    z = xi[0]
    out[0, 3], out[1, 3], out[2, 3] = z * k * c, -z * k * a, z * (1 - t2 / 6)


@njit
def pair_weights(held, seen, out):
    """`cell_weights` [S, P] of a step `held` [3] of one frame, against every source; see `pair_cost`."""
    before, pairs, cells, loss = seen
    rho, rest = pairs.rho, pairs.rest
    S, X, xi = np.empty((3, 4)), np.empty((3, 4)), np.empty(3)
    step_pose(held, S)
    for s in range(before.shape[0]):
        compose(before[s], S, X)
        out_of_plane(X, xi)
        cell_weights(xi, at_lag(cells, pairs.j[s] - pairs.i[s], pairs.speed[s]), rho[s], rest[s], loss, out[s])


@njit
def pair_cost(x, weights, seen, gradient, hessian):
    """Cost, gradient [3] and hessian [3, 3] over a step x of one frame, against every source; weights : [S, P]."""
    before, pairs, cells, loss = seen
    rho, rest, temper = pairs.rho, pairs.rest, pairs.temper
    gradient[:] = 0.0
    hessian[:] = 0.0
    total = 0.0
    S = np.empty((3, 4))
    X = np.empty((3, 4))
    xi = np.empty(3)
    xj = np.empty(3)
    J = np.empty((3, 3))
    g = np.empty(3)
    H = np.empty((3, 3))
    for s in range(before.shape[0]):
        step_pose(x, S)
        compose(before[s], S, X)
        out_of_plane(X, xi)
        for m in range(3):
            x[m] += 1e-5
            step_pose(x, S)
            x[m] -= 1e-5
            compose(before[s], S, X)
            out_of_plane(X, xj)
            for n in range(3):
                J[n, m] = (xj[n] - xi[n]) / 1e-5
        of_pair = at_lag(cells, pairs.j[s] - pairs.i[s], pairs.speed[s])
        cost = cell_fit(xi, weights[s], of_pair, rho[s], rest[s], loss, g, H)
        total += temper[s] * cost
        for m in range(3):
            for n in range(3):
                gradient[m] += temper[s] * J[n, m] * g[n]
                for k in range(3):
                    v = 0.0
                    for q in range(3):
                        v += H[n, q] * J[q, k]
                    hessian[m, k] += temper[s] * J[n, m] * v
    return total


@njit
def standing_cost(x, seen):
    """The cost alone of a step x of one frame, weights taken there: to compare steps that lie far apart."""
    before, pairs, cells, loss = seen
    rho, rest, temper = pairs.rho, pairs.rest, pairs.temper
    S, X, xi = np.empty((3, 4)), np.empty((3, 4)), np.empty(3)
    step_pose(x, S)
    total = 0.0
    for s in range(before.shape[0]):
        compose(before[s], S, X)
        out_of_plane(X, xi)
        of_pair = at_lag(cells, pairs.j[s] - pairs.i[s], pairs.speed[s])
        total += temper[s] * cell_cost(xi, of_pair, rho[s], rest[s], loss)
    return total


@njit
def minimum(x, held, expected, seen, iterations, covariance):
    """Levenberg-Marquardt from x [3], which is changed; variances taken at `held`. Returns the cost.

    expected : an `Expected`.   seen : a `Seen`.   covariance : [3, 3], filled.
    """
    mean, precision = expected
    g, H, gt, Ht = np.empty(3), np.empty((3, 3)), np.empty(3), np.empty((3, 3))
    weights = np.empty(seen.pairs.rho.shape)
    pair_weights(held, seen, weights)
    d = x - mean
    cost = pair_cost(x, weights, seen, g, H) + 0.5 * d @ precision @ d
    damping = 1e-2
    for _ in range(iterations):
        A = H + precision
        for m in range(3):
            A[m, m] *= 1.0 + damping
        trial = x - np.linalg.solve(A, g + precision @ (x - mean))
        d = trial - mean
        new = pair_cost(trial, weights, seen, gt, Ht) + 0.5 * d @ precision @ d
        if new < cost:
            gain = cost - new
            x[:] = trial
            cost = new
            g[:] = gt
            H[:] = Ht
            damping = max(damping * 0.2, 1e-6)
            if gain < 1e-4 * (1.0 + abs(cost)):
                break
        else:
            damping *= 8.0
            if damping > 1e6:
                break
    covariance[:] = np.linalg.inv(H + precision)
    return cost


@njit
def best_step(starts, expected, seen, iterations, result, covariance):
    """Levenberg-Marquardt from several starts [K, 3]; the cheapest step wins.

    result : [3] filled with the step; covariance : [3, 3] filled. Returns the cost.
    """
    best = np.inf
    x = np.empty(3)
    at_start = np.empty(starts.shape[0])
    for k in range(starts.shape[0]):
        d = starts[k] - expected.mean
        at_start[k] = standing_cost(starts[k], seen) + 0.5 * d @ expected.precision @ d
    order = np.argsort(at_start)
    held = starts[order[0]].copy()
    trial = np.empty((3, 3))
    for k in order[:3]:
        x[:] = starts[k]
        cost = minimum(x, held, expected, seen, iterations, trial)
        if cost < best:
            best = cost
            result[:] = x
            covariance[:] = trial
    return best


@njit
def relative(poses, i, k, out):
    """out [3, 4] = inverse(poses[i]) @ poses[k]."""
    inverse = np.empty((3, 4))
    Q = poses[i]
    for r in range(3):
        for c in range(3):
            inverse[r, c] = Q[c, r]
        inverse[r, 3] = -(Q[0, r] * Q[0, 3] + Q[1, r] * Q[1, 3] + Q[2, r] * Q[2, 3])
    compose(inverse, poses[k], out)


@njit
def outlook(poses, k, sources, planar, last, prior, before):
    """What is known of frame k before its correlations: fills `before` [S, 3, 4] of `Seen`, returns an `Expected`.

    Its precision is that of the change of step, and of the contact point.
    """
    between = np.empty((3, 4))
    for s in range(sources.size):
        relative(poses, sources[s], k - 1, between)
        compose(between, planar, before[s])
    offset = 0.0
    for r in range(3):
        offset += poses[k - 1, r, 2] * poses[k - 1, r, 3]
    joint = prior.precision.copy()
    for m in range(3):
        joint[m, m] += prior.still[m]
    pulled = prior.precision @ last
    pulled[0] -= prior.still[0] * prior.pull * offset
    return Expected(np.linalg.solve(joint, pulled), joint)


@njit
def multilaterate(planar, first, pairs, cells, loss, prior, track):
    """Out-of-plane steps of a whole scan, frame after frame, each against several earlier frames.

    Parameters
    ----------
    planar : [N, 3, 4], planar part of the step into each frame.
    first : int64 [N + 1], row of `pairs` where each frame's begin.   pairs : `Pairs`, sorted by j.
    cells, loss, prior : `CellModel` of all windows, `Loss`, `StepPrior`.
    track : `Track`, filled.
    """
    N = planar.shape[0]
    poses, steps, covariances, costs = track
    poses[0] = 0.0
    for m in range(3):
        poses[0, m, m] = 1.0
    steps[0] = 0.0
    costs[0] = 0.0
    covariances[0] = 0.0
    S = np.empty((3, 4))
    P = np.empty((3, 4))
    starts = np.empty((5, 3))
    for k in range(1, N):
        lo, hi = first[k], first[k + 1]
        before = np.empty((hi - lo, 3, 4))
        last = steps[k - 1]
        mine = Pairs(pairs.i[lo:hi], pairs.j[lo:hi], pairs.rho[lo:hi], pairs.rest[lo:hi], pairs.temper[lo:hi],
                     pairs.speed[lo:hi])
        expected = outlook(poses, k, mine.i, planar[k], last, prior, before)
        starts[0] = last
        starts[1] = last + prior.start
        starts[2] = -last
        starts[3] = 0.3 * last - prior.start
        starts[4] = 2.0 * last + prior.start
        seen = Seen(before, mine, of_window(cells, cells.window[k]), loss)
        costs[k] = best_step(starts, expected, seen, 12, steps[k], covariances[k])
        step_pose(steps[k], S)
        compose(poses[k - 1], planar[k], P)
        compose(P, S, poses[k])
