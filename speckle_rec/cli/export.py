"""``export RESULT --to FORMAT``: poses for other programs."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..config import did_you_mean
from ..errors import InputError
from ..io.staging import staged_file
from . import common

if TYPE_CHECKING:
    from ..scan import Scan
    from ..storage.folder import Stored

NAMES = {"tum": "poses_tum.txt", "kitti": "poses_kitti.txt", "csv": "poses.csv", "igs.mha": "scan.igs.mha",
         "seq.nrrd": "scan.seq.nrrd", "mrml": "scene.mrml", "ply": "frames.ply", "vtp": "frames.vtp",
         "nrrd": "volume.nrrd", "mha": "volume.mha", "nii.gz": "volume.nii.gz"}
WHOSE = {"corner": ("tum", "kitti", "csv"), "face": ("tum", "kitti", "csv")}      # --of: formats that hold such poses
PATHS = ("tum", "kitti", "csv", "ply", "vtp")      # of --tracked


def export(
    result: Annotated[Path, typer.Argument(metavar="RESULT", help="A result folder of reconstruct.")],
    to: Annotated[str, typer.Option("--to", metavar="|".join(NAMES), help="The format.")],
    out: Annotated[Path | None, typer.Option("-o", "--out", metavar="FILE", help="Default: a file in RESULT.")] = None,
    of: Annotated[str, typer.Option("--of", metavar="corner|face", help="Whose poses tum, kitti and csv hold: those of "
                                    "the image's corner, or of the middle of the probe face.")] = "corner",
    tracked: Annotated[bool, typer.Option("--tracked", help="The tracked poses, where the scan had any, instead of the "
                                          "estimated ones.")] = False,
    scan: Annotated[Path | None, typer.Option(
        "--scan", metavar="SCAN", help="The scan, where it has moved (igs.mha, seq.nrrd and mrml).")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file that is there.")] = False,
    no_progress: common.NoProgress = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Print errors only.")] = False,
) -> int:
    """Poses, frames or the volume of a result, in the format of other programs.

    \b
    speckle-rec export results/scan --to tum        # evo_traj tum poses_tum.txt
    speckle-rec export results/scan --to igs.mha    # 3D Slicer (SlicerIGSIO) and PLUS: frames with poses
    speckle-rec export results/scan --to tum --of face --tracked
    speckle-rec export results/scan --to mrml       # 3D Slicer: volume, frames and path as a scene
    speckle-rec export results/scan --to ply        # MeshLab, CloudCompare: frame outlines and path
    speckle-rec export results/scan --to nii.gz     # volume as NIfTI (extra [itk]); mha, nrrd likewise
    speckle-rec export results/scan --to csv        # a row a frame, every parametrisation
    """
    from ..storage import folder
    if to not in NAMES:
        raise InputError(f"--to: expected one of {', '.join(NAMES)}, found '{to}'{did_you_mean(to, NAMES)}")
    if of not in WHOSE:
        raise InputError(f"--of: expected one of {', '.join(WHOSE)}, found '{of}'{did_you_mean(of, WHOSE)}")
    if of == "face" and to not in WHOSE[of]:
        raise InputError(f"--of face: expected with --to {', '.join(WHOSE[of])}, found --to {to}")
    stored = folder.read(result)
    if tracked:
        if to not in PATHS:
            raise InputError(f"--tracked: expected with --to {', '.join(PATHS)}, found --to {to}; convert writes a "
                             "scan's own poses")
        stored = _tracked(stored, to)
    prefix = ("tracked_" if tracked else "") + ("face_" if of == "face" else "")
    path = out or result / f"{prefix}{NAMES[to]}"
    inside = path.absolute().parent == result.absolute()
    if to in ("tum", "kitti", "nrrd") and inside and path.name == NAMES[to] and path.is_file():
        pass    # reconstruct has written it
    else:
        with staged_file(path, overwrite) as partial, common.progress_bar(not (no_progress or quiet)) as report:
            told = f"poses of the {'middle of the probe face' if of == 'face' else 'corner of the image'}, metres"
            _write(partial, to, (_about_face(stored) if of == "face" else stored, told), scan,
                   lambda done, total: report("frames", done, total))
    if not quiet:
        print(path.absolute())
    return 0


def _write(path: Path, to: str, told_of: tuple["Stored", str], scan_path: Path | None,
           progress: Callable[[int, int], None]) -> None:
    """Write a result, of which a comment tells whose poses it holds."""
    stored, told = told_of
    import numpy as np

    from ..io import nrrd, ply, trajectory, volumes, vtp
    from ..scan import Scan
    from ..storage import conversion, folder, made_of, outputs
    if to == "tum":
        trajectory.write_tum(path, stored.T_first_frame, stored.timestamps_s, told)
    elif to == "vtp":
        vtp.write(path, stored.T_first_frame, folder.outline_mm(stored), stored.confidence)
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
        if to == "mrml":
            _write_scene(path, stored, scan, progress)
        elif to == "seq.nrrd":
            posed = replace(scan, T_world_tool=stored.T_first_frame, T_tool_image=np.eye(4), tracked_ok=None,
                            landmarks=None)
            conversion.convert(posed, path, ".seq.nrrd", progress)
        else:
            outputs.write_sequence(path, scan, stored.T_first_frame, progress)


def _tracked(stored: "Stored", to: str) -> "Stored":
    """The result with the poses of the tracker; frames without one are left out where a format allows that."""
    import numpy as np

    from ..geometry import steps
    from ..storage import folder
    T = folder.tracked(stored)
    ok = np.asarray(np.isfinite(T).all(axis=(1, 2)))
    if to in ("kitti", "csv") and not ok.all():
        raise InputError(f"{stored.folder}: expected a tracked pose for every frame, found {int(ok.sum())} of "
                         f"{len(ok)}; --to tum leaves the others out")
    return replace(stored, T_first_frame=T[ok], T_prev_frame=steps(T[ok]), timestamps_s=stored.timestamps_s[ok],
                   confidence=stored.confidence[ok])


def _about_face(stored: "Stored") -> "Stored":
    """The result with poses of the middle of the probe face; the corners of a CSV are then counted from there."""
    import numpy as np

    from ..io import trajectory
    from ..storage import folder
    face = np.array([*folder.field_of_view(stored).face_mm, 0.0])
    shifted = stored.scale.copy()
    shifted[:3, 3] -= face
    return replace(stored, T_first_frame=trajectory.about(stored.T_first_frame, face), scale=shifted,
                   T_prev_frame=trajectory.about(stored.T_prev_frame, face))


def _write_scene(path: Path, stored: "Stored", scan: "Scan", progress: Callable[[int, int], None]) -> None:
    """The scene, and beside it the files that it names."""
    from ..io import mrml, vtp
    from ..storage import conversion, folder
    final = path.with_name(path.name.removeprefix(".").partition(".mrml")[0])
    files = {name: final.with_name(f"{final.name}-{name}{ending}") for name, ending in (
        ("frames", ".seq.nrrd"), ("transforms", ".seq.mha"), ("outlines", ".vtp"))}
    with staged_file(files["frames"], True) as partial:
        conversion.convert(replace(scan, T_world_tool=None, landmarks=None), partial, ".seq.nrrd", progress)
    with staged_file(files["transforms"], True) as partial:
        mrml.write_transforms(partial, stored.T_first_frame, stored.timestamps_s)
    with staged_file(files["outlines"], True) as partial:
        vtp.write(partial, stored.T_first_frame, folder.outline_mm(stored), stored.confidence)
    volume = stored.folder / NAMES["nrrd"]
    mrml.write(path, volume=volume if volume.is_file() else None, **files)
