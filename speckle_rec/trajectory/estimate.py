"""From measurements to poses: a list of named steps, each with the condition under which it runs.

The list is the order of the method (docs/METHOD.md). Run times, the report and `benchmarks/ablation.py` name the same
steps.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace

import numpy as np

from ..compute.clock import Clock
from ..config import Config
from ..products.stages import Measurements, SpeckleModel, Trajectory, View
from ..speckle.slow_share import adapt
from . import outlier_steps as leaps
from .crossing_planes import Calibrated, self_calibrate
from .crossing_volumes import Anatomy
from .factors import Factors, hand_acceleration
from .hand import Hand, were_swept
from .hypothesis_tracking import other_starts, search, sequential
from .lost_frames import solve_timed
from .mirror_tests import ENOUGH_LOOPS, Mended, cheapest, confirmed, least, mend, sampled, settled_by_all, thinned
from .motion_kind import SWEPT_AS_TOLD, SWEPT_AS_TRAINED, before_measuring, by_trajectories
from .phases import phase_precision, two_rocks
from .segment_exchange import exchanged
from .solver import drawn, pair_costs, solve
from .turning_back import carried_on

EVERY_PAIR = 4      # of so many, one is asked which kind of motion costs less


@dataclass
class Given:
    """What the steps work on; only `shared` changes it."""

    view: View
    measurements: Measurements
    model: SpeckleModel
    fusion: str
    motion: str = "auto"
    told_swept: str = ""

    @property
    def seen_again(self) -> bool:
        """Whether enough places are seen twice to tell signs by them."""
        return len(self.measurements.loops) >= ENOUGH_LOOPS

    def neighbours(self, t: Trajectory) -> tuple:
        """Arguments of what goes frame after frame (`direction.sequential`)."""
        m = self.measurements
        return m.planar_step, m.speckle, self.model.forms, t.strengths, self.model.curves, t.hand

    def factors(self, t: Trajectory, hand: Hand, closed: bool) -> Factors:
        """What a batch solve weighs; with the loops if `closed`."""
        m = self.measurements
        return Factors.of(m.planar, m.speckle, self.model.forms, t.strengths, self.model.curves, hand,
                          m.loops if closed else None, hand_acceleration(m.planar_step))

    def shared(self, factors: Factors) -> None:
        """Let neighbours be a part of the factors' correlations: twice they take half a gigabyte in long scans."""
        speckle = self.measurements.speckle
        shared = replace(speckle, rho=factors.pairs.rho[:len(speckle.rho)])
        self.measurements = replace(self.measurements, speckle=shared)


def kind_of_motion(t: Trajectory, given: Given) -> Trajectory:
    """Whether the probe is swept along the skin, where nobody says so and no rocks tell of a contact point."""
    m, some = given.measurements, given.measurements.speckle.every(EVERY_PAIR)

    def as_if(hand: Hand) -> tuple[np.ndarray, float]:
        T = sequential(*given.neighbours(replace(t, hand=hand)))[0]
        factors = Factors.of(m.planar, some, given.model.forms, t.strengths, given.model.curves, hand)
        return T, EVERY_PAIR * float(pair_costs(T, factors).sum())

    motion = by_trajectories(as_if(t.hand.swept), as_if(t.hand), given.told_swept)
    return replace(t, hand=t.hand.swept if motion.swept else t.hand, motion=motion)


def multilateration(t: Trajectory, given: Given) -> Trajectory:
    """Frame after frame against earlier ones, each sign decided at once."""
    T, _, covariance = sequential(*given.neighbours(t))
    return replace(t, T=T, step_covariance=covariance)


def slow_share(t: Trajectory, given: Given) -> Trajectory:
    """How much of each cell outlasts the beam, from pairs that the poses put far apart (7.8)."""
    model = given.model
    strengths = adapt(model.strengths_of(t.T), t.T, given.measurements.speckle, model.forms, model.curves)
    return replace(t, strengths=strengths, factors=t.factors and t.factors.judged(strengths))


def hypotheses(t: Trajectory, given: Given) -> Trajectory:
    """Frame after frame along several trajectories at once (4.5)."""
    T, _, covariance = search(*given.neighbours(t))
    return replace(t, T=T, step_covariance=covariance)


