"""The trained pair network in the challenge's interface; needs torch and numpy only.

Weights: $LEARNED_WEIGHTS, else weights.pt beside this file (see train.py).
"""

import os
from pathlib import Path

import numpy as np
import torch
from network import EfficientNetB1, poses, prepared

WEIGHTS = Path(os.environ.get("LEARNED_WEIGHTS", Path(__file__).resolve().parent / "weights.pt"))
BATCH = 16


def predict_ddfs(frames, landmark, data_path_calib, device):
    """GP, GL, LP, LL (float32, mm) of a scan: steps between neighbours, chained."""
    stored = torch.load(WEIGHTS, map_location=device, weights_only=True)
    network = EfficientNetB1().to(device).eval()
    network.load_state_dict(stored["network"])
    steps = [torch.eye(4, dtype=torch.float64)[None]]
    with torch.no_grad():
        for start in range(0, len(frames) - 1, BATCH):
            block = torch.from_numpy(np.asarray(frames[start:start + BATCH + 1]))
            pairs = torch.stack([block[:-1], block[1:]], 1).to(device)
            steps.append(poses(network(prepared(pairs, stored["shrink"])).double()).cpu())
    T_prev = torch.cat(steps).numpy()
    T_first = np.empty_like(T_prev)
    T = np.eye(4)
    for i, step in enumerate(T_prev):
        T = T @ step
        T_first[i] = T
    lines = Path(data_path_calib).read_text().splitlines()
    scale = np.array([line.split(",") for line in lines[1:5]], float)
    out = []
    for poses_of_scan in (T_first, T_prev):
        field = fields(poses_of_scan, scale, frames.shape[1:])
        frame, x, y = np.asarray(landmark, int).T
        out += [field, field[frame - 1, :, (y - 1) * frames.shape[2] + x - 1].T]
    return tuple(out)


def fields(T, scale, shape):
    """float32 [N-1, 3, rows * columns]: where the pixels of each frame after the first lie, less where they were."""
    y, x = (grid.ravel().astype(np.float32) for grid in np.mgrid[1:shape[0] + 1, 1:shape[1] + 1])
    A = ((T - np.eye(4)) @ scale)[1:, :3][:, :, [0, 1, 3]].astype(np.float32)
    out = np.empty((len(A), 3, len(x)), np.float32)
    for field, a in zip(out, A, strict=True):
        for c in range(3):
            np.multiply(x, a[c, 0], out=field[c])
            field[c] += a[c, 1] * y + a[c, 2]
    return out
