"""How far a reconstruction can be trusted: confidence a frame, warnings, and the figures of the summary."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import erf

from ..io.wording import counted
from ..pairs.block_matching import PlanarMotion
from ..pairs.correlation import Correlations
from ..probe.field import ProbeGeometry
from ..products.stages import Measurements, View
from ..result import Reconstruction
from ..speckle.strengths import CellStrengths
from ..verdict import FEW_FRAMES

Array = NDArray[np.float64]

CLEAR, LOST = 0.75, 0.30       # lag-1 correlation of the clearest cells: full confidence, and none
UNRELIABLE = 0.3               # signal below which out-of-plane motion is not believed
TOLERATED, TOLERATED_MM = 0.25, 0.1   # error of a step that confidence allows for: of its length, or in mm
FEW_CELLS = 0.05               # share of the cells that must carry signal
HURRIED = 0.9                  # lower quartile of the signal below which frames are too far apart to follow a turn back
COARSE_PX_MM = 0.35            # pixels of which hold several speckles


def signal_of(speckle: Correlations, planar: PlanarMotion, strengths: CellStrengths, n_frames: int,
              speckled: NDArray[np.bool_] | None = None) -> NDArray[np.float32]:
    """How much there was to measure the step into each frame by, [N] in 0..1 (METHOD.md (6.1)).

    The correlation of the clearest fifth of the cells at lag 1, between the level at which speckle is lost and
    the one at which distances are sharp, times the share of cells that carry signal where they are few; 0 for
    repeated frames and where block matching failed. Cells that are not `speckled` [P] (by default all are) count as
    lost: water, wires and text correlate, and tell nothing.
    """
    out = np.zeros(n_frames)
    single = speckle.j - speckle.i == 1
    rho = np.nan_to_num(speckle.rho[single]) * (1 if speckled is None else speckled)
    clear = np.quantile(rho, 0.8, axis=1) if single.any() else np.zeros(0)
    out[speckle.j[single]] = np.clip((clear - LOST) / (CLEAR - LOST), 0, 1)
    active = (strengths.fast[strengths.window] > 0).mean(1)
    matched = np.zeros(n_frames)
    first = planar.j - planar.i == 1
    matched[planar.j[first]] = planar.share[first] > 0
    return (out * np.clip(active / FEW_CELLS, 0, 1) * matched).astype(np.float32)


def within_tolerance(increment: Array, covariance: Array, depth_mm: float, scale_uncertainty: float) -> Array:
    """Probability [N] that steps are off by less than a quarter of their length, or than .1 mm (METHOD.md (6.1b)).

    Of the middle of the field of view, `depth_mm` below the face, whose error is taken to be normal: that of the step,
    and that of the scale of its part out of the plane.

    Parameters
    ----------
    increment : [N, 6], twists of the steps.   covariance : [N, 6, 6] of them.   scale_uncertainty : relative.
    """
    x, y, z = np.zeros((3, 6))
    x[[0, 5]], y[1], z[[2, 3]] = (1, -depth_mm), 1, (1, depth_mm)
    lever = np.stack([x, y, z])
    moved = increment @ lever.T
    variance = np.einsum("ai,nij,aj->n", lever, covariance, lever) + (scale_uncertainty * moved[:, 2]) ** 2
    tolerance = np.maximum(TOLERATED * np.linalg.norm(moved, axis=1), TOLERATED_MM)
    return np.asarray(erf(tolerance / np.sqrt(2 * np.maximum(variance, 1e-12))))


@dataclass(frozen=True)
class Path:
    """Out-of-plane path of the field's centre: length, and its standard deviation."""

    length_mm: float
    deviation_mm: float


def elevational_path(increment: Array, covariance: Array, geometry: ProbeGeometry, scale_uncertainty: float,
                     signal: NDArray[np.float32]) -> Path:
    """Path of the middle of the field of view along z, in mm.

    The deviation joins the random error of the steps, the uncertain scale of the curves, and all of the path that
    was covered while speckle was lost.
    """
    r = float(np.mean(geometry.depth_mm))
    lever = np.array([0, 0, 1, r, 0, 0])
    steps = increment @ lever
    variance = np.einsum("i,nij,j->n", lever, covariance, lever)
    length = float(np.abs(steps).sum())
    lost = float(np.abs(steps[1:][signal[1:] < UNRELIABLE]).sum())
    return Path(length, float(np.sqrt(variance.sum() + (scale_uncertainty * length) ** 2 + lost**2)))


