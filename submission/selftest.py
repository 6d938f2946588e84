"""What the organisers' script does with an entry, and a look at what it would stumble over.

For every key of dataset_keys.h5 in $DATA_FOLDER: frames and landmarks are read, predict_ddfs is timed, the true
fields are made from the transforms, and the four errors go to metrics.h5 in $RESULTS_FOLDER (which must not be
there). Beyond that: shapes, types, NaN, landmarks against fields, a scan of two frames, a landmark on frame 0.

Run: python selftest.py [--data DIR] [--results DIR]; ends with status 0 if all is well.
"""

import argparse
import os
import resource
import sys
import time
from pathlib import Path

import h5py
import numpy as np
from predict_ddfs import predict_ddfs

HOME = Path("/home/TUS-REC2025")


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--data", type=Path, default=Path(os.environ.get("DATA_FOLDER", HOME / "data")))
    options.add_argument("--results", type=Path, default=Path(os.environ.get("RESULTS_FOLDER", HOME / "results")))
    options = options.parse_args()
    metrics = options.results / "metrics.h5"
    if metrics.exists():
        sys.exit(f"{metrics} is there: the organisers' script would fail; remove it or choose another folder")
    calib = options.data / "calib_matrix.csv"
    scale, T_tool_image = read_calibration(calib)
    device = device_of_torch()
    with h5py.File(options.data / "dataset_keys.h5") as file:
        names = list(file.keys())
    rows, problems = [], []
    print(f"{len(names)} scans, device {device}")
    print(f"{'scan':28s} {'frames':>6s} {'GPE':>8s} {'GLE':>8s} {'LPE':>8s} {'LLE':>8s} {'score':>7s} {'s':>7s}")
    for name in names:
        frames, landmark, tforms = load(options.data, name)
        started = time.perf_counter()
        predicted = predict_ddfs(frames, landmark, str(calib), device)
        seconds = time.perf_counter() - started
        problems += [f"{name}: {problem}" for problem in check(predicted, frames.shape, landmark)]
        truth = true_poses(tforms, T_tool_image)
        errors, still = measure(predicted, truth, scale, frames.shape, landmark)
        rows.append((*errors, seconds))
        score = np.mean([1 - e / s if s else 0.0 for e, s in zip(errors, still, strict=True)])
        print(f"{name:28s} {len(frames):6d} " + " ".join(f"{e:8.4f}" for e in errors) + f" {score:7.3f} {seconds:7.1f}",
              flush=True)
    frames, landmark, _ = load(options.data, names[0])
    two = np.array([[0, 1, 1], [0, frames.shape[2], frames.shape[1]], [1, 5, 7]])
    predicted = predict_ddfs(frames[:2], two, str(calib), device)
    problems += [f"a scan of two frames: {problem}" for problem in check(predicted, (2, *frames.shape[1:]), two)]
    options.results.mkdir(parents=True, exist_ok=True)
    with h5py.File(metrics, "a") as file:
        for key, values in zip(("GPE", "GLE", "LPE", "LLE", "time_elapsed"), np.array(rows).T, strict=True):
            file.create_dataset(key, data=values)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"{metrics}: written; two frames alone, landmarks on frame 0: {'see below' if problems else 'as expected'}")
    print(f"largest resident memory {peak:.2f} GB{gpu_memory()}")
    for problem in problems:
        print(f"PROBLEM {problem}")
    return 1 if problems else 0


def load(data, name):
    """frames, landmark and tforms of a key subSSS__NAME."""
    subject, scan = name[3:].split("__", 1)
    with h5py.File(data / "frames" / subject / f"{scan}.h5") as file:
        frames = file["frames"][()]
    with h5py.File(data / "landmarks" / f"landmark_{int(subject):03d}.h5") as file:
        landmark = file[scan][()]
    with h5py.File(data / "transfs" / subject / f"{scan}.h5") as file:
        tforms = file["tforms"][()]
    return frames, landmark, tforms


def read_calibration(path):
    """Scale and image-to-tool transform [4, 4] of calib_matrix.csv."""
    lines = [line.split(",") for line in path.read_text().splitlines()]
    return np.array(lines[1:5], float), np.array(lines[6:10], float)


def true_poses(tforms, T_tool_image):
    """(to frame 0, to the frame before) [N, 4, 4], of the transforms of the tracker."""
    T = np.asarray(tforms, float) @ T_tool_image
    back = np.concatenate([T[:1], T[:-1]])
    return np.linalg.solve(T[0], T), np.linalg.solve(back, T)


def measure(predicted, truth, scale, shape, landmark):
    """GPE, GLE, LPE, LLE of a prediction and of no motion, frame by frame."""
    n, rows, columns = shape
    y, x = np.meshgrid(np.arange(1, rows + 1), np.arange(1, columns + 1), indexing="ij")
    p = np.stack([x.ravel(), y.ravel(), np.zeros(x.size), np.ones(x.size)])
    at = landmark_index(landmark, n, columns)
    errors, still = [], []
    for (pixels, points), T in zip((predicted[:2], predicted[2:]), truth, strict=True):
        off, size, marks = 0.0, 0.0, np.zeros((3, len(landmark)))
        for j in range(1, n):
            field = ((T[j] - np.eye(4)) @ scale @ p)[:3].astype(np.float32)
            off += np.sqrt(np.square(field - pixels[j - 1]).sum(0)).mean(dtype=float)
            size += np.sqrt(np.square(field).sum(0)).mean(dtype=float)
            here = at[0] == j - 1
            marks[:, here] = field[:, at[1][here]]
        errors += [off / (n - 1), np.sqrt(np.square(marks - points).sum(0)).mean()]
        still += [size / (n - 1), np.sqrt(np.square(marks).sum(0)).mean()]
    return errors, still


def landmark_index(landmark, n, columns):
    """(frame of the field, pixel): [frame - 1, :, y - 1, x - 1], so that frame 0 is the last one."""
    frame, x, y = np.asarray(landmark, int).T
    return (frame - 1) % (n - 1), (y - 1) * columns + x - 1


def check(predicted, shape, landmark):
    """What is wrong with a prediction."""
    n, rows, columns = shape
    problems = []
    for name, values in zip(("GP", "GL", "LP", "LL"), predicted, strict=True):
        wanted = (n - 1, 3, rows * columns) if name[1] == "P" else (3, len(landmark))
        if not isinstance(values, np.ndarray) or values.shape != wanted or values.dtype != np.float32:
            problems.append(f"{name}: expected a float32 array {wanted}, found {type(values).__name__} "
                            f"{getattr(values, 'dtype', '')} {getattr(values, 'shape', '')}")
        elif not all(np.isfinite(part).all() for part in values):
            problems.append(f"{name}: holds NaN or infinity")
    if not problems:
        frame, pixel = landmark_index(landmark, n, columns)
        for name, pixels, points in (("GL", *predicted[:2]), ("LL", *predicted[2:])):
            if np.abs(pixels[frame, :, pixel].T - points).max() > 1e-3:
                problems.append(f"{name}: not the field at the landmarks")
    return problems


def device_of_torch():
    """As the organisers' script chooses it; "cpu" where there is no torch."""
    try:
        import torch
    except ImportError:
        return "cpu"
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def gpu_memory():
    try:
        import torch
    except ImportError:
        return ""
    return f", torch's on the GPU {torch.cuda.max_memory_allocated() / 1e9:.2f} GB" if torch.cuda.is_available() else ""


if __name__ == "__main__":
    sys.exit(main())
