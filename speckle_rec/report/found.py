"""One sentence of what a scan was found to be: its fans, rocks, turns and sweeps, about a point or along the skin."""

from collections.abc import Mapping
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import geometry as se3
from ..trajectory.phases import PHASES, phases

Array = NDArray[np.float64]

USABLE = 0.3                    # signal from which a step counts as measured
LEAST_SHARE = 1 / 60            # of the scan, below which a stretch is not told of
LEAST = {"fan": 3.0, "rock": 3.0, "turn": 3.0, "sweep": 2.0}       # deg or mm, likewise
ABOUT = {"fan": 0, "turn": 1, "rock": 2}                           # axis of each: x, y, z of the image
POINT_MM = 5.0                  # RMS distance of the face from its mean place, up to which it stays about one point
NUMBERS = ("no", "a", "two", "three", "four", "five", "six")
WORDS = {"fan": ("fan", "fans", "deg"), "rock": ("rock", "rocks", "deg"), "turn": ("turn", "turns", "deg"),
         "sweep": ("sweep", "sweeps", "mm")}
MANY = 3                        # more of a kind than these are told by their range


def sentence(T_first_frame: Array, face_mm: tuple[float, float], signal: NDArray[np.floating],
             phase: NDArray[Any] | None = None) -> str:
    """What was found, such as "a fan of 44 deg and a turn of 88 deg, about one point; 98% of the frames usable".

    Parameters
    ----------
    T_first_frame : [N, 4, 4].   face_mm : centre of the probe face, image mm.   signal : [N], or the confidence.
    phase : [N], a name of `PHASES` a frame; worked out from the poses where it is not given.
    """
    T = about_face(T_first_frame, face_mm)
    if len(T) < 2:
        return "a single frame: nothing to tell a motion from"
    made = motions(T, phase)
    parts = [_told(kind, sizes) for kind, sizes in made.items()]
    place = T[:, :3, 3]
    where = ""
    if parts and "sweep" not in made:
        wander = float(np.sqrt(np.square(place - place.mean(0)).sum(1).mean()))
        where = ", about one point" if wander <= POINT_MM else \
            f", while the probe face went {np.linalg.norm(np.ptp(place, axis=0)):.0f} mm along the skin"
    usable = int(100 * np.mean(np.asarray(signal)[1:] >= USABLE))     # 99.7 is not yet 100
    return f"{_joined(parts or ['hardly any motion'])}{where}; {usable}% of the frames usable"


def of_result(T_first_frame: Array, confidence: NDArray[np.floating], evidence: Mapping[str, NDArray[Any]],
              face_mm: tuple[float, float]) -> str:
    """`sentence` of a result."""
    phase = evidence.get("phase")
    return sentence(T_first_frame, face_mm, evidence.get("signal", confidence),
                    phase if phase is not None and len(phase) == len(T_first_frame) else None)


def about_face(T_first_frame: Array, face_mm: tuple[float, float]) -> Array:
    """The poses [N, 4, 4] of the middle of the probe face, in that of frame 0."""
    A = se3.translation(np.array([*face_mm, 0.0]))
    return se3.inverse(A) @ np.asarray(T_first_frame, float) @ A


def motions(T: Array, phase: NDArray[Any] | None = None) -> dict[str, list[float]]:
    """Sizes of the stretches of each kind of motion, in the order in which the kinds first occur.

    Parameters
    ----------
    T : [N, 4, 4] of the probe face.

    Returns
    -------
    dict
        Degrees that a fan, rock or turn ranged over, mm that a sweep did.
    """
    names = np.array(PHASES)[phases(se3.log(se3.steps(T)))] if phase is None else np.asarray(phase).astype(str)
    long = max(4, round(LEAST_SHARE * len(T)))
    runs, start = [], 0
    for name, group in groupby(names.tolist()):
        stop = start + len(list(group))
        if name in LEAST and stop - start >= long:
            runs.append((name, start, stop))
        start = stop
    joined: list[tuple[str, int, int]] = []
    for name, start, stop in runs:      # what only a rest or a jerk parts belongs together
        if joined and joined[-1][0] == name:
            start = joined.pop()[1]
        joined.append((name, start, stop))
    out: dict[str, list[float]] = {}
    for name, start, stop in joined:
        if (size := _size(T[max(0, start - 1):stop], name)) >= LEAST[name]:
            out.setdefault(name, []).append(size)
    return out


def _size(T: Array, kind: str) -> float:
    """Range of a stretch [n, 4, 4]: degrees about its axis, or mm along its main direction."""
    if kind == "sweep":
        place = T[:, :3, 3] - T[:, :3, 3].mean(0)
        return float(np.ptp(place @ np.linalg.svd(place, full_matrices=False)[2][0]))
    turned = se3.log(se3.inverse(T[len(T) // 2]) @ T)[:, 3 + ABOUT[kind]]
    return float(np.degrees(np.ptp(turned)))


def _told(kind: str, sizes: list[float]) -> str:
    one, several, unit = WORDS[kind]
    if len(sizes) == 1:
        return f"a {one} of {sizes[0]:.0f} {unit}"
    many = NUMBERS[len(sizes)] if len(sizes) < len(NUMBERS) else str(len(sizes))
    if len(sizes) > MANY:
        least, most = f"{min(sizes):.0f}", f"{max(sizes):.0f}"
        return f"{many} {several} of {least}{f' to {most}' if most != least else ''} {unit}"
    return f"{many} {several} of {_joined([f'{size:.0f}' for size in sizes])} {unit}"


def _joined(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
