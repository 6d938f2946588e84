"""Sign of the out-of-plane motion: each frame against several earlier ones, and mirror tests.

Correlations fix the out-of-plane motion of a pair up to its sign. Frames further apart than one step tell a
reversal from a continued motion, since the distance to an earlier frame shrinks after a reversal.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .geometry import exp
from .kernels.multilaterate import multilaterate

Array = NDArray[np.float64]

SAMPLES = 25.0        # independent speckles of a cell, as the correlation's variance sees them
EXTRA = 0.04          # misfit of the curves, in correlation
CUTOFF = 2.0          # of the Cauchy loss, in standard deviations
TEMPER = 0.15         # overlapping lags and neighbouring cells are not independent


@dataclass(frozen=True)
class Hand:
    """Prior of the hand's out-of-plane acceleration, per frame^2: z (mm), tilt and yaw (rad)."""

    z_mm: float = 0.05
    tilt_rad: float = 0.004
    yaw_rad: float = 0.004

    @property
    def precision(self) -> Array:
        return np.diag(1 / np.square([self.z_mm, self.tilt_rad, self.yaw_rad]))


def planar_poses(twist: Array) -> Array:
    """[N, 4, 4] of planar twists [N, 3] (x, y, roll)."""
    full = np.zeros((len(twist), 6))
    full[:, [0, 1, 5]] = twist
    return exp(full)


def sequential(planar_twist: Array, i: NDArray[np.int64], j: NDArray[np.int64], rho: NDArray[np.float32],
               forms: Array, floor: Array, tail: tuple[float, float], hand: Hand) -> tuple[Array, Array, Array]:
    """Multilaterate frame after frame.

    Parameters
    ----------
    planar_twist : [N, 3] planar part of the step into each frame.
    i, j : [M] pairs, sorted by j, i < j.   rho : [M, P].   forms : [P, 2, 3].   floor : [P].

    Returns
    -------
    T : [N, 4, 4] poses about the face centre.   step : [N, 3].   covariance : [N, 3, 3] of the step.
    """
    N = len(planar_twist)
    first = np.searchsorted(j, np.arange(N + 1))
    poses, steps = np.empty((N, 3, 4)), np.empty((N, 3))
    covariances, costs = np.empty((N, 3, 3)), np.empty(N)
    start = np.array([0.02, 0.003, 0.003])
    multilaterate(np.ascontiguousarray(planar_poses(planar_twist)[:, :3]), first, i, rho, forms, floor, *tail,
                  SAMPLES, EXTRA, CUTOFF, TEMPER, hand.precision, start, poses, steps, covariances, costs)
    T = np.zeros((N, 4, 4))
    T[:, :3] = poses
    T[:, 3, 3] = 1
    return T, steps, covariances
