"""Mirror tests: wrong signs put into known trajectories and asked back, on correlations drawn from the model."""

import numpy as np
import pytest
import scenes
from scenes import model_scan, trajectory

from speckle_rec import geometry as se3
from speckle_rec.pairs.block_matching import PlanarMotion
from speckle_rec.pairs.loop_closures import Loops
from speckle_rec.trajectory import mirror_tests
from speckle_rec.trajectory.factors import Factors
from speckle_rec.trajectory.hand import Hand, standing
from speckle_rec.trajectory.solver import drawn, solve, total_cost

HAND = Hand(pivot=True)
STILL = 20          # frames for which the probe stands still: neighbours say nothing of the sign across them


def exact_planar(T, i, j):
    """Planar motion of pairs, as a perfect matcher measures it."""
    twist = se3.log(se3.inverse(T[i]) @ T[j])[:, [0, 1, 5]]
    return PlanarMotion(i, j, twist, np.tile(np.diag([1e-4, 1e-4, 1e-7]), (len(i), 1, 1)), np.ones(len(i)),
                        np.ones(len(i)))


def revisits(T, gap=40, reach_mm=0.8):
    """Pairs of every fourth frame, `gap` apart or more, whose field's middle lies within `reach_mm`."""
    k = np.arange(0, len(T), 4)
    middle = (T[k] @ np.array([0, scenes.matched_curves().focus_mm, 0, 1]))[:, :3]
    a, b = np.nonzero(np.linalg.norm(middle[:, None] - middle, axis=-1) < reach_mm)
    far = k[b] - k[a] >= gap
    return k[a[far]], k[b[far]]


