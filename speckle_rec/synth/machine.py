"""What real machines, hands and trackers do to a scan beyond echoes and poses; each effect is a switch."""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from .. import geometry as se3
from ..probe.field import ProbeGeometry

Array = NDArray[np.float64]
Frame = NDArray[np.uint8]
Rng = np.random.Generator

JITTER_DEG_PER_MM = 0.3      # a body of markers some 20 cm across turns this much
LINES = 128                  # lateral samples of the coupling
CONTACT_IN_AIR = 0.02        # amplitude that still passes, each way
LIFT_OFF_FRAMES = (12, 40)
LIFT_OFF_RAMP_FRAMES = 4
GAIN_RAMP_FRAMES = 8
COMPRESSION_DEPTH_MM = 30.0  # tissue this deep follows the face by 1/e
COMPRESSION_WIDTH_MM = 30.0
COMPRESSION_REACH_MM = 4.0   # more is never pressed


@dataclass(frozen=True)
class Machine:
    """Effects of a real acquisition; the defaults switch all of them off.

    Attributes
    ----------
    persistence : float
        Part of the previous picture that stays in the next, 0 to .9 (on grey levels, as scanners do it).
    duplicates, drops : float
        Part of the frames that repeat the previous picture while the tracker moves on, and part of the
        instants of which neither picture nor pose was recorded.
    gain_change_db : float
        Standard deviation of two turns of the gain knob during the scan.
    lift_offs : int
        How often one side of the face loses contact for a moment.
    compression : float
        Part of the probe's push below the resting skin that the tissue under the face follows (0 to 1).
    tracker_jitter_mm, tracker_jitter_deg : float
        Root mean square of the position (3D) and of each angle about the probe face, in the written tforms
        only; .05-.1 mm for the optical trackers in use.
    overlay : bool
        Text, depth ticks, a logo and an orientation mark burnt into the frames.
    """

    persistence: float = 0.0
    duplicates: float = 0.0
    drops: float = 0.0
    gain_change_db: float = 0.0
    lift_offs: int = 0
    compression: float = 0.0
    tracker_jitter_mm: float = 0.0
    tracker_jitter_deg: float = 0.0
    overlay: bool = False

    @classmethod
    def realistic(cls) -> "Machine":
        """Every effect at a size met in practice."""
        return cls(persistence=0.3, duplicates=0.01, drops=0.005, gain_change_db=3.0, lift_offs=2,
                   compression=0.7, tracker_jitter_mm=0.07, tracker_jitter_deg=0.02, overlay=True)


@dataclass(frozen=True)
class Recording:
    """Which instants of a motion were recorded.

    Attributes
    ----------
    pose_instant : int [N]
        Instant whose pose the tracker wrote with frame i; increasing, gaps are dropped frames.
    image_instant : int [N]
        Instant whose picture frame i shows; a duplicate shows that of the frame before.
    """

    pose_instant: NDArray[np.int64]
    image_instant: NDArray[np.int64]


def record(n_frames: int, machine: Machine, rng: Rng) -> Recording:
    """Choose dropped and duplicated frames so that `n_frames` are recorded."""
    dropped = rng.geometric(1 - machine.drops, n_frames) - 1 if machine.drops else np.zeros(n_frames, int)
    dropped[0] = 0
    pose = np.arange(n_frames) + np.cumsum(dropped)
    duplicate = rng.random(n_frames) < machine.duplicates
    duplicate[0] = False
    shown = np.maximum.accumulate(np.where(duplicate, 0, np.arange(n_frames)))
    return Recording(pose, pose[shown])


def gain_db(n_frames: int, machine: Machine, rng: Rng) -> Array:
    """Gain [N] in dB: two turns of the knob, each over about half a second, at random frames."""
    at = np.sort(rng.uniform(0.1, 0.9, 2)) * n_frames
    size = machine.gain_change_db * rng.standard_normal(2)
    ramp = np.clip((np.arange(n_frames)[:, None] - at) / GAIN_RAMP_FRAMES, 0, 1)
    return ramp @ size


