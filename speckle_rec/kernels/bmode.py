"""From deposited echoes to a grey image, on one CPU thread: blurs, gains, log compression and scan conversion.

These functions take arrays and numbers only; `gpu_bmode` has their twins.
"""

import math

import numba
import numpy as np

_jit = numba.njit(cache=True, fastmath=True, nogil=True, error_model="numpy")


@_jit
def blur_lateral(field, kernel, half_width, first, step, out):
    """Lateral beam: out[i, l] = sum_t kernel[i, h + t] field[i, first + l step + t], |t| <= half_width[i].

    Parameters
    ----------
    field : complex64 [n_r, n_u]
    kernel : complex64 [n_r, 2 h + 1], symmetric in t about h
    half_width : int64 [n_r]
    first, step : column of `field` of the first line, and columns a line
    out : complex64 [n_r, n_lines]
    """
    h = kernel.shape[1] // 2
    for i in range(field.shape[0]):
        reach = half_width[i]
        for line in range(out.shape[1]):
            c = first + line * step
            total = kernel[i, h] * field[i, c]
            for t in range(1, reach + 1):
                total += kernel[i, h + t] * (field[i, c - t] + field[i, c + t])
            out[i, line] = total


@_jit
def apply_gain(field, gain, row_gain, pad):
    """Multiply complex64 [n_r, n_l] by row_gain [n_r] and by a coarse gain, in place.

    The gain float32 [g_r, g_l] is stretched bilinearly over all lines and over the rows without the first and
    last `pad`, where its ends carry on.
    """
    n_r, n_l = field.shape
    g_r, g_l = gain.shape
    for i in range(n_r):
        f = min(max((i - pad) / (n_r - 1 - 2 * pad), 0.0), 1.0) * (g_r - 1)
        a = min(int(f), g_r - 2)
        f -= a
        for j in range(n_l):
            e = j * (g_l - 1) / (n_l - 1)
            b = min(int(e), g_l - 2)
            e -= b
            low = gain[a, b] * (1 - e) + gain[a, b + 1] * e
            high = gain[a + 1, b] * (1 - e) + gain[a + 1, b + 1] * e
            field[i, j] *= np.float32((low * (1 - f) + high * f) * row_gain[i])


@_jit
def blur_axial(field, pulse, first, step, out):
    """Pulse: out[i, l] = sum_t pulse[h + t] field[first + i step + t, l], pulse float32 [2 h + 1]."""
    h = len(pulse) // 2
    for i in range(out.shape[0]):
        out[i] = 0
        for t in range(len(pulse)):
            row = first + i * step + t - h
            for line in range(out.shape[1]):
                out[i, line] += pulse[t] * field[row, line]


@_jit
def compress(field, grey_unit, grey_per_neper, out):
    """Grey levels grey_unit + grey_per_neper ln|field| of complex64 [n_r, n_l], clipped to 0..255 (eq. 8)."""
    for i in range(field.shape[0]):
        for j in range(field.shape[1]):
            power = field[i, j].real ** 2 + field[i, j].imag ** 2
            grey = grey_unit + 0.5 * grey_per_neper * math.log(power + 1e-30)
            out[i, j] = min(max(grey, 0.0), 255.0)


@_jit
def _cubic(t):
    """Weights of the four samples about a point t in [0, 1) past the second (Keys 1981, a = -1/2)."""
    return (((-0.5 * t + 1) * t - 0.5) * t, (1.5 * t - 2.5) * t * t + 1, ((-1.5 * t + 2) * t + 0.5) * t,
            (0.5 * t - 0.5) * t * t)


@_jit
def scan_convert(polar, pixel, row, column, out):
    """Bicubic samples of float32 [n_r, n_l] at float32 (row, column) into uint8 out.flat[pixel], rounded.

    Linear interpolation of log speckle fills its nulls: mean over sd of the amplitude rises from 1.91 to 2.1.
    """
    n_r, n_l = polar.shape
    flat = out.reshape(-1)
    for n in range(len(pixel)):
        i, j = int(row[n]), int(column[n])
        down, across = _cubic(row[n] - i), _cubic(column[n] - j)
        total = np.float32(0)
        for a in range(4):
            ia = min(max(i + a - 1, 0), n_r - 1)
            line = np.float32(0)
            for b in range(4):
                line += across[b] * polar[ia, min(max(j + b - 1, 0), n_l - 1)]
            total += down[a] * line
        flat[pixel[n]] = int(min(max(total, np.float32(0)), np.float32(255)) + np.float32(0.5))
