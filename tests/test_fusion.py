"""Smoothing, covariance and the batch solve, against dense least squares, finite differences and gtsam."""

import dataclasses

import numpy as np
import pytest
import scenes
from hypothesis import given, settings
from hypothesis import strategies as st
from scenes import model_scan, trajectory

from speckle_rec import geometry as se3
from speckle_rec.geometry import OUT_OF_PLANE, PLANAR
from speckle_rec.kernels.cells import Loss
from speckle_rec.kernels.twists import jacobians
from speckle_rec.pairs.block_matching import PlanarMotion
from speckle_rec.trajectory.factors import Factors
from speckle_rec.trajectory.hand import Hand
from speckle_rec.trajectory.mirror_tests import decimated
from speckle_rec.trajectory.normal_equations import Normal
from speckle_rec.trajectory.phases import phase_precision
from speckle_rec.trajectory.smoother import BEND_RAD_MM, bend_covariance, chained_covariance, smooth, step_measurements
from speckle_rec.trajectory.solver import linearise, solve, total_cost, twists_between


def spd(rng, n, size):
    """[n, size, size] positive definite matrices."""
    A = rng.normal(size=(n, size, size))
    return A @ np.swapaxes(A, 1, 2) + 0.3 * np.eye(size)


# -- Kalman and Rauch-Tung-Striebel

def dense_smoother(increment, covariance, process, start):
    """The same problem as one least squares: means [N, 6] and covariances [N, 6, 6] of frames 1..N-1."""
    n = len(increment) - 1
    A, b = np.zeros((6 * n, 6 * n)), np.zeros(6 * n)

    def block(k):
        return slice(6 * k, 6 * k + 6)

    A[block(0), block(0)] += np.linalg.inv(start)
    for k in range(n):
        W = np.linalg.inv(covariance[k + 1])
        A[block(k), block(k)] += W
        b[block(k)] += W @ increment[k + 1]
    W = np.linalg.inv(process)
    for k in range(n - 1):
        for p, q, sign in ((k, k, 1), (k + 1, k + 1, 1), (k, k + 1, -1), (k + 1, k, -1)):
            A[block(p), block(q)] += sign * W
    P = np.linalg.inv(A)
    return (P @ b).reshape(n, 6), np.array([P[block(k), block(k)] for k in range(n)])


