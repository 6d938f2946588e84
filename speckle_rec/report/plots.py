"""Figures of a reconstruction; solid is estimated and dashed is tracked, in black and white too."""

from collections.abc import Mapping
from itertools import pairwise
from os import PathLike
from typing import IO, TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from .. import geometry as se3
from ..probe.field import ProbeGeometry
from ..products.volume import Volume

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = NDArray[np.float64]
Target = str | PathLike[str] | IO[bytes]

ESTIMATED: dict[str, Any] = {"color": "black", "lw": 1.3, "label": "estimated"}
TRACKED: dict[str, Any] = {"color": "tab:orange", "lw": 1.3, "ls": (0, (4, 2)), "label": "tracked"}
MONTAGE = 3, 4
COMPONENTS = ("x, lateral (mm)", "y, axial (mm)", "z, elevation (mm)",
              "tilt about x (deg)", "yaw about y (deg)", "roll about z (deg)")


def trajectory(path: Target, T_first_frame: Array, T_first_frame_tracked: Array | None = None,
               confidence: NDArray[np.float32] | None = None, *, geometry: ProbeGeometry | None = None,
               covariance: Array | None = None, timestamps_s: Array | None = None,
               evidence: Mapping[str, NDArray[Any]] | None = None) -> None:
    """Write a PNG of `trajectory_figure`."""
    trajectory_figure(T_first_frame, T_first_frame_tracked, confidence, geometry=geometry, covariance=covariance,
                      timestamps_s=timestamps_s, evidence=evidence).savefig(path, dpi=110, format="png")


