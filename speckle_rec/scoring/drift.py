"""Drift of a trajectory: the measures of other papers on freehand reconstruction, from poses.

All but the overlap look at the centre of the image. Definitions as in Luo et al., Medical Image Analysis 2023
(doi:10.1016/j.media.2023.102810), where rates are distances over the true path length so far.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from ..geometry import pixel_points

Array = NDArray[np.float64]

VOXEL_MM = 2.0


@dataclass(frozen=True)
class Drift:
    """Drift of an estimate; None where it cannot be told.

    Attributes
    ----------
    path_length_mm : of the true trajectory.
    final_mm, final_rate : distance of the last frame's centre from where it should be; over the path length.
    mean_mm, max_mm : the same distance over the frames 1..N-1.
    average_rate : mean over the frames of the distance over the path length up to there.
    hausdorff_mm : largest distance from a centre of either trajectory to the nearest of the other.
    volume_overlap : Dice coefficient of the voxels that the field of view passes through.
    """

    path_length_mm: float
    final_mm: float
    final_rate: float | None
    mean_mm: float
    max_mm: float
    average_rate: float | None
    hausdorff_mm: float
    volume_overlap: float | None


def measure(T_first_est: Array, T_first_true: Array, scale: Array, shape: tuple[int, int],
            field_mm: Array | None = None) -> Drift:
    """Drift of finite poses [N, 4, 4], N >= 2.

    Parameters
    ----------
    field_mm : [P, 2] points (image mm) that fill the field of view, at most `VOXEL_MM` apart: see `fill`.
    """
    rows, columns = shape
    centre = np.append(pixel_points(scale, np.array((columns + 1) / 2), np.array((rows + 1) / 2)), 1)
    est, true = (T_first_est @ centre)[:, :3], (T_first_true @ centre)[:, :3]
    off = np.linalg.norm(est - true, axis=1)
    path = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(true, axis=0), axis=1))])
    moved = path > 0
    apart = max(cKDTree(true).query(est)[0].max(), cKDTree(est).query(true)[0].max())
    return Drift(
        path_length_mm=float(path[-1]), final_mm=float(off[-1]),
        final_rate=float(off[-1] / path[-1]) if moved[-1] else None,
        mean_mm=float(off[1:].mean()), max_mm=float(off.max()),
        average_rate=float(np.mean(off[moved] / path[moved])) if moved.any() else None,
        hausdorff_mm=float(apart),
        volume_overlap=None if field_mm is None or not len(field_mm) else overlap(T_first_est, T_first_true, field_mm))


def overlap(T_a: Array, T_b: Array, field_mm: Array, voxel_mm: float = VOXEL_MM) -> float:
    """Dice coefficient of the voxels that points [P, 2] (image mm) pass through along two trajectories."""
    points = np.column_stack([field_mm, np.zeros(len(field_mm)), np.ones(len(field_mm))])
    a, b = (_voxels(T, points, voxel_mm) for T in (T_a, T_b))
    return float(2 * len(np.intersect1d(a, b, assume_unique=True)) / (len(a) + len(b)))


def fill(mask: NDArray[np.bool_], scale: Array, apart_mm: float = VOXEL_MM / 1.5) -> Array:
    """Points [P, 2] (image mm) inside a mask [rows, columns], at most `apart_mm` apart."""
    stride = [max(1, int(apart_mm / scale[k, k])) for k in (1, 0)]
    rows, columns = (at.astype(np.float64) for at in np.nonzero(mask[:: stride[0], :: stride[1]]))
    return pixel_points(scale, columns * stride[1] + 1, rows * stride[0] + 1)[:, :2]


_REACH = 1 << 20


def _voxels(T: Array, points: Array, voxel_mm: float) -> NDArray[np.int64]:
    """One number for each voxel that is passed through (positions are cut off at a kilometre)."""
    found = []
    for block in np.array_split(T, max(1, len(T) // 64)):
        at = np.floor(np.einsum("nij,pj->npi", block[:, :3], points).reshape(-1, 3) / voxel_mm)
        x, y, z = np.clip(at, -_REACH + 1, _REACH - 1).astype(np.int64).T + _REACH
        found.append(np.unique((x << 42) | (y << 21) | z))
    return np.unique(np.concatenate(found))
