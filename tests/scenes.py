"""Simulated speckle for tests: a small sector and a small linear field, quick to render, with known motion.

The thermal noise is low, so that what a test measures is the method and not the machine.
"""

import dataclasses
from functools import cache

import numpy as np

from speckle_rec import geometry as se3
from speckle_rec.pairs.correlation import Correlations, frame_pairs
from speckle_rec.probe.field import ProbeGeometry, cells
from speckle_rec.speckle.curves import Curves
from speckle_rec.speckle.strengths import CellStrengths
from speckle_rec.synth import beam as beams
from speckle_rec.synth.beam import Beam
from speckle_rec.synth.image import Renderer
from speckle_rec.synth.measure import about_face
from speckle_rec.synth.scatterers import Medium, Phantom, visible

SCALE = np.diag([0.23, 0.22, 1, 1])
SECTOR = ProbeGeometry("curvilinear", (260, 300), SCALE, (34.5, -37.0), 40.0, (0.0, 50.0),
                       (-np.deg2rad(20), np.deg2rad(20)))
LINEAR = ProbeGeometry("linear", (240, 280), SCALE, (32.2, 2.0), 0.0, (0.0, 50.0), (-30.0, 30.0))
SECTOR_BEAM = Beam(n_lines=150, noise_db=-20, focus_mm=35.0, aperture_mm=6.0, lens="gaussian")
# lines as fine as pixels: nothing but the pixel grid is seen
LINEAR_BEAM = Beam(n_lines=480, noise_db=-20, lens="gaussian")
DENSITY = 20.0


@cache
def phantom(kind: str = "sector", half_width_mm: float = 6.0) -> Renderer:
    """Renderer of uniform speckle within `half_width_mm` of the plane z = 0."""
    geometry, beam = (SECTOR, SECTOR_BEAM) if kind == "sector" else (LINEAR, LINEAR_BEAM)
    tissue = Phantom(np.array([[-10.0, -10, -60], [85, 75, 60]]))
    planes = se3.translation(np.array([[0, 0, z] for z in np.arange(-half_width_mm, half_width_mm + 0.1, 2.0)]))
    medium = Medium.draw(tissue, 3, DENSITY, visible(planes, geometry, beam, 2.0))
    return Renderer(medium, tissue, beam, geometry)


@cache
def _frame(kind: str, twist: tuple, seed: int):
    renderer = phantom(kind)
    return renderer(about_face(renderer.geometry, np.array(twist)), seed)


def frame(twist=(0.0,) * 6, seed: int = 0, kind: str = "sector"):
    """The frame of a probe moved by a twist (mm, rad) of the frame at the centre of its face."""
    return _frame(kind, tuple(float(v) for v in twist), seed)


def matched_curves() -> Curves:
    """Curves of what the simulator's sector really does: its lens, and the kernel of ideal speckle."""
    waist, focus = beams.elevation_waist(SECTOR_BEAM)
    return dataclasses.replace(Curves(), wavelength_mm=SECTOR_BEAM.wavelength_mm, waist_mm=waist, focus_mm=focus,
                               tail_b=1.0, tail_beta=1.0, slow_share=0.0, source="the simulator's lens")


def within(found, true, limits) -> None:
    """Assert that each component agrees within its own limit (units of the component)."""
    error = np.abs(np.asarray(found) - true)
    assert (error <= limits).all(), f"largest errors {error.reshape(-1, error.shape[-1]).max(0)}, allowed {limits}"


# -- scans without images: correlations drawn from the model

CELLS = cells(SECTOR, 6.0, 6.0)
LAGS = (1, 2, 3, 4, 6, 8, 12, 16)


@dataclasses.dataclass
class ModelScan:
    """Poses about the face and what a perfect engine would have measured on them."""

    T: np.ndarray
    planar_step: np.ndarray
    speckle: Correlations
    forms: np.ndarray
    strengths: CellStrengths
    curves: Curves


def model_scan(T, seed: int = 0, samples: float = 25.0, strength: float = 0.9, extra: float = 0.0,
               pairs=None) -> ModelScan:
    """Cell correlations of poses [N, 4, 4] about the face, drawn from METHOD.md (3.7) and (3.8).

    pairs : frames (i, j) instead of all at `LAGS`.
    """
    curves = matched_curves()
    forms = curves.forms(SECTOR, CELLS)
    n = len(T)
    i, j = frame_pairs(n, LAGS, np.zeros(n, bool)) if pairs is None else pairs
    xi = se3.log(se3.inverse(T[i]) @ T[j])[:, 2:5]
    f = strength * curves.kernel(np.square(np.einsum("pkc,mc->mpk", forms, xi)).sum(-1))
    sd = np.sqrt((1 - f**2) ** 2 / samples + extra**2)
    rho = f + sd * np.random.default_rng(seed).normal(size=f.shape)
    one = np.ones((1, len(CELLS)))
    strengths = CellStrengths(strength * one, 0 * one, np.zeros(n, np.int64), one)
    planar = se3.log(se3.steps(T))[:, [0, 1, 5]]
    return ModelScan(T, planar, Correlations(i, j, rho.astype(np.float32)), forms, strengths, curves)


def trajectory(shift_mm=0.0, tilt_rad=0.0, yaw_rad=0.0, roll_rad=0.0, x_mm=0.0) -> np.ndarray:
    """Poses [N, 4, 4] about the face of a contact point (z, x) and angles (turn, then fan, then rock)."""
    z, tilt, yaw, roll, x = (np.asarray(v, float) for v in
                             np.broadcast_arrays(shift_mm, tilt_rad, yaw_rad, roll_rad, x_mm))
    parts = []
    for axis, value in ((3, tilt), (4, yaw), (5, roll)):
        twist = np.zeros((len(z), 6))
        twist[:, axis] = value
        parts.append(se3.exp(twist))
    T = se3.translation(np.stack([x, 0 * x, z], -1)) @ parts[1] @ parts[0] @ parts[2]
    return se3.inverse(T[:1]) @ T
