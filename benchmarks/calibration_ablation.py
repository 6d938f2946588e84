"""What parts of the curves are worth on held-out subjects: calibration_ablation.py STATISTICS.h5 [--only NAME...]
[--log DATASET].

Each form of `fit_machine.FORMS` and the last one without the wavefront's curvature and without fibres, on the
statistics that `calibrate` kept. With --log the scans of DATASET, those that the statistics are of, are measured as log
images too.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np

from speckle_rec.calibrating import curve_fit, training
from speckle_rec.calibrating import held_out as heldout
from speckle_rec.calibrating.machine import FORMS, drawn, held_out
from speckle_rec.frames.features import AMPLITUDE_MEAN_MM, GreyFeatures
from speckle_rec.io import tusrec
from speckle_rec.pairs import correlation
from speckle_rec.scan import Scan
from speckle_rec.speckle import curves
from speckle_rec.speckle.calibration import with_across

BEST = list(FORMS)[-1]


def row(name: str, records: list[training.Record], form: str) -> None:
    _, table = held_out(records, [drawn(r, 0) for r in records], form)
    cells = " | ".join(f"{table[k]['gain_mean']:.3f} +- {table[k]['gain_sd']:.3f} | {table[k]['error_median']:.3f}"
                       if k in table else "- | -" for k in heldout.NAMES)
    print(f"| {name} | {table['rho_rms']:.3f} | {cells} |", flush=True)


def without_curvature(forms_of):
    """`forms_of` without the second term of METHOD.md (3.4)."""
    def without(curves, lines):
        U = forms_of(curves, lines)
        U[:, 1] = 0
        return U
    return without


def without_fibres(record: training.Record) -> training.Record:
    """A record that does not know which way the fibres run (METHOD.md (7.11))."""
    return replace(record, signs=with_across(record.signs, np.zeros(len(record.signs))))


def as_log_images(scans: list[Scan]) -> list[training.Record]:
    """Statistics of scans whose speckle is not decompressed."""
    usual = correlation.AmplitudeFeatures
    correlation.AmplitudeFeatures = lambda mask, pixel_mm, _: GreyFeatures(mask, pixel_mm, AMPLITUDE_MEAN_MM)
    try:
        return training.merge([[training.collect(scan)] for scan in scans])
    finally:
        correlation.AmplitudeFeatures = usual


def main() -> None:
    options = argparse.ArgumentParser(description="What parts of the curves are worth on held-out subjects.")
    options.add_argument("statistics", type=Path)
    options.add_argument("--log", type=Path, help="the data set that the statistics are of")
    options.add_argument("--only", nargs="+", metavar="FORM",
                         help="forms of `fit_machine.FORMS`, 'no curvature' or 'no fibres'")
    o = options.parse_args()
    print("| form | rho rms | focus | error | yaw | error | tilt | error |\n|---|---:|---|---:|---|---:|---|---:|")
    records = training.read(o.statistics)
    for form in FORMS:
        if not o.only or form in o.only:
            row(form, records, form)
    if not o.only or "no curvature" in o.only:
        usual = curves.forms_of
        curve_fit.forms_of = heldout.forms_of = without_curvature(usual)
        row(f"{BEST}, no curvature", records, BEST)
        curve_fit.forms_of = heldout.forms_of = usual
    if not o.only or "no fibres" in o.only:
        row(f"{BEST}, no fibres", [without_fibres(r) for r in records], BEST)
    if o.log:
        scans = [Scan.open(entry.path) for entry in tusrec.entries(o.log)]
        row(f"{BEST}, log images", as_log_images(scans), BEST)


if __name__ == "__main__":
    np.seterr(all="ignore")
    main()
