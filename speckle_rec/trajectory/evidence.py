"""What a result rests on, for the report: phases, reversals, and the curves beside what was measured."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.signal import find_peaks

from ..geometry import inverse, log
from ..pairs.correlation import Correlations
from ..probe.beam_lines import beam_lines
from ..probe.field import ProbeGeometry
from ..speckle.curves import Curves, forms_of
from ..speckle.strengths import CellStrengths
from .phases import PHASES, phases

Array = NDArray[np.float64]

REVERSAL_MM = 2.0                   # of the middle of the field, before and after, for a turn to count as one
SIDE = 0.8                          # of the way to the side of the field, where yaw is felt
REACH = 3.0                         # mm or degrees, to which curves are drawn
MOST_PAIRS, LEAST_CELLS = 1500, 100
UNKNOWN = 255                       # percent of coherence of what was not measured


def gather(increment: Array, geometry: ProbeGeometry, curves: Curves) -> dict[str, NDArray[Any]]:
    """Arrays for `Reconstruction.evidence`.

    A motion decorrelates alike at every depth of a Gaussian beam (METHOD.md (3.4)), so that one curve holds for all.

    Parameters
    ----------
    increment : [N, 6] twist of the step into each frame about the centre of the probe face.

    Returns
    -------
    dict
        `phase` [N], names of `phases.PHASES`; `reversals` [R], frames; `curve_at` [K], mm or degrees; `curve_shift`,
        `curve_tilt` and, at the side of the field, `curve_yaw` [K]: correlation of the clearest cells.
    """
    depth, at = float(np.mean(geometry.depth_mm)), np.linspace(0, REACH, 61)
    side = SIDE * geometry.lateral[1]
    return {"phase": np.array(PHASES)[phases(increment)],
            "reversals": reversals(increment, depth),
            "curve_at": at,
            "curve_shift": correlation(curves, geometry, depth, 0.0, at, 0),
            "curve_tilt": correlation(curves, geometry, depth, 0.0, np.radians(at), 1),
            "curve_yaw": correlation(curves, geometry, depth, side, np.radians(at), 2)}


def reversals(increment: Array, depth_mm: float) -> NDArray[np.int64]:
    """Frames [R] at which the out-of-plane motion at `depth_mm`, along z or by yaw, turns back for `REVERSAL_MM`."""
    along = np.cumsum(increment @ [0, 0, 1, depth_mm, 0, 0])
    about = np.cumsum(increment @ [0, 0, 0, 0, depth_mm, 0])
    turns = [find_peaks(sign * path, prominence=REVERSAL_MM)[0] for path in (along, about) for sign in (1, -1)]
    return np.unique(np.concatenate(turns)).astype(np.int64)


def correlation(curves: Curves, geometry: ProbeGeometry, depth_mm: float, u: float, motion: Array, axis: int) -> Array:
    """Correlation [K] of the clearest cells at (depth, u) for a motion [K] along `axis` of (z, tilt, yaw).

    rho = floor ((1 - s) K(Q) + s K(kappa Q))     METHOD.md (3.7)
    """
    U = forms_of(curves, beam_lines(geometry, np.array([depth_mm]), np.array([u])))[0, :, axis]
    q = np.square(U).sum() * np.square(motion)
    share = curves.slow_share
    return curves.floor * ((1 - share) * curves.kernel(q) + share * curves.kernel(curves.kappa * q))


def coherence(speckle: Correlations, n_frames: int) -> NDArray[np.uint8]:
    """Correlation [N, P] of each cell with itself one frame earlier, in percent; `UNKNOWN` where not measured."""
    out = np.full((n_frames, speckle.rho.shape[1]), UNKNOWN, np.uint8)
    next_to = speckle.j - speckle.i == 1
    rho = speckle.rho[next_to]
    out[speckle.j[next_to]] = np.where(np.isfinite(rho), np.round(100 * np.clip(np.nan_to_num(rho), 0, 1)), UNKNOWN)
    return out


def measured(T: Array, speckle: Correlations, forms: Array, strengths: CellStrengths,
             curves: Curves) -> dict[str, NDArray[Any]]:
    """What this scan's cells showed beside the curve of a shift.

    Parameters
    ----------
    T : [N, 4, 4] poses about the face centre.   forms : [P, 3, 3] of the cells.

    Returns
    -------
    dict
        `measured_shift_mm` [B], the shift along z that decorrelates as much as the estimated motion of a pair does in a
        cell; `measured_correlation` [B, 3], quartiles there (lower, median, upper), cells scaled to the clearest.
    """
    chosen = np.arange(len(speckle.i))[:: max(1, len(speckle.i) // MOST_PAIRS)]
    i, j = speckle.i[chosen], speckle.j[chosen]
    xi = log(inverse(T[i]) @ T[j])[:, 2:5]
    row = strengths.window[j]
    q = np.square(np.einsum("pak,mk->mpa", forms, xi)).sum(2) * strengths.stretch[row] ** 2
    clear = (strengths.fast + strengths.slow)[row]
    rho = speckle.rho[chosen]
    seen = (clear > 0) & np.isfinite(rho)
    shift = curves.waist_mm * np.sqrt(q[seen] / 2)
    level = curves.floor * rho[seen] / clear[seen]
    edges = np.linspace(0, REACH, 16)
    bins = np.digitize(shift, edges) - 1
    full = [b for b in range(len(edges) - 1) if (bins == b).sum() >= LEAST_CELLS]
    return {"measured_shift_mm": np.array([np.median(shift[bins == b]) for b in full]),
            "measured_correlation": np.array([np.quantile(level[bins == b], (0.25, 0.5, 0.75)) for b in full]
                                             ).reshape(-1, 3)}
