"""Tables of an evaluation: CSV and Markdown, and the organisers' HDF5."""

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..io import h5write
from ..io.staging import SUMMARY, staged_file
from ..scoring import score
from ..storage import folder as results
from .outcome import COLUMNS, DRIFTS, MEAN, Evaluation


def write_tables(evaluation: Evaluation) -> None:
    """Write metrics.csv, metrics_mirror_given.csv, drift.csv, metrics.h5 and summary.json of an evaluation."""
    out, rows = evaluation.out, evaluation.rows
    for file, part, columns in (("metrics.csv", "score", COLUMNS[1:]),
                                ("metrics_mirror_given.csv", "mirror_given", COLUMNS[1:]),
                                ("drift.csv", "drift", DRIFTS)):
        lines = [(row.name, getattr(row, part)) for row in rows]
        if any(values for _, values in lines):
            _text(out / file, table(columns, [*lines, (MEAN, evaluation.mean(part))]))
    write_metrics_h5(out / "metrics.h5", evaluation)
    summary = {"engine": evaluation.engine, "scans": len(rows), "scored": len(evaluation.scored),
               "failed": evaluation.failed, "mean": evaluation.mean(),
               "mean_mirror_given": evaluation.mean("mirror_given"), "mean_drift": evaluation.mean("drift"),
               "frames_per_s": evaluation.frames_per_s, "version": results.version()}
    _text(out / SUMMARY, json.dumps(summary, indent=1) + "\n")


def table(columns: Sequence[str], lines: Iterable[tuple[str, Mapping[str, Any]]]) -> str:
    """CSV of named rows; what is missing stays empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["scan", *columns])
    for name, values in lines:
        writer.writerow([name, *("" if values.get(c) is None else f"{values[c]:.9g}" for c in columns)])
    return text.getvalue()


def write_metrics_h5(path: Path, evaluation: Evaluation) -> None:
    """The five arrays of the organisers' script, in the order of the scans' names; NaN for failed scans."""
    with staged_file(path, overwrite=True) as partial, h5write.create(partial) as file:
        for name, key in (*((name, name) for name in score.ERRORS), ("time_elapsed", "runtime_s")):
            values = [row.score.get(key) for row in evaluation.rows]
            file[name] = np.array([np.nan if value is None else value for value in values], np.float64)


def _text(path: Path, text: str) -> None:
    with staged_file(path, overwrite=True) as partial:
        partial.write_text(text, encoding="utf-8")
