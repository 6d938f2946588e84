"""From point scatterers to polar baseband to a grey image, on one CPU thread.

These functions take arrays and numbers only, so that another device can offer the same names and signatures;
this file is then the specification.
"""

import math

import numba
import numpy as np
from numba.extending import register_jitable

CARRIER_STEPS = 8192
_jit = numba.njit(cache=True, fastmath=True, nogil=True)
_shared = register_jitable(fastmath=True)      # with the kernels of `gpu_scatter`


def carrier() -> np.ndarray:
    """exp(-2 pi i n / CARRIER_STEPS), complex64 [CARRIER_STEPS]: one turn of the two-way phase."""
    return np.exp(-2j * np.pi * np.arange(CARRIER_STEPS) / CARRIER_STEPS).astype(np.complex64)


@_shared
def displacement_at(field, origin, step, x, y, z):
    """Trilinear sample of a displacement lattice [nx, ny, nz, 3]."""
    fx, fy, fz = (x - origin[0]) / step, (y - origin[1]) / step, (z - origin[2]) / step
    i = min(max(int(fx), 0), field.shape[0] - 2)
    j = min(max(int(fy), 0), field.shape[1] - 2)
    k = min(max(int(fz), 0), field.shape[2] - 2)
    a, b, c = fx - i, fy - j, fz - k
    dx, dy, dz = 0.0, 0.0, 0.0
    for n in range(8):
        p, q, s = n & 1, (n >> 1) & 1, n >> 2
        w = (a if p else 1 - a) * (b if q else 1 - b) * (c if s else 1 - c)
        dx += w * field[i + p, j + q, k + s, 0]
        dy += w * field[i + p, j + q, k + s, 1]
        dz += w * field[i + p, j + q, k + s, 2]
    return dx, dy, dz


@_jit
def _compose_displacement(T_image_world, field, origin, step, centre, out):
    """out [4, 4]: world -> image after a displacement that is linear about a voxel's centre."""
    h = 1.0   # mm
    gradient = np.empty((3, 3))
    x, y, z = float(centre[0]), float(centre[1]), float(centre[2])
    here = displacement_at(field, origin, step, x, y, z)
    for axis in range(3):
        sx, sy, sz = h * (axis == 0), h * (axis == 1), h * (axis == 2)
        ahead = displacement_at(field, origin, step, x + sx, y + sy, z + sz)
        behind = displacement_at(field, origin, step, x - sx, y - sy, z - sz)
        for i in range(3):
            gradient[i, axis] = (ahead[i] - behind[i]) / (2 * h)
    for i in range(3):
        out[i, 3] = T_image_world[i, 3]
        for j in range(3):
            bent = T_image_world[i, j]
            for n in range(3):
                bent += T_image_world[i, n] * gradient[n, j]
            out[i, j] = bent
            # T (p + here + gradient (p - centre))
            out[i, 3] += T_image_world[i, j] * (here[j] - gradient[j, 0] * x - gradient[j, 1] * y
                                                - gradient[j, 2] * z)


@_shared
def row_of(T, k, x, y, z):
    """Coordinate k of a point moved by a pose."""
    return T[k, 0] * x + T[k, 1] * y + T[k, 2] * z + T[k, 3]


@_shared
def in_view(T, x, y, z, apex_x, apex_y, radius_mm, linear, r_low, r_high, u_low, u_high, reach, top, lens_r0, lens_dr,
            margin_mm):
    """True where a point (world mm) lies within `margin_mm` of what the image of pose T shows."""
    elevation = abs(row_of(T, 2, x, y, z))
    if elevation > top + margin_mm:
        return False
    right = row_of(T, 0, x, y, z) - apex_x
    down = row_of(T, 1, x, y, z) - apex_y
    r = down if linear else math.sqrt(right * right + down * down) - radius_mm
    if r < r_low - margin_mm or r > r_high + margin_mm:
        return False
    margin = margin_mm if linear else margin_mm / max(r + radius_mm, margin_mm)
    u = right if linear else math.atan2(right, down)
    if u < u_low - margin or u > u_high + margin:
        return False
    first = min(max(int((r - margin_mm - lens_r0) / lens_dr), 0), len(reach) - 1)
    last = min(max(int((r + margin_mm - lens_r0) / lens_dr), 0), len(reach) - 1)
    return elevation <= max(reach[first], reach[last]) + margin_mm


