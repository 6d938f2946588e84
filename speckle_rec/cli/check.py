"""``check SCAN|DATASET``: a dry run."""

from pathlib import Path

import numpy as np
from rich.console import Console

from ..errors import InputError
from ..scan import Scan
from . import common

# Frames a second on two cores, measured with `reconstruct` on 480 x 640 images; for the estimate only.
FRAMES_PER_S = 10.0
BYTES_A_FRAME_PIXEL = 0.25
BASE_BYTES = 600e6


def check(scans: common.Scans, calib: common.Calib = None, pixel_mm: common.PixelMm = None,
          landmarks: common.Landmarks = None, quiet: common.Quiet = False) -> int:
    """Say what is in a scan or a data set, what is missing, and what a reconstruction will cost; writes nothing.

    \b
    speckle-rec check scan.h5
    speckle-rec check Freehand_US_data_val_2025
    """
    size = common.pixel_size(pixel_mm)
    paths = common.find_scans(scans)
    bad, frames, seconds = 0, 0, 0.0
    console = Console(highlight=False)
    for path in paths:
        try:
            scan = Scan.open(path, calib=calib, landmarks=landmarks, pixel_mm=size)
            scan.frames(scan.n_frames - 1)
        except InputError as error:
            if len(paths) == 1:
                raise
            common.complain(str(error))
            bad += 1
            continue
        rows, columns = scan.shape
        cost = scan.n_frames / FRAMES_PER_S * (rows * columns / (480 * 640))
        frames, seconds = frames + scan.n_frames, seconds + cost
        if not quiet:
            for line in describe(scan, path, cost):
                console.print(line, markup=False, soft_wrap=True)
        for warning in scan.warnings:
            common.complain(f"warning: {warning}")
    if len(paths) > 1 and not quiet:
        console.print(f"{len(paths) - bad} scans are usable, {bad} are not; {frames} frames, about {seconds:.0f} s")
    return 2 if bad else 0


def describe(scan: Scan, path: Path, seconds: float) -> list[str]:
    """What a user should know of a scan before a long run."""
    rows, columns = scan.shape
    tracked = "no" if scan.tracked_ok is None else f"{int(scan.tracked_ok.sum())} of {scan.n_frames} frames"
    memory = BASE_BYTES + BYTES_A_FRAME_PIXEL * scan.n_frames * rows * columns
    duration = scan.n_frames / scan.frame_rate_hz
    return [
        f"{path.absolute()}: {scan.name}",
        f"  frames         {scan.n_frames} of {rows} rows x {columns} columns, "
        f"{np.prod(scan.shape) * scan.n_frames / 1e6:.0f} MB, {duration:.1f} s at {scan.frame_rate_hz:.2f} Hz",
        f"  calibration    {scan.calibration_source}: {scan.scale[0, 0]:.5f} x {scan.scale[1, 1]:.5f} mm a pixel",
        f"  tracked poses  {tracked}",
        f"  landmarks      {'none' if scan.landmarks is None else len(scan.landmarks)}",
        f"  estimate       {seconds:.0f} s on two cores, {memory / 1e9:.1f} GB of memory; "
        f"--ddf writes {6 * 4 * (scan.n_frames - 1) * rows * columns / 1e9:.1f} GB",
    ]
