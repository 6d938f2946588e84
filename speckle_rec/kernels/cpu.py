"""Kernels on the CPU: the specification that a GPU twin must reproduce.

All take arrays and numbers only, release the GIL, and run on the calling thread: callers spread frame pairs
over threads.
"""

import numba
import numpy as np

njit = numba.njit(nogil=True, cache=True, fastmath={"contract", "reassoc", "nsz", "arcp"})

CUBIC = -0.75       # OpenCV's (Keys 1981 has -1/2)
LANES = 64          # of a vectorised and unrolled loop
LEAST_PX = 30       # of a cell whose correlation tells anything
LEAST_VARIANCE = 1e-3


@njit
def block_ncc(a, b, tops, lefts, size, radius, surfaces):
    """Normalised cross-correlation of blocks of `a` with shifted blocks of `b`.

    Parameters
    ----------
    a, b : float32 [H, W], images with zero local mean (the sums are not centred again).
    tops, lefts : int64 [B], first row and column of each block in `a`; blocks and their shifts must lie inside.
    size, radius : int, block edge and largest shift in px.
    surfaces : float32 [B, 2 radius + 1, 2 radius + 1], filled with
        sum a(p) b(p + d) / sqrt(sum a(p)^2 sum b(p + d)^2) over the block, d = (row, column) - radius; 0 where
        either block is empty.
    """
    side, wide = 2 * radius + 1, size + 2 * radius
    # A block and its surroundings, row after row as wide as both: a shift is an offset, a product one long sum, which
    # zeros lengthen to whole vectors.
    length = -(-size * wide // LANES) * LANES
    block, within = np.zeros(length, np.float32), np.zeros(length, np.float32)
    around = np.zeros(2 * radius * (wide + 1) + length, np.float32)
    for r in range(size):
        within[r * wide:r * wide + size] = 1
    for k in range(tops.size):
        top, left = tops[k], lefts[k]
        for r in range(size):
            block[r * wide:r * wide + size] = a[top + r, left:left + size]
        for r in range(wide):
            around[r * wide:(r + 1) * wide] = b[top + r - radius, left - radius:left + size + radius]
        energy = np.float32(0)
        for p in range(length):
            energy += block[p] * block[p]
        for dr in range(side):
            for dc in range(side):
                total, other = np.float32(0), np.float32(0)
                shifted = around[dr * wide + dc:dr * wide + dc + length]
                for p in range(length):
                    total += block[p] * shifted[p]
                    other += within[p] * shifted[p] * shifted[p]
                norm = energy * other
                surfaces[k, dr, dc] = total / np.sqrt(norm) if norm > 1e-12 else 0.0


@njit
def unit_cells(image, M, spans, runs, edges, out):
    """Pixels of an image moved as by `warp_cubic`, cell after cell, each cell less its mean and of unit norm.

    Products of two images of such cells, added, are their correlation coefficients.

    Parameters
    ----------
    image : float32 [H, W].   M, spans : see `warp_cubic`.
    runs : int64 [R, 4], row, first column, one after the last, and place in `out` of pixels of a cell that lie side by
        side in a row; by row.
    edges : int64 [P + 1], places of the cells.
    out : float32 [edges[-1]], filled; NaN in cells of less than `LEAST_PX` or without variance.
    """
    ramp, moved = np.arange(image.shape[1]).astype(np.float32), np.empty(image.shape[1], np.float32)
    row = -1
    for k in range(len(runs)):
        if runs[k, 0] != row:
            row = runs[k, 0]
            _warp_row(image, M, row, spans[row, 0], spans[row, 1], ramp, moved)
        first, last, place = runs[k, 1], runs[k, 2], runs[k, 3]
        run, cell = moved[first:last], out[place:place + last - first]
        for q in range(last - first):       # a slice assigned at once costs more than it moves
            cell[q] = run[q]
    for p in range(edges.size - 1):
        cell = out[edges[p]:edges[p + 1]]
        n = cell.size
        total, square = np.float32(0), np.float32(0)
        for q in range(n):
            total += cell[q]
        mean = total / np.float32(max(n, 1))
        for q in range(n):
            cell[q] -= mean
            square += cell[q] * cell[q]
        per = np.float32(1 / np.sqrt(square)) if n >= LEAST_PX and square > LEAST_VARIANCE * n else np.float32(np.nan)
        for q in range(n):
            cell[q] *= per


@njit
def unit_products(images, first, second, edges, rho):
    """Correlation coefficients of the cells of image pairs.

    Parameters
    ----------
    images : float32 [F, K], `unit_cells` of each.   first, second : int64 [M], images of each pair.
    edges : int64 [P + 1].   rho : float32 [M, P], filled; NaN where either cell is.
    """
    for p in range(edges.size - 1):
        begin, end = edges[p], edges[p + 1]
        for m in range(first.size):
            a, b = images[first[m], begin:end], images[second[m], begin:end]
            total = np.float32(0)
            for q in range(end - begin):
                total += a[q] * b[q]
            rho[m, p] = total if end > begin else np.nan


@njit
def _weights(t):
    """Of four samples -1 to 2 at t, 0 to 1."""
    s, one = np.float32(CUBIC), np.float32(1)
    two, three = s + np.float32(2), s + np.float32(3)
    u = one - t
    a, b, c = s * t * u * u, (two * t - three) * t * t + one, (two * u - three) * u * u + one
    return a, b, c, one - a - b - c


@njit
def _sample(image, x, y):
    """Cubic interpolation at column x, row y; 0 outside."""
    left, top = int(np.floor(x)), int(np.floor(y))
    across, down = _weights(np.float32(x - left)), _weights(np.float32(y - top))
    total = np.float32(0)
    for a in range(4):
        for b in range(4):
            r, c = top - 1 + a, left - 1 + b
            if 0 <= r < image.shape[0] and 0 <= c < image.shape[1]:
                total += down[a] * across[b] * image[r, c]
    return total


@njit
def _samples(rows, tx, ty, dx, dy, ramp, out):
    """As `_sample`, of pixels in a row whose samples lie in the same four rows and side by side."""
    r0, r1, r2, r3 = rows
    for k in range(out.size):
        a, b, c, d = _weights(tx + dx * ramp[k])
        e, f, g, h = _weights(ty + dy * ramp[k])
        out[k] = e * (a * r0[k] + b * r0[k + 1] + c * r0[k + 2] + d * r0[k + 3]) \
            + f * (a * r1[k] + b * r1[k + 1] + c * r1[k + 2] + d * r1[k + 3]) \
            + g * (a * r2[k] + b * r2[k + 1] + c * r2[k + 2] + d * r2[k + 3]) \
            + h * (a * r3[k] + b * r3[k + 1] + c * r3[k + 2] + d * r3[k + 3])


@njit
def warp_cubic(image, M, spans, out):
    """Image sampled at M (column, row, 1), 0 outside: cv2.warpAffine with INTER_CUBIC and WARP_INVERSE_MAP.

    Under a small rotation the samples of a whole stretch of a row lie in the same rows, side by side, where it is
    three times as fast. Coordinates are not rounded, as OpenCV 4 does to 1/32 px.

    Parameters
    ----------
    image, out : float32 [H, W].   M : float64 [2, 3], px.
    spans : int64 [H, 2], first column and one after the last that are wanted of each row; others are set to 0.
    """
    ramp = np.arange(image.shape[1]).astype(np.float32)
    for r in range(image.shape[0]):
        c, end = spans[r, 0], spans[r, 1]
        out[r, :c] = 0
        out[r, end:] = 0
        _warp_row(image, M, r, c, end, ramp, out[r])


@njit
def _warp_row(image, M, r, c, end, ramp, out):
    """Columns c..end-1 of a row of `warp_cubic`."""
    rows, columns = image.shape
    dx, dy = M[0, 0] - 1.0, M[1, 0]
    while c < end:
        x, y = M[0, 0] * c + M[0, 1] * r + M[0, 2], M[1, 0] * c + M[1, 1] * r + M[1, 2]
        left, top = int(np.floor(x)), int(np.floor(y))
        tx, ty = x - left, y - top
        run = float(end - c)        # until a sample lies in other rows, or one column further
        if dx != 0.0:
            run = min(run, ((1.0 if dx > 0 else 0.0) - tx) / dx)
        if dy != 0.0:
            run = min(run, ((1.0 if dy > 0 else 0.0) - ty) / dy)
        stop = c + min(max(int(np.ceil(run)), 1), max(columns - 2 - left, 1))
        if 1 <= left and left + stop - c + 2 <= columns and 1 <= top and top + 2 < rows:
            a, b = left - 1, left + stop - c + 2
            _samples((image[top - 1, a:b], image[top, a:b], image[top + 1, a:b], image[top + 2, a:b]),
                     np.float32(tx), np.float32(ty), np.float32(dx), np.float32(dy), ramp, out[c:stop])
        else:
            stop = c + 1
            out[c] = _sample(image, x, y)
        c = stop