def judge(result: Reconstruction, view: View, measurements: Measurements, strengths: CellStrengths, curves: str,
          scale_uncertainty: float, increment: Array, covariance: Array, mirror_note: str, of_this_machine: bool
          ) -> Reconstruction:
    """Fill in confidence, warnings, numbers and evidence of a result.

    Parameters
    ----------
    curves : where the curves come from.   scale_uncertainty : relative, of all motion out of the plane.
    mirror_note : what the mirror image rests on, where nobody knows it; else empty.
    """
    found, planar, duplicate = view.found, measurements.planar, measurements.duplicate
    n = len(result.T_first_frame)
    signal = signal_of(measurements.speckle, planar, strengths, n, view.speckled)
    path = elevational_path(increment, covariance, found.geometry, scale_uncertainty, signal)
    sure = within_tolerance(increment, covariance, float(np.mean(found.geometry.depth_mm)), scale_uncertainty)
    result.confidence = (signal * sure).astype(np.float32)
    result.numbers.update(
        probe=f"{found.geometry.kind}, from {found.source}",
        curves=curves,
        in_plane_path_mm=float(np.hypot(increment[:, 0], increment[:, 1]).sum()),
        roll_range_deg=float(np.ptp(np.degrees(np.cumsum(increment[:, 5])))),
        elevational_path_mm=path.length_mm,
        elevational_path_sd_mm=path.deviation_mm,
        cells=int(strengths.fast.shape[1]),
        cells_with_signal=float((strengths.fast > 0).mean()),
        cells_with_speckle=view.speckled_share)
    result.evidence.update(in_plane=increment[:, [0, 1, 5]], out_of_plane=increment[:, [2, 3, 4]],
                           duplicate=duplicate, signal=signal)
    warnings = result.warnings
    if found.source != "frames":
        warnings.append(f"the frames do not show the field of view ({found.reason}): the built-in probe is assumed")
    warnings.extend(found.notes)
    if not of_this_machine:
        warnings.append("no calibration of this machine was given: how far the probe moved out of the image plane "
                        f"rests on a guess about its beam and the tissue ({curves}), uncertain by "
                        f"{scale_uncertainty:.0%}; calibrate on tracked scans of this machine")
    elif scale_uncertainty > 0.1:
        warnings.append(f"out-of-plane scale is uncertain by {scale_uncertainty:.0%}: {curves}; "
                        "calibrate on tracked scans of this machine")
    if not view.measurable:
        warnings.append(f"{view.speckled_share:.0%} of the field of view shows speckle that moves: nothing can be "
                        "measured (water, wires, text, shadow, a frozen picture, or a probe that rests)")
    if mirror_note:
        warnings.append(mirror_note)
    if repeats := int(duplicate.sum()):
        warnings.append(f"{counted(repeats, 'frame')} repeat{'s' * (repeats == 1)} the one before "
                        f"(first: {np.argmax(duplicate)}): motion there is interpolated")
    pixel_mm = float(np.sqrt(found.geometry.scale[0, 0] * found.geometry.scale[1, 1]))
    if pixel_mm > COARSE_PX_MM:
        warnings.append(f"pixels of {pixel_mm:.2f} mm are coarser than speckle: motion is less accurate; export images "
                        "at full size")
    if n < FEW_FRAMES:
        warnings.append(f"{counted(n, 'frame')}: too few to tell which way the probe moved out of the plane")
    elif UNRELIABLE < (low_quartile := float(np.quantile(signal[1:], 0.25))) < HURRIED:
        warnings.append(f"frames are far apart for speckle (signal {low_quartile:.2f} or less in a quarter of "
                        "them): turns back may be missed; move more slowly or record more frames a second")
    low = signal[1:] < UNRELIABLE
    if n > 1 and low.mean() > 0.02:
        runs = np.flatnonzero(np.diff(np.concatenate([[0], low.astype(int), [0]])))
        start, stop = max(zip(runs[::2], runs[1::2], strict=True), key=lambda r: r[1] - r[0])
        warnings.append(f"speckle is decorrelated or missing in {low.mean():.0%} of the steps (longest run: frames "
                        f"{start + 1} to {stop}): out-of-plane motion there is not reliable")
    return result