def contact(n_frames: int, machine: Machine, rng: Rng) -> NDArray[np.float32] | None:
    """Coupling [N, LINES] of the face, 1 in contact and near 0 in air; None without lift-offs."""
    if machine.lift_offs <= 0:
        return None
    out = np.ones((n_frames, LINES))
    frame, line = np.arange(n_frames)[:, None], np.linspace(0, 1, LINES)
    for _ in range(machine.lift_offs):
        start, length = rng.uniform(0.05, 0.9) * n_frames, rng.uniform(*LIFT_OFF_FRAMES)
        reach, side = rng.uniform(0.2, 0.6), rng.random() < 0.5
        time = np.clip(np.minimum(frame - start, start + length - frame) / LIFT_OFF_RAMP_FRAMES, 0, 1)
        x = line if side else 1 - line
        lost = 1 / (1 + np.exp(np.clip((x - reach * time) / 0.02, -50, 50))) * (time > 0)
        out = np.minimum(out, 1 - (1 - CONTACT_IN_AIR) * lost)
    return out.astype(np.float32)


def pressed_mm(T_world_image: Array, geometry: ProbeGeometry, skin_mm: float = 0.0) -> Array:
    """How far [N] the centre of the face is below the resting skin (negative: above it)."""
    face = T_world_image @ np.array([*geometry.face_mm, 0, 1])
    return face[:, 1] - skin_mm


def compression(T_world_image: Array, pushed_mm: float, geometry: ProbeGeometry) -> Callable[[Array], Array]:
    """Warp of world points [K, 3] (mm) under a face that is pushed in by `pushed_mm` along its own axis.

    The displacement is that of the face at the face and fades with depth and to the sides.
    """
    push = float(np.clip(pushed_mm, -COMPRESSION_REACH_MM, COMPRESSION_REACH_MM))
    face = (T_world_image @ np.array([*geometry.face_mm, 0, 1]))[:3]
    axis = T_world_image[:3, 1]

    def warp(points_mm: Array) -> Array:
        from_face = points_mm - face
        depth = from_face @ axis
        side2 = (from_face**2).sum(-1) - depth**2
        size = push * np.exp(-np.maximum(depth, 0) / COMPRESSION_DEPTH_MM - side2 / (2 * COMPRESSION_WIDTH_MM**2))
        return points_mm + size[..., None] * axis

    return warp


def tracked(T_world_image: Array, machine: Machine, geometry: ProbeGeometry, rng: Rng) -> Array:
    """Poses [N, 4, 4] as a tracker with jitter sees them."""
    n = len(T_world_image)
    twist = np.concatenate([machine.tracker_jitter_mm / np.sqrt(3) * rng.standard_normal((n, 3)),
                            np.deg2rad(machine.tracker_jitter_deg) * rng.standard_normal((n, 3))], 1)
    face = np.array([*geometry.face_mm, 0.0])
    return T_world_image @ se3.translation(face) @ se3.exp(twist) @ se3.translation(-face)


def blend(frame: Frame, shown: Frame | None, machine: Machine) -> Frame:
    """The picture shown: `frame` with what persists of the one shown before."""
    if shown is None or machine.persistence <= 0:
        return frame
    return cv2.addWeighted(frame, 1 - machine.persistence, shown, machine.persistence, 0).astype(np.uint8, copy=False)


def overlay(geometry: ProbeGeometry) -> Frame:
    """What a screen grab adds: text and a logo beside the fan, depth ticks, an orientation mark at its edge."""
    columns = geometry.shape[1]
    out = np.zeros(geometry.shape, np.uint8)
    font = cv2.FONT_HERSHEY_SIMPLEX
    for k, line in enumerate(("MSK Forearm", "6.0 MHz", "9.0 cm", "DR 83 dB")):
        cv2.putText(out, line, (8, 22 + 16 * k), font, 0.4, 190, 1, cv2.LINE_AA)
    cv2.rectangle(out, (columns - 60, 8), (columns - 10, 26), 150, 1)
    cv2.putText(out, "US", (columns - 45, 22), font, 0.4, 220, 1, cv2.LINE_AA)
    sx, sy = geometry.scale[0, 0], geometry.scale[1, 1]
    for depth in range(0, int(geometry.depth_mm[1]) + 1, 10):
        row = round((geometry.face_mm[1] + depth) / sy)
        cv2.line(out, (columns - (9 if depth % 50 == 0 else 6), row), (columns - 3, row), 170, 1)
    x, y = geometry.cartesian(geometry.depth_mm[0] + 1.0, geometry.lateral[0])
    cv2.circle(out, (round(float(x) / sx) - 8, round(float(y) / sy)), 4, 230, -1)
    return out

