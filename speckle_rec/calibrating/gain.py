"""What the whole engine makes of a true motion, and how far it errs, measured on tracked scans.

Curves are fitted to single pairs. A trajectory weighs all of them against each other, against priors and under robust
losses, and comes out smaller by a share that is much the same in all scans of a machine, and fans by another than turns
(METHOD.md (7.9)). Crossing planes make up for it where there are any; what they make up for is part of the gain. What
is left of the errors is slow - a slide read as a tilt - and larger than the noise of measurements (METHOD.md (7.10)).
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import astuple, replace

import numpy as np
from numpy.typing import NDArray

from ..config import Config
from ..errors import InputError
from ..geometry import inverse, log, mirror, pixel_points, translation
from ..pipeline import reconstruct
from ..products.motion_priors import NO_FAN_ERROR, FanError
from ..result import Reconstruction
from ..scan import Scan
from ..speckle.calibration import Calibration

Array = NDArray[np.float64]

APART = 50          # frames between which motion is compared
LEAST_MM = 3.0      # of true motion out of the plane
LEAST_SPREAD = 0.1  # no few scans show that errors are smaller
MOSTLY = 2.0        # times the other motion that one must be to count as a fan or a turn


def out_of_plane_mm(T_first_frame: Array, points_mm: Array, apart: int = APART) -> Array:
    """Motion [N - apart, 2] along z between frames by shift and tilt, and by yaw: rms over points [P, 3], in mm."""
    middle = translation(points_mm.mean(0))
    xi = log(inverse(middle) @ inverse(T_first_frame[:-apart]) @ T_first_frame[apart:] @ middle)
    x, y, _ = (points_mm - points_mm.mean(0)).T
    return np.sqrt(np.stack([np.square(xi[:, 2, None] + xi[:, 3, None] * y).mean(1),
                             np.square(xi[:, 4, None] * x).mean(1)], 1))


def gain_of(T_estimated: Array, T_tracked: Array, points_mm: Array) -> Array:
    """Median shares [2] of the tracked motion that are found, of fans and shifts and of turns; NaN for hardly any.

    Each where it is most of the motion. Distances have no sign, so that missed reversals hardly matter.
    """
    out = np.full(2, np.nan)
    if len(T_tracked) <= APART:
        return out
    true, found = (out_of_plane_mm(T, points_mm) for T in (T_tracked, T_estimated))
    for k in range(2):
        far = (true[:, k] > LEAST_MM) & (true[:, k] > MOSTLY * true[:, 1 - k])
        if far.sum() >= APART:
            out[k] = np.median(found[far, k] / true[far, k])
    return out


def about_face(result: Reconstruction, T_tracked: Array) -> tuple[Array, Array]:
    """Found and tracked poses [N, 4, 4] about the probe's face, the mirror bit of the found ones given.

    Raises
    ------
    ValueError
        If the result has no geometry of the probe.
    """
    if result.geometry is None:
        raise ValueError("expected a result with the geometry of its probe")
    T_image_face = translation(np.array([*result.geometry.face_mm, 0.0]))
    found, true = (inverse(T_image_face) @ T @ T_image_face for T in (result.T_first_frame, T_tracked))
    sd = _deviations(result)
    return min((found, mirror(found)), key=lambda T: float(np.square(_errors(T, true) / sd).sum())), true


def spread_of(found: Array, true: Array, result: Reconstruction) -> Array:
    """Errors of poses `about_face` over their standard deviations, rms over frames [6]; METHOD.md (7.10)."""
    return np.sqrt(np.square(_errors(found, true) / _deviations(result)).mean(0))


def _errors(found: Array, true: Array) -> Array:
    return log(true @ inverse(found))[1:]


def _deviations(result: Reconstruction) -> Array:
    return np.sqrt(np.maximum(np.einsum("kii->ki", result.covariance)[1:], 1e-12))


def measured(calibration: Calibration, scans: Sequence[Scan], config: Config | None = None,
             done: Callable[[str, float], None] | None = None) -> Calibration:
    """The calibration with the gain, and then the spread, that its own reconstructions of tracked scans show.

    Parameters
    ----------
    scans : with tracked poses; each is reconstructed twice.   done : called with each scan's name and gain.

    Raises
    ------
    InputError
        If no scan moves out of the plane enough to tell.
    """
    calibration = replace(calibration, crossed_fans=NO_FAN_ERROR)
    gains: dict[str, tuple[float, ...]] = {}
    for scan in scans:
        truth = tracked(scan)
        rows, columns = scan.shape
        points = pixel_points(scan.scale, *(g.ravel() for g in np.meshgrid(
            np.linspace(1, columns, 5), np.linspace(1, rows, 5))))
        result = reconstruct(scan, calibration=calibration, config=config)
        gain = gain_of(result.T_first_frame, truth, points) * float(result.numbers.get("orthogonal_gain", 1.0))
        if np.isfinite(gain).any():
            gains[scan.name] = tuple(round(float(v), 4) for v in gain)
        if done:
            done(scan.name, float(np.nanmean(gain)) if np.isfinite(gain).any() else float("nan"))
    return errors_measured(with_gain(calibration, gains), scans, config, done)


def errors_measured(calibration: Calibration, scans: Iterable[Scan], config: Config | None = None,
                    done: Callable[[str, float], None] | None = None) -> Calibration:
    """The calibration with what its own reconstructions of tracked scans show to be wrong.

    What all scans have in common, the mean error of fans where planes cross, is undone; what is then left, rms over
    scans, is the spread.
    """
    plain = replace(calibration, crossed_fans=NO_FAN_ERROR, spread=(1.0,) * 6)
    results: dict[str, Reconstruction] = {}
    poses: dict[str, tuple[Array, Array]] = {}
    for scan in scans:
        results[scan.name] = result = reconstruct(scan, calibration=plain, config=config)
        poses[scan.name] = about_face(result, tracked(scan))
        if done:
            done(scan.name, float(np.sqrt(np.square(spread_of(*poses[scan.name], result)).mean())))
    crossed = [name for name, result in results.items() if "orthogonal_similarity" in result.numbers]
    fans = {name: FanError.of(*poses[name]) for name in crossed}
    mean = FanError(*np.mean([astuple(f) for f in fans.values()], axis=0).tolist()) if fans else NO_FAN_ERROR
    spreads: dict[str, list[float]] = {}
    for name, (found, true) in poses.items():
        spread = spread_of(mean.undone(found) if name in fans else found, true, results[name])
        spreads[name] = [round(float(v), 3) for v in spread]
    total = np.maximum(np.sqrt(np.square(list(spreads.values())).mean(0)), LEAST_SPREAD)
    told = {name: [round(v, 4) for v in astuple(f)] for name, f in fans.items()}
    return replace(calibration, crossed_fans=mean, spread=tuple(float(v) for v in total), hash="",
                   figures={**calibration.figures, "spread": spreads, "crossed_fans": told})


def tracked(scan: Scan) -> Array:
    """Tracked poses [N, 4, 4] of a scan.

    Raises
    ------
    InputError
        If it has none.
    """
    truth = scan.T_first_frame_tracked
    if truth is None or not np.isfinite(truth[0]).all():
        raise InputError(f"{scan.name}: expected tracked poses from the first frame on")
    return truth


def with_gain(calibration: Calibration, gains: dict[str, tuple[float, ...]]) -> Calibration:
    """The calibration with the mean of the gains of scans, of fans and of turns, on top of its own.

    Scans without turns tell the gain of all motion, and nothing of fans beside turns.
    """
    if not gains:
        raise InputError(f"gain: expected scans that move out of the plane by {LEAST_MM:g} mm in {APART} frames, "
                         "found none")
    values = np.array(list(gains.values()))
    whole, both = np.isfinite(values[:, 1]), np.isfinite(values).all(1)
    gain = np.mean(values[whole, 1]) if whole.any() else np.mean(values[:, 0])
    fan = np.mean(values[both, 0] / values[both, 1]) if both.any() else 1.0
    told = {name: [v if np.isfinite(v) else None for v in row] for name, row in gains.items()}
    return replace(calibration, gain=calibration.gain * float(gain), fan=calibration.fan * float(fan), hash="",
                   figures={**calibration.figures, "gain": told})
