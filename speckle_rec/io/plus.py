"""MetaImage sequences of the PLUS toolkit (``.igs.mha``): frames with a transform and a status each.

Images are turned to the orientation MF (columns towards the marked side, rows away from the probe), which
is also what PLUS does before it applies an image-to-probe calibration. The pose used is that of the probe
in the reference, inv(ReferenceToTracker) ProbeToTracker, where a reference is tracked.
"""

import re
import tempfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..geometry import inverse
from . import calib as calib_files
from .calib import ImageCalibration
from .source import ArrayFrames, ScanContent, check_shape, one_line
from .tusrec import find_landmarks, validated_poses

Array = NDArray[np.float64]

MAX_HEADER_BYTES = 1 << 27
IN_MEMORY_BYTES = 1 << 26
MAX_DEFLATE_RATIO = 1100
DEFAULT_RATE_HZ = 20.0

# Image-to-probe matrices published with the sequences of PlusLibData (BSD 3-Clause, PLUS Toolkit, 2017),
# found by file name because these files carry none.
PUBLISHED_IMAGE_TO_PROBE = {
    "BoneUltrasound_L14": (7.96231e-04, 8.54272e-02, 8.50194e-04, 12.74,
                           -8.53999e-02, 7.72721e-04, 2.33653e-03, 50.76,
                           2.32863e-03, -8.71617e-04, 8.53992e-02, -0.5, 0, 0, 0, 1),
    "SpinePhantomFreehand": (-1.57821e-03, 7.85919e-02, -8.03285e-03, 15.3978,
                             -8.39128e-02, 3.72697e-03, 1.53803e-02, 49.5705,
                             1.59024e-02, 7.14276e-03, 8.03604e-02, -8.63446, 0, 0, 0, 1),
}


@dataclass(frozen=True)
class Header:
    """Fields of a MetaImage sequence, those of each frame apart, and where the pixels begin."""

    fields: dict[str, str]
    frames: list[dict[str, str]]
    size: tuple[int, int, int]      # frames, rows, columns as stored
    data_offset: int


def open_scan(path: Path, calib: Path | None = None, landmarks: Path | None = None) -> ScanContent:
    """Read the header of a PLUS sequence; pixels are read, or inflated to a temporary file, when asked for.

    Raises
    ------
    InputError
        If the file is missing, truncated, not 8-bit greyscale, or a given calibration is not rigid.
    """
    header = read_header(path)
    source = SequenceFrames(path, header)
    n_frames = source.n_frames
    calibration = _calibration(path, header, source.shape, calib)
    warnings = list(calibration.warnings)
    T_world_tool, tracked_ok, notes = _poses(path, header)
    timestamps = _numbers_of(header, "Timestamp")
    if timestamps is not None and not (np.diff(timestamps) > 0).all():
        notes.append(f"{path}: timestamps do not increase; they are not used")
        timestamps = None
    bad = sum(frame.get("ImageStatus", "OK") != "OK" for frame in header.frames)
    if bad:
        notes.append(f"{path}: {bad} of {n_frames} frames carry no valid image")
    rate = DEFAULT_RATE_HZ if timestamps is None or n_frames < 2 else 1 / float(np.median(np.diff(timestamps)))
    points, more = find_landmarks(path, n_frames, source.shape, landmarks)
    return ScanContent(
        name=scan_name(path), path=path, source=source, scale=calibration.scale,
        T_tool_image=calibration.T_tool_image, T_world_tool=T_world_tool, tracked_ok=tracked_ok,
        timestamps_s=timestamps, frame_rate_hz=rate, landmarks=points,
        calibration_source=calibration.source, warnings=[*warnings, *notes, *more])


def scan_name(path: Path) -> str:
    """The file's name without ``.mha`` and ``.igs``."""
    return re.sub(r"(\.igs)?\.mha$", "", path.name, flags=re.IGNORECASE)


