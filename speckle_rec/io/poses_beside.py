"""Tracked poses in a file of their own beside the frames: TUM, KITTI, a CSV of 4x4 matrices, or one file a frame.

TUM and KITTI count in metres, matrices in mm. Poses are those of the tracked tool where a calibration says how the
image lies on it, else of the image.
"""

import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from . import tusrec
from .hdf5 import check_file
from .natural import natural
from .source import ScanContent
from .trajectory import H5, MAX_BYTES, MM, read_timed

Array = NDArray[np.float64]

SUFFIXES = (".poses.txt", "_poses.txt", ".poses.csv", "_poses.csv", ".tum", ".kitti", "_tum.txt", "_kitti.txt", ".txt",
            ".csv")
IN_FOLDER = ("poses.txt", "poses.csv", "poses.tum", "poses.kitti", "poses_tum.txt", "poses_kitti.txt",
             "groundtruth.txt", "trajectory.txt")
EACH = (".txt", ".csv", ".pose")        # one file a frame
ENTRY = re.compile(r"(?:.*[_\W])?(?:global_)?m?([0-3])[_,]?([0-3])", re.IGNORECASE)


def attached(content: ScanContent, poses: Path | None, frames: Iterable[Path] = ()) -> ScanContent:
    """The scan with the poses of a file: one that is given, else one that lies beside it, where it has none itself.

    Parameters
    ----------
    frames : the files of the frames, where each is one.

    Raises
    ------
    InputError
        If a file that is given cannot be read, or holds no pose for a frame. One that is found only earns a warning.
    """
    files = list(frames)
    found = poses if poses is not None else _beside(content.path, files) if content.T_world_tool is None else None
    if found is None:
        return content
    try:
        T, ok, notes = _for_frames(content, found, files)
    except InputError as error:
        if poses is not None:
            raise
        return replace(content, warnings=[*content.warnings, f"poses not used: {error}"])
    tool = content.T_tool_image
    if tool is None:
        tool = np.eye(4)
        notes.append(f"{found}: taken for poses of the image: no calibration tells how it lies on a tracked tool")
    return replace(content, T_world_tool=T, tracked_ok=ok, T_tool_image=tool,
                   warnings=[*content.warnings, f"tracked poses: {found}", *notes])


def _beside(path: Path | None, frames: list[Path]) -> Path | None:
    if path is None:
        return None
    if frames and sum(any(frame.with_suffix(end).is_file() for end in EACH) for frame in frames) > len(frames) / 2:
        return frames[0].parent
    folder = frames[0].parent if frames else path if path.is_dir() else None
    names = [folder / name for name in IN_FOLDER] if folder else []
    stem = re.sub(r"\.[^.]{1,6}$", "", path.name)
    names += [path.with_name(stem + end) for end in SUFFIXES] if folder is None or not frames else []
    return next((name for name in names if name.is_file() and name != path), None)


def _for_frames(content: ScanContent, path: Path, frames: list[Path]
                ) -> tuple[Array, NDArray[np.bool_], list[str]]:
    n = content.source.n_frames
    T, times = _of_folder(path, frames, n) if path.is_dir() else _read(path)
    notes = []
    if len(T) != n and times is not None and content.timestamps_s is not None:
        clock = content.timestamps_s
        half = float(np.median(np.diff(clock))) / 2 + 1e-6 if n > 1 else np.inf
        nearest = np.abs(times[:, None] - clock[None]).argmin(0)
        there = np.abs(times[nearest] - clock) <= half
        if not there.any():
            raise InputError(f"{path}: expected time stamps on the clock of the frames ({clock[0]:.6g} to "
                             f"{clock[-1]:.6g} s), found {times[0]:.6g} to {times[-1]:.6g} s")
        T = np.where(there[:, None, None], T[nearest], np.nan)
        notes.append(f"{path}: {int(there.sum())} of {n} frames have a pose within half a frame interval")
    if len(T) != n:
        raise InputError(f"{path}: expected {n} poses, one a frame, found {len(T)}")
    poses, ok, more = tusrec.fitted_poses(T, n, str(path))
    if poses is None or ok is None or not ok.any():
        raise InputError(more[0] if more else f"{path}: expected rigid poses, found none")
    return poses, ok, [*notes, *more]


