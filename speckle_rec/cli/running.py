"""A scan reconstructed, scored and written; a finished result taken over."""

import dataclasses
from pathlib import Path
from typing import Any

from .. import config as config_file
from ..compute.device import choose
from ..errors import InputError
from ..io.orientation import Orientation
from ..scan import Scan
from ..scoring.tracked import score_of
from ..speckle.calibration import Calibration
from ..storage import adding, made_of
from ..storage import folder as results
from ..storage import outputs as output_files
from .progress import Report


def run_scan(scan: Scan, folder: Path, settings: config_file.Config, *, calibration: Path | None = None,
             outputs: output_files.Outputs | None = None, overwrite: bool = False,
             progress: Report | None = None, orientation: Orientation | None = None) -> dict[str, Any]:
    """Reconstruct a scan, score it where it is tracked, write its folder, and return the summary.

    Raises
    ------
    InputError
        If the scan, the calibration or the folder will not do.
    """
    from ..pipeline import reconstruct as estimate
    curves, calibration_hash = load_calibration(calibration)
    made = _made_of(scan, calibration, calibration_hash, settings, progress, orientation)
    given: dict[str, Any] = {} if orientation is None else {"orientation": orientation}
    result = estimate(scan, calibration=curves, config=settings, device=settings.device, progress=progress, **given)
    if settings.mirrored:
        result.numbers["mirrored"] = True
    if orientation is not None:
        result.numbers["orientation"] = orientation.source
    calibration_hash = str(result.numbers.pop("calibration_hash", calibration_hash))
    resolved = {**settings.resolved(), "scan": scan.path, "image_calibration": scan.calibration_source,
                "calibration": calibration or "built-in", "calibration_hash": calibration_hash,
                "outputs": dataclasses.asdict(outputs or output_files.Outputs())}
    return results.write(folder, scan, result, config=resolved, score=score_of(scan, result), made_of=made,
                         calibration_hash=calibration_hash, outputs=outputs, overwrite=overwrite, progress=progress)


def resume(scan: Scan, folder: Path, settings: config_file.Config, *, calibration: Path | None = None,
           outputs: output_files.Outputs | None = None, overwrite: bool = False,
           progress: Report | None = None, orientation: Orientation | None = None) -> dict[str, Any]:
    """The summary of a finished result of the same scan and settings, after the outputs it lacks are made.

    Raises
    ------
    InputError
        If the result was made of something else, or is damaged.
    """
    _, calibration_hash = load_calibration(calibration)
    stored = made_of.taken_over(folder, _made_of(scan, calibration, calibration_hash, settings, progress, orientation))
    lacks = adding.missing(stored, scan, outputs or output_files.Outputs())
    if lacks == adding.NOTHING:
        return stored.summary
    return adding.add(stored, scan, lacks, device=choose(settings.device)[0], progress=progress)


def _made_of(scan: Scan, calibration: Path | None, calibration_hash: str, settings: config_file.Config,
             progress: Report | None, orientation: Orientation | None) -> made_of.MadeOf:
    report = progress or (lambda stage, done, total: None)
    run = made_of.of_run(calibration_hash, settings, given=calibration is not None)
    if orientation is not None:
        run["settings"]["orientation"] = orientation.hash
    return made_of.of_scan(scan, run,
                           lambda done, total: report("reading frames", done, total))


def load_calibration(path: Path | None) -> tuple[Calibration | None, str]:
    """The speckle calibration of a file (None: the one shipped) and what tells it from others."""
    if path is None:
        return None, Calibration.shipped().hash
    if not path.is_file():
        raise InputError(f"{path}: no such calibration file")
    made = Calibration.load(path)
    return made, made.hash
