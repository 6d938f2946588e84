"""``check SCAN|DATASET``: a dry run."""

from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InputError
from ..io.wording import counted
from . import common, cost, mirrors, tables

if TYPE_CHECKING:
    from ..scan import Scan

BYTES_A_FRAME_PIXEL = 0.25
BASE_BYTES = 600e6


def check(scans: common.Scans, calib: common.Calib = None, pixel_mm: common.PixelMm = None,
          landmarks: common.Landmarks = None, quiet: common.Quiet = False) -> int:
    """Say what is in a scan or a data set, what is missing, and what a reconstruction will cost; writes nothing.

    \b
    speckle-rec check scan.h5
    speckle-rec check Freehand_US_data_val_2025
    """
    from ..scan import Scan
    size = common.pixel_size(pixel_mm)
    paths = common.find_scans(scans)
    screen = tables.console()
    machine: cost.Machine | None = None
    bad, frames, seconds = 0, 0, 0.0
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
        frames += scan.n_frames
        if not quiet:
            if machine is None:
                machine = cost.measured(common.max_threads())
            scan_s, compile_s = cost.seconds(scan, machine)
            seconds += scan_s + (0 if seconds else compile_s + cost.START_S / machine.one)
            for line in describe(scan, path, scan_s + compile_s + cost.START_S / machine.one, compile_s, machine):
                screen.print(line, soft_wrap=True)
        for warning in scan.warnings:
            common.complain(f"warning: {warning}")
    if not quiet and bad < len(paths):
        for line in mirrors.lines():
            screen.print(line, soft_wrap=True, markup=False, highlight=False)
    if len(paths) > 1 and not quiet:
        screen.print(f"{counted(len(paths) - bad, 'scan')} usable, {bad} not; {counted(frames, 'frame')}, about "
                     f"{duration(seconds)}")
    return 2 if bad else 0


def describe(scan: "Scan", path: Path, seconds: float, compile_s: float, machine: cost.Machine) -> list[str]:
    """What a user should know of a scan before a long run."""
    rows, columns = scan.shape
    tracked = "no" if scan.tracked_ok is None else f"{int(scan.tracked_ok.sum())} of {counted(scan.n_frames, 'frame')}"
    pixels = rows * columns * scan.n_frames
    memory = BASE_BYTES + BYTES_A_FRAME_PIXEL * pixels
    compiling = f" ({duration(compile_s)} of it compiles kernels, once)" if compile_s else ""
    return [
        f"{path.absolute()}: {scan.name}",
        f"  frames         {scan.n_frames} of {rows} rows x {columns} columns, {pixels / 1e6:.0f} MB, "
        f"{scan.n_frames / scan.frame_rate_hz:.1f} s at {scan.frame_rate_hz:.2f} Hz",
        f"  calibration    {scan.calibration_source}: {scan.scale[0, 0]:.5f} x {scan.scale[1, 1]:.5f} mm a pixel",
        f"  tracked poses  {tracked}",
        f"  landmarks      {'none' if scan.landmarks is None else len(scan.landmarks)}",
        "  way round      --swept, --turned, --tilted-first or --orientation tells it from its mirror image",
        f"  estimate       {duration(seconds)} with {counted(machine.threads, 'thread')}, volume and report "
        f"included{compiling}; {memory / 1e9:.1f} GB of memory; --ddf writes "
        f"{6 * 4 * (scan.n_frames - 1) * rows * columns / 1e9:.1f} GB",
    ]


def duration(seconds: float) -> str:
    """Seconds, or minutes where there are many."""
    return f"{seconds:.0f} s" if seconds < 180 else f"{seconds / 60:.0f} min" if seconds < 7200 else \
        f"{seconds / 3600:.1f} h"
