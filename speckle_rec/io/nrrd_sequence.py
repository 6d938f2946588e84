"""Sequences as NRRD: those of PLUS (``.igs.nrrd``), with fields of each frame, and of 3D Slicer (``.seq.nrrd``).

They say what those in MetaImage format say, in other words: the header comes out the same (`mha.Header`).
"""

import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nrrd
import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from . import sequence_fields
from .hdf5 import check_file, one_line
from .mha import MAX_HEADER_BYTES, Header, beside, check_size, frames_of

Array = NDArray[np.float64]

BYTES = ("unsigned char", "uchar", "uint8", "uint8_t")
FRAME_AXES = ("list", "time")
MILLIMETRES = ("mm", "millimeter", "millimeters", "millimetre", "millimetres")
SECONDS = {"s": 1.0, "sec": 1.0, "second": 1.0, "seconds": 1.0, "ms": 1e-3, "millisecond": 1e-3, "milliseconds": 1e-3}


def read_header(path: Path) -> Header:
    """Parse the text before the pixels.

    Raises
    ------
    InputError
        If it is not the header of a sequence of 8-bit greyscale images, plain or in gzip.
    """
    check_file(path)
    try:
        with open(path, "rb") as file:
            if file.read(4) != b"NRRD":
                raise InputError(f"{path}: expected NRRD, found something else")
            file.seek(0)
            head: dict[str, Any] = dict(nrrd.read_header(_Head(file)))
            offset = file.tell()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except Exception as error:      # pynrrd lets through what its parts raise
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: expected the header of an NRRD file ({one_line(error)})") from error
    if head.get("type") not in BYTES:
        raise InputError(f"{path}: expected type: uint8 (8-bit greyscale pixels), found {head.get('type')}")
    encoding = str(head.get("encoding"))
    if encoding not in ("raw", "gzip", "gz"):
        raise InputError(f"{path}: expected encoding: raw or gzip, found {encoding}; save it so, or as .mha")
    axes = _axes(head, path)
    n_frames, rows, columns = (int(head["sizes"][k]) for k in axes)
    check_size(n_frames, rows, columns, f"{path}: sizes")
    fields = {str(key): str(value) for key, value in head.items()}
    frames, notes = frames_of(fields.items(), n_frames, path)
    if axes[0] is not None and not any("Timestamp" in frame for frame in frames):
        for frame, time in zip(frames, _times(head, axes[0], n_frames), strict=False):
            frame["Timestamp"] = time
    data = path
    if name := head.get("data file", head.get("datafile")):
        data, offset = beside(path, str(name), "pixels in the file"), 0
    offset = _skipped(head, path, data, offset, n_frames * rows * columns, encoding == "raw")
    return Header(fields, frames, (n_frames, rows, columns), data, offset, encoding != "raw", axes[0] != 0,
                  _spacing(head, axes, notes, path), notes)


class _Head:
    """The lines of a file up to the empty one; a header without end is none."""

    def __init__(self, file: Any):
        self._file = file

    def __iter__(self) -> "_Head":
        return self

    def __next__(self) -> bytes:
        line: bytes = self._file.readline(1 << 16)
        if not line or self._file.tell() > MAX_HEADER_BYTES:
            raise StopIteration
        return line


def _axes(head: dict[str, Any], path: Path) -> tuple[int, int, int]:
    """Which of the axes counts frames, rows and columns; NRRD's first axis is the innermost."""
    sizes = [int(n) for n in head.get("sizes", ())]
    kinds = [str(kind).lower() for kind in head.get("kinds", ["???"] * len(sizes))]
    what = f"{path}: expected a sequence of images, one axis of kind list, found sizes {sizes}, kinds {' '.join(kinds)}"
    if len(kinds) != len(sizes) or len(sizes) not in (3, 4) or min(sizes) < 1:
        raise InputError(what)
    if any(word in kind for kind in kinds for word in ("color", "vector", "complex", "matrix")):
        raise InputError(f"{what}; save greyscale images")
    told = [k for k, kind in enumerate(kinds) if kind in FRAME_AXES]
    frames = told[0] if told else len(sizes) - 1
    images = [k for k in range(len(sizes)) if k != frames]
    if len(told) > 1 or frames not in (0, len(sizes) - 1) or any(sizes[k] != 1 for k in images[2:]):
        raise InputError(f"{what}; a sequence of volumes is none of images")
    return frames, images[1], images[0]


def _times(head: dict[str, Any], axis: int, n_frames: int) -> list[str]:
    """Times (s) that 3D Slicer gives as the index of the axis of frames; none where it counts something else."""
    unit = SECONDS.get(str(head.get(f"axis {axis} index unit", "")).strip().lower())
    words = re.split(r"[\s,]+", str(head.get(f"axis {axis} index values", "")).strip())
    if unit is None or len(words) != n_frames:
        return []
    try:
        return [repr(unit * float(word)) for word in words]
    except ValueError:
        return []


