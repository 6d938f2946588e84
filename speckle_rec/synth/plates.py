"""Scatter finer than the resolution that is alike over some distance: rows of scatterers in phase.

Space is divided into thin layers parallel to the resting skin, each layer into plates, and a plate's scatterers lie at
one depth. A plate is as long and as wide as its scatter stays alike along the arm and across it. What a plate is
depends on the seed and its place alone, so that the scatterers of a place do not depend on what else is drawn.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..probe.field import ProbeGeometry
from .beam import Beam, elevation_width, lateral_exponent
from .settings import TissueModel

STANDARD_DENSITY = 40.0   # per mm^3: above 8 per resolution cell at every depth of the default beam
VOXEL_MM = 2.0
BLOCK_MM = 4.0            # the unit that is drawn from one seed
STEPS_MM = np.array([0.5, 0.2, 0.5])      # a scatterer in each such cell: along, in depth, across
PER_MM3 = float(1 / STEPS_MM.prod())


@dataclass(frozen=True)
class Plates:
    """Plates of a share of the intensity, and the strength of their scatterers."""

    share: float
    along_mm: float
    across_mm: float
    strength: float

    @classmethod
    def of(cls, model: TissueModel, beam: Beam, geometry: ProbeGeometry) -> "Plates | None":
        """The plates of a tissue whose share holds where a beam across the arm meets them squarely, at its focus."""
        if model.coherent <= 0:
            return None
        focus = np.clip(beam.focus_mm, *geometry.depth_mm)
        # the power of a row of scatterers in phase over that of as many at random
        m = np.arange(-60, 61)
        gain = 1.0
        for length, step, fall in (
                (model.coherent_along_mm, STEPS_MM[0], 1 / float(elevation_width(beam, focus)) ** 2),
                (model.coherent_across_mm, STEPS_MM[2], float(lateral_exponent(beam, geometry, focus).real) / 2)):
            inside = np.maximum(1 - np.abs(m) * step / length, 0) if length > 0 else m == 0
            gain *= float(np.sum(inside * np.exp(-fall * (m * step) ** 2)))
        return cls(model.coherent, model.coherent_along_mm, model.coherent_across_mm,
                   float(np.sqrt(model.coherent * STANDARD_DENSITY / (PER_MM3 * gain))))

    def among(self, points: NDArray, keys: NDArray, strength: NDArray, seed: int, blocks: NDArray):
        """Points [M, 3], their voxels [M, 3] and strengths [M] with those of the plates of some blocks, by voxel."""
        more = self.points(seed, blocks)
        points = np.concatenate([points, more])
        keys = np.concatenate([keys, np.floor(more / VOXEL_MM).astype(keys.dtype)])
        order = np.lexsort(keys.T)
        strength = np.concatenate([strength, np.full(len(more), self.strength, np.float32)])
        return points[order], keys[order], strength[order]

    def points(self, seed: int, blocks: NDArray) -> NDArray[np.float32]:
        """Scatterers float32 [M, 3] (world mm) of the plates in some blocks [B, 3]."""
        count = np.round(BLOCK_MM / STEPS_MM).astype(int)
        within = np.moveaxis(np.indices(tuple(count.tolist())), 0, -1).reshape(-1, 3)
        cell = (blocks[:, None] * count + within).reshape(-1, 3)
        x, layer, z = cell.T.astype(np.int64)
        strip = z if self.across_mm < STEPS_MM[2] else np.floor(
            z * STEPS_MM[2] / self.across_mm + _uniform(seed, 1, layer)).astype(np.int64)
        plate = np.floor(x * STEPS_MM[0] / self.along_mm + _uniform(seed, 2, layer, strip)).astype(np.int64)
        place = np.stack([_uniform(seed, 3, x, layer, z), _uniform(seed, 4, layer, strip, plate),
                          _uniform(seed, 5, layer, z, plate)], 1)     # a row keeps its place across the arm, too
        return ((cell + np.minimum(place, 0.999)) * STEPS_MM).astype(np.float32)


def _uniform(seed: int, *keys) -> NDArray[np.float64]:
    """Numbers from 0 to 1 that look random and depend on whole numbers alone (the mixer of splitmix64)."""
    state: Any = np.uint64(seed & 0xFFFFFFFFFFFFFFFF)
    with np.errstate(over="ignore"):
        for key in keys:
            state = (state ^ np.asarray(key, np.int64).astype(np.uint64)) + np.uint64(0x9E3779B97F4A7C15)
            state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            state = state ^ (state >> np.uint64(31))
    return np.asarray((state >> np.uint64(11)) * 2.0**-53)
