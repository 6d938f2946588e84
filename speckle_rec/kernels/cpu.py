"""Kernels on the CPU: the specification that a GPU twin must reproduce.

All take arrays and numbers only, release the GIL, and run on the calling thread: callers spread frame pairs
over threads.
"""

import numba
import numpy as np

njit = numba.njit(nogil=True, cache=True, fastmath={"contract", "reassoc", "nsz", "arcp"})


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
    side = 2 * radius + 1
    column_energy = np.empty((side, size + 2 * radius), dtype=np.float32)
    for k in range(tops.size):
        top, left = tops[k], lefts[k]
        energy = np.float32(0)
        for r in range(size):
            for c in range(size):
                energy += a[top + r, left + c] * a[top + r, left + c]
        column_energy[:] = 0
        for r in range(size + 2 * radius):
            for s in range(max(0, r - size + 1), min(side, r + 1)):
                for c in range(size + 2 * radius):
                    v = b[top + r - radius, left + c - radius]
                    column_energy[s, c] += v * v
        for dr in range(side):
            for dc in range(side):
                other = np.float32(0)
                for c in range(size):
                    other += column_energy[dr, c + dc]
                total = np.float32(0)
                start = left + dc - radius
                for r in range(size):
                    ra = a[top + r, left:left + size]
                    rb = b[top + r + dr - radius, start:start + size]
                    for c in range(size):
                        total += ra[c] * rb[c]
                norm = energy * other
                surfaces[k, dr, dc] = total / np.sqrt(norm) if norm > 1e-12 else 0.0


@njit
def cell_sums(a, b, labels, sums):
    """Sums over cells that make a correlation coefficient.

    Parameters
    ----------
    a, b : float32 [H, W].
    labels : int32 [H, W], cell of each pixel or -1.
    sums : float64 [n_cells, 6], filled with n, sum a, sum b, sum a^2, sum b^2, sum ab.
    """
    sums[:] = 0
    rows, columns = a.shape
    for r in range(rows):
        c = 0
        while c < columns:
            cell = labels[r, c]
            end = c + 1
            while end < columns and labels[r, end] == cell:
                end += 1
            if cell >= 0:
                sa = np.float32(0)
                sb = np.float32(0)
                saa = np.float32(0)
                sbb = np.float32(0)
                sab = np.float32(0)
                ra = a[r, c:end]
                rb = b[r, c:end]
                for q in range(end - c):
                    va = ra[q]
                    vb = rb[q]
                    sa += va
                    sb += vb
                    saa += va * va
                    sbb += vb * vb
                    sab += va * vb
                sums[cell, 0] += end - c
                sums[cell, 1] += sa
                sums[cell, 2] += sb
                sums[cell, 3] += saa
                sums[cell, 4] += sbb
                sums[cell, 5] += sab
            c = end
