"""Hand-held probe motions with known poses: the 2025 rotation protocol and the 2024 sweeps.

World frame (mm): x along the forearm towards the wrist, y into the tissue from the skin, z = x cross y
across the arm; the elbow end of the scan, where the probe touches the skin, is the origin.

A pose is built about the centre of the probe face: ``T_world_image = shift(contact) R shift(-face)`` with
``R = R_start R_y(turn) R_x(fan) R_z(rock)``, that is, turned about the skin's normal first and then tilted
in the axes of the turned probe. Fan is out of plane (about image x), rock in plane (about image z).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from ..errors import InputError
from ..geometry import exp, translation

Array = NDArray[np.float64]
Rng = np.random.Generator

FRAME_RATE_HZ = 20.0
PHASES = ("fan", "rock", "turn", "fan again", "rock again")
SWEEPS = tuple(f"{hand}_{plane}_{shape}_{way}" for hand in ("RH", "LH") for plane in ("Par", "Per")
               for shape in "LCS" for way in ("DtP", "PtD"))

# Image x across the arm and image z towards the wrist (perpendicular), or image x along it (parallel).
R_WORLD_IMAGE = {"Per": np.array([[0.0, 0, 1], [0, 1, 0], [-1, 0, 0]]), "Par": np.eye(3)}


@dataclass(frozen=True)
class Trajectory:
    """Known poses of a scan.

    Attributes
    ----------
    T_world_image : float64 [N, 4, 4]
    phase : [N] strings
        What the hand is doing; each phase is one run of frames.
    """

    T_world_image: Array
    phase: NDArray[np.str_]


@dataclass(frozen=True)
class Hand:
    """How steadily a probe is held. Standard deviations; times in frames of 1/20 s.

    The scatter of the contact point and its correlation over some 50 frames are those measured on
    rotation scans; the tremor left after smoothing is a tracked sweep's residue without tracker noise.
    """

    drift_mm: tuple[tuple[float, float], ...] = ((1.2, 2.0), (0.4, 0.4), (0.8, 2.6))  # image x, y, z: a range each
    drift_frames: float = 50.0
    wobble_deg: float = 1.0
    wobble_frames: float = 40.0
    tremor_mm: float = 0.06           # of the 3D vector, root mean square
    tremor_deg: float = 0.03
    tremor_frames: float = 3.0
    unevenness: float = 0.35          # of the logarithm of the speed
    unevenness_frames: float = 30.0
    reversal_frames: float = 7.0      # a stroke's turning point is rounded over about twice this
    slides: int = 0                   # sudden slides of the contact point during the scan [0-4]
    slide_mm: tuple[float, float] = (2.0, 10.0)   # range of their lengths; they stay
    slide_frames: float = 12.0        # how long one takes [6-30]


# The hand of a sweep leans on the arm as it goes.
SWEEPING_HAND = Hand(drift_mm=((0.3, 0.8), (0.3, 0.5), (0.3, 0.8)), wobble_deg=1.5)


@dataclass(frozen=True)
class RotationProtocol:
    """Population of rotation scans (means and standard deviations over scans; angles in degrees).

    The turn, the share of scans with the usual signs and the identity errors that the defaults reproduce
    (LPE .36 mm, GPE 24-27 mm) are those of the TUS-REC2025 training data and leaderboard.
    """

    fan_deg: tuple[float, float] = (25.0, 4.0)
    rock_deg: tuple[float, float] = (15.0, 3.0)
    turn_deg: tuple[float, float] = (-91.0, 3.7)
    usual_turn: float = 0.95
    usual_fan: float = 0.92
    strokes: tuple[tuple[int, int], ...] = ((4, 6), (4, 6), (2, 3), (2, 3))   # half periods of fan, rock, fan, rock
    asymmetry: float = 0.12                   # relative scatter of single strokes
    speed_deg: tuple[float, float, float] = (0.5, 0.4, 0.4)   # fan, rock, turn: degrees a frame
    pause_chance: float = 0.3                 # at the end of a stroke
    pause_frames: tuple[int, int] = (6, 25)
    shortest_frames: int = 900                # shorter scans shrink all angles so that speeds stay real
    full_frames: int = 1600                   # shorter scans have fewer strokes, down to half


@dataclass(frozen=True)
class SweepProtocol:
    """How a sweep runs along the arm.

    Attributes
    ----------
    step_mm : float
        Step of a frame [.1-1.5]; .39 in a published sweep. Very long scans are slower, since the arm ends.
    length_mm : range of the arm that there is to sweep.
    revisits : int
        How often the hand goes back part of the way and on again [0-3].
    revisit_share : range of the part of the sweep that it goes back by.
    """

    step_mm: float = 0.39
    length_mm: tuple[float, float] = (100.0, 200.0)
    revisits: int = 0
    revisit_share: tuple[float, float] = (0.15, 0.5)


def band_limited(rng: Rng, n: int, channels: int, correlation_frames: float) -> Array:
    """Smooth unit-variance noise [n, channels] whose correlation falls to 1/e at `correlation_frames`."""
    sigma = correlation_frames / 2
    pad = int(np.ceil(4 * sigma))
    white = rng.standard_normal((n + 2 * pad, channels))
    smooth = gaussian_filter1d(white, sigma, axis=0, truncate=4.0)[pad:pad + n]
    t = np.arange(-pad, pad + 1)
    kernel = np.exp(-0.5 * (t / sigma) ** 2)
    return smooth / np.sqrt(np.sum((kernel / kernel.sum()) ** 2))


def about_face(angles_rad: Array, contact_mm: Array, R_start: Array, face_mm: tuple[float, float]) -> Array:
    """``T_world_image`` [N, 4, 4] of angles [N, 3] (fan, turn, rock: about image x, y, z) and contacts [N, 3]."""
    zero = np.zeros((len(angles_rad), 6))
    fan, turn, rock = zero.copy(), zero.copy(), zero.copy()
    fan[:, 3], turn[:, 4], rock[:, 5] = angles_rad.T
    start = np.eye(4)
    start[:3, :3] = R_start
    return (translation(contact_mm) @ start @ exp(turn) @ exp(fan) @ exp(rock)
            @ translation(-np.array([*face_mm, 0.0])))


def rotation(n_frames: int, seed: int | np.random.SeedSequence, face_mm: tuple[float, float], *,
             hand: Hand = Hand(), protocol: RotationProtocol = RotationProtocol(),
             plane: str = "Per") -> Trajectory:
    """A rotation scan: fan, rock, turn by about 90 degrees, fan and rock again about one contact point.

    Parameters
    ----------
    n_frames : int
        Any length from 10 up; the strokes take the time they need at real speeds, stretched to fit. Scans
        shorter than ``protocol.shortest_frames`` go through the whole protocol with all angles shrunk in
        proportion, since a faster hand would leave no speckle to follow.
    seed : int or SeedSequence
    face_mm : (float, float)
        Centre of the probe face in the image (``ProbeGeometry.face_mm``).
    """
    if n_frames < 10:
        raise InputError(f"rotation scan: expected 10 frames or more, found {n_frames}")
    rng = np.random.default_rng(seed)
    shrink = min(1.0, n_frames / protocol.shortest_frames)
    knots = _protocol_knots(rng, protocol, shrink, n_frames)
    angles, phase = _play(rng, knots, n_frames, hand)
    angles = np.deg2rad(angles) + _hand_rotation(rng, n_frames, hand, shrink)
    R_start = R_WORLD_IMAGE[plane]
    contact = _hand_translation(rng, n_frames, hand) @ R_start.T
    T = about_face(angles, contact, R_start, face_mm)
    return Trajectory(T, np.array(PHASES)[phase])


def _protocol_knots(rng: Rng, p: RotationProtocol, shrink: float, n_frames: int) -> list[tuple[float, Array, int]]:
    """(duration in frames, angles [3] in degrees reached at its end, phase) one after another."""
    turn = rng.normal(*p.turn_deg) * (1 if rng.random() < p.usual_turn else -1) * shrink
    first = 1 if rng.random() < p.usual_fan else -1
    fan = max(rng.normal(*p.fan_deg), 5.0) * shrink
    rock = max(rng.normal(*p.rock_deg), 3.0) * shrink
    fewer = np.clip(n_frames / p.full_frames, 0.5, 1.0)
    knots: list[tuple[float, Array, int]] = []
    here = np.zeros(3)

    def go(axis: int, target: float, phase: int) -> None:
        there = here.copy()
        there[axis] = target
        speed = p.speed_deg[(0, 2, 1)[axis]] * rng.lognormal(0, 0.15)
        knots.append((max(abs(target - here[axis]) / speed, 1.0), there.copy(), phase))
        if rng.random() < p.pause_chance:
            knots.append((rng.uniform(*p.pause_frames) * shrink, there.copy(), phase))
        here[:] = there

    def strokes(axis: int, amplitude: float, sign: int, phase: int, count: tuple[int, int]) -> None:
        for k in range(max(1, round(fewer * rng.integers(count[0], count[1] + 1)))):
            go(axis, sign * (-1) ** k * amplitude * rng.normal(1, p.asymmetry), phase)
        go(axis, rng.normal(0, 1.5 * shrink), phase)

    strokes(0, fan, first, 0, p.strokes[0])
    strokes(2, rock, rng.choice((-1, 1)), 1, p.strokes[1])
    go(1, turn, 2)
    strokes(0, fan * rng.normal(1, 0.1), rng.choice((-1, 1)), 3, p.strokes[2])
    strokes(2, rock * rng.normal(1, 0.1), rng.choice((-1, 1)), 4, p.strokes[3])
    return knots


def _play(rng: Rng, knots: list[tuple[float, Array, int]], n: int, hand: Hand) -> tuple[Array, NDArray[np.intp]]:
    """Angles [n, 3] (degrees) and phase [n]: even strokes, then uneven speed and rounded reversals."""
    ends = np.cumsum([0.0] + [k[0] for k in knots])
    values = np.array([np.zeros(3)] + [k[1] for k in knots])
    phases = np.array([k[2] for k in knots])
    pace = np.exp(hand.unevenness * band_limited(rng, n, 1, hand.unevenness_frames)[:, 0])
    clock = np.concatenate([[0.0], np.cumsum((pace[1:] + pace[:-1]) / 2)])
    clock *= ends[-1] / clock[-1]
    angles = np.stack([np.interp(clock, ends, values[:, k]) for k in range(3)], 1)
    rounding = min(hand.reversal_frames, n / 60)
    phase = phases[np.clip(np.searchsorted(ends, clock, side="right") - 1, 0, len(phases) - 1)]
    return gaussian_filter1d(angles, rounding, axis=0, mode="nearest"), phase


def _hand_rotation(rng: Rng, n: int, hand: Hand, shrink: float = 1.0) -> Array:
    """Unwanted rotation [n, 3] in rad, zero at the first frame but for tremor."""
    wobble = band_limited(rng, n, 3, hand.wobble_frames)
    tremor = band_limited(rng, n, 3, hand.tremor_frames)
    return np.deg2rad(hand.wobble_deg * shrink * (wobble - wobble[0]) + hand.tremor_deg * tremor)


def _hand_translation(rng: Rng, n: int, hand: Hand) -> Array:
    """Unwanted motion [n, 3] of the contact point in mm, in the axes of the first image."""
    size = np.array([rng.uniform(*limits) for limits in hand.drift_mm])
    drift = band_limited(rng, n, 3, hand.drift_frames)
    tremor = band_limited(rng, n, 3, hand.tremor_frames)
    return size * drift + hand.tremor_mm / np.sqrt(3) * tremor + _slides(rng, n, hand)


def _slides(rng: Rng, n: int, hand: Hand) -> Array:
    """Slides [n, 3] of the contact point over the skin in mm, in the axes of the first image."""
    out = np.zeros((n, 3))
    for _ in range(hand.slides):
        start, way = rng.uniform(0.1, 0.9) * n, rng.uniform(0, 2 * np.pi)
        t = np.clip((np.arange(n) - start) / hand.slide_frames, 0, 1)
        out += (rng.uniform(*hand.slide_mm) * t**2 * (3 - 2 * t))[:, None] * [np.cos(way), 0, np.sin(way)]
    return out


def sweep(name: str, n_frames: int, seed: int | np.random.SeedSequence, face_mm: tuple[float, float], *,
          hand: Hand = SWEEPING_HAND, protocol: SweepProtocol = SweepProtocol(), press_mm: float = 2.5) -> Trajectory:
    """A sweep of 2024 along the forearm, by its name, such as ``RH_Per_L_DtP``.

    Par or Per: image plane parallel or perpendicular to the arm. L, C, S: a straight line, one bow, two
    bows. DtP: from the wrist to the elbow, PtD the other way.

    Parameters
    ----------
    protocol : SweepProtocol
        The path is ``n_frames * step_mm`` long unless the arm is shorter, so very long scans are slower and short
        ones cover less of the arm.
    press_mm : float
        How deep the convex face is pressed below the flat skin.
    """
    _, plane, shape, way = _sweep_name(name)
    rng = np.random.default_rng(seed)
    arm = rng.uniform(*protocol.length_mm)
    width, side = rng.uniform(0.08, 0.13), rng.choice((-1, 1))
    pace = np.exp(hand.unevenness * band_limited(rng, n_frames, 1, hand.unevenness_frames)[:, 0])
    clock = np.cumsum(pace) - pace[0]
    turns = _turning_points(rng, protocol)
    gone = np.concatenate([[0.0], np.cumsum(np.abs(np.diff(turns)))])
    length = min(max(n_frames * protocol.step_mm / gone[-1], 1.0), arm)
    s = np.interp(clock / (clock[-1] or 1.0) * gone[-1], gone, turns)
    if len(turns) > 2:
        s = gaussian_filter1d(s, min(hand.reversal_frames, n_frames / 60), mode="nearest")
    waves, bow = {"L": 0.0, "C": 1.0, "S": 2.0}[shape], length * width * side
    across = bow / max(waves, 1.0) * np.sin(np.pi * waves * s)
    heading = np.arctan(bow / length * np.pi * np.cos(np.pi * waves * s)) if waves else np.zeros(n_frames)
    if way == "DtP":
        s, heading = 1 - s, -heading
    path = np.stack([length * s, np.full(n_frames, press_mm), across], 1)
    R_start = R_WORLD_IMAGE[plane]
    angles = _hand_rotation(rng, n_frames, hand)
    angles[:, 1] -= heading * rng.uniform(0.3, 1.0)      # the probe follows the path more or less
    contact = path + _hand_translation(rng, n_frames, hand) @ R_start.T
    return Trajectory(about_face(angles, contact, R_start, face_mm), np.full(n_frames, f"sweep {shape}"))


def _turning_points(rng: Rng, protocol: SweepProtocol) -> Array:
    """Parts of the sweep between which the hand goes: 0, forth and back as often as it revisits, 1."""
    there = np.sort(rng.uniform(0.3, 0.95, protocol.revisits))
    back = there * (1 - rng.uniform(*protocol.revisit_share, protocol.revisits))
    return np.concatenate([[0.0], np.stack([there, back], 1).ravel(), [1.0]])


def _sweep_name(name: str) -> list[str]:
    if name not in SWEEPS:
        raise InputError(f"sweep {name}: expected HAND_PLANE_SHAPE_WAY such as RH_Per_L_DtP "
                         "(RH or LH, Par or Per, L, C or S, DtP or PtD)")
    return name.split("_")


def identity_errors(T_world_image: Array, scale: Array, shape: tuple[int, int] = (480, 640)) -> tuple[float, float]:
    """(GPE, LPE) in mm of an estimate that says nothing moved: mean displacement of all pixels (every 16th)."""
    x, y = np.meshgrid(np.arange(8, shape[1] + 1, 16), np.arange(8, shape[0] + 1, 16))
    p = np.stack([scale[0, 0] * x.ravel(), scale[1, 1] * y.ravel(), 0 * x.ravel(), np.ones(x.size)])
    world = (T_world_image @ p)[:, :3]
    return (float(np.linalg.norm(world[1:] - world[0], axis=1).mean()),
            float(np.linalg.norm(np.diff(world, axis=0), axis=1).mean()))
