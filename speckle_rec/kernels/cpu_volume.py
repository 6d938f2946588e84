"""Pasting frames into a regular grid, and filling the holes between them.

Threads own slabs of the grid, so that no two write the same voxel and frames keep their order.
Modes: 0 MEAN, 1 MAXIMUM, 2 LATEST.
"""

from typing import Any, NamedTuple

import numba
import numpy as np
from numba.extending import register_jitable

MEAN, MAXIMUM, LATEST = 0, 1, 2


class Frames(NamedTuple):
    """Frames to paste.

    Attributes
    ----------
    frames : uint8 [n, rows, columns].   mask : bool [rows, columns], pixels that count.
    A : float64 [n, 3, 3], grid coordinates (x, y, z) of pixel (column, row, 1), counted from 0; a frame whose A is not
        finite is left out.
    first, last : int64 [rows], columns that hold pixels of `mask`.
    """

    frames: Any
    A: Any
    mask: Any
    first: Any
    last: Any


@numba.njit(inline="always")
def _span(b, a, low, high, first, last):
    """Columns first..last-1 cut down to those where low < b + a x < high."""
    if a > 1e-12:
        left, right = (low - b) / a, (high - b) / a
    elif a < -1e-12:
        left, right = (high - b) / a, (low - b) / a
    elif low < b < high:
        return first, last
    else:
        return last, last
    return max(first, int(np.floor(max(left, -1.0)))), min(last, int(np.ceil(min(right, 1e6))) + 1)


@numba.njit(inline="always")
def _put(total, weight, z, y, x, value, w, mode):
    if mode == 0:
        total[z, y, x] += w * value
        weight[z, y, x] += w
    else:
        if mode == 2 or weight[z, y, x] == 0 or value > total[z, y, x]:
            total[z, y, x] = value
        weight[z, y, x] += w


@numba.njit(parallel=True, cache=True)
def splat(block, total, weight, mode, linear, slabs):
    """Paste `Frames` into `total` and `weight`, float32 [nz, ny, nx]."""
    frames, A, mask, first, last = block
    nz, ny, nx = total.shape
    rows = frames.shape[1]
    for slab in numba.prange(slabs):
        z0, z1 = slab * nz // slabs, (slab + 1) * nz // slabs
        for k in range(len(frames)):
            if not np.isfinite(A[k]).all():
                continue
            ax, ay, az = A[k, 0, 0], A[k, 1, 0], A[k, 2, 0]
            for row in range(rows):
                bx = A[k, 0, 1] * row + A[k, 0, 2]
                by = A[k, 1, 1] * row + A[k, 1, 2]
                bz = A[k, 2, 1] * row + A[k, 2, 2]
                c0, c1 = _span(bz, az, z0 - 1.0, z1 + 0.0, first[row], last[row])
                for c in range(c0, c1):
                    if not mask[row, c]:
                        continue
                    px, py, pz = bx + ax * c, by + ay * c, bz + az * c
                    value = np.float32(frames[k, row, c])
                    if not linear:
                        x, y, z = int(np.floor(px + 0.5)), int(np.floor(py + 0.5)), int(np.floor(pz + 0.5))
                        if z0 <= z < z1 and 0 <= y < ny and 0 <= x < nx:
                            _put(total, weight, z, y, x, value, np.float32(1), mode)
                        continue
                    x, y, z = int(np.floor(px)), int(np.floor(py)), int(np.floor(pz))
                    fx, fy, fz = px - x, py - y, pz - z
                    for dz in range(2):
                        wz = fz if dz else 1 - fz
                        if not z0 <= z + dz < z1 or wz <= 0:
                            continue
                        for dy in range(2):
                            wy = wz * (fy if dy else 1 - fy)
                            if not 0 <= y + dy < ny or wy <= 0:
                                continue
                            for dx in range(2):
                                w = wy * (fx if dx else 1 - fx)
                                if 0 <= x + dx < nx and w > 0:
                                    _put(total, weight, z + dz, y + dy, x + dx, value, np.float32(w), mode)


@register_jitable
def grey_of(total, weight, mean):
    """Grey value of one voxel, 0 where nothing was pasted."""
    if weight <= 0:
        return 0
    return int(min(max((total / weight if mean else total) + 0.5, 0.0), 255.0))


@register_jitable
def filled(z, y, x, data, weight, radius, min_share):
    """Value of one voxel once holes are filled."""
    if weight[z, y, x] > 0:
        return int(data[z, y, x])
    nz, ny, nx = data.shape
    for h in range(1, radius + 1):
        total, seen = 0, 0
        for k in range(max(z - h, 0), min(z + h + 1, nz)):
            for j in range(max(y - h, 0), min(y + h + 1, ny)):
                for i in range(max(x - h, 0), min(x + h + 1, nx)):
                    if weight[k, j, i] > 0:
                        total += int(data[k, j, i])
                        seen += 1
        if seen >= min_share * (2 * h + 1) ** 3:
            return (2 * total + seen) // (2 * seen)
    return int(data[z, y, x])


@numba.njit(parallel=True, cache=True)
def to_grey(total, weight, mode, out):
    """Grey values uint8 of `total` and `weight` (zero where nothing was pasted)."""
    nz, ny, nx = total.shape
    for z in numba.prange(nz):
        for y in range(ny):
            for x in range(nx):
                out[z, y, x] = grey_of(total[z, y, x], weight[z, y, x], mode == 0)


@numba.njit(parallel=True, cache=True)
def fill_holes(data, weight, radius, min_share, out):
    """Fill empty voxels with the mean over the smallest cube of which a share `min_share` is seen."""
    nz, ny, nx = data.shape
    for z in numba.prange(nz):
        for y in range(ny):
            for x in range(nx):
                out[z, y, x] = filled(z, y, x, data, weight, radius, min_share)
