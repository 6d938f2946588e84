"""Outlines of the frames and the path between them as VTK PolyData (.vtp), for ParaView, 3D Slicer and PyVista.

Lengths in mm, in the image of frame 0. Every point carries ``frame`` and ``confidence`` of the step into it.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .ply import placed_outlines

Array = NDArray[np.float64]


def write(path: Path, T_first_frame: Array, outline_mm: Array, confidence: NDArray[np.float32]) -> None:
    """Write poses [N, 4, 4] of frames whose field of view has the outline [m, 2] (image mm, closed or not)."""
    outlines, middles = placed_outlines(T_first_frame, outline_mm)
    N, m = outlines.shape[:2]
    points = np.concatenate([outlines.reshape(-1, 3), middles])
    frame = np.concatenate([np.repeat(np.arange(N), m), np.arange(N)])
    sure = np.nan_to_num(np.asarray(confidence, np.float64))[frame]
    line = N * m + np.arange(N) if N > 1 else np.zeros(0, int)
    parts = [
        '<?xml version="1.0"?>', '<VTKFile type="PolyData" version="0.1" byte_order="LittleEndian">',
        "<!-- speckle-rec: frame outlines and the path of the middle of the field of view, mm in the image of frame 0; "
        "SPACE=LPS -->", "<PolyData>",
        f'<Piece NumberOfPoints="{len(points)}" NumberOfVerts="0" NumberOfLines="{int(N > 1)}" NumberOfStrips="0" '
        f'NumberOfPolys="{N}">',
        '<PointData Scalars="confidence">', _array("frame", frame, "Int32"), _array("confidence", sure, "Float32"),
        "</PointData>", "<Points>", _array("points", points, "Float64", 3), "</Points>",
        "<Lines>", _array("connectivity", line, "Int64"),
        _array("offsets", np.array([len(line)] if N > 1 else [], int), "Int64"), "</Lines>",
        "<Polys>", _array("connectivity", np.arange(N * m), "Int64"),
        _array("offsets", m * np.arange(1, N + 1), "Int64"), "</Polys>", "</Piece>", "</PolyData>", "</VTKFile>"]
    path.write_text("\n".join(parts) + "\n", encoding="ascii")


def _array(name: str, values: NDArray, kind: str, components: int = 1) -> str:
    words = " ".join(f"{value:.8g}" if kind.startswith("Float") else str(int(value)) for value in np.ravel(values))
    return (f'<DataArray type="{kind}" Name="{name}" NumberOfComponents="{components}" format="ascii">{words}'
            "</DataArray>")
