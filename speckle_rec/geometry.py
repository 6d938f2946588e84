"""Rigid poses as float64 [..., 4, 4] arrays in mm, and the step from pixels to mm.

Conventions (all of the package):

* ``T_dst_src`` maps points of ``src`` into ``dst``: ``x_dst = T_dst_src @ x_src``.
* Image mm: x to the right, y down (depth), z = x cross y (elevation). The pixel of column x and row y,
  both counted from 1, lies at ``scale @ (x, y, 0, 1)``.
* A twist is ``(tx, ty, tz, rx, ry, rz)``, mm and rad; covariances use the same order.
"""

import numpy as np
from numpy.typing import NDArray

from .errors import InputError

Array = NDArray[np.float64]

RIGID_TOLERANCE = 1e-3
PLANAR = np.array([0, 1, 5])            # x, y, roll of a twist
OUT_OF_PLANE = np.array([2, 3, 4])      # z, tilt, yaw
_MIRROR = np.diag([1.0, 1.0, -1.0, 1.0])
FARTHEST_MM = 1e6     # no tracker sees a kilometre; farther poses would overflow what is made of them


def hat(w: Array) -> Array:
    """Skew-symmetric matrices [..., 3, 3] of vectors [..., 3]."""
    w = np.asarray(w, dtype=np.float64)
    out = np.zeros((*w.shape[:-1], 3, 3))
    out[..., 0, 1], out[..., 0, 2], out[..., 1, 2] = -w[..., 2], w[..., 1], -w[..., 0]
    out[..., 1, 0], out[..., 2, 0], out[..., 2, 1] = w[..., 2], -w[..., 1], w[..., 0]
    return out


def _coefficients(angle: Array) -> tuple[Array, Array, Array]:
    """sin(a)/a, (1-cos a)/a^2 and (a-sin a)/a^3, accurate near zero."""
    small = angle < 1e-4
    a = np.where(small, 1.0, angle)
    s = np.where(small, 1 - angle**2 / 6, np.sin(a) / a)
    c = np.where(small, 0.5 - angle**2 / 24, 2 * np.sin(a / 2) ** 2 / a**2)
    d = np.where(small, 1 / 6 - angle**2 / 120, (a - np.sin(a)) / a**3)
    return s, c, d


def exp(twist: Array) -> Array:
    """Poses [..., 4, 4] of twists [..., 6] (mm, rad): the exponential map of SE(3).

    Source: Barfoot, State Estimation for Robotics (2017), eq. 7.83.
    """
    twist = np.asarray(twist, dtype=np.float64)
    w = hat(twist[..., 3:])
    w2 = w @ w
    s, c, d = (k[..., None, None] for k in _coefficients(np.linalg.norm(twist[..., 3:], axis=-1)))
    out = np.zeros((*twist.shape[:-1], 4, 4))
    out[..., :3, :3] = np.eye(3) + s * w + c * w2
    out[..., :3, 3] = ((np.eye(3) + c * w + d * w2) @ twist[..., :3, None])[..., 0]
    out[..., 3, 3] = 1
    return out


def log(T: Array) -> Array:
    """Twists [..., 6] (mm, rad) of poses [..., 4, 4]; the inverse of `exp` for angles below pi."""
    T = np.asarray(T, dtype=np.float64)
    R = T[..., :3, :3]
    axis2 = np.stack([R[..., 2, 1] - R[..., 1, 2], R[..., 0, 2] - R[..., 2, 0], R[..., 1, 0] - R[..., 0, 1]], -1)
    sine = np.linalg.norm(axis2, axis=-1) / 2
    angle = np.arctan2(sine, (np.trace(R, axis1=-2, axis2=-1) - 1) / 2)
    s, c, _ = _coefficients(angle)
    w_vec = axis2 / 2 / np.where(np.abs(s) < 1e-12, 1e-12, s)[..., None]
    near_pi = angle > np.pi - 1e-3
    if np.any(near_pi):
        w_vec = np.where(near_pi[..., None], _axis_near_pi(R, axis2) * angle[..., None], w_vec)
    w = hat(w_vec)
    small = angle < 1e-4
    a2 = np.where(small, 1.0, angle**2)
    e = np.where(small, 1 / 12 + angle**2 / 720, (1 - s / (2 * np.where(small, 0.5, c))) / a2)
    inverse_jacobian = np.eye(3) - w / 2 + e[..., None, None] * (w @ w)
    return np.concatenate([(inverse_jacobian @ T[..., :3, 3, None])[..., 0], w_vec], -1)


def _axis_near_pi(R: Array, axis2: Array) -> Array:
    symmetric = (R + np.swapaxes(R, -1, -2)) / 2
    _, vectors = np.linalg.eigh(symmetric)
    axis = vectors[..., :, -1]
    flip = np.sum(axis * axis2, -1, keepdims=True) < 0
    return np.where(flip, -axis, axis)


def inverse(T: Array) -> Array:
    """Inverse of rigid poses [..., 4, 4]."""
    out = np.zeros_like(T, dtype=np.float64)
    Rt = np.swapaxes(T[..., :3, :3], -1, -2)
    out[..., :3, :3] = Rt
    out[..., :3, 3] = -(Rt @ T[..., :3, 3, None])[..., 0]
    out[..., 3, 3] = 1
    return out


