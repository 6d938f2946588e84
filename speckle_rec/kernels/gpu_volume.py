"""Pasting frames into a regular grid on a GPU, and filling the holes: twins of `cpu_volume`.

A thread owns a pixel and adds atomically. Sums differ from the CPU's by the order of additions, MAXIMUM and LATEST
not at all; LATEST takes 8 bytes a voxel more while it pastes.
"""

from typing import Any

import numpy as np

from .cpu_volume import LATEST, MAXIMUM, MEAN, Frames, filled, grey_of
from .launch import floor, helper, kernel, scattering, xp_of

__all__ = ["LATEST", "MAXIMUM", "MEAN", "fill_holes", "splat", "to_grey"]


def splat(block: Frames, total: Any, weight: Any, mode: int, linear: bool, slabs: int) -> None:
    """Paste frames into `total` and `weight`, float32 [nz, ny, nx]; see `cpu_volume.splat`.

    `slabs` and the columns of `Frames` only share out the CPU's work; the mask says the same.
    """
    target = xp_of(total).zeros(total.shape, np.int64) if mode == LATEST else total
    paste = {MEAN: _paste_mean, MAXIMUM: _paste_maximum, LATEST: _paste_latest}[mode]
    paste(block.frames.shape, block, target, weight, linear)
    if mode == LATEST:
        total[...] = xp_of(total).where(target > 0, (target & 255).astype(np.float32), total)


@helper
def _place(A, k, row, c, axis):
    return A[k, axis, 0] * c + (A[k, axis, 1] * row + A[k, axis, 2])


def _paste(put):
    """Body that hands each voxel a pixel touches to ``put(total, weight, voxel, value, w, order)``."""
    put = helper(put)

    def body(k, row, c, block, total, weight, linear):
        frames, A, mask, _, _ = block
        if not mask[row, c]:
            return
        px, py, pz = _place(A, k, row, c, 0), _place(A, k, row, c, 1), _place(A, k, row, c, 2)
        nz, ny, nx = total.shape
        if not (-1 < px and px < nx and -1 < py and py < ny and -1 < pz and pz < nz):    # nor where it is NaN
            return
        value, order = frames[k, row, c], (k * mask.shape[0] + row) * mask.shape[1] + c
        if not linear:
            x, y, z = floor(px + 0.5), floor(py + 0.5), floor(pz + 0.5)
            if 0 <= z and z < nz and 0 <= y and y < ny and 0 <= x and x < nx:
                put(total, weight, (z, y, x), value, np.float32(1), order)
            return
        x, y, z = floor(px), floor(py), floor(pz)
        fx, fy, fz = px - x, py - y, pz - z
        for n in range(8):
            dx, dy, dz = n & 1, (n >> 1) & 1, n >> 2
            w = (fz if dz else 1 - fz) * (fy if dy else 1 - fy) * (fx if dx else 1 - fx)
            i, j, h = x + dx, y + dy, z + dz
            if w > 0 and 0 <= h and h < nz and 0 <= j and j < ny and 0 <= i and i < nx:
                put(total, weight, (h, j, i), value, np.float32(w), order)
    return body


@scattering(3)
def _paste_mean(add, highest):
    def put(total, weight, voxel, value, w, order):
        add(total, voxel, w * np.float32(value))
        add(weight, voxel, w)
    return _paste(put)


@scattering(3)
def _paste_maximum(add, highest):
    def put(total, weight, voxel, value, w, order):
        highest(total, voxel, np.float32(value))
        add(weight, voxel, w)
    return _paste(put)


@scattering(3)
def _paste_latest(add, highest):
    def put(newest, weight, voxel, value, w, order):
        highest(newest, voxel, (order + 1) * 256 + int(value))
        add(weight, voxel, w)
    return _paste(put)


def to_grey(total: Any, weight: Any, mode: int, out: Any) -> None:
    """Grey values uint8 of `total` and `weight` (zero where nothing was pasted)."""
    _grey(out.shape, total, weight, mode == MEAN, out)


@kernel(3)
def _grey(z, y, x, total, weight, mean, out):
    out[z, y, x] = grey_of(total[z, y, x], weight[z, y, x], mean)


def fill_holes(data: Any, weight: Any, radius: int, min_share: float, out: Any) -> None:
    """Fill empty voxels with the mean over the smallest cube of which a share `min_share` is seen."""
    _fill(out.shape, data, weight, radius, min_share, out)


@kernel(3)
def _fill(z, y, x, data, weight, radius, min_share, out):
    out[z, y, x] = filled(z, y, x, data, weight, radius, min_share)
