"""Where no calibration is given, the model whose trajectory crossing planes bear out is taken, else bare curves."""

from types import SimpleNamespace

import numpy as np
import pytest

from speckle_rec import geometry
from speckle_rec.config import Config
from speckle_rec.products.stages import Measurements
from speckle_rec.speckle.calibration import PHYSICAL, Calibration, Uncalibrated
from speckle_rec.speckle.curves import Curves
from speckle_rec.trajectory import model_choice
from speckle_rec.trajectory.crossing_planes import Calibrated

NONE = Calibrated(np.eye(4)[None])


def crossed(similarity, gain=1.0):
    return Calibrated(np.eye(4)[None], crossings=object(), similarity=(0.0, similarity), gain=gain)


def turning(total_deg):
    """Poses of a probe that turns by so much."""
    yaw = np.radians(total_deg) * np.minimum(np.arange(99) / 60, 1)
    return geometry.exp(yaw[:, None] * np.array([0, 0, 0, 0, 1.0, 0]))


@pytest.fixture
def chosen(monkeypatch):
    """The model that is taken, and how many were tried, of a scan whose crossing planes show so much by each."""
    def run(default, bare, calibration=None, kind="curvilinear", rocks=True, turn_deg=90, stretched=None):
        tried = []

        def estimated(given, view, measurements, config, clock):
            made = Uncalibrated.of(given) if isinstance(given, Curves) else given or Calibration.default(kind)
            tried.append(made)
            usual = Calibration.bare(kind) if made.hash == PHYSICAL else Calibration.default(kind)
            name = "bare" if made.hash == PHYSICAL else "default"
            seen_as, turn = bare if name == "bare" else default, turn_deg
            if made.gain != usual.gain and not given_one:
                name, seen_as, turn = f"{name} by {made.gain / usual.gain:.2f}", stretched, 90
            return (SimpleNamespace(crossed=seen_as, T=turning(turn)), SimpleNamespace(calibration=made, name=name),
                    Measurements(None, None, None, None, None, None, None, "cpu"))

        given_one = calibration is not None
        monkeypatch.setattr(model_choice, "_estimated", estimated)
        view = SimpleNamespace(found=SimpleNamespace(geometry=SimpleNamespace(kind=kind)))
        monkeypatch.setattr(model_choice, "two_rocks", lambda roll: ((0, 9), (50, 60)) if rocks else None)
        measured = SimpleNamespace(planar_step=np.zeros((99, 3)))
        _, model, seen = model_choice.estimate_with(calibration, view, measured, Config(), None)
        return model.name, len(tried), bool(seen.warnings)
    return run


def test_what_agrees_is_not_tried_again(chosen):
    assert chosen(crossed(0.6), crossed(0.7)) == ("default", 1, False)


def test_where_nothing_crosses_bare_curves_are_taken(chosen):
    assert chosen(None, crossed(0.7)) == ("bare", 2, True)
    assert chosen(None, None) == ("bare", 2, True)


def test_without_the_rocks_of_the_protocol_bare_curves_are_taken(chosen):
    assert chosen(crossed(0.6), crossed(0.7), rocks=False) == ("bare", 1, False)
    given = Calibration.shipped()
    assert chosen(crossed(0.6), crossed(0.7), calibration=given, rocks=False) == ("default", 1, False)


def test_a_turn_that_the_default_missed_is_looked_for_with_bare_curves(chosen):
    missed = Calibrated(np.eye(4)[None], turned=False)
    assert chosen(missed, crossed(0.7)) == ("bare", 2, True)
    assert chosen(missed, missed) == ("bare", 2, True)


@pytest.mark.parametrize("default, bare", [(crossed(0.02), crossed(0.6)), (NONE, crossed(0.5)),
                                           (crossed(0.59, 1.66), crossed(0.59, 0.75)), (crossed(0.1), crossed(0.3))])
def test_bare_curves_are_taken_where_they_agree_better(chosen, default, bare):
    assert chosen(default, bare) == ("bare", 2, True)


@pytest.mark.parametrize("default, bare", [(crossed(0.1), NONE), (crossed(0.6, 1.5), crossed(0.2)),
                                           (crossed(0.6, 1.4), crossed(0.7, 1.7)), (crossed(0.3), None)])
def test_the_default_stays_where_they_do_not(chosen, default, bare):
    assert chosen(default, bare) == ("default", 2, False)


@pytest.mark.parametrize("turn_deg, by", [(40, "0.44"), (150, "1.67")])
@pytest.mark.parametrize("kind, likelier, tries", [("curvilinear", "default", 4), ("linear", "bare", 2)])
def test_a_turn_of_another_size_than_the_protocols_asks_for_other_curves(chosen, turn_deg, by, kind, likelier, tries):
    none, less, agrees = crossed(0.1), crossed(0.05), crossed(0.5)
    found = chosen(none, less if likelier == "default" else none, kind=kind, turn_deg=turn_deg, stretched=agrees)
    assert found == (f"{likelier} by {by}", min(tries, 3), True)        # the likelier first, and no other if it agrees
    assert chosen(none, none, kind=kind, turn_deg=turn_deg, stretched=NONE)[:2] == ("bare", tries)
    assert chosen(agrees, none, kind=kind, turn_deg=turn_deg, stretched=agrees)[1] <= 2
    assert chosen(none, agrees, turn_deg=turn_deg, stretched=agrees) == ("bare", 2, True)


def test_a_probe_that_hardly_turned_is_not_stretched_to_the_protocols_turn(chosen):
    assert chosen(None, None, turn_deg=10, stretched=crossed(0.5)) == ("bare", 2, True)
    assert chosen(None, None, turn_deg=80, stretched=crossed(0.5)) == ("bare", 2, True)


@pytest.mark.parametrize("given, bare, taken, tries", [
    (crossed(0.7), crossed(0.8), "default", 1), (crossed(0.5, 1.6), crossed(0.8), "default", 1),      # agrees somehow
    (crossed(0.1), crossed(0.2), "default", 2), (NONE, NONE, "default", 2),                           # nothing better
    (crossed(0.1), crossed(0.7), "bare", 2), (NONE, crossed(0.7, 1.6), "bare", 2)])
def test_a_calibration_of_the_machine_is_left_where_anatomy_contradicts_it_alone(chosen, given, bare, taken, tries):
    assert chosen(given, bare, calibration=Calibration.shipped(), turn_deg=40) == (taken, tries, taken == "bare")


def test_curves_that_are_given_are_taken_at_their_word(chosen):
    assert chosen(crossed(0.1), crossed(0.7), calibration=Curves.usual("curvilinear"))[1] == 1


def test_a_linear_probe_has_bare_curves_only(chosen):
    assert chosen(crossed(0.1), crossed(0.7), kind="linear")[1] == 1
