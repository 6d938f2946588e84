"""Tables on the terminal: what a result says, in the end its absolute path."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from .common import complain

FILES = {"poses.h5": "poses", "volume.nrrd": "volume", "scan.igs.mha": "sequence", "ddf.h5": "fields",
         "trajectory.png": "figure", "report.html": "report"}
ERRORS = ("GPE", "LPE", "GLE", "LLE")


def show(summary: Mapping[str, Any], folder: Path, *, finished_before: bool = False, verbose: bool = False) -> None:
    """Print the summary of a result and where it is."""
    console = Console(highlight=False)
    note = " (finished before; --overwrite does it again)" if finished_before else ""
    console.print(f"{summary['scan']}: {summary['n_frames']} frames of {summary['columns']} x {summary['rows']}{note}",
                  markup=False, soft_wrap=True)
    table = Table("figure", "value")
    table.columns[1].justify = "right"
    table.add_row("path_length_mm", _number(summary["path_length_mm"]))
    table.add_row("confidence_mean", _number(summary["confidence_mean"]))
    for name, value in summary["numbers"].items():
        table.add_row(name, _number(value))
    if verbose:
        for stage, seconds in summary["run_times_s"].items():
            table.add_row(f"time {stage} [s]", _number(seconds))
    console.print(table)
    score = summary.get("score") or {}
    if score.get("steps"):
        console.print(step_table(score["steps"]))
    if "final" in score:
        console.print(score_table(score))
    agreed = (summary.get("volume") or {}).get("against_tracked")
    if agreed:
        console.print(f"volume from estimated against tracked poses: NCC {_number(agreed['ncc'])}, overlap "
                      f"{_number(agreed['overlap'])} at {_number(agreed['spacing_mm'])} mm", soft_wrap=True)
    for warning in summary["warnings"]:
        complain(f"warning: {warning}")
    for name, what in FILES.items():
        if (folder / name).is_file():
            console.print(f"{what:<10}{(folder / name).absolute()}", markup=False, soft_wrap=True)
    console.print(str(folder.absolute()), markup=False, soft_wrap=True)


def score_table(score: Mapping[str, Any]) -> Table:
    """Errors against the tracker, those of a probe held still, and 1 - their ratio."""
    table = Table("error [mm]", "this result", "identity", "score", title="against the tracked poses")
    for column in table.columns[1:]:
        column.justify = "right"
    for name in ERRORS:
        if score.get(name) is not None:
            table.add_row(name, *(_number(score.get(key)) for key in (name, f"{name}_identity", f"{name}_normalised")))
    table.add_section()
    for name in ("global", "local", "final", "final_mirror_given"):
        if score.get(name) is not None:
            table.add_row(name, "", "", _number(score[name]))
    return table


def step_table(steps: Mapping[str, Any]) -> Table:
    """Errors of the steps between neighbouring frames, and path lengths of the image centre."""
    table = Table("steps of the image centre", "value", title="against the tracked poses")
    table.columns[1].justify = "right"
    for name, value in steps.items():
        table.add_row(name, _number(value))
    return table


def show_list(done: list[Path], failed: list[str], total: int) -> None:
    """Print what became of several scans."""
    console = Console(highlight=False)
    console.print(f"{len(done)} of {total} scans done, {len(failed)} failed")
    for folder in done:
        console.print(f"done    {folder.absolute()}", markup=False, soft_wrap=True)
    for text in failed:
        console.print(f"failed  {text}", markup=False, soft_wrap=True)


def _number(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
