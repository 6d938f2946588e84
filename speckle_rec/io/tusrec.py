"""Scans and data sets in the layouts of TUS-REC2024 and TUS-REC2025.

Training: ``frames_transfs/SSS/NAME.h5`` (as the archive of 2024 unzips: ``SSS/NAME.h5``) with datasets ``frames`` and
``tforms``. Validation and test: ``frames/SSS/NAME.h5`` and ``transfs/SSS/NAME.h5``. Beside them
``landmarks/landmark_SSS.h5`` (2024: ``landmark/``; a dataset for each NAME), ``calib_matrix.csv`` and
``dataset_keys.h5``, whose keys are ``subSSS__NAME``.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..geometry import check_rigid
from . import axes, h5write, pixels
from . import calib as calib_files
from .calib import ImageCalibration
from .hdf5 import H5_ERRORS, h5_dataset, one_line, open_h5, read_dataset
from .source import H5Frames, ScanContent, check_name

FRAME_RATE_HZ = 20.0
CALIB_NAME = "calib_matrix.csv"


@dataclass(frozen=True)
class Entry:
    """A scan of a data set: its key (``subSSS__NAME``) and the file with its frames."""

    name: str
    path: Path


def scan_name(path: Path) -> str:
    """``subSSS__NAME`` for a file in a subject's folder, else the file's stem."""
    subject = path.absolute().parent.name
    return f"sub{subject}__{path.stem}" if re.fullmatch(r"\d{3,}", subject) else path.stem


def entries(root: Path) -> list[Entry]:
    """Scans of a train- or val-layout data set, sorted by name.

    Raises
    ------
    InputError
        If `root` holds neither ``frames_transfs/`` nor ``frames/`` with scans in them.
    """
    root = Path(root)
    if not root.is_dir():
        raise InputError(f"{root}: expected the folder of a data set, found {'a file' if root.exists() else 'none'}")
    for folder in ("frames_transfs", "frames"):
        paths = [path for path in sorted((root / folder).glob("*/*.h5"))
                 if not path.name.startswith(".") and not path.parent.name.startswith(".")]
        if paths:
            return [Entry(scan_name(path), path) for path in paths]
    if paths := _unwrapped(root):
        return [Entry(scan_name(path), path) for path in paths]
    raise InputError(f"{root}: expected frames_transfs/SSS/NAME.h5, frames/SSS/NAME.h5 or SSS/NAME.h5, found none")


def _unwrapped(root: Path) -> list[Path]:
    """Scans of subjects' folders without one around them, as the archive of TUS-REC2024 unzips."""
    return [path for path in sorted(root.glob("*/*.h5")) if re.fullmatch(r"\d{3,}", path.parent.name)
            and not path.name.startswith((".", "landmark_"))]


def is_dataset(root: Path) -> bool:
    """Whether a folder is laid out as a data set of the challenge."""
    return any((root / folder).is_dir() for folder in ("frames_transfs", "frames")) or bool(_unwrapped(root))


def open_scan(path: Path, calib: Path | None = None, landmarks: Path | None = None,
              pixel_mm: float | Sequence[float] | None = None, dataset: str | None = None) -> ScanContent:
    """Read what surrounds the frames of a TUS-REC scan; the frames stay in the file.

    `dataset` names the frames where they are not called so (groups with / between).

    Raises
    ------
    InputError
        If the file is not HDF5, has no usable ``frames``, nothing tells the pixel size, or a calibration or landmark
        file is damaged.
    """
    name = check_name(scan_name(path), path)
    if dataset is None:
        _refuse_pose_file(path)
    key = dataset or "frames"
    stored = H5Frames(path, key)
    warnings = [] if stored.note is None else [stored.note]
    source, turned = axes.upright(path, stored, n_poses(path))
    calibration = pixels.settled(
        str(path), source, pixel_mm=pixel_mm, given=None if calib is None else calib_files.read(calib, source.shape),
        found=(lambda: pixels.of_h5(path, key), lambda: beside(path, source.shape)))
    warnings += [*turned, *calibration.warnings]
    T_world_tool, tracked_ok, notes = _tracked(path, source.n_frames)
    points, more = find_landmarks(path, source.n_frames, source.shape, landmarks)
    return ScanContent(
        name=name, path=path, source=source, scale=calibration.scale,
        T_tool_image=calibration.T_tool_image, T_world_tool=T_world_tool, tracked_ok=tracked_ok,
        frame_rate_hz=FRAME_RATE_HZ, landmarks=points, calibration_source=calibration.source,
        warnings=[*warnings, *notes, *more])


