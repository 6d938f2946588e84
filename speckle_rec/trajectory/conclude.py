"""From a trajectory to a result: which way round, smoothed, with covariance, confidence and evidence."""

import numpy as np
from numpy.typing import NDArray

from .. import geometry as se3
from ..compute.clock import Clock
from ..config import Config
from ..errors import InputError
from ..io.orientation import Orientation
from ..products.stages import Measurements, SpeckleModel, Trajectory, View
from ..result import Reconstruction
from ..verdict import verdict
from . import crossing_planes, inertial, lost_frames
from .confidence import judge
from .evidence import coherence, gather, measured
from .factors import hand_acceleration
from .hand import pivot_depth
from .handedness import Handedness, Voice, decided
from .smoother import bend_covariance, chained_covariance, smooth, step_measurements

Array = NDArray[np.float64]


def conclude(view: View, measurements: Measurements, model: SpeckleModel, trajectory: Trajectory, config: Config,
             clock: Clock, orientation: Orientation | None = None) -> Reconstruction:
    """The result of a scan, in image mm.

    Raises
    ------
    InputError
        If those who know which mirror image is the true one disagree, or `orientation` does not cover the scan.
    """
    calibration, t, crossed = model.calibration, trajectory, trajectory.crossed
    uncertain = model.curves.scale_uncertainty
    if crossed:
        uncertain = crossed.scale_uncertainty(uncertain)
    with clock.stage("smoothing"):
        T, step_covariance = t.T, t.step_covariance
        sensor = None if orientation is None else sensed(T, view, orientation)
        if sensor and sensor.usable:
            T = inertial.corrected(T, sensor, times_of(view), model.curves.focus_mm, uncertain)
            step_covariance = inertial.step_covariance(step_covariance, model.curves.focus_mm)
        handed = handedness(T, view, t, model, config, sensor, orientation)
        T = handed.T
        step, noise = step_measurements(T, measurements.planar_covariance, step_covariance)
        smoothed, covariance = smooth(step, noise, hand_acceleration(measurements.planar_step))
        increment = step if t.solved else smoothed      # the solve has weighed the hand's smoothness already
        if not t.solved:
            T = se3.chain(se3.exp(increment))
    first, previous = in_image(T, se3.exp(increment), view.found.geometry.face_mm)
    spread = np.array(calibration.spread)                                                                   # (7.10)
    scaled = (2,) if sensor and sensor.usable else (2, 3, 4)
    chained = chained_covariance(T, covariance, uncertain, scaled) * np.outer(spread, spread)
    if not t.hand.pivot and not (sensor and sensor.usable):
        chained += bend_covariance(T)
    result = Reconstruction(first, previous, chained, np.zeros(len(T), np.float32), run_times_s=clock.times_s,
                            geometry=view.found.geometry,
                            warnings=[*warnings_of(view, measurements, trajectory), *handed.warnings,
                                      *(inertial.warnings_of(sensor) if sensor else [])])
    result.numbers.update(numbers_of(measurements, t, pivot_depth(T)), static_share=round(view.static_share, 4),
                          calibration_hash=calibration.hash)
    result.numbers.update(reading=handed.reading, other_reading=handed.other_reading)
    if sensor:
        result.numbers.update(sensor.numbers)
    result.evidence["revisit_pairs"] = np.stack([measurements.loops.planar.i, measurements.loops.planar.j], 1)
    result.evidence.update(gather(increment, view.found.geometry, model.curves))
    result.evidence.update(measured(T, measurements.speckle, model.forms, t.strengths, model.curves))
    result.evidence.update(cell_mm=view.cells.centres_mm, cell_coherence=coherence(measurements.speckle, len(T)))
    judge(result, view, measurements, t.strengths, model.curves.source, uncertain, increment, covariance,
          assumed(handed), calibration.of_this_machine)
    similarity = crossed.similarity[1] if crossed and crossed.crossings else None
    result.verdict = verdict(result.evidence["signal"], similarity, uncertain, handed=handed.known,
                             speckled=0.0 if measurements.time_filter.only_noise else view.speckled_share)
    result.verdict["why"] += f"; {handed.why}"
    return result


def times_of(view: View) -> Array:
    """Times [N] (s) of the frames."""
    scan = view.scan
    return np.arange(scan.n_frames) / scan.frame_rate_hz if scan.timestamps_s is None else scan.timestamps_s


def sensed(T: Array, view: View, orientation: Orientation) -> inertial.Inertial:
    """The sensor fitted to the trajectory: its axes may be those of the image, or of the tracked tool."""
    tool = view.scan.T_tool_image
    return inertial.fit(T, times_of(view), orientation, [np.eye(3), *([] if tool is None else [tool[:3, :3]])])


def handedness(T: Array, view: View, t: Trajectory, model: SpeckleModel, config: Config,
               sensor: inertial.Inertial | None, orientation: Orientation | None) -> Handedness:
    """Which of the two mirror images it is; see `handedness.decided`."""
    voice = None
    if sensor and orientation and sensor.mirrored is not None:
        voice = Voice(f"the sensor of {orientation.source}", sensor.mirrored)
    try:
        return decided(T, t.hand.pivot, config, model.calibration.mirror, voice,
                       sensed=sensor is not None and sensor.usable)
    except InputError as error:
        raise InputError(f"{view.scan.name}: {error}") from error


def assumed(handed: Handedness) -> str:
    """What the mirror image rests on where nobody told it; else nothing."""
    if handed.known:
        return ""
    if not handed.reading:
        return handed.note
    return (f"{handed.note}; so the scan is {handed.reading}, and may as well be {handed.other_reading}: --swept, "
            "--turned or --tilted-first tells which")


def in_image(T: Array, step: Array, face_mm: tuple[float, float]) -> tuple[Array, Array]:
    """Poses and steps [N, 4, 4] about the face's centre, in image mm; those of frame 0 are the identity."""
    A = se3.translation(np.array([*face_mm, 0.0]))
    first, previous = A @ T @ se3.inverse(A), A @ step @ se3.inverse(A)
    first[0] = previous[0] = np.eye(4)
    return first, previous


def warnings_of(view: View, measurements: Measurements, trajectory: Trajectory) -> list[str]:
    """What the stages have to say, one line each."""
    lost, crossed = trajectory.lost_frames, trajectory.crossed
    return [*view.warnings, *measurements.warnings, *(trajectory.motion.warnings if trajectory.motion else []),
            *(lost_frames.warnings_of(lost) if lost and not measurements.time_filter.only_noise else []),
            *(crossing_planes.warnings_of(crossed) if crossed else [])]


def numbers_of(measurements: Measurements, t: Trajectory, pivot_mm: float) -> dict[str, float | int | str]:
    """Counts and figures of the stages."""
    out: dict[str, float | int | str] = {
        "device": measurements.device, **(t.motion.numbers if t.motion else {})}
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
