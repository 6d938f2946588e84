"""The road in figures: simulated rotation scans and real sequences through `reconstruct`, scored.

    python cli.py simulate bench/road --subjects 1 --seed 101 --world benchmarks/gaussian.toml --scans RH_rotation
    python benchmarks/road.py bench/road
    python benchmarks/road.py ../shared/data/plus/*.igs.mha
"""

import argparse
import time
from pathlib import Path

import h5py
import numpy as np

import speckle_rec as sr
from speckle_rec import geometry
from speckle_rec.config import FUSIONS
from speckle_rec.io import tusrec
from speckle_rec.scoring import score

ROW = "| {:28} | {:>6} | {:>6} | {:>6} | {:>6} | {:>7} | {:>8} | {:>9} | {:>14} | {:>8} |"


def rock_frames(path: Path, n: int) -> np.ndarray:
    """Steps within the rock phases, from the simulator's own record; all where there is none."""
    truth = path.parents[2] / "truth" / path.parent.name / path.name
    if not truth.is_file():
        return np.ones(n, bool)
    with h5py.File(truth) as file:
        return np.array([b"rock" in name for name in file["phase"][:]])


def one(path: Path, jobs: int, fusion: str) -> str:
    """A row of the table."""
    scan = sr.Scan.open(path)
    started, cpu = time.perf_counter(), time.process_time()
    result = sr.reconstruct(scan, config=sr.Config(jobs=jobs, fusion=fusion))
    wall, cpu = time.perf_counter() - started, time.process_time() - cpu
    truth = scan.T_first_frame_tracked
    args = truth, geometry.steps(truth), scan.scale, scan.shape
    plain = score.evaluate(result.T_first_frame, result.T_prev_frame, *args)
    given, _ = score.with_mirror_given(result.T_first_frame, result.T_prev_frame, *args)
    rock = score.step_errors(result.T_prev_frame, *args[1:], where=rock_frames(path, scan.n_frames))
    path_mm = (f"{result.numbers['elevational_path_mm']:.1f}+-{result.numbers['elevational_path_sd_mm']:.1f}/"
               f"{score.step_errors(result.T_prev_frame, *args[1:]).elevational_path_true_mm:.1f}")
    rate = f"{scan.n_frames / wall:.1f}/{scan.n_frames / cpu:.1f}"
    return ROW.format(scan.name[:28], scan.n_frames, f"{plain.final:.3f}", f"{given.final:.3f}",
                      f"{given.global_:.3f}", f"{given.local:.3f}", f"{rock.inplane_rms_mm:.4f}",
                      f"{result.confidence[1:].mean():.2f}", path_mm, rate)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scans", nargs="+", type=Path)
    parser.add_argument("-j", "--jobs", type=int, default=0)
    parser.add_argument("--fusion", choices=FUSIONS, default=sr.Config().fusion, help="how poses are fused")
    args = parser.parse_args()
    paths = [p for s in args.scans for p in ([e.path for e in tusrec.entries(s)] if s.is_dir() else [s])]
    noise = np.random.default_rng(0).integers(0, 255, (40, 480, 640), dtype=np.uint8)
    sr.reconstruct(sr.Scan.from_arrays(noise, pixel_mm=0.22))      # compiles the kernels
    print("mirror: final with the unobservable bit given; rock: rms error of the in-plane step there, mm;\n"
          "path: elevational, estimated +- sd / tracked, mm; fps: frames to poses, by the wall / by CPU seconds")
    print(ROW.format("scan", "frames", "final", "mirror", "global", "local", "rock", "confid.", "path", "fps"))
    print(ROW.format(*["-" * 4] * 10))
    for path in paths:
        print(one(Path(path), args.jobs, args.fusion), flush=True)


if __name__ == "__main__":
    main()
