"""Planar motions as 3x3 matrices, and their twists (x mm, y mm, roll rad)."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def se2_exp(v: Array) -> Array:
    """3x3 planar motion of a twist (x, y, roll)."""
    c = v[2]
    s, k = (1 - c * c / 6, c / 2) if abs(c) < 1e-4 else (np.sin(c) / c, (1 - np.cos(c)) / c)
    return np.array([[np.cos(c), -np.sin(c), s * v[0] - k * v[1]],
                     [np.sin(c), np.cos(c), k * v[0] + s * v[1]],
                     [0, 0, 1.0]])


def se2_log(T: Array) -> Array:
    """Twist (x, y, roll) of a 3x3 planar motion."""
    c = np.arctan2(T[1, 0], T[0, 0])
    a = 1 - c * c / 12 if abs(c) < 1e-4 else c / 2 / np.tan(c / 2)
    x, y = T[0, 2], T[1, 2]
    return np.array([a * x + c / 2 * y, a * y - c / 2 * x, c])


def se2_exps(v: NDArray[Any]) -> Array:
    """Planar motions [..., 3, 3] of twists [..., 3] (x, y, roll)."""
    x, y, c = np.moveaxis(np.asarray(v, float), -1, 0)
    small = np.abs(c) < 1e-4
    safe = np.where(small, 1.0, c)
    s = np.where(small, 1 - c * c / 6, np.sin(safe) / safe)
    k = np.where(small, c / 2, (1 - np.cos(safe)) / safe)
    out = np.zeros((*c.shape, 3, 3))
    out[..., 0, 0] = out[..., 1, 1] = np.cos(c)
    out[..., 1, 0] = np.sin(c)
    out[..., 0, 1] = -out[..., 1, 0]
    out[..., 0, 2], out[..., 1, 2], out[..., 2, 2] = s * x - k * y, k * x + s * y, 1
    return out


def se2_logs(T: NDArray[Any]) -> Array:
    """Twists [..., 3] (x, y, roll) of planar motions [..., 3, 3]."""
    c = np.arctan2(T[..., 1, 0], T[..., 0, 0])
    small = np.abs(c) < 1e-4
    a = np.where(small, 1 - c * c / 12, c / 2 / np.tan(np.where(small, 1.0, c) / 2))
    x, y = T[..., 0, 2], T[..., 1, 2]
    return np.stack([a * x + c / 2 * y, a * y - c / 2 * x, c], -1)


def chained(steps: Iterable[Array]) -> Array:
    """Twist (x, y, roll) of several planar steps, one after the other."""
    T = np.eye(3)
    for v in steps:
        T = T @ se2_exp(v)
    return se2_log(T)


def chain_poses(planar_step: Array) -> Array:
    """Planar pose [N, 3, 3] of each frame in the first, from the steps [N, 3]."""
    out = [np.eye(3)]
    for v in planar_step[1:]:
        out.append(out[-1] @ se2_exp(v))
    return np.array(out)
