"""The simulator against theory and against a slow, direct sum."""

import dataclasses
import pickle

import numpy as np
import pytest

from speckle_rec import geometry as se3
from speckle_rec.kernels import polar
from speckle_rec.probe.field import ProbeGeometry, ultrasonix_4dc7
from speckle_rec.synth import beam as beams
from speckle_rec.synth import measure
from speckle_rec.synth.beam import Beam
from speckle_rec.synth.image import Renderer, polar_axes, render, to_bmode
from speckle_rec.synth.scatterers import Medium, Phantom, visible

SCALE = np.diag([0.229389, 0.220980, 1, 1])
SECTOR = dataclasses.replace(ultrasonix_4dc7(SCALE), lateral=(-np.deg2rad(9), np.deg2rad(9)))
NARROW = Beam(n_lines=68, lens="gaussian")     # the line pitch of the whole probe
STEPS_MM = np.arange(6) * 6.0  # frames this far apart in elevation are independent
APERTURE_MM = beams.GAUSSIAN_APERTURE * NARROW.aperture_mm   # 1/e radius
DEPTHS = [14, 27, 40, 53, 66, 79]


@pytest.fixture(scope="module")
def phantom():
    """(renderer, base poses) of a pure-speckle phantom under a narrow sector."""
    bases = np.stack([se3.translation(np.array([0, 0, z])) for z in STEPS_MM])
    tissue = Phantom(np.array([[40.0, 0, -12], [110, 108, 42]]))
    motions = np.stack([measure.about_face(SECTOR, np.array([0, 0, z, t, 0, 0]))
                        for z in (-1, 1) for t in (-0.012, 0.012)])
    poses = (bases[:, None] @ motions).reshape(-1, 4, 4)
    return Renderer(Medium.draw(tissue, 3, region_mm=visible(poses, SECTOR)), tissue, NARROW, SECTOR), bases


@pytest.fixture(scope="module")
def base_frames(phantom):
    renderer, bases = phantom
    return [renderer.baseband(T, None) for T in bases]


def pairs(phantom, base_frames, motion):
    renderer, bases = phantom
    sums = measure.PairSums()
    for T, frame in zip(bases, base_frames, strict=True):
        sums.add(frame, renderer.baseband(T @ motion, None))
    return sums


def cells(renderer, low, high, u_max=np.inf):
    return ((renderer.r_mm >= low) & (renderer.r_mm < high))[:, None] & (np.abs(renderer.u) <= u_max)


def few_scatterers(rng, geometry, n=60):
    """A medium of n points about the image plane z = 0."""
    r = rng.uniform(geometry.depth_mm[0] + 4, geometry.depth_mm[1] - 4, n)
    u = rng.uniform(*(0.8 * np.array(geometry.lateral)), n)
    points = np.stack([*geometry.cartesian(r, u), rng.uniform(-1.5, 1.5, n)], -1).astype(np.float32)
    amplitude = rng.uniform(0.5, 1.5, n).astype(np.float32)

    class Points(Phantom):
        def reflectivity(self, p):
            return np.zeros(len(p), np.float32)

        def sheets(self, rng):
            return points, amplitude

    tissue = Points(np.array([points.min(0), points.max(0)], float), attenuation_db_cm_mhz=0.5)
    return Medium.draw(tissue, 0), tissue, points.astype(float), amplitude


@pytest.mark.parametrize("geometry", [
    SECTOR, ProbeGeometry("linear", (480, 640), SCALE, (73.0, 5.0), 0.0, (0.0, 50.0), (-8.0, 8.0))],
    ids=["curvilinear", "linear"])
