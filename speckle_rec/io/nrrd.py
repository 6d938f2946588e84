"""Volumes as NRRD: axes x, y, z, space directions in mm, space left-posterior-superior.

The volume's axes are those of frame 0's image (x right, y down, z elevation); they are stored as if they were
L, P and S, since a freehand scan does not know the patient. The same volume gives the same bytes: no date is
written, which pynrrd would put into the header.
"""

import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..volume import Volume

TYPES = {"uint8": "uint8", "float32": "float"}
GZIP = 16 + zlib.MAX_WBITS
BLOCK_BYTES = 1 << 24


def write(path: str | Path, volume: Volume, *, accumulation: str | Path | None = None) -> None:
    """Write a volume's grey values, and its accumulation buffer to a second file if asked for."""
    _write(Path(path), volume.data, volume)
    if accumulation is not None:
        _write(Path(accumulation), volume.accumulation, volume)


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
