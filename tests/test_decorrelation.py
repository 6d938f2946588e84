"""Cell correlations and the curves that turn them into motion, against numpy, the simulator and its theory."""

import dataclasses

import numpy as np
import pytest
import scenes
from hypothesis import given, settings
from hypothesis import strategies as st

from speckle_rec import geometry as se3
from speckle_rec.frames import features, warp
from speckle_rec.frames.working_images import WorkingImages
from speckle_rec.kernels import cpu
from speckle_rec.pairs import correlation
from speckle_rec.pairs.correlation import Correlations, Correlator, between_rows, correlate, frame_pairs
from speckle_rec.pairs.planar_motions import chain_poses
from speckle_rec.probe.beam_lines import beam_lines, lines_of
from speckle_rec.probe.field import cells, ultrasonix_4dc7
from speckle_rec.scan import Scan
from speckle_rec.speckle.at_rest import cell_strengths
from speckle_rec.speckle.curves import TABLE_PER_UNIT, Curves, forms_of
from speckle_rec.synth import beam as beams
from speckle_rec.synth.beam import Beam
from speckle_rec.synth.measure import amplitude_correlation, expected_intensity_correlation

STEEPNESS = [(1.0, 1.0), (0.28, 0.43), (0.09, 0.49), (2.0, 0.7)]
quick = settings(max_examples=40)


@pytest.fixture(scope="module")
def grid():
    return cells(scenes.SECTOR)


@pytest.fixture(scope="module")
def correlator(grid):
    return Correlator(scenes.SECTOR, grid, features.AmplitudeFeatures(scenes.SECTOR.mask(), scenes.SECTOR.pixel_mm,
                                                                       scenes.SECTOR_BEAM.grey_per_neper))


# -- correlation coefficients

def correlated(a, b, labels, n_cells):
    """Correlations [P] of two images as they are."""
    runs, edges = correlation.cell_runs(labels, n_cells)
    cells, rho = np.empty((2, edges[-1]), np.float32), np.empty((1, n_cells), np.float32)
    for image, out in zip((a, b), cells, strict=True):
        cpu.unit_cells(image, np.eye(2, 3), warp.spans_of(labels >= 0), runs, edges, out)
    cpu.unit_products(cells, np.array([0]), np.array([1]), edges, rho)
    return rho[0]


def test_correlations_are_those_of_numpy(grid):
    rng = np.random.default_rng(0)
    a = rng.normal(30, 2, scenes.SECTOR.shape).astype(np.float32)       # a mean far above the spread
    b = (0.6 * a + rng.normal(-1, 1, a.shape)).astype(np.float32)
    rho = correlated(a, b, grid.labels, len(grid))
    for p in range(len(grid)):
        inside = grid.labels == p
        assert rho[p] == pytest.approx(np.corrcoef(a[inside], b[inside])[0, 1], abs=1e-4)


def test_cells_in_pieces_are_put_together():
    labels = np.full((20, 30), -1, np.int32)
    labels[2:12, 3:9] = labels[2:12, 20:30] = 1                         # up to the edge of the image
    labels[3:11, 9:20] = 0
    labels[12:, ::2] = 2
    runs, edges = correlation.cell_runs(labels, 4)                    # cell 3 has no pixels
    assert edges.tolist() == [0, *np.cumsum([(labels == p).sum() for p in range(4)])]
    order = np.full(edges[-1], -1)
    for row, first, last, place in runs:
        order[place:place + last - first] = labels[row, first:last]
    np.testing.assert_array_equal(order, np.repeat(range(4), np.diff(edges)))


def test_cells_without_variance_or_pixels_have_no_correlation():
    labels = np.zeros((20, 60), np.int32)
    labels[:, 20:40], labels[:, 40:] = 1, -1
    labels[0, 40:45] = 2
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, *labels.shape)).astype(np.float32)
    b[:, 20:40] = 0.5
    rho = correlated(a, b, labels, 4)
    assert np.isfinite(rho[0])
    assert np.isnan(rho[1:]).all()     # constant, five pixels, none at all


# -- alignment

