"""Parts exchanged: where another start explains neighbouring frames better, its motion is taken over there.

A turn that begins while the tilt still moves may be followed as a tilt, a minimum of its own that no mirror leaves.
A search from the last frame to the first meets the same turn from its other end (METHOD.md (8.4)).
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from .. import geometry as se3
from ..geometry import OUT_OF_PLANE
from .factors import Factors
from .mirror_tests import ITERATIONS, LEAST_GAIN, MARGIN, Mended, around, between, flip, mend, with_part
from .solver import drawn, pair_costs, solve, total_cost

Array = NDArray[np.float64]
Part = tuple[int, int]

LAG = 8                     # frames over which two motions are compared
LEAST, SHARE = 0.25, 0.3    # difference in sqrt(Q), absolute and of the size, from which they are not the same
FAR = 4.0                   # sqrt(Q) at which nothing correlates
GAP, SHORTEST = 12, 8       # frames of agreement that do not end a part, and of a part


def exchanged(found: Mended, others: Sequence[Array], f: Factors) -> Mended:
    """Take over the motion of other starts where that is cheaper, and mend the signs anew; else as found.

    Parameters
    ----------
    others : other trajectories [N, 4, 4], solved or not.   f : factors.
    """
    T, parts = found.T, found.parts
    for other in others:
        for part in differing(T, other, f.gram):
            if gain(T, other, f, part) > MARGIN and (taken := taken_over(T, other, f, part)) is not None:
                T = taken
                parts += (part,)
    if parts == found.parts:
        return found
    again = mend(solve(drawn(T, f), f, ITERATIONS, LEAST_GAIN), f)
    if total_cost(again.T, f) > total_cost(found.T, f) - MARGIN:
        return found
    return replace(again, mirrors=found.mirrors + again.mirrors, parts=parts)


def differing(T: Array, other: Array, gram: Array) -> list[Part]:
    """First and last frame of each part in which two trajectories [N, 4, 4] move otherwise, mirrored or not.

    gram : [3, 3], mean of U^T U over the cells.
    """
    a, b = (se3.log(se3.inverse(X[:-LAG]) @ X[LAG:])[:, OUT_OF_PLANE] for X in (T, other))

    def size(xi: Array) -> Array:
        return np.sqrt(np.einsum("ni,ij,nj->n", xi, gram, xi))

    apart = np.minimum(size(a - b), size(a + b))
    parts: list[list[int]] = []
    for k in np.flatnonzero(apart > LEAST + SHARE * np.minimum(size(a), FAR)).tolist():
        if parts and k <= parts[-1][1] + GAP:
            parts[-1][1] = k
        else:
            parts.append([k, k])
    return [(first, last + LAG) for first, last in parts if last - first >= SHORTEST]


def gain(T: Array, other: Array, f: Factors, part: Part) -> float:
    """How much less the pairs of neighbours within a part cost along `other`."""
    within = ~f.revisits & (f.pairs.i >= part[0]) & (f.pairs.j <= part[1])
    return float((pair_costs(T, f, within) - pair_costs(other, f, within)).sum())


def taken_over(T: Array, other: Array, f: Factors, part: Part) -> Array | None:
    """T [N, 4, 4] with the motion of `other` in a part, solved anew around it; None where that is not cheaper.

    Whether the part and what follows it go on or turn round is open: all four ways are solved.
    """
    first, last = around(len(T), *part)
    here, near = T[first:last + 1], between(f, first, last)
    start, end = part[0] - first, part[1] - first
    step = se3.steps(here)
    step[start + 1:end + 1] = se3.steps(other)[part[0] + 1:part[1] + 1]
    X = here[0] @ se3.chain(step)
    solved = [solve(trial, near, ITERATIONS, LEAST_GAIN)
              for trial in (here, X, flip(X, start), flip(X, end), flip(X, start, end))]
    before, *after = (total_cost(trial, near) for trial in solved)
    if min(after) > before - MARGIN:
        return None
    return with_part(T, solved[1 + int(np.argmin(after))], first, last)
