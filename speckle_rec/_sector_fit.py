"""Edges of the field of view in a stack of frames, and the sector or rectangle that they bound.

Works in image mm throughout. The edge of a mask lies half a pixel outside its outermost pixel centre.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

GREY_STEP = 4          # grey levels by which a pixel must vary to count as image content
MAX_FLICKER = 12       # grey levels; an image border that varies more is content
LINEAR_SLOPE = 0.02    # side edges steeper than this (about 1 degree off the vertical) make a sector
SYMMETRY_RAD = np.deg2rad(2.0)  # soft prior: probes open as far to the left as to the right
MIN_FACE = 0.3         # share of the columns at the face whose first lit pixel lies on its arc


class NoFit(Exception):
    """The frames do not show the field of view; the text says why."""


@dataclass(frozen=True)
class Edges:
    """Outline of a mask in mm: [n, 2] points (x, y); points on the image border are left out."""

    left: Array
    right: Array
    top: Array
    rows: int                # rows that hold image content
    left_clipped: float      # share of those rows whose content runs into the image border
    right_clipped: float


@dataclass(frozen=True)
class Fit:
    kind: str
    apex_mm: tuple[float, float]
    radius_mm: float
    depth_mm: tuple[float, float]
    lateral: tuple[float, float]
    error_mm: float          # robust standard deviation of the edge points that belong to the outline
    sides: int               # straight side edges that were seen: 0 to 2
    face_seen: bool = True


def lit_mask(frames: NDArray[np.uint8]) -> Mask:
    """Main components [rows, columns] of the pixels that carry echoes.

    Content varies over time; text and ticks do not, and a clock or cursor is a small component of its own.
    Broad static areas that touch the content belong to it (a saturated near field), and so do large parts
    that a shadow cuts off.
    """
    high, low = frames.max(0), frames.min(0)
    spread = high - low
    border_spread = np.median(_border(spread))
    # A grabbed or compressed video flickers outside the field as well.
    step = max(GREY_STEP, 3 * border_spread) if border_spread <= MAX_FLICKER else GREY_STEP
    moving = spread >= step
    bright = high >= step + np.median(_border(high))
    if moving.mean() < 0.02:
        if len(frames) > 2 and (high == low).all():
            raise NoFit("all frames are equal")
        moving = bright
    if border_spread > 0:
        moving = cv2.medianBlur(moving.astype(np.uint8), 3).astype(bool)
    lit = moving | _open(bright & ~moving, 4)
    body = _open(_close(lit, 9), 5)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(body.astype(np.uint8), connectivity=4)
    if count < 2:
        raise NoFit("no image content found")
    area = stats[1:, cv2.CC_STAT_AREA]
    if area.max() < 0.03 * lit.size:
        raise NoFit("image content covers less than 3% of the frame")
    changing = np.bincount(labels[moving], minlength=count)[1:]
    main = np.append(False, (area > 0.1 * area.max()) & (changing > 0.3 * area))
    near = cv2.dilate(main[labels].astype(np.uint8), np.ones((5, 5), np.uint8)).astype(bool)
    return lit & near


def _border(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])


def _open(mask: Mask, size: int) -> Mask:
    kernel = np.ones((size, size), np.uint8)
    return cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_OPEN, kernel).astype(bool)


def _close(mask: Mask, size: int) -> Mask:
    padded = np.pad(mask.astype(np.uint8), size)
    kernel = np.ones((size, size), np.uint8)
    return cv2.morphologyEx(padded, cv2.MORPH_CLOSE, kernel)[size:-size, size:-size].astype(bool)


def find_edges(mask: Mask, scale: Array) -> Edges:
    """First and last lit pixel of each row and the first of each column, as edges in mm."""
    columns = mask.shape[1]
    y = np.flatnonzero(mask.any(1))
    x = np.flatnonzero(mask.any(0))
    first = mask[y].argmax(1)
    last = columns - 1 - mask[y][:, ::-1].argmax(1)
    top = mask[:, x].argmax(0)
    free_left, free_right, free_top = first > 1, last < columns - 2, top > 1

    def mm(column, row):
        return np.stack([scale[0, 0] * (column + 1) + scale[0, 3], scale[1, 1] * (row + 1) + scale[1, 3]], -1)

    return Edges(mm(first - 0.5, y)[free_left], mm(last + 0.5, y)[free_right], mm(x, top - 0.5)[free_top],
                 len(y), 1 - free_left.mean(), 1 - free_right.mean())


def _side_line(points: Array, sign: float, tolerance_mm: float, rng: np.random.Generator):
    """Outer envelope x = a + b y of side points by RANSAC: (a, b, inliers).

    Shadows and the far arc pull points inwards only, so that points outside a line count against it.
    """
    n = len(points)
    if n < 20:
        return None
    i, j = rng.integers(0, n, (2, 1500))
    keep = np.abs(points[i, 1] - points[j, 1]) > 0.1 * np.ptp(points[:, 1])
    i, j = i[keep], j[keep]
    if not len(i):
        return None
    b = (points[j, 0] - points[i, 0]) / (points[j, 1] - points[i, 1])
    a = points[i, 0] - b * points[i, 1]
    outward = sign * (points[None, :, 0] - a[:, None] - b[:, None] * points[None, :, 1])
    gain = np.exp(-((outward / tolerance_mm) ** 2)).sum(1) - 0.5 * (outward > 3 * tolerance_mm).sum(1)
    gain[sign * b < -LINEAR_SLOPE] = -np.inf  # no probe narrows with depth
    best = int(np.argmax(gain))
    inliers = np.abs(outward[best]) < 2.5 * tolerance_mm
    if not np.isfinite(gain[best]) or inliers.sum() < max(20, 0.15 * n):
        return None
    b1, a1 = np.polyfit(points[inliers, 1], points[inliers, 0], 1)
    return a1, b1, np.abs(points[:, 0] - a1 - b1 * points[:, 1]) < 2.5 * tolerance_mm


def _circle(points: Array, tolerance_mm: float, rng: np.random.Generator):
    """Lower half of a circle through top edge points by RANSAC: (x, y, radius), or None."""
    if len(points) < 20:
        return None
    p = points[rng.integers(0, len(points), (3000, 3))]
    d1, d2 = p[:, 1] - p[:, 0], p[:, 2] - p[:, 0]
    det = 2 * (d1[:, 0] * d2[:, 1] - d1[:, 1] * d2[:, 0])
    ok = np.abs(det) > 1.0
    d1, d2, det, base = d1[ok], d2[ok], det[ok], p[ok, 0]
    s1, s2 = (d1**2).sum(1), (d2**2).sum(1)
    offset = np.stack([d2[:, 1] * s1 - d1[:, 1] * s2, d1[:, 0] * s2 - d2[:, 0] * s1], -1) / det[:, None]
    centre = base + offset
    radius = np.hypot(*(centre - base).T)
    ok = (centre[:, 1] < points[:, 1].min() + radius) & (radius > 3) & (radius < 150)
    centre, radius = centre[ok], radius[ok]
    if not len(radius):
        return None
    error = np.hypot(points[:, 0] - centre[:, :1], points[:, 1] - centre[:, 1:]) - radius[:, None]
    gain = np.where(points[:, 1] > centre[:, 1:], np.exp(-((error / tolerance_mm) ** 2)), 0).sum(1)
    best = int(np.argmax(gain))
    if gain[best] < 0.2 * len(points):
        return None
    return centre[best, 0], centre[best, 1], radius[best]


def fit(mask: Mask, scale: Array) -> Fit:
    """The sector or rectangle that bounds a mask [rows, columns].

    Raises
    ------
    NoFit
        If neither straight sides nor a curved face can be seen.
    """
    pixel_mm = float(np.sqrt(abs(scale[0, 0] * scale[1, 1])))
    tolerance = max(1.5 * pixel_mm, 0.15)
    rng = np.random.default_rng(0)
    edges = find_edges(mask, scale)
    left = _side_line(edges.left, -1.0, tolerance, rng)
    right = _side_line(edges.right, 1.0, tolerance, rng)
    upright = [line is None or abs(line[1]) < LINEAR_SLOPE for line in (left, right)]
    if all(upright) and (left is not None or edges.left_clipped > 0.5) \
            and (right is not None or edges.right_clipped > 0.5):
        return _fit_rectangle(mask, scale, edges, left, right)
    return _fit_sector(mask, scale, edges, left, right, tolerance, rng)


def _fit_rectangle(mask, scale, edges, left, right) -> Fit:
    columns = mask.shape[1]
    spread, sides, place = [], 0, []
    for line, points, border in ((left, edges.left, 0.5), (right, edges.right, columns + 0.5)):
        if line is None:
            place.append(scale[0, 0] * border + scale[0, 3])
            continue
        on_edge = points[line[2], 0]
        place.append(float(np.median(on_edge)))
        spread.append(on_edge - place[-1])
        sides += 1
    x0, x1 = sorted(place)
    x = scale[0, 0] * np.arange(1, columns + 1) + scale[0, 3]
    inner = mask[:, (x > x0 + 0.05 * (x1 - x0)) & (x < x1 - 0.05 * (x1 - x0))]
    y = scale[1, 1] * np.arange(1, len(mask) + 1) + scale[1, 3]
    first, last = _range_of(inner.mean(1), y, scale[1, 1])
    return Fit("linear", ((x0 + x1) / 2, first), 0.0, (0.0, last - first), ((x0 - x1) / 2, (x1 - x0) / 2),
               _spread(np.concatenate(spread)) if spread else 0.0, sides)


def _fit_sector(mask, scale, edges, left, right, tolerance, rng) -> Fit:
    circle = _circle(edges.top, tolerance, rng)
    use_left, use_right = (line is not None and abs(line[1]) >= LINEAR_SLOPE for line in (left, right))
    if use_left and use_right:
        u0, u1 = np.arctan(left[1]), np.arctan(right[1])
        # The narrower side of a lopsided opening is the edge of a shadow.
        use_left, use_right = u0 + u1 < 2 * SYMMETRY_RAD, u0 + u1 > -2 * SYMMETRY_RAD
    if use_left and use_right:
        apex_y = (right[0] - left[0]) / (left[1] - right[1])
        apex = np.array([left[0] + left[1] * apex_y, apex_y])
        tops = edges.top - apex
        wedge = np.abs(np.arctan2(tops[:, 0], tops[:, 1])) < 0.8 * min(-u0, u1)
        start = [*apex, float(np.median(np.hypot(*tops[wedge].T))) if wedge.sum() > 10 else 0.0, u0, u1]
    elif circle is not None and (use_left or use_right):
        angle = abs(np.arctan((left if use_left else right)[1]))
        start = [*circle, -angle, angle]
    else:
        raise NoFit("side edges of the sector are not visible")
    points = [edges.left[left[2]] if use_left else np.zeros((0, 2)),
              edges.right[right[2]] if use_right else np.zeros((0, 2))]

    def residuals(p):
        ax, ay, radius, u0, u1 = p
        out = []
        for side, u in zip(points, (u0, u1), strict=True):
            out.append((side[:, 0] - ax) * np.cos(u) - (side[:, 1] - ay) * np.sin(u))
        d = edges.top - (ax, ay)
        on_face = np.abs(np.arctan2(d[:, 0], d[:, 1])) < 0.95 * min(-u0, u1)
        out.append(np.where(on_face, np.hypot(*d.T) - radius, 0.0))
        return np.concatenate([*out, [3 * tolerance * (u0 + u1) / SYMMETRY_RAD]])

    solution = least_squares(residuals, start, loss="cauchy", f_scale=0.5 * tolerance,
                             x_scale=[1, 1, 1, 0.01, 0.01])
    ax, ay, radius, u0, u1 = solution.x
    error = residuals(solution.x)[:-1]
    error = error[(np.abs(error) < 4 * tolerance) & (error != 0)]
    if not len(error) or not -1.6 < u0 < -LINEAR_SLOPE < LINEAR_SLOPE < u1 < 1.6:
        raise NoFit("edges do not bound a sector")
    radius = max(radius, 0.0)
    d = edges.top - (ax, ay)
    over_face = np.abs(np.arctan2(d[:, 0], d[:, 1])) < 0.9 * min(-u0, u1)
    on_face = np.abs(np.hypot(*d.T) - radius) < 4 * tolerance
    face_seen = bool(over_face.sum() > 10)
    if face_seen and on_face[over_face].mean() < MIN_FACE:
        raise NoFit("no arc of a probe face at the top of the image content")
    rows, columns = mask.shape
    x, y = np.meshgrid(scale[0, 0] * np.arange(1, columns + 1) + scale[0, 3] - ax,
                       scale[1, 1] * np.arange(1, rows + 1) + scale[1, 3] - ay)
    u = np.arctan2(x, y)
    wedge = (u > 0.95 * u0) & (u < 0.95 * u1)
    rho = np.hypot(x, y)[wedge]
    step = scale[1, 1] / 2
    bins = (rho / step).astype(int)
    seen = np.bincount(bins)
    share = np.bincount(bins, mask[wedge], minlength=len(seen)) / np.maximum(seen, 1)
    first, last = _range_of(share, step * (np.arange(len(seen)) + 0.5), step)
    if not face_seen:
        radius = first
    return Fit("curvilinear", (float(ax), float(ay)), float(radius), (0.0, float(last - radius)),
               (float(u0), float(u1)), _spread(error), int(use_left) + int(use_right), face_seen)


def _range_of(share: Array, place_mm: Array, step_mm: float) -> tuple[float, float]:
    """First and last place of a profile of lit shares, at half the level of its neighbourhood."""
    window = max(3, round(4.0 / step_mm))
    seen = np.flatnonzero(share > 0.02)
    if len(seen) < 2 * window:
        raise NoFit("image content is too shallow")

    def crossing(profile, places, outward):
        level = np.median(profile[: window]) / 2
        above = np.flatnonzero(profile >= level)
        i = int(above[0])
        if i == 0:
            return places[0] + outward * step_mm / 2
        t = (level - profile[i - 1]) / (profile[i] - profile[i - 1])
        return places[i - 1] + t * (places[i] - places[i - 1])

    a, b = max(seen[0] - 1, 0), min(seen[-1] + 1, len(share) - 1)
    return (float(crossing(share[a:], place_mm[a:], -1)),
            float(crossing(share[b::-1], place_mm[b::-1], 1)))


def _spread(error: Array) -> float:
    return float(1.4826 * np.median(np.abs(error - np.median(error))))
