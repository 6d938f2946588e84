"""From frames to poses: the method on one screen (docs/METHOD.md tells it as a paper would)."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np

from . import brightness, contact, leaps, lost_frames, orthogonal, persistence, static
from . import geometry as se3
from .adaptation import adapt
from .calibration import Calibration, Uncalibrated
from .confidence import TOO_LITTLE, judge
from .config import Config
from .decorrelation import Curves
from .direction import choose_mirror, other_starts, search, sequential
from .evidence import gather, measured
from .exchange import exchanged
from .fan import Hand, is_swept, pivot_depth
from .fusion import Factors, chained_covariance, drawn, hand_acceleration, smooth, solve, step_measurements
from .inplane import planar_chain
from .lost_frames import NONE_LOST, solve_timed
from .measuring import measuring
from .memory import keep_freed
from .mirror import ENOUGH_LOOPS, Mended, cheapest, confirmed, least, mend, sampled, thinned
from .orthogonal import Anatomy, Calibrated, self_calibrate
from .probe import cells, find
from .protocol import phase_precision, two_rocks
from .result import Reconstruction
from .revisit import NO_LOOPS
from .scan import Scan
from .speckled import speckled
from .verdict import verdict
from .working import WorkingImages, sample_frames

Progress = Callable[[str, int, int], None]


def reconstruct(scan: Scan, *, calibration: Calibration | Curves | None = None, config: Config | None = None,
                device: str = "auto", progress: Progress | None = None) -> Reconstruction:
    """Poses of every frame of a scan, from its images alone.

    Parameters
    ----------
    scan : frames and pixel scale; tracked poses, if the scan has any, are never looked at.
    calibration : of this machine; by default the one shipped for curvilinear probes, physical curves for linear
        ones. Bare curves go without the regression over what the images show of each cell.
    config : the few parameters; defaults if None.
    device : "cpu", "gpu", or "auto" for a GPU that works; where frame pairs are measured (see `measuring`).
    progress : called with (stage, done, total).

    Returns
    -------
    Reconstruction

    Raises
    ------
    InputError
        If "gpu" is asked for and none works.
    """
    keep_freed()
    config = config or Config()
    scan = scan.kept()
    clock = Clock(progress)
    with clock.stage("probe"):
        found, static_share, samples = static.taken_out(scan, find(sample_frames(scan), scan.scale))        # (2.8)
        images = WorkingImages.of(scan, found.geometry)
        grid = cells(images.geometry)
        alive = speckled(*samples, images, grid)                                                            # (6.1)
        fusion = config.fusion if alive.mean() >= TOO_LITTLE else "smooth"
        if by_hand := isinstance(calibration, Curves):
            calibration = Uncalibrated.of(calibration)
        calibration = calibration or Calibration.default(found.geometry.kind)
        curves = calibration.curves if by_hand or calibration.of_this_machine else calibration.curves.guessed()
        hand = Hand.of(found.geometry.kind, calibration.priors)
        pairs = measuring(images, device, config.jobs)
        bright = brightness.warnings_of(brightness.measure(images))
        lost = contact.lost_in(images, grid)                                                                # (3.12)
    with clock.stage("in-plane motion") as report:
        planar, duplicate = pairs.planar_motion(progress=report)
        seen = persistence.seen(planar, images.geometry)                                                    # (2.7)
        if blended := persistence.share(images, planar, config.jobs) if config.undo_persistence else 0.0:
            images = persistence.undone(images, blended)
            pairs = measuring(images, device, config.jobs)
            planar, duplicate = pairs.planar_motion(progress=report)
        planar_step, planar_covariance = planar_chain(planar, scan.n_frames)
        acceleration = hand_acceleration(planar_step)
    with clock.stage("speckle correlation") as report:
        speckle = pairs.correlate(grid, planar_step, duplicate, progress=report).without(lost)
        strengths_of = calibration.judge(speckle, images, grid, config.jobs)
        strengths = strengths_of(None)
        speckle = curves.resampled(speckle)
        forms = calibration.forms(images.geometry, grid)
    with clock.stage("direction"):
        if hand.pivot and two_rocks(planar_step[:, 2]) is None:
            T, _, _ = sequential(planar_step, speckle, forms, strengths, curves, hand.swept)
            hand = hand.swept if is_swept(T) else hand
        T, _, _ = sequential(planar_step, speckle, forms, strengths, curves, hand)
        strengths = adapt(strengths_of(T), T, speckle, forms, curves)
        T, _, step_covariance = search(planar_step, speckle, forms, strengths, curves, hand)
    loops, mended, crossed, solved = NO_LOOPS, Mended(T), Calibrated(T), fusion == "batch"
    missing, leapt = NONE_LOST, 0
    if fusion == "batch":
        with clock.stage("batch solve"):
            T = solve(T, Factors.of(planar, speckle, forms, strengths, curves, hand, acceleration=acceleration))
    elif fusion == "revisits":
        with clock.stage("revisits") as report:
            loops = pairs.find_loops(grid, planar_step, duplicate, progress=report)
            loops = replace(loops, speckle=curves.resampled(loops.speckle.without(lost)))
        seen_again = len(loops) >= ENOUGH_LOOPS
        if solved := seen_again or not hand.pivot:
            factors = Factors.of(planar, speckle, forms, strengths, curves, hand if hand.pivot else hand.upright,
                                 loops if seen_again else None, acceleration)
            speckle = replace(speckle, rho=factors.rho[:len(speckle.rho)])      # half a gigabyte in long scans
            with clock.stage("starts"):
                others, back = other_starts(planar_step, speckle, forms, strengths, curves, hand)
                forward = [T, *others]
                T = cheapest(forward, factors) if hand.pivot else least([*forward, back], factors)
            crossed = Calibrated(T)
        if seen_again:
            with clock.stage("mirror tests"):
                some = thinned(sampled(factors))
                mended = mend(solve(drawn(T, some), some), some)
                mended = exchanged(mended, [*forward, back], some)
                mended = mended if hand.pivot else confirmed(mended, T, factors)
                strengths = adapt(strengths_of(mended.T), mended.T, speckle, forms, curves)
                factors = replace(factors.judged(strengths), phase_precision=phase_precision(mended.T, hand))
                some = thinned(sampled(factors))
            with clock.stage("orthogonal planes"):
                crossed = self_calibrate(mended.T, some, Anatomy.of(scan, found.geometry))
                curves = replace(curves, scale_uncertainty=crossed.scale_uncertainty(curves.scale_uncertainty))
        if solved:
            with clock.stage("batch solve"):
                factors = replace(factors, phase_precision=phase_precision(crossed.T, hand))               # (5.5b)
                factors = crossed.settled(factors)                                                          # (5.1b)
                T, leapt = leaps.mended(crossed.T, factors)                                                 # (8.5)
                T, missing = solve_timed(T, factors, duplicate)                                             # (5.4b)
                T = calibration.crossed_fans.undone(T) if crossed.crossings else T                          # (7.9b)
    with clock.stage("fusion"):
        T, mirror_note = choose_mirror(T, calibration.mirror, config.mirrored)
        step, noise = step_measurements(T, planar_covariance, step_covariance)
        smoothed, covariance = smooth(step, noise, acceleration)
        increment = step if solved else smoothed        # the solve has weighed the hand's smoothness already
        if not solved:
            T = se3.chain(se3.exp(increment))
    T_image_face = se3.translation(np.array([*found.geometry.face_mm, 0.0]))
    T_first_frame = T_image_face @ T @ se3.inverse(T_image_face)
    T_prev_frame = T_image_face @ se3.exp(increment) @ se3.inverse(T_image_face)
    T_first_frame[0] = T_prev_frame[0] = np.eye(4)
    spread = np.array(calibration.spread)                                                                   # (7.10)
    result = Reconstruction(T_first_frame, T_prev_frame,
                            chained_covariance(T, covariance, curves.scale_uncertainty) * np.outer(spread, spread),
                            np.zeros(scan.n_frames, np.float32), run_times_s=clock.times_s,
                            geometry=found.geometry,
                            warnings=[*pairs.warnings, *bright, *contact.warnings_of(lost),
                                      *static.warnings_of(static_share), *persistence.warnings_of(seen, blended),
                                      *lost_frames.warnings_of(missing),
                                      *orthogonal.warnings_of(crossed)])
    result.numbers["device"] = pairs.name
    result.numbers["motion"] = "about a contact point" if hand.pivot else "swept along"
    if hand.pivot:
        result.numbers["pivot_mm"] = round(pivot_depth(T), 2)
    result.numbers["static_share"] = round(static_share, 4)
    result.numbers["persistence"] = blended
    result.numbers["lost_frames"] = round(missing.share, 4)
    result.numbers["revisits"] = len(loops)
    result.numbers["parts_exchanged"] = len(mended.parts)
    result.numbers["mirrors_mended"] = len(mended.mirrors)
    result.numbers["leaps_mended"] = leapt
    if crossed.crossings:
        result.numbers["orthogonal_similarity"] = round(crossed.similarity[1], 4)
        result.numbers["orthogonal_gain"] = round(crossed.gain, 4)
    result.evidence["revisit_pairs"] = np.stack([loops.planar.i, loops.planar.j], 1)
    result.evidence.update(gather(increment, found.geometry, curves))
    result.evidence.update(measured(T, speckle, forms, strengths, curves))
    result.numbers["calibration_hash"] = calibration.hash
    result = judge(result, found, planar, speckle, strengths, duplicate, curves, increment, covariance, mirror_note,
                   alive, calibration.of_this_machine)
    result.verdict = verdict(result.confidence, crossed.similarity[1] if crossed.crossings else None,
                             curves.scale_uncertainty, handed=config.mirrored, speckled=float(alive.mean()))
    return result


class Clock:
    """Run times by stage, and the progress of each."""

    def __init__(self, progress: Progress | None):
        self.progress = progress
        self.times_s: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[Callable[[int, int], None]]:
        """Time a block; yields its progress callback (done, total)."""
        def report(done: int, total: int) -> None:
            if self.progress:
                self.progress(name, done, total)
        started = time.perf_counter()
        report(0, 1)
        yield report
        report(1, 1)
        self.times_s[name] = self.times_s.get(name, 0.0) + time.perf_counter() - started