def test_aligning_halfway_is_symmetric(correlator):
    a, b = (correlator.features(scenes.frame(v, seed)) for seed, v in enumerate([np.zeros(6), [.5, .3, .1, 0, 0, .01]]))
    v = np.array([0.5, 0.3, 0.01])
    np.testing.assert_allclose(correlator.pair(a, b, v), correlator.pair(b, a, -v), atol=1e-6)


def test_pairs_are_the_same_wherever_they_are_compared(correlator, grid):
    """Frames moved to a place near the middle of their pairs, not to each middle: the same correlations, nearly."""
    n = 24
    step = np.tile([0.06, 0.02, 0.002], (n, 1))
    step[0] = 0
    twists = [[p[0, 2], p[1, 2], 0, 0, 0, np.arctan2(p[1, 0], p[0, 0])] for p in chain_poses(step)]
    scan = Scan.from_arrays(np.stack([scenes.frame(v, k) for k, v in enumerate(twists)]), scale=scenes.SECTOR.scale)
    skip = np.arange(n) == 9
    found = correlate(WorkingImages(scan, scenes.SECTOR, 1), grid, step, skip, lags=(1, 3, 8), jobs=1)
    looks = [correlator.features(frame) for frame in scan.frames(0, n)]
    apart = [rho - correlator.pair(looks[i], looks[j], v)
             for i, j, rho, v in zip(found.i, found.j, found.rho, found.turns.twist, strict=True)]
    assert abs(np.nanmean(apart)) < 0.01
    assert np.nanstd(apart) < 0.05


def test_alignment_brings_the_correlation_back(correlator):
    v = np.array([0.5, 0.3, 0.01])
    a, b = (correlator.features(scenes.frame(t, seed)) for seed, t in enumerate([np.zeros(6), [.5, .3, 0, 0, 0, .01]]))
    aligned, as_is, wrong = (np.nanmedian(correlator.pair(a, b, s * v)) for s in (1, 0, -1))
    assert aligned > 0.8
    assert as_is < 0.3 and wrong < 0.3


def test_moves_between_rows_of_pixels(grid):
    lines, row = lines_of(scenes.SECTOR, grid), scenes.SECTOR.scale[1, 1]
    far = between_rows(lines, np.array([[0.7, 0, 0], [0, 3 * row, 0], [0, 1.5 * row, 0], [0, 0, 0.01]]), row)
    np.testing.assert_allclose(far[:2], 0, atol=1e-4)
    np.testing.assert_allclose(far[2], 1, atol=1e-4)
    np.testing.assert_allclose(far[3], np.sin(np.pi * 0.01 * lines[:, 1] / row) ** 2, atol=1e-4)


def test_speckle_is_lost_between_rows_and_comes_back_with_whole_ones(correlator):
    row = scenes.SECTOR.scale[1, 1]
    a, half, whole = (correlator.features(scenes.frame((0, y, 0, 0, 0, 0), seed))
                      for seed, y in enumerate((0, row / 2, row)))
    v = np.array([[0, row / 2, 0], [0, row, 0]])
    rho = np.stack([correlator.pair(a, half, v[0]), correlator.pair(a, whole, v[1])])
    lost = np.nanmedian(rho[1] - rho[0])
    assert lost > 0.02
    speckle = Correlations(np.zeros(2, int), np.array([1, 2]), rho, correlator.turns(v))
    back = dataclasses.replace(Curves(), rows=lost / np.nanmedian(rho[1])).resampled(speckle).rho
    assert abs(np.nanmedian(back[1] - back[0])) < lost / 3
    np.testing.assert_array_equal(Curves().resampled(speckle).rho, rho)


# -- what the simulator does, and what the curves say of it

@pytest.mark.parametrize("twist", [(0.15, 0, 0), (0.3, 0, 0), (0.0, 0.006, 0), (0.1, 0.004, 0.004), (-0.1, 0.004, 0)],
                         ids=str)
