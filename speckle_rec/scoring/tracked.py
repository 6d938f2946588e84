"""A reconstruction against the tracked poses of its scan."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import geometry
from ..result import Reconstruction
from ..scan import Scan
from . import score


def score_of(scan: Scan, result: Reconstruction) -> dict[str, Any] | None:
    """Errors against the tracked poses: of steps where both ends are tracked, of the scan over the frames that are."""
    truth = scan.T_first_frame_tracked
    if truth is None or scan.n_frames < 2:
        return None
    tracked = np.asarray(np.isfinite(truth).all(axis=(1, 2)))
    true_steps = geometry.steps(truth)
    both = tracked & np.roll(tracked, 1)
    out: dict[str, Any] = {}
    if both[1:].any():
        out["steps"] = vars(score.step_errors(result.T_prev_frame, true_steps, scan.scale, scan.shape, where=both))
    if (n := int(tracked.sum())) < 2:
        result.warnings.append(f"{n} of {scan.n_frames} frames have a tracked pose: the scan is not scored")
        return out or None
    if n < scan.n_frames:
        result.warnings.append(f"{scan.n_frames - n} of {scan.n_frames} frames have no tracked pose: the score is that "
                               f"of the others, from frame {np.argmax(tracked)} on")
        out["frames_scored"] = n
    poses = (*geometry.among(result.T_first_frame, result.T_prev_frame, tracked),
             *geometry.among(truth, true_steps, tracked))
    marks = _marks_among(scan.landmarks, tracked)
    better, _ = score.with_mirror_given(*poses, scan.scale, scan.shape, marks)
    decided = score.evaluate(*poses, scan.scale, scan.shape, marks)
    return {**decided.as_dict(), "final_mirror_given": better.final, **out}


def _marks_among(landmarks: NDArray[np.int64] | None, tracked: NDArray[np.bool_]) -> NDArray[np.int64] | None:
    """Landmarks [L, 3] on the tracked frames, counted among these."""
    if landmarks is None:
        return None
    kept = landmarks[tracked[landmarks[:, 0]]]
    return np.column_stack([np.cumsum(tracked)[kept[:, 0]] - 1, kept[:, 1:]]) if len(kept) else None
