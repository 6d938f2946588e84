"""What a point of the forearm is made of: float32 loops over points, one per quantity.

A point is first pulled back to the unpressed arm (the probe's imprint fades with depth), where the arm is a
stack of elliptic cross sections whose contents are read from a table along x. All distances are in mm.
"""

import math

import numpy as np
from numba import njit

TABLE_START_MM, TABLE_STEP_MM = -100.0, 2.0
_MUSCLES, _BONES, _VESSELS = 13, 2, 6
_BONE_COLUMN = 2 + 2 * _MUSCLES
_VESSEL_COLUMN = _BONE_COLUMN + 3 * _BONES
_FACE_RADIUS_MM = 40.0
_IMPRINT_MM = 24.0         # the skin follows the face this far from the contact point
_IMPRINT_FADES_MM = 26.0   # and the tissue below it with this depth constant
_FAR = 1e3
# Places of the tissue model's numbers in `shape`, behind side, imprint, skin, fat and echo of the arm.
MUSCLE, PERIMYSIUM, SPACING, FAT, FAT_CONTRAST, LOBULE, FASCIA = range(5, 12)

jit = njit(cache=True, nogil=True, fastmath=True, error_model="numpy")


@jit
def _noise(g, u, v, w):
    """Trilinear lookup in the periodic texture."""
    n = g.shape[0]
    fu, fv, fw = math.floor(u), math.floor(v), math.floor(w)
    a, b, c = u - fu, v - fv, w - fw
    i, j, k = int(fu) % n, int(fv) % n, int(fw) % n
    i1, j1, k1 = (i + 1) % n, (j + 1) % n, (k + 1) % n
    low = ((g[i, j, k] * (1 - c) + g[i, j, k1] * c) * (1 - b) + (g[i, j1, k] * (1 - c) + g[i, j1, k1] * c) * b)
    high = ((g[i1, j, k] * (1 - c) + g[i1, j, k1] * c) * (1 - b)
            + (g[i1, j1, k] * (1 - c) + g[i1, j1, k1] * c) * b)
    return low * (1 - a) + high * a


@jit
def _read(table, i, f, column):
    return table[i, column] * (1 - f) + table[i + 1, column] * f


@jit
def _unpressed(x, y, z, thickness, width, point):
    """y in the unpressed arm: the skin under the probe is lifted to the face, deeper tissue follows less."""
    t = min(abs(z) / width, 0.97)
    drop = 0.5 * thickness * (1 - math.sqrt(1 - t * t))
    if point > 0.5:
        away = math.sqrt(x * x + z * z)
        a = min(away, 34.0)
        target = 0.92 * (math.sqrt(_FACE_RADIUS_MM**2 - a * a) - _FACE_RADIUS_MM)
        start = _IMPRINT_MM
    else:
        away, target, start = abs(z), 0.0, 30.0
    blend = 1.0 if away < start else math.exp(-(((away - start) / 9.0) ** 2))
    lift = (target - drop) * blend
    skin = drop + lift
    return y - lift * math.exp(-max(y - skin, 0.0) / _IMPRINT_FADES_MM)