def test_correlations_of_simulated_speckle_follow_the_curves(correlator, grid, twist):
    """Measured amplitude correlation over what the same pair without motion has, against rho_A(exp(-Q))."""
    ratios, expected = [], []
    forms = forms_of(scenes.matched_curves(), beam_lines(scenes.SECTOR, *grid.centres.T))
    q = np.square(forms @ np.array(twist)).sum(1)
    for z in (-3.0, 0.0, 3.0):
        a, rest, b = (correlator.features(scenes.frame(t, seed)) for seed, t in enumerate(
            [(0, 0, z, 0, 0, 0), (0, 0, z, 0, 0, 0), se3.log(se3.exp(np.array([0, 0, z, 0, 0, 0]))
                                                              @ se3.exp(np.array([0, 0, *twist, 0])))]))
        ratios.append(correlator.pair(a, b, np.zeros(3)) / correlator.pair(a, rest, np.zeros(3)))
        expected.append(amplitude_correlation(np.exp(-q)))
    assert np.nanmean(ratios) == pytest.approx(np.mean(expected), abs=0.05)
    assert np.nanstd(np.subtract(ratios, expected)) < 0.15


@pytest.mark.parametrize("beam, geometry", [(scenes.SECTOR_BEAM, scenes.SECTOR),
                                            (Beam(), ultrasonix_4dc7(scenes.SCALE)),
                                            (scenes.LINEAR_BEAM, scenes.LINEAR)], ids=["small", "4DC7", "linear"])
def test_forms_are_the_simulators_theory(beam, geometry):
    """Q against the simulator's -ln rho_I, for the same offset and turn: equal to rounding.

    Without the third row: the theory is that of a beam that does not turn about itself.
    """
    waist, focus = beams.elevation_waist(beam)
    curves = dataclasses.replace(Curves(), wavelength_mm=beam.wavelength_mm, waist_mm=waist, focus_mm=focus)
    grid = cells(geometry)
    r, u = grid.centres.T
    forms = forms_of(curves, beam_lines(geometry, r, u))
    if geometry.kind == "linear":
        u_axis, cosine = u, np.ones_like(u)
    else:
        u_axis, cosine = (geometry.radius_mm + r) * np.sin(u), np.cos(u)
    down = geometry.cartesian(r, u)[1] - geometry.face_mm[1]
    for tau, theta in ((0.3, 0.0), (0.0, 0.01), (0.2, -0.008)):
        q = np.square(forms[:, :2] @ [tau, theta, 0]).sum(1)
        np.testing.assert_allclose(q, beams.log_decorrelation(beam, r, tau + theta * down, theta * cosine), rtol=1e-9,
                                   atol=1e-12)
    psi = 0.006
    q = np.square(forms[:, :2] @ [0, 0, psi]).sum(1)
    sine = np.zeros_like(u) if geometry.kind == "linear" else np.sin(u)
    np.testing.assert_allclose(q, beams.log_decorrelation(beam, r, -psi * u_axis, -psi * sine), rtol=1e-9, atol=1e-12)


@quick
@given(st.tuples(st.floats(-0.4, 0.4), st.floats(-0.01, 0.01), st.floats(-0.01, 0.01)))
def test_forms_hold_for_rigid_motions(xi):
    """The simulator's own measure of a pose's decorrelation, points and look directions moved exactly."""
    curves, grid = scenes.matched_curves(), cells(scenes.SECTOR)
    face = np.array([*scenes.SECTOR.face_mm, 0])
    T = se3.translation(face) @ se3.exp(np.array([0, 0, *xi, 0])) @ se3.translation(-face)
    q = np.square(forms_of(curves, beam_lines(scenes.SECTOR, *grid.centres.T)) @ xi).sum(1)
    expected = -np.log(expected_intensity_correlation(scenes.SECTOR_BEAM, scenes.SECTOR, *grid.centres.T, T))
    np.testing.assert_allclose(q, expected, rtol=0.02, atol=2e-3)


