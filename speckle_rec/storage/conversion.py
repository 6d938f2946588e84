"""Any scan as a file of another kind: frames, pixel size, times and tracked poses, in bounded memory."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..io import calib as calib_files
from ..io import h5write, nrrd_sequence, plus
from ..io.tusrec import CALIB_NAME, FRAME_RATE_HZ
from ..scan import Scan
from .outputs import timestamps

Array = NDArray[np.float64]
Progress = Callable[[int, int], None]

ENDINGS = (".igs.mha", ".h5", ".seq.nrrd")


def ending_of(path: Path) -> str:
    """Which of `ENDINGS` a name has.

    Raises
    ------
    InputError
        If it has none.
    """
    found = next((ending for ending in ENDINGS if path.name.lower().endswith(ending)), None)
    if found is None:
        raise InputError(f"{path}: expected a file called *{', *'.join(ENDINGS)} to write; those are what scans are "
                         "converted to")
    return found


def convert(scan: Scan, path: Path, ending: str, progress: Progress | None = None) -> list[str]:
    """Write a scan to `path`, in the format of one of `ENDINGS`; returns what that format has no place for."""
    def blocks() -> Iterator[tuple[int, NDArray[np.uint8]]]:
        for start, frames in scan.blocks():
            yield start, frames
            if progress:
                progress(start + len(frames), scan.n_frames)

    size = scan.n_frames, *scan.shape
    T_tool_image = np.eye(4) if scan.T_tool_image is None else scan.T_tool_image
    to_probe = calib_files.to_plus(scan.scale, T_tool_image)
    lost = [] if scan.landmarks is None else ["landmarks have no place in this format"]
    if ending == ".h5":
        _write_h5(path, scan, blocks())
        if scan.timestamps_s is not None and abs(scan.frame_rate_hz - FRAME_RATE_HZ) > 0.01:
            lost.append(f"times have no place in this format: it is read as {FRAME_RATE_HZ:g} Hz, not "
                        f"{scan.frame_rate_hz:.4g}")
        return lost
    if ending == ".igs.mha":
        plus.write(path, blocks(), size, scan.T_world_tool, image_to_probe=to_probe, timestamps_s=timestamps(scan),
                   tracked_ok=scan.tracked_ok, image_ok=scan.image_ok)
    else:
        nrrd_sequence.write(path, blocks(), size, scan.scale, timestamps(scan), nrrd_sequence.Tracked.of(
            scan.T_world_tool, T_tool_image, scan.tracked_ok))
    return lost


def beside(scan: Scan, path: Path) -> Path | None:
    """Where a TUS-REC file has to have `CALIB_NAME` beside it: the tracked tool is another than the image.

    Raises
    ------
    InputError
        If there is one that says something else.
    """
    if scan.T_tool_image is None or scan.T_world_tool is None:
        return None
    there = path.absolute().with_name(CALIB_NAME)
    if not there.exists():
        return there
    found = calib_files.read(there, scan.shape)
    if found.T_tool_image is None or not np.allclose(found.T_tool_image, scan.T_tool_image, atol=1e-6) \
            or not np.allclose(found.scale, scan.scale, atol=1e-6):
        raise InputError(f"{there}: expected the calibration of {scan.name}, found another; write into another folder")
    return None


def _write_h5(path: Path, scan: Scan, blocks: Iterator[tuple[int, NDArray[np.uint8]]]) -> None:
    with h5write.create(path) as file:
        data = file.create_dataset("frames", (scan.n_frames, *scan.shape), np.uint8, chunks=(1, *scan.shape))
        data.attrs["pixel_mm"] = np.diag(scan.scale)[:2].astype(np.float64)
        for start, frames in blocks:
            data[start:start + len(frames)] = frames
        if scan.T_world_tool is not None:
            file.create_dataset("tforms", data=scan.T_world_tool.astype(np.float32))
