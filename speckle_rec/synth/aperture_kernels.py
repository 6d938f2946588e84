"""The field of a row of elements, summed element by element."""

import math

from numba import njit

jit = njit(cache=True, nogil=True, fastmath=True, error_model="numpy")


@jit
def one_way(r, z, element, delay, weight, k, out):
    """Field into out complex128 [L, Z] at ranges r [L] and elevations z [Z], without its axial phase.

    out[i, j] = sum over elements of weight exp(i k (hypot(r, z - element) - r - delay)); all lengths in mm.
    """
    for i in range(len(r)):
        for j in range(len(z)):
            real, imag = 0.0, 0.0
            for n in range(len(element)):
                away = z[j] - element[n]
                # hypot(r, away) - r without the loss of digits
                phase = k * (away * away / (math.sqrt(r[i] * r[i] + away * away) + r[i]) - delay[n])
                real += weight[n] * math.cos(phase)
                imag += weight[n] * math.sin(phase)
            out[i, j] = real + 1j * imag
