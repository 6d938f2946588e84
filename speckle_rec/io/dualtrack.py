"""HDF5 files of DualTrack: ``images`` [N, rows, columns], ``tracking`` [N, 4, 4], ``spacing``, ``pixel_to_image``.

``tracking`` places the image (mm, origin in its middle) in the world, ``pixel_to_image`` the pixel (from 0) in the
image.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..errors import InputError
from . import calib as calib_files
from . import pixels, tusrec
from .calib import ImageCalibration
from .hdf5 import H5_ERRORS, open_h5, read_dataset
from .source import H5Frames, ScanContent, check_name

FRAMES, POSES, PLACE = "images", "tracking", "pixel_to_image"
DEFAULT_RATE_HZ = 20.0


def is_dualtrack(path: Path) -> bool:
    """Whether an HDF5 file holds frames and poses under DualTrack's names."""
    try:
        with open_h5(path) as file:
            names = set(file.keys())
    except (InputError, *H5_ERRORS):
        return False
    return FRAMES in names and "frames" not in names and bool(names & {POSES, PLACE, "dimensions"})


def open_scan(path: Path, calib: Path | None = None, landmarks: Path | None = None,
              pixel_mm: float | Sequence[float] | None = None) -> ScanContent:
    """Read what surrounds the frames; they stay in the file.

    Raises
    ------
    InputError
        If the file is damaged, or nothing tells the pixel size.
    """
    name = check_name(tusrec.scan_name(path), path)
    source = H5Frames(path, FRAMES)
    calibration = pixels.settled(
        str(path), source, pixel_mm=pixel_mm, given=None if calib is None else calib_files.read(calib, source.shape),
        found=(lambda: _placed(path, source.shape), lambda: pixels.of_h5(path, FRAMES),
               lambda: tusrec.beside(path, source.shape)))
    with open_h5(path) as file:
        tracked = POSES in file
    T, ok, notes = tusrec.fitted_poses(read_dataset(path, POSES), source.n_frames, f"{path}: dataset '{POSES}'"
                                       ) if tracked else (None, None, [])
    points, more = tusrec.find_landmarks(path, source.n_frames, source.shape, landmarks)
    return ScanContent(
        name=name, path=path, source=source, scale=calibration.scale, T_tool_image=calibration.T_tool_image,
        T_world_tool=T, tracked_ok=ok, frame_rate_hz=DEFAULT_RATE_HZ, landmarks=points,
        calibration_source=calibration.source,
        warnings=[*([] if source.note is None else [source.note]), *calibration.warnings, *notes, *more])


def _placed(path: Path, shape: tuple[int, int]) -> ImageCalibration | None:
    with open_h5(path) as file:
        if PLACE not in file:
            return None
    M = read_dataset(path, PLACE)
    what = f"{path}: dataset '{PLACE}'"
    if M.shape != (4, 4) or M.dtype.kind != "f" or not np.isfinite(M).all():
        raise InputError(f"{what}: expected a matrix [4, 4], found {M.dtype} {M.shape}; --pixel-mm X [Y] does without")
    return calib_files.from_plus(M.astype(np.float64), shape, what)
