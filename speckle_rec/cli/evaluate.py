"""``evaluate DATASET``: every scan of a data set, reconstructed and scored as the challenge does."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .. import config as config_file
from ..evaluation import leaderboard
from ..io.wording import counted
from . import common, tables

if TYPE_CHECKING:
    from ..evaluation.outcome import Evaluation, Row

Calibration = Annotated[Path | None, typer.Option("--calibration", metavar="FILE",
                                                  help="Speckle calibration (default: the one shipped).")]
Scheduler = Annotated[str | None, typer.Option("--scheduler", metavar="ADDRESS", help="A dask scheduler whose workers "
                                               "take the scans (needs the extra [cluster]); they see the same files.")]
Processes = Annotated[int, typer.Option("-j", "--jobs", min=0, help="Scans at a time, a process each; 0: one a core.")]
Pattern = Annotated[str, typer.Option("--scans", metavar="PATTERN", help="Only scans whose names fit, such as "
                                      "'*rotation'.")]
Dataset = Annotated[Path, typer.Argument(metavar="DATASET", help="A data set in the challenge's train or val layout.")]
Out = Annotated[Path, typer.Option("-o", "--out", metavar="DIR", help="Where scans/SCAN/ and the tables go.")]

HEADINGS = {"final": "final", "global": "global", "local": "local", "GPE": "GPE", "GLE": "GLE", "LPE": "LPE",
            "LLE": "LLE", "runtime_s": "s/scan"}
LAST = ("LLE", "GLE", "LPE", "GPE", "s/scan", "local", "global")      # what a narrow terminal does without, in order


def evaluate(dataset: Dataset, out: Out, calibration: Calibration = None, scans: Pattern = "*",
             pixel_mm: common.PixelMm = None, scheduler: Scheduler = None, config: common.Config = None,
             device: common.Device = None, jobs: Processes = 1, seed: common.Seed = None,
             overwrite: common.Overwrite = False, no_progress: common.NoProgress = False, quiet: common.Quiet = False,
             verbose: common.Verbose = False) -> int:
    """Reconstruct every scan of a data set, score it, and set the means beside the published leaderboard.

    \b
    speckle-rec evaluate Freehand_US_data_val_2025 -o evaluation
    speckle-rec evaluate val --calibration calibration.h5 -o evaluation -j 0
    speckle-rec evaluate val -o evaluation --scans '*rotation' -v
    """
    from ..evaluation import pages
    from ..evaluation.datasets import evaluate_dataset
    from .running import load_calibration
    settings, jobs = processes(config, device, seed, jobs)
    curves, calibration_hash = load_calibration(calibration)
    size = common.pixel_size(pixel_mm)
    with common.progress_bar(not (no_progress or quiet)) as report:
        def ended(row: "Row", done: int, total: int) -> None:
            report("scans", done, total)
            if row.error:
                common.complain(f"{row.name}: {row.error}")
            elif verbose:
                common.complain(f"{row.name}: final {text(row.score.get('final'))}, "
                                f"{text(row.score.get('runtime_s'))} s ({done} of {total})")
        found = evaluate_dataset(dataset, out, calibration=curves, calibration_hash=calibration_hash, config=settings,
                                 scans=scans, jobs=jobs, scheduler=scheduler, overwrite=overwrite,
                                 pixel_mm=size, progress=ended)
    pages.write(found)
    if not quiet:
        show(found, verbose)
    return 1 if found.failed else 0


def processes(config: Path | None, device: str | None, seed: int | None, jobs: int) -> tuple[config_file.Config, int]:
    """Parameters of a run whose `jobs` are processes: each takes its share of the threads."""
    from ..compute.workers import set_threads
    settings = config_file.load(config, device=device, seed=seed)
    common.check_device(settings.device)
    threads = set_threads(0)
    jobs = jobs or threads
    return config_file.load(config, device=device, seed=seed, jobs=max(1, threads // jobs)), jobs


def show(evaluation: "Evaluation", verbose: bool = False) -> None:
    """Print means, the leaderboard beside them, and what failed."""
    screen = tables.console()
    means = {"this run": evaluation.mean(), "mirror bit given": evaluation.mean("mirror_given")}
    published = {entry.name: {**vars(entry), "global": entry.global_} for entry in leaderboard.ENTRIES}
    shown: list[tuple[dict[str, Any], str, int | None]] = [({**means, **published}, "", len(means))]
    if verbose:
        shown.insert(0, ({row.name: row.score for row in evaluation.rows}, "scan", None))
    left_out: dict[str, None] = {}
    for rows, title, rule in shown:
        texts = [(name, [text(values.get(key)) for key in HEADINGS]) for name, values in rows.items()]
        table, dropped = tables.fitted(title, list(HEADINGS.values()), texts, screen.width, last=LAST, rule=rule)
        left_out |= dict.fromkeys(dropped)
        screen.print(table)
    screen.print("GPE, GLE, LPE, LLE: errors in mm" if not left_out else
                 f"errors in mm; too narrow for {', '.join(left_out)}: metrics.csv has all")
    screen.print(f"{counted(len(evaluation.scored), 'scan')} scored, {len(evaluation.failed)} failed. Below the line, "
                 f"on other data: {leaderboard.SOURCE}", soft_wrap=True)
    for name, why in evaluation.failed.items():
        screen.print(f"failed  {name}: {why}", soft_wrap=True)
    screen.print(str(evaluation.out.absolute()), soft_wrap=True)


def text(value: Any) -> str:
    """A figure of a table; nothing where it is not known."""
    return "" if value is None else tables.number(value)
