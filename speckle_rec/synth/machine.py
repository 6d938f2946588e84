"""What real machines, hands and trackers do to a scan beyond echoes and poses; each effect is a switch."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .. import geometry as se3
from ..errors import InputError
from ..io import checks
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
FILTERS = ("none", "mean", "recursion")
FILTERED = ("grey", "amplitude")
MOST_JITTER = 0.3            # intervals stay positive


@dataclass(frozen=True)
class Machine:
    """Effects of a real acquisition; the defaults switch all of them off.

    Attributes
    ----------
    filter, filter_frames, filter_share : str, int, float
        Filter over time: "none"; "mean" over the last `filter_frames`; or "recursion", in which `filter_share` of the
        picture shown before stays in the next, 0 to .9.
    filter_on : str
        What is filtered: "grey" levels, or "amplitude" before compression.
    interval_jitter : float
        Standard deviation of the time between two frames over its mean.
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
    """

    filter: str = "none"
    filter_frames: int = 2
    filter_share: float = 0.3
    filter_on: str = "grey"
    interval_jitter: float = 0.0
    duplicates: float = 0.0
    drops: float = 0.0
    gain_change_db: float = 0.0
    lift_offs: int = 0
    compression: float = 0.0
    tracker_jitter_mm: float = 0.0
    tracker_jitter_deg: float = 0.0

    def __post_init__(self):
        for name, known in (("filter", FILTERS), ("filter_on", FILTERED)):
            if getattr(self, name) not in known:
                raise InputError(f"{name}: expected one of {', '.join(known)}, found {getattr(self, name)!r}")
        checks.whole(self.filter_frames, "filter_frames", 1, 16)
        checks.whole(self.lift_offs, "lift_offs", 0, 100)
        for name, high in (("filter_share", 0.9), ("interval_jitter", MOST_JITTER), ("duplicates", 0.5), ("drops", 0.5),
                           ("gain_change_db", 60), ("compression", 1), ("tracker_jitter_mm", 10),
                           ("tracker_jitter_deg", 10)):
            checks.number(getattr(self, name), name, 0, high)

    @classmethod
    def realistic(cls) -> "Machine":
        """Every effect at a size met in practice."""
        return cls(filter="recursion", filter_share=0.3, duplicates=0.01, drops=0.005, gain_change_db=3.0, lift_offs=2,
                   compression=0.7, tracker_jitter_mm=0.07, tracker_jitter_deg=0.02)


@dataclass(frozen=True)
class Recording:
    """Which instants of a motion were recorded.

    Attributes
    ----------
    pose_instant : int [N]
        Instant whose pose the tracker wrote with frame i; increasing, gaps are dropped frames.
    image_instant : int [N]
        Instant whose picture frame i shows; a duplicate shows that of the frame before.
    late : float [N]
        How much later than its instant frame i was recorded, in intervals.
    """

    pose_instant: NDArray[np.int64]
    image_instant: NDArray[np.int64]
    late: Array

    def poses(self, T: Array) -> tuple[Array, Array]:
        """Poses [N, 4, 4] that were written and that were shown, of those [M, 4, 4] of all instants and one more."""
        written = between(T, self.pose_instant + self.late)
        return written, written[np.searchsorted(self.pose_instant, self.image_instant)]


def between(T: Array, at: Array) -> Array:
    """Poses at times `at` [N] of a motion [M, 4, 4]; steps are even between two of its instants."""
    k = np.floor(at).astype(np.int64)
    part = (at - k)[:, None]
    if not part.any():
        return T[k]
    return T[k] @ se3.exp(part * se3.log(se3.inverse(T[k]) @ T[np.minimum(k + 1, len(T) - 1)]))


def record(n_frames: int, machine: Machine, rng: Rng) -> Recording:
    """Choose dropped and duplicated frames so that `n_frames` are recorded."""
    dropped = rng.geometric(1 - machine.drops, n_frames) - 1 if machine.drops else np.zeros(n_frames, int)
    dropped[0] = 0
    pose = np.arange(n_frames) + np.cumsum(dropped)
    duplicate = rng.random(n_frames) < machine.duplicates
    duplicate[0] = False
    shown = np.maximum.accumulate(np.where(duplicate, 0, np.arange(n_frames)))
    late = np.zeros(n_frames)
    if machine.interval_jitter:
        late[1:] = np.clip(machine.interval_jitter / np.sqrt(2) * rng.standard_normal(n_frames - 1), -0.45, 0.45)
    return Recording(pose, pose[shown], late)


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


class TimeFilter:
    """What a machine shows of one picture after another."""

    def __init__(self, machine: Machine):
        self._machine = machine
        self._last: deque[NDArray[np.float32]] = deque(maxlen=machine.filter_frames if machine.filter == "mean" else 1)

    def __call__(self, picture: NDArray) -> NDArray:
        """The picture shown, of the same type; the first are averaged over as many as there are."""
        if self._machine.filter == "none":
            return picture
        new = picture.astype(np.float32)
        if self._machine.filter == "recursion" and self._last:
            share = np.float32(self._machine.filter_share)
            new = (1 - share) * new + share * self._last[-1]
        self._last.append(new)
        shown: NDArray = np.stack(self._last).mean(0)
        return np.rint(shown).astype(np.uint8) if picture.dtype == np.uint8 else shown


def noise_correlation(machine: Machine, lags: int) -> Array:
    """Correlation [lags + 1] over frames of pure noise behind the filter: sum h_m h_{m+lag} / sum h_m^2."""
    h = {"none": np.ones(1), "mean": np.ones(machine.filter_frames),
         "recursion": machine.filter_share ** np.arange(200.0)}[machine.filter]
    full = np.convolve(h, h[::-1])[len(h) - 1:]
    return np.pad(full, (0, lags + 1))[:lags + 1] / full[0]
