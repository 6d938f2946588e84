"""``evaluate DATASET``: every scan of a data set, reconstructed and scored as the challenge does."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from .. import config as config_file
from .. import leaderboard
from ..evaluation import Evaluation, Row, evaluate_dataset
from ..workers import set_threads
from . import common
from .reconstruct import load_calibration

Calibration = Annotated[Path | None, typer.Option("--calibration", metavar="FILE",
                                                  help="Speckle calibration (default: the one shipped).")]
Scheduler = Annotated[str | None, typer.Option("--scheduler", metavar="ADDRESS", help="A dask scheduler whose workers "
                                               "take the scans (needs the extra [cluster]); they see the same files.")]
Processes = Annotated[int, typer.Option("-j", "--jobs", min=0, help="Scans at a time, a process each; 0: one a core.")]
Pattern = Annotated[str, typer.Option("--scans", metavar="PATTERN", help="Only scans whose names fit, such as "
                                      "'*rotation'.")]
Dataset = Annotated[Path, typer.Argument(metavar="DATASET", help="A data set in the challenge's train or val layout.")]
Out = Annotated[Path, typer.Option("-o", "--out", metavar="DIR", help="Where scans/SCAN/ and the tables go.")]

HEADINGS = ("final", "global", "local", "GPE", "GLE", "LPE", "LLE", "runtime_s")
WIDTH = 130


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
    settings, jobs = processes(config, device, seed, jobs)
    curves, calibration_hash = load_calibration(calibration)
    size = common.pixel_size(pixel_mm)
    with common.progress_bar(not (no_progress or quiet)) as report:
        def ended(row: Row, done: int, total: int) -> None:
            report("scans", done, total)
            if row.error:
                common.complain(f"{row.name}: {row.error}")
        found = evaluate_dataset(dataset, out, calibration=curves, calibration_hash=calibration_hash, config=settings,
                                 scans=scans, jobs=jobs, scheduler=scheduler, overwrite=overwrite,
                                 pixel_mm=size, progress=ended)
    if not quiet:
        show(found, verbose)
    return 1 if found.failed else 0


def processes(config: Path | None, device: str | None, seed: int | None, jobs: int) -> tuple[config_file.Config, int]:
    """Parameters of a run whose `jobs` are processes: each takes its share of the threads."""
    settings = config_file.load(config, device=device, seed=seed)
    common.check_device(settings.device)
    threads = set_threads(0)
    jobs = jobs or threads
    return config_file.load(config, device=device, seed=seed, jobs=max(1, threads // jobs)), jobs


def show(evaluation: Evaluation, verbose: bool = False) -> None:
    """Print means, the leaderboard beside them, and what failed."""
    console = wide_console()
    if verbose:
        console.print(table({row.name: row.score for row in evaluation.rows}))
    means = {"this run": evaluation.mean(), "with the mirror bit given": evaluation.mean("mirror_given")}
    published = {entry.name: {**vars(entry), "global": entry.global_} for entry in leaderboard.ENTRIES}
    console.print(table({**means, **published}, rule=len(means)))
    console.print(f"{len(evaluation.scored)} scans scored, {len(evaluation.failed)} failed. Below the line, on other "
                  f"data: {leaderboard.SOURCE}", soft_wrap=True)
    for name, why in evaluation.failed.items():
        console.print(f"failed  {name}: {why}", markup=False, soft_wrap=True)
    console.print(str(evaluation.out.absolute()), markup=False, soft_wrap=True)


def wide_console() -> Console:
    """A console that keeps the columns of a table whole where it does not know its width."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=max(console.width, WIDTH))


def table(rows: dict[str, dict], rule: int | None = None) -> Table:
    """A table of named rows of scores; a line is drawn after `rule` rows."""
    out = Table("", *HEADINGS)
    out.columns[0].no_wrap = True
    for column in out.columns[1:]:
        column.justify = "right"
    for i, (name, values) in enumerate(rows.items(), 1):
        out.add_row(name, *("" if values.get(h) is None else f"{values[h]:.3g}" for h in HEADINGS))
        if i == rule:
            out.add_section()
    return out
