"""``compound SCAN --poses FILE``: a volume from frames and any poses."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..config import Config
from ..errors import InputError
from ..io.staging import staged_file
from . import common

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def compound(
    scan: Annotated[Path, typer.Argument(metavar="SCAN", help="TUS-REC .h5 or PLUS .igs.mha.")],
    poses: Annotated[Path, typer.Option("--poses", metavar="FILE", help="A result folder, poses.h5, TUM, KITTI, "
                                         "or tracked: the scan's own.")],
    out: Annotated[Path, typer.Option("-o", "--out", metavar="FILE.nrrd", help="The volume; .mha, .nii, .nii.gz need "
                                      "the extra [itk].")],
    calib: common.Calib = None,
    pixel_mm: common.PixelMm = None,
    spacing_mm: Annotated[float | None, typer.Option("--spacing-mm", min=0.02, max=10, help="Voxel size (default 0.5, "
                                                     "coarser where memory asks for it).")] = None,
    interpolation: Annotated[str, typer.Option("--interpolation", metavar="NEAREST|LINEAR", help="A pixel goes into "
                                               "one voxel, or is shared among eight.")] = "LINEAR",
    compounding: Annotated[str, typer.Option("--compounding", metavar="MEAN|MAXIMUM|LATEST", help="What becomes of "
                                             "several pixels in a voxel.")] = "MEAN",
    hole_radius: Annotated[int, typer.Option("--hole-radius", min=0, max=20, help="Fill holes from so many voxels "
                                             "around; 0 leaves them.")] = 2,
    clip: Annotated[bool, typer.Option("--clip/--no-clip", help="Leave out what is outside the field of view.")] = True,
    roi: Annotated[str | None, typer.Option("--roi", metavar="x0,y0,z0,x1,y1,z1", help="Only this box, mm in the image "
                                            "of frame 0.")] = None,
    memory_gb: Annotated[float, typer.Option("--memory-gb", min=0.05, help="Working memory; a finer volume is made in "
                                             "parts.")] = 2,
    accumulation: Annotated[Path | None, typer.Option("--accumulation", metavar="FILE.nrrd", help="Write how much went "
                                                      "into each voxel.")] = None,
    device: common.Device = None,
    jobs: common.Jobs = None,
    overwrite: common.Overwrite = False,
    no_progress: common.NoProgress = False,
    quiet: common.Quiet = False,
) -> int:
    """Compound a scan into a volume with the poses of a file: an estimate, a tracker, anyone's.

    \b
    speckle-rec compound scan.h5 --poses results/scan -o volume.nrrd
    speckle-rec compound scan.h5 --poses poses_tum.txt -o fine.nii.gz --spacing-mm 0.25
    speckle-rec compound scan.igs.mha --poses tracked -o tracked.nrrd
    speckle-rec compound scan.h5 --poses results/scan -o part.mha --roi 0,0,-5,60,40,5 --compounding MAXIMUM
    """
    from .. import volume
    from ..compute.device import choose
    from ..io import nrrd, volumes
    from ..scan import Scan
    from ..storage import given, made_of
    from ..storage.outputs import probe_geometry
    common.set_threads(jobs or 0)
    volumes.check_name(out)
    box = None if roi is None else _box(roi)
    chosen, warning = choose(Config(device=device or "auto").device)
    if warning:
        common.complain(f"warning: {warning}")
    opened = Scan.open(scan, calib=calib, pixel_mm=common.pixel_size(pixel_mm))
    T_first_frame = (found := given.for_scan(opened, poses)).T_first_frame
    for text in found.warnings:
        common.complain(f"warning: {text}")
    if made_of.is_of_other_frames(poses, opened):
        common.complain(f"warning: {poses}: was made of other frames than those of {scan}")
    with common.progress_bar(not (no_progress or quiet)) as report:
        made = volume.compound_scan(
            opened, T_first_frame, probe_geometry(opened), spacing_mm, interpolation=interpolation.upper(),
            compounding=compounding.upper(), hole_radius=hole_radius, clip_to_fan=clip, roi_mm=box,
            max_bytes=int(memory_gb * 1e9), device=chosen,
            progress=lambda done, total: report("compounding", done, total))
    with staged_file(out, overwrite) as partial:
        volumes.write(partial, made)
    if accumulation is not None:
        with staged_file(accumulation, overwrite) as partial:
            nrrd.write_accumulation(partial, made)
    if not quiet:
        nx, ny, nz = made.data.shape[::-1]
        print(f"{nx} x {ny} x {nz} voxels of {made.spacing_mm:g} mm, {(made.accumulation > 0).mean():.0%} seen")
        for path in filter(None, (out, accumulation)):
            print(path.absolute())
    return 0


def _box(text: str) -> "tuple[NDArray[np.float64], NDArray[np.float64]]":
    import numpy as np
    try:
        corners = np.array([float(word) for word in text.split(",")]).reshape(2, 3)
    except ValueError:
        corners = np.full((2, 3), np.nan)
    if not np.isfinite(corners).all():
        raise InputError(f"--roi: expected six numbers x0,y0,z0,x1,y1,z1 in mm, found '{text}'")
    return corners[0], corners[1]