def adjoint(T: Array) -> Array:
    """Adjoints [..., 6, 6]: ``T exp(v) = exp(adjoint(T) v) T`` (translation first)."""
    R = T[..., :3, :3]
    out = np.zeros((*T.shape[:-2], 6, 6))
    out[..., :3, :3] = out[..., 3:, 3:] = R
    out[..., :3, 3:] = hat(T[..., :3, 3]) @ R
    return out


def chain(T_prev_frame: Array) -> Array:
    """``T_first_frame`` [N, 4, 4] from the steps ``T_prev_frame`` [N, 4, 4] (entry 0 is ignored).

    Rotations are re-orthonormalised as the chain grows, so that rounding cannot build up.
    """
    from .kernels.twists import along  # numba takes half a second, which `--help` need not

    out = np.zeros((len(T_prev_frame), 4, 4))
    out[:, 3, 3] = 1
    along(np.ascontiguousarray(T_prev_frame[:, :3], np.float64), out)
    return out


def steps(T_first_frame: Array) -> Array:
    """``T_prev_frame`` [N, 4, 4] of a trajectory; entry 0 is the identity."""
    out = np.empty((len(T_first_frame), 4, 4))
    out[:1] = np.eye(4)
    out[1:] = inverse(T_first_frame[:-1]) @ T_first_frame[1:]
    return out


def among(T_first_frame: Array, T_prev_frame: Array, kept: NDArray[np.bool_]) -> tuple[Array, Array]:
    """`T_first_frame` and `T_prev_frame` of the `kept` [N] frames alone, as if there were no others."""
    at = np.flatnonzero(kept)
    T = T_first_frame[at] if at[0] == 0 else inverse(T_first_frame[at[0]]) @ T_first_frame[at]
    step = steps(T)
    next_to = np.flatnonzero(np.diff(at) == 1) + 1
    step[next_to] = T_prev_frame[at[next_to]]
    return T, step


def turned(T_first_frame: Array) -> Array:
    """How far [N] (rad) the probe has turned about its axis in a trajectory [N, 4, 4], whole turns included."""
    return np.unwrap(np.arctan2(T_first_frame[:, 0, 2], T_first_frame[:, 0, 0]))


def image_trajectory(T_world_tool: Array, T_tool_image: Array) -> Array:
    """``T_first_frame`` [N, 4, 4] (image mm) of tracker poses: C^-1 T_0^-1 T_j C."""
    T_world_image = T_world_tool @ T_tool_image
    return inverse(T_world_image[0]) @ T_world_image


def mirror(T: Array) -> Array:
    """Poses M T M with M = diag(1, 1, -1, 1): the trajectory on the other side of the image plane."""
    return np.asarray(_MIRROR @ T @ _MIRROR)


def translation(offset: Array) -> Array:
    """Poses [..., 4, 4] that shift by vectors [..., 3] (mm)."""
    offset = np.asarray(offset, dtype=np.float64)
    out = np.zeros((*offset.shape[:-1], 4, 4))
    out[...] = np.eye(4)
    out[..., :3, 3] = offset
    return out


def check_rigid(T: Array, what: str) -> Array:
    """Validate poses [..., 4, 4] and return them orthonormalised, in float64.

    Raises
    ------
    InputError
        If an entry is not finite or beyond `FARTHEST_MM`, the last row is not (0, 0, 0, 1), or the rotation part
        is not a right-handed rotation within 1e-3. `what` names the file and dataset in the message.
    """
    with np.errstate(invalid="ignore"):     # signalling NaN
        T = np.asarray(T, dtype=np.float64)
    if T.shape[-2:] != (4, 4):
        raise InputError(f"{what}: expected 4x4 transforms, found shape {T.shape}")
    if not np.isfinite(T).all():
        raise InputError(f"{what}: expected finite transforms, found NaN or infinity")
    if np.abs(T).max(initial=0.0) > FARTHEST_MM:
        raise InputError(f"{what}: expected distances below {FARTHEST_MM:g} mm, found {np.abs(T).max():.3g}")
    R = T[..., :3, :3]
    error = np.abs(np.swapaxes(R, -1, -2) @ R - np.eye(3)).max(initial=0.0)
    last = np.abs(T[..., 3, :] - np.array([0, 0, 0, 1])).max(initial=0.0)
    if error > RIGID_TOLERANCE or last > RIGID_TOLERANCE:
        raise InputError(f"{what}: expected rigid transforms, found a deviation of {max(error, last):.3g}")
    if T.size and np.linalg.det(R).min() < 0:
        raise InputError(f"{what}: expected right-handed rotations, found a mirrored one")
    u, _, vt = np.linalg.svd(R)
    out = T.copy()
    out[..., :3, :3] = u @ vt
    out[..., 3, :] = (0, 0, 0, 1)
    return out


def pixel_points(scale: Array, columns: Array, rows: Array) -> Array:
    """Image mm [..., 3] of pixels (columns and rows counted from 1)."""
    columns, rows = np.broadcast_arrays(np.asarray(columns, float), np.asarray(rows, float))
    p = np.stack([columns, rows, np.zeros_like(columns), np.ones_like(columns)], -1)
    return (p @ np.asarray(scale, float).T)[..., :3]
