"""Where a scan's frames come from, and what a reader hands over: read by block, always uint8."""

import math
import stat
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
MAX_CHUNK_BYTES = 1 << 29
MAX_ATTRIBUTE_BYTES = 1 << 20
MAX_WITH_TEXTS_BYTES = 1 << 29     # calibrations and training statistics

# What h5py raises for damaged files; TypeError for types that numpy lacks.
H5_ERRORS = (KeyError, OSError, RuntimeError, ValueError, TypeError, OverflowError, SystemError)


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
    image_ok: NDArray[np.bool_] | None = None
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
            self.chunks: tuple[int, ...] | None = data.chunks

    def read(self, start: int, stop: int) -> NDArray[np.uint8]:
        with open_h5(self._path) as file:
            try:
                block = file[self._key][start:stop]
            except H5_ERRORS as error:
                raise InputError(f"{self._path}: dataset '{self._key}': frames {start}..{stop - 1} cannot be "
                                 f"read ({one_line(error)}); is the file truncated?") from error
        return self._to_uint8(block)


class KeptFrames:
    """Frames of another source, kept in memory once they are read; callers do not write to them."""

    def __init__(self, source: FrameSource):
        self._source = source
        self.n_frames, self.shape = source.n_frames, source.shape
        self._frames = np.empty((self.n_frames, *self.shape), np.uint8)
        self._read = np.zeros(self.n_frames, bool)

    def read(self, start: int, stop: int) -> NDArray[np.uint8]:
        wanted = slice(start, stop)
        if not self._read[wanted].all():
            self._frames[wanted] = self._source.read(start, stop)
            self._read[wanted] = True
        return self._frames[wanted]


class FilledFrames:
    """Frames of another source; those that are no images (not `ok` [N]) show the last one before that is.

    At the start, where there is none, they show the first.
    """

    def __init__(self, source: FrameSource, ok: NDArray[np.bool_]):
        self._source = source
        self.n_frames, self.shape = source.n_frames, source.shape
        self._shown = np.maximum.accumulate(np.where(ok, np.arange(len(ok)), int(np.argmax(ok))))

    def read(self, start: int, stop: int) -> NDArray[np.uint8]:
        frames = self._source.read(start, stop).copy()
        for k, shown in enumerate(self._shown[start:stop], start):
            if shown != k:
                frames[k - start] = self._source.read(shown, shown + 1)[0]
        return frames


def sampled(source: FrameSource, n: int = 24) -> NDArray[np.uint8]:
    """Up to `n` frames [n, rows, columns] spread evenly over a source."""
    picks = np.unique(np.linspace(0, source.n_frames - 1, min(n, source.n_frames)).round().astype(int))
    return np.concatenate([source.read(int(k), int(k) + 1) for k in picks])


