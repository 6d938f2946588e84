"""Calibrate on half of a tracked scan, predict the path of the other half: calibration_halves.py SCAN."""

import sys

import numpy as np

from speckle_rec import geometry as se3
from speckle_rec.calibrating import machine, training
from speckle_rec.config import Config
from speckle_rec.pipeline import reconstruct
from speckle_rec.scan import Scan
from speckle_rec.scoring import score


def part(scan: Scan, frames: slice, name: str) -> Scan:
    """A run of frames as a scan of its own."""
    assert scan.T_world_tool is not None
    return Scan.from_arrays(scan.frames(0, scan.n_frames)[frames], scale=scan.scale, T_tool_image=scan.T_tool_image,
                            T_world_tool=scan.T_world_tool[frames], name=name)


def path_mm(scan: Scan, calibration=None) -> tuple[float, float]:
    """Estimated and tracked elevational path of a scan."""
    result = reconstruct(scan, calibration=calibration, config=Config(jobs=1))
    truth = scan.T_first_frame_tracked
    tracked = np.isfinite(truth).all(axis=(1, 2))
    errors = score.step_errors(result.T_prev_frame, se3.steps(truth), scan.scale, scan.shape,
                               where=tracked & np.roll(tracked, 1))
    return errors.elevational_path_est_mm, errors.elevational_path_true_mm


def main(path: str) -> None:
    scan = Scan.open(path)
    middle = scan.n_frames // 2
    halves = part(scan, slice(0, middle + 1), "first"), part(scan, slice(middle, scan.n_frames), "second")
    print(f"{scan.n_frames} frames")
    for train, test in (halves, halves[::-1]):
        made = machine.calibrate([training.collect(train, jobs=1)])
        default, true = path_mm(test)
        own, _ = path_mm(test, made)
        seen, seen_true = path_mm(train, made)
        print(f"calibrated on {train.name} ({seen:.1f} of {seen_true:.1f} mm on itself), predicted {test.name}: "
              f"{own:.1f} of {true:.1f} mm ({own / true:.2f}); physical default {default:.1f} ({default / true:.2f}); "
              f"stretch {np.exp(made.coefficients[2, 0]):.2f}")


if __name__ == "__main__":
    main(sys.argv[1])
