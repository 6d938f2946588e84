"""Shape of a trajectory where planes cross: how each frame should move for both sides of the turn to show the same."""

from collections.abc import Sequence
from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from .crossing_volumes import KEY, SHARPEST_MM, VOXEL_MM, Overlap
from .factors import Crossings

Array = NDArray[np.float64]

WEIGHT = 0.77           # of a voxel, as a number of independent samples, at the width `SHARPEST_MM`
TOLERANT = 2.0          # robust standard deviations of the difference of brightness (Cauchy)


class _Both(NamedTuple):
    """Voxels [V, 3] that both sides show, the centre of voxel 0 [3] (mm), and the frames that show each, [V, PAIRS]."""

    voxels: NDArray[np.int64]
    low: Array
    early: NDArray[np.int32]
    late: NDArray[np.int32]


@numba.njit(nogil=True, cache=True)
def _pull(both, difference, slope, weight, pair, gradient, hessian):
    """Normal equations of each pair of frames by its twist, from the voxels that both show."""
    voxels, low, early, late = both
    J, spacing = np.empty(6), VOXEL_MM
    for v in range(voxels.shape[0]):
        x, y, z = low[0] + voxels[v, 0] * spacing, low[1] + voxels[v, 1] * spacing, low[2] + voxels[v, 2] * spacing
        J[:3] = slope[v]
        J[3], J[4], J[5] = y * J[2] - z * J[1], z * J[0] - x * J[2], x * J[1] - y * J[0]
        pulled = 0
        for n in range(early.shape[1]):
            pulled += early[v, n] >= 0 and late[v, n] >= 0
        for n in range(early.shape[1]):
            if early[v, n] < 0 or late[v, n] < 0:
                continue
            m = pair[early[v, n], late[v, n]]
            for r in range(6):
                gradient[m, r] -= weight[v] / pulled * difference[v] * J[r]
                for c in range(6):
                    hessian[m, r, c] += weight[v] / pulled * J[r] * J[c]


def joined(parts: Sequence[Crossings]) -> Crossings:
    """Crossings about the same trajectory as one."""
    i, j, gradient, hessian = (np.concatenate([getattr(c, name) for c in parts])
                               for name in ("i", "j", "gradient", "hessian"))
    return Crossings(i, j, parts[0].T, gradient, hessian)


def crossings(T: Array, both: Overlap, width_mm: float) -> Crossings:
    """How the frames before and after the turn should move to show the same, METHOD.md (9.1)."""
    early, late = both.shown
    a, c = both.values
    before, after = (both.before - a.mean()) / a.std(), (both.after - c.mean()) / c.std()
    at = tuple(both.voxels.T)
    difference = (before - after)[at]
    slopes = np.stack([(x + y)[at] / 2 for x, y in zip(np.gradient(before, VOXEL_MM), np.gradient(after, VOXEL_MM),
                                                       strict=True)], 1)
    variance = float(np.median(np.square(difference))) / 0.455
    weight = 1 / (1 + np.square(difference) / (TOLERANT**2 * variance)) / variance
    weight *= WEIGHT * min((SHARPEST_MM / width_mm)**3, 1.0)
    size = int(max(early.max(), late.max())) + 1
    both_seen = (early >= 0) & (late >= 0)
    named = np.unique(early[both_seen].astype(np.int64) * size + late[both_seen])
    i, j = named // size, named % size          # groups of `KEY` frames
    pair = np.full((size, size), -1, np.int64)
    pair[i, j] = np.arange(len(named))
    gradient, hessian = np.zeros((len(named), 6)), np.zeros((len(named), 6, 6))
    _pull(_Both(both.voxels, both.low, early, late), difference, slopes, weight, pair, gradient, hessian)
    turned = i > j
    gradient[turned] *= -1
    return Crossings(KEY * np.minimum(i, j), KEY * np.maximum(i, j), T, gradient, hessian)
