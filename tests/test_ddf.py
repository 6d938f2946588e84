"""Displacement fields equal the challenge's formulas, in memory, frame by frame and on disk."""

import h5py
import numpy as np
import pytest
import reference
from hypothesis import given, settings
from hypothesis import strategies as st

from speckle_rec import ddf, geometry
from speckle_rec.errors import InputError

SCALE = np.diag([0.22447, 0.23554, 1.0, 1.0])
SHAPE = (24, 32)


def trajectory(seed, n):
    rng = np.random.default_rng(seed)
    T_prev = geometry.exp(rng.normal(0, 1, (n, 6)) * [2, 2, 2, 0.1, 0.1, 0.1])
    T_prev[0] = np.eye(4)
    return geometry.chain(T_prev), T_prev


@settings(max_examples=15)
@given(seed=st.integers(0, 1000), n=st.integers(2, 9))
def test_fields_blocks_and_landmarks_are_the_official_ones(seed, n):
    T, _ = trajectory(seed, n)
    expected = reference.fields(T, SCALE, SHAPE)
    got = ddf.fields(T, SCALE, SHAPE)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, expected, atol=1e-4)
    assert np.array_equal(np.stack(list(ddf.blocks(T, SCALE, SHAPE))), got)
    marks = np.array([[0, 1, 1], [0, 32, 24], [n - 1, 5, 7], [1, 32, 1]])
    np.testing.assert_allclose(ddf.landmarks(T, SCALE, marks),
                               reference.at_landmarks(expected, marks, SHAPE), atol=1e-4)


def test_full_size_and_far_away():
    T, _ = trajectory(5, 3)
    T[1:, :3, 3] += 200
    np.testing.assert_allclose(ddf.fields(T, SCALE), reference.fields(T, SCALE, (480, 640)), atol=1e-4)


def test_fields_into_given_memory():
    T, _ = trajectory(0, 4)
    out = np.full((3, 3, SHAPE[0] * SHAPE[1]), np.nan, np.float32)
    assert ddf.fields(T, SCALE, SHAPE, out=out) is out
    np.testing.assert_array_equal(out, ddf.fields(T, SCALE, SHAPE))
    with pytest.raises(InputError, match="float32"):
        ddf.fields(T, SCALE, SHAPE, out=out.astype(float))


@pytest.mark.parametrize("n", [2, 7, 17])
def test_file_holds_the_same(tmp_path, n):
    T_first, T_prev = trajectory(n, n)
    marks, done = np.array([[0, 3, 4], [1, 5, 6]]), []
    ddf.write(tmp_path / "ddf.h5", T_first, T_prev, SCALE, SHAPE, marks, frames_per_block=4,
              progress=done.append)
    assert sum(done) == 2 * (n - 1)
    with h5py.File(tmp_path / "ddf.h5") as file:
        for scope, T in (("G", T_first), ("L", T_prev)):
            assert file[f"{scope}P"].chunks == (1, 3, SHAPE[0] * SHAPE[1])
            np.testing.assert_array_equal(file[f"{scope}P"], ddf.fields(T, SCALE, SHAPE))
            np.testing.assert_array_equal(file[f"{scope}L"], ddf.landmarks(T, SCALE, marks))


def test_one_frame_has_no_field(tmp_path):
    T = np.eye(4)[None]
    assert ddf.fields(T, SCALE, SHAPE).shape == (0, 3, SHAPE[0] * SHAPE[1])
    ddf.write(tmp_path / "ddf.h5", T, T, SCALE, SHAPE)
    with h5py.File(tmp_path / "ddf.h5") as file:
        assert file["GP"].shape == (0, 3, SHAPE[0] * SHAPE[1]) and "GL" not in file


def test_landmark_outside_the_scan_is_refused():
    T, _ = trajectory(0, 4)
    with pytest.raises(InputError, match=r"frames 0\.\.3"):
        ddf.landmarks(T, SCALE, np.array([[4, 1, 1]]))
