"""From a trajectory to a result: which way round, smoothed, with covariance, confidence and evidence."""

import numpy as np
from numpy.typing import NDArray

from .. import geometry as se3
from ..compute.clock import Clock
from ..config import Config
from ..products.stages import Measurements, SpeckleModel, Trajectory, View
from ..result import Reconstruction
from ..verdict import verdict
from . import crossing_planes, lost_frames
from .confidence import judge
from .evidence import gather, measured
from .factors import hand_acceleration
from .hand import pivot_depth
from .hypothesis_tracking import choose_mirror
from .smoother import chained_covariance, smooth, step_measurements

Array = NDArray[np.float64]


def conclude(view: View, measurements: Measurements, model: SpeckleModel, trajectory: Trajectory, config: Config,
             clock: Clock) -> Reconstruction:
    """The result of a scan, in image mm."""
    calibration, t, crossed = model.calibration, trajectory, trajectory.crossed
    uncertain = model.curves.scale_uncertainty
    if crossed:
        uncertain = crossed.scale_uncertainty(uncertain)
    with clock.stage("smoothing"):
        T, mirror_note = choose_mirror(t.T, calibration.mirror, config.mirrored)
        step, noise = step_measurements(T, measurements.planar_covariance, t.step_covariance)
        smoothed, covariance = smooth(step, noise, hand_acceleration(measurements.planar_step))
        increment = step if t.solved else smoothed      # the solve has weighed the hand's smoothness already
        if not t.solved:
            T = se3.chain(se3.exp(increment))
    first, previous = in_image(T, se3.exp(increment), view.found.geometry.face_mm)
    spread = np.array(calibration.spread)                                                                   # (7.10)
    chained = chained_covariance(T, covariance, uncertain) * np.outer(spread, spread)
    result = Reconstruction(first, previous, chained, np.zeros(len(T), np.float32), run_times_s=clock.times_s,
                            geometry=view.found.geometry, warnings=warnings_of(view, measurements, trajectory))
    result.numbers.update(numbers_of(measurements, t, pivot_depth(T)), static_share=round(view.static_share, 4),
                          calibration_hash=calibration.hash)
    result.evidence["revisit_pairs"] = np.stack([measurements.loops.planar.i, measurements.loops.planar.j], 1)
    result.evidence.update(gather(increment, view.found.geometry, model.curves))
    result.evidence.update(measured(T, measurements.speckle, model.forms, t.strengths, model.curves))
    judge(result, view, measurements, t.strengths, model.curves.source, uncertain, increment, covariance, mirror_note,
          calibration.of_this_machine)
    similarity = crossed.similarity[1] if crossed and crossed.crossings else None
    result.verdict = verdict(result.confidence, similarity, uncertain, handed=config.mirrored,
                             speckled=float(view.speckled.mean()))
    return result


def in_image(T: Array, step: Array, face_mm: tuple[float, float]) -> tuple[Array, Array]:
    """Poses and steps [N, 4, 4] about the face's centre, in image mm; those of frame 0 are the identity."""
    A = se3.translation(np.array([*face_mm, 0.0]))
    first, previous = A @ T @ se3.inverse(A), A @ step @ se3.inverse(A)
    first[0] = previous[0] = np.eye(4)
    return first, previous


def warnings_of(view: View, measurements: Measurements, trajectory: Trajectory) -> list[str]:
    """What the stages have to say, one line each."""
    lost, crossed = trajectory.lost_frames, trajectory.crossed
    return [*view.warnings, *measurements.warnings, *(lost_frames.warnings_of(lost) if lost else []),
            *(crossing_planes.warnings_of(crossed) if crossed else [])]


def numbers_of(measurements: Measurements, t: Trajectory, pivot_mm: float) -> dict[str, float | int | str]:
    """Counts and figures of the stages."""
    out: dict[str, float | int | str] = {
        "device": measurements.device, "motion": "about a contact point" if t.hand.pivot else "swept along"}
    if t.hand.pivot:
        out["pivot_mm"] = round(pivot_mm, 2)
    out |= {"time_filter": str(measurements.time_filter) or "none",
            "lost_frames": round(t.lost_frames.share, 4) if t.lost_frames else 0.0,
            "revisits": len(measurements.loops),
            "parts_exchanged": len(t.mended.parts) if t.mended else 0,
            "mirrors_mended": len(t.mended.mirrors) if t.mended else 0,
            "outlier_steps_mended": t.outlier_steps}
    if t.crossed and t.crossed.crossings:
        out["orthogonal_similarity"] = round(t.crossed.similarity[1], 4)
        out["orthogonal_gain"] = round(t.crossed.gain, 4)
    return out
