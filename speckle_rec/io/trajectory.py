"""Poses in other people's formats: TUM, KITTI and a CSV with every usual parametrisation.

TUM and KITTI count in metres, as their tools expect; here everything else is in mm.
TUM: ``timestamp tx ty tz qx qy qz qw`` a line. KITTI: the first three rows of the pose a line.
"""

import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from ..errors import InputError
from ..geometry import FARTHEST_MM, check_rigid, inverse, pixel_points
from .hdf5 import check_file, one_line, read_dataset

Array = NDArray[np.float64]

MM = 1000.0
MAX_BYTES = 1 << 28
FARTHEST_S = 1e11     # seconds since 1970 are 1.8e9, milliseconds 1.8e12
H5 = (".h5", ".hdf5")


def about(T_first_frame: Array, point_mm: Array) -> Array:
    """Poses [N, 4, 4] of a point of the image (mm) instead of its origin: frame i -> frame 0, the point their origin.

    The image's corner swings about where a hand turns the probe: its path is not that of the probe face.
    """
    to_point = np.eye(4)
    to_point[:3, 3] = point_mm
    return inverse(to_point) @ T_first_frame @ to_point


def write_tum(path: Path, T_first_frame: Array, timestamps_s: Array, of: str = "") -> None:
    """Write poses [N, 4, 4] (mm) with their times (s) as a TUM trajectory (metres); `of` says of what, in a comment."""
    quaternions = Rotation.from_matrix(T_first_frame[:, :3, :3]).as_quat(canonical=True)
    rows = np.column_stack([timestamps_s, T_first_frame[:, :3, 3] / MM, quaternions])
    np.savetxt(path, rows, fmt=["%.6f"] + ["%.12g"] * 7, header=of)


def read_tum(path: Path) -> tuple[Array, Array]:
    """Poses [N, 4, 4] (mm) and times [N] (s) of a TUM trajectory.

    Raises
    ------
    InputError
        If a line does not hold eight finite numbers, a quaternion is not of unit length, or times do not ascend.
    """
    rows = _table(path, 8)
    times = rows[:, 0]
    if np.abs(times).max() > FARTHEST_S:
        raise InputError(f"{path}: expected time stamps in seconds, found {np.abs(times).max():.3g}; are they in ms or "
                         "ns?")
    if (late := np.diff(times) <= 0).any():
        k = int(np.argmax(late))
        raise InputError(f"{path}: expected time stamps that ascend, found {times[k + 1]:.16g} (pose {k + 2}) after "
                         f"{times[k]:.16g}; sort the lines, or leave out what is there twice")
    norms = np.linalg.norm(np.clip(rows[:, 4:], -2, 2), axis=1)     # squares of more may overflow
    k = int(np.argmax(np.abs(norms - 1)))
    if abs(norms[k] - 1) > 1e-2:
        raise InputError(f"{path}: expected unit quaternions, found a length of {norms[k]:.3g} (pose {k + 1})")
    T = np.tile(np.eye(4), (len(rows), 1, 1))
    T[:, :3, :3] = Rotation.from_quat(rows[:, 4:]).as_matrix()
    T[:, :3, 3] = rows[:, 1:4]
    return _in_mm(T, path), times


def write_kitti(path: Path, T_first_frame: Array) -> None:
    """Write poses [N, 4, 4] (mm) as a KITTI trajectory (metres)."""
    rows = T_first_frame[:, :3].copy()
    rows[..., 3] /= MM
    np.savetxt(path, rows.reshape(-1, 12), fmt="%.12g")


def read_kitti(path: Path) -> Array:
    """Poses [N, 4, 4] (mm) of a KITTI trajectory.

    Raises
    ------
    InputError
        If a line does not hold twelve finite numbers, or a pose is not rigid.
    """
    rows = _table(path, 12)
    T = np.tile(np.eye(4), (len(rows), 1, 1))
    T[:, :3] = rows.reshape(-1, 3, 4)
    return _in_mm(T, path)