def test_the_smoother_is_dense_least_squares():
    rng = np.random.default_rng(0)
    n = 12
    increment, covariance = rng.normal(size=(n, 6)), spd(rng, n, 6)
    acceleration = np.array([0.3, 0.2, 0.5, 0.1, 0.4, 0.2])
    x, P = smooth(increment, covariance, acceleration)
    process = np.diag(acceleration**2)
    mean, var = dense_smoother(increment, covariance, process, 100 * process)
    np.testing.assert_allclose(x[1:], mean, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(P[1:], var, rtol=1e-7, atol=1e-10)
    assert (x[0] == 0).all() and (P[0] == 0).all()


def test_the_smoother_of_a_steady_hand():
    n = 40
    steady = np.tile(np.array([0.1, 0, -0.2, 0, 0.01, 0]), (n, 1))
    R = np.tile(np.diag([0.05, 0.05, 0.05, 0.002, 0.002, 0.002]) ** 2, (n, 1, 1))
    x, P = smooth(steady, R)
    np.testing.assert_allclose(x[5:], steady[5:], atol=1e-3)
    noisy, _ = smooth(steady + np.random.default_rng(1).normal(size=(n, 6)) * np.sqrt(R[0].diagonal()), R)
    assert np.abs(noisy[5:] - steady[5:]).mean() < 0.04
    assert (P[20].diagonal() < R[0].diagonal()).all()


def test_the_smoother_interpolates_what_was_not_measured():
    n = 21
    ramp = np.zeros((n, 6))
    ramp[:, 2] = 0.02 * np.arange(n)
    R = np.tile(1e-8 * np.eye(6), (n, 1, 1))
    R[8:13] = 1e6 * np.eye(6)
    seen = ramp.copy()
    seen[8:13] = 5.0
    x, P = smooth(seen, R)
    np.testing.assert_allclose(x[1:], ramp[1:], atol=1e-3)
    assert P[10, 2, 2] > 100 * P[3, 2, 2]


@pytest.mark.parametrize("n", [1, 2])
def test_the_smoother_of_one_and_two_frames(n):
    increment = np.zeros((n, 6))
    increment[1:, 0] = 0.5
    x, P = smooth(increment, np.tile(1e-6 * np.eye(6), (n, 1, 1)))
    np.testing.assert_allclose(x, increment, atol=1e-5)
    assert P.shape == (n, 6, 6)


def test_step_measurements_put_both_kinds_in_their_places():
    rng = np.random.default_rng(0)
    T = se3.chain(se3.exp(0.1 * rng.normal(size=(5, 6))))
    planar, out = spd(rng, 5, 3), spd(rng, 5, 3)
    increment, covariance = step_measurements(T, planar, out)
    np.testing.assert_allclose(se3.chain(se3.exp(increment)), T, atol=1e-9)
    np.testing.assert_array_equal(covariance[:, PLANAR[:, None], PLANAR], planar)
    np.testing.assert_array_equal(covariance[:, OUT_OF_PLANE[:, None], OUT_OF_PLANE], out)
    assert (covariance[:, PLANAR[:, None], OUT_OF_PLANE] == 0).all()


# -- covariance of a chain

@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("along, axis", [(2, 1), (0, 1), (2, 0), (0, 2)])
def test_a_limb_that_bends_as_much_as_told_is_one_deviation_off(sign, along, axis):
    """A sweep along z or x that tilts, yaws or rolls as it goes, beside the straight one that is found of it."""
    n, ahead, bent = 60, np.zeros(6), np.zeros(6)
    ahead[along] = 1.5
    bent[3 + axis] = sign * BEND_RAD_MM[axis] * 1.5
    curved, straight = (se3.chain(np.tile(se3.exp(step), (n, 1, 1))) for step in (ahead + bent, ahead))
    error = se3.log(curved @ se3.inverse(straight))
    stated = bend_covariance(straight)
    at, across = slice(10, None), 3 - along - axis
    np.testing.assert_allclose(np.abs(error[at, 3 + axis]), np.sqrt(stated[at, 3 + axis, 3 + axis]), rtol=0.05)
    assert (np.abs(error[at, across]) < 1.05 * np.sqrt(stated[at, across, across])).all()
    assert (np.sign(error[at, across] * error[at, 3 + axis]) == np.sign(stated[at, across, 3 + axis])).all()


def test_chained_covariance_is_that_of_many_noisy_chains():
    rng = np.random.default_rng(2)
    n, trials = 15, 4000
    step = np.array([0.4, 0.1, 0.3, 0.02, 0.03, -0.02])
    sd = np.array([0.02, 0.01, 0.05, 1e-3, 2e-3, 1e-3])
    T = se3.chain(np.tile(se3.exp(step), (n, 1, 1)))
    P = np.tile(np.diag(sd**2), (n, 1, 1))
    P[0] = 0
    stated = chained_covariance(T, P, 0.0)
    noisy = np.tile(np.eye(4), (trials, 1, 1))
    for _ in range(n - 1):
        noisy = noisy @ se3.exp(step) @ se3.exp(sd * rng.normal(size=(trials, 6)))
    errors = se3.log(noisy @ se3.inverse(T[-1]))          # as a twist in the first frame
    size = np.sqrt(np.outer(stated[-1].diagonal(), stated[-1].diagonal()))
    np.testing.assert_allclose(np.cov(errors.T) / size, stated[-1] / size, atol=0.08)
    assert (stated[0] == 0).all()


def test_a_common_scale_error_is_not_averaged_away():
    T = se3.chain(np.tile(se3.exp(np.array([0.1, 0, 0.2, 0, 0, 0])), (11, 1, 1)))
    P = chained_covariance(T, np.zeros((11, 6, 6)), 0.2)
    np.testing.assert_allclose(np.sqrt(P[:, 2, 2]), 0.2 * 0.2 * np.arange(11), atol=1e-12)
    assert (P[:, 0, 0] == 0).all()


# -- the normal equations

@pytest.fixture(scope="module")
def problem():
    """(true poses, factors) of a short scan with shift, fan, turn, roll and x; every measurement exact or drawn."""
    t = np.arange(24)
    T = trajectory(shift_mm=0.1 * t, tilt_rad=0.05 * np.sin(t / 6), yaw_rad=0.006 * t, roll_rad=0.03 * np.cos(t / 5),
                   x_mm=0.15 * t)
    return T, factors_of(model_scan(T, 1))


def planar_of(T, lags=(1, 4), sd=(0.01, 0.01, 5e-4)):
    i, j = np.array([(k - lag, k) for lag in lags for k in range(lag, len(T))]).T
    twist = se3.log(se3.inverse(T[i]) @ T[j])[:, PLANAR]
    return PlanarMotion(i, j, twist, np.tile(np.diag(np.square(sd)), (len(i), 1, 1)), np.ones(len(i)), np.ones(len(i)))


SWEPT, PIVOTED = Hand(pivot=False), Hand(pivot=True)


def factors_of(scan, hand=SWEPT, planar=None):
    return Factors.of(planar or planar_of(scan.T), scan.speckle, scan.forms, scan.strengths, scan.curves, hand)


def without_speckle(scan):
    none = dataclasses.replace(scan.speckle, i=scan.speckle.i[:0], j=scan.speckle.j[:0], rho=scan.speckle.rho[:0])
    return dataclasses.replace(scan, speckle=none)


def dense(normal):
    """Symmetric matrix of an upper band."""
    A = np.zeros((normal.n, normal.n))
    for k in range(normal.width + 1):
        A += np.diag(normal.band[normal.width - k, k:], k)
    return A + np.triu(A, 1).T


def test_jacobians_of_a_relative_twist(problem):
    """METHOD.md (5.2) against finite differences."""
    T, _ = problem
    i, j, h = 3, 9, 1e-6
    xi = se3.log(se3.inverse(T[i]) @ T[j])
    rows = np.array([5, 0, 3])
    both = np.empty((2, 1, len(rows), 6))
    jacobians(xi[None], rows, *both)
    for J, at in zip(both[:, 0], (0, 1), strict=True):
        for m, d in enumerate(h * np.eye(6)):
            moved = [T[i] @ se3.exp(d), T[j]] if at == 0 else [T[i], T[j] @ se3.exp(d)]
            slope = (se3.log(se3.inverse(moved[0]) @ moved[1]) - xi) / h
            np.testing.assert_allclose(J[:, m], slope[rows], atol=0.01)


@settings(max_examples=40)
@given(st.integers(0, 2**32 - 1), st.sampled_from([1e-7, 1e-3, 0.3, 1.0, 2.0]))
def test_twists_between_frames_are_those_of_the_geometry(seed, size):
    """Whatever the angle: half turns, where the short formula fails, too."""
    rng = np.random.default_rng(seed)
    twist = size * rng.normal(size=(6, 6))
    twist[0, 3:] *= np.pi / np.linalg.norm(twist[0, 3:]) if size == 2.0 else 1
    T = se3.exp(np.concatenate([np.zeros((1, 6)), twist]))
    i, j = np.array([0, 2, 5, 3]), np.array([1, 4, 6, 3])
    expected = se3.log(se3.inverse(T[i]) @ T[j])
    np.testing.assert_allclose(twists_between(T, i, j), expected, rtol=1e-7, atol=1e-9 * max(1, size))


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1))
def test_normal_equations_are_those_written_out(seed):
    """Of factors near and far, of frames that move and that do not, against dense algebra."""
    rng = np.random.default_rng(seed)
    n, first, reach, D = 9, 2, 3, 2
    i = rng.integers(0, n + 2, 30)
    j = i + rng.integers(1, 7, 30)
    Ji, Jj = rng.normal(size=(2, 30, D, 6))
    g, root = rng.normal(size=(30, D)), rng.normal(size=(30, D, D))
    H = root @ np.swapaxes(root, 1, 2)
    normal = Normal(n, reach, first)
    normal.add([(i, Ji), (j, Jj)], g, H)
    A, rhs = np.zeros((6 * n, 6 * n)), np.zeros(6 * n)
    for m in range(30):
        J = np.zeros((D, 6 * n))
        for k, block in ((i[m] - first, Ji[m]), (j[m] - first, Jj[m])):
            if 0 <= k < n:
                J[:, 6 * k:6 * k + 6] += block
        A += J.T @ H[m] @ J
        rhs -= J.T @ g[m]
    found = dense(normal)
    for fa, fb, blocks in normal.far:
        for a, b, block in zip(fa, fb, blocks, strict=True):
            found[6 * a:6 * a + 6, 6 * b:6 * b + 6] += block
            found[6 * b:6 * b + 6, 6 * a:6 * a + 6] += block.T
    np.testing.assert_allclose(found, A, atol=1e-10)
    np.testing.assert_allclose(normal.rhs.ravel(), rhs, atol=1e-10)


