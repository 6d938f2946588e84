"""A scanner's filter over time: found in noise, none where there is none; what it does to speckle and to matches."""

import numpy as np
import pytest
import scenes
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter, gaussian_filter1d

from speckle_rec.frames.working_images import WorkingImages
from speckle_rec.kernels.cells import LOSS, at_lag, cell_fit, cell_weights, of_window
from speckle_rec.pairs import time_filter
from speckle_rec.pairs.correlation import slides
from speckle_rec.products.stages import NO_FILTER, TimeFilter
from speckle_rec.scan import Scan
from speckle_rec.speckle.curves import FILTERED_LAGS, SPEEDS, TABLE_PER_UNIT, Curves
from speckle_rec.speckle.strengths import CellStrengths, cell_model

MEANS = {2: (1 / 2,), 3: (2 / 3, 1 / 3), 4: (3 / 4, 1 / 2, 1 / 4)}


def averaged(frames, m):
    """The mean of each frame and the m - 1 before it."""
    return np.stack([frames[max(0, k - m + 1):k + 1].mean(0) for k in range(len(frames))])


def blended(frames, p):
    out = [frames[0].astype(float)]
    for frame in frames[1:]:
        out.append((1 - p) * frame + p * out[-1])
    return np.stack(out)


def world(seed, n=48, noisy=True):
    """Frames [n, rows, columns] of a field whose upper half shows texture that fades within some ten frames, and whose
    lower half shows noise, or the same."""
    rng = np.random.default_rng(seed)
    rows, columns = scenes.SECTOR.shape
    memory, pattern, out = 0.93, rng.normal(size=(rows, columns)), []
    for _ in range(n):
        pattern = memory * pattern + np.sqrt(1 - memory**2) * rng.normal(size=pattern.shape)
        frame = 110 + 25 * pattern + 8 * rng.normal(size=pattern.shape)
        if noisy:
            frame[rows // 2:] = 40 + 12 * rng.normal(size=(rows - rows // 2, columns))
        out.append(frame)
    return np.stack(out)


def found(frames):
    scan = Scan.from_arrays(np.clip(np.round(frames), 0, 255).astype(np.uint8), scale=scenes.SCALE)
    return time_filter.find(WorkingImages(scan, scenes.SECTOR, 1))


@pytest.mark.parametrize("m", MEANS)
def test_a_mean_over_frames_is_found(m):
    response = found(averaged(world(m), m)).response
    assert len(response) >= len(MEANS[m])
    np.testing.assert_allclose(response[:len(MEANS[m])], MEANS[m], atol=0.06)
    assert sum(response[len(MEANS[m]):]) < 0.15


@pytest.mark.parametrize("p", [0.2, 0.5, 0.7])
def test_a_recursion_is_found(p):
    response = found(blended(world(int(10 * p)), p)).response
    np.testing.assert_allclose((*response, 0.0)[:2], [p, p * p], atol=0.08)


@pytest.mark.parametrize("noisy", [True, False])
def test_none_is_found_where_there_is_none(noisy):
    for seed in range(4):
        assert found(world(seed, noisy=noisy)) == NO_FILTER


def test_a_mean_is_found_in_noise_as_bright_as_the_rest():
    frames = world(8)
    frames[:, scenes.SECTOR.shape[0] // 2:] += 60
    np.testing.assert_allclose(found(averaged(frames, 2)).response[0], 0.5, atol=0.06)


def test_dark_blocks_that_differ_and_fall_as_the_bright_ones_are_no_noise():
    """Dark muscle moved a little faster than the bright: each block by a share of its own."""
    rng = np.random.default_rng(5)
    rows, columns = scenes.SECTOR.shape
    memory = np.where(np.arange(rows) < rows // 2, 0.8, 0.7)[:, None]
    noise = np.repeat(np.linspace(10, 60, columns // 8 + 1), 8)[:columns] * (np.arange(rows) >= rows // 2)[:, None]
    pattern, frames = rng.normal(size=(rows, columns)), []
    for _ in range(48):
        pattern = memory * pattern + np.sqrt(1 - memory**2) * rng.normal(size=pattern.shape)
        frames.append(np.where(np.arange(rows) < rows // 2, 110, 60)[:, None] + 22 * pattern
                      + 0.5 * noise * rng.normal(size=pattern.shape))
    assert found(np.stack(frames)) == NO_FILTER


def test_speckle_that_fades_faster_than_the_rest_is_no_filter():
    """As bright as the rest, it is no noise: a near field, or the far side of a fan."""
    rng = np.random.default_rng(3)
    rows, columns = scenes.SECTOR.shape
    memory = np.where(np.arange(rows) < rows // 2, 0.95, 0.7)[:, None]
    pattern, frames = rng.normal(size=(rows, columns)), []
    for _ in range(48):
        pattern = memory * pattern + np.sqrt(1 - memory**2) * rng.normal(size=pattern.shape)
        frames.append(110 + 25 * pattern)
    assert found(np.stack(frames)) == NO_FILTER


def test_a_filter_is_found_where_all_is_noise():
    """Darker below, and nowhere an echo to compare with."""
    rng = np.random.default_rng(4)
    rows, columns = scenes.SECTOR.shape
    level = np.linspace(110, 50, rows)[:, None]
    response = found(averaged(level + 14 * rng.normal(size=(48, rows, columns)), 2)).response
    assert response[0] == pytest.approx(0.5, abs=0.06)


@settings(max_examples=8, deadline=None)
@given(st.floats(0, 0.75), st.integers(0, 99))
def test_pictures_of_nothing_but_noise_are_known(p, seed):
    noise = 100 + 25 * np.random.default_rng(seed).normal(size=(48, *scenes.SECTOR.shape))
    assert found(blended(noise, p)).only_noise


@pytest.mark.parametrize("pace", [0.02, 0.1, 0.3, 0.6])
def test_tissue_at_any_pace_is_not_nothing_but_noise(pace):
    """Fanned: the deeper, the faster it changes."""
    rng = np.random.default_rng(7)
    rows, columns = scenes.SECTOR.shape
    memory = np.exp(-np.square(pace * np.linspace(0.5, 3, rows)))[:, None]
    pattern, frames = rng.normal(size=(rows, columns)), []
    for _ in range(48):
        pattern = memory * pattern + np.sqrt(1 - memory**2) * rng.normal(size=pattern.shape)
        frames.append(110 + 25 * pattern)
    for seen in (np.stack(frames), blended(frames, 0.5)):
        assert not found(seen).only_noise


def test_what_never_moves_is_no_filter():
    frames = world(5)
    frames[:, frames.shape[1] // 2:] += 60 * np.random.default_rng(1).random(frames.shape[1:])[frames.shape[1] // 2:]
    assert found(frames) == NO_FILTER


@pytest.mark.parametrize("across_mm, down_mm", [(0.5, 0.25), (0.3, 0.3)])
def test_the_size_of_speckle_is_read_off_pictures(across_mm, down_mm):
    """Squared moduli of a field smoothed by Gaussians of these deviations correlate by Gaussians of the same."""
    rng, shape = np.random.default_rng(4), scenes.SECTOR.shape
    sigma = [down_mm / scenes.SCALE[1, 1], across_mm / scenes.SCALE[0, 0]]
    field = [gaussian_filter(rng.normal(size=(6, *shape)), [0, *sigma]) for _ in range(2)]
    amplitude = np.hypot(*field)
    frames = np.clip(120 + 27 * np.log(amplitude / amplitude.mean()), 0, 255).astype(np.uint8)
    images = WorkingImages(Scan.from_arrays(frames, scale=scenes.SCALE), scenes.SECTOR, 1)
    np.testing.assert_allclose(time_filter.speckle_size(images), [across_mm, down_mm], rtol=0.2)


def test_slides_are_ways_a_frame_over_the_size_of_speckle():
    lines = np.zeros((3, 6))
    lines[:, 1], lines[:, 2] = (-20, 0, 20), 30.0
    shift = slides(lines, np.array([[0.6, 0.4, 0.0], [0.6, 0.4, 0.0]]), np.array([1, 2]), (0.3, 0.2))
    np.testing.assert_allclose(shift, [np.hypot(2, 2), np.hypot(2, 2) / 2])
    roll = 0.01
    about = slides(lines, np.array([[0.0, 0.0, roll]]), np.array([1]), (0.3, 0.2))
    np.testing.assert_allclose(about, roll * np.sqrt((30 / 0.3)**2 + (0.2**-2) * (20**2 + 20**2) / 3))


@pytest.mark.parametrize("h", [(1, 1), (1, 1, 1), (0.5, 0.25, 0.125, 0.0625)])
@pytest.mark.parametrize("floor", [1.0, 0.6])
@pytest.mark.parametrize("slide_px", [0, 2, 5])
def test_filtered_speckle_correlates_as_the_curves_say(h, floor, slide_px):
    """Monte Carlo: tissue whose correlation over n frames is K(n^2 q), which slides by, and noise, through the
    filter h. Frames are compared where the tissue is the same.
    """
    h = np.array(h) / np.sum(h)
    R = np.correlate(h, h, "full")[len(h) - 1:]
    curves = Curves(tail_b=1.0, tail_beta=1.0).through(TimeFilter(tuple(R[1:] / R[0])))
    q, n, size_px, rng = 0.15, 24, 5.0, np.random.default_rng(0)
    lags = np.arange(n)
    K = np.exp(-q * np.subtract.outer(lags, lags) ** 2)
    tissue, noise = (gaussian_filter1d(rng.normal(size=(n, 400_000)), size_px / np.sqrt(2), axis=1, mode="wrap")
                     for _ in range(2))
    tissue = np.linalg.cholesky(K + 1e-9 * np.eye(n)) @ tissue
    signal = (np.sqrt(floor) * np.stack([np.roll(row, slide_px * k) for k, row in enumerate(tissue)])
              + np.sqrt(1 - floor) * noise)
    shown = [np.roll(h @ signal[k - np.arange(len(h))], -slide_px * k) for k in range(len(h) - 1, n)]
    seen = np.corrcoef(shown)[0]
    for lag in (1, 2, 3, 4, 6):
        expected = curves.expected(np.array(lag**2 * q), lag, floor, slide=slide_px / size_px)
        assert seen[lag] == pytest.approx(expected, abs=0.02)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(0.01, 0.99), min_size=0, max_size=4), st.integers(1, FILTERED_LAGS),
       st.integers(0, len(SPEEDS) - 1))
def test_powers_have_their_slopes_and_tables_are_theirs(values, lag, speed):
    curves = Curves.usual("curvilinear").through(TimeFilter(tuple(sorted(values, reverse=True))))
    slide = float(SPEEDS[speed])
    q = np.linspace(1e-6, 20, 8001)
    shared, shown, by_shared, by_shown = curves.powers(q, lag, slide)
    assert shared[0] == pytest.approx(shown[0], abs=1e-3)
    for value, slope in ((shared, by_shared), (shown, by_shown)):
        np.testing.assert_allclose(np.gradient(value, q)[1:-1], slope[1:-1], atol=2e-2, rtol=1e-2)
    table = curves.tables()
    assert table.shape[:2] == curves.noise().shape == ((len(SPEEDS), FILTERED_LAGS + 1) if values else (1, 1))
    if values:
        at = np.array([3, 400, 2000])
        np.testing.assert_allclose(table[speed, lag, at, 0] / table[speed, lag, at, 4],
                                   curves.expected(np.square(at / TABLE_PER_UNIT), lag, slide=slide), rtol=1e-6)
    else:
        np.testing.assert_allclose(table[0, 0], curves.table())


def test_cells_are_expected_to_correlate_as_the_curves_say():
    """What a kernel weighs a cell by tells what it expects of it; its gradient is that of its cost."""
    curves = Curves.usual("curvilinear").through(TimeFilter((2 / 3, 1 / 3)))
    floor, slow, lag, xi = np.array([0.9, 0.4]), np.array([0.2, 0.5]), 2, np.array([0.3, 0.02, 0.0])
    strengths = CellStrengths((1 - slow) * floor[None], slow * floor[None], np.zeros(1, int), np.ones((1, 2)))
    forms = np.tile(np.diag([1.0, 20.0, 5.0]), (2, 1, 1))
    cells = at_lag(of_window(cell_model(forms, strengths, curves), 0), lag, 2)
    rho, rest, weights = np.array([0.5, 0.3], np.float32), np.zeros(2, np.float32), np.empty(2)
    cell_weights(xi, cells, rho, rest, LOSS, weights)
    Q = 0.3**2 + 0.4**2
    f = curves.expected(np.array(Q), lag, floor, slow, slide=SPEEDS[2])
    np.testing.assert_allclose(weights, 1 / ((1 - f * f) ** 2 / LOSS.samples + LOSS.extra**2), rtol=1e-4)
    gradient, hessian, h = np.empty(3), np.empty((3, 3)), 1e-3
    cell_fit(xi, weights, cells, rho, rest, LOSS, gradient, hessian)
    for k in range(2):
        d = h * np.eye(3)[k] / (1, 20, 1)[k]
        costs = [cell_fit(xi + s * d, weights, cells, rho, rest, LOSS, np.empty(3), np.empty((3, 3))) for s in (1, -1)]
        assert (costs[0] - costs[1]) / (2 * d[k]) == pytest.approx(gradient[k], rel=0.02)


def test_every_fourth_frame_keeps_the_lags_of_a_filter():
    curves = Curves.usual("curvilinear").through(TimeFilter((0.75, 0.5, 0.25)))
    strengths = CellStrengths(np.full((1, 3), 0.7), np.full((1, 3), 0.1), np.zeros(8, int), np.ones((1, 3)))
    whole = cell_model(np.tile(np.eye(3), (3, 1, 1)), strengths, curves)
    few = whole.every(4)
    for lag in (4, 8, 32):
        one, same = at_lag(of_window(few, 0), lag // 4, 1), at_lag(of_window(whole, 0), lag, 1)
        np.testing.assert_array_equal(one.table, same.table)
        assert one.noise == same.noise
