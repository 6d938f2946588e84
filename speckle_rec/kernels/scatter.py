"""From point scatterers to a polar grid of echoes, on one CPU thread.

These functions take arrays and numbers only, so that another device can offer the same names and signatures;
this file is then the specification.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from .polar import BATCH, _jit, _polar, _shared, _turned


class Scatterers(NamedTuple):
    """Scatterers, those of one voxel next to each other; M of them in V voxels.

    Attributes
    ----------
    points, amplitude : float32 [M, 3] world mm, float32 [M].
    centre, start, stop : float32 [V, 3] mm, int64 [V], int64 [V], each voxel's middle and its part of `points`.
    half_mm : half diagonal of a voxel.
    """

    points: Any
    amplitude: Any
    centre: Any
    start: Any
    stop: Any
    half_mm: float


class Probe(NamedTuple):
    """Where the probe lies in its image, see `probe.ProbeGeometry`."""

    apex_x: float
    apex_y: float
    radius_mm: float
    linear: bool


class Axes(NamedTuple):
    """Origin and step of a polar grid in range (mm) and lateral (rad or mm)."""

    r0: float
    dr: float
    u0: float
    du: float


class Lens(NamedTuple):
    """Two-way elevational profile over range (from r0 >= 0, step dr) and |z| (from 0, step dz), mm.

    Attributes
    ----------
    profile : complex64 [L, Z], without the phase that `curvature` stands for; on a GPU its parts, float32 [L, 2 Z].
    curvature, reach : float32 [L], 1/R of the two-way wavefront (1/mm) and the largest |z| (mm) that is rendered.
    top : largest of `reach`.
    cycles_per_mm : 2 f / c.
    """

    profile: Any
    curvature: Any
    reach: Any
    top: float
    r0: float
    dr: float
    dz: float
    cycles_per_mm: float


class Lattice(NamedTuple):
    """Where the tissue has moved: field float32 [nx, ny, nz, 3] mm (of size 0: nowhere), origin [3] mm, step mm."""

    field: Any
    origin: Any
    step: float


class Bounds(NamedTuple):
    """What an image shows, in range (mm) and lateral (rad or mm)."""

    r_low: float
    r_high: float
    u_low: float
    u_high: float


class Steps(NamedTuple):
    """A polar grid of n_r x n_u and a lens of n_z columns in float32, steps as their inverse; for `landing`."""

    r0: Any
    per_dr: Any
    u0: Any
    per_du: Any
    n_r: int
    n_u: int
    lens_r0: Any
    per_lens_dr: Any
    per_lens_dz: Any
    n_z: int


@_shared
def steps_of(axes, lens, n_r, n_u, n_z):
    """`Steps` of a grid."""
    return Steps(np.float32(axes.r0), np.float32(1 / axes.dr), np.float32(axes.u0), np.float32(1 / axes.du), n_r, n_u,
                 np.float32(lens.r0), np.float32(1 / lens.dr), np.float32(1 / lens.dz), n_z)


@_shared
def bounds_of(axes, n_r, n_u):
    """`Bounds` of a grid."""
    return Bounds(axes.r0, axes.r0 + n_r * axes.dr, axes.u0, axes.u0 + n_u * axes.du)


@_shared
def displacement_at(lattice, x, y, z):
    """Trilinear sample of a displacement lattice."""
    field, origin, step = lattice
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
def _compose_displacement(T_image_world, lattice, centre, out):
    """out [4, 4]: world -> image after a displacement that is linear about a voxel's centre."""
    h = 1.0   # mm
    gradient = np.empty((3, 3))
    x, y, z = float(centre[0]), float(centre[1]), float(centre[2])
    here = displacement_at(lattice, x, y, z)
    for axis in range(3):
        sx, sy, sz = h * (axis == 0), h * (axis == 1), h * (axis == 2)
        ahead = displacement_at(lattice, x + sx, y + sy, z + sz)
        behind = displacement_at(lattice, x - sx, y - sy, z - sz)
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
def in_view(T, x, y, z, probe, bounds, lens, margin_mm):
    """True where a point (world mm) lies within `margin_mm` of what the image of pose T shows."""
    apex_x, apex_y, radius_mm, linear = probe
    reach = lens.reach
    elevation = abs(row_of(T, 2, x, y, z))
    if elevation > lens.top + margin_mm:
        return False
    right = row_of(T, 0, x, y, z) - apex_x
    down = row_of(T, 1, x, y, z) - apex_y
    r = down if linear else math.sqrt(right * right + down * down) - radius_mm
    if r < bounds.r_low - margin_mm or r > bounds.r_high + margin_mm:
        return False
    margin = margin_mm if linear else margin_mm / max(r + radius_mm, margin_mm)
    u = right if linear else math.atan2(right, down)
    if u < bounds.u_low - margin or u > bounds.u_high + margin:
        return False
    first = min(max(int((r - margin_mm - lens.r0) / lens.dr), 0), len(reach) - 1)
    last = min(max(int((r + margin_mm - lens.r0) / lens.dr), 0), len(reach) - 1)
    return elevation <= max(reach[first], reach[last]) + margin_mm


