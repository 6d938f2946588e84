"""Several trajectories side by side, frame after frame: kernels of `direction.search`.

Each hypothesis goes on by every step that explains a frame's correlations with earlier ones (most often one; two
where the motion may have turned). Bodies are scalar loops over arrays, compiled by numba.
"""

import numba
import numpy as np

from .multilaterate import compose, minimum, out_of_plane, outlook, relative, standing_cost, step_pose

njit = numba.njit(nogil=True, cache=True)


@numba.njit(nogil=True, cache=True, parallel=True)
def extend(k, poses, last, planar, sources, rho, rest, forms, fast, slow, stretch, table, per_unit, samples, extra,
           cutoff, temper, precision, still, pull, start_step, steps, costs, covariances):
    """The steps by which each hypothesis may go on to frame k.

    Parameters
    ----------
    poses : [B, N, 3, 4], of frames before k.   last : [B, 3], step into frame k - 1.   planar : [3, 4].
    sources : int64 [S], earlier frames.   rho, rest : [S, P].   fast, slow, stretch : [P].
    forms : [3, 3, P], of `cells.by_entry`.
    steps : [B, 2, 3], filled; costs : [B, 2], what each adds; covariances : [B, 2, 3, 3].
    """
    for b in numba.prange(poses.shape[0]):
        before, expected = np.empty((sources.size, 3, 4)), np.empty(3)
        joint = outlook(poses[b], k, sources, planar, last[b], precision, still, pull, before, expected)
        starts = np.empty((4, 3))
        starts[0] = last[b]
        starts[1] = 0.3 * last[b] + start_step
        starts[2] = 0.3 * last[b] - start_step
        starts[3] = 2.0 * last[b]
        best = np.inf
        x = starts[0].copy()
        for n in range(4):
            d = starts[n] - expected
            cost = standing_cost(starts[n], before, forms, rho, rest, fast, slow, stretch, table, per_unit, samples,
                                 extra, cutoff, temper) + 0.5 * d @ joint @ d
            if cost < best:
                best = cost
                x[:] = starts[n]
        held = x.copy()
        costs[b, 0] = minimum(x, held, expected, joint, before, forms, rho, rest, fast, slow, stretch, table, per_unit,
                              samples, extra, cutoff, temper, 8, covariances[b, 0])
        steps[b, 0] = x
        x = -x
        costs[b, 1] = minimum(x, held, expected, joint, before, forms, rho, rest, fast, slow, stretch, table, per_unit,
                              samples, extra, cutoff, temper, 8, covariances[b, 1])
        steps[b, 1] = x


@njit
def alike(a, b, gram, least, share):
    """True where two shapes [L, 3] are the same, or one is the mirror image of the other."""
    for sign in (1.0, -1.0):
        same = True
        for n in range(a.shape[0]):
            d = a[n] - sign * b[n]
            if np.sqrt(d @ gram @ d) > least + share * np.sqrt(a[n] @ gram @ a[n]):
                same = False
                break
        if same:
            return True
    return False


@njit
def prune(k, poses, total, planar, steps, costs, marks, gram, least, share, margin, kept, parent, which, new_total):
    """The hypotheses kept at frame k, cheapest first: each unlike all cheaper ones.

    Two that look alike over the frames `marks`, but for a mirror, will explain all that comes equally well, so that
    the cheaper stands for both (Viterbi).

    Parameters
    ----------
    total : [B], cost so far.   steps, costs : of `extend`.   gram : [3, 3], mean of U^T U over the cells.
    least, share : difference in sqrt(Q), absolute and of the size, below which two are the same.
    margin : cost over the cheapest at which a hypothesis is given up.   kept : most that are kept.
    parent, which, new_total : [kept], filled. Returns how many are kept.
    """
    B = poses.shape[0]
    every = np.empty(2 * B)
    for b in range(B):
        for n in range(2):
            every[2 * b + n] = total[b] + costs[b, n]
    order = np.argsort(every)
    shapes = np.empty((kept, marks.size, 3))
    candidate = np.empty((marks.size, 3))
    S, P, X, Y = np.empty((3, 4)), np.empty((3, 4)), np.empty((3, 4)), np.empty((3, 4))
    count = 0
    for at in order:
        if count == kept or not every[at] <= every[order[0]] + margin:
            break
        b, n = at // 2, at % 2
        step_pose(steps[b, n], S)
        compose(planar, S, P)
        for m in range(marks.size):
            relative(poses[b], marks[m], k - 1, X)
            compose(X, P, Y)
            out_of_plane(Y, candidate[m])
        new = True
        for c in range(count):
            if alike(shapes[c], candidate, gram, least, share):
                new = False
                break
        if new:
            shapes[count] = candidate
            parent[count], which[count], new_total[count] = b, n, every[at]
            count += 1
    return count


@njit
def go_on(k, poses, planar, steps):
    """Fill poses[:, k] from those of frame k - 1, the planar step [3, 4] and each hypothesis' step [B, 3]."""
    S, P = np.empty((3, 4)), np.empty((3, 4))
    for b in range(poses.shape[0]):
        step_pose(steps[b], S)
        compose(poses[b, k - 1], planar, P)
        compose(P, S, poses[b, k])
