"""Orientations of an inertial sensor on the probe: a table of times and unit quaternions, as cheap sensors log them."""

import hashlib
import re
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation, Slerp

from ..errors import InputError
from . import checks

Array = NDArray[np.float64]

MAX_BYTES = 1 << 28
LEAST_ROWS = 10
MOST_GLITCHES = 0.1         # of the rows, that may hold no unit quaternion: reads of a bus fail now and then
NORM_TOLERANCE = 0.05       # of the usual norm, which is 1, or 16384 in raw units
UNITS_S = {"": 1.0, "s": 1.0, "sec": 1.0, "seconds": 1.0, "ms": 1e-3, "msec": 1e-3, "us": 1e-6, "ns": 1e-9}
EXPECTED = "columns time_s, qw, qx, qy, qz (the quaternion turns axes of the sensor into the world's, z up)"
_TIME = re.compile(r"(?:t|time|timestamp|stamp|elapsed)_?(s|sec|seconds|ms|msec|us|ns)?")
_PART = re.compile(r"(q|quat|quaternion|orientation|rot|rotation)?_?([wxyz0123])")


@dataclass(frozen=True)
class Orientation:
    """Orientations of a sensor.

    Attributes
    ----------
    times_s : float64 [K], ascending.
    quaternions : float64 [K, 4], (w, x, y, z) of unit length, sensor -> world, z up.
    source : where they come from.   left_out : rows that held no unit quaternion.
    """

    times_s: Array
    quaternions: Array
    source: str
    left_out: int = 0

    @classmethod
    def of(cls, given: "Orientation | str | PathLike[str] | NDArray[Any]") -> "Orientation":
        """That of a file, or of a table [K, 5] of times (s) and quaternions (w, x, y, z).

        Raises
        ------
        InputError
            If the file is missing or no such table, or values are of the wrong kind.
        """
        if isinstance(given, Orientation):
            return given
        if isinstance(given, str | PathLike):
            path = checks.file_path(given, "orientation")
            return cls._checked(_table(path), str(path))
        return cls._checked(checks.numbers(given, "orientation", ("K", 5), finite=False), "orientation")

    @classmethod
    def _checked(cls, table: Array, source: str) -> "Orientation":
        norm = np.linalg.norm(table[:, 1:], axis=1)
        usual = float(np.median(norm[np.isfinite(norm)])) if np.isfinite(norm).any() else 0.0
        good = np.isfinite(table).all(1) & (np.abs(norm - usual) <= NORM_TOLERANCE * usual) & (norm > 0)
        if (bad := int((~good).sum())) > MOST_GLITCHES * len(table):
            raise InputError(f"{source}: expected unit quaternions, found {bad} of {len(table)} rows that are not "
                             f"finite or of another length than the others; {EXPECTED}")
        table = table[good]
        step = np.diff(table[:, 0])
        if (step < 0).any():
            at = int(np.argmax(step < 0))
            raise InputError(f"{source}: expected ascending times, found {table[at + 1, 0]:.6g} s after "
                             f"{table[at, 0]:.6g} s; sort the rows, or keep one recording")
        table = table[np.concatenate([[True], step > 0])] if len(table) else table
        if len(table) < LEAST_ROWS:
            raise InputError(f"{source}: expected {LEAST_ROWS} rows of different times or more, found {len(table)}; "
                             f"{EXPECTED}")
        quaternions = table[:, 1:] / np.linalg.norm(table[:, 1:], axis=1, keepdims=True)
        return cls(np.ascontiguousarray(table[:, 0]), quaternions, source, bad)

    @property
    def hash(self) -> str:
        """What tells it from others, wherever it lies."""
        table = np.column_stack([self.times_s, self.quaternions])
        return hashlib.sha256((np.round(table, 6) + 0.0).tobytes()).hexdigest()

    def at(self, times_s: Array, over_s: float) -> Rotation:
        """Orientations at `times_s` [N], each a mean over about `over_s`; the first or last outside the recording."""
        rate = (len(self.times_s) - 1) / (self.times_s[-1] - self.times_s[0])
        return Slerp(self.times_s, _smoothed(self.quaternions, over_s * rate / 2))(
            np.clip(times_s, self.times_s[0], self.times_s[-1]))


def _smoothed(quaternions: Array, sigma: float) -> Rotation:
    """Quaternions (w, x, y, z) with their noise averaged over `sigma` rows."""
    from scipy.ndimage import gaussian_filter1d
    signs = np.cumprod(np.concatenate([[1.0], np.where((quaternions[1:] * quaternions[:-1]).sum(1) < 0, -1.0, 1.0)]))
    q = quaternions * signs[:, None]
    if sigma > 0.3:
        q = gaussian_filter1d(q, sigma, axis=0, mode="nearest")
    return Rotation.from_quat(q[:, [1, 2, 3, 0]])


def _table(path: Path) -> Array:
    """Times (s) and quaternions [K, 5] of a text file of numbers between commas, semicolons, tabs or spaces."""
    if path.is_file() and path.stat().st_size > MAX_BYTES:
        raise InputError(f"{path}: expected a table of orientations, found a file of {path.stat().st_size} bytes")
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file of orientations") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: expected text, found other bytes; {EXPECTED}") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    rows: list[list[float]] = []
    columns: tuple[int, ...] | None = None
    unit_s, width = 1.0, 0
    for number, line in enumerate(lines, 1):
        words = _words(line)
        if not words:
            continue
        values = [_number(word) for word in words]
        if columns is None:
            if any(value is None for value in values):
                columns, unit_s = _named(words, path)
                width = len(words)
                continue
            if len(words) != 5:
                raise InputError(f"{path}: expected {EXPECTED}, found {len(words)} columns without names")
            columns, width = (0, 1, 2, 3, 4), 5
        if len(words) != width or any(values[k] is None for k in columns):
            raise InputError(f"{path}: line {number}: expected {width} numbers, found '{line.strip()[:60]}'")
        rows.append([float(values[k] or 0.0) for k in columns])
    if not rows:
        raise InputError(f"{path}: expected {EXPECTED}, found no numbers")
    table = np.array(rows)
    table[:, 0] *= unit_s
    return table


def _words(line: str) -> list[str]:
    line = line.split("#", 1)[0].strip().rstrip(",;")
    for separator in ",;\t":
        if separator in line:
            return [word.strip().strip('"') for word in line.split(separator)]
    return line.split()


def _number(word: str) -> float | None:
    try:
        return float(word)
    except ValueError:
        return None


def _named(words: list[str], path: Path) -> tuple[tuple[int, ...], float]:
    """Which columns hold the time and the quaternion, by their names, and the unit of time in s."""
    found: dict[str, tuple[int, int]] = {}       # the part, its column, and how plainly it is named
    unit_s = 1.0
    for k, word in enumerate(words):
        name = re.sub(r"[^a-z0-9]+", "_", word.lower()).strip("_")
        if (match := _TIME.fullmatch(name)) and "t" not in found:
            found["t"], unit_s = (k, 1), UNITS_S[match[1] or ""]
        elif match := _PART.fullmatch(name):
            part, plainly = "wxyz"["0123".find(match[2])] if match[2].isdigit() else match[2], int(bool(match[1]))
            if part not in found or plainly > found[part][1]:
                found[part] = k, plainly
    if lacking := [name for part, name in zip("twxyz", ("time_s", "qw", "qx", "qy", "qz"), strict=True)
                   if part not in found]:
        raise InputError(f"{path}: expected {EXPECTED}, found no column {', '.join(lacking)} among "
                         f"{', '.join(words)[:80]}")
    return tuple(found[part][0] for part in "twxyz"), unit_s
