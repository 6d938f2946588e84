"""Volumes as NRRD: axes x, y, z, space directions in mm, space left-posterior-superior.

The volume's axes are those of frame 0's image (x right, y down, z elevation); they are stored as if they were
L, P and S, since a freehand scan does not know the patient. The same volume gives the same bytes: no date is
written, which pynrrd would put into the header.
"""

import zlib
from pathlib import Path

import nrrd
import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..products.volume import Volume

TYPES = {"uint8": "uint8", "float32": "float"}
GZIP = 16 + zlib.MAX_WBITS
BLOCK_BYTES = 1 << 24


def write(path: str | Path, volume: Volume, *, accumulation: str | Path | None = None) -> None:
    """Write a volume's grey values, and its accumulation buffer to a second file if asked for."""
    _write(Path(path), volume.data, volume)
    if accumulation is not None:
        write_accumulation(accumulation, volume)


def write_accumulation(path: str | Path, volume: Volume) -> None:
    """Write the accumulation buffer of a volume: how much went into each voxel, zero in holes."""
    _write(Path(path), volume.accumulation, volume)


def _write(path: Path, data: NDArray[np.uint8] | NDArray[np.float32], volume: Volume) -> None:
    directions = (np.asarray(volume.directions) * volume.spacing_mm).T
    header = [
        "NRRD0005", f"type: {TYPES[data.dtype.name]}", "dimension: 3", "space: left-posterior-superior",
        f"sizes: {' '.join(str(n) for n in data.shape[::-1])}",
        f"space directions: {' '.join(_vector(axis) for axis in directions)}", "kinds: domain domain domain",
        "endian: little", "encoding: gzip", 'space units: "mm" "mm" "mm"',
        f"space origin: {_vector(np.asarray(volume.origin_mm))}"]
    flat = np.ascontiguousarray(data).astype(data.dtype.newbyteorder("<"), copy=False).reshape(-1).view(np.uint8)
    pack = zlib.compressobj(1, zlib.DEFLATED, GZIP)
    with open(path, "wb") as file:
        file.write(("\n".join(header) + "\n\n").encode("ascii"))
        for start in range(0, len(flat), BLOCK_BYTES):
            file.write(pack.compress(flat[start:start + BLOCK_BYTES].tobytes()))
        file.write(pack.flush())


def _vector(values: NDArray[np.float64]) -> str:
    return f"({','.join(f'{value:.17g}' for value in values)})"


def read(path: str | Path) -> Volume:
    """The volume of a file of `write`; its accumulation buffer, which has a file of its own, comes back empty.

    Raises
    ------
    InputError
        If the file is no such volume.
    """
    try:
        data, header = nrrd.read(str(path), index_order="C")
        directions = np.asarray(header["space directions"], float).T
        x, y, z = (float(v) for v in header["space origin"])
    except (OSError, nrrd.NRRDError, KeyError, ValueError, TypeError) as error:
        raise InputError(f"{path}: expected a volume as NRRD ({' '.join(str(error).split())})") from error
    if data.ndim != 3 or directions.shape != (3, 3):
        raise InputError(f"{path}: expected a volume of three axes, found {data.shape}")
    spacing = float(np.linalg.norm(directions[:, 0]))
    return Volume(data, np.zeros((0, 0, 0), np.float32), (x, y, z), spacing, directions / spacing)