@pytest.mark.parametrize(("hand", "phased"), [(SWEPT, False), (PIVOTED, False), (PIVOTED, True)],
                         ids=["swept", "pivoted", "in phases, frames lost"])
def test_the_gradient_is_that_of_the_cost(problem, hand, phased):
    """With the variance of the correlations held (a large `extra`), which the solve does not differentiate."""
    T, _ = problem
    factors = factors_of(model_scan(T, 1), hand)
    factors = dataclasses.replace(factors, loss=Loss(samples=1e9, extra=1.0),
                                  pairs=factors.pairs._replace(temper=np.full(len(factors.pairs.i), 50.0)))
    rng = np.random.default_rng(3)
    T = T @ se3.exp(rng.normal(size=(len(T), 6)) * [0.05, 0.05, 0.05, 2e-3, 2e-3, 2e-3])
    if phased:
        held = dataclasses.replace(factors, phase_precision=rng.uniform(0, 1e7, (len(T), 2)),
                                   elapsed=rng.uniform(1, 3, len(T)))
        assert total_cost(T, held) - total_cost(T, factors) == pytest.approx(
            linearise(T, held)[0] - linearise(T, factors)[0])
        factors = held
    _, normal = linearise(T, factors)
    for _ in range(6):
        direction = rng.normal(size=(len(T), 6)) * [1, 1, 1, 0.03, 0.03, 0.03]
        h = 1e-4
        ahead, behind = (linearise(T @ se3.exp(s * h * direction), factors)[0] for s in (1, -1))
        assert -(normal.rhs * direction).sum() == pytest.approx((ahead - behind) / (2 * h), rel=0.02)


