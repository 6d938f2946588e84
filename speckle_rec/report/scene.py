"""What the report's 3-D view draws: path, frame outlines, uncertainty, phases, reversals and revisits, in mm."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..geometry import hat

Array = NDArray[np.float64]

MAX_POINTS, MAX_OUTLINES, MAX_CORNERS, MAX_LOOPS = 2000, 24, 40, 300


def shown_frames(n_frames: int) -> NDArray[np.int64]:
    """Frames [K] whose outline, and picture if there is one, the view shows."""
    return np.unique(np.linspace(0, n_frames - 1, min(n_frames, MAX_OUTLINES)).astype(int))


def middle_of(outline_mm: Array) -> Array:
    """Middle [3] of a field of view with the outline [m, 2], image mm."""
    return np.append((outline_mm.min(0) + outline_mm.max(0)) / 2, 0.0)


def place_covariance(T_first_frame: Array, covariance: Array, about_mm: Array, point_mm: Array) -> Array:
    """Covariance [N, 3, 3] (mm^2) of where a point of the image lies in frame 0.

    Parameters
    ----------
    covariance : [N, 6, 6] of the poses, as a twist in frame 0 about the point `about_mm` [3].
    point_mm : [3], image mm.
    """
    arm = T_first_frame[:, :3, :3] @ point_mm + T_first_frame[:, :3, 3] - about_mm
    J = np.concatenate([np.tile(np.eye(3), (len(arm), 1, 1)), -hat(arm)], 2)
    return J @ covariance @ np.swapaxes(J, 1, 2)


def scene(T: Array, tracked: Array | None, confidence: Array, outline: Array, *, covariance_mm2: Array | None = None,
          timestamps_s: Array | None = None, evidence: Mapping[str, NDArray[Any]] | None = None) -> dict[str, Any]:
    """The scene, fit for JSON; what is not finite is None.

    Parameters
    ----------
    T, tracked : [N, 4, 4].   outline : [m, 2] of the field of view.
    covariance_mm2 : [N, 3, 3] of the place of its middle.
    """
    evidence = evidence or {}
    N, middle = len(T), middle_of(outline)
    at = np.unique(np.linspace(0, N - 1, min(N, MAX_POINTS)).astype(int))
    frames = shown_frames(N)
    corners = np.concatenate([outline, np.zeros((len(outline), 1))], 1)
    if len(corners) > MAX_CORNERS:
        corners = corners[np.unique(np.linspace(0, len(corners) - 1, MAX_CORNERS).astype(int))]

    def draw(poses: Array) -> dict[str, Any]:
        outlines = np.einsum("nij,pj->npi", poses[frames, :3, :3], corners) + poses[frames, None, :3, 3]
        return {"path": plain(poses[at, :3, :3] @ middle + poses[at, :3, 3]), "outlines": plain(outlines)}

    def nearest(frame: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.searchsorted(at, np.clip(frame, 0, at[-1]))

    out: dict[str, Any] = {
        "estimated": draw(T), "tracked": None if tracked is None else draw(np.asarray(tracked, float)),
        "confidence": plain(np.asarray(confidence, float)[at]), "frame": at.tolist(),
        "outline_at": nearest(frames).tolist(), "corners": plain(corners),
        "poses": plain(np.concatenate([T[at, :3, 0], T[at, :3, 1], T[at, :3, 3]], 1), 4)}
    if timestamps_s is not None:
        out["time"] = plain((timestamps_s - timestamps_s[0])[at])
    if covariance_mm2 is not None:
        spread = covariance_mm2[:, [0, 0, 0, 1, 1, 2], [0, 1, 2, 1, 2, 2]]
        out["sigma"] = plain(np.sqrt(np.clip(np.trace(covariance_mm2, axis1=1, axis2=2), 0, None))[at])
        out["ellipsoids"] = [[int(k), c] for k, c in zip(nearest(frames), plain(spread[frames], 5), strict=True)]
    phase = evidence.get("phase")
    if phase is not None and len(phase) == N:
        names = list(dict.fromkeys(str(p) for p in phase))
        out["phases"], out["phase"] = names, [names.index(str(p)) for p in phase[at]]
    out["reversals"] = nearest(np.asarray(evidence.get("reversals", np.zeros(0)), np.int64)).tolist()
    loops = nearest(np.asarray(evidence.get("revisit_pairs", np.zeros((0, 2))), np.int64))
    out["loops"] = loops[:: max(1, -(-len(loops) // MAX_LOOPS))].tolist()
    return out


def plain(values: Array, digits: int = 3) -> list[Any]:
    """Nested lists, rounded; a number, or a row of the last axis, that is not finite becomes None."""
    values = np.round(values, digits)
    if values.ndim == 1:
        return [float(v) if np.isfinite(v) else None for v in values]
    return [None if not np.isfinite(row).all() else row.tolist() if values.ndim == 2 else plain(row, digits)
            for row in values]