def test_baseband_is_the_direct_sum_over_scatterers(geometry):
    medium, tissue, points, amplitude = few_scatterers(np.random.default_rng(5), geometry)
    field = render(medium, tissue, np.eye(4), NARROW, geometry, None)
    r, u = polar_axes(NARROW, geometry)
    k = NARROW.wave_number
    pr, pu = geometry.polar(points[:, 0], points[:, 1])
    z = points[:, 2]
    w, curvature = beams.elevation_width(NARROW, pr), beams.elevation_curvature(NARROW, pr)
    metric = 1.0 if geometry.kind == "linear" else geometry.radius_mm + pr
    exponent = beams.lateral_exponent(NARROW, geometry, pr)
    expected = np.zeros(field.shape, complex)
    for n in range(len(points)):
        path = pr[n] + z[n] ** 2 * curvature[n] / 2
        across = np.exp(-exponent[n] * (np.broadcast_to(metric, pr.shape)[n] * (u - pu[n])) ** 2)
        along = np.exp(-((r - path) ** 2) / (2 * NARROW.pulse_sd_mm**2))
        echo = amplitude[n] * np.exp(-2 * z[n] ** 2 / w[n] ** 2) * np.exp(-2j * k * path)
        expected += echo * along[:, None] * across
    # the depth gain is a smooth positive factor of range
    gain = np.sum(np.abs(field) ** 2, 1) / np.maximum(np.sum(np.abs(expected) ** 2, 1), 1e-12)
    field = field / np.sqrt(np.maximum(gain, 1e-12))[:, None]
    match = abs(np.vdot(field, expected)) / np.linalg.norm(field) / np.linalg.norm(expected)
    assert match > 0.995


def test_angle_and_phase_of_an_echo_are_those_of_the_mathematics():
    x = np.linspace(-6, 6, 1201, dtype=np.float32)      # beyond 45 degrees too
    np.testing.assert_allclose([polar.arctan(a) for a in x], np.arctan(x.astype(float)), atol=3e-7)
    cycles = np.linspace(-3.9, 900, 2003, dtype=np.float32)
    made = np.array([polar.turned(c) for c in cycles]) @ [1, 1j]
    np.testing.assert_allclose(made, np.exp(-2j * np.pi * cycles.astype(float)), atol=2e-4)


def test_envelope_snr_is_that_of_rayleigh_speckle(phantom, base_frames):
    renderer, _ = phantom
    envelope = np.abs(np.stack(base_frames))
    bands = [measure.snr(envelope[:, (renderer.r_mm >= d - 8) & (renderer.r_mm < d + 8)]) for d in DEPTHS]
    assert measure.snr(envelope) == pytest.approx(1.913, abs=0.03)
    np.testing.assert_allclose(bands, 1.913, atol=0.045)


def test_standard_speckle_has_unit_rms_at_every_depth(phantom, base_frames):
    renderer, _ = phantom
    power = np.mean(np.abs(np.stack(base_frames)) ** 2, (0, 2))
    bands = [power[(renderer.r_mm >= d - 8) & (renderer.r_mm < d + 8)].mean() for d in DEPTHS]
    np.testing.assert_allclose(bands, 1.0, atol=0.08)


def test_grey_levels_decompress_to_rayleigh_speckle(phantom):
    renderer, bases = phantom
    frame = np.stack([renderer(T, 1) for T in bases])
    inside = SECTOR.mask()
    inside[330:] = False   # noise is not Rayleigh speckle of the tissue, but adds to it
    amplitude = np.exp(frame[:, inside] / 26.68)
    assert measure.snr(amplitude) == pytest.approx(1.91, abs=0.06)
    assert (frame[:, ~SECTOR.mask()] == 0).all()


def test_decorrelation_near_the_focus_is_gaussian_in_elevational_shift(phantom, base_frames):
    renderer, _ = phantom
    depth = NARROW.focus_mm
    near_focus = cells(renderer, depth - 12, depth + 12)
    for tau in (0.25, 0.5, 0.75):
        rho = pairs(phantom, base_frames, se3.translation(np.array([0, 0, tau]))).correlation(near_focus)
        # the diffraction limit of the aperture in its focus, and the shift of the aperture itself
        expected = (NARROW.wave_number * APERTURE_MM * tau / depth) ** 2 / 2 + 2 * (tau / APERTURE_MM) ** 2
        assert -np.log(rho) == pytest.approx(expected, rel=0.1)


def test_amplitude_and_log_correlation_follow_from_the_intensity(phantom, base_frames):
    renderer, bases = phantom
    for tau in (0.3, 0.7):
        moved = [renderer.baseband(T @ se3.translation(np.array([0, 0, tau])), None) for T in bases]
        a, b = np.abs(np.stack(base_frames)), np.abs(np.stack(moved))
        rho_i, rho_a, rho_log = (np.corrcoef(f(a).ravel(), f(b).ravel())[0, 1]
                                 for f in (np.square, np.abs, np.log))
        assert rho_a == pytest.approx(measure.amplitude_correlation(rho_i), abs=0.015)
        assert rho_log == pytest.approx(measure.log_correlation(rho_i), abs=0.02)


