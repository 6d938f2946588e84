"""``export RESULT --to FORMAT``: poses for other programs."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..config import did_you_mean
from ..errors import InputError
from ..io.staging import staged_file
from . import common

if TYPE_CHECKING:
    from ..storage.folder import Stored

NAMES = {"tum": "poses_tum.txt", "kitti": "poses_kitti.txt", "csv": "poses.csv", "igs.mha": "scan.igs.mha",
         "ply": "frames.ply", "nrrd": "volume.nrrd", "mha": "volume.mha", "nii.gz": "volume.nii.gz"}


def export(
    result: Annotated[Path, typer.Argument(metavar="RESULT", help="A result folder of reconstruct.")],
    to: Annotated[str, typer.Option("--to", metavar="|".join(NAMES), help="The format.")],
    out: Annotated[Path | None, typer.Option("-o", "--out", metavar="FILE", help="Default: a file in RESULT.")] = None,
    scan: Annotated[Path | None, typer.Option(
        "--scan", metavar="SCAN", help="The scan, where it has moved (igs.mha only).")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file that is there.")] = False,
    no_progress: common.NoProgress = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Print errors only.")] = False,
) -> int:
    """Poses, frames or the volume of a result, in the format of other programs.

    \b
    speckle-rec export results/scan --to tum        # evo_traj tum poses_tum.txt
    speckle-rec export results/scan --to igs.mha    # 3D Slicer (SlicerIGSIO) and PLUS: frames with poses
    speckle-rec export results/scan --to ply        # MeshLab, CloudCompare: frame outlines and path
    speckle-rec export results/scan --to nii.gz     # volume as NIfTI (extra [itk]); mha, nrrd likewise
    speckle-rec export results/scan --to csv        # a row a frame, every parametrisation
    """
    from ..storage import folder
    if to not in NAMES:
        raise InputError(f"--to: expected one of {', '.join(NAMES)}, found '{to}'{did_you_mean(to, NAMES)}")
    stored = folder.read(result)
    path = out or result / NAMES[to]
    inside = path.absolute().parent == result.absolute()
    if to in ("tum", "kitti", "nrrd") and inside and path.name == NAMES[to] and path.is_file():
        pass    # reconstruct has written it
    else:
        with staged_file(path, overwrite) as partial, common.progress_bar(not (no_progress or quiet)) as report:
            _write(partial, to, stored, scan, lambda done, total: report("frames", done, total))
    if not quiet:
        print(path.absolute())
    return 0


def _write(path: Path, to: str, stored: "Stored", scan_path: Path | None,
           progress: Callable[[int, int], None]) -> None:
    from ..io import nrrd, ply, trajectory, volumes
    from ..scan import Scan
    from ..storage import folder, made_of, outputs
    if to == "tum":
        trajectory.write_tum(path, stored.T_first_frame, stored.timestamps_s)
    elif to == "kitti":
        trajectory.write_kitti(path, stored.T_first_frame)
    elif to == "csv":
        trajectory.write_csv(path, stored.T_first_frame, stored.T_prev_frame, stored.timestamps_s, stored.scale,
                             stored.shape)
    elif to == "ply":
        ply.write(path, stored.T_first_frame, folder.outline_mm(stored), stored.confidence)
    elif to in ("nrrd", "mha", "nii.gz"):
        volume = stored.folder / NAMES["nrrd"]
        if not volume.is_file():
            raise InputError(f"{stored.folder}: the result has no volume; use compound, or reconstruct with --volume")
        if to == "nrrd":
            shutil.copyfile(volume, path)
        else:
            volumes.write(path, nrrd.read(volume))
    else:
        where = scan_path or stored.summary.get("path")
        if where is None:
            raise InputError(f"{stored.folder}: the result names no scan file; give --scan")
        scan = Scan.open(where, pixel_mm=(stored.scale[0, 0], stored.scale[1, 1]))
        if scan.n_frames != len(stored.T_first_frame) or scan.shape != stored.shape:
            raise InputError(f"{where}: expected the scan of {stored.folder}: {len(stored.T_first_frame)} frames of "
                             f"{stored.shape}, found {scan.n_frames} of {scan.shape}")
        if made_of.is_of_other_frames(stored.folder, scan):
            raise InputError(f"{where}: holds other frames than those that {stored.folder} was made of; give --scan")
        scan.scale = stored.scale
        outputs.write_sequence(path, scan, stored.T_first_frame, progress)
