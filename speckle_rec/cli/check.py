"""``check SCAN|DATASET``: a dry run."""

import shlex
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
          landmarks: common.Landmarks = None, dataset: common.Dataset = None, poses: common.Poses = None,
          quiet: common.Quiet = False) -> int:
    """Say what is in a scan or a data set, what is missing, and what a reconstruction will cost; writes nothing.

    \b
    speckle-rec check scan.h5
    speckle-rec check cine.dcm
    speckle-rec check sweep.mp4 --pixel-mm .12
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
            scan = Scan.open(path, calib=calib, landmarks=landmarks, pixel_mm=size, dataset=dataset, poses=poses)
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
            screen.print(f"  next           {_command(scan, path, calib, pixel_mm, dataset)}", soft_wrap=True)
        for warning in scan.warnings:
            common.complain(f"warning: {warning}")
    if not quiet and bad < len(paths):
        for line in mirrors.lines():
            screen.print(line, soft_wrap=True, markup=False, highlight=False)
    if len(paths) > 1 and not quiet:
        screen.print(f"{counted(len(paths) - bad, 'scan')} usable, {bad} not; {counted(frames, 'frame')}, about "
                     f"{duration(seconds)}")
    return 2 if bad else 0


def missing(scan: "Scan") -> list[str]:
    """What the scan does without, and what that costs."""
    lacks = []
    if scan.T_world_tool is None:
        lacks.append("tracked poses (there is no score)")
    elif scan.T_tool_image is None:
        lacks.append("where the image lies on the tracked tool (--calib; there is no score)")
    if scan.timestamps_s is None:
        lacks.append("times of the frames")
    if scan.landmarks is None and scan.T_world_tool is not None:
        lacks.append("landmarks")
    return lacks


def _command(scan: "Scan", path: Path, calib: Path | None, pixel_mm: str | None, dataset: str | None) -> str:
    words = ["speckle-rec", "reconstruct", str(path)]
    given = {"--calib": calib, "--pixel-mm": pixel_mm and pixel_mm.replace(",", " "), "--dataset": dataset}
    for option, value in given.items():
        if value is not None:
            words += [option, *(str(value).split() if option == "--pixel-mm" else [str(value)])]
    return shlex.join(words)


def describe(scan: "Scan", path: Path, seconds: float, compile_s: float, machine: cost.Machine) -> list[str]:
    """What a user should know of a scan before a long run."""
    from ..io import kinds
    rows, columns = scan.shape
    tracked = "no" if scan.tracked_ok is None else f"{int(scan.tracked_ok.sum())} of {counted(scan.n_frames, 'frame')}"
    pixels = rows * columns * scan.n_frames
    memory = BASE_BYTES + BYTES_A_FRAME_PIXEL * pixels
    compiling = f" ({duration(compile_s)} of it compiles kernels, once)" if compile_s else ""
    return [
        f"{path.absolute()}: {scan.name}",
        f"  kind           {kinds.of(path).told}{''.join(f', {value}' for value in scan.about.values())}",
        f"  frames         {scan.n_frames} of {rows} rows x {columns} columns, {pixels / 1e6:.0f} MB, "
        f"{scan.n_frames / scan.frame_rate_hz:.1f} s at {scan.frame_rate_hz:.2f} Hz",
        f"  calibration    {scan.calibration_source}: {scan.scale[0, 0]:.5f} x {scan.scale[1, 1]:.5f} mm a pixel",
        f"  tracked poses  {tracked}",
        f"  landmarks      {'none' if scan.landmarks is None else len(scan.landmarks)}",
        "  way round      --swept, --turned, --tilted-first or --orientation tells it from its mirror image",
        f"  missing        {'; '.join(missing(scan)) or 'nothing'}",
        f"  estimate       {duration(seconds)} with {counted(machine.threads, 'thread')}, volume and report "
        f"included{compiling}; {memory / 1e9:.1f} GB of memory; --ddf writes "
        f"{6 * 4 * (scan.n_frames - 1) * rows * columns / 1e9:.1f} GB",
    ]


def duration(seconds: float) -> str:
    """Seconds, or minutes where there are many."""
    return f"{seconds:.0f} s" if seconds < 180 else f"{seconds / 60:.0f} min" if seconds < 7200 else \
        f"{seconds / 3600:.1f} h"