def beside(path: Path, shape: tuple[int, int]) -> ImageCalibration | None:
    """What ``calib_matrix.csv`` beside a scan or up to three parents says; None where there is none."""
    for folder in surroundings(path):
        if (folder / CALIB_NAME).is_file():
            return calib_files.read(folder / CALIB_NAME, shape)
    return None


def surroundings(path: Path) -> Iterator[Path]:
    """The folder of a file and up to three parents."""
    parents = path.absolute().parents
    yield from list(parents)[:4]


def find_landmarks(path: Path, n_frames: int, shape: tuple[int, int],
                   landmarks: Path | None = None) -> tuple[NDArray[np.int64] | None, list[str]]:
    """Landmarks [L, 3] (frame from 0, x and y from 1) of a scan, and warnings.

    A file that is given must fit the scan; one that is merely found beside it is left out with a warning.
    """
    if landmarks is not None:
        return _read_landmarks(Path(landmarks), path.stem, n_frames, shape), []
    subject = path.absolute().parent.name
    for folder in surroundings(path):
        for place in ("landmarks", "landmark", ""):
            found = folder / place / f"landmark_{subject}.h5"
            if found.is_file():
                try:
                    return _read_landmarks(found, path.stem, n_frames, shape), []
                except InputError as error:
                    return None, [f"landmarks not used: {error}"]
    return None, []


def _read_landmarks(path: Path, name: str, n_frames: int, shape: tuple[int, int]) -> NDArray[np.int64]:
    with open_h5(path) as file:
        h5_dataset(file, name, path)
    return checked_landmarks(read_dataset(path, name), f"{path}: dataset '{name}'", n_frames, shape)


def checked_landmarks(points: NDArray, what: str, n_frames: int, shape: tuple[int, int]) -> NDArray[np.int64]:
    """Landmarks as int64 [L, 3] (frame from 0, x and y from 1); `what` names them in messages.

    Raises
    ------
    InputError
        If they are no whole numbers [L, 3], or one lies outside the scan.
    """
    if points.ndim != 2 or points.shape[1] != 3 or points.dtype.kind not in "iuf":
        raise InputError(f"{what}: expected integers [L, 3] (frame, x, y), found {points.dtype} {points.shape}")
    if not np.isfinite(points).all() or not (points == np.rint(points)).all():
        raise InputError(f"{what}: expected whole numbers (frame, x, y)")
    rows, columns = shape
    low, high = np.array([0, 1, 1]), np.array([n_frames - 1, columns, rows])
    outside = ((points < low) | (points > high)).any(axis=1)
    if outside.any():
        first = points[np.argmax(outside)].tolist()
        raise InputError(f"{what}: {int(outside.sum())} of {len(points)} landmarks lie outside the scan, "
                         f"the first at (frame, x, y) = {first}")
    return points.astype(np.int64)


def _refuse_pose_file(path: Path) -> None:
    with open_h5(path) as file:
        try:
            names = set(file.keys())
        except H5_ERRORS as error:
            raise InputError(f"{path}: the HDF5 file is damaged ({one_line(error)})") from error
    if "frames" not in names and "tforms" in names:
        raise InputError(f"{path}: expected a dataset 'frames', found only 'tforms'; "
                         "give the file of the same name under frames/")


def pose_file(path: Path) -> Path | None:
    """The file with the ``tforms`` of a scan: the scan itself, or its twin under ``transfs/``."""
    with open_h5(path) as file:
        if "tforms" in list(file.keys()):
            return path
    absolute = path.absolute()
    if absolute.parent.parent.name == "frames":
        twin = absolute.parent.parent.parent / "transfs" / absolute.parent.name / path.name
        if twin.is_file():
            return twin
    return None


def n_poses(path: Path) -> int | None:
    """How many poses the ``tforms`` of a scan hold; None without, or where it is not [N, 4, 4]."""
    found = pose_file(path)
    if found is None:
        return None
    with open_h5(found) as file:
        shape = h5_dataset(file, "tforms", found).shape
    if shape is None or len(shape) != 3:
        return None
    return int(shape[0]) if shape[1:] == (4, 4) else int(shape[2]) if shape[:2] == (4, 4) else None


