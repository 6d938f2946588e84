"""Volumes in the format that a file's name asks for: NRRD always, MetaImage and NIfTI with the extra ``[itk]``.

All hold the same points in the same places: NRRD and MetaImage in LPS, NIfTI in RAS, as each of them does.
"""

from pathlib import Path

import numpy as np

from ..errors import InputError
from ..products.volume import Volume
from . import nrrd

ITK_SUFFIXES = (".mha", ".nii", ".nii.gz")
SUFFIXES = (".nrrd", *ITK_SUFFIXES)


def check_name(path: Path) -> None:
    """Raise `InputError` unless `path` has a suffix that can be written here."""
    name = path.name.lower()
    if not name.endswith(SUFFIXES):
        raise InputError(f"{path}: expected a volume called {', '.join('*' + s for s in SUFFIXES)}")
    if not name.endswith(".nrrd"):
        _simpleitk(path)


def write(path: Path, volume: Volume) -> None:
    """Write the grey values of a volume.

    Raises
    ------
    InputError
        If the suffix is unknown, or needs an extra that is not installed.
    """
    check_name(path)
    if path.name.lower().endswith(".nrrd"):
        nrrd.write(path, volume)
        return
    sitk = _simpleitk(path)
    image = sitk.GetImageFromArray(np.ascontiguousarray(volume.data))
    image.SetOrigin(volume.origin_mm)
    image.SetSpacing([volume.spacing_mm] * 3)
    image.SetDirection(volume.directions.ravel().tolist())
    sitk.WriteImage(image, str(path), useCompression=True)


def _simpleitk(path: Path):
    try:
        import SimpleITK
    except ModuleNotFoundError as error:
        raise InputError(f"{path}: this format needs SimpleITK: pip install 'speckle-rec[itk]', or ask for .nrrd") \
            from error
    return SimpleITK
