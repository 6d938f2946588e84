"""``reconstruct SCAN...``: the main job."""

import traceback
from pathlib import Path
from typing import Annotated

import typer

from .. import config as config_file
from ..errors import InputError, SpeckleRecError
from ..io.staging import check_free, is_finished
from . import common, cost, tables

DEFAULT_OUT = Path("results")


def reconstruct(
    scans: common.Scans,
    out: Annotated[Path | None, typer.Option(
        "-o", "--out", metavar="DIR", help="The result folder of a single scan, or the folder that holds those of "
        "several (default results/SCAN).")] = None,
    calib: common.Calib = None,
    pixel_mm: common.PixelMm = None,
    calibration: Annotated[Path | None, typer.Option(
        "--calibration", metavar="FILE", help="Speckle calibration (default: the one shipped).")] = None,
    landmarks: common.Landmarks = None,
    dataset: common.Dataset = None,
    anonymise: common.Anonymise = False,
    ddf: Annotated[bool, typer.Option(
        "--ddf", help="Write dense displacement fields (12 GB for 1600 frames).")] = False,
    volume: Annotated[bool, typer.Option("--volume/--no-volume", help="Compound the frames into a volume.")] = True,
    mirrored: Annotated[bool, typer.Option(
        "--mirrored", help="The probe went the other way: take the mirror image of what would be decided.")] = False,
    swept: Annotated[str | None, typer.Option(
        "--swept", metavar="towards|away", help="Which way a sweep went first, from who holds the probe; any one of "
        "--swept, --turned and --tilted-first tells the scan from its mirror image (check draws them).")] = None,
    turned: Annotated[str | None, typer.Option(
        "--turned", metavar="clockwise|anticlockwise", help="Which way the probe was turned about itself, seen from "
        "the hand down the probe.")] = None,
    tilted_first: Annotated[str | None, typer.Option(
        "--tilted-first", metavar="towards|away", help="Which way the far end of the picture went in the first stroke "
        "of a fan, from who holds the probe; his hand went the other way.")] = None,
    orientation: Annotated[Path | None, typer.Option(
        "--orientation", metavar="FILE", help="Inertial sensor on the probe: a CSV with columns time_s, qw, qx, qy, "
        "qz. Gives tilt and turn, and tells the scan from its mirror image.")] = None,
    motion: Annotated[str | None, typer.Option(
        "--motion", metavar="fan|sweep|auto", help="About a contact point, or carried along the skin (default auto: as "
        "the images and the probe suggest).")] = None,
    sequence: Annotated[bool, typer.Option("--sequence", help="Write frames with poses as scan.igs.mha.")] = False,
    config: common.Config = None,
    device: common.Device = None,
    jobs: common.Jobs = None,
    seed: common.Seed = None,
    overwrite: common.Overwrite = False,
    no_progress: common.NoProgress = False,
    quiet: common.Quiet = False,
    verbose: common.Verbose = False,
) -> int:
    """Poses of a scan's frames from the images alone; scored where the scan carries tracker poses.

    \b
    speckle-rec reconstruct scan.h5
    speckle-rec reconstruct sweep.igs.mha -o out --sequence
    speckle-rec reconstruct scan.h5 --calibration calibration.h5 --ddf
    speckle-rec reconstruct sweep.seq.nrrd --pixel-mm .12
    speckle-rec reconstruct sweep.igs.mha --motion sweep --swept away
    speckle-rec reconstruct cine.dcm --anonymise
    speckle-rec reconstruct 'scans/*.h5' -o results -c config.toml
    """
    from ..io import naming
    from ..io.orientation import Orientation
    from ..scan import Scan
    from ..storage import outputs as output_files
    from .running import resume, run_scan
    settings = config_file.load(config, device=device, jobs=jobs, seed=seed, mirrored=mirrored or None, swept=swept,
                                turned=turned, tilted_first=tilted_first, motion=motion)
    common.check_device(settings.device)
    common.set_threads(settings.jobs)
    size = common.pixel_size(pixel_mm)
    paths, notes = naming.each_once(common.find_scans(scans))
    for note in notes:
        common.complain(note)
    names = naming.distinct(paths)
    single = len(scans) == len(paths) == 1 and not Path(scans[0]).is_dir()
    sensor = None if orientation is None else Orientation.of(orientation)
    if sensor and len(paths) > 1:
        raise InputError(f"--orientation {orientation}: expected one scan, found {len(paths)}: a recording is of "
                         "one scan")
    outputs = output_files.Outputs(ddf=ddf, volume=volume, sequence=sequence)
    done: list[Path] = []
    failed: list[str] = []
    for path in paths:
        try:
            scan = Scan.open(path, calib=calib, landmarks=landmarks, pixel_mm=size, dataset=dataset)
            if anonymise:
                scan = scan.anonymised()
                names[path] = scan.name
            folder = (out or DEFAULT_OUT / scan.name) if single else (out or DEFAULT_OUT) / names[path]
            finished = is_finished(folder) and not overwrite
            check_free(folder, overwrite or finished)
            with common.progress_bar(not (no_progress or quiet), lines=scan.name if verbose else None,
                                     usual_s=None if finished else cost.usual_s(scan, outputs)) as report:
                summary = (resume if finished else run_scan)(
                    scan, folder, settings, calibration=calibration, outputs=outputs, overwrite=overwrite,
                    progress=report, orientation=sensor)
        except Exception as error:
            if single and isinstance(error, InputError):
                raise
            if verbose and not isinstance(error, SpeckleRecError | OSError | MemoryError):
                traceback.print_exc()
            text = _told(error, path)
            common.complain(text)
            failed.append(text)
            continue
        done.append(folder)
        if not quiet:
            tables.show(summary, folder, finished_before=finished, verbose=verbose)
    if len(paths) > 1 and not quiet:
        tables.show_list(done, failed, len(paths))
    return 1 if failed else 0


def _told(error: Exception, path: Path) -> str:
    text = common.one_line_of(error)
    if not isinstance(error, SpeckleRecError | OSError | MemoryError):
        text = f"unexpected {type(error).__name__}: {text}; a defect: please report it with the output of --verbose"
    return text if str(path) in text else f"{path}: {text}"
