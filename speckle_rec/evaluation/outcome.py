"""What an evaluation comes to: a row a scan, all rows together."""

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..scoring import drift, score

NORMALISED = tuple(f"{name}_normalised" for name in score.ERRORS)
IDENTITY = tuple(f"{name}_identity" for name in score.ERRORS)
SCORES = ("final", "global", "local", "pixel", "landmark")
COLUMNS = ("scan", *score.ERRORS, *IDENTITY, *NORMALISED, *SCORES, "final_mirror_given", "runtime_s")
DRIFTS = tuple(f.name for f in dataclasses.fields(drift.Drift))
MEAN = "mean"


@dataclass(frozen=True)
class Row:
    """What became of a scan.

    Attributes
    ----------
    score : the columns of metrics.csv by name, as decided, and `mirrored`: whether the mirror image scores better.
    mirror_given : the same with the mirror bit given.
    drift : see `drift.Drift`; empty for engines that give fields instead of poses.
    error : why it failed: it then counts as 0, or not at all if it has no `score`.
    """

    name: str
    score: dict[str, Any] = field(default_factory=dict)
    mirror_given: dict[str, Any] = field(default_factory=dict)
    drift: dict[str, Any] = field(default_factory=dict)
    error: str | None = None
    n_frames: int = 0
    resumed: bool = False


@dataclass(frozen=True)
class Evaluation:
    """A data set's rows by name of the scan, and their means."""

    out: Path
    engine: str
    rows: tuple[Row, ...]

    @property
    def failed(self) -> dict[str, str]:
        """Reasons by scan."""
        return {row.name: row.error for row in self.rows if row.error is not None}

    @property
    def scored(self) -> tuple[Row, ...]:
        """Rows that count: those with a truth to score against, failed or not."""
        return tuple(row for row in self.rows if row.score)

    def mean(self, part: str = "score") -> dict[str, float | None]:
        """Mean over the scans of every figure of a part of the rows (failed scans count 0 in scores)."""
        parts = [getattr(row, part) for row in self.scored]
        names = dict.fromkeys(name for values in parts for name in values)
        return {name: _mean(values.get(name) for values in parts) for name in names}

    @property
    def frames_per_s(self) -> float | None:
        """Frames of all scans over the time they took."""
        timed = [(row.n_frames, row.score["runtime_s"]) for row in self.scored if row.score.get("runtime_s")]
        return sum(n for n, _ in timed) / sum(s for _, s in timed) if timed else None


def _mean(values: Iterable[Any]) -> float | None:
    there = [float(value) for value in values if value is not None]
    return sum(there) / len(there) if there else None