@pytest.mark.parametrize("tilt_deg", [0.45, -0.45])
def test_pure_tilt_follows_the_wavefront_curvature_at_six_depths(phantom, base_frames, tilt_deg):
    renderer, _ = phantom
    motion = measure.about_face(SECTOR, np.array([0, 0, 0, np.deg2rad(tilt_deg), 0, 0]))
    sums = pairs(phantom, base_frames, motion)
    # at the face the beam is the aperture: only the turn counts, and propagation keeps the overlap (eq. 4)
    expected = (NARROW.wave_number * APERTURE_MM * np.deg2rad(tilt_deg)) ** 2 / 2
    for depth in DEPTHS:
        measured = -np.log(sums.correlation(cells(renderer, depth - 6.5, depth + 6.5)))
        assert measured == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize("tau, tilt_deg", [(0.0, 0.3), (0.4, 0.0), (0.3, 0.2), (0.3, -0.25)])
def test_theory_is_the_overlap_of_the_two_way_profiles(tau, tilt_deg):
    """Eq. 4 against its integral, from the field of the aperture summed element by element."""
    k, theta = NARROW.wave_number, np.deg2rad(tilt_deg)
    z = np.arange(-9, 9, 0.02)
    y = np.linspace(-9, 9, 1201)
    for r in (20.0, 38.0, 56.0, 80.0):
        field = (np.exp(-((y / APERTURE_MM) ** 2) - 1j * k * y**2 / (2 * NARROW.focus_mm)
                        + 1j * k * (z[:, None] - y) ** 2 / (2 * r))).sum(1)
        h = np.conj(field**2)
        d = tau + theta * r
        there = np.interp(z - d, z, h.real) + 1j * np.interp(z - d, z, h.imag)
        overlap = np.abs(np.sum(h * np.conj(there) * np.exp(2j * k * theta * z))) ** 2
        rho = overlap / np.sum(np.abs(h) ** 2) ** 2
        assert beams.log_decorrelation(NARROW, r, d, theta) == pytest.approx(-np.log(rho), rel=0.02)


def test_a_tilt_is_not_a_shift_that_grows_with_depth(phantom, base_frames):
    """A near patch must decorrelate far more than its elevational shift alone would make it."""
    renderer, _ = phantom
    theta = np.deg2rad(0.45)
    motion = measure.about_face(SECTOR, np.array([0, 0, 0, theta, 0, 0]))
    near = cells(renderer, 8, 20)
    width_only = np.mean(2 * (theta * renderer.r_mm[near.any(1)] / beams.elevation_width(
        NARROW, renderer.r_mm[near.any(1)])) ** 2)
    assert -np.log(pairs(phantom, base_frames, motion).correlation(near)) > 10 * width_only


def test_yaw_is_an_elevational_shift_that_grows_with_x():
    wide = ultrasonix_4dc7(SCALE)
    beam = Beam(lens="gaussian")
    psi, x0 = np.deg2rad(1.5), 8.0
    motion = measure.about_face(wide, np.array([0, 0, -psi * x0, 0, -psi, 0]))
    bases = np.stack([se3.translation(np.array([0, 0, z])) for z in (0.0, 8, 16)])
    tissue = Phantom(np.array([[0.0, 0, -10], [150, 80, 26]]))
    shallow = dataclasses.replace(wide, depth_mm=(40.0, 70.0))
    poses = np.concatenate([bases, bases @ motion])
    renderer = Renderer(Medium.draw(tissue, 8, region_mm=visible(poses, shallow)), tissue, beam, shallow)
    sums = measure.PairSums()
    for T in bases:
        sums.add(renderer.baseband(T, None), renderer.baseband(T @ motion, None))
    x = shallow.cartesian(renderer.r_mm[:, None], renderer.u)[0] - shallow.apex_mm[0]
    centres = np.arange(-20, 37, 8.0)
    measured = np.array([-np.log(sums.correlation(np.abs(x - c) < 2)) for c in centres])
    # -ln rho = a (x - x0)^2
    root = np.polyfit(centres, measured, 2)
    assert -root[1] / (2 * root[0]) == pytest.approx(x0, abs=1.0)
    r = renderer.r_mm[:, None]
    expected = measure.expected_intensity_correlation(beam, shallow, r, renderer.u, motion)
    theory = np.array([-np.log(expected[np.abs(x - c) < 2].mean()) for c in centres])
    np.testing.assert_allclose(measured, theory, rtol=0.2, atol=0.02)


