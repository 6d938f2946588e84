"""Short parts on the wrong side of a leap are brought back; what only looks like one stays."""

import numpy as np
import pytest
from scenes import model_scan, trajectory
from test_fusion import factors_of

from speckle_rec import geometry as se3
from speckle_rec.trajectory.outlier_steps import bridged, leaps, mended
from speckle_rec.trajectory.solver import solve, total_cost

N = 120
FANNED = trajectory(tilt_rad=0.15 * np.sin(np.arange(N) / 14), shift_mm=0.02 * np.arange(N))


def leapt(T, at=60, n=9, tilt=0.11):
    """Poses whose frames at..at+n-1 come the wrong way, off by a leap."""
    step = se3.log(se3.steps(T))
    step[at, 3] += tilt
    step[at + 1:at + n, 2:5] *= -1
    return se3.chain(se3.exp(step))


def apart(X, T):
    return np.abs(se3.log(se3.inverse(T) @ X)[:, 3]).max()


def test_a_leap_is_found_and_undone():
    factors = factors_of(model_scan(FANNED, 3))
    start = leapt(FANNED)
    assert leaps(start)[0] == 60 and leaps(FANNED) == []
    X, count = mended(start, factors)
    assert count == 1 and leaps(X) == []
    assert total_cost(X, factors) < total_cost(solve(start, factors), factors)
    assert apart(X, FANNED) < 0.05 < apart(solve(start, factors), FANNED)


def test_a_leap_that_was_made_stays():
    T = leapt(FANNED, n=0, tilt=0.06)
    T[:, 2, 3] -= T[60, 2, 3] - FANNED[60, 2, 3]
    factors = factors_of(model_scan(T, 4))
    start = solve(T, factors)
    assert leaps(start)
    X, count = mended(start, factors)
    assert count == 0
    np.testing.assert_array_equal(X, start)


@pytest.mark.parametrize("at", [1, 5, 60, 114, 119])
def test_a_bridge_is_steady_and_carries_what_follows(at):
    T = leapt(FANNED, at, 1)
    X = bridged(T, at)
    first, last = max(at - 12, 2), min(at + 12, N - 2)
    np.testing.assert_allclose(X[:first], T[:first], atol=1e-9)
    np.testing.assert_allclose(se3.steps(X)[last + 1:], se3.steps(T)[last + 1:], atol=1e-9)
    bent = np.diff(se3.log(se3.steps(X))[first - 1:last + 2], 2, axis=0)
    np.testing.assert_allclose(bent, 0, atol=1e-9)


@pytest.mark.parametrize("n", [1, 2, 12, 17])
def test_short_scans_and_rest_have_none(n):
    assert leaps(FANNED[:n]) == [] and leaps(np.tile(np.eye(4), (n + 20, 1, 1))) == []
