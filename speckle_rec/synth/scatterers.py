"""The scatterers of a body, in voxels for fast look-up near an image plane."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from .. import geometry as se3
from ..kernels import scatter
from ..probe.field import ProbeGeometry
from .beam import Beam, lens_table, probe_of
from .plates import BLOCK_MM, STANDARD_DENSITY, VOXEL_MM, Plates

Points = NDArray[np.float32]

SPARSE_PER_MM3 = 25.0     # cells of fewer are drawn by Poisson
STRATA = 4                # cells a side of a voxel; each holds the same number of scatterers
BLOCK_VOXELS = round(BLOCK_MM / VOXEL_MM)
BEAM_MARGIN_MM = 2.0      # how far beyond the first and last line a beam hears
_BATCH_BLOCKS = 128


class Tissue(Protocol):
    """What a body is made of, in world mm (float32 [M, 3])."""

    bounds_mm: NDArray[np.float64]   # [2, 3] box that holds scatterers

    def reflectivity(self, points_mm: Points) -> NDArray[np.float32]:
        """[M] relative amplitude of diffuse scatter; 1 is standard muscle speckle."""
        ...

    def attenuation(self, points_mm: Points) -> NDArray[np.float32]:
        """[M] dB / (cm MHz), one way."""
        ...

    def sheets(self, rng: np.random.Generator) -> tuple[Points, NDArray[np.float32]]:
        """Scatterers [K, 3] on surfaces and their amplitudes [K], of one sign: they add coherently.

        Amplitude 1 is one scatterer of standard speckle at `STANDARD_DENSITY`.
        """
        ...

    def normals(self, points_mm: Points) -> NDArray[np.float32]:
        """[K, 3] unit normals at points on sheets; zero where brightness does not depend on the angle."""
        ...

    def artery(self, x_mm: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """y, z and radius (mm) of the vessel that beats, at x."""
        ...


@dataclass(frozen=True)
class Phantom:
    """A box of fully developed speckle."""

    bounds_mm: NDArray[np.float64]
    attenuation_db_cm_mhz: float = 0.5

    def reflectivity(self, points_mm: Points) -> NDArray[np.float32]:
        return np.ones(len(points_mm), np.float32)

    def attenuation(self, points_mm: Points) -> NDArray[np.float32]:
        return np.full(len(points_mm), self.attenuation_db_cm_mhz, np.float32)

    def sheets(self, rng: np.random.Generator) -> tuple[Points, NDArray[np.float32]]:
        return np.zeros((0, 3), np.float32), np.zeros(0, np.float32)

    def normals(self, points_mm: Points) -> NDArray[np.float32]:
        return np.zeros_like(points_mm)

    def artery(self, x_mm: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        return np.full_like(x_mm, 18.0), np.full_like(x_mm, 5.0), np.full_like(x_mm, 1.7)


def visible(T_world_image: NDArray[np.float64], geometry: ProbeGeometry, beam: Beam | None = None,
            margin_mm: float = 0.0) -> Callable[[NDArray], NDArray[np.bool_]]:
    """A mask for `Medium.draw`: what the images [N, 4, 4] can see, and `margin_mm` around it."""
    (lens, _), probe = lens_table(beam or Beam(), geometry), probe_of(geometry)
    bounds = scatter.Bounds(*map(float, (*geometry.depth_mm, *geometry.lateral)))
    T_image_world = se3.inverse(np.asarray(T_world_image, float).reshape(-1, 4, 4))
    margin = margin_mm + BLOCK_MM * np.sqrt(3) / 2 + BEAM_MARGIN_MM

    def mask(points_mm: NDArray) -> NDArray[np.bool_]:
        return scatter.seen(np.asarray(points_mm, np.float64), T_image_world, probe, bounds, lens, margin)

    return mask


@dataclass(frozen=True)
class Medium:
    """Point scatterers (world mm) sorted by voxel."""

    points: Points                     # [M, 3]
    amplitude: NDArray[np.float32]     # [M]
    centre: NDArray[np.float32]        # [V, 3] of the voxels
    start: NDArray[np.int64]           # [V] first scatterer of a voxel
    stop: NDArray[np.int64]            # [V] behind its last
    bounds_mm: NDArray[np.float64]     # [2, 3]
    sheet: int = 0                     # voxels from here on hold sheets
    normal: Points | None = None       # [K, 3] of the scatterers on sheets, the last K
    lobe_deg: float = 0.0              # see `draw`

    @classmethod
    def draw(cls, tissue: Tissue, seed: int, density_per_mm3: float = STANDARD_DENSITY,
             region_mm: Callable[[NDArray], NDArray[np.bool_]] | None = None, threads: int = 1, *,
             plates: Plates | None = None, lobe_deg: float = 0.0) -> "Medium":
        """Draw a stratified random cloud inside `tissue.bounds_mm`, and the sheets of the tissue.

        Scatterers are uniform within cells of 0.5 mm, an equal number in each: over lengths beyond the
        wavelength their number fluctuates less than Poisson's, so that 8 in a resolution cell make Rayleigh
        speckle. Below `SPARSE_PER_MM3` their number is Poisson's, and speckle has the spikes of few scatterers.

        Parameters
        ----------
        density_per_mm3 : float
            Diffuse scatterers are scaled so that the speckle is as bright whatever their density.
        region_mm : callable, optional
            Mask of block centres [K, 3] (blocks of 4 mm) that are wanted, such as `visible(...)`. The
            scatterers of a place are the same whatever the region.
        threads : int
            Threads that draw; the outcome does not depend on them.
        plates : Plates, optional
            Coherent scatter, which takes half of the scatterers.
        lobe_deg : float
            Angle of incidence at which sheets have fallen by 1/e in amplitude; 0: they do not.
        """
        low, high = np.asarray(tissue.bounds_mm, float)
        first = np.floor(low / BLOCK_MM).astype(int)
        count = np.maximum(np.ceil(high / BLOCK_MM).astype(int) - first, 0)
        blocks = first + np.moveaxis(np.indices(count), 0, -1).reshape(-1, 3)
        if region_mm is not None:
            blocks = blocks[region_mm((blocks + 0.5) * BLOCK_MM)]
        with ThreadPoolExecutor(threads) as pool:
            batches = list(pool.map(lambda i: _diffuse(tissue, seed, blocks[i:i + _BATCH_BLOCKS], density_per_mm3, low,
                                                       high, plates), range(0, len(blocks), _BATCH_BLOCKS)))
        points, amplitude = tissue.sheets(np.random.default_rng([seed, 1]))
        points, amplitude = np.asarray(points, np.float32), np.asarray(amplitude, np.float32)
        if region_mm is not None and len(points):
            keep = region_mm(points)
            points, amplitude = points[keep], amplitude[keep]
        key = np.floor(points / VOXEL_MM).astype(np.int64)
        order = np.lexsort(key.T)
        batches.append((points[order], amplitude[order], *_voxels(key[order])))
        normal = np.asarray(tissue.normals(points[order]), np.float32) if lobe_deg > 0 and len(points) else None
        return cls._of_batches(batches, np.array([low, high]), (normal, lobe_deg))

    @classmethod
    def _of_batches(cls, batches, bounds_mm: NDArray[np.float64], facing: tuple[Points | None, float]
                    ) -> "Medium":
        """Join (points, amplitude, first point of each voxel, its centre)."""
        centres, starts = [], []
        offset = 0
        for _, a, first, centre in batches:
            starts.append(first + offset)
            centres.append(centre)
            offset += len(a)
        points = np.empty((offset, 3), np.float32)
        amplitude = np.empty(offset, np.float32)
        at = offset
        while batches:   # frees each batch as it is copied
            p, a, _, _ = batches.pop()
            at -= len(a)
            points[at:at + len(a)], amplitude[at:at + len(a)] = p, a
        start = np.concatenate(starts).astype(np.int64)
        return cls(points, amplitude, np.concatenate(centres), start, np.append(start, offset)[1:], bounds_mm,
                   len(start) - len(starts[-1]), *facing)


def _voxels(key: NDArray) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """(first point, centre in mm) of the runs of equal voxels in `key` [M, 3]."""
    new = np.ones(len(key), bool)
    new[1:] = (key[1:] != key[:-1]).any(1)
    return np.flatnonzero(new), ((key[new] + 0.5) * VOXEL_MM).astype(np.float32)


def _diffuse(tissue: Tissue, seed: int, blocks: NDArray, density: float, low: NDArray, high: NDArray,
             plates: Plates | None):
    """Scatterers of some blocks [B, 3], voxel after voxel, as `Medium._of_batches` takes them."""
    voxel, cell = (np.moveaxis(np.indices((n, n, n)), 0, -1).reshape(-1, 3) for n in (BLOCK_VOXELS, STRATA))
    cells = (voxel[:, None] * STRATA + cell).reshape(-1, 3)
    share = 0.0 if plates is None else plates.share
    if plates is not None:
        density = density / 2
    per_cell = density * (VOXEL_MM / STRATA) ** 3
    all_points, all_keys = [], []
    for block in blocks:
        rng = np.random.default_rng([seed, 0, *(block + (1 << 20))])
        n = (rng.poisson(per_cell, len(cells)) if density < SPARSE_PER_MM3 and plates is None
             else (per_cell + rng.random(len(cells))).astype(int))
        corner = np.repeat((cells + block * (BLOCK_VOXELS * STRATA)).astype(np.int32), n, axis=0)
        all_keys.append(corner // STRATA)
        all_points.append((corner + rng.random(corner.shape, np.float32)) * np.float32(VOXEL_MM / STRATA))
    points, keys = np.concatenate(all_points).astype(np.float32), np.concatenate(all_keys)
    strength = np.full(len(points), np.sqrt((1 - share) * STANDARD_DENSITY / density), np.float32)
    if plates is not None:
        points, keys, strength = plates.among(points, keys, strength, seed, blocks)
    amplitude = tissue.reflectivity(points) * strength
    keep = (amplitude != 0) & ((points >= low) & (points <= high)).all(1)
    return points[keep], amplitude[keep].astype(np.float32), *_voxels(keys[keep])