@_shared
def landing(r, u, z, steps, curvature, reach):
    """Where an echo falls: (whether, row and column of the grid, row and column of the lens, path in mm)."""
    r0, per_dr, u0, per_du, n_r, n_u, lens_r0, per_lens_dr, per_lens_dz, n_z = steps
    at, fz = (r - lens_r0) * per_lens_dr + np.float32(0.5), abs(z) * per_lens_dz
    row = min(max(int(at), 0), len(reach) - 1)
    path = r + np.float32(0.5) * z * z * curvature[row]
    fr, fu = (path - r0) * per_dr, (u - u0) * per_du
    falls = ((r >= lens_r0) & (at < len(reach)) & (abs(z) <= reach[row]) & (fz < n_z - 1)
             & (fr >= 0) & (fu >= 0) & (fr < n_r - 1) & (fu < n_u - 1))
    return falls, fr, fu, row, fz, path


@_shared
def profile(lens, row, fz):
    """Real and imaginary part of the lens (float32 [L, 2 Z], alternating) between two of its columns."""
    j = int(fz)
    fz -= np.float32(j)
    return (lens[row, 2 * j] + fz * (lens[row, 2 * j + 2] - lens[row, 2 * j]),
            lens[row, 2 * j + 1] + fz * (lens[row, 2 * j + 3] - lens[row, 2 * j + 1]))


@_jit
def deposit(scatterers, T_image_world, probe, axes, lens, lattice, out):
    """Add the demodulated echo of each scatterer near the image plane to a polar grid.

    A scatterer of amplitude a at range r, lateral u and elevation z adds
    a lens(r, |z|) exp(-2 pi i cycles_per_mm r'), r' = r + z^2 curvature(r) / 2 (eq. 3 of docs/SIMULATOR.md),
    shared bilinearly among the four grid points about (r', u).

    Parameters
    ----------
    scatterers, probe, axes, lens : `Scatterers`, `Probe`, `Axes` of `out`, `Lens`
    T_image_world : float64 [4, 4]
    lattice : `Lattice`
        Added to the points.
    out : complex64 [n_r, n_u]
        Grid to which the echoes are added.
    """
    points, amplitude, centre, start, stop, half_mm = scatterers
    n_r, n_u = out.shape
    T = T_image_world.copy()
    moved = lattice.field.size > 0
    grid, profiles = out.view(np.float32), lens.profile.view(np.float32)
    curvature, reach, one = lens.curvature, lens.reach, np.float32(1)
    steps, bounds = steps_of(axes, lens, n_r, n_u, lens.profile.shape[1]), bounds_of(axes, n_r, n_u)
    at, path, turn = np.empty(3 * BATCH, np.float32), np.empty(BATCH, np.float32), np.empty(2 * BATCH, np.float32)
    place, index = np.empty((BATCH, 3), np.float32), np.empty((BATCH, 2), np.int64)   # of those that fall on the grid
    for v in range(len(start)):
        x, y, z = float(centre[v, 0]), float(centre[v, 1]), float(centre[v, 2])
        if moved:
            ex, ey, ez = displacement_at(lattice, x, y, z)
            x, y, z = x + ex, y + ey, z + ez
        if row_of(T_image_world, 1, x, y, z) - probe.apex_y < -half_mm or not in_view(
                T_image_world, x, y, z, probe, bounds, lens, half_mm):
            continue
        if moved:
            _compose_displacement(T_image_world, lattice, centre[v], T)
        for first in range(start[v], stop[v], BATCH):
            last = min(first + BATCH, stop[v])
            _polar(points[first:last], T, probe, at)
            n = 0
            for m in range(last - first):
                falls, fr, fu, row, fz, path[n] = landing(at[m], at[m + BATCH], at[m + 2 * BATCH], steps, curvature,
                                                          reach)
                place[n, 0], place[n, 1], place[n, 2], index[n, 0], index[n, 1] = fr, fu, fz, first + m, row
                n += falls
            _turned(path, lens.cycles_per_mm, n, turn)
            for k in range(n):
                real, imag = profile(profiles, index[k, 1], place[k, 2])
                strength, cosine, sine = amplitude[index[k, 0]], turn[k], turn[k + BATCH]
                real, imag = strength * (real * cosine - imag * sine), strength * (real * sine + imag * cosine)
                ir, iu = int(place[k, 0]), int(place[k, 1])
                a, b = place[k, 0] - np.float32(ir), place[k, 1] - np.float32(iu)
                for below in range(2):
                    w = a if below else one - a
                    near, far = w * (one - b), w * b
                    grid[ir + below, 2 * iu] += near * real
                    grid[ir + below, 2 * iu + 1] += near * imag
                    grid[ir + below, 2 * iu + 2] += far * real
                    grid[ir + below, 2 * iu + 3] += far * imag


@_jit
def seen(points, T_image_world, probe, bounds, lens, margin_mm):
    """True [K] where points (world mm, float64 [K, 3]) are within `margin_mm` of what any image [N, 4, 4] shows."""
    out = np.zeros(len(points), dtype=np.bool_)
    for p in range(len(points)):
        x, y, z = points[p]
        for n in range(len(T_image_world)):
            if not in_view(T_image_world[n], x, y, z, probe, bounds, lens, margin_mm):
                continue
            out[p] = True
            break
    return out
