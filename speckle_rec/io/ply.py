"""Outlines of the frames and the path between them as a PLY mesh, for MeshLab, CloudCompare, Blender and VTK.

Lengths in mm. A frame is one face, the outline of its field of view; a step of the path is a face of two corners.
Vertices carry the frame's number, the confidence of the step into it, and a grey level that shows the confidence.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

HEADER = """ply
format ascii 1.0
comment speckle-rec: frame outlines and the path of the middle of the field of view, mm in the image of frame 0
element vertex {vertices}
property double x
property double y
property double z
property int frame
property float confidence
property uchar red
property uchar green
property uchar blue
element face {faces}
property list uchar int vertex_indices
end_header
"""
MOST_CORNERS = 32


def placed_outlines(T_first_frame: Array, outline_mm: Array) -> tuple[Array, Array]:
    """Corners [N, m, 3] of the frames' outlines, thinned to `MOST_CORNERS`, and their middles [N, 3], in mm of frame 0.

    The outline [m, 2] is in image mm, closed or not.
    """
    outline = outline_mm[:-1] if np.array_equal(outline_mm[0], outline_mm[-1]) else outline_mm
    if len(outline) > MOST_CORNERS:
        outline = outline[np.unique(np.linspace(0, len(outline) - 1, MOST_CORNERS).round().astype(int))]
    m = len(outline)
    middle = (outline.min(0) + outline.max(0)) / 2
    points = np.column_stack([np.vstack([outline, middle]), np.zeros(m + 1)])
    placed = np.einsum("nij,pj->npi", T_first_frame[:, :3, :3], points) + T_first_frame[:, None, :3, 3]
    return placed[:, :m], placed[:, m]


def write(path: Path, T_first_frame: Array, outline_mm: Array, confidence: NDArray[np.float32]) -> None:
    """Write poses [N, 4, 4] of frames whose field of view has the outline [m, 2] (image mm, closed or not)."""
    outlines, middles = placed_outlines(T_first_frame, outline_mm)
    N, m = outlines.shape[:2]
    xyz = np.concatenate([outlines.reshape(-1, 3), middles])
    frame = np.concatenate([np.repeat(np.arange(N), m), np.arange(N)])
    sure = np.asarray(confidence, np.float64)[frame]
    grey = np.round(60 + 170 * (1 - np.clip(np.nan_to_num(sure), 0, 1)))
    with open(path, "w", encoding="ascii") as file:
        file.write(HEADER.format(vertices=len(xyz), faces=N + max(N - 1, 0)))
        np.savetxt(file, np.column_stack([xyz, frame, sure, grey, grey, grey]), fmt="%.6f %.6f %.6f %d %.4f %d %d %d")
        np.savetxt(file, np.column_stack([np.full(N, m), np.arange(N * m).reshape(N, m)]), fmt="%d")
        first = N * m + np.arange(max(N - 1, 0))
        np.savetxt(file, np.column_stack([np.full(len(first), 2), first, first + 1]), fmt="%d")