def trajectory_figure(T_first_frame: Array, T_first_frame_tracked: Array | None = None,
                      confidence: NDArray[np.float32] | None = None, *, geometry: ProbeGeometry | None = None,
                      covariance: Array | None = None, timestamps_s: Array | None = None,
                      evidence: Mapping[str, NDArray[Any]] | None = None) -> "Figure":
    """A figure of the path, the six motion components over time, the confidence, and what was seen again.

    Parameters
    ----------
    T_first_frame, T_first_frame_tracked : [N, 4, 4]; the tracked one may hold NaN.
    geometry : motion is that of the probe face's centre and the path that of the field's middle; without it
        both are of the image origin.
    covariance : [N, 6, 6] about the face centre, drawn as a band of one standard deviation.
    evidence : `phase` [N] (numbers or names) is drawn as bands, `reversals` [M] (frames) as lines, `revisit_pairs`
        [K, 2] (frames) as dots in a panel of their own.
    """
    N = len(T_first_frame)
    t = np.arange(float(N)) if timestamps_s is None else np.asarray(timestamps_s) - timestamps_s[0]
    loops = np.zeros((0, 2), int) if evidence is None else np.asarray(evidence.get("revisit_pairs", np.zeros((0, 2))))
    heights = (1.7, 1, 1, 1, 0.6, 1) if len(loops) else (1.7, 1, 1, 1, 0.6)
    figure = _figure((10, 12.5 if len(loops) else 11))
    grid = figure.add_gridspec(len(heights), 2, height_ratios=heights)
    face, middle = _points(geometry)
    variance = None if covariance is None else np.diagonal(covariance, axis1=1, axis2=2)
    sigma = None if variance is None else np.sqrt(np.clip(variance, 0, None))
    series = [(_motion(T_first_frame, face), _path(T_first_frame, middle), ESTIMATED)]
    if T_first_frame_tracked is not None:
        series.append((_motion(T_first_frame_tracked, face), _path(T_first_frame_tracked, middle), TRACKED))

    for column, (a, b, title) in enumerate(((2, 1, "path from the side"), (0, 2, "path from above"))):
        axes = figure.add_subplot(grid[0, column])
        for _, points, style in series:
            axes.plot(points[:, a], points[:, b], **style)
            axes.plot(*points[0, [a, b]], "o", color=style["color"], ms=5)
        axes.set(xlabel=f"{'xyz'[a]} (mm)", ylabel=f"{'xyz'[b]} (mm)", title=title, aspect="equal",
                 adjustable="datalim")
        if b == 1:
            axes.invert_yaxis()
        axes.grid(alpha=0.3)
    figure.axes[0].legend(loc="best", frameon=False)

    for component, label in enumerate(COMPONENTS):
        axes = figure.add_subplot(grid[1 + component % 3, component // 3])
        _spans(axes, t, evidence, named=component % 3 == 0)
        for motion, _, style in series:
            axes.plot(t, motion[:, component], **style)
        if sigma is not None:
            unit = 1.0 if component < 3 else 180 / np.pi
            value, width = series[0][0][:, component], unit * sigma[:, component]
            axes.fill_between(t, value - width, value + width, color="0.5", alpha=0.3, lw=0)
        axes.set(ylabel=label, xlim=(t[0], t[-1] if N > 1 else t[0] + 1))
        axes.grid(alpha=0.3)
    axes = figure.add_subplot(grid[4, :])
    _spans(axes, t, evidence, named=False)
    if confidence is not None:
        axes.fill_between(t, 0, confidence, color="0.35", lw=0, step="mid")
    axes.set(ylabel="confidence", ylim=(0, 1), xlabel="frame" if timestamps_s is None else "time (s)",
             xlim=(t[0], t[-1] if N > 1 else t[0] + 1))
    if len(loops):
        axes = figure.add_subplot(grid[5, :])
        axes.plot(t[loops[:, 1]], t[loops[:, 0]], "o", color="black", ms=2.5)
        axes.plot(t[[0, -1]], t[[0, -1]], color="0.6", lw=0.7)
        axes.set(ylabel="seen before at", xlabel="frame" if timestamps_s is None else "time (s)", xlim=(t[0], t[-1]),
                 ylim=(t[0], t[-1]))
        axes.grid(alpha=0.3)
    return figure


def slices(path: Target, *volumes: tuple[str, Volume]) -> None:
    """Write a PNG of three orthogonal slices, a row for each of (name, volume).

    All are cut at the middle of what the first volume holds.
    """
    first = volumes[0][1]
    seen = np.nonzero(first.data)
    middle = [float(np.median(i)) if len(i) else n / 2 for i, n in zip(seen, first.data.shape, strict=True)]
    at = [first.origin_mm[axis] + first.spacing_mm * m for axis, m in zip((2, 1, 0), middle, strict=True)]
    figure = _figure((12, 4.4 * len(volumes)))
    for row, (name, volume) in enumerate(volumes):
        data, step = volume.data, volume.spacing_mm
        low = [volume.origin_mm[axis] - step / 2 for axis in (2, 1, 0)]
        high = [o + step * n for o, n in zip(low, data.shape, strict=True)]
        for k, (cut, rows, columns, title) in enumerate(((0, 1, 2, "image plane"), (2, 1, 0, "from the side"),
                                                         (1, 0, 2, "from above"))):
            axes = figure.add_subplot(len(volumes), 3, 1 + 3 * row + k)
            index = int(np.clip((at[cut] - low[cut]) / step, 0, data.shape[cut] - 1))
            plane = np.take(data, index, axis=cut)
            plane = plane if rows < columns else plane.T
            axes.imshow(plane, cmap="gray", vmin=0, vmax=255,
                        extent=(low[columns], high[columns], high[rows], low[rows]))
            axes.set(xlabel=f"{'zyx'[columns]} (mm)", ylabel=f"{'zyx'[rows]} (mm)",
                     title=f"{title}, {'zyx'[cut]} = {at[cut]:.1f} mm" + (f": {name}" if len(volumes) > 1 else ""))
    figure.savefig(path, dpi=90, format="png")


class _HasFrames(Protocol):
    @property
    def n_frames(self) -> int: ...
    def frames(self, start: int, stop: int) -> NDArray[np.uint8]: ...


def montage(path: Target, scan: _HasFrames, geometry: ProbeGeometry, timestamps_s: Array) -> None:
    """Write a PNG of frames spread evenly over a scan, cut to the field of view, with number and time."""
    rows, columns = np.nonzero(geometry.mask())
    window = np.s_[rows.min(): rows.max() + 1, columns.min(): columns.max() + 1]
    chosen = np.unique(np.linspace(0, scan.n_frames - 1, MONTAGE[0] * MONTAGE[1]).astype(int))
    aspect = geometry.scale[1, 1] / geometry.scale[0, 0]
    height, width = np.ptp(rows) * geometry.scale[1, 1], np.ptp(columns) * geometry.scale[0, 0]
    tall = 10 / MONTAGE[1] * MONTAGE[0] * height / max(width, 1e-6)
    figure = _figure((10, tall + 0.6))
    for k, i in enumerate(chosen):
        axes = figure.add_subplot(*MONTAGE, 1 + k)
        axes.imshow(scan.frames(int(i), int(i) + 1)[0][window], cmap="gray", vmin=0, vmax=255, aspect=aspect)
        axes.set_title(f"frame {i}, {timestamps_s[i] - timestamps_s[0]:.1f} s", fontsize=9)
        axes.set_axis_off()
    figure.savefig(path, dpi=90, format="png")


def curves(path: Target, evidence: Mapping[str, NDArray[Any]]) -> None:
    """Write a PNG of the decorrelation curves a result rests on, and what the scan showed (see `evidence`)."""
    figure = _figure((10, 3.4))
    shift, tilt, yaw = (figure.add_subplot(1, 3, 1 + k) for k in range(3))
    at = evidence["curve_at"]
    shift.plot(at, evidence["curve_shift"], color="black", label="curve")
    if len(evidence.get("measured_shift_mm", ())):
        low, middle, high = evidence["measured_correlation"].T
        shift.errorbar(evidence["measured_shift_mm"], middle, np.stack([middle - low, high - middle]), fmt="o", ms=3.5,
                       color="0.45", lw=1, label="this scan: median, quartiles")
        shift.legend(frameon=False, fontsize=8)
    tilt.plot(at, evidence["curve_tilt"], color="black")
    yaw.plot(at, evidence["curve_yaw"], color="black")
    for axes, label in ((shift, "motion along z (mm)"), (tilt, "tilt about the face (deg)"),
                        (yaw, "yaw, at the side of the field (deg)")):
        axes.set(xlabel=label, ylabel="correlation", ylim=(0, 1), xlim=(0, at[-1]))
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=100, format="png")


def drift(path: Target, T_first_frame: Array, T_first_frame_tracked: Array, point_mm: Array,
          timestamps_s: Array | None = None, covariance_mm2: Array | None = None) -> None:
    """Write a PNG of how far a point of the image lies from where the tracker has it, over time.

    Parameters
    ----------
    point_mm : [3], image mm.
    covariance_mm2 : [N, 3, 3] of the point's place, drawn as a band up to one standard deviation (root of the trace).
    """
    t = np.arange(float(len(T_first_frame))) if timestamps_s is None else timestamps_s - timestamps_s[0]
    off = _path(T_first_frame, point_mm) - _path(T_first_frame_tracked, point_mm)
    figure = _figure((10, 3))
    axes = figure.add_subplot()
    if covariance_mm2 is not None:
        spread = np.sqrt(np.clip(np.trace(covariance_mm2, axis1=1, axis2=2), 0, None))
        axes.fill_between(t, 0, spread, color="0.85", lw=0, label="expected (one standard deviation)")
    axes.plot(t, np.linalg.norm(off, axis=1), color="black", lw=1.3, label="distance from the tracked place")
    axes.plot(t, np.abs(off[:, 2]), color="0.4", lw=1, ls=(0, (4, 2)), label="of which along z")
    axes.set(xlabel="frame" if timestamps_s is None else "time (s)", ylabel="mm", ylim=(0, None),
             xlim=(t[0], t[-1] if len(t) > 1 else t[0] + 1))
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=90, format="png")


