"""Turn, fans, signs and covariance of results that `evaluate` has kept, beside the tracked poses.

    python cli.py evaluate bench/rotations -o bench/out
    python benchmarks/amplitudes.py bench/rotations bench/out

`yaw`: total turn found / tracked. `fan`: slope of the found tilt of a step on the tracked one. `wrong`: share of the
motion out of the plane whose sign is wrong over `WINDOW` frames. `error / sd`: root mean square of the six components
of the pose error, each over its own standard deviation, in the first frame about the face: 1 if the covariance is
honest. All have the mirror bit given.
"""

import argparse
from pathlib import Path

import h5py
import numpy as np

import speckle_rec as sr
from speckle_rec import geometry as se3
from speckle_rec.frames.working_images import sample_frames
from speckle_rec.geometry import mirror, turned
from speckle_rec.io import tusrec
from speckle_rec.probe.field import find

WINDOW = 25         # frames over which a sign is judged
DEPTH_MM = 50.0


def wrong_signs(here: np.ndarray, there: np.ndarray) -> float:
    """Share of the motion out of the plane whose sign is wrong, of `sideways` steps found and true."""
    agree = np.convolve((here * there).sum(1), np.ones(WINDOW), "same")
    size = np.linalg.norm(there, axis=1)
    return float(size[agree < 0].sum() / max(size.sum(), 1e-9))


def sideways(T: np.ndarray) -> np.ndarray:
    """Steps [N - 1, 3] (z, tilt, yaw) of poses [N, 4, 4], angles as their way at `DEPTH_MM`, mm."""
    return se3.log(se3.steps(T))[1:, 2:5] * [1, DEPTH_MM, DEPTH_MM]


def row(scan: sr.Scan, poses: Path) -> tuple[float, float, float, float]:
    """(yaw, fan, wrong, error / sd) of a result."""
    A = se3.translation(np.array([*find(sample_frames(scan), scan.scale).geometry.face_mm, 0.0]))
    with h5py.File(poses) as file:
        found, covariance = file["T_first_frame"][:], file["covariance"][:]
    true = se3.inverse(A) @ scan.T_first_frame_tracked @ A
    found = se3.inverse(A) @ found @ A
    here, there = sideways(found), sideways(true)
    if (here * there).sum() < 0:
        found, here = mirror(found), -here
        turn = np.array([1, 1, -1, -1, -1, 1.0])
        covariance = covariance * turn[:, None] * turn
    yaw = [turned(T)[-1] for T in (found, true)]
    error = se3.log(true @ se3.inverse(found))[1:]
    sd = np.sqrt(np.einsum("kii->ki", covariance))[1:]
    return (yaw[0] / yaw[1], float((here[:, 1] * there[:, 1]).sum() / np.square(there[:, 1]).sum()),
            wrong_signs(here, there), float(np.sqrt(np.square(error / np.maximum(sd, 1e-9)).mean())))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("results", type=Path, help="folder that `evaluate` wrote")
    args = parser.parse_args()
    print("| scan | yaw | fan | wrong | error / sd |\n|---|---:|---:|---:|---:|")
    for entry in tusrec.entries(args.dataset):
        scan = sr.Scan.open(entry.path)
        poses = args.results / "scans" / scan.name / "poses.h5"
        if poses.is_file():
            yaw, fan, wrong, honest = row(scan, poses)
            print(f"| {scan.name} | {yaw:.3f} | {fan:.3f} | {wrong:.1%} | {honest:.2f} |", flush=True)


if __name__ == "__main__":
    main()
