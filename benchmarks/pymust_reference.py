"""The same small volumes through `pymust` (extra `[bench]`) and through the simulator.

Scatterers at three depths are moved past the array in elevation, or tilted about its face, and the complex
correlation with the frame at rest is compared. The reference is `pymust.simus3`: a matrix of small elements
whose row delays are the lens, so that elevational distances are exact. `pymust.simus` (a multi-Gaussian lens)
is run too; it adds the wavefront's phase in elevation to a path that already holds it, see docs/SIMULATOR.md.

    python benchmarks/pymust_reference.py -o results/pymust.npz
"""

import argparse
import dataclasses
import logging

import numpy as np

from speckle_rec import geometry as se3
from speckle_rec.probe.field import ProbeGeometry
from speckle_rec.synth.beam import GAUSSIAN_APERTURE, Beam
from speckle_rec.synth.image import Renderer, polar_axes
from speckle_rec.synth.scatterers import Medium, Phantom

DEPTHS_MM = (25.0, 45.0, 70.0)
SHIFTS_MM = (0.15, 0.35, 0.6, 1.0)
TILTS_DEG = (0.15, 0.35, 0.6, 1.0)
COLUMNS, PITCH_MM = 14, 0.6
ROWS = 16
HALF_BOX_MM = np.array([5.0, 3.5, 6.5])   # lateral, axial, elevation
HALF_AXIAL_MM = 2.5                       # of what is compared
LINES_MM = np.linspace(-2, 2, 21)
DENSITY_PER_MM3 = 8.0                     # 9 or more in a cell of this wide beam
SCALE = np.diag([0.229389, 0.220980, 1, 1])
FACE = ProbeGeometry("linear", (480, 640), SCALE, (0.0, 0.0), 0.0, (0.0, 90.0), (-2.0, 2.0))
BEAM = Beam(receive_aperture_mm=5.0, transmit_focus_mm=1e4, transmit_f_number=100.0,
            n_lines=len(LINES_MM))


def motions():
    """Poses [1 + shifts + tilts, 4, 4] of the image: at rest, shifted, tilted about the face."""
    twists = np.zeros((1 + len(SHIFTS_MM) + len(TILTS_DEG), 6))
    twists[1:1 + len(SHIFTS_MM), 2] = SHIFTS_MM
    twists[1 + len(SHIFTS_MM):, 3] = np.deg2rad(TILTS_DEG)
    return se3.exp(twists)


def box(depth_mm: float, seed: int):
    """Scatterers [M, 3] (x, y depth, z elevation, mm) about a depth."""
    rng = np.random.default_rng(seed)
    n = int(DENSITY_PER_MM3 * np.prod(2 * HALF_BOX_MM))
    return rng.uniform(-1, 1, (n, 3)) * HALF_BOX_MM + [0, depth_mm, 0]


def moved(points, T_rest_image):
    """`points` as the moved image sees them."""
    T = se3.inverse(T_rest_image)
    return points @ T[:3, :3].T + T[:3, 3]


def beamform(spectrum, frequency_hz, delays_s, x_elements_mm, r_mm, transmit_s):
    """Delay and sum of RF spectra [F, E] (phase exp(+i w t)) on lines x depths: complex [R, L].

    The receive apodisation follows the line: the Gaussian that the simulator's lateral beam stands for.
    """
    width = GAUSSIAN_APERTURE * BEAM.receive_aperture_mm
    apodisation = np.exp(-(((LINES_MM[:, None] - x_elements_mm) / width) ** 2))
    out = np.zeros((len(r_mm), len(LINES_MM)), complex)
    c = BEAM.speed_m_s * 1e3
    for i, r in enumerate(r_mm):
        receive = np.hypot(LINES_MM[:, None] - x_elements_mm, r) / c + delays_s
        phase = np.exp(-2j * np.pi * frequency_hz[:, None, None] * (receive + r / c + transmit_s))
        out[i] = np.einsum("fe,fle,le->l", spectrum, phase, apodisation)
    return out


def _spectra(run, param, points, delays_s):
    from pymust import utils

    options = utils.Options()
    options.dBThresh = -40
    options.ElementSplitting = np.array([1, 1]) if run.__name__ == "simus3" else 1
    far = np.hypot(points[:, 1].max(), 10) * 1e-3
    # the volume is short: sample the spectrum for a period of 18 mm of range, not of twice the depth
    options.FrequencyStep = BEAM.speed_m_s / (2 * 18e-3) * 4 * far / BEAM.speed_m_s
    x, y, z = (points[None, :, i] * 1e-3 for i in (0, 2, 1))
    spectrum = np.asarray(run(x, y, z, np.ones_like(x), delays_s[None], param, options)[1])
    frequency = np.linspace(0, 2 * param.fc, len(spectrum))
    used = np.abs(spectrum).max(1) > 0
    return spectrum[used], frequency[used]


def _param():
    from pymust import utils

    param = utils.Param()
    param.fc, param.bandwidth, param.c = BEAM.frequency_hz, 60, BEAM.speed_m_s
    return param


