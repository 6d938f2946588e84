"""From point scatterers to a polar grid of echoes on a GPU: twins of `scatter`.

The equations are in `scatter`, which is the specification. Echoes are added atomically, so that two runs differ by
the order of float32 additions.
"""

from typing import Any, NamedTuple

import numpy as np

from .launch import kernel, scattering, xp_of
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