def test_hard_lens_narrows_to_the_same_width_at_its_focus():
    focus = np.array([NARROW.focus_mm])
    lens, _ = beams.lens_table(dataclasses.replace(NARROW, lens="hard"), SECTOR)
    profile, r0, dr, dz = lens.profile, lens.r0, lens.dr, lens.dz
    row = np.abs(profile[round((focus[0] - r0) / dr)])
    half = np.interp(0.5, (row / row[0])[:40][::-1], (np.arange(40) * dz)[::-1])
    assert half == pytest.approx(beams.elevation_width(NARROW, focus)[0] * np.sqrt(np.log(2) / 2), rel=0.02)


def test_another_lens_decorrelates_by_its_own_width():
    thin, thick = Beam(aperture_mm=14.0, n_lines=68, lens="gaussian"), NARROW
    tissue = Phantom(np.array([[50.0, 40, -6], [100, 75, 6]]))
    medium = Medium.draw(tissue, 4)
    step = se3.translation(np.array([0, 0, 0.4]))
    logs = []
    for beam in (thin, thick):
        renderer = Renderer(medium, tissue, beam, dataclasses.replace(SECTOR, depth_mm=(38.0, 62.0)))
        sums = measure.PairSums()
        sums.add(renderer.baseband(np.eye(4), None), renderer.baseband(step, None))
        logs.append(-np.log(sums.correlation(np.ones(sums.sums.shape[1:], bool))))
    ratio = (beams.elevation_waist(thick)[0] / beams.elevation_waist(thin)[0]) ** 2
    assert logs[0] / logs[1] == pytest.approx(ratio, rel=0.2)


def test_bone_casts_a_shadow_and_attenuation_beyond_tgc_darkens():
    class Bone(Phantom):
        def attenuation(self, p):
            bone = (p[:, 0] > 73) & (p[:, 1] > 40) & (p[:, 1] < 45)
            return np.where(bone, 20, self.attenuation_db_cm_mhz + 0.1).astype(np.float32)

    tissue = Bone(np.array([[40.0, 0, -8], [110, 108, 8]]))
    region = visible(np.eye(4)[None], SECTOR)
    medium = Medium.draw(tissue, 1, region_mm=region)
    field = render(medium, tissue, np.eye(4), NARROW, SECTOR, None)
    r, u = polar_axes(NARROW, SECTOR)
    db = 10 * np.log10(np.mean(np.abs(field[:, u < -0.02]) ** 2, 1))
    assert np.polyfit(r[50:-50], db[50:-50], 1)[0] == pytest.approx(-2 * 6 * 0.1 / 10, abs=0.03)   # dB/mm
    behind = (r > 45) & (r < 70)
    shadow = np.mean(np.abs(field[np.ix_(behind, u > 0.06)]) ** 2)
    assert shadow < 1e-6 * np.mean(np.abs(field[np.ix_(behind, u < -0.02)]) ** 2)


def test_noise_has_its_stated_level_and_grows_with_depth():
    beam = dataclasses.replace(NARROW, noise_db=-6.0)
    empty = Phantom(np.array([[0.0, 0, 0], [1, 1, 1]]))
    field = render(Medium.draw(empty, 0), empty, np.eye(4), beam, SECTOR, np.random.default_rng(0))
    r, _ = polar_axes(beam, SECTOR)
    power = 10 * np.log10(np.mean(np.abs(field) ** 2, 1))
    slope, last = np.polyfit(r[r > 60] - r[-1], power[r > 60], 1)
    assert last == pytest.approx(-6, abs=0.7)
    assert slope == pytest.approx(0.65, abs=0.1)   # dB/mm: TGC, and the beam that widens


def test_frames_depend_on_their_seeds_only(phantom):
    renderer, bases = phantom
    first = renderer(bases[2], (7, 2))
    renderer(bases[0], 1)
    np.testing.assert_array_equal(first, renderer(bases[2], (7, 2)))
    assert (first != renderer(bases[2], (7, 3))).any()


