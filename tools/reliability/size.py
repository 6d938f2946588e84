"""Time and memory of a reconstruction by number of frames and by stage (docs/RELIABILITY.md).

    python -m tools.reliability.size SCAN --frames 400,800,1600,3200

A long scan is a given one played forwards and backwards again and again. Each length runs in a process of its own.
"""

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")      # as the command line does

import numpy as np
from numpy.typing import NDArray

from .sandbox import ROOT


class Swing:
    """Frames of a scan, forwards and backwards, up to `n_frames`."""

    def __init__(self, scan, n_frames: int):
        self.scan, self.n_frames, self.shape = scan, n_frames, scan.shape
        forth = np.arange(scan.n_frames)
        self.order = np.resize(np.concatenate([forth, forth[-2:0:-1]]), n_frames)

    def read(self, start: int, stop: int) -> NDArray[np.uint8]:
        at = self.order[start:stop]
        low = int(at.min())
        return np.ascontiguousarray(self.scan.frames(low, int(at.max()) + 1)[at - low])


def resident_mib() -> float:
    """Memory resident now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20


def measure(path: Path, n_frames: int, fusion: str) -> dict:
    """Reconstruct a scan stretched to a length: seconds and peak memory, by stage."""
    from speckle_rec.config import Config
    from speckle_rec.pipeline import reconstruct
    from speckle_rec.scan import Scan
    scan = Scan.open(path)
    scan = Scan(**{**vars(scan), "source": Swing(scan, n_frames), "T_world_tool": None, "tracked_ok": None,
                   "landmarks": None})
    stage, peak, done = ["start"], {}, threading.Event()
    started = time.perf_counter()

    def watch() -> None:
        while not done.wait(0.05):
            peak[stage[0]] = max(peak.get(stage[0], 0.0), resident_mib())

    def progress(name: str, *_: int) -> None:
        if name != stage[0]:
            print(f"  {n_frames} frames, {time.perf_counter() - started:.0f} s, of processors "
                  f"{time.process_time():.0f} s: {name} (so far at most {max(peak.values(), default=0):.0f} MiB)",
                  file=sys.stderr, flush=True)
        stage[0] = name

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    result = reconstruct(scan, config=Config(fusion=fusion), progress=progress)
    seconds, busy = time.perf_counter() - started, time.process_time()
    done.set()
    watcher.join()
    return {"frames": n_frames, "seconds": seconds, "processor_s": busy, "peak_mib": max(peak.values()),
            "peak_by_stage_mib": peak, "seconds_by_stage": result.run_times_s, "warnings": result.warnings}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scan", type=Path)
    parser.add_argument("--frames", default="400,800,1600,3200")
    parser.add_argument("--fusion", default="revisits")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    lengths = [int(word) for word in options.frames.split(",")]
    if options.one:
        print(json.dumps(measure(options.scan, lengths[0], options.fusion)))
        return 0
    for n in lengths:
        command = [sys.executable, "-m", "tools.reliability.size", str(options.scan.absolute()), "--frames", str(n),
                   "--fusion", options.fusion, "--one"]
        row = json.loads(subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True).stdout)
        print(f"{n:6d} frames: {row['seconds']:7.1f} s, of processors {row['processor_s']:7.1f} s or "
              f"{1e3 * row['processor_s'] / n:6.1f} ms a frame, "
              f"{row['peak_mib']:6.0f} MiB; "
              + ", ".join(f"{name} {s:.1f} s {row['peak_by_stage_mib'].get(name, 0):.0f} MiB"
                          for name, s in row["seconds_by_stage"].items()), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
