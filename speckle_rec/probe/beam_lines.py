"""Lines of cells: where each lies before the probe's face, which way its beam points, and how wide it is across it."""

import numpy as np
from numpy.typing import NDArray

from .field import Cells, ProbeGeometry

Array = NDArray[np.float64]


def beam_lines(geometry: ProbeGeometry, r_mm, u, spread_mm=0.0) -> Array:
    """Lines [P, 6] of cells at (r, u): depth, x and y about the face centre (mm), sine and cosine of the beam, spread.

    The spread is the standard deviation (mm) of a cell's pixels across the beam.
    """
    x, y = geometry.cartesian(r_mm, u)
    sine, cosine = (np.sin(u), np.cos(u)) if geometry.kind == "curvilinear" else (0 * u, 1 + 0 * u)
    return np.stack([r_mm, x - geometry.face_mm[0], y - geometry.face_mm[1], sine, cosine, spread_mm + 0 * x], -1)


def lines_of(geometry: ProbeGeometry, cells: Cells) -> Array:
    """`beam_lines` of the cells."""
    return beam_lines(geometry, cells.centres[:, 0], cells.centres[:, 1], cells.spread_mm)
