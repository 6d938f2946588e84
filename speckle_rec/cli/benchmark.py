"""``benchmark DATASET --engines a,b,c``: the same scans through several engines."""

import re
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import InputError
from ..io.staging import staged_file
from . import common, tables
from .evaluate import Calibration, Dataset, Out, Pattern, Processes, Scheduler, processes

if TYPE_CHECKING:
    from ..evaluation.challenge import Submission
    from ..evaluation.outcome import Evaluation, Row

HEADINGS = {"final_mirror_given": "mirror given", "runtime_s": "s/scan", "frames_per_s": "frames/s"}
# What a narrow terminal does without, in this order.
LAST = ("frames/s", "LLE", "GLE", "scans", "LPE", "GPE", "local", "global", "s/scan", "failed", "mirror given")


def benchmark(dataset: Dataset, out: Out,
              engines: Annotated[str, typer.Option("--engines", metavar="a,b,c", help="Of identity, prior, inplane, "
                                                   "flow, fixed-curve, speckle-smooth, speckle, and "
                                                   "challenge:PATH/predict_ddfs.py (or any name) for anyone's "
                                                   "submission.")],
              python: Annotated[str, typer.Option("--python", metavar="FILE", help="Interpreter for the submissions.")
                                ] = sys.executable,
              timeout_s: Annotated[float, typer.Option("--timeout-s", min=0.1, help="Longest time of a submission for "
                                                       "one scan.")] = 3600.0,
              calibration: Calibration = None, scans: Pattern = "*", pixel_mm: common.PixelMm = None,
              scheduler: Scheduler = None,
              config: common.Config = None, device: common.Device = None, jobs: Processes = 1,
              seed: common.Seed = None, overwrite: common.Overwrite = False,
              no_progress: common.NoProgress = False, quiet: common.Quiet = False) -> int:
    """Run the same scans through several engines; accuracy and run time in one table and one figure.

    \b
    speckle-rec benchmark val --engines identity,prior,inplane,speckle -o benchmark
    speckle-rec benchmark val --engines speckle,challenge:entry/predict_ddfs.py --python entry/.venv/bin/python -o both
    """
    from ..evaluation import figure as report
    from ..evaluation import pages
    from ..evaluation.datasets import evaluate_dataset
    from .running import load_calibration
    settings, jobs = processes(config, device, seed, jobs)
    chosen = choose(engines, python, settings.device, timeout_s)
    curves, calibration_hash = load_calibration(calibration)
    size = common.pixel_size(pixel_mm)
    found: dict[str, Evaluation] = {}
    with common.progress_bar(not (no_progress or quiet)) as progress:
        for name, one in chosen.items():
            def ended(row: "Row", done: int, total: int, name: str = name) -> None:
                progress(name, done, total)
                if row.error:
                    common.complain(f"{name}: {row.name}: {row.error}")
            found[name] = evaluate_dataset(
                dataset, out / re.sub(r"[^\w.-]+", "_", name), engine=one, calibration=curves,
                calibration_hash=calibration_hash, config=settings, scans=scans, jobs=jobs, scheduler=scheduler,
                overwrite=overwrite, pixel_mm=size, progress=ended)
    for file, content in (("benchmark.csv", report.csv(found)), ("benchmark.md", report.markdown(found))):
        with staged_file(out / file, overwrite=True) as partial:
            partial.write_text(content, encoding="utf-8")
    shown = out / "benchmark.png"
    if report.has_figure(found):
        with staged_file(shown, overwrite=True) as partial:
            report.figure(partial, found)
    else:
        shown.unlink(missing_ok=True)
        shown = out / "benchmark.csv"
    page = pages.write_all(out, found, out / "benchmark.png")
    if not quiet:
        show(found)
        print(page.absolute())
        print(shown.absolute())
    return 1 if any(one.failed for one in found.values()) else 0


def choose(words: str, python: str, device: str, timeout_s: float = 3600.0) -> "dict[str, str | Submission]":
    """Engines by the names they go by in tables; checked before any work is done.

    Raises
    ------
    InputError
        For an unknown engine, or a submission that is not there.
    """
    from ..evaluation.challenge import PREFIX, Submission
    from ..evaluation.engines import ENGINES, engine
    chosen: dict[str, str | Submission] = {}
    for word in filter(None, map(str.strip, words.split(","))):
        one: str | Submission = (Submission.of(word, python, device, timeout_s) if word.startswith(PREFIX)
                                 else word)
        name = label = one.label if isinstance(one, Submission) else word
        if isinstance(one, str):
            engine(one)
        elif chosen.get(name, one) != one:
            name = next(f"{label}-{k}" for k in range(2, 1000) if f"{label}-{k}" not in chosen)
        chosen[name] = one
    if not chosen:
        raise InputError(f"--engines: expected names such as {','.join(ENGINES)}, found '{words}'")
    return chosen


def show(found: "dict[str, Evaluation]") -> None:
    """Print the table."""
    from ..evaluation import figure as report
    screen = tables.console()
    rows = []
    for name, evaluation in found.items():
        values = report.figures(evaluation)
        rows.append((name, [tables.number(values.get(column)) for column in report.COLUMNS]))
    headings = [HEADINGS.get(column, column) for column in report.COLUMNS]
    table, left_out = tables.fitted("engine", headings, rows, screen.width, last=LAST)
    screen.print(table)
    screen.print("GPE, GLE, LPE, LLE: errors in mm" if not left_out else
                 f"errors in mm; too narrow for {', '.join(left_out)}: benchmark.csv has all", soft_wrap=True)
