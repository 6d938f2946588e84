"""Which speckle model a scan is estimated with.

No default fits every tissue and beam: curves fitted to one kind of tissue read another's motion at another scale. Where
planes cross, the scan tells: anatomy seen from both sides of the turn agrees if the trajectory is right, and its size
gives the scale. So a scan of the rotation protocol is estimated with the shipped calibration, and with the bare curves
of a usual beam where the anatomy does not agree, then with both stretched so that the turn is the protocol's; the model
that it bears out better is taken (METHOD.md, section 9).
Costs of the correlations cannot tell: they favour a model that explains them at a wrong scale. Where no planes cross,
the bare curves are taken, which are off by less where nothing mends them (docs/notes/scale.md).
A calibration of the machine is left only where the anatomy contradicts it and agrees with bare curves: a few tracked
scans do not show every tissue.
"""

from dataclasses import replace
from math import log, pi
from typing import NamedTuple

from ..compute.clock import Clock
from ..config import Config
from ..products.stages import Measurements, SpeckleModel, Trajectory, View
from ..speckle.calibration import Calibration
from ..speckle.curves import Curves
from ..speckle.model import model
from ..verdict import ALIKE
from .crossing_volumes import total_turn
from .estimate import estimate
from .phases import two_rocks

Estimated = tuple[Trajectory, SpeckleModel, Measurements]

TOLD = ("no planes that cross bear out the default calibration: curves of a usual beam are taken instead, which are "
        "off by less in most tissues")
CONTRADICTED = ("planes that cross contradict the calibration that was given and bear out the curves of a usual beam, "
                "which are taken instead: this tissue is not like that of the scans it was made on")
STRETCHED = ("no planes that cross bear out the default curves: they are stretched so that the probe turns by 90 "
             "degrees between the rocks, as in the protocol")
TURN_RAD, LEAST_RAD = pi / 2, 0.3     # turn of the protocol, and one that is found at the least
OFF = 1.3           # times, by which crossing planes find the curves' scale off: twice what calibrated curves claim


class Tried(NamedTuple):
    """An estimate, how well crossing planes bear it out (`agreement`), and what a user is told if it is taken."""

    estimated: Estimated
    agreement: tuple[bool, float]
    told: str


def estimate_with(calibration: Calibration | Curves | None, view: View, measurements: Measurements, config: Config,
                  clock: Clock) -> Estimated:
    """Trajectory, speckle model, and measurements as the model takes them.

    Parameters
    ----------
    calibration : that of the machine, or curves; None for the defaults, of which the scan chooses.
    """
    bare, given = Calibration.bare(view.found.geometry.kind), calibration is not None
    rocks = two_rocks(measurements.planar_step[:, 2]) is not None

    def tried_with(made: Calibration | Curves | None, told: str = "") -> Tried:
        found = _estimated(made, view, measurements, config, clock)
        return Tried(found, agreement(found[0]), told)

    first = tried_with(calibration if given or rocks else bare)
    if not rocks or bears_out(first.estimated[0]):
        return first.estimated
    if given:
        if first.agreement[0] or first.estimated[1].calibration.hash == bare.hash:
            return first.estimated
        other = tried_with(bare, CONTRADICTED)
        return _taken(other if other.agreement[0] else first)      # whose scale is a guess, which anatomy mends
    tried = [first]
    if first.estimated[1].calibration.hash != bare.hash:
        tried.insert(0, tried_with(bare, TOLD))         # which is taken where nothing tells
    for one in sorted(tried, key=lambda one: one.agreement, reverse=True):
        if any(other.agreement[0] for other in tried):
            break
        if (stretched := turned_as_usual(*one.estimated[:2])) is not None:
            tried.append(tried_with(stretched, STRETCHED))
    return _taken(max(tried, key=lambda one: one.agreement))


def _taken(one: Tried) -> Estimated:
    """The estimate, with what a user is told."""
    if not one.told:
        return one.estimated
    trajectory, speckle, seen = one.estimated
    return trajectory, speckle, replace(seen, warnings=(*seen.warnings, one.told))


def turned_as_usual(t: Trajectory, model_of_it: SpeckleModel) -> Calibration | None:
    """The calibration stretched so that the probe turned by what it does in the protocol; None where it did about that,
    or hardly at all."""
    turn, made = abs(total_turn(t.T)), model_of_it.calibration
    if turn < LEAST_RAD or abs(log(turn / TURN_RAD)) < log(OFF):
        return None
    return replace(made, gain=made.gain * turn / TURN_RAD)


def _estimated(calibration: Calibration | Curves | None, view: View, measurements: Measurements, config: Config,
               clock: Clock) -> Estimated:
    with clock.stage("speckle model"):
        speckle, seen = model(calibration, view, measurements, config)
    return estimate(view, seen, speckle, config, clock), speckle, seen


def agreement(t: Trajectory) -> tuple[bool, float]:
    """How well crossing planes bear a trajectory out: whether the anatomy is alike; then how little the curves' scale
    was off (log, negative), or the similarity where it is not."""
    if t.crossed is None:
        return False, 0.0
    alike = t.crossed.crossings is not None and t.crossed.similarity[1] >= ALIKE
    return alike, -abs(log(t.crossed.gain)) if alike else t.crossed.similarity[1]


def bears_out(t: Trajectory) -> bool:
    """Whether crossing planes agree with a trajectory and with the scale of its curves."""
    alike, off = agreement(t)
    return alike and off > -log(OFF)