def test_a_turned_cell_sees_the_mean_of_its_pixels():
    """To second order: the mean of Q over a cell's width is Q of its centre and its spread (METHOD.md (3.10))."""
    curves, R = scenes.matched_curves(), scenes.SECTOR.radius_mm
    r, u, spread = np.array([50.0]), np.array([0.2]), 1.3
    xi = np.array([0.05, 0.004, 0.02])
    whole = np.square(forms_of(curves, beam_lines(scenes.SECTOR, r, u, spread)) @ xi).sum()
    offsets = spread * np.array([-1, 1])
    pixels = forms_of(curves, beam_lines(scenes.SECTOR, np.repeat(r, 2), u + offsets / (R + r)))[:, :1]
    centre = forms_of(curves, beam_lines(scenes.SECTOR, r, u))
    extra = np.square(pixels @ xi).sum(1).mean() - np.square(centre[:, :1] @ xi).sum()
    assert whole - np.square(centre @ xi).sum() == pytest.approx(extra, rel=0.02)


@pytest.mark.parametrize("depth_mm", [20.0, 45.0, 70.0])
def test_an_oval_beam_decorrelates_when_it_turns_about_itself(depth_mm):
    """-ln of the overlap of the point spread function with itself turned, integrated on a grid (METHOD.md (3.10))."""
    curves = Curves()
    w, curvature = (float(v) for v in curves.beam(depth_mm))
    k2, psi = 4 * np.pi / curves.wavelength_mm, 0.04
    x, z = np.meshgrid(np.linspace(-8, 8, 1201), np.linspace(-8, 8, 1201), indexing="ij")

    def spread_function(x, z):
        return np.exp(-k2**2 / (4 * curves.steering) * x**2 - (2 / w**2 + 0.5j * k2 * curvature) * z**2)

    still = spread_function(x, z)
    turned = spread_function(np.cos(psi) * x - np.sin(psi) * z, np.sin(psi) * x + np.cos(psi) * z)
    overlap = abs((still.conj() * turned).sum()) ** 2 / (np.abs(still) ** 2).sum() ** 2
    form = forms_of(curves, beam_lines(scenes.LINEAR, np.array([depth_mm]), np.array([0.0])))[0, 2]
    assert (form[2] * psi) ** 2 == pytest.approx(-np.log(overlap), rel=0.03)


def test_a_mixture_is_a_kernel():
    curves = dataclasses.replace(Curves(), mix=(0.4, 0.3, 0.2, 0.05, 0.05))
    q = np.linspace(0, 50, 400)
    assert curves.kernel(0.0) == pytest.approx(1)
    assert (np.diff(curves.kernel(q)) < 0).all()
    np.testing.assert_allclose(np.gradient(curves.kernel(q), q)[1:-1], curves.slope(q)[1:-1], atol=2e-3)


