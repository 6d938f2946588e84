"""The sentence of what was found, of trajectories that are known."""

import numpy as np
import pytest

from speckle_rec import geometry as se3
from speckle_rec.report import found
from speckle_rec.trajectory.phases import PHASES

FACE = (70.0, 12.0)
AXES = {"fan": 3, "turn": 4, "rock": 5, "sweep": 2}


def trajectory(*parts, still=0, carried=(0, 0, 0)):
    """Poses [N, 4, 4] of the image and phase names, of parts (kind, degrees or mm, frames) one after the other."""
    twists, names = [np.zeros(6)], ["still"]
    for kind, size, frames in parts:
        one = np.zeros(6)
        one[AXES[kind]] = (np.radians(size) if kind != "sweep" else size) / frames
        twists += [one] * frames
        names += [kind] * frames
        if kind != "sweep":      # there and back, as a hand does: the range is that of the half
            twists += [-one] * frames
            names += [kind] * frames
        twists += [np.zeros(6)] * still
        names += ["still"] * still
    steps = se3.exp(np.array(twists))
    T = se3.chain(steps)
    T[:, :3, 3] += np.linspace(0, 1, len(T))[:, None] * carried
    A = se3.translation(np.array([*FACE, 0.0]))
    return A @ T @ se3.inverse(A), np.array(names)


@pytest.mark.parametrize(("parts", "options", "told"), [
    ((("fan", 44, 60), ("rock", 30, 60), ("turn", 88, 100), ("fan", 41, 60)), {"still": 5},
     "two fans of 44 and 41 deg, a rock of 30 deg and a turn of 88 deg, about one point"),
    ((("fan", 20, 80),), {"carried": (0, 0, 20)}, "a fan of 20 deg, while the probe face went 20 mm along the skin"),
    ((("sweep", 63, 80),), {}, "a sweep of 63 mm"),
    ((("turn", 25, 50), ("sweep", 30, 60), ("sweep", -30, 60)), {}, "a turn of 25 deg and a sweep of 30 mm"),
    (tuple((("fan", 10 + k, 30), ("turn", 15, 30))[k % 2] for k in range(9)), {},
     "five fans of 10 to 18 deg and four turns of 15 deg, about one point"),
    ((("fan", 1, 40),), {}, "hardly any motion")])
def test_what_was_done_is_found(parts, options, told):
    """Whether the phases are told or, if they are not many short ones, worked out."""
    T, names = trajectory(*parts, **options)
    assert found.sentence(T, FACE, np.ones(len(T)), names) == f"{told}; 100% of the frames usable"
    if len(parts) <= 4:
        assert found.sentence(T, FACE, np.ones(len(T))) == f"{told}; 100% of the frames usable"


def test_the_point_about_which_it_turned_is_that_of_the_face_not_of_the_image():
    """The corner of the image swings by centimetres where the face rests."""
    T, names = trajectory(("fan", 60, 100))
    assert np.ptp(T[:, :3, 3], axis=0).max() > 6
    assert "about one point" in found.sentence(T, FACE, np.ones(len(T)), names)
    away = FACE[0], FACE[1] + 60
    assert "along the skin" in found.sentence(T, away, np.ones(len(T)), names)


def test_a_few_frames_that_are_lost_are_not_rounded_away():
    T, names = trajectory(("sweep", 40, 400))
    confidence = np.ones(len(T))
    confidence[[0, 100]] = 0        # the first has no step
    assert found.sentence(T, FACE, confidence, names).endswith("99% of the frames usable")
    confidence[100:108] = 0
    assert found.sentence(T, FACE, confidence, names).endswith("98% of the frames usable")


def test_results_without_motion_or_with_a_single_frame():
    assert found.sentence(np.eye(4)[None], FACE, np.zeros(1)).startswith("a single frame")
    still = np.tile(np.eye(4), (30, 1, 1))
    assert found.of_result(still, np.ones(30), {}, FACE) == "hardly any motion; 100% of the frames usable"
    wrong = {"phase": np.array(["fan"] * 3)}        # of another length
    assert found.of_result(still, np.ones(30), wrong, FACE).startswith("hardly any motion")


def test_every_phase_but_rest_has_words():
    assert set(found.WORDS) == set(PHASES) - {"still"} == set(found.LEAST)
