"""MetaImage sequences: the header, and 8-bit frames by block whether they are compressed or not."""

import errno
import re
import tempfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError, SpeckleRecError
from .source import ArrayFrames, check_file, check_shape, one_line

MAX_HEADER_BYTES = 1 << 27
MAX_HEADER_LINES = 2_000_000     # 100,000 frames of 20
IN_MEMORY_BYTES = 1 << 26
MAX_DEFLATE_RATIO = 1100


@dataclass(frozen=True)
class Header:
    """Fields of a MetaImage sequence, those of each frame apart, and where the pixels begin."""

    fields: dict[str, str]
    frames: list[dict[str, str]]
    size: tuple[int, int, int]      # frames, rows, columns as stored
    data_offset: int


def read_header(path: Path) -> Header:
    """Parse the text before the pixels.

    Raises
    ------
    InputError
        If it is not the header of a local, 8-bit, single-channel MetaImage sequence.
    """
    check_file(path)
    fields: dict[str, str] = {}
    frames: dict[int, dict[str, str]] = {}
    try:
        with open(path, "rb") as file:
            for key, value in _lines(file, path):
                per_frame = re.fullmatch(r"Seq_Frame(\d{1,7})_(\w+)", key)
                if per_frame:
                    frames.setdefault(int(per_frame[1]), {})[per_frame[2]] = value
                else:
                    fields[key] = value
            offset = file.tell()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    size = _size(fields, path)
    return Header(fields, [frames.get(i, {}) for i in range(size[0])], size, offset)


def _lines(file: BinaryIO, path: Path) -> Iterator[tuple[str, str]]:
    for _ in range(MAX_HEADER_LINES):
        if file.tell() > MAX_HEADER_BYTES:
            break
        line = file.readline(1 << 16)
        key, equals, value = line.decode("latin-1").partition("=")
        if not equals or not line.endswith(b"\n"):
            raise InputError(f"{path}: expected a MetaImage header ('Key = Value' lines up to ElementDataFile); "
                             "the file is something else or truncated")
        yield key.strip(), value.strip()
        if key.strip() == "ElementDataFile":
            return
    raise InputError(f"{path}: the header is longer than {MAX_HEADER_BYTES >> 20} MiB or "
                     f"{MAX_HEADER_LINES} lines")


def _size(fields: dict[str, str], path: Path) -> tuple[int, int, int]:
    wanted = {"ElementType": "MET_UCHAR", "ElementDataFile": "LOCAL", "ElementNumberOfChannels": "1"}
    for key, value in wanted.items():
        found = fields.get(key, value if key == "ElementNumberOfChannels" else "nothing")
        if found != value:
            raise InputError(f"{path}: expected {key} = {value} (8-bit greyscale pixels in the file), found {found}")
    words = fields.get("DimSize", "").split()
    if not all(re.fullmatch(r"\d{1,9}", word) for word in words) or len(words) not in (3, 4):
        raise InputError(f"{path}: expected DimSize = columns rows frames, found '{fields.get('DimSize', '')[:60]}'")
    sizes = [int(word) for word in words]
    if len(sizes) == 4 and sizes.pop(2) != 1:
        raise InputError(f"{path}: expected a sequence of images, found one of volumes (DimSize {' '.join(words)})")
    columns, rows, n_frames = sizes
    check_shape((n_frames, rows, columns), f"{path}: DimSize")
    if n_frames > 1_000_000:
        raise InputError(f"{path}: DimSize declares {n_frames} frames")
    return n_frames, rows, columns


