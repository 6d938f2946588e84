"""How far the volume of one trajectory agrees with that of another: what drift does to the picture."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..probe.field import ProbeGeometry
from ..products.volume import Volume
from ..volume import compound_scan, plan

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Agreement:
    """Two volumes of the same frames on the same grid.

    Attributes
    ----------
    ncc : normalised cross-correlation of grey values over the voxels that both have seen; None where it cannot be told.
    overlap : Dice coefficient of the voxels that were seen.
    spacing_mm : edge of a voxel.
    """

    ncc: float | None
    overlap: float
    spacing_mm: float


def agreement(a: Volume, b: Volume) -> Agreement:
    """Compare two volumes on the same grid; voxels filled across holes count as seen.

    Raises
    ------
    InputError
        If the grids differ.
    """
    if a.data.shape != b.data.shape or a.origin_mm != b.origin_mm or a.spacing_mm != b.spacing_mm:
        raise InputError(f"volumes: expected the same grid, found {a.data.shape} from {a.origin_mm} mm and "
                         f"{b.data.shape} from {b.origin_mm} mm")
    seen_a, seen_b = ((v.accumulation > 0) | (v.data > 0) for v in (a, b))
    both = seen_a & seen_b
    total = int(seen_a.sum()) + int(seen_b.sum())
    x, y = (v.data[both].astype(np.float64) for v in (a, b))
    ncc = None
    if both.any() and x.std() > 0 and y.std() > 0:
        ncc = float(((x - x.mean()) * (y - y.mean())).mean() / (x.std() * y.std()))
    return Agreement(ncc, 2 * int(both.sum()) / total if total else 0.0, a.spacing_mm)


def of_trajectories(scan: Any | Iterable[tuple[int, NDArray[np.uint8]]], T_a: Array, T_b: Array,
                    geometry: ProbeGeometry, spacing_mm: float | None = None) -> tuple[Volume, Volume, Agreement]:
    """Compound a scan with two trajectories [N, 4, 4] on one grid (see `volume.plan`), and compare the volumes.

    Frames without a finite pose in either are left out of both. Pixels go to the nearest voxel.

    Raises
    ------
    InputError
        If no frame has a pose in both.
    """
    known = np.asarray((np.isfinite(T_a) & np.isfinite(T_b)).all((1, 2)))[:, None, None]
    a, b = np.where(known, T_a, np.nan), np.where(known, T_b, np.nan)
    grid = plan(np.concatenate([a, b]), geometry, spacing_mm)
    low = np.array(grid.origin_mm)
    box = low, low + grid.spacing_mm * (np.array(grid.size) - 1.5)
    first, second = (compound_scan(scan, T, geometry, grid.spacing_mm, interpolation="NEAREST", roi_mm=box)
                     for T in (a, b))
    return first, second, agreement(first, second)
