"""What tracked training scans tell of how people move: speeds, phases, usual directions, jitter, each with counts."""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d, uniform_filter1d

from .. import geometry as se3
from ..products.motion_priors import MirrorPrior
from .hand import Hand, pivot_depth
from .hypothesis_tracking import MIN_TURN_RAD, first_tilt

Array = NDArray[np.float64]

PHASES = ("still", "fan", "turn", "rock", "sweep")
MIDDLE_MM = 50.0           # depth at which a turn about the face counts as motion
STILL_MM = 0.05            # a frame, at the middle of the field
SMOOTH_FRAMES = 15
STROKE_FRAMES = 25         # a stroke of the rock takes some 70 frames
LEAST_ROLL_RAD = np.radians(0.18)       # a frame: rocks come to .3 to .42 degrees, a hand in a sweep to .11
BUSY = 0.35                # of the fastest rolling
TURNED_RAD = 1.0           # of a linear probe, beyond which it is not swept alone
WOBBLE_FRAMES = 10         # over which a wobble is told from the tracker's jitter
SWITCH, SWITCH_SHARE = 15.0, 40       # frames that a change of phase costs, or that part of a short scan


def measure(T: Array) -> dict[str, float]:
    """Protocol statistics of one tracked scan.

    Parameters
    ----------
    T : [N, 4, 4] poses of the probe face in its first frame; NaN where untracked.

    Returns
    -------
    dict
        The names say the units: `speed_*` medians a frame; `turn_deg` the total yaw; `first_fan_sign` +1, -1 or 0;
        `contact_*_mm` scatter of the face's centre and `contact_frames` the time over which it stays alike; `pivot_mm`
        see `hand.pivot_depth`; `carried` the share of the way of the middle of the field that the face goes;
        `change_*` robust standard deviations of the change of the step; `jitter_*` white noise of the tracker at most
        (third differences, robust); `wobble_*` a frame, of tilt and yaw that are not meant; `share_*` part of the
        frames in each phase and `frames_*` its median run.
    """
    ok = np.asarray(np.isfinite(T).all(axis=(1, 2)))
    T = T[: len(ok) if ok.all() else int(np.argmin(ok))]
    if len(T) < 10:
        return {}
    step = se3.log(se3.steps(T))[1:]
    twist = se3.log(T)
    moved = np.stack([step[:, 2] + MIDDLE_MM * step[:, 3], MIDDLE_MM * step[:, 4], MIDDLE_MM * step[:, 5]], 1)
    contact = T[:, :3, 3] - T[:, :3, 3].mean(0)
    change, third = np.diff(step, axis=0), np.diff(step, n=2, axis=0)
    scale = 1 / 0.6745
    out = {
        "frames": float(len(T)),
        "speed_mm": float(np.median(np.linalg.norm(moved, axis=1))),
        "speed_deg": float(np.degrees(np.median(np.linalg.norm(step[:, 3:], axis=1)))),
        "turn_deg": float(np.degrees(np.median(twist[-max(len(T) // 10, 1):, 4]))),
        "first_fan_sign": float(np.sign(first_tilt(twist))),
        **dict(zip(("contact_x_mm", "contact_y_mm", "contact_z_mm"), contact.std(0).tolist(), strict=True)),
        "contact_frames": _correlation_time(contact),
        "pivot_mm": pivot_depth(T),
        "jitter_mm": float(scale * np.median(np.abs(third[:, :3])) / np.sqrt(20)),
        "jitter_mrad": float(1e3 * scale * np.median(np.abs(third[:, 3:])) / np.sqrt(20)),
    }
    units = (1, 1, 1, 1e3, 1e3, 1e3)
    names = ("x_mm", "y_mm", "z_mm", "tilt_mrad", "yaw_mrad", "roll_mrad")
    out |= {f"change_{n}": float(u * scale * np.median(np.abs(c))) for n, u, c in zip(names, units, change.T,
                                                                                     strict=True)}
    phase = phases(step)
    edges = np.flatnonzero(np.diff(np.concatenate([[-1], phase, [-1]])))
    runs = [(phase[a], b - a) for a, b in itertools.pairwise(edges)]
    out |= _wobble(T, phase) | _carried(T)
    for k, name in enumerate(PHASES):
        out[f"share_{name}"] = float(np.mean(phase == k))
        lengths = [n for p, n in runs if p == k]
        out[f"frames_{name}"] = float(np.median(lengths)) if lengths else 0.0
    return out


def phases(step: Array) -> NDArray[np.int64]:
    """Phase [n] (index of `PHASES`) of each step [n, 6]: what moves the middle of the field most.

    The cheapest sequence by dynamic programming (Viterbi): a frame costs the share of the largest motion that its phase
    does not have, a change of phase `SWITCH` frames.
    """
    size = np.abs(np.stack([step[:, 3], step[:, 4], step[:, 5]], 1)) * MIDDLE_MM
    sweep = np.linalg.norm(step[:, :3], axis=1)
    every = np.concatenate([size, sweep[:, None]], 1)
    every = uniform_filter1d(every, SMOOTH_FRAMES, axis=0, mode="nearest")
    every = np.concatenate([np.full((len(step), 1), STILL_MM), every], 1)
    cost = 1 - every / every.max(1, keepdims=True)
    switch = min(SWITCH, len(step) / SWITCH_SHARE)
    total, came_from = cost[0].copy(), np.zeros(cost.shape, np.int64)
    for k in range(1, len(cost)):
        best = int(total.argmin())
        stay = total <= total[best] + switch
        came_from[k] = np.where(stay, np.arange(len(total)), best)
        total = np.where(stay, total, total[best] + switch) + cost[k]
    phase = np.empty(len(cost), np.int64)
    phase[-1] = total.argmin()
    for k in range(len(cost) - 1, 0, -1):
        phase[k - 1] = came_from[k, phase[k]]
    return phase


def phase_precision(T: Array, hand: Hand) -> Array | None:
    """Precision [N, 2] (1/rad^2) of the step into each frame, in tilt and in yaw, METHOD.md (5.5b).

    In a fan a hand means to tilt, in a turn to turn, in a rock neither: what is not meant is its wobble. A sweep that
    does not end in a turn follows the limb: it tilts and yaws slowly. None where nothing is held.

    Parameters
    ----------
    T : [N, 4, 4] a trajectory whose phases are about right.
    """
    if not hand.pivot:
        turns = np.abs(se3.turned(T)).max() > TURNED_RAD
        return None if turns else np.tile(hand.sweep_precision, (len(T), 1))
    meant = _meant(phases(se3.log(se3.steps(T))[1:]))
    return hand.wobble_precision * ~np.concatenate([meant[:1], meant])


def _meant(phase: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether a hand means to tilt, and to turn [n, 2], in each phase [n]."""
    return phase[:, None] == [PHASES.index("fan"), PHASES.index("turn")]


def _wobble(T: Array, phase: NDArray[np.int64]) -> dict[str, float]:
    """Rms tilt and yaw a frame (mrad) where a hand does not mean them, over `WOBBLE_FRAMES`: trackers jitter."""
    n = len(phase) - WOBBLE_FRAMES + 1
    if n < WOBBLE_FRAMES:
        return {}
    slow = _slow(T)[:, 3:5] / WOBBLE_FRAMES
    meant = np.any([_meant(phase)[k:k + n] for k in range(WOBBLE_FRAMES)], axis=0)
    return {f"wobble_{name}_mrad": float(1e3 * np.sqrt(np.square(slow[~meant[:, k], k]).mean()))
            for k, name in enumerate(("tilt", "yaw")) if (~meant[:, k]).sum() > WOBBLE_FRAMES}


def _slow(T: Array) -> Array:
    """Twists [N - `WOBBLE_FRAMES`, 6] over so many frames: trackers jitter."""
    return se3.log(se3.inverse(T[:-WOBBLE_FRAMES]) @ T[WOBBLE_FRAMES:])


def _carried(T: Array) -> dict[str, float]:
    """Share of the way of the middle of the field (rms, over `WOBBLE_FRAMES`) that its face goes: .1 to .2 where it
    turns about a contact point, .4 and more where it is swept.
    """
    if len(T) <= WOBBLE_FRAMES:
        return {}
    slow = _slow(T)
    along, about = (float(np.sqrt(np.square(part).sum(1).mean())) for part in (slow[:, :3], MIDDLE_MM * slow[:, 3:]))
    return {"carried": along / max(along + about, 1e-9)}


def two_rocks(roll_step: Array) -> tuple[tuple[int, int], tuple[int, int]] | None:
    """(start, stop) of the two longest bursts of in-plane roll, in order; None where there are not two."""
    n = len(roll_step)
    pace = gaussian_filter1d(np.abs(gaussian_filter1d(roll_step, min(5, n / 60))), min(STROKE_FRAMES, n / 30))
    if n < 3 or pace.max() < LEAST_ROLL_RAD:
        return None
    edges = np.flatnonzero(np.diff(np.concatenate([[0], (pace > BUSY * pace.max()).astype(int), [0]])))
    bursts = sorted(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True), key=lambda b: b[0] - b[1])[:2]
    if len(bursts) < 2:
        return None
    first, second = sorted(bursts)
    return (first, second) if second[0] - first[1] > 0.1 * n else None


def _correlation_time(x: Array) -> float:
    """Frames after which the autocorrelation of x [N, 3] falls below 1/e."""
    n = len(x)
    spectrum = np.abs(np.fft.rfft(x, 2 * n, axis=0)) ** 2
    auto = np.fft.irfft(spectrum, axis=0)[:n].sum(1)
    below = np.flatnonzero(auto < auto[0] / np.e)
    return float(below[0]) if len(below) and auto[0] > 0 else float(n)


def gather(scans: Sequence[dict[str, float]]) -> dict[str, Any]:
    """Mean, standard deviation and count of every quantity over scans, and the usual signs with their counts."""
    scans = [s for s in scans if s]
    out: dict[str, Any] = {"scans": len(scans)}
    for name in sorted({key for s in scans for key in s}):
        values = np.array([s[name] for s in scans if name in s])
        out[name] = {"mean": float(values.mean()), "sd": float(values.std(ddof=1)) if len(values) > 1 else 0.0,
                     "n": len(values)}
    turned = [s["turn_deg"] for s in scans if abs(s["turn_deg"]) > np.degrees(MIN_TURN_RAD)]
    fanned = [s["first_fan_sign"] for s in scans if s["first_fan_sign"]]
    out["turn_sign"] = {"negative": sum(v < 0 for v in turned), "positive": sum(v > 0 for v in turned)}
    out["first_fan"] = {"negative": sum(v < 0 for v in fanned), "positive": sum(v > 0 for v in fanned)}
    return out


def mirror_prior(priors: dict[str, Any]) -> MirrorPrior:
    """The usual signs of `gather`'s counts; the default where a sign was never seen or is a tie."""
    usual, told = MirrorPrior(), []
    signs = {}
    for key, fallback in (("turn_sign", usual.turn_sign), ("first_fan", usual.tilt_sign)):
        plus, minus = priors.get(key, {}).get("positive", 0), priors.get(key, {}).get("negative", 0)
        signs[key] = 1 if plus > minus else -1 if minus > plus else fallback
        told.append(f"{key.replace('_', ' ').replace(' sign', '')} {max(plus, minus)} of {plus + minus}")
    return MirrorPrior(signs["turn_sign"], signs["first_fan"], "training scans: " + ", ".join(told))
