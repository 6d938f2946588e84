"""The challenge's interface: one scan in, four displacement fields out."""

import os
import sys
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
CALIBRATION = os.environ.get("SPECKLE_REC_CALIBRATION")     # else the file calibration.* beside this one, if any

try:
    import speckle_rec  # noqa: F401
except ModuleNotFoundError:     # a checkout where the package is not installed
    sys.path.insert(0, str(HERE.parent))

from speckle_rec import ddf  # noqa: E402
from speckle_rec.compute.tuning import tune  # noqa: E402
from speckle_rec.config import Config  # noqa: E402
from speckle_rec.evaluation.engines import Setup, engine  # noqa: E402
from speckle_rec.io import calib  # noqa: E402
from speckle_rec.scan import Scan  # noqa: E402

tune()
FALL_BACK = ("speckle", "inplane", "identity")


def predict_ddfs(frames, landmark, data_path_calib, device):
    """Displacement fields of a scan in mm, from its frames alone.

    An exception would end the organisers' loop over all scans, and NaN its score: where the whole method fails,
    in-plane motion alone is returned, at worst no motion, and a line on stderr says so.

    Parameters
    ----------
    frames : uint8 [N, 480, 640]
    landmark : integers [L, 3]: frame (from 0), x and y pixel (from 1).
    data_path_calib : path of ``calib_matrix.csv``.
    device : "cuda", "cpu", or a torch.device. Frame pairs are measured on a GPU where "cuda" is given and one works.

    Returns
    -------
    GP, GL, LP, LL : float32 [N-1, 3, 307200], [3, L], [N-1, 3, 307200], [3, L]: global (to frame 0) and local (to
        the frame before) fields of all pixels and at landmarks. A landmark on frame 0 takes the last frame's
        field, as the organisers' indexing [frame - 1] does.
    """
    frames = np.asarray(frames)
    shape = frames.shape[1:]
    calibration = calib.read(Path(data_path_calib), shape)
    scan = Scan.from_arrays(frames, scale=calibration.scale, T_tool_image=calibration.T_tool_image)
    result = _estimate(scan, "cpu" if str(device).startswith("cpu") else "auto")
    marks = np.asarray(landmark)
    return (ddf.fields(result.T_first_frame, scan.scale, shape), ddf.landmarks(result.T_first_frame, scan.scale, marks),
            ddf.fields(result.T_prev_frame, scan.scale, shape), ddf.landmarks(result.T_prev_frame, scan.scale, marks))


def _estimate(scan, device):
    setup = Setup(speckle_calibration(), Config(device=device))
    for name in FALL_BACK:
        try:
            result = engine(name)(scan, setup)
            if np.isfinite(result.T_first_frame).all() and np.isfinite(result.T_prev_frame).all():
                return result
            why = "poses that are not finite"
        except Exception as error:      # whatever it is: see above
            why = f"{type(error).__name__}: {' '.join(str(error).split())}"
        print(f"predict_ddfs: the {name} engine failed ({why})", file=sys.stderr)
    raise AssertionError("the identity does not fail")


def speckle_calibration():
    """The fitted calibration that is shipped along, or None: the curves built into the package."""
    from speckle_rec.cli.running import load_calibration
    beside = sorted(path for path in HERE.glob("calibration.*") if path.is_file())
    path = Path(CALIBRATION) if CALIBRATION else next(iter(beside), None)
    return load_calibration(path)[0]
