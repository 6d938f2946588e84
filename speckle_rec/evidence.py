"""What a result rests on, for the report: phases of the motion, its reversals, and the curves that were used."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.signal import find_peaks

from .decorrelation import Curves, beam_lines, forms_of
from .probe import ProbeGeometry
from .protocol import PHASES, phases

Array = NDArray[np.float64]

REVERSAL_MM = 2.0                   # of the middle of the field, before and after, for a turn to count as one
DEPTH_SHARES = (0.15, 0.5, 0.85)    # of the field of view, where curves are drawn
SHIFT_MM, TILT_DEG = np.linspace(0, 3, 61), np.linspace(0, 3, 61)


def gather(increment: Array, geometry: ProbeGeometry, curves: Curves) -> dict[str, NDArray[Any]]:
    """Arrays for `Reconstruction.evidence`.

    Parameters
    ----------
    increment : [N, 6] twist of the step into each frame about the centre of the probe face.

    Returns
    -------
    dict
        `phase` [N], names of `protocol.PHASES`; `reversals` [R], frames; `curve_depth_mm` [D]; `curve_shift_mm` [K] and
        `curve_of_shift` [D, K]; `curve_tilt_deg` [K] and `curve_of_tilt` [D, K]: the correlation of the clearest cells.
    """
    depth = geometry.depth_mm[0] + np.array(DEPTH_SHARES) * (geometry.depth_mm[1] - geometry.depth_mm[0])
    return {"phase": np.array(PHASES)[phases(increment)],
            "reversals": reversals(increment, float(np.mean(geometry.depth_mm))),
            "curve_depth_mm": depth,
            "curve_shift_mm": SHIFT_MM, "curve_of_shift": correlation(curves, geometry, depth, SHIFT_MM, 0),
            "curve_tilt_deg": TILT_DEG,
            "curve_of_tilt": correlation(curves, geometry, depth, np.radians(TILT_DEG), 1)}


def reversals(increment: Array, depth_mm: float) -> NDArray[np.int64]:
    """Frames [R] at which the out-of-plane motion at `depth_mm`, along z or by yaw, turns back for `REVERSAL_MM`."""
    along = np.cumsum(increment @ [0, 0, 1, depth_mm, 0, 0])
    about = np.cumsum(increment @ [0, 0, 0, 0, depth_mm, 0])
    turns = [find_peaks(sign * path, prominence=REVERSAL_MM)[0] for path in (along, about) for sign in (1, -1)]
    return np.unique(np.concatenate(turns)).astype(np.int64)


def correlation(curves: Curves, geometry: ProbeGeometry, depth_mm: Array, motion: Array, axis: int) -> Array:
    """Correlation [D, K] of the clearest cells on the probe's axis for a motion [K] along `axis` of (z, tilt, yaw).

    rho = floor ((1 - s) K(Q) + s K(kappa Q))     METHOD.md (3.7)
    """
    U = forms_of(curves, beam_lines(geometry, depth_mm, np.zeros_like(depth_mm)))[:, :, axis]
    q = np.square(U).sum(1)[:, None] * np.square(motion)
    share = curves.slow_share
    return curves.floor * ((1 - share) * curves.kernel(q) + share * curves.kernel(curves.kappa * q))
