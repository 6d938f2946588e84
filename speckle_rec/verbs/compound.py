"""``sr.compound``: a volume from a scan and any poses."""

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import volume
from ..compute.device import choose
from ..config import Config
from ..errors import InputError
from ..io import checks, volumes
from ..io.staging import staged_file
from ..products.volume import Volume
from ..result import Reconstruction
from ..scan import Scan
from ..storage import given
from ..storage.outputs import probe_geometry
from . import as_verb

Poses = str | PathLike[str] | Reconstruction | NDArray[np.float64]


def compound(scan: Scan | str | PathLike[str], poses: Poses, out: str | PathLike[str] | None = None, *,
             calib: str | PathLike[str] | None = None, pixel_mm: float | Sequence[float] | None = None,
             spacing_mm: float | None = None, interpolation: str = "LINEAR", compounding: str = "MEAN",
             hole_radius: int = 2, clip: bool = True, roi: Sequence[float] | None = None, memory_gb: float = 2,
             device: str | None = None, overwrite: bool = False) -> Volume:
    """Compound a scan into a volume, as ``speckle-rec compound`` does.

    Parameters
    ----------
    scan : or its file.
    poses : a result, its folder, ``poses.h5``, a TUM or KITTI file, "tracked" for the scan's own, or an array
        [N, 4, 4] in mm (image of frame i -> image of frame 0).
    out : file to write: ``.nrrd``, or with the extra ``[itk]`` ``.mha``, ``.nii``, ``.nii.gz``; None writes none.
    spacing_mm : voxel size; by default 0.5, coarser where memory asks for it.
    roi : x0, y0, z0, x1, y1, z1 of a box, mm in the image of frame 0.

    Raises
    ------
    InputError
        If poses and frames do not belong together, or a parameter is no value of its kind.
    """
    if out is not None:
        volumes.check_name(as_verb.path(out, "compound: out"))
    opened = scan if isinstance(scan, Scan) else Scan.open(scan, calib=calib, pixel_mm=pixel_mm)
    made = volume.compound_scan(
        opened, _poses(opened, poses), _geometry(opened, poses), spacing_mm, interpolation=interpolation.upper(),
        compounding=compounding.upper(), hole_radius=hole_radius, clip_to_fan=clip, roi_mm=_box(roi),
        max_bytes=int(memory_gb * 1e9), device=choose(Config(device=device or "auto").device)[0])
    if out is not None:
        with staged_file(Path(out), overwrite) as partial:
            volumes.write(partial, made)
    return made


def _poses(scan: Scan, poses: Any) -> NDArray[np.float64]:
    if isinstance(poses, Reconstruction):
        return poses.T_first_frame
    if isinstance(poses, str | PathLike):
        return given.for_scan(scan, Path(poses)).T_first_frame
    return checks.numbers(poses, "compound: poses", (scan.n_frames, 4, 4), finite=False)


def _geometry(scan: Scan, poses: Any) -> Any:
    return probe_geometry(scan, poses if isinstance(poses, Reconstruction) else None)


def _box(roi: Sequence[float] | None) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    if roi is None:
        return None
    corners = checks.numbers(roi, "compound: roi x0, y0, z0, x1, y1, z1", (6,))
    if not (corners[:3] < corners[3:]).all():
        raise InputError(f"compound: roi: expected two corners, the lower first, found {checks.described(roi)}")
    return corners[:3], corners[3:]
