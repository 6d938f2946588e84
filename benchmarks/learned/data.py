"""Scans for the networks: simulated in the fitting worlds, kept as small metric frames with their true steps.

    python benchmarks/learned/data.py -o rivals/scans [--subjects 6] [--frames 80] [--until-s 1500]

Every world shows another picture: other pixels, other depth. A network that is to give mm has to see mm, so that all
frames are averaged onto one grid of GRID pixels of PIXEL_MM, centred below the middle of the image's top. Steps are
those of the point in its first row there. A second run goes on where the first one ended.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from speckle_rec import geometry
from speckle_rec.scan import Scan
from speckle_rec.synth import shipped
from speckle_rec.synth.dataset import ScanFiles, scans_of, simulate_dataset

GRID, PIXEL_MM = (120, 160), 0.64     # a quarter of 480 x 640 pixels of .16 mm
SEED = 1001     # far from the seeds that scans are judged with


def small(frame: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """uint8 [rows, columns] averaged onto the grid; black where the image ends."""
    rows, columns = frame.shape
    size = max(1, round(columns * scale[0, 0] / PIXEL_MM)), max(1, round(rows * scale[1, 1] / PIXEL_MM))
    less = cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
    out = np.zeros(GRID, np.uint8)
    left = (GRID[1] - size[0]) // 2
    deep, begin, end = min(GRID[0], size[1]), max(0, left), min(GRID[1], left + size[0])
    out[:deep, begin:end] = less[:deep, begin - left:end - left]
    return out


def T_image_grid(scale: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """[4, 4] in mm: the point that steps are of, the middle of the image's first row."""
    return geometry.translation((scale @ [(shape[1] + 1) / 2, 1, 0, 1])[:3])


def small_frames(scan: Scan) -> np.ndarray:
    """uint8 [N, *GRID]."""
    return np.stack([small(frame, scan.scale) for _, block in scan.blocks() for frame in block])


def keep(scan: Scan, path: Path) -> None:
    """Write frames, steps [N, 4, 4] and what leads back to the image to `path` (.npz)."""
    T = T_image_grid(scan.scale, scan.shape)
    steps = geometry.inverse(T) @ geometry.steps(scan.T_first_frame_tracked) @ T
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part.npz")
    np.savez_compressed(part, frames=small_frames(scan), steps=steps)
    part.replace(path)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("-o", "--out", type=Path, default=Path("rivals/scans"))
    options.add_argument("--subjects", type=int, default=6, help="scans of each fitting world, each of another subject")
    options.add_argument("--frames", type=int, default=80)
    options.add_argument("--until-s", type=float, default=float("inf"), help="begin no scan after so many seconds")
    options.add_argument("--held-out", type=Path, help="folder of benchmarks/worlds.py: its choose-* are kept too")
    o = options.parse_args()
    started = time.perf_counter()
    for root in sorted(o.held_out.glob("choose-*")) if o.held_out else ():
        scan = next((root / "frames_transfs" / "000").glob("*.h5"), None)
        path = o.out / "held-out" / f"{root.name}.npz"
        if scan is not None and not path.is_file():
            keep(Scan.open(scan), path)
    for subject in range(o.subjects):
        for name in shipped.group("fit"):
            path = o.out / "training" / f"{name}-{o.frames}-{subject:03d}.npz"
            if path.is_file() or time.perf_counter() - started > o.until_s:
                continue
            world = shipped.chosen(name, 0)
            settings = scans_of(world, [subject], seed=SEED, n_frames=o.frames,
                                pattern=f"{('RH', 'LH')[subject % 2]}*")[:1]
            with tempfile.TemporaryDirectory() as folder:
                report = simulate_dataset(Path(folder), settings, jobs=1)
                if report.failed:
                    print(f"{path.stem}: {report.failed}", file=sys.stderr)
                    continue
                keep(Scan.open(ScanFiles.of(Path(folder), "train", settings[0]).frames), path)
            print(f"{path.stem}, {time.perf_counter() - started:.0f} s", flush=True)


if __name__ == "__main__":
    main()
