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

AGREE = 0.85            # correlation of steps added up with the match over all of them, from which it tells
FEWEST = 30             # sums that tell
LEAST, MOST = 0.1, 2.0  # shares that are believed
ROUNDS, CUTOFF = 4, 2.0     # of the robust fit, and its robust standard deviations


def shares(motion: PlanarMotion) -> dict[int, Array]:
    """Share [3] of (x, y, roll) that matches at each lag see, of what those at the longest lag that tells do."""
    lags = np.unique(motion.j - motion.i).tolist()
    seen = {lag: np.ones(3) for lag in lags}
    rows = cache(lambda lag, far: sums(motion, lag, far))
    for axis in range(3):
        for far in lags[:0:-1]:
            found = {lag: _share(motion, rows(lag, far), axis) for lag in lags if lag < far and far % lag == 0}
            if not found or np.isnan(found[max(found)]):
                continue
            for lag, share in found.items():
                if np.isfinite(share):
                    seen[lag][axis] = share
            break
    return seen


def closed(motion: PlanarMotion) -> PlanarMotion:
    """Matches that see what those at the longest lag do."""
    twist, covariance, lag = motion.twist.copy(), motion.covariance.copy(), motion.j - motion.i
    for n, share in shares(motion).items():
        at = lag == n
        twist[at] /= share
        covariance[at] /= np.outer(share, share)
    return replace(motion, twist=twist, covariance=covariance)


def _share(motion: PlanarMotion, rows: tuple[NDArray[np.int64], NDArray[np.int64]], axis: int) -> float:
    """Slope of matches, added up, over those further apart, by the rows that `sums` gives; NaN where too few agree.

    Both err: it is the geometric mean of the slope of either over the other (reduced major axis; Ricker 1973).
    """
    near_rows, far_rows = rows
    if len(far_rows) < FEWEST:
        return np.nan
    added, whole = motion.twist[near_rows, axis].sum(1), motion.twist[far_rows, axis]
    trust = motion.share[far_rows] + 1e-6
    most = np.abs(whole) >= max(np.quantile(np.abs(whole), 0.75), 1e-12)
    slope = float(np.median(added[most] / whole[most])) if most.any() else np.nan
    for _ in range(ROUNDS):
        off = added - slope * whole
        weight = trust / (1 + np.square(off / (CUTOFF * 1.48 * np.median(np.abs(off)) + 1e-9)))
        aa, ab, bb = ((weight * p * q).sum() for p, q in ((added, added), (added, whole), (whole, whole)))
        if ab <= 0:
            return np.nan
        slope = float(np.sqrt(aa / bb))
    return slope if ab > AGREE * np.sqrt(aa * bb) and LEAST < slope < MOST else np.nan


def sums(motion: PlanarMotion, lag: int, far: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows [K, far / lag] of matches at a lag that add up to those at `far`, and rows [K] of these."""
    at = {n: {int(motion.j[k]): k for k in np.flatnonzero(motion.j - motion.i == n)} for n in (lag, far)}
    found = [([at[lag][j - d] for d in range(0, far, lag)], k) for j, k in at[far].items()
             if all(j - d in at[lag] for d in range(0, far, lag))]
    return (np.array([rows for rows, _ in found], np.int64).reshape(-1, far // lag),
            np.array([k for _, k in found], np.int64))