def test_normal_equations_in_a_band_are_the_dense_ones(problem):
    T, factors = problem
    rng = np.random.default_rng(4)
    normal = Normal(8, 3)
    A, b = np.zeros((48, 48)), np.zeros(48)
    for i, j in [(0, 1), (2, 5), (4, 7), (3, 4), (2, 5)]:
        Ji, Jj, g, H = rng.normal(size=(3, 6)), rng.normal(size=(3, 6)), rng.normal(size=3), spd(rng, 1, 3)[0]
        normal.add([(np.array([i]), Ji[None]), (np.array([j]), Jj[None])], g[None], H[None])
        J = np.zeros((3, 48))
        J[:, 6 * i:6 * i + 6], J[:, 6 * j:6 * j + 6] = Ji, Jj
        A += J.T @ H @ J
        b -= J.T @ g
    np.testing.assert_allclose(dense(normal), A, atol=1e-12)
    np.testing.assert_allclose(normal.rhs.ravel(), b, atol=1e-12)
    _, normal = linearise(T, factors)
    A = dense(normal)
    assert np.linalg.eigvalsh(A).min() > -1e-6 * np.abs(A).max()
    step = normal.step(1e-3).ravel()
    A[np.diag_indices(len(A))] = A.diagonal() * (1 + 1e-3) + 1e-9
    A[:6, :6] += 1e12 * np.eye(6)
    np.testing.assert_allclose(step, np.linalg.solve(A, normal.rhs.ravel()), atol=1e-6)
    assert np.abs(step[:6]).max() < 1e-6       # frame 0 stays


# -- the solve

def elevation(T):
    depth = scenes.matched_curves().focus_mm
    return (T @ np.array([[0, depth, 0, 1], [-10, depth, 0, 1], [10, depth, 0, 1]]).T)[:, :3]