def test_a_pickled_renderer_makes_the_same_frame():
    tissue = Phantom(np.array([[65.0, 20, -5], [80, 30, 5]]))
    renderer = Renderer(Medium.draw(tissue, 0), tissue, NARROW, SECTOR)
    again = pickle.loads(pickle.dumps(renderer))
    np.testing.assert_array_equal(renderer(np.eye(4), 1), again(np.eye(4), 1))


def test_scatterers_of_a_place_do_not_depend_on_the_region_or_on_threads():
    tissue = Phantom(np.array([[60.0, 20, -8], [100, 40, 8]]))
    whole = Medium.draw(tissue, 5)
    assert Medium.draw(tissue, 5, threads=3).points.tobytes() == whole.points.tobytes()
    part = Medium.draw(tissue, 5, region_mm=lambda p: p[:, 0] < 70)
    rows = {p.tobytes() for p in whole.points}
    assert 0 < len(part.points) < len(whole.points)
    assert all(p.tobytes() in rows for p in part.points)
    assert len({p.tobytes() for p in Medium.draw(tissue, 6).points} & rows) < 10


def test_restricting_the_medium_to_what_is_seen_changes_no_frame():
    tissue = Phantom(np.array([[50.0, 0, -10], [100, 60, 10]]))
    geometry = dataclasses.replace(SECTOR, depth_mm=(0.0, 40.0))
    T = se3.exp(np.array([1.0, -0.5, 0.5, 0.03, 0.02, 0.04]))
    frames = [render(Medium.draw(tissue, 2, region_mm=region), tissue, T, NARROW, geometry, None)
              for region in (None, visible(T[None], geometry))]
    np.testing.assert_allclose(frames[0], frames[1], atol=1e-5)


def test_speckle_does_not_depend_on_the_density():
    tissue = Phantom(np.array([[55.0, 20, -6], [95, 60, 6]]))
    geometry = dataclasses.replace(SECTOR, depth_mm=(15.0, 45.0))
    powers = [np.mean(np.abs(render(Medium.draw(tissue, 2, density_per_mm3=d), tissue, np.eye(4), NARROW,
                                    geometry, None)) ** 2) for d in (25.0, 50.0)]
    assert powers[0] == pytest.approx(powers[1], rel=0.1)


def test_moving_the_tissue_equals_moving_the_probe(phantom):
    renderer, bases = phantom
    shift = np.array([0.4, -0.7, 0.6])
    moved = renderer.baseband(bases[2], None, warp=lambda p: p + shift)
    np.testing.assert_allclose(moved, renderer.baseband(se3.translation(-shift) @ bases[2], None), atol=0.02)


def test_compressed_tissue_is_where_the_warp_puts_it():
    medium, tissue, points, amplitude = few_scatterers(np.random.default_rng(9), SECTOR)

    def warp(p):
        p = np.array(p, float)
        p[:, 1] -= 1.5 * np.exp(-(p[:, 1] - 9) / 30) * np.exp(-((p[:, 0] - 73) / 40) ** 2)
        return p

    there = warp(points)

    class Moved(type(tissue)):
        def sheets(self, rng):
            return there.astype(np.float32), amplitude

    after = Moved(np.array([there.min(0), there.max(0)]), attenuation_db_cm_mhz=0.5)
    direct = render(Medium.draw(after, 0), after, np.eye(4), NARROW, SECTOR, None)
    warped = Renderer(medium, tissue, NARROW, SECTOR).baseband(np.eye(4), None, warp=warp)
    assert abs(np.vdot(direct, warped)) / np.linalg.norm(direct) / np.linalg.norm(warped) > 0.99


def test_lifted_lines_show_noise_only(phantom):
    renderer, bases = phantom
    contact = np.r_[np.zeros(40), np.ones(40)]
    field = np.abs(renderer.baseband(bases[1], None, contact=contact))
    assert field[:, :25].max() < 1e-3
    held = np.abs(renderer.baseband(bases[1], None))
    np.testing.assert_allclose(field[:, 45:], held[:, 45:], rtol=1e-4, atol=1e-4)


def test_gain_shifts_grey_levels_by_the_stated_map(phantom, base_frames):
    dark, bright = (to_bmode(base_frames[0], NARROW, SECTOR, gain_db=g).astype(int) for g in (0.0, 8.3))
    step = (bright - dark)[(dark > 20) & (bright < 250)]
    assert np.mean(np.abs(step - 25.5) <= 1) > 0.99
