"""A calibration file judged on scans it was not fitted to: calibration_file.py STATISTICS.h5 [--calibration FILE].

STATISTICS.h5 is what `calibrate` keeps beside its file. Pairs in the sensitive range, sign and contact point given.
Of a scan the median estimate over truth and, in brackets, the median error over the rms of the truth; of all the
geometric mean of the former, its scatter, and the median of the latter. Without --calibration the shipped one.
"""

import argparse
from pathlib import Path

import numpy as np

from speckle_rec import training
from speckle_rec.calibration import Calibration
from speckle_rec.heldout import NAMES, judge_pairs


def main() -> None:
    options = argparse.ArgumentParser(description="A calibration file judged on scans it was not fitted to.")
    options.add_argument("statistics", type=Path)
    options.add_argument("--calibration", type=Path)
    o = options.parse_args()
    calibration = Calibration.load(o.calibration) if o.calibration else Calibration.shipped()
    found = [judge_pairs(record, calibration.curves, calibration.coefficients)
             for record in training.read(o.statistics)]
    print(f"| scan | {' | '.join(NAMES)} |")
    print("|---|" + "---|" * len(NAMES))
    for one in found:
        told = " | ".join(f"{g:.3f} ({e:.3f})" for g, e in zip(one.gain, one.error, strict=True))
        print(f"| {one.scan} | {told} |")
    gain, error = np.array([one.gain for one in found]), np.array([one.error for one in found])
    mean, scatter = np.exp(np.nanmean(np.log(gain), 0)), np.nanstd(gain, 0)
    every = zip(mean, scatter, np.nanmedian(error, 0), strict=True)
    print(f"| all | {' | '.join(f'{m:.3f} +- {s:.3f} ({e:.3f})' for m, s, e in every)} |")


if __name__ == "__main__":
    np.seterr(all="ignore")
    main()