def read_header(path: Path) -> Header:
    """Parse the text before the pixels.

    Raises
    ------
    InputError
        If it is not the header of a local, 8-bit, single-channel MetaImage sequence.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file" if not path.exists() else f"{path}: expected a file, found a folder")
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
    while file.tell() < MAX_HEADER_BYTES:
        line = file.readline(1 << 16)
        key, equals, value = line.decode("latin-1").partition("=")
        if not equals or not line.endswith(b"\n"):
            raise InputError(f"{path}: expected a MetaImage header ('Key = Value' lines up to ElementDataFile); "
                             "the file is something else or truncated")
        yield key.strip(), value.strip()
        if key.strip() == "ElementDataFile":
            return
    raise InputError(f"{path}: the header is longer than {MAX_HEADER_BYTES >> 20} MiB")


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
        out: NDArray[np.uint8]
        if size <= IN_MEMORY_BYTES:
            out = np.empty(size, np.uint8)
        else:
            with tempfile.TemporaryFile(prefix="speckle_rec_") as file:
                file.truncate(size)
                out = np.memmap(file, np.uint8, "r+", shape=(size,))  # keeps the file alive once closed
        inflate, filled = zlib.decompressobj(), 0
        try:
            with open(self._path, "rb") as file:
                file.seek(self._header.data_offset)
                while filled < size and not inflate.eof:
                    packed = inflate.unconsumed_tail or file.read(1 << 20)
                    if not packed:
                        break
                    block = inflate.decompress(packed, min(1 << 22, size - filled))
                    out[filled:filled + len(block)] = np.frombuffer(block, np.uint8)
                    filled += len(block)
        except (zlib.error, OSError) as error:
            raise InputError(f"{self._path}: the compressed pixels are damaged ({one_line(error)})") from error
        if filled < size:
            raise InputError(f"{self._path}: expected {size} bytes of pixels, found {filled}; the file is truncated")
        return out.reshape(self._header.size)


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


def _calibration(path: Path, header: Header, shape: tuple[int, int], calib: Path | None) -> ImageCalibration:
    if calib is not None:
        return calib_files.read(calib, shape)
    stored = header.fields.get("ImageToProbeTransform") or header.frames[0].get("ImageToProbeTransform")
    if stored:
        return calib_files.from_plus(_matrix(stored, f"{path}: ImageToProbeTransform"), shape,
                                     f"{path}: ImageToProbeTransform")
    name = scan_name(path)
    if name in PUBLISHED_IMAGE_TO_PROBE:
        return calib_files.from_plus(np.reshape(PUBLISHED_IMAGE_TO_PROBE[name], (4, 4)), shape,
                                     f"published with PlusLibData for {name}")
    scale = calib_files.built_in().scale
    return ImageCalibration(scale, None, "unknown", (
        f"{path}: pixel size unknown, {scale[0, 0]:.4f} x {scale[1, 1]:.4f} mm assumed: "
        "distances are not to be trusted; give --calib",))


def _matrix(text: str, what: str) -> Array:
    try:
        values = np.array([float(word) for word in text.split()])
    except ValueError as error:
        raise InputError(f"{what}: expected 16 numbers, {one_line(error)}") from error
    if values.size != 16:
        raise InputError(f"{what}: expected 16 numbers, found {values.size}")
    return values.reshape(4, 4)


def _transforms(path: Path, header: Header, name: str) -> tuple[Array, NDArray[np.bool_]] | None:
    """Transforms [N, 4, 4] called `name` and their status [N]; None if the sequence has none."""
    key = f"{name}Transform"
    if not any(key in frame for frame in header.frames):
        return None
    out, ok = np.full((len(header.frames), 4, 4), np.nan), np.zeros(len(header.frames), bool)
    for i, frame in enumerate(header.frames):
        if key in frame and frame.get(f"{key}Status", "OK") == "OK":
            out[i], ok[i] = _matrix(frame[key], f"{path}: Seq_Frame{i:04d}_{key}"), True
    return out, ok


def _poses(path: Path, header: Header) -> tuple[Array | None, NDArray[np.bool_] | None, list[str]]:
    direct = _transforms(path, header, "ProbeToReference")
    probe = direct or _transforms(path, header, "ProbeToTracker")
    if probe is None:
        return None, None, []
    poses, ok, notes = validated_poses(probe[0], f"{path}: probe transforms", probe[1])
    reference = None if direct else _transforms(path, header, "ReferenceToTracker")
    if reference is not None:
        bases, ok_bases, more = validated_poses(reference[0], f"{path}: ReferenceToTrackerTransform", reference[1])
        notes += more
        ok &= ok_bases
        poses[ok] = inverse(bases[ok]) @ poses[ok]
        poses[~ok] = np.nan
    if not ok.any():
        return None, None, [*notes, f"{path}: no frame is tracked"]
    return poses, ok, notes


def _numbers_of(header: Header, key: str) -> Array | None:
    try:
        values = np.array([float(frame[key]) for frame in header.frames])
    except (KeyError, ValueError):
        return None
    return values if np.isfinite(values).all() else None


def write(path: Path, blocks: Iterator[tuple[int, NDArray[np.uint8]]], size: tuple[int, int, int],
          T_reference_probe: Array, *, image_to_probe: Array | None = None, timestamps_s: Array | None = None,
          tracked_ok: NDArray[np.bool_] | None = None, compress: bool = True) -> None:
    """Write a sequence that PLUS, 3D Slicer and SimpleITK read, in bounded memory.

    Parameters
    ----------
    blocks : (start, frames uint8 [n, rows, columns]) in order, as `Scan.blocks` gives them.
    size : (frames, rows, columns).
    T_reference_probe : [N, 4, 4] in mm, written as ``ProbeToReferenceTransform``.
    image_to_probe : PLUS's M (pixels from 0), for the header.
    """
    n_frames, rows, columns = size
    ok = np.ones(n_frames, bool) if tracked_ok is None else tracked_ok
    times = np.arange(n_frames) / DEFAULT_RATE_HZ if timestamps_s is None else timestamps_s
    head = ["ObjectType = Image", "NDims = 3", "AnatomicalOrientation = RAI", "BinaryData = True",
            "BinaryDataByteOrderMSB = False", "CenterOfRotation = 0 0 0", f"CompressedData = {compress}"]
    tail = [f"DimSize = {columns} {rows} {n_frames}", "Kinds = domain domain list", "ElementNumberOfChannels = 1",
            "ElementSpacing = 1 1 1", "ElementType = MET_UCHAR", "Offset = 0 0 0",
            "TransformMatrix = 1 0 0 0 1 0 0 0 1", "UltrasoundImageOrientation = MF",
            "UltrasoundImageType = BRIGHTNESS"]
    if image_to_probe is not None:
        tail.append(f"ImageToProbeTransform = {_row(image_to_probe)}")
    for i in range(n_frames):
        frame = f"Seq_Frame{i:04d}"
        tail += [f"{frame}_ProbeToReferenceTransform = {_row(T_reference_probe[i] if ok[i] else np.eye(4))}",
                 f"{frame}_ProbeToReferenceTransformStatus = {'OK' if ok[i] else 'INVALID'}",
                 f"{frame}_Timestamp = {times[i]:.6f}", f"{frame}_ImageStatus = OK"]
    tail.append("ElementDataFile = LOCAL")
    with open(path, "wb") as file:
        file.write(("\n".join(head) + "\n").encode())
        size_at = file.tell()
        if compress:
            file.write(f"CompressedDataSize = {0:<20d}\n".encode())
        file.write(("\n".join(tail) + "\n").encode())
        start = file.tell()
        deflate = zlib.compressobj(1)
        for _, frames in blocks:
            raw = np.ascontiguousarray(frames, np.uint8).tobytes()
            file.write(deflate.compress(raw) if compress else raw)
        if compress:
            file.write(deflate.flush())
            packed = file.tell() - start
            file.seek(size_at)
            file.write(f"CompressedDataSize = {packed:<20d}\n".encode())


def _row(T: Array) -> str:
    return " ".join(f"{value:.12g}" for value in np.asarray(T).ravel())
