"""The probe as the image shows it: a curvilinear sector or a linear field of view, and its cells."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from . import sector

KINDS = ("curvilinear", "linear")
MAX_FIT_ERROR_MM = 1.0
SHAPE_4DC7 = (480, 640)
MAX_OUTSIDE = 0.08  # share of the lit pixels that may lie outside a geometry that is believed


@dataclass(frozen=True)
class ProbeGeometry:
    """Field of view of a curvilinear or linear probe in image mm (x right, y down).

    A point of the field has range r (mm along its beam from the probe face) and lateral coordinate u:
    the beam's angle from the y axis (rad, positive to +x) for a curvilinear probe, x in mm for a linear one.
    """

    kind: str                     # "curvilinear" or "linear"
    shape: tuple[int, int]        # rows, columns of the image
    scale: NDArray[np.float64]    # [4, 4] pixel (from 1) -> image mm
    apex_mm: tuple[float, float]  # centre of curvature (x, y); linear: the face's centre
    radius_mm: float              # radius of the face about the apex; 0 for linear
    depth_mm: tuple[float, float]     # first and last range that carries echoes
    lateral: tuple[float, float]      # first and last u
    static: NDArray[np.bool_] | None = None     # [rows, columns] pixels that show no tissue (`static`); None: all do

    @property
    def face_mm(self) -> tuple[float, float]:
        """Centre of the probe face (x, y) in image mm."""
        return self.apex_mm[0], self.apex_mm[1] + self.radius_mm

    def polar(self, x_mm, y_mm):
        """(r, u) of image points (mm)."""
        dx, dy = np.asarray(x_mm) - self.apex_mm[0], np.asarray(y_mm) - self.apex_mm[1]
        if self.kind == "linear":
            return dy, dx
        return np.hypot(dx, dy) - self.radius_mm, np.arctan2(dx, dy)

    def cartesian(self, r, u):
        """Image points (x, y) in mm of (r, u)."""
        if self.kind == "linear":
            return self.apex_mm[0] + np.asarray(u), self.apex_mm[1] + np.asarray(r)
        rho = np.asarray(r) + self.radius_mm
        return self.apex_mm[0] + rho * np.sin(u), self.apex_mm[1] + rho * np.cos(u)

    @property
    def mm_px(self) -> NDArray[np.float64]:
        """[3, 3]: mm about the centre of the face of a pixel (column, row, 1) counted from 0."""
        S, (x, y) = self.scale, self.face_mm
        return np.array([[S[0, 0], 0, S[0, 3] + S[0, 0] - x], [0, S[1, 1], S[1, 3] + S[1, 1] - y], [0, 0, 1.0]])

    @property
    def pixel_mm(self) -> tuple[float, float]:
        """Width and height of a pixel."""
        return abs(float(self.scale[0, 0])), abs(float(self.scale[1, 1]))

    def mask(self) -> NDArray[np.bool_]:
        """True [rows, columns] where a pixel lies inside the field of view and is not static."""
        return self.field() if self.static is None else self.field() & ~self.static

    def field(self) -> NDArray[np.bool_]:
        """True [rows, columns] where a pixel lies inside the field of view."""
        rows, columns = self.shape
        x = self.scale[0, 0] * np.arange(1, columns + 1) + self.scale[0, 3]
        y = self.scale[1, 1] * np.arange(1, rows + 1) + self.scale[1, 3]
        r, u = self.polar(*np.meshgrid(x, y))
        return ((r >= self.depth_mm[0]) & (r <= self.depth_mm[1])
                & (u >= self.lateral[0]) & (u <= self.lateral[1]))

    def outline(self, n: int = 64) -> NDArray[np.float64]:
        """Closed outline [m, 2] of the field in image mm, with `n` points on each arc."""
        u = np.linspace(*self.lateral, n)
        near = self.cartesian(np.full(n, self.depth_mm[0]), u)
        far = self.cartesian(np.full(n, self.depth_mm[1]), u[::-1])
        points = np.concatenate([np.stack(near, -1), np.stack(far, -1)])
        return np.concatenate([points, points[:1]])


@dataclass(frozen=True)
class Found:
    """A probe geometry and how far it can be trusted.

    Attributes
    ----------
    geometry : the field of view.
    source : "frames" where the frames show it, "built-in" where they do not.
    fit_error_mm : robust standard deviation of the edge points about the outline; NaN when built-in.
    reason : why the built-in description was taken; empty otherwise.
    notes : what a user should know, one line each.
    """

    geometry: ProbeGeometry
    source: str
    fit_error_mm: float = float("nan")
    reason: str = ""
    notes: tuple[str, ...] = field(default=())


@dataclass(frozen=True)
class Cells:
    """Cells of the field of view over which correlations are taken.

    Attributes
    ----------
    labels : int32 [rows, columns], -1 outside, else the cell's index.
    centres : float64 [M, 2], mean (r_mm, u) of the cell's pixels (see `ProbeGeometry`).
    centres_mm : float64 [M, 2], the same as image mm (x, y).
    n_px : int64 [M], pixels of each cell.
    spread_mm : float64 [M], standard deviation of its pixels' places across the beam.
    """

    labels: NDArray[np.int32]
    centres: NDArray[np.float64]
    centres_mm: NDArray[np.float64]
    n_px: NDArray[np.int64]
    spread_mm: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.n_px)


def ultrasonix_4dc7(scale: NDArray[np.float64], shape: tuple[int, int] = SHAPE_4DC7) -> ProbeGeometry:
    """The Ultrasonix 4DC7-3/40 at 9 cm depth, centred in the image: 40 mm radius, 68 degrees.

    The radius and depth are published (TUS-REC2025); the opening angle and the place in the image are
    those of a sector that fills a 640 x 480 image, and `find` measures them on the frames of a scan.
    """
    width_mm = scale[0, 0] * shape[1]
    half = np.deg2rad(34.0)
    face_y = 9.0
    return ProbeGeometry("curvilinear", shape, np.asarray(scale, float),
                         (width_mm / 2, face_y - 40.0), 40.0, (0.0, 90.0), (-half, half))


# How far what frames show may be from the built-in description: its radius and depth are published, its opening and
# its place in the image are not.
NEAR_RADIUS_MM, NEAR_DEPTH_MM, NEAR_FACE_MM, NEAR_SIDE_RAD = 2.0, 4.0, 10.0, np.deg2rad(8.0)


def shows_4dc7(frames: NDArray[np.uint8], scale: NDArray[np.float64]) -> bool:
    """Whether frames [n, rows, columns] have the size of those of the 4DC7-3/40 at 9 cm, and show its field of view."""
    if frames.shape[1:] != SHAPE_4DC7:
        return False
    found, known = find(frames, scale), ultrasonix_4dc7(scale)
    seen = found.geometry
    return bool(found.source == "frames" and seen.kind == known.kind
                and abs(seen.radius_mm - known.radius_mm) < NEAR_RADIUS_MM
                and abs(seen.depth_mm[1] - known.depth_mm[1]) < NEAR_DEPTH_MM
                and np.hypot(*np.subtract(seen.face_mm, known.face_mm)) < NEAR_FACE_MM
                and np.abs(np.subtract(seen.lateral, known.lateral)).max() < NEAR_SIDE_RAD)


def find(frames: NDArray[np.uint8], scale: NDArray[np.float64], *,
         default: ProbeGeometry | None = None) -> Found:
    """Find the field of view of a probe in frames sampled over a scan.

    Parameters
    ----------
    frames : uint8 [n, rows, columns], some 20 to 60 frames spread over the scan; `n` may be 1.
    scale : [4, 4] pixel (from 1) -> image mm.
    default : taken where the frames do not show the field; the 4DC7-3/40 unless given.

    Returns
    -------
    Found
        Its `source` says whether the geometry was seen or is the default, and `reason` why.
    """
    frames = np.asarray(frames)
    scale = np.asarray(scale, float)
    shape = (int(frames.shape[-2]), int(frames.shape[-1]))
    built_in = default if default is not None else ultrasonix_4dc7(scale, shape)
    try:
        lit = sector.lit_mask(frames)
        fit = sector.fit(lit, scale)
    except sector.NoFit as error:
        return Found(built_in, "built-in", reason=_upside_down(frames, scale) or str(error))
    geometry = ProbeGeometry(fit.kind, shape, scale, fit.apex_mm, fit.radius_mm, fit.depth_mm, fit.lateral)
    outside = (lit & ~geometry.mask()).sum() / lit.sum()
    if fit.error_mm > MAX_FIT_ERROR_MM or outside > MAX_OUTSIDE:
        reason = f"edges fit no sector (error {fit.error_mm:.2f} mm, {outside:.0%} of the image outside)"
        return Found(built_in, "built-in", reason=reason)
    notes = []
    if fit.sides < 2:
        notes.append(f"{2 - fit.sides} of 2 side edges not visible: taken from symmetry or the border")
    if not fit.face_seen:
        notes.append("probe face not visible: its radius is that of the first echoes")
    if default is None and geometry.kind == "curvilinear" and abs(geometry.radius_mm - 40) > 2:
        notes.append(f"face radius {geometry.radius_mm:.1f} mm: not the 40 mm of the built-in 4DC7-3/40")
    return Found(geometry, "frames", fit.error_mm, notes=tuple(notes))


def _upside_down(frames: NDArray[np.uint8], scale: NDArray[np.float64]) -> str:
    """Why frames that show no field of view do not: empty unless they show a sector once turned over."""
    try:
        turned = sector.fit(sector.lit_mask(frames)[::-1], scale)
    except sector.NoFit:
        return ""
    return "the images seem to be upside down: turn them over" if turned.kind == "curvilinear" else ""


def cells(geometry: ProbeGeometry, r_mm: float = 4.4, lateral_mm: float = 4.4, *, near_mm: float = 3.0,
          edge_mm: float = 1.0, min_fill: float = 0.7, min_clear: float = 0.4) -> Cells:
    """Divide the field of view into cells of about `r_mm` by `lateral_mm`.

    Rings of equal depth are divided into as many cells as fit, so that cells keep their size in mm while a
    sector widens. Cells that the image clips to less than `min_fill` of a full one are dropped.

    Parameters
    ----------
    near_mm : range that is left out at the probe face (reverberation).
    edge_mm : margin to the sides, the far end and the image border.
    min_clear : share of a full cell that must be left without static pixels, which belong to no cell.
    """
    rows, columns = geometry.shape
    sx, sy = geometry.scale[0, 0], geometry.scale[1, 1]
    x = sx * np.arange(1, columns + 1) + geometry.scale[0, 3]
    y = sy * np.arange(1, rows + 1) + geometry.scale[1, 3]
    x_mm, y_mm = np.meshgrid(x, y)
    r, u = geometry.polar(x_mm, y_mm)
    first, last = geometry.depth_mm[0] + near_mm, geometry.depth_mm[1] - edge_mm
    n_rings = max(1, round((last - first) / r_mm))
    ring_mm = (last - first) / n_rings
    ring = np.floor((r - first) / ring_mm).astype(np.int64)
    arm = np.ones(n_rings) if geometry.kind == "linear" \
        else geometry.radius_mm + first + ring_mm * (np.arange(n_rings) + 0.5)
    width = geometry.lateral[1] - geometry.lateral[0] - 2 * edge_mm / arm
    per_ring = np.maximum(1, np.round(width * arm / lateral_mm).astype(np.int64))
    start = np.concatenate([[0], np.cumsum(per_ring)])
    inside = (ring >= 0) & (ring < n_rings) & (x_mm > x[0] + edge_mm) & (x_mm < x[-1] - edge_mm) \
        & (y_mm > y[0] + edge_mm) & (y_mm < y[-1] - edge_mm)
    at = np.where(inside, ring, 0)
    place = (u - geometry.lateral[0] - edge_mm / arm[at]) / width[at]
    column = np.floor(place * per_ring[at]).astype(np.int64)
    inside &= (column >= 0) & (column < per_ring[at])
    labels = np.where(inside, start[at] + column, -1)

    n_px = np.bincount(labels[inside], minlength=start[-1])
    full_px = np.repeat(ring_mm * width * arm / per_ring, per_ring) / (sx * sy)
    kept = n_px >= min_fill * full_px
    if geometry.static is not None:
        labels[geometry.static] = -1
        kept &= np.bincount(labels[labels >= 0], minlength=start[-1]) >= min_clear * full_px
    if not kept.any():
        raise InputError(f"images of {rows} rows x {columns} columns: expected a field of view with room for a cell of "
                         f"{r_mm:g} x {lateral_mm:g} mm, found {sy * rows:.3g} x {sx * columns:.3g} mm in all; is the "
                         "pixel size right?")
    index = np.append(np.where(kept, np.cumsum(kept) - 1, -1), -1)
    labels = index[labels].astype(np.int32)
    inside = labels >= 0
    at = labels[inside]
    n_px = np.bincount(at, minlength=int(kept.sum()))
    centres = np.stack([np.bincount(at, a[inside], minlength=len(n_px)) / n_px for a in (r, u)], -1)
    centres_mm = np.stack(geometry.cartesian(centres[:, 0], centres[:, 1]), -1)
    off = u[inside] - centres[at, 1]
    spread = np.sqrt(np.bincount(at, off * off, minlength=len(n_px)) / n_px)
    if geometry.kind == "curvilinear":
        spread = spread * (geometry.radius_mm + centres[:, 0])
    return Cells(labels, centres, centres_mm, n_px, spread)


def plot(geometry: ProbeGeometry, frame: NDArray[np.uint8], path: str | Path, *,
         measured_mm: NDArray[np.float64] | None = None) -> None:
    """Write a PNG of `frame` with the outline of the field of view over it, static pixels in red.

    Parameters
    ----------
    measured_mm : [P, 2] middles of the cells that take part, image mm: a dot each.
    """
    from matplotlib.figure import Figure

    sx, sy = geometry.scale[0, 0], geometry.scale[1, 1]
    x0, y0 = geometry.scale[0, 3] + sx / 2, geometry.scale[1, 3] + sy / 2
    rows, columns = geometry.shape
    extent = (x0, x0 + sx * columns, y0 + sy * rows, y0)
    figure = Figure(figsize=(8, 8 * rows * sy / (columns * sx) + 0.6), layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(frame, cmap="gray", vmin=0, vmax=255, extent=extent)
    if geometry.static is not None:
        axes.imshow(geometry.static[..., None] * np.array([1, 0.15, 0.15, 0.6]), extent=extent)
    if measured_mm is not None:
        axes.plot(*np.asarray(measured_mm).T, ".", color=(0.3, 0.8, 1), alpha=0.8, ms=5)
    axes.plot(*geometry.outline().T, color="tab:orange", lw=1.2)
    axes.plot(*geometry.face_mm, "o", color="tab:orange", ms=4)
    axes.set(xlim=extent[:2], ylim=extent[2:], xlabel="x (mm)", ylabel="y, depth (mm)",
             title=f"{geometry.kind}: " + _describe(geometry))
    figure.savefig(path, dpi=110)


def _describe(geometry: ProbeGeometry) -> str:
    if geometry.kind == "linear":
        return f"{np.diff(geometry.lateral)[0]:.1f} mm wide, {geometry.depth_mm[1]:.1f} mm deep"
    return (f"radius {geometry.radius_mm:.1f} mm, {np.rad2deg(np.diff(geometry.lateral)[0]):.1f} degrees, "
            f"{geometry.depth_mm[1]:.1f} mm deep")
