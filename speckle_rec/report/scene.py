"""What the report's views draw: path, frames and their outlines, uncertainty, phases, reversals, revisits, in mm."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from ..geometry import hat, log, steps
from .film import shown

Array = NDArray[np.float64]

EVERY, MAX_OUTLINES, MAX_CORNERS, MAX_LOOPS = 10, 60, 40, 300
CELL_DOT = 0.9          # of the distance of cells, that each is drawn across


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
          previous: Array | None = None, timestamps_s: Array | None = None,
          evidence: Mapping[str, NDArray[Any]] | None = None) -> dict[str, Any]:
    """The scene, fit for JSON; what is not finite is None.

    Parameters
    ----------
    T, tracked : [N, 4, 4].   outline : [m, 2] of the field of view.
    covariance_mm2 : [N, 3, 3] of the place of its middle.
    previous : [N, 4, 4] to the frame before, of which the steps are told; by default what `T` comes to.
    """
    evidence = evidence or {}
    N, middle = len(T), middle_of(outline)
    at = shown(N)
    every = np.arange(0, N, max(EVERY, -(-N // MAX_OUTLINES)))
    corners = np.concatenate([outline, np.zeros((len(outline), 1))], 1)
    if len(corners) > MAX_CORNERS:
        corners = corners[np.unique(np.linspace(0, len(corners) - 1, MAX_CORNERS).astype(int))]

    def draw(poses: Array) -> dict[str, Any]:
        outlines = np.einsum("nij,pj->npi", poses[every, :3, :3], corners) + poses[every, None, :3, 3]
        return {"path": plain(poses[at, :3, :3] @ middle + poses[at, :3, 3]), "outlines": plain(outlines)}

    def nearest(frame: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.searchsorted(at, np.clip(frame, 0, at[-1]))

    step = np.asarray(steps(T) if previous is None else previous, float)
    moved = np.linalg.norm(step[:, :3, :3] @ middle + step[:, :3, 3] - middle, axis=1)
    turned = np.degrees(np.linalg.norm(log(step)[:, 3:], axis=1))
    out: dict[str, Any] = {
        "estimated": draw(T), "tracked": None if tracked is None else draw(np.asarray(tracked, float)),
        "confidence": plain(np.asarray(confidence, float)[at]), "frame": at.tolist(),
        "step_mm": plain(moved[at]), "step_deg": plain(turned[at]),
        "outline_at": nearest(every).tolist(), "corners": plain(corners), "middle": plain(middle),
        "poses": plain(np.concatenate([T[at, :3, 0], T[at, :3, 1], T[at, :3, 3]], 1), 4)}
    if timestamps_s is not None:
        out["time"] = plain((timestamps_s - timestamps_s[0])[at])
    if covariance_mm2 is not None:
        out["sigma"] = plain(np.sqrt(np.clip(np.trace(covariance_mm2, axis1=1, axis2=2), 0, None))[at])
    phase = evidence.get("phase")
    if phase is not None and len(phase) == N:
        names = list(dict.fromkeys(str(p) for p in phase))
        out["phases"], out["phase"] = names, [names.index(str(p)) for p in phase[at]]
    out["reversals"] = nearest(np.asarray(evidence.get("reversals", np.zeros(0)), np.int64)).tolist()
    loops = nearest(np.asarray(evidence.get("revisit_pairs", np.zeros((0, 2))), np.int64))
    out["loops"] = loops[:: max(1, -(-len(loops) // MAX_LOOPS))].tolist()
    return out


def cells(evidence: Mapping[str, NDArray[Any]], n_frames: int) -> tuple[dict[str, Any], NDArray[np.uint8]]:
    """Where the cells of a result lie and how far to draw each, in mm, and the percent of coherence of those of the
    scene's frames [K, P], 255 where it is not known; an empty dict where the result does not tell."""
    places, coherence = evidence.get("cell_mm"), evidence.get("cell_coherence")
    if places is None or coherence is None or coherence.shape != (n_frames, len(places)) or len(places) < 2:
        return {}, np.zeros((0, 0), np.uint8)
    across = CELL_DOT * float(np.median(cKDTree(places).query(places, 2)[0][:, 1]))
    return {"at": plain(np.asarray(places, float), 2), "across": round(across, 3)}, coherence[shown(n_frames)]


def plain(values: Array, digits: int = 3) -> list[Any]:
    """Nested lists, rounded; a number, or a row of the last axis, that is not finite becomes None."""
    values = np.round(values, digits)
    if values.ndim == 1:
        return [float(v) if np.isfinite(v) else None for v in values]
    return [None if not np.isfinite(row).all() else row.tolist() if values.ndim == 2 else plain(row, digits)
            for row in values]
