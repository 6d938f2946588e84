"""Parts taken over from other starts: a turn that was followed as a tilt, asked back; right motion left alone."""

import numpy as np
import pytest
from scenes import model_scan, trajectory, within
from test_mirror import HAND, problem

from speckle_rec import geometry as se3
from speckle_rec.direction import backward, search
from speckle_rec.exchange import differing, exchanged
from speckle_rec.fusion import pair_costs, solve
from speckle_rec.mirror import Mended, flip

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
    found, parts = exchanged(Mended(wrong, ((7,),)), [flip(true, FIRST)], f)
    assert len(parts) == 1 and parts[0][0] < FIRST + 15 and parts[0][1] > LAST - 15
    within(of_part(found.T), of_part(true), [0.05, 0.004, 0.004])
    assert pair_costs(found.T, f).sum() < pair_costs(wrong, f).sum()
    assert found.mirrors[0] == (7,)


@pytest.mark.parametrize("other", [motion(0.0, 0.12), motion(0.1), motion()], ids=["tilted", "turned less", "the same"])
def test_what_is_right_is_left_alone(other):
    f = problem(motion())
    right = Mended(solve(motion(), f), ((3,),))
    found, parts = exchanged(right, [other], f)
    assert found is right and parts == []


def test_a_mirror_image_does_not_differ_and_a_part_ends_with_its_motion():
    T, gram = motion(), np.diag([4.0, 4000.0, 1000.0])
    assert differing(T, flip(T, 0), gram) == []
    (part,) = differing(T, motion(0.0, 0.12), gram)
    assert FIRST - 10 <= part[0] <= FIRST + 5 and LAST - 5 <= part[1] <= LAST + 10


def test_a_search_backwards_finds_the_motion_forwards():
    tilt = 0.15 * np.sin(np.linspace(0, 2 * np.pi, 160))
    T = trajectory(tilt_rad=tilt)
    scan = model_scan(T, 5)
    args = scan.planar_step, scan.speckle, scan.forms, scan.strengths, scan.curves, HAND
    found = backward(*args)
    np.testing.assert_allclose(found[0], np.eye(4), atol=1e-12)
    tilts = [se3.log(X)[:, 3] for X in (found, search(*args)[0])]
    assert all(min(np.abs(sign * t - tilt).max() for sign in (1, -1)) < 0.04 for t in tilts)
