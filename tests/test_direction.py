"""Signs of the out-of-plane motion, on correlations drawn from the model along known trajectories."""

import dataclasses

import numpy as np
import pytest
import scenes
from scenes import model_scan, trajectory

from speckle_rec import geometry as se3
from speckle_rec.kernels import cells as cell_kernels
from speckle_rec.kernels import multilaterate as kernels
from speckle_rec.products.motion_priors import MirrorPrior
from speckle_rec.speckle.curves import Curves
from speckle_rec.speckle.strengths import CellStrengths, cell_model
from speckle_rec.trajectory.hand import Hand
from speckle_rec.trajectory.hypothesis_tracking import choose_mirror, search, sequential

# A Gaussian lens hardly tells a shift from the tilt that moves its waist as far (METHOD.md (4.3)): what a single
# scan measures well is the elevation of the waist.
DEPTH = scenes.matched_curves().focus_mm


def smooth_steps(n, *pieces):
    """Path [n] of piecewise constant speeds (until frame, speed per frame), rounded over 7 frames."""
    speed, start = np.zeros(n), 0
    for until, value in pieces:
        speed[start:until], start = value, until
    return np.cumsum(np.convolve(np.pad(speed, 3, mode="edge"), np.full(7, 1 / 7), "valid"))


place = sequential


@pytest.fixture(params=[sequential, search], autouse=True)
def engine(request, monkeypatch):
    """Every known motion through the simple version and through the one with hypotheses."""
    monkeypatch.setitem(globals(), "place", request.param)
    return request.param


PIVOTED, SWEPT = Hand(pivot=True), Hand(pivot=False)


def found(scan, hand=SWEPT, **changes):
    """Sequential poses, mirrored to the side of the truth."""
    scan = dataclasses.replace(scan, **changes)
    T, step, covariance = place(scan.planar_step, scan.speckle, scan.forms, scan.strengths, scan.curves, hand)
    assert T.shape == (len(scan.T), 4, 4) and step.shape == (len(scan.T), 3)
    assert (np.linalg.eigvalsh(covariance[1:]) > 0).all()
    return min(T, se3.mirror(T), key=lambda t: np.abs(elevation(t) - elevation(scan.T)).sum())


def elevation(T):
    """Elevation [N, 3] of three points of the field at the depth of the waist, mm."""
    return (T @ np.array([[0, DEPTH, 0, 1], [-10, DEPTH, 0, 1], [10, DEPTH, 0, 1]]).T)[:, 2]


def mid(T):
    """Elevation [N] of the waist in the middle of the field, mm."""
    return T[:, 2, 3] + DEPTH * T[:, 2, 1]


# -- signs along known trajectories

@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("hand", [PIVOTED, SWEPT], ids=["pivoted", "swept"])
def test_a_fan_that_reverses_three_times(seed, hand):
    n = 140
    tilt = smooth_steps(n, (35, 0.005), (75, -0.005), (110, 0.005), (140, -0.005))
    scan = model_scan(trajectory(tilt_rad=tilt, shift_mm=0.02 * np.arange(n)), seed)
    T = found(scan, hand)
    true, got = np.diff(mid(scan.T)), np.diff(mid(T))
    fast = np.abs(true) > 0.04
    assert (np.sign(got[fast]) == np.sign(true[fast])).mean() > 0.9
    assert np.abs(mid(T) - mid(scan.T)).max() < (0.25 if hand.pivot else 0.4) * np.ptp(mid(scan.T))


@pytest.mark.parametrize("speed_mm", [0.1, 0.2])
def test_a_sudden_reversal(speed_mm):
    z = speed_mm * np.concatenate([np.arange(15), 13.0 - np.arange(15)])
    for seed in range(2):
        scan = model_scan(trajectory(shift_mm=z), seed)
        assert mid(found(scan))[-1] == pytest.approx(z[-1], abs=3 * speed_mm)


@pytest.mark.parametrize("speed_mm", [0.1, 0.6])
def test_a_straight_sweep_does_not_lean(speed_mm):
    """Speckle hardly tells a shift from a tilt (METHOD.md (4.3)): a hand that sweeps is known to hold it."""
    scan = model_scan(trajectory(shift_mm=speed_mm * np.arange(60)), 0)
    T = found(scan)
    assert np.abs(se3.log(T)[-1, 3:5]).max() < 0.06
    assert abs(T[-1, 2, 3]) == pytest.approx(59 * speed_mm, rel=0.15)