@jit
def _place(x, y, z, table, shape, muscle, g):
    """(depth below the skin, fat thickness, distance to the muscle's edge, muscle, signed distance of bone,
    distance to the aponeurosis, signed distance of the nearest vessel, vessel, unpressed y, mirrored z)."""
    z = z * shape[0]
    s = (x - TABLE_START_MM) / TABLE_STEP_MM
    s = min(max(s, 0.0), table.shape[0] - 1.001)
    i = int(s)
    f = s - i
    thickness, width = _read(table, i, f, 0), _read(table, i, f, 1)
    y = _unpressed(x, y, z, thickness, width, shape[1])
    half = 0.5 * thickness
    ey, ez = (y - half) / half, z / width
    e = max(math.sqrt(ey * ey + ez * ez), 1e-3)
    slope = max(math.sqrt((ey / half) ** 2 + (ez / width) ** 2) / e, 1e-3)
    depth = (1 - e) / slope if e > 0.3 else 0.5 * half
    fat = shape[3] * (1 + 0.25 * _noise(g, x / 25 + 11, 3.0, z / 14 + 5)) + shape[2]

    bone = _FAR
    for k in range(_BONES):
        c = _BONE_COLUMN + 3 * k
        dy, dz = y - _read(table, i, f, c), z - _read(table, i, f, c + 1)
        r = _read(table, i, f, c + 2)
        angle = math.atan2(dy, dz)
        r *= 1 + 0.13 * math.cos(3 * angle + (0.9 if k else 2.4)) + 0.05 * math.cos(2 * angle + k)
        bone = min(bone, math.sqrt(dy * dy + dz * dz) - r)

    vessel, which = _FAR, 0
    for k in range(_VESSELS):
        c = _VESSEL_COLUMN + 3 * k
        dy, dz = y - _read(table, i, f, c), z - _read(table, i, f, c + 1)
        flat = 1.0 if k == 0 else 1.35      # veins give way to pressure, arteries do not
        d = math.sqrt((dy * flat) ** 2 + (dz / flat) ** 2) - _read(table, i, f, c + 2)
        if d < vessel:
            vessel, which = d, k

    edge, m, sheet = _FAR, 0, _FAR
    if depth > fat - 1.0:
        # Bent by slow noise: no straight walls between muscles.
        by = y + 1.6 * _noise(g, x / 22 + 2, y / 6, z / 6 + 7) + 0.5 * _noise(g, x / 9, y / 2.5, z / 2.5)
        bz = z + 2.2 * _noise(g, x / 25 + 31, y / 6 + 9, z / 7)
        best, second, q = 1e9, 1e9, 0
        for k in range(_MUSCLES):
            dy, dz = 1.35 * (by - _read(table, i, f, 2 + 2 * k)), bz - _read(table, i, f, 3 + 2 * k)
            d = dy * dy + dz * dz
            if d < best:
                second, q = best, m
                best, m = d, k
            elif d < second:
                second, q = d, k
        cy = 1.35 * (_read(table, i, f, 2 + 2 * m) - _read(table, i, f, 2 + 2 * q))
        cz = _read(table, i, f, 3 + 2 * m) - _read(table, i, f, 3 + 2 * q)
        edge = (second - best) / (2 * math.sqrt(cy * cy + cz * cz) + 1e-3)
        edge /= 1.0 + 0.35 * abs(cy) / (abs(cy) + abs(cz))
        middle = _read(table, i, f, 2 + 2 * m) + 0.12 * (bz - _read(table, i, f, 3 + 2 * m))
        sheet = by - middle - 1.0
        if edge < 2.0 or m % 2 == 1:
            sheet = _FAR
    return depth, fat, edge, m, bone, sheet, vessel, which, y, z


@jit
def _fascicles(x, y, z, middle, m, muscle, g, shape):
    """Echo of muscle: dark bundles in bright walls (perimysium), long along the fibres.

    Fibres climb at the pennation angle towards the muscle's middle from both sides.
    """
    p = muscle[m, 0]
    size = muscle[m, 3] * shape[SPACING]
    v = abs(y - middle) * math.cos(p) + x * math.sin(p)
    along = x * math.cos(p) - abs(y - middle) * math.sin(p)
    o = muscle[m, 2]
    n = _noise(g, along / 16 + o, v / (0.62 * size), z / (1.5 * size) + o)
    coarse = _noise(g, along / 24 + 2 * o, v / (1.6 * size) + o, z / (3.2 * size))
    wall = math.exp(-((n / 0.28) ** 2))
    thick = math.exp(-((coarse / 0.16) ** 2))
    gap = _noise(g, along / 30 + 3, v / (1.1 * size) + 9, z / (1.9 * size) + o)     # walls are not closed
    return 0.34 * shape[MUSCLE] + shape[PERIMYSIUM] * (1.2 * wall + 2.0 * thick) * min(max(0.5 + 0.7 * gap, 0.05), 1.2)


