"""From measured increments to smoothed ones and their covariance: a Kalman filter and Rauch-Tung-Striebel smoother."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .. import geometry as se3
from ..geometry import OUT_OF_PLANE, PLANAR
from .factors import ACCELERATION

Array = NDArray[np.float64]

# Of limbs, in tilt, yaw and roll: straight sweeps yaw by .3 to .9e-3, curved ones by 2.5e-3.
BEND_RAD_MM = (0.6e-3, 1.5e-3, 0.6e-3)


def smooth(increment: Array, covariance: Array, acceleration: Array = ACCELERATION) -> tuple[Array, Array]:
    """Kalman filter and RTS smoother of the twist from frame to frame (Rauch, Tung & Striebel 1965).

    State: the increment, a random walk whose steps have the standard deviations `acceleration`.
    Measurement: the increment, with its covariance.

    Parameters
    ----------
    increment : [N, 6] measured twists into each frame (entry 0 is ignored).   covariance : [N, 6, 6].

    Returns
    -------
    increment [N, 6], covariance [N, 6, 6], smoothed; entry 0 is zero.
    """
    N = len(increment)
    process = np.diag(np.square(acceleration))
    x, P = np.zeros((N, 6)), np.zeros((N, 6, 6))
    ahead = np.zeros((N, 6, 6))
    mean, var = np.zeros(6), process * 100
    for k in range(1, N):
        ahead[k] = var + process if k > 1 else var
        gain = np.linalg.solve(ahead[k] + covariance[k], ahead[k]).T
        mean = mean + gain @ (increment[k] - mean)
        var = (np.eye(6) - gain) @ ahead[k]
        var = (var + var.T) / 2
        x[k], P[k] = mean, var
    for k in range(N - 2, 0, -1):
        back = np.linalg.solve(ahead[k + 1], P[k]).T
        x[k] += back @ (x[k + 1] - x[k])
        P[k] += back @ (P[k + 1] - ahead[k + 1]) @ back.T
    return x, P


def step_measurements(T: Array, planar_covariance: Array, out_of_plane_covariance: Array) -> tuple[Array, Array]:
    """Increments [N, 6] of a trajectory with the covariance [N, 6, 6] of what measured them.

    Parameters
    ----------
    planar_covariance : [N, 3, 3] of (x, y, roll).   out_of_plane_covariance : [N, 3, 3] of (z, tilt, yaw).
    """
    covariance = np.zeros((len(T), 6, 6))
    covariance[:, PLANAR[:, None], PLANAR] = planar_covariance
    covariance[:, OUT_OF_PLANE[:, None], OUT_OF_PLANE] = out_of_plane_covariance
    return se3.log(se3.steps(T)), covariance


def chained_covariance(T_first_frame: Array, increment_covariance: Array, scale_uncertainty: float,
                       scaled: Sequence[int] = (2, 3, 4)) -> Array:
    """Covariance [N, 6, 6] of a chain of independent increments, as a twist in the first frame.

    Sigma_k = Sigma_(k-1) + Ad(T_k) Sigma_step Ad(T_k)^T (Barfoot & Furgale 2014, first order), and the
    common relative error of what is `scaled` of a twist, all motion out of the plane, which no smoothing takes away.
    """
    ad = se3.adjoint(T_first_frame)
    random = np.cumsum(ad @ increment_covariance @ np.swapaxes(ad, 1, 2), axis=0)
    common = np.zeros((len(T_first_frame), 6))
    common[:, scaled] = scale_uncertainty * se3.log(T_first_frame)[:, scaled]
    return random + common[:, :, None] * common[:, None, :]


def bend_covariance(T_first_frame: Array) -> Array:
    """Covariance [N, 6, 6], as a twist in the first frame, of a sweep whose turning is not measured: with the way that
    the face has come, the limb may bend about each axis by `BEND_RAD_MM`, all along it."""
    way = T_first_frame[:, :3, 3]
    total = np.zeros((len(way), 6, 6))
    for axis, bend in zip(np.eye(3), BEND_RAD_MM, strict=True):
        turned = bend * np.linalg.norm(way, axis=1)[:, None] * axis
        common = np.concatenate([-np.cross(turned, way) / 2, turned], axis=1)
        total += common[:, :, None] * common[:, None, :]
    return total
