"""Frames in NumPy files (.npy, .npz): the array called frames, or the only one that can be frames, or one by name."""

import re
import zipfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from . import calib as calib_files
from . import pixels, tusrec
from .calib import ImageCalibration
from .hdf5 import check_file, one_line
from .source import ArrayFrames, FrameSource, ScanContent, check_name

ENDINGS = (".npy", ".npz")
DEFAULT_RATE_HZ = 20.0
NAMES = ("frames", "images", "data", "arr_0")
POSES = ("tforms", "tracking", "poses")


class NpyFrames:
    """Frames of an array file, mapped; opened for each block, so that a scan can be pickled."""

    def __init__(self, path: Path):
        self._path = path
        frames = ArrayFrames(_mapped(path), str(path))
        self.note, self.n_frames, self.shape = frames.note, frames.n_frames, frames.shape

    def read(self, start: int, stop: int) -> NDArray[np.uint8]:
        # The converter learns the range of all values: uint8 is taken as it is.
        return ArrayFrames(_mapped(self._path), str(self._path)).read(start, stop)


def open_scan(path: Path, calib: Path | None = None, landmarks: Path | None = None,
              pixel_mm: float | Sequence[float] | None = None, dataset: str | None = None) -> ScanContent:
    """Open an array [N, rows, columns]; one of a .npz is read whole, one of a .npy is mapped.

    Raises
    ------
    InputError
        If the file is damaged, holds no such array, or nothing tells the pixel size.
    """
    name = check_name(re.sub(r"(?i)\.np[yz]$", "", path.name), path)
    check_file(path)
    beside: dict[str, Any] = {}
    source: FrameSource
    if path.name.lower().endswith(".npz"):
        source, beside = _of_archive(path, dataset)
        note = getattr(source, "note", None)
    else:
        mapped = _mapped(path)
        source = NpyFrames(path) if mapped.dtype == np.uint8 else ArrayFrames(mapped, str(path))
        note = source.note
    calibration = pixels.settled(
        str(path), source, pixel_mm=pixel_mm, given=None if calib is None else calib_files.read(calib, source.shape),
        found=(partial(_spacing, beside, path), lambda: tusrec.beside(path, source.shape)))
    T, ok = None, None
    of_poses: list[str] = []
    for key in POSES:
        if key in beside and T is None:
            T, ok, of_poses = tusrec.fitted_poses(beside[key], source.n_frames, f"{path}: array '{key}'")
    points, of_points = tusrec.find_landmarks(path, source.n_frames, source.shape, landmarks)
    return ScanContent(
        name=name, path=path, source=source, scale=calibration.scale, T_tool_image=calibration.T_tool_image,
        T_world_tool=T, tracked_ok=ok, frame_rate_hz=DEFAULT_RATE_HZ, landmarks=points,
        calibration_source=calibration.source,
        warnings=[*([note] if note else []), *calibration.warnings, *of_poses, *of_points])


def _mapped(path: Path) -> NDArray[Any]:
    try:
        data = np.load(path, mmap_mode="r")      # which unpickles nothing
    except (OSError, ValueError, EOFError, SyntaxError, TypeError) as error:
        raise InputError(f"{path}: expected an array of numbers, found something else or a truncated one "
                         f"({one_line(error)})") from error
    if not isinstance(data, np.ndarray):
        raise InputError(f"{path}: expected one array, found several; call it .npz")
    return data


def _of_archive(path: Path, dataset: str | None) -> tuple[ArrayFrames, dict[str, Any]]:
    """The frames of an archive, and its smaller arrays."""
    try:
        with np.load(path) as archive:
            names = list(archive.files)
            key = dataset or next((name for name in NAMES if name in names), None)
            if key is None:
                deep = [name for name in names if _ndim(archive, name) == 3]
                key = deep[0] if len(deep) == 1 else None
            if key not in names:
                raise InputError(f"{path}: expected an array '{dataset or 'frames'}', found "
                                 f"{', '.join(names[:8]) or 'none'}; --dataset NAME tells which holds the frames")
            frames = archive[key]
            beside = {name: archive[name] for name in names if name != key and name in (*POSES, *_sizes(names))}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, KeyError, NotImplementedError, TypeError) as error:
        raise InputError(f"{path}: expected arrays of numbers as .npz, found something else or a truncated file "
                         f"({one_line(error)})") from error
    except Exception as error:
        if isinstance(error, InputError | MemoryError):
            raise
        raise InputError(f"{path}: cannot be read ({one_line(error)})") from error
    return ArrayFrames(frames, f"{path}: array '{key}'"), beside


def _ndim(archive: Any, name: str) -> int:
    return int(archive[name].ndim)


def _sizes(names: Sequence[str]) -> list[str]:
    return [name for name in names if pixels.is_name(name)]


def _spacing(beside: dict[str, Any], path: Path) -> ImageCalibration | None:
    for name, value in beside.items():
        if pixels.is_name(name) and value.dtype.kind in "fiu" and 1 <= value.size <= 3:
            return pixels.of_named(np.asarray(value, np.float64).ravel(), name, f"{path}: array '{name}'")
    return None
