"""Mirror tests: wrong signs of the out-of-plane motion found and mended after the fact.

Where the out-of-plane motion nearly stops, everything after may come out mirrored in the image plane of that frame:
T_k -> T_t M T_t^-1 T_k M, M = diag(1, 1, -1) (METHOD.md (8.2)). Pairs within either part do not notice; those
that straddle t do, above all revisits.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import chain, combinations
from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from .. import geometry as se3
from ..kernels.cells import cell_cost, of_pair
from ..kernels.multilaterate import compose, out_of_plane
from ..pairs.loop_closures import LONG, STRIDE, thinning
from .factors import Factors
from .hand import standing
from .solver import REACHES, drawn, out_of_plane_between, pair_costs, solve, total_cost

Array = NDArray[np.float64]

ENOUGH_LOOPS = 10       # without revisits the neighbours' correlations have said all they can
EVERY_CELL = 3          # of the cells, where mirrors are only ranked
APART = 4               # frames looked at (every second) between a candidate and any lower one
CANDIDATES = 16         # places of the lowest change that are tried in pairs
TRIALS = 6              # mirrors a round that are solved anew
PAIR_TRIALS = 16        # turned parts a round that are solved anew
LONGEST = 250           # frames of a turned part
WINDOW = 60             # frames either side of a mirror that are solved anew
ROUNDS = 8
ITERATIONS = 8          # of a solve between tests, up to a gain of LEAST_GAIN of the cost
CLEAR = 50.0            # gain in cost at which a mirror is taken before anything is solved anew
LEAST_GAIN = 1e-3
MARGIN = 20.0           # gain in cost below which a proposal is not taken: what solving further still gains
UNCLEAR = 0.01          # change of the cost by a mirror, over the cost, that some of the cells cannot tell
LEFT_OPEN = 3           # mirrors a round that are then tried with all of them, and rounds

MOST_MIRRORS, MOST_PLACES = 16, 24
LEAST_CHANGE = 5.0      # in cost, of a mirror that revisits ask for
TOLERANT = 3.0          # weight of a revisit by its distance, 1 / unit of Q

Proposal = tuple[float, tuple[int, ...]]


@dataclass(frozen=True)
class Mended:
    """A trajectory after mirror tests.

    Attributes
    ----------
    T : [N, 4, 4].   mirrors : frames after which the trajectory was mirrored, in the order of the decisions.
    parts : first and last frame of each part whose motion was taken over from another start (`exchange`).
    runner_up : smallest change of cost of any single mirror that is left (before solving anew), and its frame:
        the evidence for the signs as they are. Infinity and -1 if there is none.
    """

    T: Array
    mirrors: tuple[tuple[int, ...], ...] = ()
    parts: tuple[tuple[int, int], ...] = ()
    runner_up: tuple[float, int] = (np.inf, -1)


def flip(T: Array, *frames: int) -> Array:
    """Mirror everything after each of `frames` in turn in that frame's image plane; two frames turn a part between."""
    M = np.diag([1.0, 1, -1, 1])
    out = T.copy()
    for t in frames:
        out[t:] = out[t] @ M @ se3.inverse(out[t]) @ out[t:] @ M
    return out


class _Both(NamedTuple):
    """Poses [N, 3, 4] and their inverse."""

    poses: Array
    inverse: Array


class _Places(NamedTuple):
    """Frames [K] after which all is mirrored, and which pairs may straddle each: rows first..last - 1, and from far."""

    frames: NDArray[np.int64]
    first: NDArray[np.int64]
    last: NDArray[np.int64]
    far: int


@numba.njit(nogil=True, cache=True, parallel=True)
def _changes(T, places, pairs, cells, loss, before, out):
    i, j = pairs.i, pairs.j
    for n in numba.prange(places.frames.size):
        poses, inverse, t = T.poses, T.inverse, places.frames[n]
        A, B, X, xi = np.empty((3, 4)), np.empty((3, 4)), np.empty((3, 4)), np.empty(3)
        total = 0.0
        first, far = places.first[n], places.far
        near = places.last[n] - first
        for row in range(near + i.size - far):
            m = first + row if row < near else far + row - near
            if i[m] >= t or j[m] <= t:
                continue
            compose(inverse[i[m]], poses[t], A)
            compose(inverse[t], poses[j[m]], B)
            B[0, 2], B[1, 2], B[2, 0], B[2, 1], B[2, 3] = -B[0, 2], -B[1, 2], -B[2, 0], -B[2, 1], -B[2, 3]
            compose(A, B, X)
            out_of_plane(X, xi)
            cost = cell_cost(xi, of_pair(cells, pairs, m), pairs.rho[m], pairs.rest[m], loss)
            total += pairs.temper[m] * cost - before[m]
        out[n] = total


