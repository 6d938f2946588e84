"""Time stamps of frames as recorders write them: a few that repeat, run back or lack do not make the others useless."""

from bisect import bisect_left

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

ENOUGH = 0.5      # share of the stamps that must ascend for the others to be put between them


def repaired(times_s: Array, what: str) -> tuple[Array | None, list[str]]:
    """Ascending time stamps [N] (s) of stamps of which some may not ascend or be NaN, and warnings.

    The most stamps that ascend are kept, the longest increasing subsequence; others are interpolated by their frame's
    number, at the ends by the median step. None where fewer than half can be kept.
    """
    n = len(times_s)
    known = np.flatnonzero(np.isfinite(times_s))
    kept = known[_ascending(times_s[known])]
    if len(kept) < max(2, ENOUGH * n):
        if n < 2 or not len(known):
            return (times_s if len(known) == n else None), []
        return None, [f"{what}: timestamps do not ascend ({len(kept)} of {n} do); they are not used"]
    if len(kept) == n:
        return times_s, []
    step = float(np.median(np.diff(times_s[kept]) / np.diff(kept)))
    out = np.interp(np.arange(n), kept, times_s[kept])
    out[:kept[0]] = times_s[kept[0]] + step * np.arange(-kept[0], 0)
    out[kept[-1] + 1:] = times_s[kept[-1]] + step * np.arange(1, n - kept[-1])
    told = []
    for frames, how in ((np.setdiff1d(known, kept), "does not ascend"), (np.setdiff1d(np.arange(n), known), "is none")):
        if len(frames):
            few = ", ".join(map(str, frames[:5])) + (", ..." if len(frames) > 5 else "")
            told.append(f"{what}: the timestamp of {len(frames)} of {n} frames {how} (frames {few}): interpolated")
    return out, told


def rate_hz(times_s: Array) -> float:
    """Frames a second by the median step of ascending stamps [N], N >= 2: pauses do not count."""
    return 1 / float(np.median(np.diff(times_s)))


def _ascending(values: Array) -> NDArray[np.int64]:
    """Indices of the longest strictly increasing subsequence (Fredman 1975)."""
    tails: list[float] = []
    ends: list[int] = []
    before = np.full(len(values), -1)
    for k, value in enumerate(values):
        at = bisect_left(tails, value)
        if at < len(tails) and tails[at] == value:
            continue        # of stamps that repeat the first is kept
        tails[at:at + 1] = [float(value)]
        ends[at:at + 1] = [k]
        before[k] = ends[at - 1] if at else -1
    out = []
    k = ends[-1] if ends else -1
    while k >= 0:
        out.append(k)
        k = int(before[k])
    return np.array(out[::-1], np.int64)
