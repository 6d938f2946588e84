"""What to do better next time, in plain words, from the warnings of a result and where speckle was lost."""

import re
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from .found import USABLE
from .stored import Stored

Array = np.ndarray

LEAST_FRAMES = 3        # that a stretch lasts to be worth a line
APART_FRAMES = 5        # stretches that are nearer than this are one
MOST_STRETCHES = 4


@dataclass(frozen=True)
class Advice:
    """What to do, and why."""

    do: str
    why: str


# Warnings by what they begin or go on with, and what is to be done about each.
RULES: tuple[tuple[str, str], ...] = (
    ("averages frames over time", "Switch persistence (frame averaging) off on the scanner."),
    ("no calibration of this machine|out-of-plane scale is uncertain",
     "Calibrate on tracked scans of this machine (speckle-rec calibrate), or take distances out of the plane for "
     "estimates."),
    ("cannot tell a scan from its mirror image|mirror image",
     "Tell which way the probe went: see \"Which way round\" below."),
    ("is dark, in shadow", "Raise the gain, or look for a place without shadow; more gel."),
    ("coarser than speckle", "Export images at full size."),
    ("far apart for speckle", "Move more slowly, or record more frames a second."),
    ("repeats? the one before", "Record at the scanner's own rate: pictures were recorded twice."),
    ("frames do not show the field of view", "Record frames that show the whole field of view."),
    ("too few to tell", "Record for longer."),
    ("shows speckle that moves", "Record tissue: nothing here moves as speckle does."),
    ("no contact|lost contact|lifts? off", "Keep the whole face of the probe on the skin, with more gel."),
    ("missing from|lost frames|frames (are|were|seem) (lost|missing)", "Record every frame: some are missing."),
)
COVERED = "speckle is decorrelated or missing"        # is told by stretches


def next_time(r: Stored) -> list[Advice]:
    """What to do next time, what matters most first."""
    out = [Advice(f"Scan slower {_when(r, a, b)}, with the probe held to the skin.",
                  f"speckle was lost there (frames {a} to {b}), so that the motion is guessed from its neighbours")
           for a, b in lost_stretches(r.evidence.get("signal", r.confidence))[:MOST_STRETCHES]]
    for line in r.summary.get("warnings") or []:
        line = str(line)
        if line.startswith(COVERED) and out:
            continue
        do = next((do for pattern, do in RULES if re.search(pattern, line)), "")
        out.append(Advice(do, line))
    if "no planes cross" in str(r.verdict.get("why")):
        out.append(Advice("Cross your own path: turn the probe by 90 degrees about the same place, or sweep a second "
                          "time across the first.", "no planes cross, by which the shape could be checked"))
    return sorted(out, key=lambda line: not line.do)        # what nothing is to be done about comes last


def lost_stretches(signal: Array) -> list[tuple[int, int]]:
    """(first, last) frames of the stretches in which speckle was lost, the longest first."""
    low = np.concatenate([[False], np.asarray(signal)[1:] < USABLE])
    at = np.flatnonzero(low)
    if not len(at):
        return []
    cuts = [0, *(k + 1 for k, (a, b) in enumerate(pairwise(at.tolist())) if b - a > APART_FRAMES), len(at)]
    runs = [(int(at[a]), int(at[b - 1])) for a, b in pairwise(cuts)]
    return sorted((run for run in runs if run[1] - run[0] + 1 >= LEAST_FRAMES), key=lambda run: run[0] - run[1])


def _when(r: Stored, first: int, last: int) -> str:
    if r.times is None:
        return f"between frames {first} and {last}"
    a, b = r.seconds[[first, last]]
    digits = 0 if b - a >= 2 else 1
    return f"between {a:.{digits}f} and {b:.{digits}f} s"
