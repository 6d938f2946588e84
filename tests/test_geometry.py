"""SE(3) arrays against scipy, against the matrix exponential, and back again."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import linalg
from scipy.spatial import transform
from scipy.spatial.transform import Rotation

from speckle_rec import geometry as se3
from speckle_rec.errors import InputError

SMALL_AND_LARGE = [0.0, 1e-12, 1e-9, 1e-7, 3e-6, 1e-4 * (1 - 1e-9), 1e-4 * (1 + 1e-9), 1e-3, 0.1, 1.0, 2.5, 3.0,
                   np.pi - 1e-2, np.pi - 1e-3, np.pi - 0.9e-3, np.pi - 1e-5, np.pi - 1e-8]
quick = settings(max_examples=80)


@st.composite
def twists(draw, largest_angle=np.pi - 1e-6, largest_mm=300.0):
    """Twists [6] with angles of every size."""
    axis = np.array(draw(st.tuples(*[st.floats(-1, 1)] * 3))) + np.array([1e-3, 2e-3, -1e-3])
    angle = draw(st.one_of(st.sampled_from([a for a in SMALL_AND_LARGE if a <= largest_angle]),
                           st.floats(0, largest_angle)))
    offset = draw(st.tuples(*[st.floats(-largest_mm, largest_mm)] * 3))
    return np.concatenate([offset, angle * axis / np.linalg.norm(axis)])


def random_twists(n, seed=0, size=0.3):
    return np.random.default_rng(seed).normal(size=(n, 6)) * size


@quick
@given(twists())
def test_log_undoes_exp(twist):
    np.testing.assert_allclose(se3.log(se3.exp(twist)), twist, rtol=1e-6, atol=2e-6)


@quick
@given(twists())
def test_exp_undoes_log(twist):
    T = se3.exp(twist)
    np.testing.assert_allclose(se3.exp(se3.log(T)), T, atol=1e-6)


@quick
@given(twists())
def test_inverse(twist):
    T = se3.exp(twist)
    np.testing.assert_allclose(se3.inverse(T) @ T, np.eye(4), atol=1e-9)
    np.testing.assert_allclose(se3.inverse(T), se3.exp(-twist), atol=1e-9)


@quick
@given(twists(), twists(largest_angle=0.5, largest_mm=3))
def test_adjoint_carries_a_twist_to_the_other_side(pose, twist):
    T = se3.exp(pose)
    np.testing.assert_allclose(T @ se3.exp(twist), se3.exp(se3.adjoint(T) @ twist) @ T, atol=1e-8)


@pytest.mark.parametrize("angle", SMALL_AND_LARGE)
def test_exp_is_the_matrix_exponential(angle):
    axis = np.array([2.0, -1, 0.5]) / np.linalg.norm([2.0, -1, 0.5])
    twist = np.array([7.0, -3, 11, *(angle * axis)])
    generator = np.zeros((4, 4))
    generator[:3, :3], generator[:3, 3] = se3.hat(twist[3:]), twist[:3]
    np.testing.assert_allclose(se3.exp(twist), linalg.expm(generator), atol=1e-9)


@pytest.mark.parametrize("angle", SMALL_AND_LARGE)
def test_rotations_are_those_of_scipy(angle):
    axes = np.random.default_rng(1).normal(size=(40, 3))
    vectors = angle * axes / np.linalg.norm(axes, axis=1)[:, None]
    theirs = Rotation.from_rotvec(vectors)
    twist = np.concatenate([np.zeros((40, 3)), vectors], 1)
    np.testing.assert_allclose(se3.exp(twist)[:, :3, :3], theirs.as_matrix(), atol=1e-14)
    T = np.tile(np.eye(4), (40, 1, 1))
    T[:, :3, :3] = theirs.as_matrix()
    np.testing.assert_allclose(se3.log(T)[:, 3:], theirs.as_rotvec(), rtol=1e-7, atol=1e-10 if angle < 3 else 3e-8)


@pytest.mark.skipif(not hasattr(transform, "RigidTransform"), reason="scipy before 1.16 has no RigidTransform")
@pytest.mark.parametrize("angle", [a for a in SMALL_AND_LARGE if a < np.pi - 1e-6])
def test_poses_are_those_of_scipy(angle):
    axes = np.random.default_rng(2).normal(size=(20, 3))
    vectors = angle * axes / np.linalg.norm(axes, axis=1)[:, None]
    offsets = np.random.default_rng(3).normal(size=(20, 3)) * 50
    theirs = transform.RigidTransform.from_exp_coords(np.concatenate([vectors, offsets], 1))
    ours = se3.exp(np.concatenate([offsets, vectors], 1))
    np.testing.assert_allclose(ours, theirs.as_matrix(), atol=1e-9)
    back = se3.log(theirs.as_matrix())
    np.testing.assert_allclose(np.concatenate([back[:, 3:], back[:, :3]], 1), theirs.as_exp_coords(), atol=1e-5)


def test_half_a_turn_keeps_its_axis():
    for axis in (*np.eye(3), np.array([0.6, 0, 0.8]), -np.array([0, 0.6, 0.8])):
        T = np.eye(4)
        T[:3, :3] = 2 * np.outer(axis, axis) - np.eye(3)
        found = se3.log(T)[3:]
        assert np.linalg.norm(found) == pytest.approx(np.pi)
        assert abs(found @ axis) == pytest.approx(np.pi)


def test_exp_and_log_of_stacks_are_those_of_each():
    twist = random_twists(12).reshape(3, 4, 6)
    T = se3.exp(twist)
    np.testing.assert_array_equal(T[1, 2], se3.exp(twist[1, 2]))
    np.testing.assert_allclose(se3.log(T)[2, 1], se3.log(T[2, 1]))
    assert se3.exp(np.zeros((0, 6))).shape == (0, 4, 4)
    assert se3.log(np.zeros((0, 4, 4))).shape == (0, 6)


def test_hat_is_the_cross_product():
    a, b = np.random.default_rng(0).normal(size=(2, 10, 3))
    np.testing.assert_allclose((se3.hat(a) @ b[..., None])[..., 0], np.cross(a, b))


def test_chain_undoes_steps():
    T = se3.exp(random_twists(50))
    T = se3.inverse(T[:1]) @ T
    steps = se3.steps(T)
    np.testing.assert_array_equal(steps[0], np.eye(4))
    np.testing.assert_allclose(se3.chain(steps), T, atol=1e-10)
    np.testing.assert_allclose(T[7] @ steps[8], T[8], atol=1e-12)


def test_chain_does_not_look_at_its_first_entry():
    steps = se3.steps(se3.exp(random_twists(5)))
    other = steps.copy()
    other[0] = np.nan
    np.testing.assert_array_equal(se3.chain(other), se3.chain(steps))


def test_a_long_chain_stays_rigid():
    step = se3.exp(np.array([0.1, 0, 0.2, 0.01, -0.02, 0.015]))
    off = step.copy()
    off[:3, :3] *= 1 + 1e-9        # as rounding to float32 would leave it
    T = se3.chain(np.tile(off, (5000, 1, 1)))
    R = T[-1, :3, :3]
    np.testing.assert_allclose(R.T @ R, np.eye(3), atol=1e-8)
    expected = se3.exp(4999 * np.array([0.1, 0, 0.2, 0.01, -0.02, 0.015]))
    np.testing.assert_allclose(T[-1, :3, :3], expected[:3, :3], atol=1e-5)


def test_a_chain_does_not_lend_its_entries_to_each_other():
    T = se3.chain(np.tile(se3.translation(np.array([1.0, 0, 0])), (4, 1, 1)))
    np.testing.assert_allclose(T[:, 0, 3], [0, 1, 2, 3])


def test_image_trajectory_is_the_formula_of_the_organisers():
    T_world_tool, C = se3.exp(random_twists(6, 1)), se3.exp(random_twists(1, 2)[0])
    found = se3.image_trajectory(T_world_tool, C)
    for j in range(6):
        expected = np.linalg.inv(C) @ np.linalg.inv(T_world_tool[0]) @ T_world_tool[j] @ C
        np.testing.assert_allclose(found[j], expected, atol=1e-12)


def test_check_rigid_repairs_rounding():
    T = se3.exp(random_twists(8))
    rounded = T.astype(np.float32)
    checked = se3.check_rigid(rounded, "here")
    assert checked.dtype == np.float64
    R = checked[:, :3, :3]
    np.testing.assert_allclose(np.swapaxes(R, 1, 2) @ R, np.tile(np.eye(3), (8, 1, 1)), atol=1e-14)
    np.testing.assert_allclose(checked, T, atol=1e-6)
    assert se3.check_rigid(np.zeros((0, 4, 4)), "here").shape == (0, 4, 4)


def _broken(what):
    T = se3.exp(random_twists(3))
    if what == "finite":
        T[1, 0, 3] = np.nan
    elif what == "rigid":
        T[1, :3, :3] *= 1.01
    elif what == "last row":
        T[1, 3, 0] = 0.1
    elif what == "mirrored":
        T[1, :3, :3] @= np.diag([1.0, 1, -1])
    elif what == "shape":
        T = T[:, :3]
    return T


@pytest.mark.parametrize("what, words", [("finite", "NaN or infinity"), ("rigid", "rigid transforms"),
                                         ("last row", "rigid transforms"), ("mirrored", "mirrored"),
                                         ("shape", "4x4")])
def test_check_rigid_refuses_in_one_line(what, words):
    with pytest.raises(InputError, match=words) as error:
        se3.check_rigid(_broken(what), "a.h5: tforms")
    assert str(error.value).startswith("a.h5: tforms: expected") and "\n" not in str(error.value)


def test_pixel_points_count_from_one():
    scale = np.array([[0.2, 0, 0, 5], [0, 0.3, 0, -1], [0, 0, 1, 0], [0, 0, 0, 1]])
    np.testing.assert_allclose(se3.pixel_points(scale, np.array([1, 640]), np.array([1, 480])),
                               [[5.2, -0.7, 0], [133, 143, 0]])