class SequenceFrames:
    """Pixels of a sequence: mapped where they are plain, inflated once, block-wise, where they are not."""

    def __init__(self, path: Path, header: Header):
        self._path, self._header = path, header
        self._reorient = reorientation(header.fields.get("UltrasoundImageOrientation", "MF"), path)
        self._compressed = header.fields.get("CompressedData", "False").lower() == "true"
        self._frames: ArrayFrames | None = None
        n_frames, rows, columns = header.size
        self.n_frames = n_frames
        turned = self._reorient(np.empty((1, rows, columns), np.uint8)).shape
        self.shape = (turned[1], turned[2])
        self._check_length()

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_frames": None, "_reorient": None}

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state)
        self._reorient = reorientation(self._header.fields.get("UltrasoundImageOrientation", "MF"), self._path)

    def read(self, start: int, stop: int) -> NDArray[np.uint8]:
        if self._frames is None:
            data = self._inflate() if self._compressed else np.memmap(
                self._path, np.uint8, "r", self._header.data_offset, self._header.size)
            self._frames = ArrayFrames(data, str(self._path), self._reorient)
        return self._frames.read(start, stop)

    def _check_length(self) -> None:
        there = self._path.stat().st_size - self._header.data_offset
        pixels = int(np.prod(self._header.size, dtype=np.int64))
        wanted = pixels
        if self._compressed:
            stated = self._header.fields.get("CompressedDataSize", "0")
            wanted = int(stated) if re.fullmatch(r"\d{1,15}", stated) else 0
            if pixels > MAX_DEFLATE_RATIO * max(there, 1):
                raise InputError(f"{self._path}: {pixels} bytes of pixels are declared, {there} compressed bytes "
                                 "cannot hold them; the file is truncated or damaged")
        if there < wanted:
            raise InputError(f"{self._path}: expected {wanted} bytes after the header, found {there}; "
                             "the file is truncated")

    def _inflate(self) -> NDArray[np.uint8]:
        size = int(np.prod(self._header.size, dtype=np.int64))
        if size <= IN_MEMORY_BYTES:
            whole = bytearray()
            self._inflate_to(whole.extend, size)
            return np.frombuffer(whole, np.uint8).reshape(self._header.size)
        # Written, not mapped: a page that a full disk cannot hold would end the process without a word.
        with tempfile.TemporaryFile(prefix="speckle_rec_") as file:
            self._inflate_to(file.write, size)
            file.flush()
            return np.memmap(file, np.uint8, "r", shape=self._header.size)  # keeps the file alive once closed

    def _inflate_to(self, write: Callable[[bytes], object], size: int) -> None:
        inflate, filled = zlib.decompressobj(), 0
        try:
            with open(self._path, "rb") as file:
                file.seek(self._header.data_offset)
                while filled < size and not inflate.eof:
                    packed = inflate.unconsumed_tail or file.read(1 << 20)
                    if not packed:
                        break
                    block = inflate.decompress(packed, min(1 << 22, size - filled))
                    write(block)
                    filled += len(block)
        except OSError as error:
            where = f"{tempfile.gettempdir()}, where it is inflated" if error.errno == errno.ENOSPC else "it"
            raise SpeckleRecError(f"{self._path}: {where}: {error.strerror}") from error
        except zlib.error as error:
            raise InputError(f"{self._path}: the compressed pixels are damaged ({one_line(error)})") from error
        if filled < size:
            raise InputError(f"{self._path}: expected {size} bytes of pixels, found {filled}; the file is truncated")


def reorientation(code: str, path: Path) -> Callable[[NDArray[np.uint8]], NDArray[np.uint8]]:
    """The function that turns frames [n, rows, columns] of an orientation such as ``UN`` or ``FM`` to ``MF``.

    The letters say where the column and the row index grow to: marked or unmarked side, near or far.
    """
    letters = code.upper()[:2]
    if not re.fullmatch(r"[MU][NF]|[NF][MU]", letters):
        raise InputError(f"{path}: expected UltrasoundImageOrientation of M/U and N/F such as MF, found '{code[:20]}'")
    transposed = letters[0] in "NF"
    lateral, depth = (letters[1], letters[0]) if transposed else (letters[0], letters[1])
    columns = slice(None, None, -1 if lateral == "U" else 1)
    rows = slice(None, None, -1 if depth == "N" else 1)

    def turn(frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return (frames.transpose(0, 2, 1) if transposed else frames)[:, rows, columns]

    return turn
