"""Several trajectories side by side, frame after frame: kernels of `direction.search`.

Each hypothesis goes on by every step that explains a frame's correlations with earlier ones (most often one; two
where the motion may have turned). Bodies are scalar loops over arrays, compiled by numba.
"""

from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from .cells import of_window
from .multilaterate import Seen, compose, minimum, out_of_plane, outlook, relative, standing_cost, step_pose

njit = numba.njit(nogil=True, cache=True)


class Hypotheses(NamedTuple):
    """B trajectories up to the same frame.

    Attributes
    ----------
    poses : [B, N, 3, 4].   last : [B, 3], step into the last frame.   total : [B], cost so far.
    """

    poses: NDArray[np.float64]
    last: NDArray[np.float64]
    total: NDArray[np.float64]


class Ways(NamedTuple):
    """How each of B hypotheses may go on: steps [B, 2, 3], what each adds to the cost [B, 2], covariances [B, 2, 3, 3].
    """

    steps: NDArray[np.float64]
    costs: NDArray[np.float64]
    covariances: NDArray[np.float64]


class Likeness(NamedTuple):
    """When two hypotheses are the same.

    Attributes
    ----------
    marks : int64 [L], frames at which they are compared.   gram : [3, 3], mean of U^T U over the cells.
    least, share : difference in sqrt(Q), absolute and of the size, below which they are.
    """

    marks: NDArray[np.int64]
    gram: NDArray[np.float64]
    least: float
    share: float


@njit
def _extend_one(b, k, found, planar, measured, prior, ways):
    """`extend` of hypothesis b; measured : pairs, cells and loss."""
    pairs, cells, loss = measured
    last = found.last[b]
    before = np.empty((pairs.i.size, 3, 4))
    expected = outlook(found.poses[b], k, pairs.i, planar, last, prior, before)
    seen = Seen(before, pairs, of_window(cells, cells.window[k]), loss)
    starts = np.empty((4, 3))
    starts[0] = last
    starts[1] = 0.3 * last + prior.start
    starts[2] = 0.3 * last - prior.start
    starts[3] = 2.0 * last
    best = np.inf
    x = starts[0].copy()
    for n in range(4):
        d = starts[n] - expected.mean
        cost = standing_cost(starts[n], seen) + 0.5 * d @ expected.precision @ d
        if cost < best:
            best = cost
            x[:] = starts[n]
    held = x.copy()
    for way in range(2):
        ways.costs[b, way] = minimum(x, held, expected, seen, 8, ways.covariances[b, way])
        ways.steps[b, way] = x
        x = -x


@numba.njit(nogil=True, cache=True, parallel=True)
def extend(k, found, planar, pairs, cells, loss, prior, ways):
    """The steps by which each hypothesis may go on to frame k.

    Parameters
    ----------
    found : `Hypotheses` up to frame k - 1.   planar : [3, 4].   pairs : `Pairs` of frame k with earlier ones.
    cells, loss, prior : `CellModel` of all windows, `Loss`, `StepPrior`.
    ways : `Ways`, filled.
    """
    for b in numba.prange(found.poses.shape[0]):
        # In a function of its own: numba drops what a prange itself writes to arrays within a bundle.
        _extend_one(b, k, found, planar, (pairs, cells, loss), prior, ways)


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
def prune(k, found, planar, ways, likeness, margin, kept):
    """The hypotheses kept at frame k, cheapest first: each unlike all cheaper ones.

    Two that look alike over the frames `likeness.marks`, but for a mirror, will explain all that comes equally well, so
    that the cheaper stands for both (Viterbi).

    Parameters
    ----------
    found : `Hypotheses` up to frame k - 1.   ways, likeness : `Ways` of `extend`, `Likeness`.
    margin : cost over the cheapest at which a hypothesis is given up.   kept : most that are kept.

    Returns
    -------
    parent, which, total : [K], hypothesis, way and cost of each one that is kept.
    """
    poses, (marks, gram, least, share) = found.poses, likeness
    parent, which, total = np.empty(kept, np.int64), np.empty(kept, np.int64), np.empty(kept)
    B = poses.shape[0]
    every = np.empty(2 * B)
    for b in range(B):
        for n in range(2):
            every[2 * b + n] = found.total[b] + ways.costs[b, n]
    order = np.argsort(every)
    shapes = np.empty((kept, marks.size, 3))
    candidate = np.empty((marks.size, 3))
    S, P, X, Y = np.empty((3, 4)), np.empty((3, 4)), np.empty((3, 4)), np.empty((3, 4))
    count = 0
    for at in order:
        if count == kept or not every[at] <= every[order[0]] + margin:
            break
        b, n = at // 2, at % 2
        step_pose(ways.steps[b, n], S)
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
            parent[count], which[count], total[count] = b, n, every[at]
            count += 1
    return parent[:count], which[:count], total[:count]


@njit
def go_on(k, poses, planar, steps):
    """Fill poses[:, k] from those of frame k - 1, the planar step [3, 4] and each hypothesis' step [B, 3]."""
    S, P = np.empty((3, 4)), np.empty((3, 4))
    for b in range(poses.shape[0]):
        step_pose(steps[b], S)
        compose(poses[b, k - 1], planar, P)
        compose(P, S, poses[b, k])
