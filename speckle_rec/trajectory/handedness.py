"""Which of two mirror images a scan is: what images cannot tell, and the operator or an inertial sensor may know.

Directions are those of who stands behind the picture: looks at the slice as the screen shows it, its right to the
right, so that z of the image points away from him (docs/CONVENTIONS.md). All poses are about the centre of the probe
face.

* swept away: the probe, and its picture, goes along +z.
* tilted away: the far (deep) end of the picture goes along +z; the hand goes the other way.
* turned clockwise, seen from the hand down the probe: a positive turn about y, whoever looks from where.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .. import geometry as se3
from ..config import Config
from ..errors import InputError
from ..products.motion_priors import MirrorPrior
from .hypothesis_tracking import choose_mirror

Array = NDArray[np.float64]

FIRST = 0.25            # of the farthest, beyond which a motion counts as the first
LEAST_SWEEP_MM = 3.0
LEAST_SWEEP_OF_A_FAN_MM = 15.0      # what a contact point may slide in a fan tells nothing
LEAST_TURN_RAD = np.radians(8.0)
LEAST_TURN_OF_A_SWEEP_RAD = np.radians(20.0)    # sweeps of no turn at all have come out with some ten degrees
LEAST_TILT_RAD = np.radians(3.0)
SHIFT_DEPTH_MM = 60.0   # a shift of a fan counts as the tilt that moves this depth as far: speckle hardly tells them,
TILT_DEPTH_MM = 40.0    # and a tilt of a sweep as the shift of this depth
WORDS = {"swept": ("away", "towards"), "turned": ("clockwise", "anticlockwise"), "tilted_first": ("away", "towards")}


@dataclass(frozen=True)
class Way:
    """A direction in which a trajectory went.

    Attributes
    ----------
    sign : +1 (away, clockwise), -1 (towards, anticlockwise), or 0 where it hardly moved that way.
    why_not : why it cannot be told, where it cannot.
    """

    sign: int
    why_not: str = ""


@dataclass(frozen=True)
class Handedness:
    """What was decided.

    Attributes
    ----------
    T : [N, 4, 4], mirrored or not.   known : whether somebody told.   why : one line.
    note : what the protocol's habit would have said; a warning where nothing else told.
    reading, other_reading : the decided image and the other one in words.
    warnings : one line each.
    """

    T: Array
    known: bool
    why: str
    note: str
    reading: str
    other_reading: str
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Voice:
    """Somebody who knows: his words, and whether by them the trajectory as it came out has to be mirrored."""

    who: str
    mirrored: bool


def first_way(path: Array) -> int:
    """Sign of the first excursion of a path [N] from 0 that is more than `FIRST` of its farthest."""
    reach = float(np.abs(path).max(initial=0))
    return int(np.sign(path[np.argmax(np.abs(path) > FIRST * reach)])) if reach > 0 else 0


def ways(T: Array, pivot: bool, sensed: bool = False) -> dict[str, Way]:
    """Which way a trajectory [N, 4, 4] was swept, turned and first tilted.

    Parameters
    ----------
    pivot : whether it was taken for a motion about a contact point, rather than a sweep.
    sensed : whether a sensor has told its turns and tilts, so that they are no more mixed up with shifts.
    """
    step = se3.log(se3.steps(T))
    shift = np.cumsum(step[:, 2] + (0.0 if pivot or sensed else TILT_DEPTH_MM * step[:, 3]))
    turn = se3.turned(T)
    lean = np.arcsin(np.clip(T[:, 2, 1], -1, 1)) + (shift / SHIFT_DEPTH_MM if pivot and not sensed else 0.0)
    least = {"swept": LEAST_SWEEP_OF_A_FAN_MM if pivot else LEAST_SWEEP_MM,
             "turned": LEAST_TURN_RAD if pivot or sensed else LEAST_TURN_OF_A_SWEEP_RAD, "tilted_first": LEAST_TILT_RAD}
    out = {}
    for name, path, verb, unit in (("swept", shift, "moved along the normal of its first picture", "mm"),
                                   ("turned", turn, "turned about itself", "deg"),
                                   ("tilted_first", lean, "tilted", "deg")):
        scale = 1.0 if unit == "mm" else float(np.degrees(1))
        reach = float(np.abs(path).max(initial=0))
        if reach < least[name]:
            why_not = (f"the probe {verb} by {scale * reach:.1f} {unit} at most, too little to tell "
                       f"(from {scale * least[name]:.0f} {unit})")
            if name == "swept" and pivot:
                why_not += "; the scan was taken for a motion about a contact point, --motion sweep says otherwise"
            out[name] = Way(0, why_not)
        else:
            out[name] = Way(first_way(path))
    return out


def in_words(found: dict[str, Way], sign: int = 1) -> str:
    """The directions that can be told, in words; `sign` -1: those of the mirror image."""
    texts = {"swept": "swept {}", "tilted_first": "tilted {} first", "turned": "turned {}"}
    return ", ".join(texts[name].format(word_of(name, sign * found[name].sign)) for name in texts if found[name].sign)


def word_of(name: str, sign: int) -> str:
    """The word of a direction: the first of its two for +1."""
    return WORDS[name][0 if sign > 0 else 1]


def decided(T: Array, pivot: bool, config: Config, prior: MirrorPrior, sensor: Voice | None = None, *,
            sensed: bool = False) -> Handedness:
    """The mirror image that agrees with what is known of the scan; with the protocol's habit where nothing is.

    Parameters
    ----------
    T : [N, 4, 4] as estimated, one of the two mirror images.   pivot, sensed : see `ways`.
    sensor : what an inertial sensor says.

    Raises
    ------
    InputError
        If two who know disagree.
    """
    found = ways(T, pivot, sensed)
    usual, note = choose_mirror(T, prior)
    voices, warnings = [], []
    for name in WORDS:
        told = getattr(config, name)
        if told is None:
            continue
        option = f"{option_of(name)} {told}"
        if found[name].sign == 0:
            warnings.append(f"{option} decides nothing: {found[name].why_not}")
        else:
            voices.append(Voice(option, word_of(name, found[name].sign) != told))
    if config.mirrored:
        voices.append(Voice("--mirrored", usual is T))
    if sensor is not None:
        voices.append(sensor)
    by_answer = [[v.who for v in voices if v.mirrored == answer] for answer in (False, True)]
    if by_answer[0] and by_answer[1]:
        raise InputError(f"{' and '.join(by_answer[0])} {'disagrees' if len(by_answer[0]) == 1 else 'disagree'} with "
                         f"{' and '.join(by_answer[1])}: what the images show is either {in_words(found)}, or "
                         f"{in_words(found, -1)}; leave out what you are less sure of")
    if voices:
        mirror, why = voices[0].mirrored, f"which way round it is: as {' and '.join(v.who for v in voices)} says"
    else:
        mirror, why = usual is not T, "which way round it is: nobody told, so as usual"
    sign = -1 if mirror else 1
    return Handedness(se3.mirror(T) if mirror else T, bool(voices), why, note, in_words(found, sign),
                      in_words(found, -sign), tuple(warnings))


def option_of(name: str) -> str:
    """The option of the command line of a setting."""
    return f"--{name.replace('_', '-')}"