def one_line(error: BaseException, limit: int = 160) -> str:
    """The text of an error on one line."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= limit else text[: limit - 1] + "…"


def check_file(path: Path, what: str = "file") -> None:
    """Raise `InputError` unless `path` is a regular file: to open a pipe or a device may wait for ever."""
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InputError(f"{path}: no such {what}") from error
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be opened ({getattr(error, 'strerror', None) or one_line(error)})") from error
    if not stat.S_ISREG(mode):
        found = "a folder" if stat.S_ISDIR(mode) else "a pipe, a socket or a device"
        raise InputError(f"{path}: expected a file, found {found}")


def check_name(name: str, path: Path) -> str:
    """`name` if it can name a folder of results.

    Raises
    ------
    InputError
        If it is empty, hidden, leads elsewhere, or cannot be printed on a line.
    """
    if name.startswith(".") or not name.isprintable() or not name.strip() or "/" in name or len(name) > 200:
        raise InputError(f"{path}: expected a scan with a plain name of up to 200 characters that does not "
                         f"begin with a dot, found {name[:40]!r}; rename the file")
    return name


def open_h5(path: Path) -> h5py.File:
    """Open an HDF5 file to read.

    Raises
    ------
    InputError
        If there is no such file, or it is not HDF5.
    """
    check_file(path)
    try:
        return h5py.File(path, "r")
    except (OSError, RuntimeError, ValueError) as error:
        if isinstance(error, PermissionError):
            raise InputError(f"{path}: not allowed to read it") from error
        raise InputError(f"{path}: expected an HDF5 file, found something else or a truncated one "
                         f"({one_line(error)})") from error


def h5_dataset(file: h5py.Group, key: str, path: Path) -> h5py.Dataset:
    """The dataset `key` that lies in this very file.

    Links that lead elsewhere are refused without a look at where: that may be a pipe, or not for us to read.

    Raises
    ------
    InputError
        If it is missing, not a dataset, or stored in another file.
    """
    try:
        names = list(file.keys())
        if key not in names:
            raise InputError(f"{path}: expected a dataset '{key}', found {', '.join(names[:8]) or 'nothing'}")
        link = file.get(key, getlink=True)
        if not isinstance(link, h5py.HardLink):
            raise InputError(f"{path}: dataset '{key}' is a link to another place; copy the data into the file")
        data = file[key]
        if not isinstance(data, h5py.Dataset):
            raise InputError(f"{path}: '{key}' is a group, expected a dataset")
        if data.external or data.is_virtual:
            raise InputError(f"{path}: dataset '{key}' lies in another file; copy the data into this one")
        return data
    except H5_ERRORS as error:
        raise InputError(f"{path}: dataset '{key}' cannot be opened ({one_line(error)})") from error


def read_dataset(path: Path, key: str, max_bytes: int = 1 << 28) -> NDArray[Any]:
    """A small dataset of numbers whole.

    Raises
    ------
    InputError
        If it is missing, damaged, too large, stored in another file, or holds something else than numbers.
    """
    with open_h5(path) as file:
        return read_array(file, key, path, max_bytes)


def read_array(group: h5py.Group, key: str, path: Path, max_bytes: int = 1 << 28) -> NDArray[Any]:
    """The same as `read_dataset`, of a file or a group of it that is open."""
    data = h5_dataset(group, key, path)
    try:
        if data.size is None or data.size * data.dtype.itemsize > max_bytes:
            raise InputError(f"{path}: dataset '{key}' is too large or empty: shape {data.shape}")
        if data.dtype.kind not in "fiub":
            raise InputError(f"{path}: dataset '{key}': expected numbers, found {data.dtype}")
        return np.asarray(data[()])
    except H5_ERRORS as error:
        raise InputError(f"{path}: dataset '{key}' cannot be read ({one_line(error)})") from error


def attributes(item: h5py.HLObject, path: Path) -> dict[str, Any]:
    """Attributes of a file, a group or a dataset; ask for those of the file first.

    Raises
    ------
    InputError
        If one is damaged or as large as data.
    """
    if isinstance(item, h5py.File):
        _check_heaps(path)
    try:
        for name in item.attrs:
            stored = item.attrs.get_id(name)
            size = math.prod(stored.shape or ()) * stored.dtype.itemsize
            if size > MAX_ATTRIBUTE_BYTES:
                raise InputError(f"{path}: attribute '{name}' has {size} bytes, which no attribute of ours has")
        return dict(item.attrs)
    except H5_ERRORS as error:
        raise InputError(f"{path}: the attributes cannot be read ({one_line(error)})") from error


def _check_heaps(path: Path) -> None:
    """Raise `InputError` if HDF5 would walk one of the file's global heaps, where texts lie, for ever.

    The library strides by the sizes it finds, without a look at whether they are zero or so large that they wrap.
    """
    if path.stat().st_size > MAX_WITH_TEXTS_BYTES:
        raise InputError(f"{path}: expected a file of up to {MAX_WITH_TEXTS_BYTES >> 20} MiB, found one of "
                         f"{path.stat().st_size >> 20} MiB")
    data = path.read_bytes()
    heap = data.find(b"GCOL")
    while heap >= 0:
        end = min(heap + int.from_bytes(data[heap + 8:heap + 16], "little"), len(data))
        at = heap + 16
        while at + 16 <= end:
            size = int.from_bytes(data[at + 8:at + 16], "little")
            stride = size if data[at:at + 2] == b"\0\0" else 16 + -(-size // 8) * 8
            if not 0 < stride <= end - at:
                raise InputError(f"{path}: the HDF5 file is damaged (a heap of no end)")
            at += stride
        heap = data.find(b"GCOL", heap + 4)


def check_shape(shape: tuple[int, ...] | None, what: str) -> None:
    """Raise `InputError` unless `shape` is that of at least one image of a usable size."""
    if shape is None or len(shape) != 3:
        raise InputError(f"{what}: expected frames [N, rows, columns], found shape {shape}")
    if shape[0] == 0:
        raise InputError(f"{what}: expected at least one frame, found none")
    if min(shape[1:]) < 16 or max(shape[1:]) > MAX_SIDE_PX:
        last = f"; if the last axis counts the frames, store np.moveaxis(frames, 2, 0), {list(shape)}"
        raise InputError(f"{what}: expected frames [N, rows, columns] of 16 to {MAX_SIDE_PX} pixels a side, "
                         f"found {shape[1]} rows x {shape[2]} columns{last if shape[2] < 16 <= shape[0] else ''}")


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
        except H5_ERRORS as error:
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
