"""Twins of `cpu` on a GPU, for many frame pairs at once.

Every function has the signature of its CPU twin; images and results may carry a leading axis of pairs. Arrays lie
where the work is done (`launch`). Memory beyond the arguments: 768 bytes a cell and pair in `cell_sums`.
"""

import math
from typing import Any

import numpy as np

from .launch import kernel, xp_of

LANES = 32      # threads that share a cell: a warp, so that neighbours read neighbouring pixels


def block_ncc(a: Any, b: Any, tops: Any, lefts: Any, size: int, radius: int, surfaces: Any) -> None:
    """Normalised cross-correlation of blocks of `a` with shifted blocks of `b`, see `cpu.block_ncc`.

    Parameters
    ----------
    a, b : float32 [H, W] or [M, H, W].   tops, lefts : int64 [B], the same for all pairs.
    surfaces : float32 [B, 2 radius + 1, 2 radius + 1] or [M, B, ...], filled.
    """
    a, b, surfaces = (x if x.ndim == d else x[None] for x, d in ((a, 3), (b, 3), (surfaces, 4)))
    _ncc((surfaces.size,), a, b, tops, lefts, size, radius, surfaces)


@kernel(1)
def _ncc(n, a, b, tops, lefts, size, radius, surfaces):
    side = 2 * radius + 1
    column, rest = n % side, n // side
    row, rest = rest % side, rest // side
    k, m = rest % tops.size, rest // tops.size
    top, left = tops[k], lefts[k]
    product = np.float32(0)
    energy = np.float32(0)
    other = np.float32(0)
    for r in range(top, top + size):
        for c in range(left, left + size):
            p = a[m, r, c]
            q = b[m, r + row - radius, c + column - radius]
            product += p * q
            energy += p * p
            other += q * q
    norm = energy * other
    surfaces[m, k, row, column] = product / math.sqrt(norm) if norm > 1e-12 else 0.0


def subpixel_peak(surfaces: Any) -> tuple[Any, Any, Any]:
    """Sub-pixel peaks of float32 [B, K, K] or [M, B, K, K], see `block_matching.subpixel_peak`.

    Returns shift [..., B, 2], curvature [..., B, 2] and ncc [..., B], float64.
    """
    xp, K = xp_of(surfaces), surfaces.shape[-1]
    flat = surfaces.reshape(-1, K, K)
    shift, curvature, ncc = xp.empty((len(flat), 2)), xp.empty((len(flat), 2)), xp.empty(len(flat))
    _peak((len(flat),), flat, shift, curvature, ncc)
    every = surfaces.shape[:-2]
    return shift.reshape(*every, 2), curvature.reshape(*every, 2), ncc.reshape(every)


@kernel(1)
def _peak(n, surfaces, shift, curvature, ncc):
    K = surfaces.shape[1]
    at = 0
    for m in range(1, K * K):
        if surfaces[n, m // K, m % K] > surfaces[n, at // K, at % K]:
            at = m
    r, c = at // K, at % K
    ncc[n] = surfaces[n, r, c]
    inside = 0 < r and r < K - 1 and 0 < c and c < K - 1 and ncc[n] > 0
    ri, ci = min(max(r, 1), K - 2), min(max(c, 1), K - 2)
    least = np.float32(1e-2)
    middle = math.log(max(surfaces[n, ri, ci], least))
    for axis in range(2):                                                   # METHOD.md (2.4)
        down, across = 1 - axis, axis
        before = math.log(max(surfaces[n, ri - down, ci - across], least))
        after = math.log(max(surfaces[n, ri + down, ci + across], least))
        bend = min(before + after - 2 * middle, -1e-3)
        base = ri if axis == 0 else ci
        shift[n, axis] = base + 0.5 * (before - after) / bend - (K - 1) / 2 if inside else math.nan
        curvature[n, axis] = -bend


def cell_sums(a: Any, b: Any, labels: Any, sums: Any) -> None:
    """Sums over cells that make a correlation coefficient, see `cpu.cell_sums`.

    Parameters
    ----------
    a, b : float32 [H, W] or [M, H, W].   labels : int32 [H, W], the same for all pairs.
    sums : float64 [P, 6] or [M, P, 6], filled.
    """
    xp = xp_of(sums)
    a, b, out = (x if x.ndim == 3 else x[None] for x in (a, b, sums))
    pairs, cells, _ = out.shape
    flat = labels.ravel()
    pixels = xp.argsort(flat, kind="stable")
    first = xp.searchsorted(flat[pixels], xp.arange(cells + 1, dtype=flat.dtype))
    parts = xp.empty((pairs, cells, LANES, 6), np.float32)
    _lanes((pairs, cells, LANES), a.reshape(pairs, -1), b.reshape(pairs, -1), pixels, first, parts)
    out[...] = parts.sum(2, dtype=np.float64)


@kernel(3)
def _lanes(m, cell, lane, a, b, pixels, first, parts):
    count = np.float32(0)
    sa = np.float32(0)
    sb = np.float32(0)
    saa = np.float32(0)
    sbb = np.float32(0)
    sab = np.float32(0)
    for k in range(first[cell] + lane, first[cell + 1], parts.shape[2]):
        p = a[m, pixels[k]]
        q = b[m, pixels[k]]
        count += np.float32(1)
        sa += p
        sb += q
        saa += p * p
        sbb += q * q
        sab += p * q
    parts[m, cell, lane, 0] = count
    parts[m, cell, lane, 1] = sa
    parts[m, cell, lane, 2] = sb
    parts[m, cell, lane, 3] = saa
    parts[m, cell, lane, 4] = sbb
    parts[m, cell, lane, 5] = sab


def similarity(images: Any, shifts: Any) -> tuple[Any, Any]:
    """Largest correlation [K, K] of every pair of images [K, rows, columns] of unit norm, and its row of `shifts`.

    shifts : pairs of indices (to, source) of a shifted stack; one matrix product each.
    """
    xp = xp_of(images)
    flat = images.reshape(len(images), -1)
    alike = xp.full((len(images),) * 2, -1, np.float32)
    best = xp.zeros(alike.shape, np.int64)
    for n, (to, source) in enumerate(shifts):
        moved = xp.zeros_like(images)
        moved[to] = images[source]
        now = flat @ moved.reshape(flat.shape).T
        better = now > alike
        alike = xp.where(better, now, alike)
        best = xp.where(better, n, best)
    return alike, best
