"""Volumes as NRRD: axes x, y, z, space directions in mm, space left-posterior-superior.

The volume's axes are those of frame 0's image (x right, y down, z elevation); they are stored as if they were
L, P and S, since a freehand scan does not know the patient.
"""

from pathlib import Path
from typing import Any

import nrrd
import numpy as np

from ..errors import InputError
from ..volume import Volume

OPTIONS = {"index_order": "C", "compression_level": 1}


def write(path: str | Path, volume: Volume, *, accumulation: str | Path | None = None) -> None:
    """Write a volume's grey values, and its accumulation buffer to a second file if asked for."""
    nrrd.write(str(path), np.ascontiguousarray(volume.data), _header(volume), **OPTIONS)
    if accumulation is not None:
        write_accumulation(accumulation, volume)


def write_accumulation(path: str | Path, volume: Volume) -> None:
    """Write the accumulation buffer of a volume: how much went into each voxel, zero in holes."""
    nrrd.write(str(path), np.ascontiguousarray(volume.accumulation), _header(volume), **OPTIONS)


def _header(volume: Volume) -> dict[str, Any]:
    return {
        "space": "left-posterior-superior",
        "space directions": (volume.directions * volume.spacing_mm).T,
        "space origin": np.asarray(volume.origin_mm),
        "space units": ["mm", "mm", "mm"],
        "kinds": ["domain", "domain", "domain"],
        "encoding": "gzip",
    }


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