def power_spectrum():
    """Wave numbers (rad/mm) and power of pymust's two-way pulse."""
    param = _param()
    omega = 2 * np.pi * np.linspace(0.5, 1.5, 41) * param.fc
    pulse = param.getPulseSpectrumFunction()(omega) * param.getProbeFunction()(omega) ** 2
    return omega / (BEAM.speed_m_s * 1e3), np.abs(pulse) ** 2


def matrix_array(points, r_mm):
    """Complex lines [R, L] of `pymust.simus3` with a lens made of row delays."""
    from pymust import simus3

    x = (np.arange(COLUMNS) - (COLUMNS - 1) / 2) * PITCH_MM
    z = ((np.arange(ROWS) + 0.5) / ROWS - 0.5) * BEAM.aperture_mm
    xe, ze = (a.ravel() for a in np.meshgrid(x, z))
    lens = -(np.hypot(ze, BEAM.focus_mm) - BEAM.focus_mm) / BEAM.speed_m_s * 1e-3
    param = _param()
    param.elements = np.stack([xe, ze]) * 1e-3
    param.width, param.height = PITCH_MM * 1e-3, BEAM.aperture_mm / ROWS * 1e-3
    offset = -lens.min()
    spectrum, frequency = _spectra(simus3, param, points, lens + offset)
    # receive through the same lens, then one signal a column
    spectrum = spectrum * np.exp(2j * np.pi * frequency[:, None] * lens)
    spectrum = spectrum.reshape(len(frequency), ROWS, COLUMNS).sum(1)
    return beamform(spectrum, frequency, 0.0, x, r_mm, offset)


def multi_gaussian(points, r_mm):
    """Complex lines [R, L] of `pymust.simus`."""
    from pymust import simus

    param = _param()
    param.Nelements, param.pitch, param.kerf = COLUMNS, PITCH_MM * 1e-3, 1e-6
    param.height, param.focus, param.radius = BEAM.aperture_mm * 1e-3, BEAM.focus_mm * 1e-3, np.inf
    x = (np.arange(COLUMNS) - (COLUMNS - 1) / 2) * PITCH_MM
    spectrum, frequency = _spectra(simus, param, points, np.zeros(COLUMNS))
    return beamform(spectrum, frequency, 0.0, x, r_mm, 0.0)


def field_of_view(depth_mm: float):
    """The geometry about a depth, and the ranges r [R] of its baseband that are compared."""
    geometry = dataclasses.replace(FACE, depth_mm=(depth_mm - 6, depth_mm + 6))
    r = polar_axes(BEAM, geometry)[0]
    return geometry, r[np.abs(r - depth_mm) < HALF_AXIAL_MM]


def ours(points, depth_mm: float, T_rest_image, lens: str):
    """Complex lines [R, L] of the simulator; the points are bits of a sheet."""
    class Points(Phantom):
        def reflectivity(self, p):
            return np.zeros(len(p), np.float32)

        def sheets(self, rng):
            return points.astype(np.float32), np.ones(len(points), np.float32)

    tissue = Points(np.array([points.min(0), points.min(0) + 0.1]))
    geometry, r = field_of_view(depth_mm)
    renderer = Renderer(Medium.draw(tissue, 0), tissue, dataclasses.replace(BEAM, lens=lens), geometry)
    field = renderer.baseband(T_rest_image, None)
    return field[np.isin(renderer.r_mm, r)]


def coherence(sums):
    """|rho|^2 [..., motion] from sums over samples of (a b*, |a|^2, |b|^2)."""
    return np.abs(sums[..., 0]) ** 2 / (sums[..., 1].real * sums[..., 2].real)


ENGINES = ("simus3", "simus", "hard", "gaussian")


def volume(depth: float, seed: int):
    """Sums [engine, motion, 3] over one volume, and how alike our envelope at rest is to that of simus3."""
    r = field_of_view(depth)[1]
    points = box(depth, seed)
    lines = {"simus3": [matrix_array(moved(points, T), r) for T in motions()],
             "simus": [multi_gaussian(moved(points, T), r) for T in motions()]}
    lines |= {lens: [ours(points, depth, T, lens) for T in motions()] for lens in ("hard", "gaussian")}
    sums = np.array([[[np.sum(a * np.conj(frames[0])), np.sum(np.abs(a) ** 2), np.sum(np.abs(frames[0]) ** 2)]
                      for a in frames] for frames in (lines[name] for name in ENGINES)])
    same = np.corrcoef(np.abs(lines["simus3"][0]).ravel(), np.abs(lines["hard"][0]).ravel())[0, 1]
    return sums, same


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--out", default="results/pymust.npz")
    parser.add_argument("-n", "--realisations", type=int, default=6)
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)   # pymust warns of every coarse frequency step
    total, same = 0.0, []
    for seed in range(arguments.realisations):
        sums, alike = zip(*(volume(depth, 100 * d + seed) for d, depth in enumerate(DEPTHS_MM)), strict=True)
        total = total + np.stack(sums, 1)
        same.append(alike)
        rho = dict(zip(ENGINES, coherence(total), strict=True))   # [depth, motion]
        np.savez(arguments.out, same_volume=np.transpose(same), **rho)
        print(f"{seed + 1} of {arguments.realisations} volumes a depth", flush=True)


if __name__ == "__main__":
    main()