@pytest.mark.parametrize("seed", [0, 1])
def test_the_gradient_prefers_no_scale(seed):
    """With sigma held (METHOD.md (3.8)) the equations have their zero at the true size of the motion."""
    t = np.arange(50)
    T = trajectory(shift_mm=0.05 * t, tilt_rad=0.12 * np.sin(t / 8), yaw_rad=0.002 * t)
    factors = dataclasses.replace(factors_of(model_scan(T, seed)), acceleration=np.full(6, 1e4))

    def scaled(s):
        step = se3.log(se3.steps(T))
        step[:, OUT_OF_PLANE] *= s
        return se3.chain(se3.exp(step))

    scales, slopes = np.arange(0.9, 1.11, 0.05), []
    for s in scales:
        along = se3.log(se3.inverse(scaled(s)) @ scaled(s + 1e-3)) / 1e-3
        slopes.append(-(linearise(scaled(s), factors)[1].rhs * along).sum())
    assert np.interp(0, slopes, scales) == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("seed", [0, 1])
def test_the_solve_recovers_a_perturbed_trajectory(problem, seed):
    true, _ = problem
    factors = factors_of(model_scan(true, seed))
    rng = np.random.default_rng(10 + seed)
    walk = np.cumsum(rng.normal(size=(len(true), 6)) * [0.05, 0.05, 0.05, 3e-3, 3e-3, 3e-3], axis=0)
    start = se3.inverse((true @ se3.exp(walk))[:1]) @ true @ se3.exp(walk)
    T = solve(start, factors, 60)
    before, after = (np.abs(elevation(x) - elevation(true)) for x in (start, T))
    assert before.max() > 0.4
    assert after[..., :2].max() < 0.1 and after[:, 2].max() < 0.35
    assert np.sqrt(np.mean(after**2)) < 0.3 * np.sqrt(np.mean(before**2))
    assert linearise(T, factors)[0] < 1.01 * linearise(true, factors)[0]      # variances were held
    np.testing.assert_allclose(T[0], np.eye(4), atol=1e-9)


def test_the_solve_never_ends_above_its_start(problem):
    true, factors = problem
    for T in (true, np.tile(np.eye(4), (len(true), 1, 1))):
        assert linearise(solve(T, factors), factors)[0] <= linearise(T, factors)[0]


def test_the_solve_takes_the_side_of_its_start(problem):
    """The mirror image costs the same: nothing in the factors tells the two apart."""
    true, factors = problem
    M = np.diag([1.0, 1, -1, 1])
    assert linearise(M @ true @ M, factors)[0] == pytest.approx(linearise(true, factors)[0])
    np.testing.assert_allclose(solve(M @ true @ M, factors), M @ solve(true, factors) @ M, atol=1e-6)


def test_a_contact_point_tells_a_fan_from_a_shift():
    """Speckle hardly does (METHOD.md (4.3)); the fan is better known with the contact point held."""
    t = np.arange(50)
    true = trajectory(tilt_rad=0.1 * np.sin(t / 8))
    start = trajectory(shift_mm=0.5 * 0.1 * np.sin(t / 8) * scenes.matched_curves().focus_mm,
                       tilt_rad=0.05 * np.sin(t / 8))
    scan = model_scan(true, 2)
    shift = [np.abs(solve(start, factors_of(scan, hand), 60)[:, 2, 3]).max() for hand in (SWEPT, Hand(drift_mm=0.3))]
    assert shift[1] < 0.7 * shift[0]


def test_what_a_phase_does_not_mean_tells_a_slide_from_a_tilt():
    """While a probe is rocked or turned it slides, and hardly tilts."""
    t = np.arange(60)
    slide = np.sin(t / 9)
    true = trajectory(shift_mm=slide, yaw_rad=0.008 * t, roll_rad=0.02 * np.sin(t / 3))
    start = trajectory(shift_mm=0.4 * slide, tilt_rad=0.6 * slide / scenes.matched_curves().focus_mm, yaw_rad=0.008 * t,
                       roll_rad=0.02 * np.sin(t / 3))
    alone = factors_of(model_scan(true, 4), PIVOTED)
    held = dataclasses.replace(alone, phase_precision=phase_precision(start, PIVOTED))
    tilt = [np.sqrt(np.square(solve(start, f, 60)[:, 2, 1]).mean()) for f in (alone, held)]
    assert tilt[1] < 0.6 * tilt[0]