@_shared
def landing(T, x, y, z, apex_x, apex_y, radius_mm, linear, r0, dr, u0, du, n_r, n_u, lens, curvature, reach, top,
            lens_r0, lens_dr, lens_dz, cycles_per_mm, turn):
    """Where on the grid an echo of amplitude 1 falls, and what it is: (whether, row, column, rest, rest, echo)."""
    nowhere = False, 0, 0, np.float32(0), np.float32(0), turn[0]
    elevation = row_of(T, 2, x, y, z)
    if abs(elevation) > top:
        return nowhere
    right = row_of(T, 0, x, y, z) - apex_x
    down = row_of(T, 1, x, y, z) - apex_y
    r = down if linear else math.sqrt(right * right + down * down) - radius_mm
    row = int((r - lens_r0) / lens_dr + 0.5)
    if r < lens_r0 or down <= 0 or row >= lens.shape[0] or abs(elevation) > reach[row]:
        return nowhere
    path = r + 0.5 * elevation * elevation * curvature[row]
    fr = (path - r0) / dr
    fu = ((right if linear else math.atan(right / down)) - u0) / du
    if not (fr >= 0 and fu >= 0 and fr < n_r - 1 and fu < n_u - 1):
        return nowhere
    fz = abs(elevation) / lens_dz
    iz = int(fz)
    if iz >= lens.shape[1] - 1:
        return nowhere
    fz -= iz
    cycles = path * cycles_per_mm
    phase = int((cycles - math.floor(cycles)) * CARRIER_STEPS)
    profile = lens[row, iz] + np.float32(fz) * (lens[row, iz + 1] - lens[row, iz])
    ir, iu = int(fr), int(fu)
    return True, ir, iu, np.float32(fr - ir), np.float32(fu - iu), profile * turn[phase & (CARRIER_STEPS - 1)]


@_jit
def deposit(points, amplitude, centre, start, stop, half_mm, T_image_world, apex_x, apex_y, radius_mm, linear,
            r0, dr, u0, du, lens, curvature, reach, lens_r0, lens_dr, lens_dz, cycles_per_mm, turn,
            displacement, lattice_origin, lattice_step, out):
    """Add the demodulated echo of each scatterer near the image plane to a polar grid.

    A scatterer of amplitude a at range r, lateral u and elevation z adds
    a lens(r, |z|) exp(-2 pi i cycles_per_mm r'), r' = r + z^2 curvature(r) / 2 (eq. 3 of docs/SIMULATOR.md),
    shared bilinearly among the four grid points about (r', u).

    Parameters
    ----------
    points, amplitude : float32 [M, 3] world mm, float32 [M]
        Scatterers, those of one voxel next to each other.
    centre, start, stop, half_mm : float32 [V, 3], int64 [V], int64 [V], float
        Voxels: centre (mm), their part of `points`, half diagonal (mm).
    T_image_world : float64 [4, 4]
    apex_x, apex_y, radius_mm, linear : the probe, see `ProbeGeometry`
    r0, dr, u0, du : origin and step of `out` in range (mm) and lateral (rad or mm)
    lens : complex64 [L, Z]
        Two-way elevational profile over range (from lens_r0, step lens_dr) and |z| (from 0, step lens_dz),
        without the phase that `curvature` stands for.
    curvature, reach : float32 [L]
        1/R of the two-way wavefront (1/mm) and the largest |z| (mm) that is rendered.
    cycles_per_mm, turn : 2 f / c, and the table of `carrier`
    displacement, lattice_origin, lattice_step : float32 [nx, ny, nz, 3] mm, float64 [3] mm, mm
        Where the tissue has moved, added to `points`; of size 0: nowhere.
    out : complex64 [n_r, n_u]
        Grid to which the echoes are added.
    """
    n_r, n_u = out.shape
    T = T_image_world.copy()
    moved = displacement.size > 0
    top = reach.max()
    for v in range(len(start)):
        x, y, z = float(centre[v, 0]), float(centre[v, 1]), float(centre[v, 2])
        if moved:
            ex, ey, ez = displacement_at(displacement, lattice_origin, lattice_step, x, y, z)
            x, y, z = x + ex, y + ey, z + ez
        if row_of(T_image_world, 1, x, y, z) - apex_y < -half_mm or not in_view(
                T_image_world, x, y, z, apex_x, apex_y, radius_mm, linear, r0, r0 + n_r * dr, u0, u0 + n_u * du, reach,
                top, lens_r0, lens_dr, half_mm):
            continue
        if moved:
            _compose_displacement(T_image_world, displacement, lattice_origin, lattice_step, centre[v], T)
        for m in range(start[v], stop[v]):
            x, y, z = float(points[m, 0]), float(points[m, 1]), float(points[m, 2])
            falls, ir, iu, a, b, echo = landing(T, x, y, z, apex_x, apex_y, radius_mm, linear, r0, dr, u0, du, n_r,
                                                n_u, lens, curvature, reach, top, lens_r0, lens_dr, lens_dz,
                                                cycles_per_mm, turn)
            if not falls:
                continue
            echo = amplitude[m] * echo
            one = np.float32(1)
            below, above = echo * a, echo * (one - a)
            out[ir, iu] += above * (one - b)
            out[ir, iu + 1] += above * b
            out[ir + 1, iu] += below * (one - b)
            out[ir + 1, iu + 1] += below * b


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


@_jit
def seen(points, T_image_world, apex_x, apex_y, radius_mm, linear, r_range, u_range, reach, lens_r0, lens_dr,
         margin_mm):
    """True [K] where points (world mm, float64 [K, 3]) are within `margin_mm` of what any image shows."""
    out = np.zeros(len(points), dtype=np.bool_)
    top = reach.max()
    for p in range(len(points)):
        x, y, z = points[p]
        for n in range(len(T_image_world)):
            if not in_view(T_image_world[n], x, y, z, apex_x, apex_y, radius_mm, linear, r_range[0], r_range[1],
                           u_range[0], u_range[1], reach, top, lens_r0, lens_dr, margin_mm):
                continue
            out[p] = True
            break
    return out