def _of_folder(folder: Path, frames: list[Path], n: int) -> tuple[Array, None]:
    """One file a frame: called as its picture, else in natural order."""
    T = np.full((n, 4, 4), np.nan)
    files: list[Path | None] = [next((p for end in EACH if (p := folder / (f.stem + end)).is_file()), None)
                                for f in frames]
    if not any(files):
        files = [*sorted((p for p in folder.iterdir() if p.name.lower().endswith(EACH)), key=natural)]
        if len(files) != n:
            raise InputError(f"{folder}: expected {n} files with a pose, one a frame, found {len(files)}")
    for k, path in enumerate(files):
        if path is not None:
            values = _rows(path)[0].ravel()
            if values.size not in (12, 16):
                raise InputError(f"{path}: expected a 4x4 matrix, found {values.size} numbers")
            T[k] = np.eye(4)
            T[k, :values.size // 4] = values.reshape(-1, 4)
    return T, None


def _read(path: Path) -> tuple[Array, Array | None]:
    if path.name.lower().endswith(H5):
        return read_timed(path)
    rows, names = _rows(path)
    columns = rows.shape[1]
    matrix = [(found[1], found[2], k) for k, name in enumerate(names) if (found := ENTRY.fullmatch(name))][:16]
    if len({entry[:2] for entry in matrix}) == 16:
        T = np.empty((len(rows), 4, 4))
        for i, j, k in matrix:
            T[:, int(i), int(j)] = rows[:, k]
        return T, None
    if columns in (16, 17):
        return rows[:, columns - 16:].reshape(-1, 4, 4), None
    if columns == 4 and len(rows) % 4 == 0:
        return rows.reshape(-1, 4, 4), None
    if columns in (8, 12) and not names and "," not in path.read_text(encoding="utf-8", errors="replace")[:4096]:
        return read_timed(path)
    if columns in (12, 13):
        T = np.tile(np.eye(4), (len(rows), 1, 1))
        T[:, :3] = rows[:, columns - 12:].reshape(-1, 3, 4)
        T[:, :3, 3] *= MM
        return T, None
    raise InputError(f"{path}: expected poses as TUM (8 numbers a line), KITTI (12) or 4x4 matrices (16), found "
                     f"{columns} a line")


def _rows(path: Path) -> tuple[Array, list[str]]:
    """The numbers of a text, by lines, and the names of its columns where the first line has some."""
    check_file(path)
    if path.stat().st_size > MAX_BYTES:
        raise InputError(f"{path}: expected poses as text, found a file of {path.stat().st_size} bytes")
    names: list[str] = []
    rows: list[list[float]] = []
    for number, line in enumerate(path.read_text(encoding="utf-8-sig", errors="replace").splitlines(), 1):
        line = line.partition("#")[0].strip().strip("[],;")
        words = [word.strip().strip('"[]') for word in re.split(r"[,;]", line)] if re.search("[,;]", line) \
            else line.split()
        words = [part for word in words for part in word.split()] if rows or not re.search("[A-Za-z]{2}", line) \
            else words
        if not words or not any(words):
            continue
        try:
            rows.append([float(word) for word in words])
        except ValueError as error:
            if rows or names:
                raise InputError(f"{path}: expected numbers, found {line[:40]!a} in line {number}") from error
            names = words
    widths = {len(row) for row in rows}
    if len(widths) != 1:
        raise InputError(f"{path}: expected lines of equally many numbers, found "
                         f"{' and '.join(map(str, sorted(widths)[:4])) or 'none'}")
    return np.array(rows), names
