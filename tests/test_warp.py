"""Images moved by a planar motion: against the formula written out, at edges, within spans."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speckle_rec.frames import warp
from speckle_rec.kernels import cpu
from speckle_rec.pairs.correlation import cell_runs

ROWS, COLUMNS = 37, 53
ALL = warp.spans_of(np.ones((ROWS, COLUMNS), bool))


def picture(seed=0):
    return np.random.default_rng(seed).normal(size=(ROWS, COLUMNS)).astype(np.float32)


def keys(t):
    """Cubic convolution (Keys 1981, a = -3/4)."""
    t = np.abs(t)
    near, far = (1.25 * t - 2.25) * t * t + 1, -0.75 * (((t - 5) * t + 8) * t - 4)
    return np.where(t <= 1, near, np.where(t < 2, far, 0))


def written_out(image, M):
    r, c = np.mgrid[:ROWS, :COLUMNS]
    x, y = (M[k, 0] * c + M[k, 1] * r + M[k, 2] for k in range(2))
    across, down = keys(x[..., None] - np.arange(COLUMNS)), keys(y[..., None] - np.arange(ROWS))
    return np.einsum("rcq,rcp,pq->rc", across, down, image)


def rotation(angle, x, y):
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s, x], [s, c, y]])


@settings(max_examples=60)
@given(st.floats(-0.5, 0.5), st.floats(-60, 60), st.floats(-40, 40), st.integers(0, 9))
def test_the_kernel_is_cubic_convolution(angle, x, y, seed):
    M, image = rotation(angle, x, y), picture(seed)
    out = np.full_like(image, np.nan)
    cpu.warp_cubic(image, M, ALL, out)
    np.testing.assert_allclose(out, written_out(image, M), atol=2e-5)


@pytest.mark.parametrize("x, y", [(0.0, 0.0), (3.0, -2.0), (0.25, 0.0), (0.0, -0.75)])
def test_motion_without_rotation(x, y):
    image, M = picture(), rotation(0.0, x, y)
    np.testing.assert_allclose(warp.cubic(image, M, ALL), written_out(image, M), atol=2e-5)


@pytest.mark.parametrize("angle", [0.5 * warp.STEEP, -0.5 * warp.STEEP, 1.5 * warp.STEEP])
def test_both_ways_give_the_same(angle):
    """OpenCV 4 rounds coordinates to 1/32 px."""
    smooth = cv2.GaussianBlur(picture(), (0, 0), 2.0)
    M = rotation(angle, 1.3, -0.6)
    np.testing.assert_allclose(warp.cubic(smooth, M, ALL), written_out(smooth, M), atol=0.02 * np.abs(smooth).max())


def test_only_what_is_wanted_is_made():
    wanted = np.zeros((ROWS, COLUMNS), bool)
    wanted[5:20, 7:30] = wanted[12, 40] = True
    spans = warp.spans_of(wanted)
    assert spans[0].tolist() == [0, 0] and spans[5].tolist() == [7, 30] and spans[12].tolist() == [7, 41]
    image, M = picture(), rotation(0.01, 0.4, 0.3)
    within, everything = warp.cubic(image, M, spans), warp.cubic(image, M, ALL)
    inside = (np.arange(COLUMNS) >= spans[:, :1]) & (np.arange(COLUMNS) < spans[:, 1:])
    np.testing.assert_allclose(within[inside], everything[inside], atol=1e-5)
    assert not within[~inside].any()


@settings(max_examples=30)
@given(st.floats(-0.9 * warp.STEEP, 0.9 * warp.STEEP), st.floats(-3, 3), st.integers(0, 99))
def test_cells_of_a_moved_image_in_one_pass(angle, x, seed):
    """As moved first and cut into cells then; each less its mean and of unit norm."""
    labels = (np.arange(ROWS)[:, None] // 7 * 8 + np.arange(COLUMNS) // 7).astype(np.int32)
    labels[:, :4] = labels[:3] = labels[20, 9:] = -1
    n_cells = labels.max() + 1
    runs, edges = cell_runs(labels, n_cells)
    spans, image, M = warp.spans_of(labels >= 0), picture(seed), rotation(angle, x, 0.3)
    found = np.empty(edges[-1], np.float32)
    cpu.unit_cells(image, M, spans, runs, edges, found)
    moved = warp.cubic(image, M, spans)
    for p in range(n_cells):
        cell = moved[labels == p]
        told = found[edges[p]:edges[p + 1]]
        if len(cell) < cpu.LEAST_PX:
            assert np.isnan(told).all()
        else:
            cell = cell - cell.mean()
            np.testing.assert_allclose(told, cell / np.linalg.norm(cell), atol=1e-4)