def test_a_fan_and_a_turn_keep_their_relative_sign():
    n = 120
    for sign in (1, -1):
        tilt = smooth_steps(n, (30, 0.005), (60, -0.005), (n, 0))
        yaw = smooth_steps(n, (60, 0), (n, 0.006 * sign))
        scan = model_scan(trajectory(tilt_rad=tilt, yaw_rad=yaw), 3)
        T = found(scan, PIVOTED)
        angles = se3.log(T)[:, 3:5]
        assert angles[30, 0] == pytest.approx(tilt[30], abs=0.05)
        assert angles[-1, 1] == pytest.approx(yaw[-1], rel=0.2)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_reversal_while_the_contact_slides(seed):
    """The way back is not the way there: what one frame says is not enough (METHOD.md (4.5))."""
    n = 120
    tilt = smooth_steps(n, (55, 0.004), (60, 0.0), (n, -0.004))
    scan = model_scan(trajectory(tilt_rad=tilt, shift_mm=0.03 * np.arange(n)), seed)
    T, _, _ = search(scan.planar_step, scan.speckle, scan.forms, scan.strengths, scan.curves, PIVOTED)
    T = min(T, se3.mirror(T), key=lambda t: np.abs(elevation(t) - elevation(scan.T)).sum())
    assert mid(T)[-1] - mid(T)[60] == pytest.approx(mid(scan.T)[-1] - mid(scan.T)[60], rel=0.35)


def test_a_pause_does_not_lose_the_direction():
    n = 110
    z = smooth_steps(n, (40, 0.15), (55, 0.0), (n, 0.15))
    scan = model_scan(trajectory(shift_mm=z), 4)
    assert mid(found(scan))[-1] == pytest.approx(mid(scan.T)[-1], rel=0.25)


def test_planar_motion_is_kept_and_composed():
    n = 60
    t = np.arange(n)
    scan = model_scan(trajectory(shift_mm=0.12 * t, roll_rad=0.004 * t, x_mm=0.1 * t), 5)
    T = found(scan)
    scenes.within(se3.log(se3.steps(T))[1:, [0, 1, 5]], scan.planar_step[1:], [5e-3, 5e-3, 1e-6])
    assert mid(T)[-1] == pytest.approx(mid(scan.T)[-1], rel=0.2)


def test_a_probe_that_rests_does_not_move():
    scan = model_scan(np.tile(np.eye(4), (50, 1, 1)), 6)
    T = found(scan)
    assert np.abs(mid(T)).max() < 1.0
    assert np.abs(np.diff(mid(T))).mean() < 0.08


def test_without_any_signal_the_prior_carries_on():
    scan = model_scan(trajectory(shift_mm=0.1 * np.arange(20)), 8)
    blind = dataclasses.replace(scan.strengths, fast=0 * scan.strengths.fast)
    T, _, covariance = place(scan.planar_step, scan.speckle, scan.forms, blind, scan.curves)
    seen = place(scan.planar_step, scan.speckle, scan.forms, scan.strengths, scan.curves)[2]
    assert np.isfinite(T).all()
    lever = np.array([1, DEPTH, 0])      # shift and tilt alone are hardly told apart, whatever is seen
    assert (lever @ covariance[2:] @ lever > 3 * (lever @ seen[2:] @ lever)).all()


def test_frames_that_take_no_part_are_bridged():
    scan = model_scan(trajectory(shift_mm=0.15 * np.arange(50)), 9)
    keep = (scan.speckle.i != 20) & (scan.speckle.j != 20)
    fewer = dataclasses.replace(scan.speckle, i=scan.speckle.i[keep], j=scan.speckle.j[keep],
                                rho=scan.speckle.rho[keep])
    T = found(scan, speckle=fewer)
    assert mid(T)[-1] == pytest.approx(mid(scan.T)[-1], rel=0.2)


# -- the mirror

def test_a_mirrored_scan_correlates_as_the_scan_itself():
    T = trajectory(tilt_rad=smooth_steps(30, (15, 0.004), (30, -0.002)), yaw_rad=0.002 * np.arange(30),
                   shift_mm=0.05 * np.arange(30))
    a, b = model_scan(T), model_scan(se3.mirror(T))
    np.testing.assert_allclose(a.speckle.rho, b.speckle.rho, atol=1e-6)
    np.testing.assert_allclose(a.planar_step, b.planar_step, atol=1e-9)
    np.testing.assert_allclose(se3.mirror(se3.mirror(T)), T)


