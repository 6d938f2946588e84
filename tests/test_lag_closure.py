"""Matches of neighbours see what matches of frames further apart do."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speckle_rec.pairs.block_matching import PlanarMotion
from speckle_rec.pairs.lag_closure import closed, shares, sums
from speckle_rec.pairs.planar_chain import planar_chain

LAGS = (1, 2, 4, 8)
SIZE = np.array([0.1, 0.05, 0.002])     # of a step: mm, mm, rad


def motion(seen: dict, n=400, noise=0.1, seed=0, moving=True) -> tuple[PlanarMotion, np.ndarray]:
    """Matches that see shares [3] by lag of a motion that wanders, and what they should."""
    rng = np.random.default_rng(seed)
    wander = np.cumsum(rng.normal(size=(n, 3)), 0)
    wander -= np.linspace(0, 1, n)[:, None] * wander[-1]
    step = SIZE * wander / wander.std(0) * moving
    path = np.concatenate([np.zeros((1, 3)), np.cumsum(step[1:], 0)])
    i, j = np.array([(k, k + lag) for lag in LAGS for k in range(n - lag)]).T
    true = path[j] - path[i]
    share = np.array([seen.get(int(lag), np.ones(3)) for lag in j - i])
    twist = share * true + noise * SIZE * rng.normal(size=true.shape)
    twist[rng.random(len(i)) < 0.02] += 20 * SIZE        # that matched elsewhere
    return PlanarMotion(i, j, twist, np.tile(np.diag(SIZE**2) / 100, (len(i), 1, 1)), np.full(len(i), 0.8),
                        np.ones(len(i))), true


@settings(max_examples=20, deadline=None)
@given(st.lists(st.floats(0.25, 1.5), min_size=9, max_size=9), st.integers(0, 99))
def test_the_share_that_near_lags_see_is_found_and_undone(values, seed):
    seen = dict(zip(LAGS, np.reshape(values, (3, 3)), strict=False))
    matches, true = motion(seen, seed=seed)
    found, mended = shares(matches), closed(matches)
    for lag in LAGS[:3]:
        np.testing.assert_allclose(found[lag], seen[lag], rtol=0.1)
        at = matches.j - matches.i == lag
        far = np.abs(true[at]) > SIZE / 2
        slope = [np.median(mended.twist[at, k][far[:, k]] / true[at, k][far[:, k]]) for k in range(3)]
        np.testing.assert_allclose(slope, 1, atol=0.12)
        np.testing.assert_allclose(np.median(mended.covariance[at], axis=0),
                                   matches.covariance[at][0] / np.outer(found[lag], found[lag]))
    np.testing.assert_array_equal(found[8], 1)


@pytest.mark.parametrize("moving, n", [(False, 400), (True, 12)], ids=["a probe that rests", "a short scan"])
def test_what_tells_nothing_changes_nothing(moving, n):
    matches, _ = motion({1: np.full(3, 0.4)}, n=n, moving=moving)
    np.testing.assert_array_equal(closed(matches).twist, matches.twist)


def test_where_far_frames_do_not_match_nearer_ones_are_the_measure():
    rng = np.random.default_rng(1)
    matches, _ = motion({1: np.full(3, 0.5)})
    lost = matches.j - matches.i == 8
    matches.twist[lost] = SIZE * 5 * rng.normal(size=(lost.sum(), 3))
    np.testing.assert_allclose(shares(matches)[1], 0.5, rtol=0.1)
    np.testing.assert_array_equal(shares(matches)[4], 1)


@pytest.mark.parametrize("slide", [0.6, -0.3])
def test_neighbours_that_see_nothing_of_a_slide_give_way_to_frames_further_apart(slide):
    """Noise behind a filter holds neighbours where they are while the probe slides, and shares tell nothing of it."""
    n, sliding = 200, slice(90, 110)
    rng = np.random.default_rng(2)
    step = SIZE * np.sin(np.arange(n) / 9)[:, None]
    step[0] = 0
    step[sliding, 0] += slide
    path = np.cumsum(step, 0)
    i, j = np.array([(k, k + lag) for lag in LAGS for k in range(n - lag)]).T
    twist = path[j] - path[i]
    twist[(j - i == 1) & (j >= sliding.start) & (j < sliding.stop), 0] = 0
    twist += 0.02 * SIZE * rng.normal(size=twist.shape)
    sure = np.tile(np.diag(SIZE**2) / 400, (len(i), 1, 1)) * (j - i)[:, None, None]
    matches = PlanarMotion(i, j, twist, sure, np.full(len(i), 0.8), np.ones(len(i)))
    found, covariance = planar_chain(closed(matches), n)
    np.testing.assert_allclose(found[sliding, 0], step[sliding, 0], atol=0.12 * abs(slide))
    np.testing.assert_allclose(found[:80], step[:80], atol=0.02)
    assert (covariance[sliding, 0, 0] > 10 * covariance[40, 0, 0]).all()


def test_sums_end_where_the_far_match_does_and_leave_no_gap():
    matches, _ = motion({}, n=40)
    near, far = sums(matches, 2, 8)
    assert len(far) == 32
    for rows, k in zip(near, far, strict=True):
        ends = sorted((matches.i[r], matches.j[r]) for r in rows)
        assert ends[0][0] == matches.i[k] and ends[-1][1] == matches.j[k]
        assert all(a[1] == b[0] for a, b in pairwise(ends))