@jit
def _echo(x, y, z, table, shape, muscle, g):
    depth, fat, edge, m, bone, sheet, vessel, which, y, z = _place(x, y, z, table, shape, muscle, g)
    if depth < 0:
        return 0.01
    if bone < 0.1:
        return 8.0 if bone > -0.4 else 0.15
    if depth < shape[2]:
        return 5.0 if depth < 0.4 else 2.0 + 0.5 * _noise(g, x / 1.5, depth / 0.4, z / 1.5)
    if vessel < 0.0 and (which < 4 or (which == 5 and depth > shape[2] + 0.5)):
        return 0.03
    if vessel < 0.45 and (which < 4 or which == 5):
        return 2.0 if which == 0 else 1.1
    if vessel < 0.4 and which == 4:     # the nerve: dark fascicles in a bright sheath
        return 2.2 if vessel > 0 else 0.5 + 1.8 * math.exp(-((_noise(g, x / 30, y / 0.5, z / 0.6) / 0.5) ** 2))
    if depth < fat:
        size = shape[LOBULE]
        bent = depth / size + 17 + 0.8 * _noise(g, x / 9, 1.0, z / 9)
        lobe = _noise(g, x / (5.5 * size) + 40, bent, z / (5.0 * size))
        return shape[FAT] * (0.24 + 0.06 * lobe + 1.8 * shape[FAT_CONTRAST] * math.exp(-((lobe / 0.13) ** 2)))
    if depth < fat + 0.55:
        return 2.4 * shape[FASCIA]
    if edge < 0.32 and bone > 0.6:
        return (1.7 + 0.7 * _noise(g, x / 6, y / 4, z / 4)) * shape[FASCIA]
    if abs(sheet) < 0.28:
        return 2.2 * shape[FASCIA]
    if bone < 0.7:
        return 1.4
    s = (x - TABLE_START_MM) / TABLE_STEP_MM
    i = int(min(max(s, 0.0), table.shape[0] - 1.001))
    patch = 1 + 0.15 * _noise(g, x / 12, y / 6 + 3, z / 6)
    return shape[4] * muscle[m, 1] * patch * _fascicles(x, y, z, table[i, 2 + 2 * m] + 1.0, m, muscle, g,
                                                        shape)


@jit
def scatter(points, table, shape, muscle, g, out):
    """Diffuse echo amplitude at points [M, 3] into out [M]."""
    for k in range(points.shape[0]):
        out[k] = max(_echo(points[k, 0], points[k, 1], points[k, 2], table, shape, muscle, g), 0.01)


@jit
def weaken(points, table, shape, muscle, g, out):
    """Attenuation in dB/(cm MHz) at points [M, 3] into out [M]."""
    for k in range(points.shape[0]):
        y = points[k, 1]
        depth, fat, edge, _, bone, _, vessel, which, _, _ = _place(points[k, 0], y, points[k, 2], table, shape,
                                                                   muscle, g)
        if depth < 0:
            out[k] = 0.05 if y < 8 else 40.0       # coupling gel near the probe, air elsewhere
        elif bone < -0.3:
            out[k] = 25.0
        elif depth < shape[2]:
            out[k] = 1.0
        elif vessel < 0 and which != 4:
            out[k] = 0.15
        elif depth < fat:
            out[k] = 0.5
        else:
            out[k] = 0.55 if edge > 0.3 else 0.9


@jit
def distances(points, table, shape, muscle, g, out):
    """Distances to skin, deep fascia, intermuscular fascia, bone and aponeurosis into out [M, 5]."""
    for k in range(points.shape[0]):
        depth, fat, edge, _, bone, sheet, _, _, _, _ = _place(points[k, 0], points[k, 1], points[k, 2], table,
                                                              shape, muscle, g)
        inside = depth > fat and bone > 0
        out[k, 0] = depth
        out[k, 1] = depth - fat if bone > 0 else np.float32(_FAR)
        out[k, 2] = edge if inside else np.float32(_FAR)
        out[k, 3] = bone
        out[k, 4] = sheet if inside else np.float32(_FAR)
