"""Affine displacement fields on a GPU: twins of `cpu_fields`."""

import math
from typing import Any

import numpy as np

from .launch import kernel, xp_of

ROWS = 8        # that a thread writes: one number each is too little work for it


def mean_lengths(A: Any, rows: int, columns: int) -> Any:
    """Mean over the pixels of ``|A[k] @ (x, y, 1)|``: float64 [n, 3, 3] -> float64 [n]; see `cpu_fields`."""
    parts = xp_of(A).empty((rows, len(A)))
    _row_lengths(parts.shape, A, columns, parts)
    return parts.sum(0) / (rows * columns)


@kernel(2)
def _row_lengths(row, k, A, columns, parts):
    y = row + 1
    bx = A[k, 0, 1] * y + A[k, 0, 2]
    by = A[k, 1, 1] * y + A[k, 1, 2]
    bz = A[k, 2, 1] * y + A[k, 2, 2]
    total = 0.0
    for x in range(1, columns + 1):
        dx, dy, dz = bx + A[k, 0, 0] * x, by + A[k, 1, 0] * x, bz + A[k, 2, 0] * x
        total += math.sqrt(dx * dx + dy * dy + dz * dz)
    parts[row, k] = total


def affine_fields(A: Any, rows: int, columns: int, out: Any) -> None:
    """Fill `out` float32 [n, 3, rows * columns] (y outer, x inner) with the fields of A float64 [n, 3, 3].

    Values are made in float32 from one float64 line of rows a component, so that the writes are what takes time.
    """
    xp = xp_of(out)
    y = xp.arange(1, rows + 1)
    start = (A[:, :, 1, None] * y + A[:, :, 2, None]).astype(np.float32).reshape(-1, rows)
    step = A[:, :, 0].astype(np.float32).ravel()
    parts = -(-rows // ROWS)
    _affine((len(step), parts, columns), start, step, out.reshape(len(step), rows, columns))


@kernel(3)
def _affine(k, part, x, start, step, out):
    along = step[k] * np.float32(x + 1)
    for y in range(part * ROWS, min((part + 1) * ROWS, out.shape[1])):
        out[k, y, x] = start[k, y] + along
