"""Engines side by side: one table (rows of figures, CSV, Markdown) and one figure."""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .outcome import Evaluation
from .tables import table

COLUMNS = ("scans", "failed", "final", "final_mirror_given", "global", "local", "GPE", "GLE", "LPE", "LLE",
           "runtime_s", "frames_per_s")
COLOURS = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377")


def figures(evaluation: Evaluation) -> dict[str, Any]:
    """The figures of one engine by the names of `COLUMNS`."""
    return {**evaluation.mean(), "scans": len(evaluation.scored), "failed": len(evaluation.failed),
            "frames_per_s": evaluation.frames_per_s}


def has_figure(evaluations: Mapping[str, Evaluation]) -> bool:
    """Whether any engine ended any scan: a figure of failures shows nothing."""
    return any(row.score and row.error is None for one in evaluations.values() for row in one.rows)


def csv(evaluations: Mapping[str, Evaluation]) -> str:
    """A row an engine."""
    lines = [(name, figures(evaluation)) for name, evaluation in evaluations.items()]
    return table(COLUMNS, lines).replace("scan,", "engine,", 1)


def markdown(evaluations: Mapping[str, Evaluation]) -> str:
    """The same table in Markdown."""
    lines = [["engine", *COLUMNS], ["---"] + ["---:"] * len(COLUMNS)]
    for name, evaluation in evaluations.items():
        values = figures(evaluation)
        lines.append([name, *(text(values.get(column)) for column in COLUMNS)])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def text(value: Any) -> str:
    """A figure for people."""
    if value is None:
        return "-"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def figure(path: Path, evaluations: Mapping[str, Evaluation]) -> None:
    """Final scores by scan and engine, and accuracy against run time, as a PNG.

    An engine without a scan that could be scored has its name there and nothing else.
    """
    from matplotlib.figure import Figure
    canvas = Figure(figsize=(10, 4), layout="constrained")
    left, right = canvas.subplots(1, 2, sharey=True)
    names = list(evaluations)
    for k, (name, evaluation) in enumerate(evaluations.items()):
        colour = COLOURS[k % len(COLOURS)]
        finals = np.array([row.score["final"] for row in evaluation.scored], float)
        given = np.array([row.mirror_given["final"] for row in evaluation.scored], float)
        left.bar(k, finals.mean() if len(finals) else 0, 0.7, color=colour, alpha=0.5)
        left.plot(np.full(len(finals), k - 0.1), finals, "o", color=colour, ms=4)
        left.plot(np.full(len(given), k + 0.1), given, "o", mfc="none", color=colour, ms=4)
        seconds = evaluation.mean().get("runtime_s")
        if seconds and len(finals):
            right.plot(seconds, finals.mean(), "o", color=colour, label=name)
    left.set_xticks(range(len(names)), names, rotation=20, ha="right", parse_math=False)
    left.set_ylabel("final score (0: identity, 1: truth)")
    left.set_title("dots: scans; rings: the mirror bit given", fontsize=9)
    every = [row.score["final"] for one in evaluations.values() for row in one.scored]
    left.set_ylim(min([-0.05, *(1.05 * value for value in every)]), 1.05)
    right.set_xscale("log")
    right.set_xlabel("run time, s a scan")
    if right.get_legend_handles_labels()[0]:
        for text in right.legend(fontsize=8).get_texts():
            text.set_parse_math(False)
    for axes in (left, right):
        axes.axhline(0, color="0.6", lw=0.8)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")      # of a name in letters that the font lacks
        canvas.savefig(path, dpi=120)
