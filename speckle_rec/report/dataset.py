"""The page of many scans: what they come to, how they spread, and which came out worst."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from . import page
from .words import LABELS, number, shown

FIGURES = ("final", "final_mirror_given", "global", "local", "GPE", "GLE", "LPE", "LLE", "runtime_s")
SHORT = {"final": "final", "final_mirror_given": "final, mirror given", "global": "global", "local": "local",
         "GPE": "GPE, mm", "GLE": "GLE, mm", "LPE": "LPE, mm", "LLE": "LLE, mm", "runtime_s": "run time, s"}
MOST_WORST = 5
WIDE = 600              # units of the drawing of scores


@dataclass(frozen=True)
class Line:
    """What is told of one scan.

    Attributes
    ----------
    values : figures by the names of `FIGURES`, None where not known.   error : why it failed.
    link : of its report, relative to the page; empty where there is none.
    """

    name: str
    values: Mapping[str, Any] = field(default_factory=dict)
    error: str = ""
    link: str = ""


def write(path: Path, title: str, lines: Mapping[str, Sequence[Line]], *, version: str, notes: Sequence[str] = (),
          links: Mapping[str, str] | None = None, figure: bytes | None = None) -> None:
    """Write the page.

    Parameters
    ----------
    lines : of the scans, by engine.
    notes : sentences below the first.   links : pages of the engines.   figure : a PNG to show.
    """
    text = page.render("dataset.html", title=title, version=version, answer=_answer(lines), notes=list(notes),
                       worst=_worst(lines), strips=_strips(lines), engines=_engines(lines, links or {}),
                       table=_table(lines), explained=[(SHORT[k], LABELS[k][0]) for k in FIGURES],
                       figure=base64.b64encode(figure).decode("ascii") if figure else "")
    path.write_text(text, encoding="utf-8")


def _final(line: Line) -> float | None:
    value = line.values.get("final")
    return None if value is None else float(value)


def _answer(lines: Mapping[str, Sequence[Line]]) -> list[str]:
    """A sentence an engine."""
    out = []
    for name, some in lines.items():
        finals = [v for v in map(_final, some) if v is not None]
        failed = sum(bool(line.error) for line in some)
        told = f"{name}: {len(some)} scan{'s' * (len(some) != 1)}"
        if finals:
            told += f", mean final score {number(float(np.mean(finals)))}"
            if len(finals) > 1:
                told += (f" (median {number(float(np.median(finals)))}, from {number(min(finals))} to "
                         f"{number(max(finals))})")
        out.append(told + (f", {failed} failed" if failed else ", none failed"))
    return out


def _worst(lines: Mapping[str, Sequence[Line]]) -> list[dict[str, Any]]:
    """Scans that came out worst; of several engines those of the one that is best on the whole."""
    if not lines:
        return []
    name = _best(lines)
    some = sorted((line for line in lines[name] if line.error or _final(line) is not None),
                  key=lambda line: (not line.error, _final(line) or 0.0))
    return [{"name": line.name, "link": line.link, "told": _told(line), "engine": name if len(lines) > 1 else ""}
            for line in some[:MOST_WORST]]


def _best(lines: Mapping[str, Sequence[Line]]) -> str:
    """The engine whose mean final score is highest."""
    def mean(engine: str) -> float:
        finals = [v for v in map(_final, lines[engine]) if v is not None]
        return float(np.mean(finals)) if finals else -np.inf

    return max(lines, key=mean)


def _told(line: Line) -> str:
    if line.error:
        return f"failed: {line.error}"
    final, given = _final(line), line.values.get("final_mirror_given")
    told = f"final score {number(final)}"
    if final is not None and given is not None and float(given) > final + 1e-9:
        told += f"; the mirror image would have {number(float(given))}"
    return told


def _strips(lines: Mapping[str, Sequence[Line]]) -> dict[str, Any] | None:
    """Scores on one axis, which reaches as far as they do."""
    if len(lines) == 1:
        some = next(iter(lines.values()))
        sets = [("as decided", _values(some, "final")), ("mirror image given", _values(some, "final_mirror_given"))]
    else:
        sets = [(name, _values(some, "final")) for name, some in lines.items()]
    every = [value for _, some in sets for _, value in some]
    if not every:
        return None
    reach = min(every)
    step = 0.25 if reach > -0.6 else 0.5 if reach > -3 else max(1.0, float(np.ceil((1 - reach) / 8)))
    low = min(0.0, step * float(np.floor(reach / step)))

    def at(value: float) -> float:
        return round(24 + (WIDE - 48) * (value - low) / (1 - low), 1)

    ticks = np.union1d(step * np.arange(round(low / step), int(1 / step) + 1), [0.0, 1.0])
    return {"ticks": [(at(float(t)), f"{t:g}") for t in ticks], "wide": WIDE,
            "rows": [{"name": name, "median": at(float(np.median([v for _, v in some]))) if some else None,
                      "dots": [{"at": at(value), "told": f"{line.name}: {number(value)}"} for line, value in some]}
                     for name, some in sets]}


def _values(lines: Sequence[Line], name: str) -> list[tuple[Line, float]]:
    return [(line, float(line.values[name])) for line in lines if line.values.get(name) is not None]


def _engines(lines: Mapping[str, Sequence[Line]], links: Mapping[str, str]) -> dict[str, Any] | None:
    """Means by engine, where there are several."""
    if len(lines) < 2:
        return None
    columns = [key for key in FIGURES if any(line.values.get(key) is not None for some in lines.values()
                                             for line in some)]
    rows = []
    for name, some in lines.items():
        means = {}
        for key in columns:
            there = [float(line.values[key]) for line in some if line.values.get(key) is not None]
            means[key] = float(np.mean(there)) if there else None
        rows.append({"name": name, "link": links.get(name, ""), "note": "",
                     "cells": [_cell(means[key]) for key in columns]})
    return {"id": "engines", "head": "engine", "columns": [SHORT[key] for key in columns], "rows": rows,
            "sorted": None}


def _table(lines: Mapping[str, Sequence[Line]]) -> dict[str, Any]:
    """A row a scan, the worst first: all figures of one engine, or the final score of each of several."""
    rows: list[dict[str, Any]]
    if len(lines) == 1:
        some = next(iter(lines.values()))
        columns = [key for key in FIGURES if any(line.values.get(key) is not None for line in some)]
        rows = [{"name": line.name, "link": line.link, "note": line.error,
                 "cells": [_cell(line.values.get(key)) for key in columns]} for line in some]
        heads = [SHORT[key] for key in columns]
    else:
        heads = list(lines)
        by_name: dict[str, dict[str, Line]] = {}
        for engine, some in lines.items():
            for line in some:
                by_name.setdefault(line.name, {})[engine] = line
        rows = [{"name": name, "link": "", "note": "; ".join(f"{engine}: {line.error}" for engine, line in found.items()
                                                            if line.error),
                 "cells": [_cell(found[engine].values.get("final"), found[engine].link) if engine in found
                           else _cell(None) for engine in heads]} for name, found in by_name.items()]
    by = heads.index(_best(lines)) if len(lines) > 1 else 0
    rows.sort(key=lambda row: _figure(row, by))
    return {"id": "scans", "head": "scan", "columns": heads, "rows": rows, "sorted": by}


def _figure(row: Mapping[str, Any], column: int) -> float:
    """What is sorted by; what has no figure failed and comes first."""
    value = row["cells"][column]["sort"] if row["cells"] else None
    return -np.inf if value is None else value


def _cell(value: Any, link: str = "") -> dict[str, Any]:
    known = value is not None and np.isfinite(value)
    return {"text": shown(float(value)) if known else "-", "sort": float(value) if known else None, "link": link}
