"""What the report says of a result holds: reversals where the motion turned, curves that the cells follow."""

import numpy as np
import pytest
from scenes import trajectory

from speckle_rec import geometry
from speckle_rec.pairs.correlation import Correlations
from speckle_rec.probe import field
from speckle_rec.speckle.curves import Curves
from speckle_rec.speckle.strengths import CellStrengths
from speckle_rec.synth.trajectory import rotation
from speckle_rec.trajectory import evidence
from speckle_rec.trajectory.hand import pivot_depth
from speckle_rec.trajectory.phases import PHASES, phases

FAN = field.ultrasonix_4dc7(np.diag([0.22447, 0.23554, 1.0, 1.0]))
CURVES = Curves(waist_mm=1.1, focus_mm=50, floor=0.9, slow_share=0.2)


def test_reversals_are_where_the_tilt_and_the_yaw_turn_back():
    increment = np.zeros((300, 6))
    increment[1:100, 3], increment[100:200, 3] = 0.004, -0.004
    increment[200:250, 4], increment[250:, 4] = 0.01, -0.01
    increment[:, 3] += np.random.default_rng(0).normal(0, 2e-4, 300)    # a tremor is no reversal
    found = evidence.reversals(increment, 50.0)
    assert len(found) == 2 and np.abs(found - [99, 249]).max() <= 2


@pytest.mark.parametrize("depth", [10.0, 50.0, 85.0])
def test_a_shift_decorrelates_by_the_waist_at_every_depth(depth):
    shift = np.linspace(0, 2, 9)
    K = CURVES.kernel(2 * shift**2 / CURVES.waist_mm**2)
    slow = CURVES.kernel(CURVES.kappa * 2 * shift**2 / CURVES.waist_mm**2)
    np.testing.assert_allclose(evidence.correlation(CURVES, FAN, depth, 0.0, shift, 0), 0.9 * (0.8 * K + 0.2 * slow),
                               rtol=1e-9)


def test_cells_that_follow_the_curves_are_seen_on_them():
    """Correlations drawn from the model, with other strengths and stretches in each cell, lie on the drawn curve."""
    rng = np.random.default_rng(3)
    grid = field.cells(FAN)
    forms, N, P = CURVES.forms(FAN, grid), 60, len(grid)
    increment = np.zeros((N, 6))
    increment[1:, 2:5] = [0.05, 0.003, -0.004]
    T = geometry.chain(geometry.exp(increment))
    clear, stretch = rng.uniform(0.4, 0.9, (1, P)), rng.uniform(0.55, 0.85, (1, P))
    clear[0, :20] = 0
    strengths = CellStrengths(0.8 * clear, 0.2 * clear, np.zeros(N, int), stretch)
    i, j = np.nonzero(np.triu(np.ones((N, N)), 1) - np.triu(np.ones((N, N)), 13))
    xi = geometry.log(geometry.inverse(T[i]) @ T[j])[:, 2:5]
    q = np.square(np.einsum("pak,mk->mpa", forms, xi)).sum(2) * stretch**2
    rho = clear * (0.8 * CURVES.kernel(q) + 0.2 * CURVES.kernel(CURVES.kappa * q)) + rng.normal(0, 0.01, q.shape)
    found = evidence.measured(T, Correlations(i, j, rho.astype(np.float32)), forms, strengths, CURVES)
    at = found["measured_shift_mm"]
    assert len(at) > 8
    low, middle, high = found["measured_correlation"].T
    np.testing.assert_allclose(middle, evidence.correlation(CURVES, FAN, 45.0, 0.0, at, 0), atol=0.01)
    assert (low < middle).all() and (middle < high).all()


def test_no_pairs_no_dots():
    none = Correlations(np.zeros(0, int), np.zeros(0, int), np.zeros((0, 5), np.float32))
    strengths = CellStrengths(np.ones((1, 5)), np.zeros((1, 5)), np.zeros(2, int), np.ones((1, 5)))
    found = evidence.measured(np.tile(np.eye(4), (2, 1, 1)), none, np.zeros((5, 3, 3)), strengths, CURVES)
    assert found["measured_correlation"].shape == (0, 3)


def test_phases_have_the_names_of_the_protocol():
    increment = np.zeros((120, 6))
    increment[:40, 3], increment[40:80, 4] = 0.01, 0.01
    gathered = evidence.gather(increment, FAN, CURVES)
    assert [gathered["phase"][k] for k in (20, 60, 110)] == ["fan", "turn", "still"]
    assert set(gathered["phase"]) <= set(PHASES)
    for name in ("shift", "tilt", "yaw"):
        line = gathered[f"curve_{name}"]
        assert line[0] == pytest.approx(0.9) and (np.diff(line) < 0).all()


@pytest.mark.parametrize("seed", [3, 17])
def test_phases_of_a_scan_are_those_its_hand_went_through(seed):
    """A whole protocol with wobble, tremor and pauses: five runs in their order, and hardly a frame beside them."""
    way = rotation(1600, seed, FAN.face_mm)
    T = way.T_world_image @ geometry.translation(np.array([*FAN.face_mm, 0.0]))
    true = np.array([PHASES.index(name.split()[0]) for name in way.phase])
    found = phases(geometry.log(geometry.steps(T)))
    runs = found[np.concatenate([[True], np.diff(found) != 0])]
    assert [PHASES[r] for r in runs if PHASES[r] != "still"] == ["fan", "rock", "turn", "fan", "rock"]
    assert (found == true).mean() > 0.95


@pytest.mark.parametrize("depth", [-4.0, 0.0, 8.0])
def test_the_point_that_moves_least_is_the_pivot(depth):
    """A probe that fans and rocks about a point below (or above) its face, and drifts a little."""
    t = np.linspace(0, 20, 600)
    drift = 0.3 * np.stack([np.sin(0.7 * t), np.cos(1.1 * t), np.sin(1.7 * t)], 1)
    T = geometry.translation(drift) @ trajectory(tilt_rad=0.3 * np.sin(t), roll_rad=0.2 * np.sin(1.3 * t))
    about = geometry.translation(np.array([0.0, depth, 0.0])) @ T @ geometry.translation(np.array([0.0, -depth, 0.0]))
    assert pivot_depth(about) == pytest.approx(depth, abs=0.3)


def test_a_probe_that_does_not_lean_has_no_pivot():
    assert pivot_depth(trajectory(shift_mm=np.linspace(0, 30, 50))) == 0