def three_strokes():
    """A fan to one side, to the other and back, with a pause at either end."""
    ends = np.cumsum([0, 50, STILL, 100, STILL, 50])
    tilt = np.interp(np.arange(ends[-1]), ends, [0, 0.25, 0.25, -0.25, -0.25, 0.0])
    T = trajectory(tilt_rad=tilt)
    return T, (ends[1] + STILL // 2, ends[3] + STILL // 2)


def problem(T, seed=0, with_loops=True):
    scan = model_scan(T, seed)
    n = len(T)
    planar = exact_planar(T, np.arange(n - 1), np.arange(1, n))
    loops = None
    if with_loops:
        pairs = revisits(T)
        loops = Loops(exact_planar(T, *pairs), model_scan(T, seed + 100, pairs=pairs).speckle)
        assert len(loops) > 20
    return Factors.of(planar, scan.speckle, scan.forms, scan.strengths, scan.curves, HAND, loops)


def tilt_error(T, true):
    """Largest error of the tilt in rad, up to the mirror image."""
    return min(np.abs(se3.log(X)[:, 3] - se3.log(true)[:, 3]).max() for X in (T, mirror_tests.flip(T, 0)))


def test_a_mirror_undoes_itself_and_leaves_the_frames_before():
    T, (t, _) = three_strokes()
    once = mirror_tests.flip(T, t)
    np.testing.assert_allclose(once[:t + 1], T[:t + 1], atol=1e-12)
    assert np.abs(once[t + 40:] - T[t + 40:]).max() > 0.1
    np.testing.assert_allclose(mirror_tests.flip(once, t), T, atol=1e-9)


def test_two_mirrors_turn_the_part_between_and_keep_the_steps_elsewhere():
    T, (s, t) = three_strokes()
    turned = mirror_tests.flip(T, s, t)
    inside = np.zeros(len(T), bool)
    inside[s + 1:t + 1] = True
    M = np.diag([1.0, 1, -1, 1])
    expected = np.where(inside[:, None, None], M @ se3.steps(T) @ M, se3.steps(T))
    np.testing.assert_allclose(se3.steps(turned), expected, atol=1e-9)


def test_mirror_changes_are_those_of_the_mirrored_poses():
    T, _ = three_strokes()
    factors = problem(T)
    frames = np.array([10, 57, 100, 160, 200])
    before = mirror_tests.pair_costs(T, factors).sum()
    expected = [mirror_tests.pair_costs(mirror_tests.flip(T, t), factors).sum() - before for t in frames]
    np.testing.assert_allclose(mirror_tests.mirror_changes(T, factors, frames), expected, rtol=1e-3, atol=0.05)


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("which", ["first", "second", "both"])
def test_missed_reversals_are_mended(seed, which):
    T, places = three_strokes()
    factors = problem(T, seed)
    wrong = mirror_tests.flip(T, *{"first": places[:1], "second": places[1:], "both": places}[which])
    assert tilt_error(wrong, T) > 0.2
    mended = mirror_tests.mend(wrong, factors)
    assert mended.mirrors
    assert tilt_error(mended.T, T) < 0.03
    assert total_cost(mended.T, factors) < total_cost(solve(wrong, factors), factors)


@pytest.mark.parametrize("seed", [0, 1])
def test_right_signs_are_left_alone(seed):
    T, _ = three_strokes()
    mended = mirror_tests.mend(T, problem(T, seed))
    assert mended.mirrors == ()
    assert mended.runner_up[0] > 0
    assert tilt_error(mended.T, T) < 0.03


@pytest.mark.parametrize("which, found", [((), 0), ((0,), 1), ((1,), 1), ((0, 1), 2)])
def test_mirrors_that_some_cells_leave_open_are_settled_by_all(which, found, monkeypatch):
    T, places = three_strokes()
    factors = problem(T)
    solved = []
    monkeypatch.setattr(mirror_tests, "solve", lambda *args: solved.append(0) or solve(*args))
    wrong = mirror_tests.flip(T, *(places[k] for k in which)) if which else T
    right = mirror_tests.settled_by_all(wrong, factors)
    assert tilt_error(right, T) < 0.03
    assert len(solved) <= 1 + (found + 1) * mirror_tests.LEFT_OPEN
    if not which:
        assert len(solved) == 1             # the signs are clear: nothing is tried


def test_without_revisits_a_pause_hides_the_sign():
    """The neighbours' correlations barely notice what revisits rule out."""
    T, (t, _) = three_strokes()
    alone, joined = (mirror_tests.mirror_changes(T, problem(T, with_loops=loops), np.array([t]))[0]
                     for loops in (False, True))
    assert joined > 20 * max(alone, 1.0)


def test_local_minima_lie_apart_and_come_lowest_first():
    change = np.array([5.0, 1, 4, 3, 6, 7, 0.5, 9, 2, 8, 8, 8, 1.5])
    at = mirror_tests.local_minima(change, 2)
    assert list(at) == [6, 1, 12]
    assert not len(mirror_tests.local_minima(np.zeros(0)))


def test_a_part_is_solved_with_the_rest_held():
    T, _ = three_strokes()
    factors = problem(T)
    rng = np.random.default_rng(0)
    start = T.copy()
    start[100:131] = start[100:131] @ se3.exp(rng.normal(size=(31, 6)) * [.05, .05, .1, 2e-3, 2e-3, 2e-3])
    part = solve(start, factors, part=(100, 130))
    np.testing.assert_array_equal(part[:100], start[:100])
    np.testing.assert_array_equal(part[131:], start[131:])
    assert np.abs(se3.log(se3.inverse(T) @ part))[:, 3].max() < 0.02


@pytest.mark.parametrize("which", [(0,), (1,), (0, 1)])
def test_revisits_settle_signs_of_a_trajectory_that_drifts(which):
    """A scale error moves revisits far apart on the scale of speckle; their distances still tell the signs."""
    T, places = three_strokes()
    factors = problem(T)
    drifted = se3.chain(se3.exp(se3.log(se3.steps(T)) * [1, 1, 1.08, 1.08, 1.08, 1]))
    signed, mirrors = mirror_tests.consistent(mirror_tests.flip(drifted, *(places[w] for w in which)), factors)
    assert mirrors
    assert tilt_error(signed, T) < 0.06
    assert mirror_tests.consistent(drifted, factors)[1] == []


def test_every_fourth_frame_tells_the_same_cost_of_where_the_probe_stands():
    T, _ = three_strokes()
    factors = problem(T)
    few = mirror_tests.decimated(factors)
    assert few.revisits.sum() == factors.revisits.sum() > 0
    moved = se3.translation(np.array([0, 0, 0.5])) @ T
    moved[0] = T[0]
    assert np.isclose(standing(moved[::4], few), standing(moved, factors), rtol=0.1)


def test_every_second_lag_weighs_as_much_as_all():
    """What is left has all revisits as they were, and weighs in all what the neighbours did."""
    factors = problem(three_strokes()[0])
    some = mirror_tests.thinned(factors)
    lags, left = (np.unique((f.pairs.j - f.pairs.i)[~f.revisits]) for f in (factors, some))
    assert 1 in left and len(left) == -(-len(lags) // 2) and set(left) < set(lags)
    for one, other in zip(some.pairs, factors.pairs, strict=True):
        np.testing.assert_array_equal(one[some.revisits], other[factors.revisits])
    near, fewer = (f.pairs.temper[~f.revisits].sum() for f in (factors, some))
    assert fewer == pytest.approx(near, rel=0.05)


def test_far_revisits_are_drawn_together():
    """Shifted by some beam widths half way, a trajectory is stuck with correlations alone."""
    T, _ = three_strokes()
    factors = problem(T)
    ramp = np.clip(np.arange(len(T)) - 100, 0, 30) / 30
    away = T @ se3.exp(np.outer(ramp, [0, 0, 4.0, 0.12, 0, 0]))
    assert tilt_error(drawn(away, factors), T) < 0.03


@pytest.mark.parametrize("order", [1, -1])
def test_of_several_starts_the_one_whose_revisits_hold_together_is_taken(order):
    T, (s, t) = three_strokes()
    starts = [mirror_tests.flip(T, s), T, mirror_tests.flip(T, t)][::order]
    assert tilt_error(mirror_tests.cheapest(starts, problem(T)), T) < 0.03


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("with_loops", [True, False])
def test_of_several_starts_the_cheapest_once_solved_is_taken(order, with_loops):
    T, (s, _) = three_strokes()
    middle = (s + mirror_tests.APART) // 2
    starts = [mirror_tests.flip(T, middle), T][::order]               # turns round where the probe moves
    assert tilt_error(mirror_tests.least(starts, problem(T, with_loops=with_loops)), T) < 0.03


def test_what_some_cells_ask_for_is_confirmed_by_all():
    T, (s, _) = three_strokes()
    f = problem(T)
    right, wrong = mirror_tests.Mended(T, mirrors=((s,),)), mirror_tests.Mended(mirror_tests.flip(T, s))
    assert mirror_tests.confirmed(right, solve(wrong.T, f), f) is right
    solved = solve(T, f)
    for other in (wrong, mirror_tests.Mended(solved, mirrors=((s,),))):       # dearer, and no cheaper
        assert mirror_tests.confirmed(other, solved, f).T is solved


@pytest.mark.parametrize("n_places", [60, 3000])
def test_the_lowest_mirror_of_a_long_scan_is_found_among_few(n_places):
    at, asked = n_places * 2 // 3 + 1, []

    def change(t):
        asked.append(t)
        return -100.0 * np.exp(-((t - at) / 20) ** 2)

    assert mirror_tests.single_mirrors(change, n_places)[0] == (-100.0, (at,))
    assert len(asked) < mirror_tests.LONG / mirror_tests.STRIDE + 20 * mirror_tests.MOST_PLACES