@pytest.mark.parametrize("sign", [1, -1])
def test_the_turn_decides_where_there_is_one(sign):
    T = trajectory(yaw_rad=np.linspace(0, 1.3, 60), tilt_rad=np.minimum(np.arange(60) * 0.01, 0.2))
    for scan in (T, se3.mirror(T)):
        chosen, note = choose_mirror(scan, MirrorPrior(turn_sign=sign, tilt_sign=-sign, source="told"))
        assert np.sign(se3.log(chosen[-1])[4]) == sign
        assert "mirror" in note and "told" in note and "\n" not in note


@pytest.mark.parametrize("sign", [1, -1])
def test_the_first_tilt_decides_where_there_is_no_turn(sign):
    tilt = np.concatenate([np.linspace(0, 0.3, 20), np.linspace(0.3, -0.4, 40)])
    T = trajectory(tilt_rad=tilt)
    for scan in (T, se3.mirror(T)):
        chosen, _ = choose_mirror(scan, MirrorPrior(turn_sign=-sign, tilt_sign=sign))
        assert np.sign(se3.log(chosen[15])[3]) == sign


def test_who_knows_the_direction_has_the_other_image():
    scan = trajectory(tilt_rad=0.2 * np.sin(np.linspace(0, 6, 40)))
    usual, told = (choose_mirror(scan, MirrorPrior(), mirrored) for mirrored in (False, True))
    np.testing.assert_allclose(told[0], se3.mirror(usual[0]))
    assert "as was asked for" in told[1] and "as was asked for" not in usual[1]


def test_a_scan_in_its_plane_is_left_as_it_is():
    T = trajectory(roll_rad=np.linspace(0, 0.3, 20) + np.zeros(20), x_mm=np.arange(20.0))
    np.testing.assert_array_equal(choose_mirror(T)[0], T)
    assert choose_mirror(np.eye(4)[None])[0].shape == (1, 4, 4)


# -- kernels

def test_small_poses_of_the_kernels_are_those_of_geometry():
    rng = np.random.default_rng(0)
    out, xi = np.empty((3, 4)), np.empty(3)
    for size in (0.01, 0.1, 0.3):
        for _ in range(20):
            twist = rng.normal(size=6) * size * [3, 3, 3, 1, 1, 1]
            X = se3.exp(twist)
            kernels.out_of_plane(np.ascontiguousarray(X[:3]), xi)
            scale = np.linalg.norm(twist[3:])
            assert xi[0] == pytest.approx(twist[2], abs=0.1 * scale**5 * np.linalg.norm(twist[:3]) + 1e-9)
            np.testing.assert_allclose(xi[1:], twist[3:5], atol=0.1 * scale**5 + 1e-12)
            kernels.step_pose(twist[2:5], out)
            exact = se3.exp(np.array([0, 0, *twist[2:5], 0]))
            np.testing.assert_allclose(out, exact[:3], atol=(1 + abs(twist[2])) * scale**4 / 20 + 1e-12)
    A, B = se3.exp(rng.normal(size=(2, 6)))
    kernels.compose(np.ascontiguousarray(A[:3]), np.ascontiguousarray(B[:3]), out)
    np.testing.assert_allclose(out, (A @ B)[:3], atol=1e-12)


def one_window(forms, fast, slow, stretch, curves):
    """`CellModel` of cells in a scan of one window, and of one lag."""
    strengths = CellStrengths(fast[None], slow[None], np.zeros(1, np.int64), stretch[None])
    return cell_kernels.at_lag(cell_kernels.of_window(cell_model(forms, strengths, curves), 0), 1, 0)