def _in_mm(T: Array, path: Path) -> Array:
    farthest = np.abs(T[:, :3, 3]).max()
    if farthest > FARTHEST_MM / MM:
        raise InputError(f"{path}: expected positions in metres, found {farthest:.3g}; are they in mm?")
    T[:, :3, 3] *= MM
    return check_rigid(T, str(path))


def read(path: Path) -> Array:
    """Poses [N, 4, 4] (mm) of ``poses.h5``, a TUM or a KITTI file, told apart by their content."""
    return read_timed(path)[0]


def read_timed(path: Path) -> tuple[Array, Array | None]:
    """The same with times [N] (s) where the file has them (TUM).

    Raises
    ------
    InputError
        If the file is none of these.
    """
    path = Path(path)
    if path.is_dir():
        path = path / "poses.h5"
    if path.suffix.lower() in H5:
        T = read_dataset(path, "T_first_frame")
        if T.ndim != 3 or T.shape[1:] != (4, 4) or T.dtype.kind != "f":
            raise InputError(f"{path}: dataset 'T_first_frame': expected poses [N, 4, 4], found {T.dtype} {T.shape}")
        return check_rigid(T, f"{path}: dataset 'T_first_frame'"), None
    n_columns = _table(path, None).shape[1]
    if n_columns == 8:
        return read_tum(path)
    if n_columns == 12:
        return read_kitti(path), None
    raise InputError(f"{path}: expected a TUM (8 numbers a line) or KITTI (12) trajectory, found {n_columns}")


def _table(path: Path, n_columns: int | None) -> Array:
    check_file(path)
    if path.stat().st_size > MAX_BYTES:
        raise InputError(f"{path}: expected a trajectory as text, found a file of {path.stat().st_size} bytes")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")     # an empty file is told below
            rows = np.loadtxt(path, ndmin=2, encoding="ascii")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise InputError(f"{path}: expected numbers, {one_line(error)}") from error
    if not rows.size or (n_columns is not None and rows.shape[1] != n_columns) or not np.isfinite(rows).all():
        raise InputError(f"{path}: expected lines of {n_columns or 'equally many'} finite numbers, found {rows.shape}")
    return rows


def write_csv(path: Path, T_first_frame: Array, T_prev_frame: Array, timestamps_s: Array, scale: Array,
              shape: tuple[int, int]) -> None:
    """Write a row a frame: global (to frame 0) and local (to the frame before) poses, parametrised four ways.

    Euler angles are intrinsic ZYX in rad (the challenge's six parameters: three angles, three mm),
    quaternions have w last, ``m00..m33`` is the 4x4 by rows, and the corners are those of the image
    (top left, top right, bottom left, bottom right) in mm.
    """
    rows, columns = shape
    corners = np.column_stack([pixel_points(scale, np.array([1, columns, 1, columns]),
                                            np.array([1, 1, rows, rows])), np.ones(4)])
    names, blocks = ["frame", "timestamp_s"], [np.arange(len(T_first_frame))[:, None], timestamps_s[:, None]]
    for prefix, T in (("global", T_first_frame), ("local", T_prev_frame)):
        rotation = Rotation.from_matrix(T[:, :3, :3])
        blocks += [rotation.as_euler("ZYX"), T[:, :3, 3], rotation.as_quat(canonical=True), T.reshape(-1, 16),
                   np.einsum("nij,cj->nci", T, corners)[..., :3].reshape(-1, 12)]
        names += [f"{prefix}_{name}" for name in (
            "rz_rad", "ry_rad", "rx_rad", "tx_mm", "ty_mm", "tz_mm", "qx", "qy", "qz", "qw",
            *(f"m{i}{j}" for i in range(4) for j in range(4)),
            *(f"{corner}_{axis}_mm" for corner in ("tl", "tr", "bl", "br") for axis in "xyz"))]
    table = np.hstack([np.asarray(block, float) for block in blocks])
    np.savetxt(path, table, fmt=["%d", "%.6f"] + ["%.10g"] * (len(names) - 2), delimiter=",",
               header=",".join(names), comments="")
