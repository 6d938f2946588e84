"""In-plane motion: known motions of simulated speckle are given back, and failures are owned up to."""

import numpy as np
import pytest
import scenes
from hypothesis import given, settings
from hypothesis import strategies as st

from speckle_rec import geometry as se3
from speckle_rec.frames.features import GreyFeatures
from speckle_rec.frames.working_images import WorkingImages
from speckle_rec.kernels import cpu
from speckle_rec.pairs import block_matching
from speckle_rec.pairs.block_matching import Matcher, PlanarMotion, planar_motion, rigid_fit
from speckle_rec.pairs.planar_chain import MATCH_FLOOR, planar_chain
from speckle_rec.pairs.planar_motions import se2_exp, se2_log
from speckle_rec.scan import Scan

ROW_MM, COLUMN_MM = scenes.SCALE[1, 1], scenes.SCALE[0, 0]
quick = settings(max_examples=60)
planar = st.tuples(st.floats(-5, 5), st.floats(-5, 5), st.one_of(st.floats(-1, 1), st.floats(-1e-4, 1e-4)))


@pytest.fixture(scope="module")
def matcher():
    return Matcher(scenes.SECTOR)


def moved(v, out_of_plane=0.0):
    """Twist [6] of a planar motion v about the face with an elevational shift."""
    return np.array([v[0], v[1], out_of_plane, 0, 0, v[2]])


@pytest.fixture(scope="module")
def matches(matcher):
    """(true, found, covariance, share) of 24 random motions with elevational shifts of 0, .15 and .3 mm."""
    rng = np.random.default_rng(0)
    base = matcher.pyramid(scenes.frame())
    rows = []
    for k in range(24):
        v = rng.normal(size=3) * [0.3, 0.3, 0.008]
        found, covariance, _, share = matcher.match(
            base, matcher.pyramid(scenes.frame(moved(v, 0.15 * (k % 3)), k + 1)), np.zeros(3))
        rows.append((v, found, covariance, share))
    return [np.array(column) for column in zip(*rows, strict=True)]


# -- planar motions as arrays

@quick
@given(planar)
def test_planar_motions_are_those_of_space(v):
    twist = np.array([v[0], v[1], 0, 0, 0, v[2]])
    T = se3.exp(twist)[np.ix_([0, 1, 3], [0, 1, 3])]
    np.testing.assert_allclose(se2_exp(np.array(v)), T, atol=1e-9)
    np.testing.assert_allclose(se2_log(T), v, atol=1e-7)


# -- kernels

@pytest.mark.parametrize("size, radius", [(7, 1), (12, 3)])
def test_block_ncc_is_normalised_cross_correlation(size, radius):
    rng = np.random.default_rng(2)
    a, b = rng.normal(size=(2, 40, 50)).astype(np.float32)
    a[:12, :12] = 0                                  # an empty block
    tops, lefts = np.array([radius, 9, 40 - size - radius]), np.array([radius, 17, 50 - size - radius])
    surfaces = np.empty((3, 2 * radius + 1, 2 * radius + 1), np.float32)
    cpu.block_ncc(a, b, tops, lefts, size, radius, surfaces)
    for k, (t, left) in enumerate(zip(tops, lefts, strict=True)):
        p = a[t:t + size, left:left + size].astype(float)
        for dr in range(-radius, radius + 1):
            for dc in range(-radius, radius + 1):
                q = b[t + dr:t + dr + size, left + dc:left + dc + size].astype(float)
                expected = (p * q).sum() / np.sqrt((p**2).sum() * (q**2).sum()) if p.any() else 0.0
                assert surfaces[k, dr + radius, dc + radius] == pytest.approx(expected, abs=1e-5)


def test_block_ncc_of_an_image_with_itself_peaks_at_one_in_the_middle():
    a = np.random.default_rng(0).normal(size=(30, 30)).astype(np.float32)
    surfaces = np.empty((1, 7, 7), np.float32)
    cpu.block_ncc(a, a, np.array([8]), np.array([9]), 12, 3, surfaces)
    assert surfaces[0, 3, 3] == pytest.approx(1, abs=1e-5)
    assert surfaces.argmax() == 24


