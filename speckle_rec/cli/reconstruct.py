"""``reconstruct SCAN...``: the main job."""

import dataclasses
import traceback
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from .. import config as config_file
from .. import geometry
from ..calibration import Calibration
from ..errors import InputError, SpeckleRecError
from ..io import results
from ..io.staging import check_free, is_complete
from ..result import Reconstruction
from ..scan import Scan
from ..verdict import unmeasured
from . import common, tables

DEFAULT_OUT = Path("results")


def reconstruct(
    scans: common.Scans,
    out: Annotated[Path | None, typer.Option(
        "-o", "--out", metavar="DIR", help="The result folder of a single scan, or the folder that holds those of "
        "several (default results/SCAN).")] = None,
    calib: common.Calib = None,
    calibration: Annotated[Path | None, typer.Option(
        "--calibration", metavar="FILE", help="Speckle calibration (default: the one shipped).")] = None,
    landmarks: common.Landmarks = None,
    ddf: Annotated[bool, typer.Option(
        "--ddf", help="Write dense displacement fields (12 GB for 1600 frames).")] = False,
    volume: Annotated[bool, typer.Option("--volume/--no-volume", help="Compound the frames into a volume.")] = True,
    mirrored: Annotated[bool, typer.Option(
        "--mirrored", help="The probe went the other way: take the mirror image of what would be decided.")] = False,
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
    speckle-rec reconstruct 'scans/*.h5' -o results -c config.toml
    """
    settings = config_file.load(config, device=device, jobs=jobs, seed=seed, mirrored=mirrored or None)
    common.check_device(settings.device)
    common.set_threads(settings.jobs)
    paths = common.find_scans(scans)
    single = len(scans) == len(paths) == 1 and not Path(scans[0]).is_dir()
    outputs = results.Outputs(ddf=ddf, volume=volume, sequence=sequence)
    done: list[Path] = []
    failed: list[str] = []
    for path in paths:
        try:
            scan = Scan.open(path, calib=calib, landmarks=landmarks)
            folder = (out or DEFAULT_OUT / scan.name) if single else (out or DEFAULT_OUT) / scan.name
            if is_complete(folder) and not overwrite:
                _refuse_other(folder, scan, settings)
                finished = True
                summary = results.read(folder).summary
            else:
                check_free(folder, overwrite)
                finished = False
                with common.progress_bar(not (no_progress or quiet)) as report:
                    summary = run_scan(scan, folder, settings, calibration=calibration, outputs=outputs,
                                       overwrite=overwrite, progress=report)
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


def run_scan(scan: Scan, folder: Path, settings: config_file.Config, *, calibration: Path | None = None,
             outputs: results.Outputs | None = None, overwrite: bool = False,
             progress: common.Report | None = None) -> dict[str, Any]:
    """Reconstruct a scan, score it where it is tracked, write its folder, and return the summary.

    Raises
    ------
    InputError
        If the scan, the calibration or the folder will not do.
    """
    from ..pipeline import reconstruct as estimate
    curves, calibration_hash = load_calibration(calibration)
    if scan.n_frames == 1:
        result = single_frame()
    else:
        result = estimate(scan, calibration=curves, config=settings, device=settings.device, progress=progress)
    if settings.mirrored:
        result.numbers["mirrored"] = True
    calibration_hash = str(result.numbers.pop("calibration_hash", calibration_hash))
    resolved = {**settings.resolved(), "scan": scan.path, "image_calibration": scan.calibration_source,
                "calibration": calibration or "built-in", "calibration_hash": calibration_hash,
                "outputs": dataclasses.asdict(outputs or results.Outputs())}
    return results.write(folder, scan, result, config=resolved, score=score_of(scan, result),
                         calibration_hash=calibration_hash, outputs=outputs, overwrite=overwrite, progress=progress)


def single_frame() -> Reconstruction:
    """The result of a scan of one frame: the identity."""
    eye = np.eye(4)[None]
    why = "the scan has one frame: there is no motion to reconstruct"
    return Reconstruction(eye, eye.copy(), np.zeros((1, 6, 6)), np.zeros(1, np.float32), warnings=[why],
                          verdict=unmeasured(why))


def load_calibration(path: Path | None) -> tuple[Calibration | None, str]:
    """The speckle calibration of a file (None: the one shipped) and what tells it from others."""
    if path is None:
        return None, Calibration.shipped().hash
    if not path.is_file():
        raise InputError(f"{path}: no such calibration file")
    made = Calibration.load(path)
    return made, made.hash


def score_of(scan: Scan, result: Reconstruction) -> dict[str, Any] | None:
    """Errors against the tracked poses: of steps where both ends are tracked, of the scan where all frames are."""
    truth, score = scan.T_first_frame_tracked, results.available("score")
    if truth is None or score is None or scan.n_frames < 2:
        return None
    tracked = np.isfinite(truth).all(axis=(1, 2))
    true_steps = geometry.steps(truth)
    both = tracked & np.roll(tracked, 1)
    out: dict[str, Any] = {}
    if both[1:].any():
        out["steps"] = vars(score.step_errors(result.T_prev_frame, true_steps, scan.scale, scan.shape, where=both))
    if not tracked.all():
        result.warnings.append(f"{int((~tracked).sum())} frames have no tracked pose: "
                               "the scan as a whole is not scored")
        return out
    estimate = result.T_first_frame, result.T_prev_frame
    true = truth, true_steps, scan.scale, scan.shape, scan.landmarks
    better, _ = score.with_mirror_given(*estimate, *true)
    return {**score.evaluate(*estimate, *true).as_dict(), "final_mirror_given": better.final, **out}


def _refuse_other(folder: Path, scan: Scan, settings: config_file.Config) -> None:
    stored = results.read(folder).summary
    if stored.get("scan") != scan.name:
        raise InputError(f"{folder}: holds the result of another scan ({stored.get('scan')}); choose another --out")
    if stored["numbers"].get("mirrored", False) != settings.mirrored:
        raise InputError(f"{folder}: made {'without' if settings.mirrored else 'with'} --mirrored; --overwrite makes "
                         "it anew")


def _told(error: Exception, path: Path) -> str:
    text = common.one_line_of(error)
    if not isinstance(error, SpeckleRecError | OSError | MemoryError):
        text = f"unexpected {type(error).__name__}: {text}; a defect: please report it with the output of --verbose"
    return text if str(path) in text else f"{path}: {text}"