def mirror_changes(T: Array, f: Factors, frames: NDArray[np.int64]) -> Array:
    """Change of the correlations' cost when everything after each of `frames` is mirrored, with nothing solved anew."""
    out, i, j = np.zeros(len(frames)), f.pairs.i, f.pairs.j
    if len(i):
        far = int(np.argmax(f.revisits)) if f.revisits.any() else len(i)      # pairs come by j, revisits after them
        places = _Places(frames, np.searchsorted(j[:far], frames, side="right"),
                         np.searchsorted(j[:far], frames + f.most_lag, side="right"), far)
        both = _Both(*(np.ascontiguousarray(X[:, :3]) for X in (T, se3.inverse(T))))
        _changes(both, places, f.pairs, f.cells, f.loss, pair_costs(T, f), out)
    return out


def local_minima(change: Array, apart: int = APART) -> NDArray[np.int64]:
    """Places [K] that are lowest within `apart` entries either side, lowest first."""
    if not len(change):
        return np.zeros(0, np.int64)
    padded = np.pad(change, apart, constant_values=np.inf)
    lowest = np.lib.stride_tricks.sliding_window_view(padded, 2 * apart + 1).min(1)
    at = np.flatnonzero(change <= lowest)
    return at[np.argsort(change[at], kind="stable")]


def between(f: Factors, first: int, last: int) -> Factors:
    """Factors among frames first..last, counted from `first`."""
    p = (f.planar_i >= first) & (f.planar_j <= last)
    some = f.pairs.picked((f.pairs.i >= first) & (f.pairs.j <= last))
    return replace(f, planar_i=f.planar_i[p] - first, planar_j=f.planar_j[p] - first, planar=f.planar[p],
                   planar_information=f.planar_information[p],
                   pairs=some._replace(i=some.i - first, j=some.j - first),
                   cells=f.cells._replace(window=f.cells.window[first:]))


def around(n_frames: int, first: int, last: int) -> tuple[int, int]:
    """First and last frame of what is solved anew around a change from frame `first` to `last`."""
    return max(first - WINDOW, 0), min(last + WINDOW, n_frames - 1)


def with_part(T: Array, part: Array, first: int, last: int) -> Array:
    """T [N, 4, 4] with other poses from frame `first` to `last`; what follows moves along rigidly."""
    return np.concatenate([T[:first], part, part[-1] @ se3.inverse(T[last]) @ T[last + 1:]])


def solve_around(T: Array, f: Factors, frames: tuple[int, ...], iterations: int = ITERATIONS) -> Array:
    """Solve anew around a mirror (what follows moves along rigidly), or a turned part (the rest stays)."""
    first, last = around(len(T), frames[0], frames[-1])
    if len(frames) > 1:
        return solve(T, f, iterations, LEAST_GAIN, part=(max(first, 1), last))
    part = solve(T[first:last + 1], between(f, first, last), iterations, LEAST_GAIN)
    return with_part(T, part, first, last)


def sampled(f: Factors, every: int = EVERY_CELL) -> Factors:
    """The same factors with every few cells only, weighed up: enough to rank mirrors."""
    return replace(f, pairs=f.pairs.sampled(every), cells=f.cells.sampled(every))


def thinned(f: Factors) -> Factors:
    """The same factors with every second lag of neighbours only, weighed up: enough to settle signs and shape."""
    lag, far = f.pairs.j - f.pairs.i, f.revisits
    lags = np.unique(lag[~far])
    weight = len(lags) / max(len(lags[::2]), 1)
    return f.weighed(np.where(far, 1, weight)).picked(far | np.isin(lag, lags[::2]))


def single_proposals(T: Array, f: Factors) -> list[Proposal]:
    """Single mirrors (change of cost, frame), cheapest first."""
    frames = np.arange(APART, len(T) - APART, 2 * thinning(len(T)))
    change = mirror_changes(T, f, frames)
    return [(float(change[p]), (int(frames[p]),)) for p in local_minima(change)[:CANDIDATES]]


