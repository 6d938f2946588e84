"""Engines that reconstruct a scan, by name: ours, and the simple ones it has to beat.

An engine takes a scan and a `Setup` and returns a `Reconstruction`. None looks at tracked poses or at the name
of a scan: the challenge hands over frames alone.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from .. import geometry as se3
from ..config import Config
from ..errors import InputError
from ..frames.view import field_of
from ..frames.working_images import sample_frames
from ..pairs.backends import backend_of
from ..pairs.measure import in_plane
from ..probe.field import ProbeGeometry, find
from ..products.motion_priors import MirrorPrior
from ..result import Reconstruction
from ..scan import Scan
from ..trajectory.hypothesis_tracking import planar_poses
from ..trajectory.phases import two_rocks

Array = NDArray[np.float64]
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Setup:
    """What an engine may be given: a speckle calibration, parameters, and a place to report progress to."""

    calibration: Any = None
    config: Config = field(default_factory=Config)
    progress: Progress | None = None


Engine = Callable[[Scan, Setup], Reconstruction]
ENGINES: dict[str, Engine] = {}
FLOW_DARK = 8      # grey level below which nothing is shown


def register(name: str) -> Callable[[Engine], Engine]:
    """Decorator: make an engine known by its name."""
    def known(engine: Engine) -> Engine:
        ENGINES[name] = engine
        return engine
    return known


def engine(name: str) -> Engine:
    """The engine of a name.

    Raises
    ------
    InputError
        If there is none.
    """
    if name not in ENGINES:
        raise InputError(f"engine '{name}': expected one of {', '.join(ENGINES)}, or challenge:PATH/predict_ddfs.py")
    return ENGINES[name]


@register("identity")
def identity(scan: Scan, setup: Setup) -> Reconstruction:
    """Nothing moves: the score's zero."""
    return _of_poses(np.tile(np.eye(4), (scan.n_frames, 1, 1)))


@register("prior")
def prior(scan: Scan, setup: Setup) -> Reconstruction:
    """In-plane motion, and out of plane what the protocol usually does: see `ProtocolPrior`."""
    if scan.n_frames < 2:
        return identity(scan, setup)
    geometry, step = _planar_steps(scan, setup)
    usual = getattr(setup.calibration, "mirror", MirrorPrior())
    return _about_face(geometry, ProtocolPrior(sign=usual.turn_sign).poses(step))


@register("inplane")
def inplane(scan: Scan, setup: Setup) -> Reconstruction:
    """In-plane motion alone."""
    if scan.n_frames < 2:
        return identity(scan, setup)
    geometry, step = _planar_steps(scan, setup)
    return _about_face(geometry, se3.chain(planar_poses(step)))


@register("flow")
def flow(scan: Scan, setup: Setup) -> Reconstruction:
    """Dense optical flow (OpenCV's DIS) between neighbours, and the rigid motion in plane that fits it best."""
    finder = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
    steps, before = [np.eye(4)], None
    unknown = np.zeros((*scan.shape, 2), np.float32)
    for _, block in scan.filled().blocks():
        for frame in block:
            if before is not None:
                steps.append(_rigid(np.asarray(finder.calc(frame, before, unknown), np.float32), frame, scan.scale))
            before = frame
    return _of_poses(se3.chain(np.stack(steps)))


@register("fixed-curve")
def fixed_curve(scan: Scan, setup: Setup) -> Reconstruction:
    """One Gaussian curve a depth, that of a usual lens whatever the probe and the tissue: neighbours, no revisits."""
    if scan.n_frames < 2:
        return identity(scan, setup)
    from ..speckle.curves import USUAL_LENSES, Curves
    kind = find(sample_frames(scan.filled()), scan.scale).geometry.kind
    gaussian = replace(Curves.of_lens(*USUAL_LENSES[kind]), tail_beta=1.0, slow_share=0.0)
    return speckle_smooth(scan, replace(setup, calibration=gaussian))


@register("speckle-smooth")
def speckle_smooth(scan: Scan, setup: Setup) -> Reconstruction:
    """The method without revisits and what rests on them: neighbours in time, and the smoother."""
    return speckle(scan, replace(setup, config=replace(setup.config, fusion="smooth")))


