"""What the simulator's physics must show: speckle statistics, decorrelation against theory, rate and memory.

    python benchmarks/simulator.py -o docs/figures [--pymust results/pymust.npz] [--only tilt]
"""

import argparse
import dataclasses
import multiprocessing
import resource
import time
from pathlib import Path

import matplotlib
import numpy as np
import pymust_reference as reference

from speckle_rec import geometry as se3
from speckle_rec.probe.field import ultrasonix_4dc7
from speckle_rec.synth import beam as beams
from speckle_rec.synth import measure
from speckle_rec.synth.beam import Beam
from speckle_rec.synth.image import Renderer
from speckle_rec.synth.scatterers import STANDARD_DENSITY, Medium, Phantom, visible

matplotlib.use("Agg")
import matplotlib.pyplot as plt

SCALE = np.diag([0.229389, 0.220980, 1, 1])
PROBE = ultrasonix_4dc7(SCALE)
SECTOR = dataclasses.replace(PROBE, lateral=(-np.deg2rad(9), np.deg2rad(9)))
NARROW = Beam(n_lines=68, lens="gaussian")     # whose theory is in closed form
DEPTHS = (12, 26, 40, 54, 68, 82)
BOX = np.array([[40.0, 0, -12], [110, 108, 12]])


class Pairs:
    """Pairs of frames under a narrow sector, pooled over independent phantoms."""

    def __init__(self, beam: Beam, phantoms: int):
        tissue = Phantom(BOX)
        self.beam = beam
        self.renderers = [Renderer(Medium.draw(tissue, seed), tissue, beam, SECTOR)
                          for seed in range(phantoms)]
        self.rest = [renderer.baseband(np.eye(4), None) for renderer in self.renderers]
        self.r, self.u = self.renderers[0].r_mm[:, None], self.renderers[0].u

    def moved(self, motion) -> measure.PairSums:
        sums = measure.PairSums()
        for renderer, frame in zip(self.renderers, self.rest, strict=True):
            sums.add(frame, renderer.baseband(motion, None))
        return sums

    def band(self, depth, half=7.0):
        return (np.abs(self.r - depth) <= half) & (np.abs(self.u) < np.inf)


def statistics(pairs: Pairs, out: Path):
    """Envelope SNR, unit power, and scatterers a resolution cell."""
    envelope = np.abs(np.stack(pairs.rest))
    print(f"Envelope SNR, whole field: {measure.snr(envelope):.3f} (Rayleigh 1.913)\n")
    print("| depth mm | SNR | rms | scatterers a cell |\n|---|---|---|---|")
    for depth in DEPTHS:
        band = envelope[:, np.abs(pairs.r[:, 0] - depth) <= 7]
        s = beams.elevation_width(pairs.beam, depth) / 2
        lateral = 1 / np.sqrt(2 * beams.lateral_exponent(pairs.beam, SECTOR, depth).real)
        # (int |h|^2)^2 / int |h|^4 of three Gaussians
        cell = (2 * np.pi) ** 1.5 * s * lateral * pairs.beam.pulse_sd_mm
        print(f"| {depth} | {measure.snr(band):.3f} | {np.sqrt((band**2).mean()):.3f} | "
              f"{cell * STANDARD_DENSITY:.1f} |")
    frame = pairs.renderers[0](np.eye(4), 0)
    inside = SECTOR.mask()
    inside[330:] = False
    print(f"\nFrame decompressed by exp(g / {pairs.beam.grey_per_neper:.2f}), above the noise: SNR "
          f"{measure.snr(np.exp(frame[inside] / pairs.beam.grey_per_neper)):.3f}")