def proposals(T: Array, f: Factors) -> tuple[list[Proposal], list[Proposal]]:
    """Mirrors (change of cost, frames), cheapest first: single ones, and pairs that turn the part between."""
    f = sampled(f)
    single = single_proposals(T, f)
    before, (i, j) = pair_costs(T, f), f.pairs[:2]
    turned: list[Proposal] = []
    for s, t in combinations(sorted(t for _, (t,) in single), 2):
        touched = ((i < s) & (j > s)) | ((i < t) & (j > t))
        X = flip(T, s, t)
        turned.append((float((pair_costs(X, f, touched) - before[touched]).sum()), (s, t)))
    return single, sorted(turned)


def decimated(f: Factors, every: int = STRIDE) -> Factors:
    """Factors among every few frames only, which hold all revisits: enough to find the signs.

    A step is `every` steps, and its change the sum of `every`^2 weighed changes: variances grow by 44 for 4.
    """
    p = (f.planar_i % every == 0) & (f.planar_j % every == 0)
    ramp = np.convolve(np.ones(every), np.ones(every))
    some = f.picked((f.pairs.i % every == 0) & (f.pairs.j % every == 0))
    pairs = some.pairs
    return replace(some, planar_i=f.planar_i[p] // every, planar_j=f.planar_j[p] // every, planar=f.planar[p],
                   planar_information=f.planar_information[p],
                   pairs=pairs._replace(i=pairs.i // every, j=pairs.j // every,
                                        temper=pairs.temper * np.where(some.revisits, 1, every)),
                   cells=f.cells.every(every),
                   acceleration=f.acceleration * np.sqrt(np.square(ramp).sum()),
                   elapsed=None if f.elapsed is None else _means(f.elapsed, every),
                   contact_precision=f.contact_precision * every,
                   contact_rate_precision=f.contact_rate_precision / every, lean_precision=f.lean_precision * every,
                   phase_precision=None if f.phase_precision is None else f.phase_precision[::every] / every,
                   most_lag=f.most_lag // every)


def _means(values: Array, every: int) -> Array:
    """Mean [K] of values [N] of the steps into each frame, over the steps into every few frames; the first stays."""
    K = -(-len(values) // every)
    return np.concatenate([values[:1], values[1:(K - 1) * every + 1].reshape(K - 1, every).mean(1)])


def tolerant_costs(T: Array, f: Factors, which: NDArray[np.bool_]) -> Array:
    """Costs of the pairs of `which` [M]; revisits count by their distance, so that what has drifted still tells."""
    far = f.revisits & which
    cost = np.zeros(len(far))
    cost[which & ~far] = pair_costs(T, f, which & ~far)
    xi = out_of_plane_between(T, f.pairs.i[far], f.pairs.j[far])
    Q = np.einsum("mi,ij,mj->m", xi, f.gram, xi)
    cost[far] = TOLERANT * REACHES[0]**2 / 2 * np.log1p(Q / REACHES[0]**2)                              # (8.3)
    return cost[which]


def single_mirrors(change: Callable[[int], float], n_places: int) -> list[Proposal]:
    """Up to `MOST_PLACES` mirrors of the lowest change, lowest first; long scans are looked through coarsely first."""
    apart = -(-n_places * STRIDE // LONG)
    places = np.arange(2, n_places - 2, apart)
    changes = np.array([change(int(t)) for t in places])
    options: list[Proposal] = []
    for p in local_minima(changes, 2)[:MOST_PLACES]:
        t = int(places[p])
        around = [k for k in range(max(t - apart + 1, 2), min(t + apart, n_places - 2)) if k != t]
        options.append(min([(float(changes[p]), (t,)), *((change(k), (k,)) for k in around)]))
    return options


def consistent(T: Array, f: Factors) -> tuple[Array, list[tuple[int, ...]]]:
    """Mirror what revisits contradict, cheapest first, with nothing solved anew (METHOD.md (8.3)).

    Parameters
    ----------
    T : [N, 4, 4], whose signs are to be settled.   f : factors, revisits among them.

    Returns
    -------
    T : [N, 4, 4].   mirrors : frames of each decision.
    """
    every = np.arange(0, len(T), STRIDE)
    f = sampled(decimated(f), 2 * EVERY_CELL)
    i, j = f.pairs.i, f.pairs.j
    mirrors: list[tuple[int, ...]] = []
    for _ in range(MOST_MIRRORS):
        S = T[every]
        before, lean = tolerant_costs(S, f, np.ones(len(i), bool)), standing(S, f)

        def change(*at: int, S=S, before=before, lean=lean) -> float:
            touched = np.logical_or.reduce([(i < t) & (j > t) for t in at])
            X = flip(S, *at)
            return float((tolerant_costs(X, f, touched) - before[touched]).sum() + standing(X, f) - lean)

        options = single_mirrors(change, len(S))
        lowest = [t for _, (t,) in options]
        options += [(change(*pair), pair) for pair in combinations(sorted(lowest), 2)]
        best = min(options, default=(0.0, ()))
        if best[0] > -LEAST_CHANGE:
            break
        mirrors.append(tuple(STRIDE * t for t in best[1]))
        T = flip(T, *mirrors[-1])
    return T, mirrors


def cheapest(starts: Sequence[Array], f: Factors) -> Array:
    """The trajectory [N, 4, 4] of `starts`, its signs made consistent, that costs least once solved."""
    signed = [consistent(T, f)[0] for T in starts]
    some = sampled(decimated(f), 2 * EVERY_CELL)

    def cost(T: Array) -> float:
        return total_cost(solve(drawn(T[::STRIDE], some), some, ITERATIONS, LEAST_GAIN), some)

    return min(signed, key=cost)


def least(starts: Sequence[Array], f: Factors) -> Array:
    """The cheapest of the trajectories [N, 4, 4] that a solve makes of `starts`."""
    some_again = f.revisits.any()
    return min((solve(drawn(T, f) if some_again else T, f) for T in starts), key=lambda T: total_cost(T, f))


def mend(T: Array, f: Factors) -> Mended:
    """Mirror, solve anew, keep what is cheaper, until nothing is.

    Mirrors that gain as they stand are taken first; then those whose cost falls once the frames around them are
    solved anew.

    Parameters
    ----------
    T : [N, 4, 4], solved poses.   f : factors, revisits among them.
    """
    mirrors: list[tuple[int, ...]] = []
    for _ in range(ROUNDS):
        best = min(chain.from_iterable(proposals(T, f)), default=(0.0, ()))
        if best[0] > -CLEAR:
            break
        T = flip(T, *best[1])
        mirrors.append(best[1])
    T = solve(T, f, ITERATIONS, LEAST_GAIN)
    cost = total_cost(T, f)
    refused: set[tuple[int, ...]] = set()
    for _ in range(ROUNDS):
        single, turned = proposals(T, f)
        near = [p for p in turned if p[1][1] - p[1][0] <= LONGEST]
        trials = []
        for _, frames in single[:TRIALS] + near[:PAIR_TRIALS]:
            if _like(frames, refused):
                continue
            trial = solve_around(flip(T, *frames), f, frames)
            trials.append((total_cost(trial, f), frames, trial))
            if trials[-1][0] > cost - MARGIN:
                refused.add(frames)
        new, frames, trial = min(trials, key=lambda x: x[0], default=(np.inf, (), T))
        if new > cost - MARGIN:
            break
        mirrors.append(frames)
        T = solve(trial, f, ITERATIONS, LEAST_GAIN)
        cost = total_cost(T, f)
        refused = {r for r in refused if min(abs(a - b) for a in r for b in frames) > 2 * WINDOW}
    best = min(single, default=(np.inf, (-1,)))
    return Mended(T, tuple(mirrors), runner_up=(best[0], best[1][0]))


def confirmed(mended: Mended, T: Array, f: Factors) -> Mended:
    """What was mended on some of the cells, where all of them ask for it too; else the solved T [N, 4, 4]."""
    return mended if total_cost(solve(mended.T, f), f) < total_cost(T, f) - MARGIN else Mended(T)


def settled_by_all(T: Array, f: Factors) -> Array:
    """T [N, 4, 4] solved, or the cheapest of its mirrors that hardly change the cost, each solved with all cells.

    A few cells and lags tell changes of the cost to some hundredth of it only.
    """
    T = solve(T, f)
    for _ in range(LEFT_OPEN):
        cost = total_cost(T, f)
        trials = [solve(flip(T, *frames), f) for change, frames in single_proposals(T, sampled(f))[:LEFT_OPEN]
                  if change < UNCLEAR * cost]
        best = min(trials, key=lambda X: total_cost(X, f), default=T)
        if not total_cost(best, f) < cost - MARGIN:
            break
        T = best
    return T


def _like(frames: tuple[int, ...], others: set[tuple[int, ...]]) -> bool:
    """True where a mirror at nearly the same frames is among `others`."""
    return any(len(o) == len(frames) and max(abs(a - b) for a, b in zip(o, frames, strict=True)) <= APART
               for o in others)
