"""Scale of the out-of-plane motion of tracked scans, before and after calibration.

    python benchmarks/calibration_scale.py SCAN... [--calibration FILE]

One line a scan and calibration: estimate over truth (ratio of the medians of |step|, sign-free) of the displacement
at 55 mm depth and of the yaw, and the official score with the mirror bit given.
"""

import sys

import numpy as np

from speckle_rec import geometry as se3
from speckle_rec.config import Config
from speckle_rec.frames.working_images import sample_frames
from speckle_rec.pipeline import reconstruct
from speckle_rec.probe.field import find
from speckle_rec.scan import Scan
from speckle_rec.scoring import score
from speckle_rec.speckle.calibration import Calibration
from speckle_rec.speckle.curves import Curves

LEAST = np.array([0.15, 0.003])      # mm, rad: steps that count


def out_of_plane(T_first, face_mm) -> np.ndarray:
    """Steps [N, 2]: displacement at 55 mm depth (mm), yaw (rad), about the face."""
    face = se3.translation(np.array([*face_mm, 0.0]))
    twist = se3.log(se3.steps(se3.inverse(face) @ T_first @ face))
    return np.stack([twist[:, 2] + 55 * twist[:, 3], twist[:, 4]], -1)


def main(arguments: list[str]) -> None:
    file = arguments[arguments.index("--calibration") + 1] if "--calibration" in arguments else None
    used = {"before": Curves(), "after": Calibration.load(file) if file else Calibration.shipped()}  # type: ignore
    for path in (a for a in arguments if not a.startswith("--") and a != file):
        scan = Scan.open(path)
        T = scan.T_first_frame_tracked
        assert T is not None
        face = find(sample_frames(scan), scan.scale).geometry.face_mm
        truth = np.abs(out_of_plane(T, face))
        for name, calibration in used.items():
            result = reconstruct(scan, calibration=calibration, config=Config(jobs=1))
            found = np.abs(out_of_plane(result.T_first_frame, face))
            ratio = [np.median(found[m, k]) / np.median(truth[m, k]) if (m := truth[:, k] > LEAST[k]).sum() > 10
                     else np.nan for k in range(2)]
            judged, _ = score.with_mirror_given(result.T_first_frame, result.T_prev_frame, T, se3.steps(T), scan.scale,
                                                scan.shape, scan.landmarks)
            print(f"{path} {name}: focus {ratio[0]:.3f} yaw {ratio[1]:.3f} global {judged.global_:.3f} "
                  f"local {judged.local:.3f}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
