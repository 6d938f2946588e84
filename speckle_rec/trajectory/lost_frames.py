"""Frames that were lost: where the probe moved two or three times as far as from frame to frame about it.

A solve that takes a hand to move steadily draws such steps to their neighbours. Told how many frame times each took, it
takes the speed to be steady instead (METHOD.md, section 5).
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp, softmax

from .. import geometry as se3
from .factors import Factors
from .solver import solve

Array = NDArray[np.float64]

LEVER_MM = 50.0      # at which a turn is held against a shift
REACH = 4            # frames to each side that tell the usual speed: hands reverse within ten in short scans
USUAL = 0.35         # quantile of their speeds: below the middle, as lost frames only ever add to it
ABOVE = 1.05         # of that quantile, the usual speed
SPREAD = 0.2         # of the logarithm of a step's length about the usual one
MOST = 4             # frame times of a step that are told apart
EVIDENCE = 5.0       # log likelihood by which lost frames must be better than none: a hand's jerk or two are below 4
TOLD = 0.01          # share that a user is told of
LOOSE = 4.0          # times the change of a step that is usual, where steps are measured to count frames


@dataclass(frozen=True)
class LostFrames:
    """Where frames of a scan were lost.

    Attributes
    ----------
    elapsed : [N], frame times that the step into each frame took, expected over 1 to `MOST`; None if 1 everywhere.
    share : of the frames of the machine that were lost.
    """

    elapsed: Array | None = None
    share: float = 0.0


NONE_LOST = LostFrames()


def step_lengths(T: Array) -> Array:
    """Lengths [N - 1] of the steps of poses [N, 4, 4] in mm, turns at a lever of `LEVER_MM`."""
    return np.asarray(np.linalg.norm(se3.log(se3.steps(T))[1:] * [1, 1, 1, LEVER_MM, LEVER_MM, LEVER_MM], axis=1))


def nearby(values: Array, reach: int) -> Array:
    """Each of values [K] with those up to `reach` to either side [K, 2 reach + 1], NaN beyond the ends."""
    padded = np.pad(values, reach, constant_values=np.nan)
    return np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1)


def lost_frames(T: Array, repeated: NDArray[np.bool_] | None = None) -> LostFrames:
    """Tell from the lengths of the steps of poses [N, 4, 4] where frames are missing between them.

    Steps into and out of frames that show the picture before again (`repeated` [N]) are not seen, and tell nothing.

    The logarithm of a step's length over the usual one about it is a mixture of normal distributions about those of
    1, 2, ... usual steps, weighed as frames lost at random weigh them, METHOD.md (5.4b). Their share is estimated along
    with it (EM; Dempster, Laird & Rubin 1977): where none are lost, a step twice as long is chance. Unless all steps
    together are likelier by `EVIDENCE` than with none lost, there are none.
    """
    length = step_lengths(T)
    if repeated is not None:
        length[repeated[1:] | repeated[:-1]] = np.nan
    told = np.isfinite(length)
    if told.sum() <= 2 * REACH:
        return NONE_LOST
    usual = ABOVE * np.nanquantile(nearby(length, REACH)[told], USUAL, axis=1)
    taken = np.log(np.maximum(length[told], 1e-9) / np.maximum(usual, 1e-9))
    more = np.arange(MOST)
    far = -0.5 * np.square((taken[:, None] - np.log1p(more)) / SPREAD)
    share = 0.01
    for _ in range(30):
        missing = softmax(far + more * np.log(share), axis=1) @ more
        share = float(np.clip(missing.sum() / (len(missing) + missing.sum()), 1e-4, 0.6))
    likelier = logsumexp(far + more * np.log(share), axis=1) + np.log1p(-share) - far[:, 0]
    if likelier.sum() < EVIDENCE:
        return NONE_LOST
    elapsed = np.ones(len(T))
    elapsed[1:][told] += missing
    return LostFrames(elapsed, share)


def solve_timed(T_start: Array, factors: Factors,
                repeated: NDArray[np.bool_] | None = None) -> tuple[Array, LostFrames]:
    """`solver.solve` with the frame times that steps took, counted where they are free to be long: `lost_frames`."""
    lost = lost_frames(solve(T_start, replace(factors, acceleration=LOOSE * factors.acceleration)), repeated)
    return solve(T_start, replace(factors, elapsed=lost.elapsed)), lost


def warnings_of(lost: LostFrames) -> list[str]:
    """What a user should know of frames that were lost."""
    return [f"some {lost.share:.0%} of the frames seem to be missing between those recorded: steps are two or three "
            "times as long as those about them"] if lost.share > TOLD else []