def shift(pairs: Pairs, out: Path):
    """rho_I against elevational shift near the focus, and the amplitude and log correlation from it."""
    w0, depth = beams.elevation_waist(pairs.beam)
    tau = np.array([0.1, 0.2, 0.3, 0.45, 0.6, 0.8, 1.0, 1.25])
    band = pairs.band(depth, 12)
    rows = []
    for t in tau:
        moved = [r.baseband(se3.translation([0, 0, t]), None) for r in pairs.renderers]
        a, b = (np.abs(np.stack(f))[:, band] for f in (pairs.rest, moved))
        rows.append([np.corrcoef(f(a).ravel(), f(b).ravel())[0, 1] for f in (np.square, np.abs, np.log)])
    rho = np.array(rows)
    theory = np.exp(-(tau**2) / (2 * (w0 / 2) ** 2))
    print(f"waist w0 {w0:.3f} mm at {depth:.1f} mm; s {w0 / 2:.3f} mm\n")
    print("| tau mm | rho_I | exp(-tau^2/2s^2) | rho_A | from rho_I | rho_log | (6/pi^2) Li2(rho_I) |")
    print("|---" * 7 + "|")
    for t, (i, a, g), e in zip(tau, rho, theory, strict=True):
        print(f"| {t:.2f} | {i:.3f} | {e:.3f} | {a:.3f} | {measure.amplitude_correlation(i):.3f} | {g:.3f} | "
              f"{measure.log_correlation(i):.3f} |")
    fine = np.linspace(0, 1.3, 200)
    curve = np.exp(-(fine**2) / (2 * (w0 / 2) ** 2))
    figure, axis = plt.subplots(figsize=(6, 4))
    for k, (name, f) in enumerate([("intensity", lambda x: x), ("amplitude", measure.amplitude_correlation),
                                   ("log", measure.log_correlation)]):
        axis.plot(fine, f(curve), f"C{k}-", label=f"{name}, theory")
        axis.plot(tau, rho[:, k], f"C{k}o")
    axis.set(xlabel="elevational shift, mm", ylabel="correlation", title="Near the focus (points: rendered)")
    axis.legend()
    save(figure, out / "shift.png")


def tilt(pairs: Pairs, out: Path):
    """-ln rho_I of a pure tilt about the face at six depths."""
    figure, axis = plt.subplots(figsize=(6, 4))
    print("| tilt deg | " + " | ".join(f"{d} mm" for d in DEPTHS) + " |\n" + "|---" * 7 + "|")
    for k, degrees in enumerate((0.2, 0.4, 0.6, 0.8)):
        motion = measure.about_face(SECTOR, np.array([0, 0, 0, np.deg2rad(degrees), 0, 0]))
        sums = pairs.moved(motion)
        expected = measure.expected_intensity_correlation(pairs.beam, SECTOR, pairs.r, pairs.u, motion)
        measured = np.array([-np.log(sums.correlation(pairs.band(d))) for d in DEPTHS])
        theory = np.array([-np.log(expected[pairs.band(d)].mean()) for d in DEPTHS])
        print(f"| {degrees} | " + " | ".join(f"{m:.3f} / {t:.3f} ({100 * (m / t - 1):+.0f}%)"
                                             for m, t in zip(measured, theory, strict=True)) + " |")
        axis.plot(DEPTHS, theory, f"C{k}-", label=f"{degrees} deg, eq. 4")
        axis.plot(DEPTHS, measured, f"C{k}o")
        width = 2 * (np.deg2rad(degrees) * np.array(DEPTHS) / beams.elevation_width(pairs.beam, DEPTHS)) ** 2
        axis.plot(DEPTHS, width, f"C{k}:", label="without wavefront curvature" if k == 3 else None)
    axis.set(xlabel="depth, mm", ylabel="-ln rho_I", title="Pure tilt about the face (points: rendered)")
    axis.legend()
    save(figure, out / "tilt.png")


def yaw(out: Path, phantoms: int):
    """-ln rho_I across x for a yaw and an elevational shift."""
    geometry = dataclasses.replace(PROBE, depth_mm=(40.0, 70.0))
    psi = np.deg2rad(1.5)
    tissue = Phantom(np.array([[0.0, 0, -9], [150, 80, 9]]))
    renderers = [Renderer(Medium.draw(tissue, s), tissue, Beam(lens="gaussian"), geometry) for s in range(phantoms)]
    r, u = renderers[0].r_mm[:, None], renderers[0].u
    x = geometry.cartesian(r, u)[0] - geometry.apex_mm[0]
    centres = np.arange(-28, 29, 4.0)
    figure, axis = plt.subplots(figsize=(6, 4))
    for k, x0 in enumerate((0.0, 10.0)):
        motion = measure.about_face(PROBE, np.array([0, 0, -psi * x0, 0, -psi, 0]))
        sums = measure.PairSums()
        for renderer in renderers:
            sums.add(renderer.baseband(np.eye(4), None), renderer.baseband(motion, None))
        expected = measure.expected_intensity_correlation(Beam(lens="gaussian"), geometry, r, u, motion)
        measured = np.array([-np.log(sums.correlation(np.abs(x - c) < 2)) for c in centres])
        theory = np.array([-np.log(expected[np.abs(x - c) < 2].mean()) for c in centres])
        near = theory < 1.5
        w0 = beams.elevation_waist(Beam())[0]
        for name, values in (("rendered", measured), ("eq. 4", theory)):
            a, b, _ = np.polyfit(centres[near], values[near], 2)
            print(f"yaw {np.rad2deg(psi):.1f} deg about x0 = {x0:.0f} mm, {name}: minimum at "
                  f"{-b / 2 / a:.2f} mm, psi from the parabola {np.rad2deg(np.sqrt(a / 2) * w0):.2f} deg")
        axis.plot(centres, theory, f"C{k}-", label=f"x0 = {x0:.0f} mm, eq. 4")
        axis.plot(centres, measured, f"C{k}o")
    axis.set(xlabel="x, mm", ylabel="-ln rho_I", ylim=(0, 4), title="Yaw of 1.5 deg (points: rendered)")
    axis.legend()
    save(figure, out / "yaw.png")


