"""Lost frames are found in trajectories of a simulated hand, and steps over them are not drawn to their neighbours."""

import dataclasses

import numpy as np
import pytest
import scenes
from hypothesis import given, settings
from hypothesis import strategies as st

from speckle_rec import geometry as se3
from speckle_rec.pairs.block_matching import PlanarMotion
from speckle_rec.synth.machine import Machine, record
from speckle_rec.synth.trajectory import rotation
from speckle_rec.trajectory.factors import Factors, hand_acceleration
from speckle_rec.trajectory.hand import Hand
from speckle_rec.trajectory.lost_frames import LostFrames, lost_frames, solve_timed, warnings_of
from speckle_rec.trajectory.mirror_tests import decimated
from speckle_rec.trajectory.solver import solve, total_cost

FACE_MM = (72.0, 4.0)


def recorded(seed: int, drops: float, n: int = 600):
    """Poses [n, 4, 4] about the face of a rotation scan of which frames were lost, and the frame times of each step."""
    instant = record(n, Machine(drops=drops), np.random.default_rng(seed)).pose_instant
    world = rotation(int(instant[-1]) + 1, np.random.SeedSequence(seed), FACE_MM).T_world_image
    world = world[instant] @ se3.translation(np.array([*FACE_MM, 0.0]))
    return se3.inverse(world[:1]) @ world, np.diff(instant, prepend=-1)


@given(st.integers(0, 10**6), st.sampled_from([0.05, 0.15, 0.3]))
@settings(max_examples=15)
def test_lost_frames_are_found(seed, drops):
    T, elapsed = recorded(seed, drops)
    found = lost_frames(T)
    assert abs(found.share - drops) < 0.02 + 0.4 * drops
    told, true = found.elapsed > 1.5, elapsed > 1
    assert (told & true).sum() > 0.55 * true.sum()
    assert (told & ~true).sum() < 0.01 * len(T)


@pytest.mark.parametrize("n", [240, 600, 1200])
def test_where_none_are_lost_none_are_found(n):
    """Not in scans of twelve seconds either, in which speeds change within some ten frames.

    A hand jerks now and then, so that trajectories are counted: drawn ones, since a search finds the jerk.
    """
    told = [seed for seed in range(60) if lost_frames(recorded(seed, 0.0, n)[0]).share > 0]
    assert len(told) <= 1


def test_one_long_step_is_a_jerk_and_several_are_lost_frames():
    T, _ = recorded(222, 0.0, 240)           # its first step is twice as long as those after it
    assert lost_frames(T).share == 0
    kept = np.delete(np.arange(240), [40, 90, 150, 200])
    assert (lost_frames(T[kept]).elapsed > 1.5).sum() >= 3


def test_a_picture_shown_twice_is_no_lost_frame():
    """What follows a repeated picture is seen as two steps at once; what is lost elsewhere is still found."""
    T, elapsed = recorded(7, 0.05)
    repeated = np.random.default_rng(0).random(len(T)) < 0.2
    repeated[0] = False
    shown = np.maximum.accumulate(np.where(repeated, 0, np.arange(len(T))))
    found = lost_frames(T[shown], repeated)
    unseen = repeated | np.roll(repeated, 1)
    assert (found.elapsed[unseen] == 1).all() and lost_frames(T[shown]).share > 2 * found.share
    told, true = (found.elapsed > 1.5) & ~unseen, (elapsed > 1) & ~unseen
    assert (told & true).sum() > 0.5 * true.sum() and (told & ~true).sum() < 0.02 * len(T)


def test_what_stands_still_or_hardly_is_has_lost_nothing():
    assert lost_frames(np.tile(np.eye(4), (100, 1, 1))) == LostFrames()
    assert lost_frames(np.tile(np.eye(4), (5, 1, 1))) == LostFrames()


def factors_of(T, seed):
    """Weak measurements of poses, so that a steady hand counts."""
    scan = scenes.model_scan(T, seed, samples=8.0)
    k = np.arange(len(T) - 1)
    planar = PlanarMotion(k, k + 1, scan.planar_step[1:], np.tile(np.diag([0.02, 0.02, 1e-3]) ** 2, (len(k), 1, 1)),
                          np.ones(len(k)), np.ones(len(k)))
    return Factors.of(planar, scan.speckle, scan.forms, scan.strengths, scan.curves, Hand(),
                      acceleration=hand_acceleration(scan.planar_step))


def test_a_solve_that_knows_of_them_finds_the_steps():
    T, _ = recorded(4, 0.2, 240)
    factors = factors_of(T, 1)
    found, lost = solve_timed(T, factors)

    def missed(X):
        return np.sqrt(np.square((se3.log(se3.steps(X)) - se3.log(se3.steps(T)))[:, 2:5] * [1, 50, 50]).mean())

    assert 0.1 < lost.share < 0.35 and len(warnings_of(lost)) == 1
    assert missed(found) < 0.85 * missed(solve(T, factors))


def test_a_steady_hand_costs_nothing_whatever_was_lost():
    elapsed = np.random.default_rng(5).integers(1, 4, 41).astype(float)
    for first, share in enumerate((1.0, 0.5, 1.0, 1.5), 1):
        elapsed[first::4] *= share
    T = scenes.trajectory(tilt_rad=2e-3 * np.concatenate([[0], np.cumsum(elapsed[1:])]))
    factors = factors_of(T, 2)
    factors = dataclasses.replace(factors.picked(np.zeros(len(factors.pairs.i), bool)), contact_precision=0.0,
                                  contact_rate_precision=0.0, lean_precision=0.0, acceleration=np.full(6, 1e-4))
    timed = dataclasses.replace(factors, elapsed=elapsed)
    assert total_cost(T, factors) > 10
    assert total_cost(T, timed) == pytest.approx(0, abs=1e-3)
    assert total_cost(T[::4], decimated(timed)) == pytest.approx(0, abs=1e-3)
    assert total_cost(T[::4], decimated(factors)) > 1