def _tracked(path: Path, n_frames: int) -> tuple[NDArray[np.float64] | None, NDArray[np.bool_] | None, list[str]]:
    """Poses [N, 4, 4], which are usable [N], and warnings: poses judge a result, and bad ones stop none."""
    found = pose_file(path)
    if found is None:
        return None, None, []
    return fitted_poses(read_dataset(found, "tforms"), n_frames, f"{found}: dataset 'tforms'")


def fitted_poses(tforms: NDArray, n_frames: int, what: str
                 ) -> tuple[NDArray[np.float64] | None, NDArray[np.bool_] | None, list[str]]:
    """Poses [N, 4, 4], which are usable [N], and warnings, of an array that may have more, fewer, or other axes."""
    wanted = f"{what}: expected numbers [{n_frames}, 4, 4], one pose a frame, found {tforms.dtype} {tforms.shape}"
    notes = []
    if tforms.ndim == 3 and tforms.shape[:2] == (4, 4) and tforms.shape[2] != 4:
        tforms = np.moveaxis(tforms, 2, 0)
        notes.append(f"{wanted}: frames are taken from the last axis")
    if tforms.ndim != 3 or tforms.shape[1:] != (4, 4) or not len(tforms) or tforms.dtype.kind not in "fiu":
        return None, None, [f"{wanted}; the poses are not used"]
    if _by_column(tforms):
        tforms = tforms.transpose(0, 2, 1)
        notes.append(f"{what}: matrices are stored by column, as MATLAB does, and were turned")
    if len(tforms) > n_frames:
        notes.append(f"{wanted}: the first {n_frames} are used")
    elif len(tforms) < n_frames:
        notes.append(f"{wanted}: the last {n_frames - len(tforms)} frames count as untracked")
    there = np.arange(n_frames) < len(tforms)
    filled = np.full((n_frames, 4, 4), np.nan)
    filled[there] = tforms[:n_frames]
    T, ok, more = validated_poses(filled, what, there)
    return T, ok, [*notes, *more]


def _by_column(tforms: NDArray) -> bool:
    """Whether poses [N, 4, 4] are the transposes of what they should be."""
    with np.errstate(invalid="ignore"):
        last = np.abs(tforms[:, :, 3] - np.array([0, 0, 0, 1.0])).max(axis=1)
        moved = np.abs(tforms[:, 3, :3]).max(axis=1)
    told = np.isfinite(last) & np.isfinite(moved)
    return bool(told.any() and last[told].max() < 1e-6 and moved[told].max() > 1e-3)


def validated_poses(poses: NDArray, what: str, tracked_ok: NDArray[np.bool_] | None = None
                    ) -> tuple[NDArray[np.float64], NDArray[np.bool_], list[str]]:
    """Tracked poses [N, 4, 4] made exactly rigid, which of them are usable [N], and warnings.

    Poses that are not rigid become NaN and not usable: they judge a result, they are no input to it.
    """
    ok = np.ones(len(poses), bool) if tracked_ok is None else tracked_ok.copy()
    out = np.full((len(poses), 4, 4), np.nan)
    try:
        out[ok] = check_rigid(np.asarray(poses)[ok], what)
        return out, ok, []
    except InputError as error:
        reason = str(error)
    for i in np.flatnonzero(ok):
        try:
            out[i] = check_rigid(poses[i], what)
        except InputError:
            ok[i] = False
    return out, ok, [f"{reason} ({int((~ok).sum())} of {len(ok)} frames); they are not used"]


def write_scan(path: Path, frames: NDArray[np.uint8], T_world_tool: NDArray[np.float64] | None = None, *,
               pixel_mm: tuple[float, float] | None = None) -> None:
    """Write a scan in the training layout's file format (``tforms`` as float32, as the challenge has it).

    `pixel_mm` is written as an attribute of the frames, for scans without a ``calib_matrix.csv``.
    """
    with h5write.create(path) as file:
        data = file.create_dataset("frames", data=np.asarray(frames, np.uint8))
        if pixel_mm is not None:
            data.attrs["pixel_mm"] = np.asarray(pixel_mm, np.float64)
        if T_world_tool is not None:
            file.create_dataset("tforms", data=np.asarray(T_world_tool, np.float32))
