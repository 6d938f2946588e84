"""Displacement fields: ours beside ndarray.fill and literal numpy and torch implementations of the formulas.

Run: python benchmarks/fields.py [FRAMES]; with --write FRAMES: time and peak memory of writing ddf.h5;
with --both FRAMES: fields of both kinds in turn with ndarray.fill.
"""

import resource
import sys
import tempfile
import time
from pathlib import Path

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


@numba.njit(parallel=True)
def fill_all(out):
    """Write a constant with all threads: what the memory can take."""
    flat = out.reshape(len(out) * 3, -1)
    for k in numba.prange(len(flat)):
        flat[k].fill(1.0)


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
    T = trajectory(frames)
    out = ddf.fields(T, SCALE)
    rows = {"ndarray.fill, warm (one thread)": best(lambda: out.fill(1.0)),
            "fill by all threads, warm": (fill_all(out), best(lambda: fill_all(out)))[1],
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
    warm, fresh = rows["ours, into warm memory"], rows["ours, into fresh memory"]
    print(f"share of the write bandwidth (fill by all threads): {rows['fill by all threads, warm'] / warm:.2f}")
    if torch_s := rows.get("literal torch"):
        print(f"times as fast as literal torch: {torch_s / warm:.0f} (warm memory), {torch_s / fresh:.0f} (fresh)")


def both_kinds(frames, rounds=7):
    """Global and local fields into arrays in use, in turn with ndarray.fill of the same."""
    T = trajectory(frames)
    poses = (T, geometry.steps(T))
    out = [np.zeros((frames - 1, 3, 307200), np.float32) for _ in poses]
    for part in out:
        part.fill(1.0)
    ddf.fields(T[:2], SCALE)
    ratios = []
    for _ in range(rounds):
        at = [(time.perf_counter(), time.process_time())]
        for part in out:
            part.fill(1.0)
        at.append((time.perf_counter(), time.process_time()))
        for part, of in zip(out, poses, strict=True):
            ddf.fields(of, SCALE, out=part)
        at.append((time.perf_counter(), time.process_time()))
        filled, ours = np.diff(np.array(at), axis=0)
        ratios.append(ours / filled)
        print(f"fill {filled[0]:.2f} s ({filled[1]:.2f} of processor), ours {ours[0]:.2f} s ({ours[1]:.2f})")
    wall, processor = np.median(ratios, axis=0)
    print(f"{frames} frames, both kinds, {numba.get_num_threads()} threads: {wall:.2f} of the time of ndarray.fill, "
          f"{processor:.2f} of its processor time (medians)")


def trajectory(frames):
    rng = np.random.default_rng(0)
    return geometry.chain(geometry.exp(rng.normal(0, 1, (frames, 6)) * [0.3, 0.3, 0.3, 0.01, 0.01, 0.01]))


def write(frames):
    """Peak resident memory of a file of fields, which does not grow with the scan."""
    T = trajectory(frames)
    with tempfile.TemporaryDirectory(dir=".") as folder:
        start = time.perf_counter()
        ddf.write(Path(folder) / "ddf.h5", T, geometry.steps(T), SCALE)
        seconds = time.perf_counter() - start
        size = (Path(folder) / "ddf.h5").stat().st_size
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{frames} frames: {size / 1e9:.2f} GB in {seconds:.1f} s, peak resident memory {peak:.2f} GiB")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--both"]:
        both_kinds(int(sys.argv[2]))
    elif sys.argv[1:2] == ["--write"]:
        write(int(sys.argv[2]))
    else:
        main(*map(int, sys.argv[1:]))
