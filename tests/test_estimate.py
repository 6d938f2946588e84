"""The list of steps: named once, each can be left out alone, and says when it ran."""

import numpy as np
import pytest
import scenes

from speckle_rec import geometry as se3
from speckle_rec.compute.clock import Clock
from speckle_rec.config import Config
from speckle_rec.frames.view import look
from speckle_rec.pairs.measure import measure
from speckle_rec.scan import Scan
from speckle_rec.speckle.model import model
from speckle_rec.trajectory import estimate as estimating
from speckle_rec.trajectory.estimate import STEPS, estimate

N = 48
OPTIONAL = sorted({step.name for step in STEPS if not step.needed})


@pytest.fixture(scope="module")
def stages():
    """A probe that is carried along z over a small phantom: what estimates are made of."""
    renderer = scenes.phantom()
    frames = np.stack([renderer(se3.translation([0, 0, 0.1 * k]), k) for k in range(N)])
    view = look(Scan.from_arrays(frames, scale=scenes.SCALE))
    config = Config(jobs=1)
    speckle, measurements = model(scenes.matched_curves(), view, measure(view, config, "cpu", Clock()), config)
    return view, measurements, speckle, config


def run(stages, without=()):
    clock = Clock()
    return estimate(*stages, clock, without), clock


def test_run_times_name_the_steps_that_ran(stages):
    found, clock = run(stages)
    assert set(found.steps) == set(clock.times_s) <= {step.name for step in STEPS}
    assert "multilateration" in found.steps


@pytest.mark.parametrize("name", OPTIONAL)
def test_a_step_can_be_left_out(stages, name, monkeypatch):
    monkeypatch.setattr(estimating, "ENOUGH_LOOPS", 0)      # so that the steps of places seen again run too
    found, clock = run(stages, (name,))
    assert name not in found.steps and name not in clock.times_s
    assert np.isfinite(found.T).all() and found.T.shape == (N, 4, 4)


@pytest.mark.parametrize("crosses", [True, False])
def test_mirrors_are_left_open_only_where_no_planes_cross(stages, crosses, monkeypatch):
    monkeypatch.setattr(estimating, "ENOUGH_LOOPS", 0)
    monkeypatch.setattr(estimating, "planes_cross", lambda t, given: crosses)
    assert ("open mirrors" in run(stages)[0].steps) != crosses


@pytest.mark.parametrize("name", ["multilateration", "no such step"])
def test_what_cannot_be_left_out_is_refused(stages, name):
    with pytest.raises(ValueError, match=name):
        run(stages, (name,))
