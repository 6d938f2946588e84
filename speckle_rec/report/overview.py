"""The picture that comes first: the volume seen from the side, the path in it, and the probe at its start and end."""

import io
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ..products.volume import Volume
from .stored import Stored

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Array = NDArray[np.float64]

YAW, PITCH = -0.95, 0.4         # rad: as the 3-D view opens
MOST_VOXELS_ACROSS = 170
FADED = 0.45                    # brightness of the farthest voxel against that of the nearest
HANDLE_MM = 30.0
INK, PAPER, TRACKED = "#ffffff", "#10151a", "#f2a154"
PATH = "#59b3ff"


def view() -> Array:
    """Rows [3, 3]: right, down and away on the screen, in mm of frame 0."""
    cy, sy, cp, sp = np.cos(YAW), np.sin(YAW), np.cos(PITCH), np.sin(PITCH)
    return np.array([[cy, 0, sy], [-sp * sy, cp, sp * cy], [-cp * sy, -sp, cp * cy]])


def png(r: Stored, volume: Volume | None) -> bytes:
    """The picture as PNG."""
    from matplotlib.figure import Figure
    figure = Figure(figsize=(7.2, 5.4), facecolor=PAPER)
    axes = figure.add_axes((0, 0, 1, 1), facecolor=PAPER)
    axes.set_aspect("equal")
    axes.axis("off")
    points = [_path(r.T, r.middle), *(_outline(r, i) for i in _shown(r))]
    if volume is not None:
        picture, extent = projected(volume)
        axes.imshow(np.ma.masked_equal(picture, 0), cmap="gray", vmin=0, vmax=_brightest(picture), extent=extent,
                    interpolation="bilinear")
        points.append(np.array([[extent[0], extent[3]], [extent[1], extent[2]]]))
    else:
        for i in np.unique(np.linspace(0, len(r.T) - 1, min(len(r.T), 24)).astype(int)):
            axes.plot(*_outline(r, i).T, color=INK, lw=0.5, alpha=0.25)
    for k, i in enumerate(_shown(r)):
        points.append(_probe(axes, r, i, k == 0))
    if r.tracked is not None:
        axes.plot(*_path(r.tracked, r.middle).T, color=TRACKED, lw=2, ls=(0, (4, 2)), label="tracked")
    way = _path(r.T, r.middle)
    axes.plot(*way.T, color=PAPER, lw=5)
    axes.plot(*way.T, color=PATH, lw=2.5, label="path of the middle of the picture")
    axes.plot(*way[0], "o", color=PATH, mec=INK, ms=7)
    every = np.concatenate(points)
    every = every[np.isfinite(every).all(1)]
    low, high = every.min(0), every.max(0)
    room = 0.07 * max(high - low)
    axes.set(xlim=(low[0] - room, high[0] + room), ylim=(high[1] + 2 * room, low[1] - room))
    _scale_bar(axes, high[0], high[1] + room, max(high - low))
    legend = axes.legend(loc="lower left", frameon=False, fontsize=9)
    for text in legend.get_texts():
        text.set_color(INK)
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=110, format="png", facecolor=PAPER)
    return buffer.getvalue()


def projected(volume: Volume) -> tuple[NDArray[np.uint8], tuple[float, float, float, float]]:
    """The brightest voxel along each ray, farther ones faded, and (left, right, bottom, top) of the picture in mm."""
    skip = max(1, -(-max(volume.data.shape) // MOST_VOXELS_ACROSS))
    data, step = volume.data[::skip, ::skip, ::skip], volume.spacing_mm * skip
    R, origin = view(), np.array(volume.origin_mm)
    size = np.array(data.shape[::-1])
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in size], indexing="ij")).reshape(3, -1).T * step + origin
    seen = corners @ R.T
    low, high = seen.min(0), seen.max(0)
    right, down, away = (max(2, int(np.ceil(d / step)) + 1) for d in high - low)
    # (away, down, right) on the screen -> index (z, y, x) of the volume
    matrix = R.T[::-1, ::-1]
    offset = ((R.T @ low - origin) / step)[::-1]
    turned = ndimage.affine_transform(data, matrix, offset, (away, down, right), order=1)
    faded = np.linspace(1, FADED, away)[:, None, None]
    edges = low[0] - step / 2, low[0] + step * (right - 0.5), low[1] + step * (down - 0.5), low[1] - step / 2
    return (turned * faded).max(0).astype(np.uint8), edges


def probe_mm(r: Stored) -> Array:
    """Outline [8, 2] of a probe over the picture, image mm."""
    x, y = r.face_mm
    half = 0.32 * float(np.ptp(r.outline[:, 0]))
    grip = 0.45 * half
    return np.array([[x - half, y], [x + half, y], [x + half, y - 0.3 * HANDLE_MM], [x + grip, y - 0.5 * HANDLE_MM],
                     [x + grip, y - HANDLE_MM], [x - grip, y - HANDLE_MM], [x - grip, y - 0.5 * HANDLE_MM],
                     [x - half, y - 0.3 * HANDLE_MM]])


def _shown(r: Stored) -> list[int]:
    return [0] if len(r.T) == 1 else [0, len(r.T) - 1]


def _path(T: Array, point: Array) -> Array:
    """[N, 2] on the screen."""
    return (np.asarray(T)[:, :3, :3] @ point + np.asarray(T)[:, :3, 3]) @ view()[:2].T


def _placed(r: Stored, i: int, points_mm: Array) -> Array:
    """Points [m, 2] of the image of frame i on the screen."""
    flat = np.concatenate([points_mm, np.zeros((len(points_mm), 1))], 1)
    return (flat @ r.T[i, :3, :3].T + r.T[i, :3, 3]) @ view()[:2].T


def _outline(r: Stored, i: int) -> Array:
    return _placed(r, i, np.concatenate([r.outline, r.outline[:1]]))


def _brightest(picture: NDArray[np.uint8]) -> float:
    """Grey value that is shown as white."""
    return float(max(np.quantile(picture[picture > 0], 0.998), 1)) if picture.any() else 255.0


def _probe(axes: "Axes", r: Stored, i: int, first: bool) -> Array:
    """Draw the probe of frame i over the outline of its picture; returns its points on the screen."""
    body = _placed(r, i, probe_mm(r))
    axes.fill(*body.T, facecolor=INK, edgecolor=INK, alpha=0.25, lw=0)
    axes.plot(*np.concatenate([body, body[:1]]).T, color=INK, lw=1.2)
    axes.plot(*_outline(r, i).T, color=INK, lw=0.9, alpha=0.8)
    top = body[4:6].mean(0)
    axes.annotate("start" if first else "end", (float(top[0]), float(top[1])), xytext=(-9 if first else 9, 5),
                  textcoords="offset points", color=INK, fontsize=10, ha="right" if first else "left")
    return body


def _scale_bar(axes: "Axes", right: float, at: float, across: float) -> None:
    length = max(v for v in (1, 2, 5, 10, 20, 50, 100, 200) if v <= max(1, across / 4))
    axes.plot([right - length, right], [at, at], color=INK, lw=2.5)
    axes.annotate(f"{length} mm", (right - length / 2, at), xytext=(0, -12), textcoords="offset points", color=INK,
                  ha="center", fontsize=9)
