"""``sr.evaluate``: every scan of a data set, reconstructed and scored."""

from collections.abc import Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path

import numba

from .. import config as config_file
from ..config import Config
from ..errors import InputError
from ..evaluation import pages
from ..evaluation.datasets import evaluate_dataset
from ..evaluation.outcome import Evaluation
from ..io import pixels
from ..io.checks import described
from ..speckle.calibration import Calibration
from . import as_verb


def evaluate(dataset: str | PathLike[str], out: str | PathLike[str], *,
             calibration: str | PathLike[str] | Calibration | None = None, scans: str = "*",
             pixel_mm: float | Sequence[float] | None = None, scheduler: str | None = None,
             config: str | PathLike[str] | Config | None = None, device: str | None = None, jobs: int = 1,
             seed: int | None = None, overwrite: bool = False) -> Evaluation:
    """Reconstruct every scan of a data set and score it, as ``speckle-rec evaluate`` does.

    Parameters
    ----------
    dataset : in the challenge's train or val layout.
    out : folder for ``scans/SCAN/`` and the tables; scans that are there are not done again.
    calibration : of the machine, or its file; by default the one shipped.
    scans : pattern of the names to take.
    pixel_mm : width and height of a pixel, where no file tells.
    scheduler : address of a dask scheduler whose workers take the scans (extra ``[cluster]``).
    config : parameters, or their TOML file.
    jobs : scans at a time, a process each; 0: one a core. In scripts, guard the call by ``if __name__ == "__main__"``.
    overwrite : do finished scans again.

    Returns
    -------
    Evaluation
        Rows by scan, their means (``.mean()``), and what failed (``.failed``).

    Raises
    ------
    InputError
        If `dataset` is no data set, or `out` holds the evaluation of something else.
    """
    made = calibration if isinstance(calibration, Calibration | None) else Calibration.load(
        as_verb.path(calibration, "evaluate: calibration"))
    if isinstance(config, Config):
        settings = replace(config, device=config.device if device is None else device,
                           seed=config.seed if seed is None else seed)
    else:
        settings = config_file.load(None if config is None else as_verb.path(config, "evaluate: config"),
                                    device=device, seed=seed)
    if isinstance(jobs, bool) or not isinstance(jobs, int) or jobs < 0:
        raise InputError(f"evaluate: jobs: expected a whole number from 0 on, found {described(jobs)}")
    threads = int(numba.config.NUMBA_NUM_THREADS)  # type: ignore[attr-defined]
    size = None if pixel_mm is None else pixels.checked(pixel_mm)
    found = evaluate_dataset(Path(as_verb.path(dataset, "evaluate: dataset")), as_verb.path(out, "evaluate: out"),
                            calibration=made, calibration_hash=(made or Calibration.shipped()).hash, config=settings,
                            scans=scans, jobs=jobs or threads, scheduler=scheduler, overwrite=overwrite, pixel_mm=size)
    pages.write(found)
    return found
