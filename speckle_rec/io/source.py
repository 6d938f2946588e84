"""Where a scan's frames come from, and what a reader hands over: read by block, always uint8."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import h5py
import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from .hdf5 import H5_ERRORS, h5_dataset, one_line, open_h5

Array = NDArray[np.float64]

BLOCK = 64
MAX_SIDE_PX = 8192
MAX_CHUNK_BYTES = 1 << 29


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
    about: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


class ArrayFrames:
    """Frames of an array or memory map; `reorient` is applied to each block."""

    def __init__(self, data: NDArray[Any], what: str,
                 reorient: Callable[[NDArray[np.uint8]], NDArray[np.uint8]] | None = None):
        check_shape(data.shape, what)
        self._data = data
        self._to_uint8, self.note = converter(data, what)
        self._reorient = reorient
        self.n_frames = int(data.shape[0])
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


class MaskedFrames:
    """Frames of another source, black where `mask` [rows, columns] is not true."""

    def __init__(self, source: FrameSource, mask: NDArray[np.bool_]):
        self._source, self._mask = source, mask
        self.n_frames, self.shape = source.n_frames, source.shape

    def read(self, start: int, stop: int) -> NDArray[np.uint8]:
        return self._source.read(start, stop) * self._mask


def sampled(source: FrameSource, n: int = 24) -> NDArray[np.uint8]:
    """Up to `n` frames [n, rows, columns] spread evenly over a source."""
    picks = np.unique(np.linspace(0, source.n_frames - 1, min(n, source.n_frames)).round().astype(int))
    return np.concatenate([source.read(int(k), int(k) + 1) for k in picks])


def sampled_pairs(source: FrameSource, n: int, apart: int = 1) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Up to `n` frames spread over a source, and the frames `apart` after them: [n, rows, columns] twice."""
    last = source.n_frames - 1
    first = np.unique(np.linspace(0, max(last - apart, 0), n).round().astype(int))
    both = [[source.read(k, k + 1)[0] for k in (int(a), min(int(a) + apart, last))] for a in first]
    return np.stack([pair[0] for pair in both]), np.stack([pair[1] for pair in both])


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
