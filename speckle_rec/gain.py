"""What the whole engine makes of a true motion, measured on tracked scans.

Curves are fitted to single pairs. A trajectory weighs all of them against each other, against priors and under robust
losses, and comes out smaller by a share that is much the same in all scans of a machine (METHOD.md (7.9)).
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from .calibration import Calibration
from .config import Config
from .errors import InputError
from .geometry import inverse, pixel_points
from .pipeline import reconstruct
from .scan import Scan

Array = NDArray[np.float64]

APART = 50          # frames between which motion is compared
LEAST_MM = 3.0      # of true motion out of the plane


def out_of_plane_mm(T_first_frame: Array, points_mm: Array, apart: int = APART) -> Array:
    """Motion [N - apart] along z between frames, rms over points [P, 3] of the image, in mm."""
    T = inverse(T_first_frame[:-apart]) @ T_first_frame[apart:]
    moved = points_mm @ np.swapaxes(T[:, :3, :3], 1, 2) + T[:, None, :3, 3] - points_mm
    return np.sqrt(np.square(moved[..., 2]).mean(1))


def gain_of(T_estimated: Array, T_tracked: Array, points_mm: Array) -> float:
    """Median share of the tracked motion out of the plane that is found; NaN where there is hardly any.

    Distances have no sign, so that missed reversals hardly matter.
    """
    if len(T_tracked) <= APART:
        return float("nan")
    true, found = (out_of_plane_mm(T, points_mm) for T in (T_tracked, T_estimated))
    far = true > LEAST_MM
    return float(np.median(found[far] / true[far])) if far.sum() >= APART else float("nan")


def measured(calibration: Calibration, scans: Iterable[Scan], config: Config | None = None,
             done: Callable[[str, float], None] | None = None) -> Calibration:
    """The calibration with the gain that its own reconstructions of tracked scans show.

    Parameters
    ----------
    scans : with tracked poses.   done : called with each scan's name and gain.

    Raises
    ------
    InputError
        If no scan moves out of the plane enough to tell.
    """
    gains: dict[str, float] = {}
    for scan in scans:
        truth = scan.T_first_frame_tracked
        if truth is None:
            raise InputError(f"{scan.name}: expected tracked poses")
        rows, columns = scan.shape
        points = pixel_points(scan.scale, *(g.ravel() for g in np.meshgrid(
            np.linspace(1, columns, 5), np.linspace(1, rows, 5))))
        gain = gain_of(reconstruct(scan, calibration=calibration, config=config).T_first_frame, truth, points)
        if np.isfinite(gain):
            gains[scan.name] = round(gain, 4)
        if done:
            done(scan.name, gain)
    return with_gain(calibration, gains)


def with_gain(calibration: Calibration, gains: dict[str, float]) -> Calibration:
    """The calibration with the mean of the gains of scans on top of its own."""
    if not gains:
        raise InputError(f"gain: expected scans that move out of the plane by {LEAST_MM:g} mm in {APART} frames, "
                         "found none")
    values: Sequence[float] = list(gains.values())
    return replace(calibration, gain=calibration.gain * float(np.mean(values)), hash="",
                   figures={**calibration.figures, "gain": gains})
