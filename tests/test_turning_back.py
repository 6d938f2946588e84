"""Sweeps that seem to turn back: a turn that no revisit bears out is taken back where that costs little."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scenes import model_scan, trajectory
from test_fusion import factors_of

from speckle_rec.trajectory.hand import Hand
from speckle_rec.trajectory.turning_back import carried_on, turning_points, way

SWEPT = Hand(pivot=False)
FRAMES, SLOW = 160, 80


def slowing(sign_after: float) -> np.ndarray:
    """A sweep that stands still about the frame `SLOW`, then goes on (1) or back (-1)."""
    step = 0.15 * np.clip(np.abs(np.arange(FRAMES) - SLOW) / 20 - 0.2, 0, 1)
    return trajectory(shift_mm=np.cumsum(np.where(np.arange(FRAMES) > SLOW, sign_after, 1) * step))


def test_a_way_turns_where_it_goes_back_far_and_long():
    t = np.arange(200.0)
    gone = 0.2 * np.where(t < 100, t, 200 - t)
    assert turning_points(gone) == [100] and turning_points(-gone) == [100]
    assert turning_points(0.2 * t) == []
    assert turning_points(0.2 * t + 2 * np.sin(t / 6)) == []                  # a tremor
    assert turning_points(np.where(t < 100, 0.5 * t, 50 - np.minimum(t - 100, 20))) == [100]
    assert turning_points(np.zeros(200)) == [] and turning_points(np.zeros(1)) == []


@given(st.lists(st.floats(12, 40), min_size=1, max_size=5), st.sampled_from((-1.0, 1.0)))
@settings(max_examples=30, deadline=None)
def test_all_turns_of_a_way_are_found(lengths, sign):
    ends = np.cumsum([0, *(sign * (-1) ** k * v for k, v in enumerate(lengths))])
    gone = np.interp(np.arange(60 * len(lengths) + 1), 60 * np.arange(len(ends)), ends)
    assert turning_points(gone) == [60 * k for k in range(1, len(lengths))]


def test_the_way_is_that_of_the_waist():
    T = trajectory(tilt_rad=0.01 * np.arange(20))
    assert way(T, 40.0)[-1] == pytest.approx(0.19 * 40, rel=0.02)


def test_a_turn_that_costs_as_much_as_going_on_is_taken_back():
    """Neighbours over a standstill longer than their lags cannot tell: nothing seen again does."""
    true, wrong = slowing(1), slowing(-1)
    f = factors_of(model_scan(true, 5), SWEPT)
    near = f.picked((f.pairs.j <= SLOW) | (f.pairs.i >= SLOW))
    found = carried_on(wrong, near, 0.0)
    assert abs(found[-1, 2, 3]) > 0.9 * abs(true[-1, 2, 3])
    assert carried_on(true, near, 0.0) is true


def test_a_turn_that_neighbours_ask_for_stays():
    """A sharp turn is seen by neighbours on both of its sides; there are more cells in practice than in this scene."""
    t = np.arange(float(FRAMES))
    true = trajectory(shift_mm=0.7 * np.minimum(t, FRAMES - t))
    f = factors_of(model_scan(true, 6), SWEPT)
    assert carried_on(true, f.weighed(4.0), 0.0) is true
