"""Twists between the frames of a trajectory, and how they change as the frames move."""

import math
from typing import Any, NamedTuple

import numba
import numpy as np

from .multilaterate import compose, relative

njit = numba.njit(nogil=True, cache=True)

MOST_ANGLE = 3.1        # rad, above which a twist is left to `geometry.log`


@njit
def along(steps, out):
    """Fill the upper rows of out [N, 4, 4] with the products of steps [N, 3, 4]; entry 0 is the identity.

    Each rotation R goes on as R (3 - R^T R) / 2, which keeps it orthonormal.
    """
    X, gram = np.empty((3, 4)), np.empty((3, 3))
    if len(steps):
        out[0] = np.eye(4)
    for n in range(1, len(steps)):
        compose(out[n - 1, :3], steps[n], X)
        for r in range(3):
            for c in range(3):
                gram[r, c] = (1.5 if r == c else 0.0) - 0.5 * (X[0, r] * X[0, c] + X[1, r] * X[1, c]
                                                               + X[2, r] * X[2, c])
        for r in range(3):
            for c in range(3):
                out[n, r, c] = X[r, 0] * gram[0, c] + X[r, 1] * gram[1, c] + X[r, 2] * gram[2, c]
            out[n, r, 3] = X[r, 3]


@njit
def relative_twists(poses, i, j, out):
    """Fill out [M, 6] with the twists log(T_i^-1 T_j) of pairs of poses [N, 3, 4]; see `geometry.log`.

    Returns whether one turns by more than `MOST_ANGLE`, where this formula fails.
    """
    X = np.empty((3, 4))
    far = False
    for m in range(i.size):
        relative(poses, i[m], j[m], X)
        ax, ay, az = X[2, 1] - X[1, 2], X[0, 2] - X[2, 0], X[1, 0] - X[0, 1]
        angle = math.atan2(math.sqrt(ax * ax + ay * ay + az * az) / 2, (X[0, 0] + X[1, 1] + X[2, 2] - 1) / 2)
        if angle < 1e-4:
            s, e = 1 - angle**2 / 6, 1 / 12 + angle**2 / 720
        else:
            s = math.sin(angle) / angle
            e = (1 - s / (4 * math.sin(angle / 2) ** 2 / angle**2)) / angle**2
        if angle > MOST_ANGLE:
            far = True
            continue
        wx, wy, wz = ax / 2 / s, ay / 2 / s, az / 2 / s
        x, y, z = X[0, 3], X[1, 3], X[2, 3]
        cx, cy, cz = wy * z - wz * y, wz * x - wx * z, wx * y - wy * x
        out[m, 0] = x - cx / 2 + e * (wy * cz - wz * cy)
        out[m, 1] = y - cy / 2 + e * (wz * cx - wx * cz)
        out[m, 2] = z - cz / 2 + e * (wx * cy - wy * cx)
        out[m, 3], out[m, 4], out[m, 5] = wx, wy, wz
    return far


@njit
def jacobians(xi, rows, before, after):
    """Fill before and after [M, D, 6] with `rows` [D] of -(1 - ad/2) and 1 + ad/2 of xi [M, 6], METHOD.md (5.2)."""
    half = np.zeros((6, 6))
    for m in range(len(xi)):
        for block, v in ((0, xi[m, 3:]), (3, xi[m, :3])):
            half[0, block + 1], half[0, block + 2] = -v[2] / 2, v[1] / 2
            half[1, block], half[1, block + 2] = v[2] / 2, -v[0] / 2
            half[2, block], half[2, block + 1] = -v[1] / 2, v[0] / 2
        half[3:, 3:] = half[:3, :3]
        for d in range(rows.size):
            for c in range(6):
                one = 1.0 if c == rows[d] else 0.0
                before[m, d, c] = half[rows[d], c] - one
                after[m, d, c] = half[rows[d], c] + one


class Moved(NamedTuple):
    """How M factors change with a frame each: frames [M], and the change J [M, D, 6] by its twist."""

    frames: Any
    J: Any


class Equations(NamedTuple):
    """Normal equations of 6 unknowns a frame.

    Attributes
    ----------
    reach : frames apart up to which a block goes into `band`, in the upper form of LAPACK.   rhs : [N, 6].
    """

    reach: int
    band: Any
    rhs: Any


@njit
def gather(a_side, b_side, gradient, hessian, equations, far):
    """Add factors to normal equations, by a frame on either side: blocks J_a^T H J_b.

    Parameters
    ----------
    a_side, b_side : `Moved`, frames of a up to those of b; those below 0 or from len(rhs) on do not move.
    gradient : [M, D], empty if it is not wanted.   hessian : [M, D, D].   equations : `Equations`.
    far : [F, 6, 6], filled with the blocks beyond the band of frames that both move, in order.
    """
    (fa, Ja), (fb, Jb), (reach, band, rhs) = a_side, b_side, equations
    width = band.shape[0] - 1
    count, D, n_far = len(rhs), Ja.shape[1], 0
    left = np.empty((6, D))
    for m in range(fa.size):
        a, b = fa[m], fb[m]
        if a < 0 or a >= count:
            continue
        if len(gradient):
            for r in range(6):
                for d in range(D):
                    rhs[a, r] -= Ja[m, d, r] * gradient[m, d]
        if b < 0 or b >= count:
            continue
        for r in range(6):
            for d in range(D):
                total = 0.0
                for e in range(D):
                    total += Ja[m, e, r] * hessian[m, e, d]
                left[r, d] = total
        near = b - a <= reach
        for r in range(6):
            for c in range(6):
                total = 0.0
                for d in range(D):
                    total += left[r, d] * Jb[m, d, c]
                row, column = 6 * a + r, 6 * b + c
                if not near:
                    far[n_far, r, c] = total
                elif row <= column:
                    band[width + row - column, column] += total
        n_far += not near
