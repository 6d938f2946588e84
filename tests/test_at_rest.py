"""Strength of cells told from how much they moved, on correlations drawn from the fall of usual cells."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speckle_rec.frames.texture import windows
from speckle_rec.pairs.correlation import LAGS, Correlations, frame_pairs
from speckle_rec.products.stages import TimeFilter
from speckle_rec.speckle.at_rest import LAG_UNIT, cell_strengths, outlasting, strengths_at_rest, usual_fall
from speckle_rec.speckle.curves import TABLE_PER_UNIT, Curves
from speckle_rec.speckle.strengths import typical_correlation

N = 96
USUAL = Curves.usual("curvilinear")


def fall(q):
    table = usual_fall(USUAL)[0, 0, 0]
    return np.interp(np.sqrt(q) * TABLE_PER_UNIT, np.arange(len(table)), table)


def seen(strength, rate, path=None, noise=0.0, stays=0.0) -> Correlations:
    """Pairs of N frames of cells with strength and rate [P], along a `path` [N] whose usual step is 1."""
    path = np.arange(N) if path is None else path
    i, j = frame_pairs(N, LAGS, np.zeros(N, bool))
    q = np.square((path[j] - path[i])[:, None] / LAG_UNIT) * rate
    rho = np.asarray(strength) * ((1 - stays) * fall(q) + stays)
    rho = rho + noise * np.random.default_rng(0).normal(size=rho.shape)
    return Correlations(i, j, rho.astype(np.float32))


@settings(max_examples=20)
@given(st.lists(st.tuples(st.floats(0.3, 0.95), st.floats(0.1, 8.0)), min_size=3, max_size=12))
def test_strength_and_rate_come_back(cells):
    strength, rate = np.array(cells).T
    found, pace = strengths_at_rest(seen(strength, rate), N, USUAL)
    assert found.shape == (len(windows(N)[0]), len(cells))
    np.testing.assert_allclose(found, np.broadcast_to(strength, found.shape), rtol=0.05)
    np.testing.assert_allclose(np.log(pace), np.broadcast_to(np.log(rate), pace.shape), atol=0.15)


def filtered(strength, rate, response) -> Correlations:
    """`seen` of a steady hand, behind a filter over time."""
    i, j = frame_pairs(N, LAGS, np.zeros(N, bool))
    lag = (j - i)[:, None]
    q = np.square(lag / LAG_UNIT) * np.asarray(rate)
    rho = USUAL.through(TimeFilter(response)).expected(q, lag, np.asarray(strength), USUAL.slow_share)
    return Correlations(i, j, rho.astype(np.float32))


@pytest.mark.parametrize("response", [(0.5,), (0.75, 0.5, 0.25), (0.6, 0.36, 0.22, 0.13, 0.08)])
def test_strength_and_rate_come_back_from_behind_a_filter(response):
    strength, rate = np.array([0.95, 0.8, 0.5, 0.3, 0.8]), np.array([0.3, 2.0, 1.0, 4.0, 0.1])
    found, pace = strengths_at_rest(filtered(strength, rate, response), N, USUAL.through(TimeFilter(response)))
    np.testing.assert_allclose(found, np.broadcast_to(strength, found.shape), rtol=0.08)
    np.testing.assert_allclose(np.log(pace), np.broadcast_to(np.log(rate), pace.shape), atol=0.25)


def test_a_filter_makes_no_cell_stronger():
    """Cells of bare curves are as strong beside each other as without the filter, however they move."""
    strength, rate = np.array([0.9, 0.9, 0.6, 0.6, 0.4]), np.array([0.2, 3.0, 0.2, 3.0, 1.0])
    plain, behind = (cell_strengths(filtered(strength, rate, r), N, USUAL.through(TimeFilter(r)))
                     for r in ((), (2 / 3, 1 / 3)))
    np.testing.assert_allclose(behind.fast, plain.fast, rtol=0.06)


def test_cells_that_only_move_more_are_as_strong_as_the_others():
    """Under a yaw the sides decorrelate fast; at lag 1 they look weak, over all lags they do not."""
    rate = 15.0 * np.square(np.linspace(-1, 1, 21)) + 0.05
    speckle = seen(np.full(21, 0.9), rate, noise=0.05)
    lag_one = typical_correlation(speckle, N, (1, 1))[0].mean(0)
    found = strengths_at_rest(speckle, N, USUAL)[0].mean(0)
    assert lag_one[0] < 0.85 * lag_one[10]
    assert abs(found[[0, 20]].mean() / found[10] - 1) < 0.05


@pytest.mark.parametrize("kind", ["uneven", "turning back"])
def test_an_unsteady_hand_takes_little_of_it(kind):
    t = np.arange(N)
    pace = 1 + 0.35 * np.sin(t / 8) if kind == "uneven" else np.sign(np.sin((t + 0.5) / 24 * np.pi)) * 1.0
    strength, rate = np.tile([0.9, 0.6, 0.9, 0.6], 2), np.repeat([0.2, 2.0], 4)
    found = strengths_at_rest(seen(strength, rate, np.cumsum(pace)), N, USUAL)[0]
    inner = found[1:-1]
    np.testing.assert_allclose(inner / inner[:, :1], np.broadcast_to(strength / 0.9, inner.shape), atol=0.12)


def test_what_stays_is_told_from_what_moved_less():
    rate = np.array([0.3, 0.3, 3.0, 3.0])
    plain, more = (seen(np.full(4, 0.8), rate, stays=s) for s in (0.0, 0.4))
    speckle = Correlations(plain.i, plain.j, np.where([True, False, True, False], plain.rho, more.rho))
    strength, pace = strengths_at_rest(speckle, N, USUAL)
    far, count = outlasting(speckle, strength, pace, N, USUAL)
    assert (count > 0).all()
    middle = far[len(far) // 2]
    assert middle[1] - middle[0] > 0.1 and middle[3] - middle[2] > 0.1
    assert abs(middle[2] - middle[0]) < 0.05


def test_nothing_outlasts_a_motion_that_is_all_there_is():
    """At lags 16 to 32 these cells keep .3 to .95 of their strength, by their own fall."""
    rate = np.array([0.02, 0.04, 0.06, 0.1])
    speckle = seen(np.array([0.9, 0.5, 0.7, 0.9]), rate)
    far, _ = outlasting(speckle, *strengths_at_rest(speckle, N, USUAL), N, USUAL)
    np.testing.assert_allclose(far, 0, atol=0.03)


def test_cells_and_windows_without_correlations_say_nothing():
    speckle = seen(np.full(3, 0.8), np.ones(3))
    speckle.rho[:, 1] = np.nan
    found, pace = strengths_at_rest(speckle, N, USUAL)
    assert (found[:, 1] == 0).all() and np.isfinite(found).all() and (found[:, 0] > 0.7).all()
    none = Correlations(*frame_pairs(N, (40,), np.zeros(N, bool)), np.zeros((N - 40, 3), np.float32))
    found, pace = strengths_at_rest(none, N, USUAL)
    far, count = outlasting(none, found, pace, N, USUAL)
    assert not found.any() and not far.any() and not count.any()
