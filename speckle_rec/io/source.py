"""Where a scan's frames come from, and what a reader hands over: read by block, always uint8."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import h5py
import numpy as np
from numpy.typing import NDArray

from ..errors import InputError

Array = NDArray[np.float64]

BLOCK = 64
MAX_SIDE_PX = 8192
MAX_CHUNK_BYTES = 1 << 30


class FrameSource(Protocol):
    """Frames [n, rows, columns] as uint8, read by block."""

    n_frames: int
    shape: tuple[int, int]

    def read(self, start: int, stop: int) -> NDArray[np.uint8]:
        """Frames start..stop-1."""
        ...


@dataclass
class ScanContent:
    """What a file says of a scan; `scan.Scan` documents the fields."""

    name: str
    path: Path | None
    source: FrameSource
    scale: Array
    T_tool_image: Array | None = None
    T_world_tool: Array | None = None
    tracked_ok: NDArray[np.bool_] | None = None
    timestamps_s: Array | None = None
    frame_rate_hz: float = 20.0
    landmarks: NDArray[np.int64] | None = None
    calibration_source: str = ""
    warnings: list[str] = field(default_factory=list)


class ArrayFrames:
    """Frames of an array or memory map; `reorient` is applied to each block."""

    def __init__(self, data: NDArray[Any], what: str,
                 reorient: Callable[[NDArray[np.uint8]], NDArray[np.uint8]] | None = None):
        check_shape(data.shape, what)
        self._data = data
        self._to_uint8, self.note = converter(data, what)
        self._reorient = reorient
        self.n_frames = len(data)
        like = np.empty((1, *data.shape[1:]), np.uint8)
        rows, columns = (like if reorient is None else reorient(like)).shape[1:]
        self.shape = (int(rows), int(columns))

    def read(self, start: int, stop: int) -> NDArray[np.uint8]:
        block = self._to_uint8(np.asarray(self._data[start:stop]))
        return np.ascontiguousarray(block if self._reorient is None else self._reorient(block))


class H5Frames:
    """The dataset `key` of an HDF5 file; the file is opened for each block, so that a scan can be pickled."""

    def __init__(self, path: Path, key: str = "frames"):
        self._path, self._key = path, key
        what = f"{path}: dataset '{key}'"
        with open_h5(path) as file:
            data = h5_dataset(file, key, path)
            check_shape(data.shape, what)
            _check_storage(data, what)
            self._to_uint8, self.note = converter(data, what)
            self.n_frames = int(data.shape[0])
            self.shape = (int(data.shape[1]), int(data.shape[2]))

    def read(self, start: int, stop: int) -> NDArray[np.uint8]:
        with open_h5(self._path) as file:
            try:
                block = file[self._key][start:stop]
            except (OSError, KeyError, RuntimeError, ValueError) as error:
                raise InputError(f"{self._path}: dataset '{self._key}': frames {start}..{stop - 1} cannot be "
                                 f"read ({one_line(error)}); is the file truncated?") from error
        return self._to_uint8(block)


def one_line(error: BaseException, limit: int = 160) -> str:
    """The text of an error on one line."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= limit else text[: limit - 1] + "…"


def open_h5(path: Path) -> h5py.File:
    """Open an HDF5 file to read.

    Raises
    ------
    InputError
        If there is no such file, or it is not HDF5.
    """
    if not path.exists():
        raise InputError(f"{path}: no such file")
    if path.is_dir():
        raise InputError(f"{path}: expected an HDF5 file, found a folder")
    try:
        return h5py.File(path, "r")
    except (OSError, RuntimeError, ValueError) as error:
        if isinstance(error, PermissionError):
            raise InputError(f"{path}: not allowed to read it") from error
        raise InputError(f"{path}: expected an HDF5 file, found something else or a truncated one "
                         f"({one_line(error)})") from error


def h5_dataset(file: h5py.File, key: str, path: Path) -> h5py.Dataset:
    """The dataset `key` that lies in this very file (links that lead elsewhere are refused).

    Raises
    ------
    InputError
        If it is missing, not a dataset, or stored in another file.
    """
    try:
        if key not in file:
            found = ", ".join(list(file.keys())[:8]) or "nothing"
            raise InputError(f"{path}: expected a dataset '{key}', found {found}")
        link = file.get(key, getlink=True)
        data = file[key]
        if not isinstance(data, h5py.Dataset):
            raise InputError(f"{path}: '{key}' is a group, expected a dataset")
        if not isinstance(link, h5py.HardLink) or data.external or data.is_virtual:
            raise InputError(f"{path}: dataset '{key}' is a link to another place; copy the data into the file")
        return data
    except (KeyError, OSError, RuntimeError, ValueError, TypeError) as error:
        raise InputError(f"{path}: dataset '{key}' cannot be opened ({one_line(error)})") from error


