"""What each effect of a real machine costs on one scan: effects.py SCAN.h5 [--only NAME ...].

SCAN is a clean simulated scan with true poses; persistence, repeated and lost frames and turns of the gain are added to
it one at a time, as the simulator does. (Tissue that gives way must be simulated: `simulate --compression .5`.)
"""

import argparse
import os
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")      # as the command line does

import numpy as np

from speckle_rec import geometry
from speckle_rec.config import TIME_FILTERS, Config
from speckle_rec.frames.features import GREY_PER_NEPER
from speckle_rec.pipeline import reconstruct
from speckle_rec.scan import Scan
from speckle_rec.scoring import score
from speckle_rec.synth import machine
from speckle_rec.synth.machine import Machine

GREY_PER_DB = GREY_PER_NEPER * np.log(10) / 20
Disturbed = tuple[np.ndarray, np.ndarray]      # frames, poses of the image in the first frame's image


def persistence(frames, T, rng) -> Disturbed:
    shown = machine.TimeFilter(Machine(filter="recursion", filter_share=0.3))
    for k, frame in enumerate(frames):
        frames[k] = shown(frame)
    return frames, T


def duplicates(frames, T, rng) -> Disturbed:
    return frames[machine.record(len(frames), Machine(duplicates=0.05), rng).image_instant], T


def drops(frames, T, rng) -> Disturbed:
    kept = machine.record(len(frames), Machine(drops=0.05), rng).pose_instant
    kept = kept[kept < len(frames)]
    return frames[kept], T[kept]


def gain(frames, T, rng) -> Disturbed:
    db = machine.gain_db(len(frames), Machine(gain_change_db=6.0), rng)
    for frame, grey in zip(frames, db * GREY_PER_DB, strict=True):
        frame[:] = np.where(frame > 0, np.clip(frame + grey, 1, 255), 0)
    return frames, T


EFFECTS: dict[str, Callable[..., Disturbed]] = {
    "as it is": lambda frames, T, rng: (frames, T), "persistence .3": persistence, "5% of the frames twice": duplicates,
    "5% of the frames lost": drops, "gain turned twice, 6 dB": gain}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("scan", type=Path)
    options.add_argument("--only", nargs="*", default=list(EFFECTS), choices=list(EFFECTS))
    options.add_argument("--jobs", type=int, default=0)
    options.add_argument("--time-filter", default="auto", choices=TIME_FILTERS, help="none: reckon with none")
    o = options.parse_args()
    scan = Scan.open(o.scan)
    print("| effect | final | global | local | GPE mm | filter found |\n|---|---:|---:|---:|---:|---:|")
    for name in o.only:
        frames, T = EFFECTS[name](scan.frames(), scan.T_first_frame_tracked, np.random.default_rng(0))
        found = reconstruct(Scan.from_arrays(frames, scale=scan.scale),
                            config=Config(jobs=o.jobs, time_filter=o.time_filter))
        s, _ = score.with_mirror_given(found.T_first_frame, found.T_prev_frame, T, geometry.steps(T), scan.scale,
                                       scan.shape)
        print(f"| {name} | {s.final:.3f} | {s.global_:.3f} | {s.local:.3f} | {s.GPE:.2f} | "
              f"{found.numbers['time_filter']} |", flush=True)


if __name__ == "__main__":
    main()
