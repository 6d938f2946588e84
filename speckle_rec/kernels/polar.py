"""Where points fall in the polar coordinates of a probe: loops that vectorise."""

import math

import numba
import numpy as np
from numba.extending import register_jitable

COSINE, SINE = (tuple(np.float32((-1) ** k * (2 * math.pi) ** (2 * k + odd) / math.factorial(2 * k + odd))
                      for k in range(7)) for odd in (0, 1))
_jit = numba.njit(cache=True, fastmath=True, nogil=True, error_model="numpy")
_shared = register_jitable(fastmath=True, error_model="numpy", forceinline=True)   # with the kernels of `gpu_scatter`
BATCH = 512      # scatterers that are placed at once
QUARTER = np.float32(math.pi / 2)
ARCTAN = tuple(map(np.float32, (-0.3333314528, 0.1999355085, -0.1420889944, 0.1065626393, -0.0752896400, 0.0429096138,
                                -0.0161657367, 0.0028662257)))


@_shared
def arctan(x):
    """atan x of a float32 to 1e-7 (Abramowitz and Stegun, eq. 4.4.49), without a branch: loops of it are vectorised."""
    one = np.float32(1)
    steep = abs(x) > one
    t = one / abs(x) if steep else abs(x)
    s = t * t
    a, b, c, d, e, f, g, h = ARCTAN
    y = t + t * s * (a + s * (b + s * (c + s * (d + s * (e + s * (f + s * (g + s * h)))))))
    y = QUARTER - y if steep else y
    return -y if x < 0 else y


@_shared
def turned(cycles):
    """exp(-2 pi i cycles) of a float32 above -4, as cosine and sine to 2e-4: Taylor's series in the rest of a turn."""
    x = cycles - np.float32(np.int32(cycles + np.float32(4.5)) - 4)
    s = x * x
    a, b, c, d, e, f, g = COSINE
    real = a + s * (b + s * (c + s * (d + s * (e + s * (f + s * g)))))
    a, b, c, d, e, f, g = SINE
    return real, -x * (a + s * (b + s * (c + s * (d + s * (e + s * (f + s * g))))))


@_shared
def polar(right, down, radius_mm, linear):
    """Range (mm) and lateral (rad or mm) of a place in mm from the apex."""
    r = down if linear else math.sqrt(right * right + down * down) - radius_mm
    return r, right if linear else arctan(right / down)


@_jit
def _polar(points, T, probe, out):
    """Range, lateral and elevation of float32 [m, 3] points into the thirds of `out`; a loop that is vectorised."""
    a, b, c, p = T[0, 0], T[0, 1], T[0, 2], T[0, 3] - probe.apex_x
    d, e, f, q = T[1, 0], T[1, 1], T[1, 2], T[1, 3] - probe.apex_y
    g, h, i, s = T[2, 0], T[2, 1], T[2, 2], T[2, 3]
    radius, linear = np.float32(probe.radius_mm), probe.linear
    for m in range(len(points)):
        x, y, z = points[m, 0], points[m, 1], points[m, 2]
        right, down = np.float32(a * x + b * y + c * z + p), np.float32(d * x + e * y + f * z + q)
        out[m], out[m + BATCH] = polar(right, down, radius, linear)
        out[m + 2 * BATCH] = np.float32(g * x + h * y + i * z + s)


@_jit
def _turned(path, cycles_per_mm, n, out):
    """`turned` of the first n paths into the halves of `out`; a loop that is vectorised."""
    per_mm = np.float32(cycles_per_mm)
    for m in range(n):
        out[m], out[m + BATCH] = turned(path[m] * per_mm)