def read_dataset(path: Path, key: str, max_bytes: int = 1 << 28) -> NDArray[Any]:
    """A small dataset whole."""
    with open_h5(path) as file:
        data = h5_dataset(file, key, path)
        try:
            if data.size is None or data.size * data.dtype.itemsize > max_bytes:
                raise InputError(f"{path}: dataset '{key}' is too large or empty: shape {data.shape}")
            return np.asarray(data[()])
        except (OSError, RuntimeError, ValueError) as error:
            raise InputError(f"{path}: dataset '{key}' cannot be read ({one_line(error)})") from error


def check_shape(shape: tuple[int, ...] | None, what: str) -> None:
    """Raise `InputError` unless `shape` is that of at least one image of a usable size."""
    if shape is None or len(shape) != 3:
        raise InputError(f"{what}: expected frames [N, rows, columns], found shape {shape}")
    if shape[0] == 0:
        raise InputError(f"{what}: expected at least one frame, found none")
    if min(shape[1:]) < 16 or max(shape[1:]) > MAX_SIDE_PX:
        raise InputError(f"{what}: expected images of 16 to {MAX_SIDE_PX} pixels a side, "
                         f"found {shape[1]} rows x {shape[2]} columns")


def _check_storage(data: h5py.Dataset, what: str) -> None:
    stored = data.id.get_storage_size()
    if stored == 0:
        raise InputError(f"{what}: no frame is stored (shape {data.shape} is declared, the file is empty)")
    if data.nbytes > max(1 << 30, 2000 * stored):
        raise InputError(f"{what}: {data.nbytes} bytes are declared but {stored} stored; the file is damaged")
    if data.chunks and int(np.prod(data.chunks)) * data.dtype.itemsize > MAX_CHUNK_BYTES:
        raise InputError(f"{what}: chunks {data.chunks} are too large to read in blocks; "
                         "rewrite it, e.g. with h5repack -l frames:CHUNK=1x480x640")


def _as_uint8(block: NDArray[Any]) -> NDArray[np.uint8]:
    return np.rint(block).astype(np.uint8) if block.dtype.kind == "f" else block.astype(np.uint8, copy=False)


def _unit_to_uint8(block: NDArray[Any]) -> NDArray[np.uint8]:
    return np.rint(np.asarray(block, np.float64) * 255).astype(np.uint8)


def converter(data: Any, what: str) -> tuple[Callable[[NDArray[Any]], NDArray[np.uint8]], str | None]:
    """How blocks of `data` (array or dataset [N, rows, columns]) become uint8, and a note if they had to.

    Other types than uint8 are read once, by block, to learn their range: 0..255 is rounded, a fractional
    0..1 is multiplied by 255.

    Raises
    ------
    InputError
        If a value is not finite, lies outside 0..255, or is not a real number.
    """
    dtype = data.dtype
    if dtype == np.uint8:
        return _as_uint8, None
    if dtype.kind not in "fiu":
        raise InputError(f"{what}: expected uint8 pixels, found {dtype}")
    low, high, whole = np.inf, -np.inf, True
    for start in range(0, data.shape[0], BLOCK):
        try:
            block = np.asarray(data[start:start + BLOCK])
        except (OSError, RuntimeError, ValueError) as error:
            raise InputError(f"{what}: cannot be read ({one_line(error)})") from error
        if dtype.kind == "f":
            bad = ~np.isfinite(block).all(axis=(1, 2))
            if bad.any():
                raise InputError(f"{what}: expected finite pixels, found NaN or infinity "
                                 f"in frame {start + int(np.argmax(bad))}")
            whole = whole and bool((block == np.rint(block)).all())
        low, high = min(low, float(block.min())), max(high, float(block.max()))
    if low < 0 or high > 255:
        raise InputError(f"{what}: expected uint8 pixels or values in 0..255, found {dtype} in {low:g}..{high:g}")
    if high <= 1 and not whole:
        return _unit_to_uint8, f"{what}: {dtype} pixels in 0..1 were multiplied by 255 and rounded to uint8"
    return _as_uint8, f"{what}: {dtype} pixels were converted to uint8"