def test_cell_fit_is_the_robust_cost_written_out():
    scan = model_scan(np.tile(np.eye(4), (2, 1, 1)))
    rng = np.random.default_rng(1)
    curves = dataclasses.replace(scan.curves, tail_b=0.28, tail_beta=0.43, kappa=0.05)
    P = len(scan.forms)
    rho = rng.uniform(0.2, 1, P).astype(np.float32)
    rho[3] = np.nan
    fast, slow = rng.uniform(0.3, 0.6, P), rng.uniform(0.1, 0.3, P)
    fast[5] = slow[5] = 0
    stretch = rng.uniform(0.8, 1.25, P)
    xi = np.array([0.1, -0.003, 0.004])
    loss = cell_kernels.Loss(25.0, 0.04, 2.0)
    samples, extra, cutoff = loss
    g, H, weights = np.empty(3), np.empty((3, 3)), np.empty(P)
    cells, rest = one_window(scan.forms, fast, slow, stretch, curves), np.zeros_like(rho)
    cell_kernels.cell_weights(xi, cells, rho, rest, loss, weights)
    cost = cell_kernels.cell_fit(xi, weights, cells, rho, rest, loss, g, H)
    assert cell_kernels.cell_cost(xi, cells, rho, rest, loss) == pytest.approx(cost)
    use = np.isfinite(rho) & (fast > 0)

    def model(x):
        q = np.square(scan.forms[use] @ x).sum(1) * stretch[use] ** 2
        return fast[use] * curves.kernel(q) + slow[use] * curves.kernel(curves.kappa * q)

    sd2 = (1 - model(xi) ** 2) ** 2 / samples + extra**2      # held while differentiating

    def expected(x):
        return (cutoff**2 / 2 * np.log1p((rho[use] - model(x)) ** 2 / sd2 / cutoff**2)).sum()

    assert cost == pytest.approx(expected(xi), rel=1e-3)      # kernels are looked up in a table
    step = np.diag([1e-4, 1e-6, 1e-6])
    slopes = [(expected(xi + d) - expected(xi - d)) / (2 * np.abs(d).max()) for d in step]
    np.testing.assert_allclose(g, slopes, rtol=5e-3, atol=1e-3 * np.abs(slopes).max())
    J = np.stack([(model(xi + d) - model(xi - d)) / (2 * np.abs(d).max()) for d in step], 1)
    weight = 1 / (sd2 + (rho[use] - model(xi)) ** 2 / cutoff**2)
    np.testing.assert_allclose(H, J.T @ (weight[:, None] * J), rtol=5e-3)
    np.testing.assert_array_equal(H, H.T)


@pytest.mark.parametrize(("P", "at"), [(1, 0), (63, 20), (65, 64), (512, 100), (1300, 777)])
def test_what_cells_say_adds_up_however_many_they_are(P, at):
    rng = np.random.default_rng(P)
    forms, rho = rng.normal(size=(P, 3, 3)), rng.uniform(-0.2, 1, P).astype(np.float32)
    rest, strengths = rng.uniform(0, 0.1, P).astype(np.float32), rng.uniform(0.2, 0.9, (3, P))
    loss, xi = cell_kernels.Loss(25.0, 0.04, 2.0), np.array([0.3, -0.2, 0.1])
    cost, gradient, hessian, alone = [], np.zeros((3, 3)), np.zeros((3, 3, 3)), []
    for n, part in enumerate((slice(None), slice(at), slice(at, None))):
        cells, seen = one_window(forms[part], *strengths[:, part], Curves()), (rho[part], rest[part], loss)
        weights = np.empty(len(rho[part]))
        cell_kernels.cell_weights(xi, cells, *seen, weights)
        cost.append(cell_kernels.cell_fit(xi, weights, cells, *seen, gradient[n], hessian[n]))
        alone.append(cell_kernels.cell_cost(xi, cells, *seen))
    assert cost[0] == pytest.approx(cost[1] + cost[2]) and cost[0] > 0
    np.testing.assert_allclose(alone, cost)
    np.testing.assert_allclose(gradient[0], gradient[1] + gradient[2], atol=1e-9 * np.abs(gradient).max())
    np.testing.assert_allclose(hessian[0], hessian[1] + hessian[2], atol=1e-9 * np.abs(hessian).max())


def test_cell_fit_holds_beyond_the_table():
    scan = model_scan(np.tile(np.eye(4), (2, 1, 1)))
    g, H = np.empty(3), np.empty((3, 3))
    rho, ones = np.full(len(scan.forms), 0.1, np.float32), np.ones(len(scan.forms))
    far, weights = np.array([1e6, 0.0, 0.0]), np.empty(len(rho))
    cells, loss = one_window(scan.forms, ones, 0 * ones, ones, scan.curves), cell_kernels.Loss(25.0, 0.04, 2.0)
    cell_kernels.cell_weights(far, cells, rho, 0 * rho, loss, weights)
    cost = cell_kernels.cell_fit(far, weights, cells, rho, 0 * rho, loss, g, H)
    assert np.isfinite(cost) and np.isfinite(g).all() and np.isfinite(H).all()
