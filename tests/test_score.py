"""The score equals a literal implementation of the challenge's formulas."""

import numpy as np
import pytest
import reference
from hypothesis import given, settings
from hypothesis import strategies as st

from speckle_rec import geometry
from speckle_rec.errors import InputError
from speckle_rec.scoring import score

SCALE = np.diag([0.22447, 0.23554, 1.0, 1.0])
SHAPE = (24, 32)


def poses(rng, n, size=1.0):
    T_prev = geometry.exp(rng.normal(0, size, (n, 6)) * [1, 1, 1, 0.05, 0.05, 0.05])
    T_prev[0] = np.eye(4)
    return geometry.chain(T_prev), T_prev


def random_landmarks(rng, n, shape=SHAPE, count=20):
    marks = np.stack([rng.integers(0, n, count), rng.integers(1, shape[1] + 1, count),
                      rng.integers(1, shape[0] + 1, count)], -1)
    marks[0, 0] = 0
    return marks


@settings(max_examples=15)
@given(seed=st.integers(0, 10_000), n=st.integers(2, 9), size=st.floats(1e-3, 3))
def test_score_is_the_official_one(seed, n, size):
    rng = np.random.default_rng(seed)
    est, true, marks = poses(rng, n, size), poses(rng, n, size), random_landmarks(rng, n)
    scale = SCALE.copy()
    scale[:3, 3] = rng.normal(size=3)
    got = score.evaluate(*est, *true, scale, SHAPE, marks)
    still = np.tile(np.eye(4), (n, 1, 1))
    expected = reference.errors(*est, *true, scale, SHAPE, marks)
    identity = reference.errors(still, still, *true, scale, SHAPE, marks)
    np.testing.assert_allclose([got.GPE, got.GLE, got.LPE, got.LLE], expected, rtol=1e-9)
    np.testing.assert_allclose([getattr(got, k + "_identity") for k in score.ERRORS], identity, rtol=1e-9)
    n4 = 1 - np.array(expected) / identity
    np.testing.assert_allclose([got.final, got.global_, got.local, got.pixel, got.landmark],
                               [n4.mean(), n4[:2].mean(), n4[2:].mean(), n4[::2].mean(), n4[1::2].mean()],
                               rtol=1e-7, atol=1e-9)
    assert got.as_dict()["global"] == got.global_


def test_full_size_sum_is_exact():
    rng = np.random.default_rng(3)
    est, true = poses(rng, 4), poses(rng, 4)
    got = score.evaluate(*est, *true, SCALE)
    expected = reference.errors(*est, *true, SCALE, (480, 640), [(1, 1, 1)])
    np.testing.assert_allclose([got.GPE, got.LPE], [expected[0], expected[2]], rtol=1e-11)


def test_truth_scores_one_and_identity_zero():
    rng = np.random.default_rng(0)
    true = poses(rng, 6)
    still = np.tile(np.eye(4), (6, 1, 1))
    marks = random_landmarks(rng, 6)
    assert score.evaluate(*true, *true, SCALE, SHAPE, marks).final == 1.0
    assert score.evaluate(still, still, *true, SCALE, SHAPE, marks).final == 0.0


def test_landmark_on_frame_0_is_looked_up_on_the_last_frame():
    rng = np.random.default_rng(1)
    est, true = poses(rng, 5), poses(rng, 5)
    on_first = score.evaluate(*est, *true, SCALE, SHAPE, np.array([[0, 7, 9]]))
    on_last = score.evaluate(*est, *true, SCALE, SHAPE, np.array([[4, 7, 9]]))
    assert (on_first.GLE, on_first.LLE) == (on_last.GLE, on_last.LLE)


def test_without_landmarks_the_pixel_parts_count():
    rng = np.random.default_rng(2)
    got = score.evaluate(*poses(rng, 5), *poses(rng, 5), SCALE, SHAPE)
    assert got.GLE is None and got.landmark is None and not got.landmarks_known
    assert got.final == got.pixel == np.mean([got.GPE_normalised, got.LPE_normalised])


def test_nan_is_a_failure():
    rng = np.random.default_rng(2)
    first, prev = poses(rng, 5)
    broken = first.copy()
    broken[3, 0, 0] = np.nan
    got = score.evaluate(broken, prev, first, prev, SCALE, SHAPE, random_landmarks(rng, 5))
    assert got.failed and got.final == got.global_ == got.local == got.pixel == got.landmark == 0.0


def test_mirror_given_finds_the_mirror_image():
    rng = np.random.default_rng(4)
    first, prev = poses(rng, 8)
    true = (first, prev, SCALE, SHAPE)
    got, mirrored = score.with_mirror_given(geometry.mirror(first), geometry.mirror(prev), *true)
    assert mirrored and got.final == pytest.approx(1.0)
    got, mirrored = score.with_mirror_given(first, prev, *true)
    assert not mirrored and got.final == 1.0


@pytest.mark.parametrize("mark", [[5, 1, 1], [-1, 1, 1], [1, 0, 1], [1, 33, 1], [1, 1, 25], [1, 1]])
def test_landmarks_outside_the_scan_are_refused(mark):
    first, prev = poses(np.random.default_rng(0), 5)
    with pytest.raises(InputError, match="landmarks: expected"):
        score.evaluate(first, prev, first, prev, SCALE, SHAPE, np.array([mark]))


def test_numbers_of_poses_must_agree():
    first, prev = poses(np.random.default_rng(0), 5)
    with pytest.raises(InputError, match="N >= 2"):
        score.evaluate(first[:4], prev[:4], first, prev, SCALE, SHAPE)


def test_step_errors_of_a_known_shift():
    n = 11
    true, est = np.tile(np.eye(4), (n, 1, 1)), np.tile(np.eye(4), (n, 1, 1))
    true[:, :3, 3] = (0.3, 0.4, 0.5)
    est[:, :3, 3] = (0.3, 0.5, -0.4)
    got = score.step_errors(est, true, SCALE)
    assert got.steps == 10
    assert got.inplane_rms_mm == pytest.approx(0.1) and got.inplane_corner_rms_mm == pytest.approx(0.1)
    assert got.elevational_rms_mm == pytest.approx(0.9) and got.elevational_size_rms_mm == pytest.approx(0.1)
    assert got.inplane_path_true_mm == pytest.approx(5.0)
    assert got.elevational_path_est_mm == pytest.approx(4.0)
    half = score.step_errors(est, true, SCALE, where=np.arange(n) < 6)
    assert half.steps == 5 and half.elevational_path_true_mm == pytest.approx(2.5)