def test_subpixel_peak_is_exact_on_a_gaussian():
    rng = np.random.default_rng(0)
    true = rng.uniform(-0.5, 0.5, (50, 2)) + rng.integers(-1, 2, (50, 2))
    d = np.arange(-3, 4)
    surfaces = np.exp(-((d[:, None] - true[:, :1, None]) ** 2) * 0.4 - (d - true[:, 1, None, None]) ** 2 * 0.1)
    shift, curvature, peak = block_matching.subpixel_peak((0.8 * surfaces).astype(np.float32))
    np.testing.assert_allclose(shift, true, atol=1e-4)
    np.testing.assert_allclose(curvature, np.tile([0.8, 0.2], (50, 1)), rtol=1e-3)
    assert (peak <= 0.8).all() and (peak > 0.6).all()


def test_subpixel_peak_on_the_border_is_no_peak():
    surfaces = np.full((2, 5, 5), 0.1, np.float32)
    surfaces[0, 0, 2] = surfaces[1, 3, 4] = 0.9
    shift, _, _ = block_matching.subpixel_peak(surfaces)
    assert np.isnan(shift).all()


@pytest.mark.parametrize("axis, pixel_mm", [(0, ROW_MM), (1, COLUMN_MM)], ids=["axial", "lateral"])
def test_bias_of_the_peak_fit_on_speckle(axis, pixel_mm):
    """The number that `subpixel_peak` states: at most .025 px within half a pixel, none at the peak."""
    renderer = scenes.phantom("linear", 1.0)
    size, radius = 31, 2
    features = GreyFeatures(renderer.geometry.mask(), renderer.geometry.pixel_mm)
    tops, lefts = np.meshgrid(np.arange(8, 240 - 40, 16), np.arange(8, 280 - 40, 16), indexing="ij")
    base = features(scenes.frame(kind="linear"))
    bias = []
    for offset in np.linspace(-0.5, 0.5, 11):
        twist = np.zeros(6)
        twist[1 - axis] = offset * pixel_mm
        surfaces = np.empty((tops.size, 5, 5), np.float32)
        cpu.block_ncc(base, features(scenes.frame(twist, 1, kind="linear")), tops.ravel(), lefts.ravel(), size,
                      radius, surfaces)
        # what a shows at p, the moved frame b shows at p - offset
        bias.append(np.mean(block_matching.subpixel_peak(surfaces)[0][:, axis]) + offset)
    assert np.abs(bias).max() < 0.027
    assert abs(bias[5]) < 0.005
    assert np.abs(np.sum(bias)) < 0.02        # odd in the offset: it cancels over many steps


# -- the robust rigid fit

def test_rigid_fit_ignores_a_third_of_outliers():
    rng = np.random.default_rng(1)
    v = np.array([0.4, -0.2, 0.02])
    moved_mm = rng.uniform([-30, 0], [30, 60], (90, 2))
    points = moved_mm @ se2_exp(v)[:2, :2].T + se2_exp(v)[:2, 2] + 0.01 * rng.normal(size=(90, 2))
    points[:30] += rng.uniform(-1, 1, (30, 2))
    found, covariance, inlier = rigid_fit(points, moved_mm, np.ones((90, 2)))
    assert inlier[30:].mean() > 0.95 and inlier[:30].mean() < 0.2
    assert np.abs(found - v)[:2].max() < 0.02
    assert abs(found[2] - v[2]) < 4e-4
    assert (np.abs(found - v) < 5 * np.sqrt(np.diag(covariance))).all()


def test_covariance_of_the_rigid_fit_follows_the_scatter():
    rng = np.random.default_rng(4)
    moved_mm = rng.uniform([-30, 0], [30, 60], (100, 2))
    errors, covariances = [], []
    for _ in range(200):
        found, covariance, _ = rigid_fit(moved_mm + [0.05, 0.1] * rng.normal(size=(100, 2)), moved_mm,
                                         np.tile([4.0, 1.0], (100, 1)))
        errors.append(found)
        covariances.append(covariance)
    ratio = np.cov(np.array(errors).T).diagonal() / np.mean(covariances, 0).diagonal()
    assert (ratio > 0.5).all() and (ratio < 2).all()


# -- whole frames

def test_axial_motion_is_found_within_a_twentieth_of_a_pixel(matches):
    true, found, _, share = matches
    error = found - true
    assert (share > 0.8).all()
    assert np.sqrt(np.mean(error[:, 1] ** 2)) < 0.05 * ROW_MM
    assert abs(np.mean(error[:, 1])) < 0.05 * ROW_MM


def test_lateral_motion_and_roll_are_found(matches):
    true, found, _, _ = matches
    error = found - true
    assert np.sqrt(np.mean(error[:, 0] ** 2)) < 0.1 * COLUMN_MM
    assert np.sqrt(np.mean(error[:, 2] ** 2)) < 1e-3
    gain = (found * true).sum(0) / (true**2).sum(0)
    scenes.within(gain, 1, [0.03, 0.03, 0.05])


