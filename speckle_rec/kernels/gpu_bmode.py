"""From deposited echoes to a grey image on a GPU: twins of `bmode`, which is the specification."""

import math
from typing import Any

import numpy as np

from .launch import helper, kernel


def blur_lateral(field: Any, kernel: Any, half_width: Any, first: int, step: int, out: Any) -> None:
    """Lateral beam, see `bmode.blur_lateral`."""
    _blur_lateral(out.shape, field, kernel, half_width, first, step, out)


@kernel(2)
def _blur_lateral(i, line, field, kernel, half_width, first, step, out):
    h = kernel.shape[1] // 2
    c = first + line * step
    total = kernel[i, h] * field[i, c]
    for t in range(1, half_width[i] + 1):
        total += kernel[i, h + t] * (field[i, c - t] + field[i, c + t])
    out[i, line] = total


def apply_gain(field: Any, gain: Any, row_gain: Any, pad: int) -> None:
    """Multiply a field by the gains of its rows and a coarse gain, in place; see `bmode.apply_gain`."""
    _apply_gain(field.shape, field, gain, row_gain, pad)


@kernel(2)
def _apply_gain(i, j, field, gain, row_gain, pad):
    n_r, n_l = field.shape
    g_r, g_l = gain.shape
    f = min(max((i - pad) / (n_r - 1 - 2 * pad), 0.0), 1.0) * (g_r - 1)
    a = min(int(f), g_r - 2)
    f -= a
    e = j * (g_l - 1) / (n_l - 1)
    b = min(int(e), g_l - 2)
    e -= b
    low = gain[a, b] * (1 - e) + gain[a, b + 1] * e
    high = gain[a + 1, b] * (1 - e) + gain[a + 1, b + 1] * e
    field[i, j] *= np.float32((low * (1 - f) + high * f) * row_gain[i])


def blur_axial(field: Any, pulse: Any, first: int, step: int, out: Any) -> None:
    """Pulse, see `bmode.blur_axial`."""
    _blur_axial(out.shape, field, pulse, first, step, out)


@kernel(2)
def _blur_axial(i, line, field, pulse, first, step, out):
    h = pulse.size // 2
    total = pulse[0] * field[first + i * step - h, line]
    for t in range(1, pulse.size):
        total += pulse[t] * field[first + i * step + t - h, line]
    out[i, line] = total


def compress(field: Any, grey_unit: float, grey_per_neper: float, out: Any) -> None:
    """Grey levels of a baseband, see `bmode.compress`."""
    _compress(field.shape, field, grey_unit, grey_per_neper, out)


@kernel(2)
def _compress(i, j, field, grey_unit, grey_per_neper, out):
    power = field[i, j].real ** 2 + field[i, j].imag ** 2
    out[i, j] = min(max(grey_unit + 0.5 * grey_per_neper * math.log(power + 1e-30), 0.0), 255.0)


@helper
def _keys(t, k):
    """Weight of sample k of four about a point t in [0, 1) past the second (Keys 1981, a = -1/2)."""
    if k == 0:
        return ((-0.5 * t + 1) * t - 0.5) * t
    if k == 1:
        return (1.5 * t - 2.5) * t * t + 1
    if k == 2:
        return ((-1.5 * t + 2) * t + 0.5) * t
    return (0.5 * t - 0.5) * t * t


def scan_convert(polar: Any, pixel: Any, row: Any, column: Any, out: Any) -> None:
    """Bicubic samples of a polar image at the pixels, see `bmode.scan_convert`."""
    _scan_convert((len(pixel),), polar, pixel, row, column, out.reshape(-1))


@kernel(1)
def _scan_convert(n, polar, pixel, row, column, flat):
    n_r, n_l = polar.shape
    i, j = int(row[n]), int(column[n])
    down, across = row[n] - i, column[n] - j
    total = 0.0
    for a in range(4):
        ia = min(max(i + a - 1, 0), n_r - 1)
        line = 0.0
        for b in range(4):
            line += _keys(across, b) * polar[ia, min(max(j + b - 1, 0), n_l - 1)]
        total += _keys(down, a) * line
    flat[pixel[n]] = int(min(max(total, 0.0), 255.0) + 0.5)
