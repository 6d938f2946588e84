"""The simulator's hard and soft lenses beside another package's field: `esdiva` (extra `[bench]`).

One element, narrow along the array and as high as the lens, is cut into flat patches with the lens's delays; its
one-way field in elevation at the centre frequency is `compute_h_sir_spectrum` (spatial impulse response: Tupholme,
Mathematika 1969; Stepanishen, JASA 1971). Squared, and for transmission and reception apart multiplied, it is the
two-way profile whose overlap with itself, shifted and turned, is rho_I. `speckle_rec.synth.beam.overlap` has the same
from its own integral.

    python benchmarks/lens_reference.py                     # prints both, and the largest difference
    python benchmarks/lens_reference.py -o tests/lens_reference.json      # what the tests compare with
"""

import argparse
import json
from pathlib import Path

import numpy as np
from esdiva.hsir import compute_h_sir_spectrum

from speckle_rec.synth import beam as beams
from speckle_rec.synth.beam import Beam

DEPTHS_MM = (12.0, 26.0, 40.0, 54.0, 68.0, 82.0)
MOTIONS = ((0.2, 0.0), (0.4, 0.0), (0.8, 0.0), (0.0, 0.2), (0.0, 0.4), (0.0, 0.8), (0.3, 0.3))   # shift mm, tilt deg
LENSES = {"hard 10 mm at 60, 6 MHz": {},
          "hard 14 mm at 50, 4 MHz": {"aperture_mm": 14.0, "focus_mm": 50.0, "frequency_hz": 4e6},
          "hard 7 mm at 45, 7 MHz": {"aperture_mm": 7.0, "focus_mm": 45.0, "frequency_hz": 7e6},
          "soft (.5) 10 mm at 60, 6 MHz": {"lens": "soft"},
          "hard 12 mm at 70, receive 8 mm at 50, 5 MHz": {
              "aperture_mm": 12.0, "focus_mm": 70.0, "receive_elevation_aperture_mm": 8.0,
              "receive_elevation_focus_mm": 50.0, "frequency_hz": 5e6}}
PATCHES_A_WAVELENGTH = 4
ELEMENT_MM = 0.05           # along the array: a line, as in the plane of elevation
Z_MM = np.arange(-15.0, 15.01, 0.02)


def one_way(beam: Beam, aperture_mm: float, focus_mm: float, depth_mm: float) -> np.ndarray:
    """Complex one-way field [Z] in elevation, by esdiva."""
    n = int(np.ceil(aperture_mm / beam.wavelength_mm * PATCHES_A_WAVELENGTH))
    y = ((np.arange(n) + 0.5) / n - 0.5) * aperture_mm
    weight = beams.apodisation(beam, 2 * y / aperture_mm)
    delay_s = -(np.hypot(y, focus_mm) - focus_mm) / (beam.speed_m_s * 1e3)          # the edge fires first
    centres = np.column_stack([np.zeros(n), y, np.zeros(n)]) * 1e-3
    points = np.column_stack([np.zeros_like(Z_MM), Z_MM, np.full_like(Z_MM, depth_mm)]) * 1e-3
    size = np.full(n, aperture_mm / n * 1e-3)
    return compute_h_sir_spectrum(points, centres, np.full(n, ELEMENT_MM * 1e-3), size, weight, delay_s,
                                  1 / beam.speed_m_s, depth_mm * 1e-3 / beam.speed_m_s,
                                  np.array([2 * np.pi * beam.frequency_hz]))[:, 0].astype(complex)


def correlations(beam: Beam, depth_mm: float) -> list[float]:
    """rho_I of the `MOTIONS` (about the face) at a depth from esdiva's field."""
    transmit, receive = (one_way(beam, *way, depth_mm) for way in beam.elevation)
    h = transmit * receive
    out = []
    for shift, tilt_deg in MOTIONS:
        tilt = np.deg2rad(tilt_deg)
        moved = np.interp(Z_MM - shift - tilt * depth_mm, Z_MM, h.real) + 1j * np.interp(
            Z_MM - shift - tilt * depth_mm, Z_MM, h.imag)
        out.append(float(np.abs(np.sum(h * np.conj(moved) * np.exp(2j * beam.wave_number * tilt * Z_MM))) ** 2
                         / np.sum(np.abs(h) ** 2) ** 2))
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--out", type=Path)
    out = parser.parse_args().out
    shift, tilt = (np.array(v) for v in zip(*MOTIONS, strict=True))
    tilt = np.deg2rad(tilt)
    table = []
    for name, fields in LENSES.items():
        beam = Beam(**{"lens": "hard", **fields})
        worst = 0.0
        for depth in DEPTHS_MM:
            theirs = np.array(correlations(beam, depth))
            ours = beams.overlap(beam, depth, shift + tilt * depth, tilt)
            worst = max(worst, float(np.abs(ours - theirs).max()))
            both = "  ".join(f"{a:.3f}/{b:.3f}" for a, b in zip(ours, theirs, strict=True))
            print(f"{name:45s} {depth:3.0f} mm  {both}")
            table.append({"lens": fields, "depth_mm": depth, "rho": np.round(theirs, 4).tolist()})
        print(f"{name}: largest difference of rho_I {worst:.3f}")
    if out:
        out.write_text(json.dumps({"by": "benchmarks/lens_reference.py, esdiva 0.3", "shift_mm_tilt_deg": MOTIONS,
                                   "rows": table}, indent=None) + "\n")


if __name__ == "__main__":
    main()