def test_covariance_is_that_of_the_errors_within_a_factor(matches):
    true, found, covariance, _ = matches
    error = found - true
    covariance = covariance + np.diag(MATCH_FLOOR**2)
    each = np.mean(error**2, 0) / np.mean(covariance, 0).diagonal()
    assert (each > 1 / 9).all() and (each < 9).all()


def test_covariance_grows_as_speckle_decorrelates(matcher):
    base = matcher.pyramid(scenes.frame())
    sd = [np.sqrt(matcher.match(base, matcher.pyramid(scenes.frame([0.1, 0.1, z, 0, 0, 0], 9)), np.zeros(3))[1][0, 0])
          for z in (0.0, 0.3, 0.6)]
    assert sd[0] < sd[1] < sd[2]


@pytest.mark.parametrize("v", [(1.7, 0, 0), (0, -1.6, 0), (0, 0, 0.03), (-1.2, 0.9, 0.02)])
def test_large_motions_are_found_from_nothing(matcher, v):
    base, other = (matcher.pyramid(scenes.frame(moved(w), seed)) for seed, w in enumerate([(0, 0, 0), v]))
    found = matcher.match(base, other, np.zeros(3))[0]
    scenes.within(found, v, [0.05, 0.03, 1.5e-3])


def test_backward_is_the_inverse_of_forward(matcher):
    a, b = matcher.pyramid(scenes.frame()), matcher.pyramid(scenes.frame([0.4, -0.3, 0.1, 0, 0, 0.012], 3))
    forward, backward = matcher.match(a, b, np.zeros(3))[0], matcher.match(b, a, np.zeros(3))[0]
    scenes.within(se2_log(se2_exp(forward) @ se2_exp(backward)), 0, [5e-3, 3e-3, 3e-4])


def test_a_good_guess_does_not_change_the_result(matcher):
    v = np.array([0.3, 0.2, -0.006])
    a, b = matcher.pyramid(scenes.frame()), matcher.pyramid(scenes.frame(moved(v), 3))
    scenes.within(matcher.match(a, b, v)[0], matcher.match(a, b, np.zeros(3))[0], [0.01, 0.01, 5e-4])


@pytest.mark.parametrize("other", ["other tissue", "noise", "black"])
def test_pairs_without_common_speckle_are_reported_as_failed(matcher, other):
    image = {"other tissue": lambda: scenes.frame([0, 0, 4.0, 0, 0, 0], 7),
             "noise": lambda: np.random.default_rng(0).integers(40, 160, scenes.SECTOR.shape).astype(np.uint8),
             "black": lambda: np.zeros(scenes.SECTOR.shape, np.uint8)}[other]()
    guess = np.array([0.1, 0.2, 0.003])
    found, covariance, ncc, share = matcher.match(matcher.pyramid(scenes.frame()), matcher.pyramid(image), guess)
    np.testing.assert_array_equal(found, guess)
    assert (np.sqrt(covariance.diagonal()) >= [10, 10, 1]).all()
    assert share == 0 and ncc == 0


# -- a scan: lags, duplicates, the chain

PATH = np.array([[0, 0, 0], [0.2, 0.1, 0.003], [0.15, 0.2, 0.002], [0.1, -0.1, -0.004], [0.1, -0.1, -0.004],
                 [0.25, 0.05, 0.002], [0.2, 0.0, 0.004], [-0.1, 0.1, 0.0]])
REPEATED = 4          # frame 4 shows frame 3 again


@pytest.fixture(scope="module")
def short_scan():
    """(true steps [N, 3], PlanarMotion, duplicates) of eight frames, one of them sent twice."""
    true = PATH.copy()
    true[REPEATED] = 0
    T = [np.eye(3)]
    for v in true[1:]:
        T.append(T[-1] @ se2_exp(v))
    frames = [scenes.frame(moved(se2_log(t), 0.05 * k), k) for k, t in enumerate(T)]
    frames[REPEATED] = frames[REPEATED - 1]
    scan = Scan.from_arrays(np.stack(frames), scale=scenes.SCALE)
    motion, duplicate = planar_motion(WorkingImages(scan, scenes.SECTOR, 1), lags=(1, 2, 4), jobs=1)
    return true, motion, duplicate


