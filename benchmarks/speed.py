"""Time of a scan by stage, beside OpenCV's DIS optical flow (preset medium) over the same frames.

python benchmarks/speed.py SCAN [--frames 400,800,1600] [--jobs 1,2] [--no-warm-up]

Each stage with its seconds, processor seconds and share of the processor seconds: on a machine with other work the
latter two say more than the first. DIS runs before and after, each in as many threads, and the mean of both stands.
Peak memory is that of the process so far, frames included.
"""

import argparse
import os
import resource
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numba
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from speckle_rec.pipeline import reconstruct
from speckle_rec.scan import Scan


def now():
    return np.array([time.perf_counter(), time.process_time()])


class Stages:
    """Seconds and processor seconds by stage, taken where the stages tell of their progress."""

    def __init__(self):
        self.spent, self.last = {}, now()

    def __call__(self, stage, done, total):
        self.lap("between" if (done, total) == (0, 1) else stage)

    def lap(self, name):
        at = now()
        self.spent[name] = self.spent.get(name, 0) + at - self.last
        self.last = at


def dis(frames, jobs):
    """Seconds and processor seconds of the flow between neighbours, one pair a thread."""
    def flows(ks):
        flow = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        for k in ks:
            flow.calc(frames[k - 1], frames[k], None)

    start = now()
    with ThreadPoolExecutor(jobs) as pool:
        list(pool.map(flows, np.array_split(np.arange(1, len(frames)), jobs)))
    return now() - start


def cut(scan, n):
    return Scan.from_arrays(scan.frames(0, n), scale=scan.scale, frame_rate_hz=scan.frame_rate_hz)


def measure(scan, jobs):
    n, frames = scan.n_frames, scan.frames()
    numba.set_num_threads(jobs)
    flow = dis(frames, jobs)
    stages, start = Stages(), now()
    reconstruct(scan, jobs=jobs, device="cpu", progress=stages)
    stages.lap("between")
    took = now() - start
    flow = (flow + dis(frames, jobs)) / 2
    print(f"\n{n} frames, {jobs} threads, load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    print(f"{'stage':26s}{'s':>8s}{'proc. s':>9s}{'share':>7s}")
    for name, spent in sorted(stages.spent.items(), key=lambda item: -item[1][1]):
        print(f"{name:26s}{spent[0]:8.1f}{spent[1]:9.1f}{spent[1] / took[1]:7.0%}")
    print(f"{'all':26s}{took[0]:8.1f}{took[1]:9.1f}")
    print(f"{'DIS, medium':26s}{flow[0]:8.1f}{flow[1]:9.1f}")
    print(f"frames/s {n / took[0]:.1f}; of DIS's time {took[0] / flow[0]:.2f}, of its processor time "
          f"{took[1] / flow[1]:.2f}; processor ms a frame {1000 * took[1] / n:.1f}; peak memory "
          f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB", flush=True)


def main():
    numbers = lambda text: [int(part) for part in text.split(",")]  # noqa: E731
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scan", type=Path)
    parser.add_argument("--frames", type=numbers, default=None, help="numbers of first frames to take; default all")
    parser.add_argument("--jobs", type=numbers, default=[min(2, numba.config.NUMBA_NUM_THREADS)], help="threads")
    parser.add_argument("--no-warm-up", action="store_true", help="without the run before that compiles the kernels")
    asked = parser.parse_args()
    scan = Scan.open(asked.scan)
    cv2.setNumThreads(1)
    if not asked.no_warm_up:
        reconstruct(cut(scan, min(asked.frames or [scan.n_frames])), jobs=max(asked.jobs), device="cpu")
    for n in asked.frames or [scan.n_frames]:
        for jobs in asked.jobs:
            measure(cut(scan, min(n, scan.n_frames)), jobs)


if __name__ == "__main__":
    main()