def test_each_phase_holds_what_it_does_not_mean():
    t = np.arange(180)
    fan, turn, rock = (np.clip(t - start, 0, 60) for start in (0, 60, 120))
    T = trajectory(tilt_rad=0.008 * fan, yaw_rad=0.008 * turn, roll_rad=0.006 * rock)
    fan, turn, rock = (phase_precision(T, PIVOTED)[k] > 0 for k in (30, 90, 150))
    assert fan.tolist() == [False, True] and turn.tolist() == [True, False] and rock.tolist() == [True, True]


def test_a_sweep_tilts_and_yaws_slowly_unless_it_ends_in_a_turn():
    t = np.arange(180.0)
    held = phase_precision(trajectory(shift_mm=0.3 * t, yaw_rad=0.004 * t), SWEPT)
    assert held is not None and (held > 0).all()
    assert phase_precision(trajectory(shift_mm=0.3 * t, yaw_rad=0.009 * t), SWEPT) is None


@pytest.mark.parametrize("angle, of_pose", [("tilt_rad", (1, 2)), ("yaw_rad", (0, 2))])
def test_the_angles_of_a_sweep_are_held(angle, of_pose):
    """Tilt and yaw that a few noisy cells read at random are held; the shift is not."""
    t = np.arange(40.0)
    true = trajectory(shift_mm=0.2 * t)
    start = trajectory(shift_mm=0.2 * t, **{angle: 0.02 * np.sin(t / 3)})
    free = factors_of(model_scan(true, 4), SWEPT)
    free = dataclasses.replace(free, pairs=free.pairs._replace(temper=free.pairs.temper * 1e-3))
    held = dataclasses.replace(free, phase_precision=phase_precision(start, SWEPT))
    turned = [np.sqrt(np.square(solve(start, f, 60)[:, *of_pose]).mean()) for f in (free, held)]
    assert turned[1] < 0.6 * turned[0]


def test_a_probe_on_the_skin_tells_a_sweep_from_a_lean():
    """As above, of a probe that is carried along: that it hardly leans is all that is known."""
    t = np.arange(60)
    true = trajectory(shift_mm=0.25 * t)
    start = trajectory(shift_mm=0.15 * t, tilt_rad=0.1 * t / scenes.matched_curves().focus_mm)
    scan = model_scan(true, 3)
    swept, upright = (solve(start, factors_of(scan, hand), 60) for hand in (SWEPT, SWEPT.upright))
    lean = [np.abs(np.arcsin(T[:, 2, 1])).max() for T in (swept, upright)]
    assert lean[1] < 0.7 * lean[0]
    assert abs(upright[-1, 2, 3] / true[-1, 2, 3] - 1) < 0.1


def test_factors_judged_anew_are_those_of_the_other_strengths():
    scan = model_scan(trajectory(shift_mm=0.2 * np.arange(20)), 4)
    other = dataclasses.replace(scan.strengths, fast=0.9 * scan.strengths.fast, slow=scan.strengths.slow + 0.05,
                                stretch=1.1 * scan.strengths.stretch)
    there = factors_of(dataclasses.replace(scan, strengths=other))
    found = factors_of(scan).judged(other)
    assert total_cost(scan.T, found) == total_cost(scan.T, there) != total_cost(scan.T, factors_of(scan))


def test_without_speckle_the_planar_factors_decide():
    t = np.arange(15)
    T = trajectory(roll_rad=0.02 * t, x_mm=0.2 * t, shift_mm=0.0 * t)
    scan = model_scan(T)
    factors = factors_of(without_speckle(scan))
    np.testing.assert_allclose(solve(np.tile(np.eye(4), (15, 1, 1)), factors, 60), T, atol=5e-3)


def test_one_and_two_frames_are_solved():
    for n in (1, 2):
        T = trajectory(x_mm=0.3 * np.arange(n), shift_mm=np.zeros(n))
        scan = model_scan(T)
        planar = planar_of(T, (1,)) if n == 2 else PlanarMotion(*[np.zeros((0, *s), d) for s, d in (
            ((), int), ((), int), ((3,), float), ((3, 3), float), ((), float), ((), float))])
        factors = factors_of(scan, planar=planar)
        found = solve(np.tile(np.eye(4), (n, 1, 1)), factors)
        np.testing.assert_allclose(found[:, :2, 3], T[:, :2, 3], atol=5e-3)


