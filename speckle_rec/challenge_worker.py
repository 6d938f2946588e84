"""Run by `challenge.Submission` as a script, in the interpreter of the entry: any Python 3 with numpy.

Imports nothing of this package, so that neither side's dependencies meet the other's.
"""

import json
import os
import sys
import time

import numpy as np


def main(entry, work, device):
    """Call ``predict_ddfs`` of the file `entry` on the scan in `work`; write errors and time to found.json."""
    sys.path[0] = os.path.dirname(entry)      # not the folder of this file: its modules are not for the entry
    from predict_ddfs import predict_ddfs

    frames = np.load(os.path.join(work, "frames.npy"))
    landmark = np.load(os.path.join(work, "landmark.npy"))
    start = time.perf_counter()
    fields = predict_ddfs(frames, landmark, os.path.join(work, "calib_matrix.csv"), device_of(device))
    seconds = time.perf_counter() - start
    shape = frames.shape
    del frames
    truth = np.load(os.path.join(work, "truth.npz"))
    errors, mirrored = {}, {}
    for name, kind, values in zip(("GPE", "GLE", "LPE", "LLE"), "GGLL", fields):  # noqa: B905 (old Pythons)
        values = np.asarray(values)
        wanted = (shape[0] - 1, 3, shape[1] * shape[2]) if name[1] == "P" else (3, len(landmark))
        if values.shape != wanted:
            raise SystemExit(f"predict_ddfs: expected {wanted} as {name}, found {values.shape}")
        measure = pixel_errors if name[1] == "P" else landmark_errors
        A = ((truth[kind] - np.eye(4)) @ truth["scale"])[:, :3][:, :, [0, 1, 3]]
        errors[name], mirrored[name] = measure(values, A, shape, landmark)
    with open(os.path.join(work, "found.json"), "w") as file:
        json.dump({"seconds": seconds, "errors": errors, "mirrored": mirrored}, file)


def pixel_errors(values, A, shape, landmark):
    """Mean distance of fields [N-1, 3, P] from those of A [N, 3, 3], and of their mirror image (z reversed)."""
    x = np.arange(1, shape[2] + 1, dtype=np.float32)[None]
    y = np.arange(1, shape[1] + 1, dtype=np.float32)[:, None]
    total = [0.0, 0.0]
    for got, a in zip(values, A[1:].astype(np.float32)):  # noqa: B905
        X, Y, Z = (a[c, 0] * x + (a[c, 1] * y + a[c, 2]) for c in range(3))
        got = got.reshape(3, shape[1], shape[2])
        flat = np.square(got[0] - X) + np.square(got[1] - Y)
        total[0] += np.sqrt(flat + np.square(got[2] - Z)).mean(dtype=np.float64)
        total[1] += np.sqrt(flat + np.square(got[2] + Z)).mean(dtype=np.float64)
    return [float(t) / len(values) for t in total]


def landmark_errors(values, A, shape, landmark):
    """The same at landmarks; frame 0 wraps to the last, as the challenge's indexing does."""
    at = np.asarray(landmark, int)
    frame = np.where(at[:, 0] == 0, len(A) - 1, at[:, 0])
    true = np.einsum("lij,lj->il", A[frame], np.stack([at[:, 1], at[:, 2], np.ones(len(at))], -1))
    return [float(np.sqrt(np.square(values * [[1], [1], [sign]] - true).sum(0)).mean()) for sign in (1, -1)]


def device_of(wanted):
    """What the organisers' script hands over: a torch device, or a plain word where there is no torch."""
    try:
        import torch
    except ImportError:
        return "cpu"
    return torch.device("cuda" if wanted != "cpu" and torch.cuda.is_available() else "cpu")


if __name__ == "__main__":
    main(*sys.argv[1:4])
