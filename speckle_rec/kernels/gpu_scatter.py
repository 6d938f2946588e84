"""From point scatterers to polar baseband to a grey image on a GPU: twins of `scatter`.

The equations are in `scatter`, which is the specification. Echoes are added atomically, so that two runs differ by
the order of float32 additions.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from .launch import helper, kernel, scattering, xp_of
from .polar import polar, turned
from .scatter import (
    Axes,
    Bounds,
    Lattice,
    Lens,
    Probe,
    Scatterers,
    bounds_of,
    displacement_at,
    in_view,
    landing,
    profile,
    row_of,
    steps_of,
)

LANES = 32      # threads that share a voxel's scatterers: a warp, so that neighbours read neighbouring points


class Pose(NamedTuple):
    """World -> image of a frame, and of each voxel [V, 3, 4] where the tissue has moved; else [1, 3, 4]."""

    T_image_world: Any
    bent: Any
    lattice: Lattice
    moved: bool


@kernel(1)
def _bend(v, T, lattice, centre, out):
    """out [V, 3, 4]: world -> image after a displacement that is linear about a voxel's centre."""
    h = 1.0   # mm
    x, y, z = float(centre[v, 0]), float(centre[v, 1]), float(centre[v, 2])
    ex, ey, ez = displacement_at(lattice, x, y, z)
    for i in range(3):
        out[v, i, 3] = T[i, 3] + T[i, 0] * ex + T[i, 1] * ey + T[i, 2] * ez
    for axis in range(3):
        sx, sy, sz = h if axis == 0 else 0.0, h if axis == 1 else 0.0, h if axis == 2 else 0.0
        ax, ay, az = displacement_at(lattice, x + sx, y + sy, z + sz)
        bx, by, bz = displacement_at(lattice, x - sx, y - sy, z - sz)
        at = x if axis == 0 else y if axis == 1 else z
        for i in range(3):
            change = (T[i, 0] * (ax - bx) + T[i, 1] * (ay - by) + T[i, 2] * (az - bz)) / (2 * h)
            out[v, i, axis] = T[i, axis] + change
            out[v, i, 3] -= change * at


def deposit(scatterers: Scatterers, T_image_world: Any, probe: Probe, axes: Axes, lens: Lens, lattice: Lattice,
            out: Any) -> None:
    """Add the demodulated echo of each scatterer near the image plane to a polar grid; see `scatter.deposit`."""
    xp, moved, voxels = xp_of(out), lattice.field.size > 0, len(scatterers.start)
    bent = T_image_world[None, :3]
    if moved:
        bent = xp.empty((voxels, 3, 4))
        _bend((voxels,), T_image_world, lattice, scatterers.centre, bent)
    else:
        lattice = lattice._replace(field=xp.zeros((2, 2, 2, 3), np.float32))
    _deposit((voxels, LANES), scatterers, Pose(T_image_world, bent, lattice, moved), probe, axes,
             lens._replace(profile=lens.profile.view(np.float32)), out.view(np.float32))


@scattering(2)
def _deposit(add, highest):
    def body(v, lane, scatterers, pose, probe, axes, lens, out):
        points, amplitude, centre, start, stop, half_mm = scatterers
        T_image_world = pose.T_image_world
        n_r, n_u = out.shape[0], out.shape[1] // 2
        x, y, z = float(centre[v, 0]), float(centre[v, 1]), float(centre[v, 2])
        if pose.moved:
            ex, ey, ez = displacement_at(pose.lattice, x, y, z)
            x, y, z = x + ex, y + ey, z + ez
        if row_of(T_image_world, 1, x, y, z) - probe.apex_y < -half_mm or not in_view(
                T_image_world, x, y, z, probe, bounds_of(axes, n_r, n_u), lens, half_mm):
            return
        T = pose.bent[v if pose.moved else 0]
        steps, one = steps_of(axes, lens, n_r, n_u, lens.profile.shape[1] // 2), np.float32(1)
        for m in range(start[v] + lane, stop[v], LANES):
            x, y, z = float(points[m, 0]), float(points[m, 1]), float(points[m, 2])
            r, u = polar(np.float32(row_of(T, 0, x, y, z) - probe.apex_x),
                         np.float32(row_of(T, 1, x, y, z) - probe.apex_y), np.float32(probe.radius_mm), probe.linear)
            falls, fr, fu, row, fz, path = landing(r, u, np.float32(row_of(T, 2, x, y, z)), steps, lens.curvature,
                                                   lens.reach)
            if not falls:
                continue
            real, imag = profile(lens.profile, row, fz)
            cosine, sine = turned(path * np.float32(lens.cycles_per_mm))
            real, imag = amplitude[m] * (real * cosine - imag * sine), amplitude[m] * (real * sine + imag * cosine)
            ir, iu = int(fr), int(fu)
            a, b = fr - np.float32(ir), fu - np.float32(iu)
            for k in range(2):
                w = a if k else one - a
                near, far = w * (one - b), w * b
                add(out, (ir + k, 2 * iu), near * real)
                add(out, (ir + k, 2 * iu + 1), near * imag)
                add(out, (ir + k, 2 * iu + 2), far * real)
                add(out, (ir + k, 2 * iu + 3), far * imag)
    return body


def seen(points: Any, T_image_world: Any, probe: Probe, bounds: Bounds, lens: Lens, margin_mm: float) -> Any:
    """True [K] where points are within `margin_mm` of what any image shows, see `scatter.seen`."""
    out = xp_of(points).zeros(len(points), np.bool_)
    _seen((len(points),), points, T_image_world, probe, bounds, lens, margin_mm, out)
    return out


@kernel(1)
def _seen(p, points, T_image_world, probe, bounds, lens, margin_mm, out):
    x, y, z = points[p, 0], points[p, 1], points[p, 2]
    for n in range(len(T_image_world)):
        if in_view(T_image_world[n], x, y, z, probe, bounds, lens, margin_mm):
            out[p] = True
            return


def blur_lateral(field: Any, kernel: Any, half_width: Any, first: int, step: int, out: Any) -> None:
    """Lateral beam, see `scatter.blur_lateral`."""
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
    """Multiply a field by the gains of its rows and a coarse gain, in place; see `scatter.apply_gain`."""
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
    """Pulse, see `scatter.blur_axial`."""
    _blur_axial(out.shape, field, pulse, first, step, out)


@kernel(2)
def _blur_axial(i, line, field, pulse, first, step, out):
    h = pulse.size // 2
    total = pulse[0] * field[first + i * step - h, line]
    for t in range(1, pulse.size):
        total += pulse[t] * field[first + i * step + t - h, line]
    out[i, line] = total


def compress(field: Any, grey_unit: float, grey_per_neper: float, out: Any) -> None:
    """Grey levels of a baseband, see `scatter.compress`."""
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
    """Bicubic samples of a polar image at the pixels, see `scatter.scan_convert`."""
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