ELEVATION_MM = np.arange(-9, 9.005, 0.02)


def rows_field(r: float, k: float, rows: int):
    """One-way elevational field of a uniform lens of flat rows (eq. 6 with the directivity of a row)."""
    size = reference.BEAM.aperture_mm / rows
    y = (np.arange(rows) + 0.5) * size - reference.BEAM.aperture_mm / 2
    distance = np.hypot(r, ELEVATION_MM[:, None] - y)
    directivity = np.sinc(k * size / 2 * (ELEVATION_MM[:, None] - y) / distance / np.pi)
    focus = reference.BEAM.focus_mm
    return (directivity * np.exp(1j * k * (distance - r - np.hypot(y, focus) + focus))).mean(1)


def overlap(kind: str, r: float, offset, turn):
    """|rho|^2 of motions from the overlap integral of the two-way profile (eq. 4 in general).

    `kind`: "gaussian" and "hard" are narrow-band; "matrix" is what pymust.simus3 is given: flat rows, and
    the power spectrum of its pulse.
    """
    k0, z = reference.BEAM.wave_number, ELEVATION_MM
    if kind == "gaussian":
        w, curvature = beams.elevation_width(reference.BEAM, r), beams.elevation_curvature(reference.BEAM, r)
        terms = [(k0, 1.0, np.exp(-2 * (z / w) ** 2 - 1j * k0 * z**2 * curvature))]
    elif kind == "hard":
        terms = [(k0, 1.0, np.conj(rows_field(r, k0, 200) ** 2))]
    else:
        terms = [(k, weight, np.conj(rows_field(r, k, reference.ROWS) ** 2))
                 for k, weight in zip(*reference.power_spectrum(), strict=True)]
    energy = sum(weight * np.sum(np.abs(h) ** 2) for _, weight, h in terms)
    out = []
    for d, t in np.broadcast(offset, turn):
        total = 0j
        for k, weight, h in terms:
            other = np.interp(z - d, z, h.real) + 1j * np.interp(z - d, z, h.imag)
            total += weight * np.sum(h * np.conj(other) * np.exp(2j * k * t * z))
        out.append(abs(total / energy) ** 2)
    return np.array(out)


def pymust(path: Path, out: Path):
    """Correlation against shift and tilt at three depths beside pymust."""
    data = np.load(path)
    n = len(reference.SHIFTS_MM)
    figure, axes = plt.subplots(2, 3, figsize=(13, 7), sharey=True)
    styles = {"simus3": ("ks", "pymust simus3"), "hard": ("C0o", "ours, uniform lens"),
              "gaussian": ("C1^", "ours, Gaussian lens"), "simus": ("C7x", "pymust simus")}
    for d, depth in enumerate(reference.DEPTHS_MM):
        for row, (values, first, label) in enumerate([
                (reference.SHIFTS_MM, 1, "elevational shift, mm"),
                (reference.TILTS_DEG, 1 + n, "tilt about the face, deg")]):
            axis = axes[row, d]
            for name, (style, text) in styles.items():
                axis.plot(values, data[name][d, first:first + n], style, label=text)
            fine = np.linspace(0, 1.05, 30)
            for lens, line in (("hard", "C0-"), ("gaussian", "C1-"), ("matrix", "k:")):
                moved = (fine, np.zeros(30)) if row == 0 else (np.deg2rad(fine) * depth, np.deg2rad(fine))
                axis.plot(fine, overlap(lens, depth, *moved), line, lw=1,
                          label="flat rows, wide band: integral" if lens == "matrix" else None)
            axis.set(xlabel=label, title=f"depth {depth:.0f} mm", ylim=(0, 1.02))
            print(f"\n{label}, depth {depth:.0f} mm: |rho|^2 at " + ", ".join(map(str, values)))
            for name in styles:
                print(f"  {name:9s}" + " ".join(f"{v:.3f}" for v in data[name][d, first:first + n]))
            at = np.array(values)
            moved = (at, 0 * at) if row == 0 else (np.deg2rad(at) * depth, np.deg2rad(at))
            print("  integral, flat rows, wide band  " + " ".join(f"{v:.3f}" for v in overlap(
                "matrix", depth, *moved)))
    print("\nenvelopes of the same volume at rest, simus3 against ours (uniform), by depth: ",
          np.round(data["same_volume"].mean(1), 2))
    axes[0, 0].set_ylabel("|rho|^2")
    axes[1, 0].set_ylabel("|rho|^2")
    axes[1, 2].legend(loc="upper right", fontsize="small")
    save(figure, out / "pymust.png")