def test_every_lag_measures_the_composition_of_its_steps(short_scan):
    true, motion, _ = short_scan
    assert sorted(zip(motion.i, motion.j, strict=True)) == sorted(
        (j - lag, j) for lag in (1, 2, 4) for j in range(lag, 8) if REPEATED not in (j - lag, j))
    for i, j, v in zip(motion.i, motion.j, motion.twist, strict=True):
        T = np.eye(3)
        for step in true[i + 1:j + 1]:
            T = T @ se2_exp(step)
        scenes.within(v, se2_log(T), [0.05, 0.03, 2e-3])


def test_a_search_starts_where_frames_half_as_far_apart_were_found(monkeypatch):
    """Neighbours that see none of the motion do not hold frames further apart where they are."""
    starts = {}

    def match(self, a, b, guess):
        lag = int(b - a)
        starts[lag] = np.asarray(guess)
        return np.array([0.3, 0, 0]) * lag * (lag > 1), np.eye(3), 0.8, 1.0

    monkeypatch.setattr(Matcher, "match", match)
    count = iter(range(12))
    monkeypatch.setattr(Matcher, "pyramid", lambda self, frame: next(count))
    scan = Scan.from_arrays(np.stack([scenes.frame(moved((0, 0, 0)), 0)] * 12), scale=scenes.SCALE)
    planar_motion(WorkingImages(scan, scenes.SECTOR, 1), jobs=1)
    for lag, seen in ((1, 0), (2, 0), (4, 1.2), (8, 2.4)):
        np.testing.assert_allclose(starts[lag], [seen, 0, 0], atol=1e-12)


def test_repeated_frames_are_named(short_scan):
    _, _, duplicate = short_scan
    np.testing.assert_array_equal(np.flatnonzero(duplicate), [REPEATED])


def test_the_chain_gives_the_steps_back(short_scan):
    true, motion, _ = short_scan
    step, covariance = planar_chain(motion, len(true))
    near = (REPEATED, REPEATED + 1)       # a repeated frame tells nothing: the steps about it share their sum
    alone = [k for k in range(len(true)) if k not in near]
    scenes.within(step[alone], true[alone], [0.04, 0.025, 2e-3])
    scenes.within(step[list(near)].sum(0), true[list(near)].sum(0), [0.06, 0.04, 3e-3])
    assert (step[0] == 0).all() and (covariance[0] == 0).all()
    assert (np.linalg.eigvalsh(covariance[1:]) > 0).all()


def _measured(true, lags, failed=()):
    """Exact planar motions of steps [N, 3] at some lags; failed pairs as the matcher reports them."""
    T = [np.eye(3)]
    for v in true[1:]:
        T.append(T[-1] @ se2_exp(v))
    pairs = [(j - lag, j) for lag in lags for j in range(lag, len(true))]
    twist = np.array([np.zeros(3) if p in failed else se2_log(np.linalg.solve(T[p[0]], T[p[1]])) for p in pairs])
    good = np.diag([0.01, 0.01, 1e-4]) ** 2
    covariance = np.array([np.diag([1e2, 1e2, 1.0]) if p in failed else good for p in pairs])
    ones = np.ones(len(pairs))
    i, j = np.array(pairs).T
    return PlanarMotion(i, j, twist, covariance, ones, ones)


def test_the_chain_is_exact_on_exact_matches():
    t = np.linspace(0, 2 * np.pi, 30)[:, None]
    true = np.concatenate([0.3 * np.sin(t), 0.2 * np.cos(t), 0.02 * np.sin(2 * t)], 1)
    true[0] = 0
    step, _ = planar_chain(_measured(true, (1, 4)), 30)
    scenes.within(step, true, [2e-3, 2e-3, 3e-5])


def test_longer_lags_bridge_a_match_that_failed():
    true = np.tile([0.1, -0.05, 0.004], (12, 1))
    true[0] = 0
    true[6] = [0.5, 0.3, -0.01]
    gap = {(5, 6)}
    alone, wide = planar_chain(_measured(true, (1,), gap), 12)
    bridged, _ = planar_chain(_measured(true, (1, 4), gap), 12)
    scenes.within(bridged[6], true[6], [0.01, 0.01, 1e-3])
    assert np.linalg.norm(alone[6] - true[6]) > 0.3          # it can only take its neighbours for it
    assert wide[6, 0, 0] > 50 * wide[5, 0, 0]


def test_short_scans_have_chains_too():
    nothing = PlanarMotion(*block_matching._NO_PAIRS)
    for n in (0, 1, 2):
        step, covariance = planar_chain(nothing, n)
        assert step.shape == (n, 3) and covariance.shape == (n, 3, 3)
        assert np.isfinite(step).all() and np.isfinite(covariance).all()
