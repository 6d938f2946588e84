"""Volumes as NRRD: axes x, y, z, space directions in mm, space left-posterior-superior.

The volume's axes are those of frame 0's image (x right, y down, z elevation); they are stored as if they were
L, P and S, since a freehand scan does not know the patient.
"""

from pathlib import Path

import nrrd
import numpy as np

from ..volume import Volume


def write(path: str | Path, volume: Volume, *, accumulation: str | Path | None = None) -> None:
    """Write a volume's grey values, and its accumulation buffer to a second file if asked for."""
    header = {
        "space": "left-posterior-superior",
        "space directions": (volume.directions * volume.spacing_mm).T,
        "space origin": np.asarray(volume.origin_mm),
        "space units": ["mm", "mm", "mm"],
        "kinds": ["domain", "domain", "domain"],
        "encoding": "gzip",
    }
    options = {"index_order": "C", "compression_level": 1}
    nrrd.write(str(path), np.ascontiguousarray(volume.data), dict(header), **options)
    if accumulation is not None:
        nrrd.write(str(accumulation), np.ascontiguousarray(volume.accumulation), dict(header), **options)
