"""Displacement fields: ours beside ndarray.fill and literal numpy and torch implementations of the formulas.

Run: python benchmarks/fields.py [FRAMES]
"""

import sys
import time

import numba
import numpy as np

from speckle_rec import ddf, geometry

SCALE = np.diag([0.22447, 0.23554, 1.0, 1.0])


def best(run, repeats=5):
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times)


def literal_torch(T):
    import torch

    y, x = torch.meshgrid(torch.arange(1.0, 481), torch.arange(1.0, 641), indexing="ij")
    p = torch.stack([x.flatten(), y.flatten(), torch.zeros(307200), torch.ones(307200)])
    scale, poses = torch.tensor(SCALE, dtype=torch.float32), torch.tensor(T[1:], dtype=torch.float32)
    mm = torch.matmul(scale, p)
    return lambda: torch.matmul(poses, torch.matmul(scale, p))[:, 0:3, :] - mm[0:3, :]


def literal_numpy(T):
    y, x = np.meshgrid(np.arange(1, 481), np.arange(1, 641), indexing="ij")
    p = np.stack([x.ravel(), y.ravel(), np.zeros(307200), np.ones(307200)]).astype(np.float32)
    scale, poses = SCALE.astype(np.float32), T[1:].astype(np.float32)
    mm = scale @ p
    return lambda: (poses @ (scale @ p))[:, 0:3, :] - mm[0:3, :]


def main(frames=300):
    rng = np.random.default_rng(0)
    T = geometry.chain(geometry.exp(rng.normal(0, 1, (frames, 6)) * [0.3, 0.3, 0.3, 0.01, 0.01, 0.01]))
    T[0] = np.eye(4)
    out = ddf.fields(T, SCALE)
    rows = {"ndarray.fill, warm (one thread)": best(lambda: out.fill(1.0)),
            "ours, into warm memory": best(lambda: ddf.fields(T, SCALE, out=out)),
            "ours, into fresh memory": best(lambda: ddf.fields(T, SCALE))}
    rows["literal numpy"] = best(literal_numpy(T), 2)
    try:
        reference = literal_torch(T)
        difference = np.abs(reference().numpy() - out).max()
        rows["literal torch"] = best(reference, 3)
        print(f"largest difference to torch {difference:.1e} mm")
    except ImportError:
        print("torch is not installed: literal torch implementation left out")
    print(f"{frames} frames, {out.nbytes / 1e9:.2f} GB, {numba.get_num_threads()} threads")
    for name, seconds in rows.items():
        print(f"{name:34s} {seconds:7.3f} s {out.nbytes / seconds / 1e9:6.1f} GB/s")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
