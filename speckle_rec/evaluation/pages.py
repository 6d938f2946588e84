"""The pages that `evaluate` and `benchmark` end in, and the reports of the scans that came out worst."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from ..errors import InputError
from ..io.staging import POSES, staged_file
from ..report import dataset
from ..storage import folder as results
from ..storage import outputs as output_files
from .outcome import Evaluation, Row

NAME = "report.html"
MOST_REPORTS = 5        # of the worst scans, that are written where there are none


def write(evaluation: Evaluation, notes: Sequence[str] = ()) -> Path:
    """Write the page of an evaluation into its folder."""
    path = evaluation.out / NAME
    lines = _lines(evaluation, evaluation.out)
    with staged_file(path, overwrite=True) as partial:
        dataset.write(partial, f"Evaluation of {evaluation.out.absolute().name}", {evaluation.engine: lines},
                      version=results.version(), notes=notes)
    return path


def write_all(out: Path, evaluations: Mapping[str, Evaluation], figure: Path | None = None) -> Path:
    """Write the page of a benchmark into `out`, and of each engine into its own folder."""
    links = {name: _relative(write(one), out) for name, one in evaluations.items()}
    with staged_file(out / NAME, overwrite=True) as partial:
        dataset.write(partial, f"Benchmark {out.absolute().name}",
                      {name: _lines(one, out) for name, one in evaluations.items()}, version=results.version(),
                      links=links, figure=figure.read_bytes() if figure and figure.is_file() else None)
    return out / NAME


def _lines(evaluation: Evaluation, home: Path) -> list[dataset.Line]:
    """A line a scan, linked to its report relative to `home`."""
    worst = sorted(evaluation.scored, key=lambda row: (row.error is None, row.score.get("final") or 0.0))
    wanted = {row.name for row in worst[:MOST_REPORTS]}
    return [dataset.Line(row.name, row.score, row.error or "", _report(evaluation, row, home, row.name in wanted))
            for row in evaluation.rows]


def _report(evaluation: Evaluation, row: Row, home: Path, wanted: bool) -> str:
    """The link of a scan's report, which is written if it is `wanted` and the scan has poses."""
    folder = evaluation.out / "scans" / row.name
    path = folder / NAME
    if not row.resumed or not path.is_file():
        path.unlink(missing_ok=True)
        if wanted and (folder / POSES).is_file():
            try:
                output_files.write_report(folder)
            except InputError:      # damaged: the table has its figures all the same
                return ""
    return _relative(path, home) if path.is_file() else ""


def _relative(path: Path, home: Path) -> str:
    return path.absolute().relative_to(home.absolute()).as_posix()