def test_planar_pose_graph_is_that_of_gtsam():
    """Noisy matches at two lags, one of them grossly wrong, under the same Cauchy loss."""
    gtsam = pytest.importorskip("gtsam", reason="gtsam is not installed (no wheel for this Python)")
    rng = np.random.default_rng(5)
    t = np.arange(20)
    true = trajectory(roll_rad=0.1 * np.sin(t / 4), x_mm=0.3 * t, shift_mm=0.0 * t)
    planar = planar_of(true, (1, 3))
    twist = planar.twist + rng.normal(size=planar.twist.shape) * [0.01, 0.01, 5e-4]
    twist[7] += [2.0, -1.0, 0.1]
    planar = dataclasses.replace(planar, twist=twist)
    scan = model_scan(true)
    factors = dataclasses.replace(factors_of(without_speckle(scan), planar=planar), acceleration=np.full(6, 1e4))
    ours = solve(true, factors, 100)

    graph, start = gtsam.NonlinearFactorGraph(), gtsam.Values()
    graph.add(gtsam.PriorFactorPose3(0, gtsam.Pose3(), gtsam.noiseModel.Isotropic.Sigma(6, 1e-6)))
    order = [3, 4, 5, 0, 1, 2]                       # gtsam puts rotation first
    for i, j, v, W in zip(planar.i, planar.j, planar.twist, factors.planar_information, strict=True):
        information = np.eye(6)
        information[np.ix_(PLANAR, PLANAR)] = W
        full = np.zeros(6)
        full[PLANAR] = v
        noise = gtsam.noiseModel.Robust.Create(
            gtsam.noiseModel.mEstimator.Cauchy.Create(3.0),
            gtsam.noiseModel.Gaussian.Information(information[np.ix_(order, order)]))
        graph.add(gtsam.BetweenFactorPose3(int(i), int(j), gtsam.Pose3(se3.exp(full)), noise))
    for k, T in enumerate(true):
        start.insert(k, gtsam.Pose3(T))
    parameters = gtsam.LevenbergMarquardtParams()
    parameters.setRelativeErrorTol(1e-12)
    theirs = gtsam.LevenbergMarquardtOptimizer(graph, start, parameters).optimize()
    theirs = np.array([theirs.atPose3(k).matrix() for k in range(len(true))])
    np.testing.assert_allclose(ours, theirs, atol=2e-3)
    assert np.abs(ours - true)[:, :3, 3].max() < 0.1


def test_nearer_neighbours_count_more_in_the_last_solve():
    """Where they and farther ones tell different motions, the answer is drawn to what they tell."""
    t = np.arange(60)
    near, far = (model_scan(trajectory(shift_mm=scale * 0.3 * t), 6) for scale in (1.2, 1.0))
    rho = np.where((far.speckle.j - far.speckle.i == 1)[:, None], near.speckle.rho, far.speckle.rho)
    factors = factors_of(dataclasses.replace(far, speckle=dataclasses.replace(far.speckle, rho=rho)))
    alike, nearer = (solve(far.T, f, 60)[-1, 2, 3] for f in (factors, factors.by_lag()))
    assert alike * 1.005 < nearer < near.T[-1, 2, 3]
    loops = dataclasses.replace(factors, most_lag=1)
    beyond = loops.revisits
    assert beyond.any() and (loops.by_lag().pairs.temper[beyond] == loops.pairs.temper[beyond]).all()


def test_phases_hold_a_steady_tilt_alike_among_every_few_frames():
    T = trajectory(tilt_rad=1e-3 * np.arange(41))
    factors = factors_of(model_scan(T, 5), PIVOTED)
    held = dataclasses.replace(factors, phase_precision=np.full((len(T), 2), 1e6))
    whole, few = (total_cost(X, f) - total_cost(X, g) for X, f, g in (
        (T, held, factors), (T[::4], decimated(held, 4), decimated(factors, 4))))
    assert whole == pytest.approx(20) and few == pytest.approx(whole)
