"""Rendered speckle under hard and soft lenses against the integral over their apertures."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from speckle_rec import geometry as se3
from speckle_rec.errors import InputError
from speckle_rec.probe.field import ultrasonix_4dc7
from speckle_rec.synth import beam as beams
from speckle_rec.synth import measure
from speckle_rec.synth.beam import Beam
from speckle_rec.synth.image import Renderer
from speckle_rec.synth.scatterers import Medium, Phantom, visible

SCALE = np.diag([0.229389, 0.220980, 1, 1])
SECTOR = dataclasses.replace(ultrasonix_4dc7(SCALE), lateral=(-np.deg2rad(9), np.deg2rad(9)))
STEPS_MM = np.arange(6) * 8.0     # frames this far apart in elevation are independent
DEPTHS = (14, 27, 40, 53, 66, 79)
SHIFT_MM, TILT_DEG = 0.3, 0.35


def field_of(beam: Beam):
    """(renderer, base poses, their frames) of a pure-speckle phantom."""
    bases = np.stack([se3.translation(np.array([0, 0, z])) for z in STEPS_MM])
    tissue = Phantom(np.array([[40.0, 0, -9], [110, 108, 49]]))
    poses = (bases[:, None] @ np.stack([pose(s, t) for s in (-0.5, 0.5) for t in (-0.5, 0.5)])).reshape(-1, 4, 4)
    renderer = Renderer(Medium.draw(tissue, 3, 25.0, visible(poses, SECTOR, beam)), tissue, beam, SECTOR)
    return renderer, bases, [renderer.baseband(T, None) for T in bases]


def pose(shift_mm: float, tilt_deg: float):
    return measure.about_face(SECTOR, np.array([0, 0, shift_mm, np.deg2rad(tilt_deg), 0, 0]))


def decorrelation(speckle, depth: float, shift_mm: float, tilt_deg: float, sums) -> tuple[float, float]:
    """(-ln rho_I measured about a depth, the same of the integral)."""
    renderer, half = speckle[0], 6.5
    mask = (np.abs(renderer.r_mm - depth) <= half)[:, None] & np.ones(len(renderer.u), bool)
    theta = np.deg2rad(tilt_deg)
    theory = [beams.overlap(renderer.beam, r, shift_mm + theta * r, theta) for r in np.linspace(depth - half,
                                                                                                depth + half, 7)]
    return -np.log(sums.correlation(mask)), -np.log(np.mean(theory))


def pairs(speckle, shift_mm: float, tilt_deg: float) -> measure.PairSums:
    renderer, bases, frames = speckle
    sums = measure.PairSums()
    for T, frame in zip(bases, frames, strict=True):
        sums.add(frame, renderer.baseband(T @ pose(shift_mm, tilt_deg), None))
    return sums


@pytest.fixture(scope="module")
def hard():
    return field_of(Beam(n_lines=68))


@pytest.mark.parametrize("shift_mm, tilt_deg", [(SHIFT_MM, 0.0), (0.0, TILT_DEG), (0.15, -0.3)])
def test_a_hard_lens_decorrelates_as_its_integral_at_six_depths(hard, shift_mm, tilt_deg):
    sums = pairs(hard, shift_mm, tilt_deg)
    found = np.array([decorrelation(hard, depth, shift_mm, tilt_deg, sums) for depth in DEPTHS])
    np.testing.assert_allclose(found[:, 0], found[:, 1], rtol=0.1)


def test_a_soft_lens_with_another_one_for_reception_does_so_too():
    beam = Beam(n_lines=68, lens="soft", edge=0.5, receive_elevation_aperture_mm=8.0, receive_elevation_focus_mm=50.0)
    speckle = field_of(beam)
    for shift_mm, tilt_deg in ((0.45, 0.0), (0.0, 0.45)):
        sums = pairs(speckle, shift_mm, tilt_deg)
        for depth in (27, 66):
            measured, theory = decorrelation(speckle, depth, shift_mm, tilt_deg, sums)
            assert measured == pytest.approx(theory, rel=0.1)


def test_echoes_of_single_points_are_those_of_the_integral():
    """What is deposited at a range and elevation is the table of the lens with its wavefront."""
    beam = Beam(n_lines=68)
    z = np.array([0.0, 0.5, 1.1, 1.9, 2.6])
    for r in (15.0, 30.0, 60.0, 85.0):
        h = beams.two_way(beam, np.array([r]), z)[0]
        point = np.array([*SECTOR.cartesian(r, 0.0), 0.0])
        renderer = Renderer(*one_point(point), beam, SECTOR)
        seen = []
        for away in z:
            field = renderer.baseband(se3.translation(np.array([0, 0, -away])), None)
            at = np.argmin(np.abs(renderer.r_mm - r))
            seen.append(field[at - 6:at + 7, 32:36].sum())
        seen = np.array(seen) / seen[0]
        np.testing.assert_allclose(np.abs(seen - h / h[0]), 0, atol=0.06)


def one_point(point):
    class One(Phantom):
        def reflectivity(self, p):
            return np.zeros(len(p), np.float32)

        def sheets(self, rng):
            return point[None].astype(np.float32), np.ones(1, np.float32)

    tissue = One(np.array([point - 0.1, point + 0.1]))
    return Medium.draw(tissue, 0), tissue


def test_the_integral_of_a_wide_soft_edge_lies_between_hard_and_gaussian():
    """Published figures for 10 mm at 60: .35 mm of shift at 20 mm of depth."""
    hard, soft, gaussian = (float(beams.overlap(Beam(lens=lens), 20.0, 0.35, 0.0)) for lens in
                            ("hard", "soft", "gaussian"))
    assert (hard, soft, gaussian) == (pytest.approx(0.40, abs=0.01), pytest.approx(0.70, abs=0.01),
                                      pytest.approx(0.82, abs=0.01))


def test_the_integral_of_the_gaussian_lens_is_its_closed_form():
    beam = Beam(lens="gaussian", receive_elevation_aperture_mm=7.0, receive_elevation_focus_mm=45.0)
    for r in (15.0, 50.0, 85.0):
        found = beams.overlap(beam, r, 0.3 + 0.004 * r, 0.004)
        assert found == pytest.approx(np.exp(-beams.log_decorrelation(beam, r, 0.3 + 0.004 * r, 0.004)), abs=1e-3)


REFERENCE = json.loads((Path(__file__).parent / "lens_reference.json").read_text())


@pytest.mark.parametrize("row", REFERENCE["rows"], ids=lambda row: f"{row['lens']}-{row['depth_mm']:.0f}")
def test_any_lens_is_that_of_another_package(row):
    """rho_I of shifts and tilts from the field that esdiva computes of the lens (`benchmarks/lens_reference.py`)."""
    shift, tilt = np.array(REFERENCE["shift_mm_tilt_deg"]).T * [[1], [np.pi / 180]]
    beam, depth = Beam(**{"lens": "hard", **row["lens"]}), row["depth_mm"]
    found = beams.overlap(beam, depth, shift + tilt * depth, tilt)
    np.testing.assert_allclose(found, row["rho"], atol=0.025)


@pytest.mark.parametrize("wrong", [{"lens": "round"}, {"edge": 0.0, "lens": "soft"}, {"aperture_mm": -1.0},
                                   {"focus_mm": float("nan")}, {"receive_elevation_focus_mm": 0.0}])
def test_a_lens_that_cannot_be_is_refused(wrong):
    with pytest.raises(InputError, match="expected"):
        Beam(**wrong)