def neighbours_solve(t: Trajectory, given: Given) -> Trajectory:
    """All pairs of neighbours weighed together, without places seen again."""
    return replace(t, T=solve(t.T, given.factors(t, t.hand, closed=False)), solved=True)


def loop_factors(t: Trajectory, given: Given) -> Trajectory:
    """Neighbours and places seen again as factors of one solve."""
    factors = given.factors(t, t.hand if t.hand.pivot else t.hand.upright, closed=given.seen_again)
    given.shared(factors)
    t = replace(t, factors=factors, starts=(t.T,), started=t.T)
    return t if t.hand.pivot else phases(t, given)


def starts(t: Trajectory, given: Given) -> Trajectory:
    """The cheapest of trajectories that take other signs where they are nearly even."""
    assert t.factors is not None
    others, back = other_starts(*given.neighbours(t))
    forward = (t.T, *others)
    T = cheapest(forward, t.factors) if t.hand.pivot else least([*forward, back], t.factors)
    return replace(t, T=T, starts=forward, backward=back, started=T)


def turning_back(t: Trajectory, given: Given) -> Trajectory:
    """A sweep that sees nothing again went on where it slowed down."""
    assert t.factors is not None
    T = carried_on(t.T, t.factors, given.model.curves.focus_mm)
    return replace(t, T=T, started=T)


def mirror_tests(t: Trajectory, given: Given) -> Trajectory:
    """Parts whose mirror image costs less are mirrored (8.2)."""
    some = some_of(t)
    mended = mend(solve(drawn(t.T, some), some), some)
    return replace(t, T=mended.T, mended=mended)


def segment_exchange(t: Trajectory, given: Given) -> Trajectory:
    """Parts that go the other way in another start, where that costs less."""
    others = [*t.starts] if t.backward is None else [*t.starts, t.backward]
    mended = exchanged(t.mended or Mended(t.T), others, some_of(t))
    return replace(t, T=mended.T, mended=mended)


def confirmation(t: Trajectory, given: Given) -> Trajectory:
    """Of a sweep: mended signs stand only if all cells ask for them."""
    assert t.factors is not None and t.mended is not None and t.started is not None
    mended = confirmed(t.mended, t.started, t.factors)
    return replace(t, T=mended.T, mended=mended)


def phases(t: Trajectory, given: Given) -> Trajectory:
    """What the hand does not mean in each phase of the protocol is held (5.5b)."""
    assert t.factors is not None
    return replace(t, factors=replace(t.factors, phase_precision=phase_precision(t.T, t.hand)))


def crossing_planes(t: Trajectory, given: Given) -> Trajectory:
    """Anatomy seen from both sides of the turn drawn together: scale, signs and shape (section 9)."""
    crossed = self_calibrate(t.T, some_of(t), Anatomy.of(given.view.scan, given.view.found.geometry))
    return replace(t, T=crossed.T, crossed=crossed)


def crossing_factors(t: Trajectory, given: Given) -> Trajectory:
    """Crossing planes as factors of the last solve (5.1b)."""
    assert t.factors is not None
    return replace(t, factors=(t.crossed or Calibrated(t.T)).settled(t.factors))


def open_mirrors(t: Trajectory, given: Given) -> Trajectory:
    """Mirrors that some of the cells leave open are tried with all of them (8.2)."""
    assert t.factors is not None
    return replace(t, T=settled_by_all(t.T, t.factors))


def outlier_steps(t: Trajectory, given: Given) -> Trajectory:
    """Steps many times as long as those about them, where a steady motion costs less (8.5)."""
    assert t.factors is not None
    T, count = leaps.mended(t.T, t.factors)
    return replace(t, T=T, outlier_steps=count)


def batch_solve(t: Trajectory, given: Given) -> Trajectory:
    """All pairs weighed together, with the frame times that steps took (5.4b)."""
    assert t.factors is not None
    T, lost = solve_timed(t.T, t.factors, given.measurements.duplicate)
    return replace(t, T=T, lost_frames=lost, solved=True)


def fan_error(t: Trajectory, given: Given) -> Trajectory:
    """What is usually left of an error in fans where planes cross, undone (7.9b)."""
    return replace(t, T=given.model.calibration.crossed_fans.undone(t.T))


def some_of(t: Trajectory) -> Factors:
    """A part of the factors, weighed up: enough to settle signs and shape."""
    assert t.factors is not None
    return thinned(sampled(t.factors))


