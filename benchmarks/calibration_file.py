"""A calibration file judged on scans it was not fitted to: calibration_file.py STATISTICS.h5 [--calibration FILE].

STATISTICS.h5 is what `calibrate` keeps beside its file. Pairs in the sensitive range, sign and contact point given.
Of a scan the median estimate over truth and, in brackets, the median error over the rms of the truth; of all the
geometric mean of the former, its scatter, and the median of the latter. "Turns": yaw of those pairs whose sides,
`SIDE_MM` out, move by it further than their middle moves. Without --calibration the shipped one.
"""

import argparse
from pathlib import Path

import numpy as np

from speckle_rec.calibrating import training
from speckle_rec.calibrating.held_out import NAMES, PairErrors, judge_pairs
from speckle_rec.speckle.calibration import Calibration

SIDE_MM = 50.0


def in_turns(one: PairErrors) -> tuple[float, float]:
    """Median of estimated over true yaw of the pairs that turn, and their median error over its rms; NaN of none."""
    focus, yaw = one.truth[:, 0], one.truth[:, 1]
    turn = np.abs(yaw) * SIDE_MM > np.abs(focus)
    found, true = one.estimate[turn, 1], yaw[turn]
    if not turn.any():
        return float("nan"), float("nan")
    return float(np.median(found / true)), float(np.median(np.abs(found - true)) / np.sqrt(np.mean(true**2)))


def main() -> None:
    options = argparse.ArgumentParser(description="A calibration file judged on scans it was not fitted to.")
    options.add_argument("statistics", type=Path)
    options.add_argument("--calibration", type=Path)
    o = options.parse_args()
    calibration = Calibration.load(o.calibration) if o.calibration else Calibration.shipped()
    found = [judge_pairs(record, calibration.curves, calibration.coefficients)
             for record in training.read(o.statistics)]
    names = (*NAMES, "turns")
    print(f"| scan | {' | '.join(names)} |")
    print("|---|" + "---|" * len(names))
    turns = [in_turns(one) for one in found]
    gain = np.array([[*one.gain, ratio] for one, (ratio, _) in zip(found, turns, strict=True)])
    error = np.array([[*one.error, missed] for one, (_, missed) in zip(found, turns, strict=True)])
    for one, g, e in zip(found, gain, error, strict=True):
        print(f"| {one.scan} | {' | '.join(f'{a:.3f} ({b:.3f})' for a, b in zip(g, e, strict=True))} |")
    mean, scatter = np.exp(np.nanmean(np.log(gain), 0)), np.nanstd(gain, 0)
    every = zip(mean, scatter, np.nanmedian(error, 0), strict=True)
    print(f"| all | {' | '.join(f'{m:.3f} +- {s:.3f} ({e:.3f})' for m, s, e in every)} |")


if __name__ == "__main__":
    np.seterr(all="ignore")
    main()
