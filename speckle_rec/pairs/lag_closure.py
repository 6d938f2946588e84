"""Matches of neighbours held against those of frames further apart: what near ones see of a motion, and how well.

Noise behind a filter over time, haze and lines coarser than pixels stay where they are, and draw a match towards no
motion: the more, the nearer the frames. Steps that are added up should give the motion that a match over all of them
sees; where they give a constant share of it, each saw that share (METHOD.md (2.7b)).
"""

from dataclasses import replace
from functools import cache

import numpy as np
from numpy.typing import NDArray

from .block_matching import PlanarMotion

Array = NDArray[np.float64]
Ints = NDArray[np.int64]

AGREE = 0.85            # correlation of steps added up with the match over all of them, from which it tells
FEWEST = 30             # sums that tell
LEAST, MOST = 0.1, 2.0  # shares that are believed
HARDLY = 0.25           # of a motion: what sees less of it, sees what does not move
ROUNDS, CUTOFF = 4, 2.0     # of the robust fit, and its robust standard deviations


def shares(motion: PlanarMotion) -> dict[int, Array]:
    """Share [3] of (x, y, roll) that matches at each lag see, of what those at the longest lag that tells do."""
    return _closures(motion)[0]


def closed(motion: PlanarMotion) -> PlanarMotion:
    """Matches that see what those at the longest lag that tells do.

    Where the probe was so fast that near frames share nothing but what does not move, they see none of the motion:
    what they miss widens their covariance.
    """
    twist, covariance, lag = motion.twist.copy(), motion.covariance.copy(), motion.j - motion.i
    share, missed = _closures(motion)
    for n in share:
        at = lag == n
        twist[at] /= share[n]
        covariance[at] /= np.outer(share[n], share[n])
    return replace(motion, twist=twist, covariance=covariance + np.square(missed)[:, None] * np.eye(3))


def _closures(motion: PlanarMotion) -> tuple[dict[int, Array], Array]:
    """What `shares` says; and what each match misses [M, 3] (mm, mm, rad) where it sees hardly any of the motion."""
    lags = np.unique(motion.j - motion.i).tolist()
    seen, missed = {lag: np.ones(3) for lag in lags}, np.zeros((len(motion.i), 3))
    rows = cache(lambda lag, far: sums(motion, lag, far))
    for axis in range(3):
        twist = motion.twist[:, axis]
        for far in lags[:0:-1]:
            near = [lag for lag in lags if lag < far and far % lag == 0]
            share = {lag: _share(twist, motion.share, *rows(lag, far)) for lag in near}
            if not near or np.isnan(share[near[-1]]):
                continue
            for lag in near:
                if np.isfinite(share[lag]):
                    seen[lag][axis] = share[lag]
            clear = _off(twist, *rows(near[-1], far), seen[near[-1]][axis])[1] < HARDLY
            for lag in near[:-1]:
                added, whole = rows(lag, far)
                off, part = _off(twist, added, whole, seen[lag][axis])
                drawn = np.isin(whole, rows(near[-1], far)[1][clear]) & (part > 1 - HARDLY)
                least = np.full(len(twist), np.inf)
                np.minimum.at(least, added, np.where(drawn, off / np.sqrt(far / lag), 0)[:, None])
                missed[:, axis] += np.where(np.isfinite(least), least, 0)
            break
    return seen, missed


def _off(twist: Array, added: Ints, whole: Ints, share: float) -> tuple[Array, Array]:
    """By how much [K] sums over a share miss the match over all of them, and over what that sees."""
    off = np.abs(twist[added].sum(1) / share - twist[whole])
    return off, off / np.maximum(np.abs(twist[whole]), 1e-12)


def _share(twist: Array, agreeing: Array, added: Ints, whole: Ints) -> float:
    """Slope of matches, added up, over those further apart, by the rows that `sums` gives; NaN where too few agree.

    Both err: it is the geometric mean of the slope of either over the other (reduced major axis; Ricker 1973).

    Parameters
    ----------
    twist : [M], of an axis.   agreeing : [M], share of the blocks that agree.
    """
    if len(whole) < FEWEST:
        return np.nan
    near, far = twist[added].sum(1), twist[whole]
    trust = agreeing[whole] + 1e-6
    most = np.abs(far) >= max(np.quantile(np.abs(far), 0.75), 1e-12)
    slope = float(np.median(near[most] / far[most])) if most.any() else np.nan
    for _ in range(ROUNDS):
        off = near - slope * far
        weight = trust / (1 + np.square(off / (CUTOFF * 1.48 * np.median(np.abs(off)) + 1e-9)))
        aa, ab, bb = ((weight * p * q).sum() for p, q in ((near, near), (near, far), (far, far)))
        if ab <= 0:
            return np.nan
        slope = float(np.sqrt(aa / bb))
    return slope if ab > AGREE * np.sqrt(aa * bb) and LEAST < slope < MOST else np.nan


def sums(motion: PlanarMotion, lag: int, far: int) -> tuple[Ints, Ints]:
    """Rows [K, far / lag] of matches at a lag that add up to those at `far`, and rows [K] of these."""
    at = {n: {int(motion.j[k]): k for k in np.flatnonzero(motion.j - motion.i == n)} for n in (lag, far)}
    found = [([at[lag][j - d] for d in range(0, far, lag)], k) for j, k in at[far].items()
             if all(j - d in at[lag] for d in range(0, far, lag))]
    return (np.array([rows for rows, _ in found], np.int64).reshape(-1, far // lag),
            np.array([k for _, k in found], np.int64))
