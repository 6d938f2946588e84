"""``convert IN OUT``: any readable scan as a PLUS sequence, a TUS-REC file or a 3D Slicer sequence."""

from pathlib import Path
from typing import Annotated

import typer

from ..errors import InputError
from ..io.staging import staged_file
from . import common


def convert(
    scan: Annotated[str, typer.Argument(metavar="IN", help="A scan of any kind that is read: a file, a folder of "
                                        "pictures or of a DICOM series, or a glob of pictures.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="A file called *.igs.mha, *.h5 or *.seq.nrrd.")],
    calib: common.Calib = None,
    pixel_mm: common.PixelMm = None,
    landmarks: common.Landmarks = None,
    dataset: common.Dataset = None,
    poses: common.Poses = None,
    anonymise: common.Anonymise = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file that is there.")] = False,
    no_progress: common.NoProgress = False,
    quiet: common.Quiet = False,
) -> int:
    """Write a scan of any kind as a PLUS sequence (.igs.mha), a TUS-REC file (.h5) or a 3D Slicer sequence (.seq.nrrd).

    \b
    speckle-rec convert cine.dcm cine.igs.mha
    speckle-rec convert sweep.mp4 sweep.h5 --pixel-mm .12
    speckle-rec convert frames/ sweep.seq.nrrd --pixel-mm .12 --poses poses_tum.txt
    """
    from ..io import calib as calib_files
    from ..scan import Scan
    from ..storage import conversion
    ending = conversion.ending_of(out)
    opened = Scan.open(scan, calib=calib, landmarks=landmarks, pixel_mm=common.pixel_size(pixel_mm), dataset=dataset,
                       poses=poses)
    if opened.path is not None and out.exists() and opened.path.resolve() == out.resolve():
        raise InputError(f"{out}: is the scan itself; choose another name")
    if anonymise:
        opened = opened.anonymised()
    beside = conversion.beside(opened, out) if ending == ".h5" else None
    with staged_file(out, overwrite) as partial, common.progress_bar(not (no_progress or quiet)) as report:
        lost = conversion.convert(opened, partial, ending, lambda done, total: report("frames", done, total))
    if beside is not None and opened.T_tool_image is not None:
        with staged_file(beside) as partial:
            calib_files.write_challenge(partial, opened.scale, opened.T_tool_image)
    for warning in (*opened.warnings, *lost):
        common.complain(f"warning: {warning}")
    if not quiet:
        for path in filter(None, (out, beside)):
            print(path.absolute())
    return 0
