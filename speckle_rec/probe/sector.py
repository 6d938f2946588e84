"""Edges of the field of view in a stack of frames, and the sector or rectangle that they bound.

Works in image mm throughout. The edge of a mask lies half a pixel outside its outermost pixel centre.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares
from skimage import measure, morphology

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

GREY_STEP = 4          # grey levels by which a pixel must vary to count as image content
MAX_FLICKER = 12       # grey levels; an image border that varies more is content
FILLED = 0.7           # share of the rows that reach the image's border at both sides of a picture as wide as it
LINEAR_SLOPE = 0.02    # side edges steeper than this (about 1 degree off the vertical) make a sector
SYMMETRY_RAD = np.deg2rad(2.0)  # soft prior: probes open as far to the left as to the right
MIN_FACE = 0.3         # share of the columns at the face whose first lit pixel lies on its arc
MAX_BEYOND = (0.05, 0.3)  # share of the rows with content beyond a side edge (text); the second if the first finds none
MIN_SIDE = 0.1         # share of the rows in which a side edge must be seen
MIN_ARC = 0.2          # share of the columns whose first lit pixel must lie on a face's circle
MAX_ERROR = 0.8        # of the tolerance: edges of real fields take up to .55, lines along a round blob .95 and more
CERTAINTY = 1 - 1e-6   # with which RANSAC is to have drawn one sample without outliers


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
    lit = moving | morphology.opening(bright & ~moving, _square(4))
    body = morphology.opening(_close(lit, 9), _square(5))
    labels = measure.label(body, connectivity=1)
    parts = measure.regionprops_table(labels, moving, ("label", "area", "intensity_mean"))
    if not len(parts["label"]):
        raise NoFit("no image content found")
    area, largest = parts["area"], parts["area"].max()
    if largest < 0.03 * lit.size:
        raise NoFit("image content covers less than 3% of the frame")
    main = np.isin(labels, parts["label"][(area > 0.1 * largest) & (parts["intensity_mean"] > 0.3)])
    return lit & morphology.dilation(main, _square(5))


def _border(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])


def _square(size: int) -> Any:
    return morphology.footprint_rectangle((size, size))


def _close(mask: Mask, size: int) -> Mask:
    """Closing with black beyond the border: content on the border does not close what lies between."""
    return morphology.closing(np.pad(mask, size), _square(size))[size:-size, size:-size]


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


def _ransac(points: Array, model: type, sample: int, tolerance_mm: float, valid: Callable[..., bool]) -> Any:
    """The model that most of the points [n, 2] lie on within the tolerance, or None; equal from run to run."""
    if len(points) < 20:
        return None
    with warnings.catch_warnings():      # that nothing was found is an answer
        warnings.simplefilter("ignore", UserWarning)
        found, _ = measure.ransac(points, model, sample, tolerance_mm, is_model_valid=valid, max_trials=500,
                                  stop_probability=CERTAINTY, rng=0)
    return found or None


def _side_line(points: Array, sign: float, tolerance_mm: float):
    """Outer envelope x = a + b y of side points by RANSAC: (a, b, inliers), or None.

    Shadows and the far arc pull points inwards only, so that a line with many points outside is none.
    """
    def slope(line) -> float:
        return line.direction[0] / (line.direction[1] or 1e-9)

    def found(most_beyond: float):
        def valid(line, _) -> bool:
            b = slope(line)
            beyond = sign * (points[:, 0] - line.origin[0] - b * (points[:, 1] - line.origin[1])) > 3 * tolerance_mm
            return sign * b > -LINEAR_SLOPE and beyond.mean() < most_beyond      # no probe narrows with depth

        line = _ransac(points, measure.LineModelND, 2, tolerance_mm, valid)
        if line is None:
            return None
        inliers = line.residuals(points) < 2.5 * tolerance_mm
        if inliers.sum() < max(20, MIN_SIDE * len(points)):
            return None
        return line.origin[0] - slope(line) * line.origin[1], slope(line), inliers

    return found(MAX_BEYOND[0]) or found(MAX_BEYOND[1])


def _circle(points: Array, tolerance_mm: float):
    """Lower half of a circle through top edge points by RANSAC: (x, y, radius), or None."""
    def valid(circle, sample) -> bool:
        if not circle:                   # the points lie on a line
            return False
        (_, y), radius = circle.center, circle.radius
        return 3 < radius < 150 and y < min(points[:, 1].min() + radius, sample[:, 1].min())

    circle = _ransac(points, measure.CircleModel, 3, tolerance_mm, valid)
    if circle is None or (np.abs(circle.residuals(points)) < tolerance_mm).mean() < MIN_ARC:
        return None
    return *circle.center, circle.radius


def fit(mask: Mask, scale: Array) -> Fit:
    """The sector or rectangle that bounds a mask [rows, columns].

    Raises
    ------
    NoFit
        If neither straight sides nor a curved face can be seen, or the edges do not lie on them.
    """
    pixel_mm = float(np.sqrt(abs(scale[0, 0] * scale[1, 1])))
    tolerance = max(1.5 * pixel_mm, 0.15)
    edges = find_edges(mask, scale)
    left = _side_line(edges.left, -1.0, tolerance)
    right = _side_line(edges.right, 1.0, tolerance)
    if min(edges.left_clipped, edges.right_clipped) > FILLED and _flat(edges.top, tolerance):
        left = right = None         # a rectangle as wide as the image: what else looks like a side is a shadow's
    upright = [line is None or abs(line[1]) < LINEAR_SLOPE for line in (left, right)]
    if all(upright) and (left is not None or edges.left_clipped > 0.5) \
            and (right is not None or edges.right_clipped > 0.5):
        found = _fit_rectangle(mask, scale, edges, left, right)
    else:
        found = _fit_sector(mask, scale, edges, left, right, tolerance)
    if found.error_mm > MAX_ERROR * tolerance:
        raise NoFit(f"edges are neither straight nor arcs (error {found.error_mm:.2f} mm)")
    return found


def _flat(top: Array, tolerance_mm: float) -> bool:
    """Whether the uppermost lit pixels [K, 2] (mm) lie on a horizontal line, but for a tenth of them, or at the image's
    border, where there are none."""
    return len(top) == 0 or bool(np.ptp(np.percentile(top[:, 1], [5, 95])) <= 2 * tolerance_mm)


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


def _fit_sector(mask, scale, edges, left, right, tolerance) -> Fit:
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
        start = [*apex, _densest(np.hypot(*tops[wedge].T), 2 * tolerance) if wedge.sum() > 10 else 0.0, u0, u1]
    elif (use_left or use_right) and (circle := _circle(edges.top, tolerance)) is not None:
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


def _densest(values: Array, width: float) -> float:
    """Middle of the interval of a width that holds most of the values."""
    ascending = np.sort(values)
    inside = np.searchsorted(ascending, ascending + width) - np.arange(len(ascending))
    return float(ascending[np.argmax(inside)] + width / 2)


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
