"""A lens that the usual prior does not know: calibration_lens.py STATISTICS.h5 APERTURE FOCUS.

Each scan is judged by curves of the others. STATISTICS.h5 is what `calibrate` keeps beside its file.
"""

import argparse
from pathlib import Path

import numpy as np

from speckle_rec.calibrating import training
from speckle_rec.calibrating.held_out import NAMES, judge_pairs
from speckle_rec.calibrating.machine import calibrate, fit_form, lens_prior
from speckle_rec.speckle.calibration import Calibration


def main() -> None:
    options = argparse.ArgumentParser(description="A lens that the usual prior does not know.")
    options.add_argument("statistics", type=Path)
    options.add_argument("aperture", type=float)
    options.add_argument("focus", type=float)
    o = options.parse_args()
    records = training.read(o.statistics)
    kind, lens = records[0].kind, (o.aperture, o.focus)
    true = lens_prior(kind, lens)
    print(f"The lens: waist {true.waist_mm:.3f} mm at {true.focus_mm:.1f} mm. Gain (median error / rms of the truth):")
    print()
    print(f"| held out | curves | waist mm | at mm | {' | '.join(NAMES)} |")
    print("|---|---|---:|---:|" + "---|" * len(NAMES))
    for record in records:
        others = [r for r in records if r.subject != record.subject]
        free = fit_form([training.drawn(r, 0) for r in others], kind, free_lens=True)
        made = {"shipped": Calibration.shipped(), "usual lens": calibrate(others), "lens free": free,
                "lens known": calibrate(others, lens=lens)}
        for name, c in made.items():
            found = judge_pairs(record, c.curves, c.coefficients)
            told = " | ".join(f"{g:.3f} ({e:.3f})" for g, e in zip(found.gain, found.error, strict=True))
            waist, focus = c.curves.waist_mm, c.curves.focus_mm
            print(f"| {record.name} | {name} | {waist:.3f} | {focus:.1f} | {told} |", flush=True)


if __name__ == "__main__":
    np.seterr(all="ignore")
    main()