def _points(geometry: ProbeGeometry | None) -> tuple[Array, Array]:
    """Face centre and middle of the field of view in image mm."""
    if geometry is None:
        return np.zeros(3), np.zeros(3)
    middle = geometry.cartesian(np.mean(geometry.depth_mm), np.mean(geometry.lateral))
    return np.array([*geometry.face_mm, 0.0]), np.array([*middle, 0.0])


def _motion(T: Array, about: Array) -> Array:
    """[N, 6]: translation (mm) of the point `about`, and rotation vector (deg)."""
    T = np.asarray(T, float)
    rotation = T.copy()
    rotation[:, :3, 3] = 0
    ok = np.isfinite(T).all((1, 2))
    turn = np.full((len(T), 3), np.nan)
    turn[ok] = np.rad2deg(se3.log(rotation[ok])[:, 3:])
    return np.concatenate([_path(T, about) - about, turn], 1)


def _path(T: Array, point: Array) -> Array:
    return np.asarray(T)[:, :3, :3] @ point + np.asarray(T)[:, :3, 3]


def _spans(axes: "Axes", t: Array, evidence: Mapping[str, NDArray[Any]] | None, *, named: bool) -> None:
    """Phases as alternating bands with their names, reversals as thin dotted lines."""
    if evidence is None:
        return
    phase = evidence.get("phase")
    if phase is not None and len(phase) == len(t):
        edges = np.concatenate([[0], np.flatnonzero(phase[1:] != phase[:-1]) + 1, [len(t)]])
        for k, (a, b) in enumerate(pairwise(edges)):
            if k % 2:
                axes.axvspan(t[a], t[min(b, len(t) - 1)], color="0.9", lw=0, zorder=0)
            if named and b - a > len(t) / 25:
                axes.text((t[a] + t[b - 1]) / 2, 1.01, str(phase[a]), transform=axes.get_xaxis_transform(),
                          ha="center", va="bottom", fontsize=8)
    for frame in evidence.get("reversals", ()):
        if 0 <= frame < len(t):
            axes.axvline(t[int(frame)], color="0.4", lw=0.7, ls=":")


def _figure(size: tuple[float, float]) -> "Figure":
    """An empty figure of width and height in inches."""
    from matplotlib.figure import Figure  # here: it needs a folder to write to, which reading a report does not
    return Figure(figsize=size, layout="constrained")
