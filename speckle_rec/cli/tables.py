"""Tables on the terminal, no wider than it is: what a result says, in the end its absolute path."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..io.wording import counted
from ..report.words import number, words
from .common import complain

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

FILES = {"poses.h5": "poses", "volume.nrrd": "volume", "scan.igs.mha": "sequence", "ddf.h5": "fields",
         "trajectory.png": "figure", "report.html": "report"}
ERRORS = ("GPE", "LPE", "GLE", "LLE")
SCORES = {"global": "global", "local": "local", "final": "final score",
          "final_mirror_given": "final, mirror bit given"}
UNCUT = 100_000     # columns of an output that has no width of its own: a file, a pipe
LEAST_NAME = 12     # columns that a name is shortened to before a column of figures is left out


def console() -> "Console":
    """A console that takes no text for markup ("[mm]", ":o:"), and cuts nothing where it is no terminal."""
    from rich.console import Console
    plain = {"highlight": False, "markup": False, "emoji": False}
    screen = Console(**plain)  # type: ignore[arg-type]
    return screen if screen.is_terminal else Console(width=UNCUT, **plain)  # type: ignore[arg-type]


def shortened(name: str, width: int) -> str:
    """A name in at most `width` columns: its middle gives way, for what tells names apart stands at the ends."""
    if len(name) <= width:
        return name
    head = width // 2
    return f"{name[:head]}…{name[len(name) - (width - head - 1):]}" if width > 1 else "…"[:width]


def fitted(title: str, headings: Sequence[str], rows: Sequence[tuple[str, Sequence[str]]], width: int, *,
           last: Sequence[str] = (), rule: int | None = None) -> "tuple[Table, list[str]]":
    """A table of named rows of figures that fits a terminal, and the headings of the columns that it leaves out.

    Figures are never cut. Names are shortened in the middle; where that does not do, columns are left out.

    Parameters
    ----------
    title : heading of the names.
    rows : (name, a text a heading); columns without any text are left out.
    width : columns of the terminal.
    last : headings in the order in which they may be left out; then those from the right, but for the first.
    rule : rows above a line.
    """
    filled = [k for k in range(len(headings)) if any(cells[k] not in ("", "-") for _, cells in rows)] or [0]
    size = {k: max(len(headings[k]), *(len(cells[k]) for _, cells in rows)) if rows else len(headings[k])
            for k in filled}
    longest = max([len(title), *(len(name) for name, _ in rows)])
    order = [k for heading in last for k in filled if headings[k] == heading]
    order += [k for k in reversed(filled[1:]) if k not in order]
    shown = list(filled)

    def room() -> int:      # for names: a column costs three more, the table one
        return width - 4 - sum(size[k] + 3 for k in shown)

    dropped = []
    while room() < min(longest, LEAST_NAME) and len(shown) > 1 and order:
        dropped.append(order.pop(0))
        shown.remove(dropped[-1])
    table = _table(title, *(headings[k] for k in shown))
    for name, cells in rows:
        table.add_row(shortened(name, max(room(), 1)), *(cells[k] for k in shown))
        if rule is not None and len(table.rows) == rule:
            table.add_section()
    return table, [headings[k] for k in sorted(dropped)]


def show(summary: Mapping[str, Any], folder: Path, *, finished_before: bool = False, verbose: bool = False) -> None:
    """Print what a result says and where it is."""
    screen = console()
    note = " (finished before; --overwrite does it again)" if finished_before else ""
    screen.print(f"{summary['scan']}: {counted(summary['n_frames'], 'frame')} of {summary['columns']} x "
                 f"{summary['rows']}{note}", soft_wrap=True)
    screen.print(_pairs("result", headline(summary)))
    score = summary.get("score") or {}
    if verbose:
        figures = {"mean confidence": summary.get("confidence_mean")}
        figures |= {words(name): value for name, value in summary["numbers"].items()}
        figures |= {f"time {stage} [s]": seconds for stage, seconds in summary["run_times_s"].items()}
        screen.print(_pairs("figure", figures))
        if score.get("steps"):
            screen.print(_pairs("steps of the image centre, against the tracked poses",
                                {words(name): value for name, value in score["steps"].items()}))
    if "final" in score:
        screen.print(score_table(score))
    agreed = (summary.get("volume") or {}).get("against_tracked")
    if agreed:
        screen.print(f"volume from estimated against tracked poses: NCC {number(agreed['ncc'])}, overlap "
                     f"{number(agreed['overlap'])} at {agreed['spacing_mm']:g} mm", soft_wrap=True)
    for warning in summary["warnings"]:
        complain(f"warning: {warning}")
    for name, what in FILES.items():
        if (folder / name).is_file():
            screen.print(f"{what:<10}{(folder / name).absolute()}", soft_wrap=True)
    screen.print(str(folder.absolute()), soft_wrap=True)


def headline(summary: Mapping[str, Any]) -> dict[str, str]:
    """What a person wants to know first: the verdict, the path and how sure it is, the score where there is one."""
    verdict, numbers = summary.get("verdict") or {}, summary.get("numbers") or {}
    out = {}
    if summary.get("found"):
        out["found"] = str(summary["found"])
    if verdict:
        out["shape"] = number(verdict.get("shape"))
        if verdict.get("scale_percent") is not None:
            out["scale out of the plane"] = f"+- {number(float(verdict['scale_percent']))} %"
        out["handedness"] = number(verdict.get("handedness"))
        out["why"] = number(verdict.get("why"))
    if numbers.get("reading"):
        out["the probe was"] = f"{numbers['reading']} (or the mirror image)" if verdict.get("handedness") == "assumed" \
            else number(numbers["reading"])
    if numbers.get("motion"):
        decided = numbers.get("motion_decided")
        out["motion"] = f"{numbers['motion']}{f': {decided}' if decided else ''}"
    path, across = summary.get("path_length_mm"), numbers.get("elevational_path_mm")
    sd = numbers.get("elevational_path_sd_mm")
    # Speckle's part of the path is what is uncertain; it counts as much as it has of the path.
    share = min(1.0, across / path) if path and across is not None else None
    out["path of the image centre [mm]"] = _with_spread(path, sd * share if sd and share is not None else None)
    if across is not None:
        out["out-of-plane path [mm]"] = _with_spread(across, sd)
    score = summary.get("score") or {}
    if score.get("final") is not None:
        out["score against the tracked poses"] = f"{number(score['final'])} (1: no error)"
    return out


def score_table(score: Mapping[str, Any]) -> "Table":
    """Errors against the tracker, those of a probe held still, and 1 - their ratio."""
    table = _table("error [mm]", "this result", "identity", "score", title="against the tracked poses")
    for name in ERRORS:
        if score.get(name) is not None:
            table.add_row(name, *(number(score.get(key)) for key in (name, f"{name}_identity", f"{name}_normalised")))
    table.add_section()
    for name, told in SCORES.items():
        if score.get(name) is not None:
            table.add_row(told, "", "", number(score[name]))
    return table


def show_list(done: list[Path], failed: list[str], total: int) -> None:
    """Print what became of several scans."""
    screen = console()
    screen.print(f"{len(done)} of {counted(total, 'scan')} done, {len(failed)} failed")
    for folder in done:
        screen.print(f"done    {folder.absolute()}", soft_wrap=True)
    for text in failed:
        screen.print(f"failed  {text}", soft_wrap=True)


def _with_spread(value: float | None, spread: float | None) -> str:
    """A figure and its standard deviation."""
    if not spread or not math.isfinite(spread):
        return number(value)
    rounded = float(f"{spread:.2g}")
    return f"{number(value)} +- {f'{rounded:.0f}' if rounded >= 10 else f'{rounded:#.2g}'}"


def _table(*headings: str, title: str | None = None) -> "Table":
    """A table of a column of names and columns of figures, which are never cut."""
    from rich.table import Table
    table = Table(*headings, title=title)
    for column in table.columns:
        column.no_wrap = True
    for column in table.columns[1:]:
        column.justify = "right"
    return table


def _pairs(title: str, values: Mapping[str, Any]) -> "Table":
    """Figures by name; long texts are wrapped."""
    from rich.table import Table
    table = Table(title, "value")
    for name, value in values.items():
        table.add_row(name, number(value))
    return table
