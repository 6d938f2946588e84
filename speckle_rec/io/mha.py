"""MetaImage sequences (.mha, .mhd): the header, and 8-bit frames by block whether they are compressed or not."""

import errno
import re
import tempfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError, SpeckleRecError
from .hdf5 import check_file, one_line
from .source import ArrayFrames, check_shape

MAX_HEADER_BYTES = 1 << 27
MAX_HEADER_LINES = 2_000_000     # 100,000 frames of 20
IN_MEMORY_BYTES = 1 << 26
MAX_DEFLATE_RATIO = 1100
ZLIB_OR_GZIP = 32 + zlib.MAX_WBITS
FRAME_KEY = re.compile(r"Seq_Frame(\d{1,12})_(\w+)")


@dataclass(frozen=True)
class Header:
    """What the head of a sequence says, and where its pixels are.

    Attributes
    ----------
    fields : those of the file.   frames : those of each frame.   size : frames, rows, columns as stored.
    data : the file with the pixels, which begin at `data_offset`, deflated (zlib, gzip) if `compressed`.
    frames_first : False where the frames' axis is stored innermost.
    spacing_mm : width and height of a pixel as stored, where the file tells one.
    notes : what a user should know, one line each.
    """

    fields: dict[str, str]
    frames: list[dict[str, str]]
    size: tuple[int, int, int]
    data: Path
    data_offset: int
    compressed: bool
    frames_first: bool = True
    spacing_mm: tuple[float, float] | None = None
    notes: list[str] = field(default_factory=list)


def read_header(path: Path) -> Header:
    """Parse the text before the pixels.

    Raises
    ------
    InputError
        If it is not the header of an 8-bit, single-channel MetaImage sequence, or its pixels are elsewhere than in
        this file or in one beside it.
    """
    check_file(path)
    try:
        with open(path, "rb") as file:
            pairs = list(_lines(file, path))
            offset = file.tell()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    fields = {key: value for key, value in pairs if not FRAME_KEY.fullmatch(key)}
    size = _size(fields, path)
    frames, notes = frames_of(pairs, size[0], path)
    data = path
    if (name := fields["ElementDataFile"]) != "LOCAL":
        data, offset = beside(path, name, "ElementDataFile = LOCAL"), 0
        if (skipped := fields.get("HeaderSize", "0")) not in ("0", "-1"):
            offset = int(skipped) if re.fullmatch(r"\d{1,9}", skipped) else 0
        elif skipped == "-1":
            offset = max(data.stat().st_size - int(np.prod(size, dtype=np.int64)), 0)
    compressed = fields.get("CompressedData", "False").lower() == "true"
    return Header(fields, frames, size, data, offset, compressed, spacing_mm=_spacing(fields), notes=notes)


def frames_of(pairs: Iterable[tuple[str, str]], n_frames: int, path: Path) -> tuple[list[dict[str, str]], list[str]]:
    """The fields of each frame from those called ``Seq_Frame<number>_<name>``, and warnings.

    Numbers may have any width. As many numbers as frames are taken in their order, whatever the first one is; of fewer,
    those below the number of frames count from 0, others from 1, or from the first.
    """
    found: dict[int, dict[str, str]] = {}
    for key, value in pairs:
        if per_frame := FRAME_KEY.fullmatch(key):
            found.setdefault(int(per_frame[1]), {})[per_frame[2]] = value
    numbers = sorted(found)
    if not numbers:
        return [{} for _ in range(n_frames)], []
    what = f"{path}: expected fields Seq_Frame... of {n_frames} frames, found those of {len(numbers)} (numbers " \
           f"{numbers[0]} to {numbers[-1]})"
    if len(numbers) == n_frames:
        jumps = numbers[-1] - numbers[0] != n_frames - 1
        return [found[k] for k in numbers], [f"{what}: taken in their order"] if jumps else []
    origin = 0 if numbers[-1] < n_frames or numbers[0] == 0 else 1 if numbers[-1] == n_frames else numbers[0]
    frames = [found.get(origin + k, {}) for k in range(n_frames)]
    missing = [k for k, frame in enumerate(frames) if not frame]
    notes = [f"{what}; numbers count from {origin}"]
    if missing:
        few = ", ".join(map(str, missing[:5]))
        notes[0] += f", and nothing is known of {len(missing)} frames ({few}{', ...' if len(missing) > 5 else ''})"
    return frames, notes