_renderer = None   # inherited by the workers of `rate`


def _frames(poses):
    for n, T in enumerate(poses):
        _renderer(T, n)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def rotation(n: int):
    """Poses of a fan of +-22 deg, a yaw of 90 deg, and a second fan about one point of the face."""
    third = n // 3
    fan = np.deg2rad(22) * np.sin(np.linspace(0, 2 * np.pi, third))
    turn = np.linspace(0, np.pi / 2, n - 2 * third)
    pose = [measure.about_face(PROBE, np.array([0, 0, 0, f, 0, 0])) for f in fan]
    pose += [measure.about_face(PROBE, np.array([0, 0, 0, 0, t, 0])) for t in turn]
    last = measure.about_face(PROBE, np.array([0, 0, 0, 0, np.pi / 2, 0]))
    pose += [last @ measure.about_face(PROBE, np.array([0, 0, 0, f, 0, 0])) for f in fan]
    return np.stack(pose)


def rate(jobs: int, frames: int):
    """Frames a second and memory for a rotation scan in a full phantom."""
    global _renderer
    poses = rotation(1500)
    tissue = Phantom(np.array([[-30.0, 0, -100], [180, 110, 100]]))
    start = time.perf_counter()
    medium = Medium.draw(tissue, 0, region_mm=visible(poses[::3], PROBE, margin_mm=2.0))
    drawn = time.perf_counter() - start
    _renderer = Renderer(medium, tissue, Beam(), PROBE)
    chosen = poses[np.linspace(0, len(poses) - 1, frames).astype(int)]
    _frames(chosen[:1])
    start, cpu = time.perf_counter(), time.process_time()
    _frames(chosen[::2])
    single = len(chosen[::2]) / (time.perf_counter() - start)
    cpu = (time.process_time() - cpu) / len(chosen[::2])
    start = time.perf_counter()
    with multiprocessing.get_context("fork").Pool(jobs) as pool:
        peak = pool.map(_frames, np.array_split(chosen, jobs), chunksize=1)
    both = frames / (time.perf_counter() - start)
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    size = sum(getattr(medium, f.name).nbytes for f in dataclasses.fields(medium))
    print(f"{len(medium.points) / 1e6:.1f} million scatterers ({size / 2**30:.2f} GiB) drawn in "
          f"{drawn:.1f} s;"
          f" {single:.1f} frames/s in one process ({1e3 * cpu:.0f} ms of processor a frame), "
          f"{both:.1f} frames/s in {jobs}; "
          f"peak resident {own / 2**20:.2f} GiB (workers {max(peak) / 2**20:.2f} GiB each, mostly shared)")


def save(figure, path: Path):
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)
    print(f"\n![{path.stem}]({path})\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--out", type=Path, default=Path("docs/figures"))
    parser.add_argument("--pymust", type=Path, help="the file that pymust_reference.py wrote")
    parser.add_argument("--only", choices=["statistics", "shift", "tilt", "yaw", "pymust", "rate"])
    parser.add_argument("-n", "--phantoms", type=int, default=12)
    parser.add_argument("-j", "--jobs", type=int, default=2)
    parser.add_argument("--frames", type=int, default=80)
    arguments = parser.parse_args()

    def wanted(name):
        if arguments.only in (None, name):
            print(f"\n## {name}\n")
            return True
        return False

    pairs = None
    if arguments.only in (None, "statistics", "shift", "tilt"):
        pairs = Pairs(NARROW, arguments.phantoms)
    for name, check in (("statistics", statistics), ("shift", shift), ("tilt", tilt)):
        if wanted(name):
            check(pairs, arguments.out)
    del pairs
    if wanted("yaw"):
        yaw(arguments.out, max(arguments.phantoms // 2, 1))
    if arguments.pymust and wanted("pymust"):
        pymust(arguments.pymust, arguments.out)
    if wanted("rate"):
        rate(arguments.jobs, arguments.frames)


if __name__ == "__main__":
    main()