def test_beam_is_that_of_the_simulator():
    waist, focus = beams.elevation_waist(Beam())
    curves = dataclasses.replace(Curves(), wavelength_mm=Beam().wavelength_mm, waist_mm=waist, focus_mm=focus)
    depth = np.linspace(1, 90, 30)
    w, curvature = curves.beam(depth)
    np.testing.assert_allclose(w, beams.elevation_width(Beam(), depth), rtol=1e-9)
    np.testing.assert_allclose(curvature, beams.elevation_curvature(Beam(), depth), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("aperture, focus", [(10.0, 60.0), (12.0, 50.0), (5.0, 20.0)])
def test_a_lens_by_its_data_sheet_is_the_simulators(aperture, focus):
    curves = Curves.of_lens(6e6, aperture, focus)
    waist, depth = beams.elevation_waist(Beam(aperture_mm=aperture, focus_mm=focus))
    assert curves.wavelength_mm == pytest.approx(Beam().wavelength_mm)
    assert (curves.waist_mm, curves.focus_mm) == pytest.approx((waist, depth), rel=1e-3)


def test_a_tilt_moves_the_focus_as_a_shift_does():
    """At the waist, where wavefronts are flat, a shift and the tilt that makes it differ by the turn alone."""
    curves = scenes.matched_curves()
    forms = forms_of(curves, beam_lines(scenes.SECTOR, np.array([curves.focus_mm]), np.zeros(1)))[0]
    theta = 0.004
    shift, tilt = np.square(forms @ [theta * curves.focus_mm, 0, 0]), np.square(forms @ [0, theta, 0])
    assert shift[0] == pytest.approx(tilt[0]) and shift[1] == pytest.approx(0, abs=1e-12)
    assert tilt[1] == pytest.approx((2 * np.pi / curves.wavelength_mm * curves.waist_mm * theta) ** 2 / 2)


def test_shift_and_tilt_decorrelate_alike_at_every_depth():
    """METHOD.md (4.3): on the axis nothing but the shift of the waist and the turn can be seen."""
    curves = scenes.matched_curves()
    r = np.linspace(2, 50, 20)
    q = np.square(forms_of(curves, beam_lines(scenes.SECTOR, r, 0 * r)) @ [0.2, 0.006, 0]).sum(1)
    waist_shift = 0.2 + curves.focus_mm * 0.006
    expected = (2 * waist_shift**2 / curves.waist_mm**2
                + (4 * np.pi / curves.wavelength_mm * curves.waist_mm * 0.006) ** 2 / 8)
    np.testing.assert_allclose(q, expected, rtol=1e-9)


# -- the kernel

@pytest.mark.parametrize("b, beta", STEEPNESS)
def test_kernel_falls_from_one_with_unit_slope(b, beta):
    curves = dataclasses.replace(Curves(), tail_b=b, tail_beta=beta)
    q = np.concatenate([[0], np.geomspace(1e-6, 1e3, 200)])
    k = curves.kernel(q)
    assert k[0] == 1 and (np.diff(k) <= 0).all() and (k >= 0).all()
    assert (1 - curves.kernel(1e-7)) / 1e-7 == pytest.approx(1, rel=1e-3)
    assert (k >= np.exp(-q) - 1e-12).all()       # never a shorter tail than the Gaussian beam


def test_kernel_limits():
    q = np.linspace(0, 8, 50)
    np.testing.assert_allclose(dataclasses.replace(Curves(), tail_beta=1.0).kernel(q), np.exp(-q), rtol=1e-12)
    np.testing.assert_allclose(dataclasses.replace(Curves(), tail_b=1e7).kernel(q), np.exp(-q), rtol=1e-5)
    curves = dataclasses.replace(Curves(), tail_b=0.28, tail_beta=0.43)
    q = 1e5
    stretched = curves.tail_b ** (1 - curves.tail_beta) * q**curves.tail_beta / curves.tail_beta
    assert curves.tail_b / curves.tail_beta - stretched == pytest.approx(np.log(curves.kernel(q)), rel=1e-2)


@pytest.mark.parametrize("b, beta", STEEPNESS)
def test_table_is_the_kernel_and_its_slope(b, beta):
    curves = dataclasses.replace(Curves(), tail_b=b, tail_beta=beta, kappa=0.01)
    table, h = curves.table(), 1e-6
    at = np.array([0, 7, 100, 450, 1000])
    q = np.square(at / TABLE_PER_UNIT)
    np.testing.assert_allclose(table[at, 0], curves.kernel(q), rtol=1e-12)
    np.testing.assert_allclose(table[at, 1], curves.kernel(0.01 * q), rtol=1e-12)
    assert table[0, 2] == pytest.approx(-1) and table[0, 3] == pytest.approx(-0.01)
    for k in at[1:]:
        x = (k / TABLE_PER_UNIT) ** 2
        slopes = [(curves.kernel(s * (x + h)) - curves.kernel(s * (x - h))) / (2 * h) for s in (1, 0.01)]
        np.testing.assert_allclose(table[k, 2:], slopes, rtol=1e-4, atol=1e-9)


def test_table_is_fine_enough_for_linear_interpolation():
    curves = Curves()
    root = (np.arange(2000) + 0.5) / TABLE_PER_UNIT
    between = (curves.table()[:2000, 0] + curves.table()[1:2001, 0]) / 2
    np.testing.assert_allclose(between, curves.kernel(root**2), atol=2e-5)


# -- strengths of cells

def _over_time(strength, motion, n_frames=64):
    """Lag-1 correlations [N - 1, P] of cells of given strength under a common factor per step."""
    j = np.arange(1, n_frames)
    return Correlations(j - 1, j, (np.asarray(motion)[j, None] * strength).astype(np.float32))


def test_strengths_are_relative_whatever_the_motion():
    strength = np.concatenate([np.full(30, 0.9), np.full(20, 0.45), np.full(10, 0.01)])
    curves = Curves()
    still = cell_strengths(_over_time(strength, np.ones(64)), 64, curves)
    moving = cell_strengths(_over_time(strength, np.full(64, 0.5)), 64, curves)
    np.testing.assert_allclose(still.fast, moving.fast, rtol=1e-3)
    total = still.fast + still.slow
    np.testing.assert_allclose(total[:, :30], curves.floor, rtol=1e-3)
    np.testing.assert_allclose(total[:, 30:50], curves.floor / 2, rtol=1e-3)
    assert (total[:, 50:] == 0).all()         # a cell that never correlates says nothing
    np.testing.assert_allclose(still.slow[total > 0] / total[total > 0], curves.slow_share)


def test_strengths_follow_a_shadow_that_comes_and_goes():
    rho = _over_time(np.full(40, 0.9), np.ones(120), 120)
    rho.rho[60:, :10] *= 0.05
    strengths = cell_strengths(rho, 120, Curves())
    active = strengths.fast[strengths.window] > 0
    assert active[:30].all()
    assert not active[100:, :10].any() and active[100:, 10:].all()


def test_strengths_of_short_scans_and_of_none():
    for n in (1, 2, 3):
        strengths = cell_strengths(_over_time(np.full(5, 0.9), np.ones(n), n), n, Curves())
        assert strengths.window.shape == (n,) and strengths.window.max(initial=0) < len(strengths.fast)
    empty = Correlations(np.zeros(0, int), np.zeros(0, int), np.zeros((0, 5), np.float32))
    assert (cell_strengths(empty, 40, Curves()).fast == 0).all()


# -- pairs of a scan

def test_pairs_are_sorted_and_leave_frames_out():
    skip = np.zeros(7, bool)
    skip[3] = True
    i, j = frame_pairs(7, (2, 1, 4), skip)
    assert list(zip(i, j, strict=True)) == [(0, 1), (1, 2), (0, 2), (2, 4), (0, 4), (4, 5), (1, 5), (5, 6), (4, 6),
                                            (2, 6)]


def test_correlations_of_a_scan_fall_with_the_lag_and_do_not_depend_on_jobs():
    grid = cells(scenes.SECTOR)
    steps = np.zeros((40, 3))
    steps[1:, 0] = 0.05
    frames = np.stack([scenes.frame([0.05 * k, 0, 0.1 * k - 2, 0, 0, 0], k) for k in range(40)])
    images = WorkingImages(Scan.from_arrays(frames, scale=scenes.SCALE), scenes.SECTOR, 1)
    skip = np.zeros(40, bool)
    skip[5] = True
    found = correlate(images, grid, steps, skip, lags=(1, 2, 4), jobs=1)
    lag = found.j - found.i
    medians = [np.nanmedian(found.rho[lag == n]) for n in (1, 2, 4)]
    assert medians[0] > medians[1] + 0.03 and medians[1] > medians[2] + 0.1
    assert not np.isin(5, found.i) and not np.isin(5, found.j)
    assert len(found.i) == 39 - 2 + 38 - 2 + 36 - 2
    again = correlate(images, grid, steps, skip, lags=(1, 2, 4), jobs=2)
    np.testing.assert_array_equal(found.rho, again.rho)


# -- features

def test_amplitude_features_do_not_see_the_gain():
    feature = features.AmplitudeFeatures(scenes.SECTOR.mask(), scenes.SECTOR.pixel_mm,
                                         scenes.SECTOR_BEAM.grey_per_neper)
    frame = np.clip(scenes.frame(), 20, 230)
    np.testing.assert_allclose(feature(frame + np.uint8(20)), feature(frame), atol=1e-4)
    assert (feature(frame)[~scenes.SECTOR.mask()] == 0).all()


def test_features_of_the_image_have_no_local_mean():
    mask = scenes.SECTOR.mask()
    inside = np.zeros_like(mask)
    inside[60:180, 110:190] = True
    for feature in (features.GreyFeatures(mask, scenes.SECTOR.pixel_mm),
                    features.AmplitudeFeatures(mask, scenes.SECTOR.pixel_mm, scenes.SECTOR_BEAM.grey_per_neper)):
        image = feature(scenes.frame())
        assert abs(image[inside].mean()) < 0.05 * image[inside].std()


def test_local_mean_is_normalised_at_the_edge():
    mask = scenes.SECTOR.mask()
    flat = np.full(scenes.SECTOR.shape, 80, np.float32)
    flat[~mask] = 0
    np.testing.assert_allclose(features.LocalMean(mask, (9.0, 9.0))(flat)[mask], 80, rtol=1e-4)


def test_local_mean_has_the_width_of_the_gaussian():
    point = np.zeros((121, 121), np.float32)
    point[60, 60] = 1
    spread = features.LocalMean(np.ones_like(point, bool), (9.0, 3.5))(point)
    x = np.arange(121) - 60
    for axis, sigma in ((0, 9), (1, 3.5)):
        assert np.sqrt((spread.sum(axis) * x**2).sum() / spread.sum()) == pytest.approx(sigma, rel=0.06)


@pytest.mark.parametrize("axis", [0, 1])
def test_features_keep_the_same_detail_whatever_the_pixels(axis):
    """Stripes of 6 mm, at pixels of several sizes and shapes."""
    def left(pixel_mm):
        columns, rows = (round(60 / mm) for mm in pixel_mm)
        mm = (np.arange(rows)[:, None] * pixel_mm[1], np.arange(columns)[None] * pixel_mm[0])[axis]
        frame = np.broadcast_to(100 + 40 * np.sin(2 * np.pi * mm / 6), (rows, columns)).astype(np.uint8)
        mask = np.ones(frame.shape, bool)
        middle = np.s_[rows // 4:3 * rows // 4, columns // 4:3 * columns // 4]
        return np.array([feature(frame)[middle].std() for feature in (
            features.GreyFeatures(mask, pixel_mm), features.AmplitudeFeatures(mask, pixel_mm, 27.0))])

    usual = left((0.22, 0.22))
    for pixel_mm in ((0.15, 0.15), (0.45, 0.45), (0.3, 0.15), (0.12, 0.3)):
        np.testing.assert_allclose(left(pixel_mm), usual, rtol=0.25)       # boxes are whole pixels wide


def test_shrinking_averages_and_leaves_out_what_fills_no_block():
    image = np.arange(7 * 9, dtype=np.float32).reshape(7, 9)
    small = features.shrink(image, 2)
    assert small.shape == (3, 4)
    assert small[1, 2] == pytest.approx(image[2:4, 4:6].mean())
    assert features.shrink(image, 1) is image


def test_turns_of_joined_pairs_are_those_of_each():
    grid = cells(scenes.SECTOR)
    rng = np.random.default_rng(0)
    correlator = Correlator(scenes.SECTOR, grid, lambda frame: frame)

    def pairs(n, turning=True):
        turns = correlator.turns(rng.normal(size=(n, 3)) * [1, 1, 0.1]) if turning else None
        return Correlations(np.arange(n), np.arange(n) + 1, rng.normal(size=(n, len(grid))).astype(np.float32), turns)

    a, b, still = pairs(5), pairs(3), pairs(2, turning=False)
    np.testing.assert_array_equal(a.joined(b).turn2, np.concatenate([a.turn2, b.turn2]))
    np.testing.assert_array_equal(still.joined(a).turn2, np.concatenate([np.zeros_like(still.rho), a.turn2]))
    assert not still.joined(still).turn2.any()
    np.testing.assert_array_equal(a.turns.turn2(at_once=2), a.turn2)
    np.testing.assert_array_equal(Curves().rest(a), np.float32(Curves().steering) * a.turn2)