def beside(path: Path, name: str, wanted: str) -> Path:
    """The file `name` in the folder of `path`, where its pixels are.

    Raises
    ------
    InputError
        If the name leads elsewhere, or is a list or a pattern of files.
    """
    if name in ("", ".", "..", "LIST") or name.startswith("LIST ") or "%" in name or Path(name).name != name:
        raise InputError(f"{path}: expected {wanted} or the name of one file beside it, found '{name[:60]}'; write the "
                         "sequence into one file, as .mha or .nrrd")
    check_file(path.with_name(name), "file with the pixels")
    return path.with_name(name)


def _lines(file: BinaryIO, path: Path) -> Iterator[tuple[str, str]]:
    for _ in range(MAX_HEADER_LINES):
        if file.tell() > MAX_HEADER_BYTES:
            break
        line = file.readline(1 << 16)
        key, equals, value = line.decode("latin-1").partition("=")
        if not equals or not (line.endswith(b"\n") or key.strip() == "ElementDataFile"):
            raise InputError(f"{path}: expected a MetaImage header ('Key = Value' lines up to ElementDataFile); "
                             "the file is something else or truncated")
        yield key.strip(), value.strip()
        if key.strip() == "ElementDataFile":
            return
    raise InputError(f"{path}: the header is longer than {MAX_HEADER_BYTES >> 20} MiB or "
                     f"{MAX_HEADER_LINES} lines")


def _size(fields: dict[str, str], path: Path) -> tuple[int, int, int]:
    wanted = {"ElementType": "MET_UCHAR", "ElementNumberOfChannels": "1"}
    for key, value in wanted.items():
        found = fields.get(key, value if key == "ElementNumberOfChannels" else "nothing")
        if found != value:
            raise InputError(f"{path}: expected {key} = {value} (8-bit greyscale pixels), found {found}")
    words = fields.get("DimSize", "").split()
    if not all(re.fullmatch(r"\d{1,9}", word) for word in words) or len(words) not in (3, 4):
        raise InputError(f"{path}: expected DimSize = columns rows frames, found '{fields.get('DimSize', '')[:60]}'")
    sizes = [int(word) for word in words]
    if len(sizes) == 4 and sizes.pop(2) != 1:
        raise InputError(f"{path}: expected a sequence of images, found one of volumes (DimSize {' '.join(words)})")
    columns, rows, n_frames = sizes
    check_size(n_frames, rows, columns, f"{path}: DimSize")
    return n_frames, rows, columns


def _spacing(fields: dict[str, str]) -> tuple[float, float] | None:
    words = fields.get("ElementSpacing", fields.get("ElementSize", "")).split()
    try:
        return float(words[0]), float(words[1])
    except (IndexError, ValueError):
        return None


def check_size(n_frames: int, rows: int, columns: int, what: str) -> None:
    """Raise `InputError` unless a sequence can have that size."""
    check_shape((n_frames, rows, columns), what)
    if n_frames > 1_000_000:
        raise InputError(f"{what} declares {n_frames} frames")


class SequenceFrames:
    """Pixels of a sequence: mapped where they are plain, inflated once, block-wise, where they are not."""

    def __init__(self, path: Path, header: Header):
        self._path, self._header = header.data, header
        self._reorient = reorientation(header.fields.get("UltrasoundImageOrientation", "MF"), path)
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
            data = self._inflate() if self._header.compressed else np.memmap(
                self._path, np.uint8, "r", self._header.data_offset, self._stored)
            data = data if self._header.frames_first else np.moveaxis(data, -1, 0)
            self._frames = ArrayFrames(data, str(self._path), self._reorient)
        return self._frames.read(start, stop)

    @property
    def _stored(self) -> tuple[int, int, int]:
        n_frames, rows, columns = self._header.size
        return (n_frames, rows, columns) if self._header.frames_first else (rows, columns, n_frames)

    def _check_length(self) -> None:
        there = self._path.stat().st_size - self._header.data_offset
        pixels = int(np.prod(self._header.size, dtype=np.int64))
        wanted = pixels
        if self._header.compressed:
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
            return np.frombuffer(whole, np.uint8).reshape(self._stored)
        # Written, not mapped: a page that a full disk cannot hold would end the process without a word.
        with tempfile.TemporaryFile(prefix="speckle_rec_") as file:
            self._inflate_to(file.write, size)
            file.flush()
            return np.memmap(file, np.uint8, "r", shape=self._stored)  # keeps the file alive once closed

    def _inflate_to(self, write: Callable[[bytes], object], size: int) -> None:
        inflate, filled = zlib.decompressobj(ZLIB_OR_GZIP), 0
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