Condition = Callable[[Trajectory, Given], bool]


def always(t: Trajectory, given: Given) -> bool:
    return True


def without_rocks(t: Trajectory, given: Given) -> bool:
    return given.motion == "auto" and t.hand.pivot and two_rocks(given.measurements.planar_step[:, 2]) is None


def neighbours_alone(t: Trajectory, given: Given) -> bool:
    return given.fusion == "batch"


def all_pairs(t: Trajectory, given: Given) -> bool:
    """Places seen again, or a sweep, whose neighbours say enough."""
    return given.fusion == "revisits" and (given.seen_again or not t.hand.pivot)


def seen_again(t: Trajectory, given: Given) -> bool:
    return given.fusion == "revisits" and given.seen_again


def swept_and_seen_again(t: Trajectory, given: Given) -> bool:
    return seen_again(t, given) and not t.hand.pivot and t.mended is not None


def swept_and_not_seen_again(t: Trajectory, given: Given) -> bool:
    return all_pairs(t, given) and not t.hand.pivot and not given.seen_again


def planes_cross(t: Trajectory, given: Given) -> bool:
    return t.crossed is not None and t.crossed.crossings is not None


def seen_again_and_nothing_crosses(t: Trajectory, given: Given) -> bool:
    """Anatomy that crosses has settled the signs, better than costs do."""
    return seen_again(t, given) and not planes_cross(t, given)


@dataclass(frozen=True)
class Step:
    """A step of the estimate.

    Attributes
    ----------
    name : in run times, reports and the ablation.   run : takes a trajectory and gives a better one.
    when : whether it runs.   needed : whether nothing goes on without it.
    """

    name: str
    run: Callable[[Trajectory, Given], Trajectory]
    when: Condition = always
    needed: bool = False


STEPS = (
    Step("kind of motion", kind_of_motion, without_rocks),
    Step("multilateration", multilateration, needed=True),
    Step("slow share", slow_share),
    Step("hypotheses", hypotheses),
    Step("neighbours' solve", neighbours_solve, neighbours_alone),
    Step("factors", loop_factors, all_pairs, needed=True),
    Step("starts", starts, all_pairs),
    Step("turning back", turning_back, swept_and_not_seen_again),
    Step("mirror tests", mirror_tests, seen_again),
    Step("segment exchange", segment_exchange, seen_again),
    Step("confirmation", confirmation, swept_and_seen_again),
    Step("slow share", slow_share, seen_again),
    Step("phases", phases, seen_again),
    Step("crossing planes", crossing_planes, seen_again),
    Step("phases", phases, all_pairs),
    Step("crossing factors", crossing_factors, all_pairs, needed=True),
    Step("open mirrors", open_mirrors, seen_again_and_nothing_crosses),
    Step("outlier steps", outlier_steps, all_pairs),
    Step("batch solve", batch_solve, all_pairs),
    Step("fan error", fan_error, planes_cross),
)


def estimate(view: View, measurements: Measurements, model: SpeckleModel, config: Config, clock: Clock,
             without: Collection[str] = ()) -> Trajectory:
    """The trajectory of a scan.

    Parameters
    ----------
    without : names of `STEPS` that are left out, to see what each gives.
    """
    if unknown := set(without) - {step.name for step in STEPS if not step.needed}:
        raise ValueError(f"no steps that can be left out: {', '.join(sorted(unknown))}")
    told = SWEPT_AS_TOLD if config.only_swept else SWEPT_AS_TRAINED if were_swept(model.calibration.priors) else ""
    given = Given(view, measurements, model, config.fusion, config.motion, told)
    n, kind = view.scan.n_frames, view.found.geometry.kind
    motion = before_measuring(config.motion, kind, two_rocks(measurements.planar_step[:, 2]) is not None)
    hand = replace(Hand.of(kind, model.calibration.priors), pivot=not motion.swept)
    t = Trajectory(np.tile(np.eye(4), (n, 1, 1)), np.zeros((n, 3, 3)), hand, model.strengths_of(None), motion=motion)
    for step in STEPS:
        if step.name not in without and step.when(t, given):
            with clock.stage(step.name):
                t = step.run(t, given)
            t = replace(t, steps=(*t.steps, step.name))
    return t