@register("speckle")
def speckle(scan: Scan, setup: Setup) -> Reconstruction:
    """The whole method."""
    if scan.n_frames < 2:
        return identity(scan, setup)
    from ..pipeline import reconstruct
    return reconstruct(scan, calibration=setup.calibration, config=setup.config, device=setup.config.device,
                       progress=setup.progress)


@dataclass(frozen=True)
class ProtocolPrior:
    """What a scan of the challenges usually does out of plane.

    A rotation scan fans, rocks, turns, fans and rocks again; rocking is in-plane roll, so that the two bursts of
    roll tell where the turn must lie: it begins when the first one ends. It is imposed at an even pace, the fans
    are left out. A scan without two such bursts is a sweep: across the image plane unless it runs along it.

    Attributes
    ----------
    turn_rad, sign : mean yaw of the training scans of 2025, and its usual sign.
    turn_share : part of the time between the two rocks that the turn takes: the rest is the second fan.
    sweep_mm : median step of a frame of a published sweep of 2024.
    """

    turn_rad: float = np.radians(91.0)
    sign: int = MirrorPrior().turn_sign
    turn_share: float = 0.45
    sweep_mm: float = 0.39

    def poses(self, step: Array) -> Array:
        """T_first_frame [N, 4, 4] about the face centre, from planar steps [N, 3] (x, y, roll)."""
        twist = np.zeros((len(step), 6))
        twist[:, [0, 1, 5]] = step
        rocks = two_rocks(step[:, 2])
        if rocks is not None:
            (_, first_end), (second_start, _) = rocks
            last = first_end + max(1, round(self.turn_share * (second_start - first_end)))
            planar = planar_poses(step)
            turn = np.zeros((len(step), 6))
            turn[first_end:last, 4] = self.sign * self.turn_rad / (last - first_end)
            return se3.chain(planar @ se3.exp(turn))
        # A sweep along the image plane moves by its own step there.
        along = abs(float(np.median(step[1:, 0]))) if len(step) > 1 else 0.0
        if along < self.sweep_mm / 2:
            twist[1:, 2] = self.sweep_mm
        return se3.chain(se3.exp(twist))


def _planar_steps(scan: Scan, setup: Setup) -> tuple[ProbeGeometry, Array]:
    scan = scan.filled()
    found, what, _ = field_of(scan)
    report = setup.progress or (lambda stage, done, total: None)
    within = in_plane(what.images, backend_of(what.images, "cpu", setup.config.jobs), setup.config.time_filter,
                      lambda done, total: report("in-plane motion", done, total))
    return found.geometry, within.step


def _rigid(flow_px: NDArray[np.float32], frame: NDArray[np.uint8], scale: Array) -> Array:
    """T_prev_frame [4, 4] in plane from flow [rows, columns, 2] to the frame before, over pixels that show anything.

    Least squares over every sixteenth pixel, three times: those farther off than twice the median are left out.
    """
    y, x = np.mgrid[1:frame.shape[0] + 1:4, 1:frame.shape[1] + 1:4]
    lit = frame[::4, ::4] > FLOW_DARK
    if lit.sum() < 3:
        return np.eye(4)
    size = np.array([scale[0, 0], scale[1, 1]])
    here = np.column_stack([x[lit], y[lit]]) * size + scale[:2, 3]
    there = here + flow_px[::4, ::4][lit] * size
    take = np.ones(len(here), bool)
    T = np.eye(4)
    for _ in range(3):
        mean_here, mean_there = here[take].mean(0), there[take].mean(0)
        a, b = here[take] - mean_here, there[take] - mean_there
        angle = np.arctan2((a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]).sum(), (a * b).sum())
        R = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        T[:2, :2], T[:2, 3] = R, mean_there - R @ mean_here
        off = np.linalg.norm(here @ R.T + T[:2, 3] - there, axis=1)
        take = off <= 2 * np.median(off)
    return T


def _about_face(geometry: ProbeGeometry, T: Array) -> Reconstruction:
    T_image_face = se3.translation(np.array([*geometry.face_mm, 0.0]))
    return _of_poses(T_image_face @ T @ se3.inverse(T_image_face))


def _of_poses(T_first_frame: Array) -> Reconstruction:
    n = len(T_first_frame)
    return Reconstruction(T_first_frame, se3.steps(T_first_frame), np.zeros((n, 6, 6)), np.zeros(n, np.float32))