def _spacing(head: dict[str, Any], axes: tuple[int, int, int], notes: list[str],
             path: Path) -> tuple[float, float] | None:
    if (directions := head.get("space directions")) is not None:
        lengths = [float(np.linalg.norm(np.asarray(d, float))) if d is not None else np.nan for d in directions]
    else:
        lengths = [float(v) for v in np.atleast_1d(head.get("spacings", []))]
    if len(lengths) <= max(axes[1:]) or not np.isfinite([lengths[k] for k in axes[1:]]).all():
        return None
    units = {str(unit).lower() for unit in np.atleast_1d(head.get("space units", []))} - {"", *MILLIMETRES}
    if units:
        notes.append(f"{path}: space units {', '.join(sorted(units))} are not mm: the spacing is not used")
        return None
    return lengths[axes[2]], lengths[axes[1]]


def _skipped(head: dict[str, Any], path: Path, data: Path, offset: int, n_bytes: int, raw: bool) -> int:
    """Where the pixels begin, after lines and bytes that the header says to skip."""
    lines, skipped = (int(head.get(key, head.get(key.replace(" ", ""), 0))) for key in ("line skip", "byte skip"))
    if lines or (skipped and not raw) or skipped < -1:
        raise InputError(f"{path}: expected pixels from the start of the data, found line skip {lines}, byte skip "
                         f"{skipped}; save the sequence as one .nrrd")
    return max(data.stat().st_size - n_bytes, 0) if skipped == -1 else offset + skipped


@dataclass(frozen=True)
class Tracked:
    """Poses of a sequence: [N, 4, 4] of the tool in the world, where they are valid [N], and the image on the tool."""

    T_world_tool: Array
    T_tool_image: Array
    ok: NDArray[np.bool_]

    @classmethod
    def of(cls, T_world_tool: Array | None, T_tool_image: Array, ok: NDArray[np.bool_] | None) -> "Tracked | None":
        """Poses, or None where there are none."""
        if T_world_tool is None:
            return None
        return cls(T_world_tool, T_tool_image, np.ones(len(T_world_tool), bool) if ok is None else ok)


def write(path: Path, blocks: Iterator[tuple[int, NDArray[np.uint8]]], size: tuple[int, int, int], scale: Array,
          timestamps_s: Array, tracked: Tracked | None = None) -> None:
    """Write a sequence that 3D Slicer (Sequences, SlicerIGSIO), PLUS and pynrrd read, in bounded memory.

    Four axes, columns, rows, one slice and time; poses as fields of each frame, as PLUS has them, from pixels (from 0):
    the size of a pixel is in them, and then not in the spacing. Without poses the pixels lie in image mm.

    Parameters
    ----------
    blocks : (start, frames uint8 [n, rows, columns]) in order.
    size : (frames, rows, columns).
    scale : [4, 4], pixel (from 1) -> image mm.
    timestamps_s : [N].
    """
    n_frames, rows, columns = size
    sx, sy = np.diag(scale)[:2] if tracked is None else (1.0, 1.0)
    x0, y0 = (scale @ (1, 1, 0, 1))[:2] if tracked is None else (0.0, 0.0)
    head = ["NRRD0005", "type: uint8", "dimension: 4", "space: left-posterior-superior",
            f"sizes: {columns} {rows} 1 {n_frames}",
            f"space directions: ({sx:.12g},0,0) (0,{sy:.12g},0) (0,0,1) none", "kinds: domain domain domain list",
            'labels: "" "" "" "time"', 'units: "" "" "" "s"', "encoding: gzip",
            f"space origin: ({x0:.12g},{y0:.12g},0)",
            "measurement frame: (1,0,0) (0,1,0) (0,0,1)", "DataNodeClassName:=vtkMRMLScalarVolumeNode",
            "axis 3 index type:=numeric", "axis 3 index unit:=s",
            f"axis 3 index values:={' '.join(f'{time:.6f}' for time in timestamps_s)}",
            "UltrasoundImageOrientation:=MF", "UltrasoundImageType:=BRIGHTNESS"]
    one_based = np.eye(4)
    one_based[:2, 3] = 1
    poses = None if tracked is None else (tracked.T_world_tool, tracked.ok)
    image_to_probe = None if tracked is None else tracked.T_tool_image @ scale @ one_based
    head += [f"{name}:={value}" for name, value in sequence_fields.of_frames(
        timestamps_s, np.ones(n_frames, bool), poses, image_to_probe)]
    pack = zlib.compressobj(1, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    with open(path, "wb") as file:
        file.write(("\n".join(head) + "\n\n").encode("ascii"))
        for _, frames in blocks:
            file.write(pack.compress(np.ascontiguousarray(frames, np.uint8).tobytes()))
        file.write(pack.flush())
