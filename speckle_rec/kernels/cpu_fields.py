"""Affine displacement fields on all CPU cores: the fields themselves, and the mean length of them.

A field of frame k is ``A[k] @ (x, y, 1)`` with x = 1..columns, y = 1..rows.
"""

import numba
import numpy as np

FAST = {"reassoc", "contract", "nsz"}  # vectorise the sums, but let NaN through


@numba.njit(parallel=True, fastmath=FAST, cache=True)
def mean_lengths(A, rows, columns):
    """Mean over the pixels of ``|A[k] @ (x, y, 1)|``, exactly: float64 [n, 3, 3] -> float64 [n]."""
    out = np.empty(len(A))
    for k in numba.prange(len(A)):
        total = 0.0
        ax, ay, az = A[k, 0, 0], A[k, 1, 0], A[k, 2, 0]
        for y in range(1, rows + 1):
            bx = A[k, 0, 1] * y + A[k, 0, 2]
            by = A[k, 1, 1] * y + A[k, 1, 2]
            bz = A[k, 2, 1] * y + A[k, 2, 2]
            for x in range(1, columns + 1):
                dx, dy, dz = bx + ax * x, by + ay * x, bz + az * x
                total += np.sqrt(dx * dx + dy * dy + dz * dz)
        out[k] = total / (rows * columns)
    return out


@numba.njit(parallel=True, fastmath=FAST, cache=True)
def affine_fields(A, rows, columns, out):
    """Fill `out` float32 [n, 3, rows * columns] (y outer, x inner) with the fields of A float64 [n, 3, 3]."""
    for task in numba.prange(len(A) * 3):
        k, c = task // 3, task % 3
        field = out[k, c]
        a = np.float32(A[k, c, 0])
        for y in range(rows):
            b = np.float32(A[k, c, 1] * (y + 1) + A[k, c, 2])
            row = field[y * columns : (y + 1) * columns]
            for x in range(columns):
                row[x] = b + a * np.float32(x + 1)
