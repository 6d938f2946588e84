"""Compounding rate: a rotation scan of 480 x 640 frames at 0.5 mm, beside a plain scipy way of doing it.

Rates are by the wall and by CPU seconds of the process (all its threads), which other work on the machine moves less.

Run: python benchmarks/compounding.py [FRAMES]
"""

import sys
import time

import numba
import numpy as np
from scipy import stats

from speckle_rec import geometry, volume
from speckle_rec.probe import field

SCALE = np.diag([0.22447, 0.23554, 1.0, 1.0])


def trajectory(n):
    """Tilt of 50 degrees, then a yaw of 90 degrees, about the probe face."""
    pivot = geometry.translation(np.array([71.8, 9.0, 0.0]))
    twist = np.zeros((n, 6))
    t = np.linspace(0, 1, n)
    twist[:, 3] = 0.43 * np.sin(2 * np.pi * np.clip(2 * t, 0, 1))
    twist[:, 4] = np.pi / 2 * np.clip(2 * t - 1, 0, 1)
    return pivot @ geometry.exp(twist) @ geometry.inverse(pivot)


def plain(frames, T, fan, grid):
    """Mean by voxel with scipy.stats.binned_statistic_dd over all pixels of the frames."""
    rows, columns = np.nonzero(fan.mask())
    p = geometry.pixel_points(SCALE, columns + 1, rows + 1)
    world = np.einsum("nij,pj->npi", T[:, :3, :3], p) + T[:, None, :3, 3]
    edges = [o + grid.spacing_mm * (np.arange(m + 1) - 0.5)
             for o, m in zip(grid.origin_mm, grid.size, strict=True)]
    return stats.binned_statistic_dd(world.reshape(-1, 3), frames[:, rows, columns].ravel(), "mean", edges)


def timed(job, frames, name):
    """Run and print seconds, and frames a second."""
    wall, cpu = time.perf_counter(), time.process_time()
    job()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    print(f"{name:24s} {wall:6.2f} s {frames / wall:8.1f} frames/s {frames / cpu:8.1f} frames a CPU second", flush=True)


def main(n=1600):
    frames = np.random.default_rng(0).integers(0, 255, (64, 480, 640), dtype=np.uint8)
    T, fan = trajectory(n), field.ultrasonix_4dc7(SCALE)
    grid = volume.plan(T, fan)
    print(f"{n} frames, {grid.size} voxels of {grid.spacing_mm:g} mm, {numba.get_num_threads()} threads")
    for interpolation in volume.INTERPOLATIONS:
        volume.compound_scan([(0, frames[:1])], T[:1], fan, interpolation=interpolation)     # compiles
        blocks = ((i, frames[: min(64, n - i)]) for i in range(0, n, 64))
        timed(lambda blocks=blocks, how=interpolation: volume.compound_scan(
            blocks, T, fan, grid.spacing_mm, interpolation=how), n, f"{interpolation}, MEAN")
    few = np.linspace(0, n - 1, 4).astype(int)
    timed(lambda: plain(frames[:4], T[few], fan, grid), 4, "scipy (NEAREST, MEAN)")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
