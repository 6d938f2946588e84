"""Parts taken over from other starts: a turn that was followed as a tilt, asked back; right motion left alone."""

from dataclasses import replace

import numpy as np
import pytest
from scenes import model_scan, trajectory, within
from test_mirror import HAND, problem

from speckle_rec import geometry as se3
from speckle_rec.speckle.strengths import CellStrengths
from speckle_rec.trajectory.hypothesis_tracking import backward, search
from speckle_rec.trajectory.mirror_tests import Mended, flip
from speckle_rec.trajectory.segment_exchange import differing, exchanged, taken_over
from speckle_rec.trajectory.solver import pair_costs, solve

FIRST, LAST = 90, 150       # of the turn


def motion(turned=0.3, tilted=0.0):
    """A fan there and back, and a turn that ends in a fan; from `FIRST` to `LAST` by a tilt instead if so asked."""
    at = [0, 45, FIRST, LAST, 220]
    frame = np.arange(at[-1] + 1)
    tilt = np.interp(frame, at, [0, 0.22, 0, tilted, tilted + 0.3])
    return trajectory(tilt_rad=tilt, yaw_rad=np.interp(frame, at, [0, 0, 0, turned, turned]))


def of_part(T):
    """Motion (z, tilt, yaw) within the turn, up to its mirror image."""
    xi = se3.log(se3.inverse(T[FIRST + 5:LAST - 10]) @ T[FIRST + 10:LAST - 5])[:, 2:5]
    return xi * np.sign(xi[:, np.abs(xi).mean(0).argmax()].mean())


def test_a_turn_that_was_followed_as_a_tilt_is_taken_over():
    true = motion()
    f = problem(true)
    wrong = solve(motion(0.0, 0.12), f)
    assert np.abs(of_part(wrong) - of_part(true)).max() > 0.01      # a minimum of its own: no solve leaves it
    found = exchanged(Mended(wrong, ((7,),)), [flip(true, FIRST)], f)
    (part,) = found.parts
    assert part[0] < FIRST + 15 and part[1] > LAST - 15
    within(of_part(found.T), of_part(true), [0.05, 0.004, 0.004])
    assert pair_costs(found.T, f).sum() < pair_costs(wrong, f).sum()
    assert found.mirrors[0] == (7,)


@pytest.mark.parametrize("other", [motion(0.0, 0.12), motion(0.1), motion()], ids=["tilted", "turned less", "the same"])
def test_what_is_right_is_left_alone(other):
    f = problem(motion())
    right = Mended(solve(motion(), f), ((3,),))
    found = exchanged(right, [other], f)
    assert found is right and found.parts == ()


def test_a_mirror_image_does_not_differ_and_a_part_ends_with_its_motion():
    T, gram = motion(), np.diag([4.0, 4000.0, 1000.0])
    assert differing(T, flip(T, 0), gram) == []
    (part,) = differing(T, motion(0.0, 0.12), gram)
    assert FIRST - 10 <= part[0] <= FIRST + 5 and LAST - 5 <= part[1] <= LAST + 10


@pytest.mark.parametrize("turned_round", [(), (FIRST,), (LAST,), (FIRST, LAST)])
def test_a_part_goes_on_or_turns_round_at_either_end(turned_round):
    true = motion()
    f = problem(true)
    found = taken_over(solve(motion(0.0, 0.12), f), flip(true, *turned_round), f, (FIRST, LAST))
    across = [np.abs(se3.log(se3.inverse(X[FIRST - 20]) @ X[LAST + 20])[3:]) for X in (found, true)]
    within(across[0], across[1], 0.02)
    signs = [np.sign(se3.log(se3.inverse(X[FIRST - 40]) @ X[LAST])[3:5]).prod() for X in (found, true)]
    assert signs[0] == signs[1]


def test_parts_that_cost_more_in_the_end_are_given_back(monkeypatch):
    true = motion()
    f = problem(true)
    wrong = Mended(solve(motion(0.0, 0.12), f))
    monkeypatch.setattr("speckle_rec.trajectory.segment_exchange.mend", lambda T, f: Mended(motion(0.0, 0.3)))
    found = exchanged(wrong, [true], f)
    assert found is wrong and found.parts == ()


def test_a_search_backwards_is_the_search_of_the_scan_played_backwards():
    t = np.arange(120)
    T = trajectory(tilt_rad=0.15 * np.sin(t / 19), roll_rad=0.05 * np.sin(t / 9), x_mm=np.sin(t / 13))
    scan = model_scan(T, 5)
    i, j = scan.speckle.i, scan.speckle.j
    played = model_scan(se3.inverse(T[-1]) @ T[::-1], 5, pairs=(len(t) - 1 - j, len(t) - 1 - i))
    np.testing.assert_allclose(played.speckle.rho, scan.speckle.rho, atol=1e-5)
    window = (t > 40).astype(np.int64)
    rows = [np.repeat(x, 2, axis=0) for x in (scan.strengths.fast, scan.strengths.slow, scan.strengths.stretch)]
    rows[0][1] *= 0.9
    strengths = CellStrengths(rows[0], rows[1], window, rows[2])
    forwards = search(scan.planar_step, scan.speckle, scan.forms, strengths, scan.curves, HAND)[0]
    found = backward(played.planar_step, played.speckle, played.forms, replace(strengths, window=window[::-1].copy()),
                     played.curves, HAND)
    assert np.abs(se3.log(found)[:, 3]).max() > 0.1
    np.testing.assert_allclose(found, se3.inverse(forwards[-1]) @ forwards[::-1], atol=1e-3)
