"""Compounding: frames with poses pasted into a regular grid in the image mm of frame 0.

Memory is bounded: a grid that takes more than asked is worked off in slabs, each of which reads the scan once, and a
result of that size lies in a temporary file.
"""

import math
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from .compute.device import arrays, to_host
from .errors import InputError
from .io import checks
from .kernels import cpu_volume, gpu_volume
from .probe.field import ProbeGeometry
from .products.volume import Volume

Array = NDArray[np.float64]

INTERPOLATIONS = ("NEAREST", "LINEAR")
COMPOUNDINGS = ("MEAN", "MAXIMUM", "LATEST")
BYTES_PER_VOXEL = 4 + 4 + 1 + 1  # sum, weight, grey values, and their copy while holes are filled
RESULT_BYTES_PER_VOXEL = 4 + 1
DEFAULT_SPACING_MM = 0.5
DEFAULT_BYTES = 2_000_000_000
MOST_SLABS = 32


@dataclass(frozen=True)
class Grid:
    """Extent of a volume before it is made: voxels (nx, ny, nz) and the memory that compounding it whole takes."""

    origin_mm: tuple[float, float, float]
    size: tuple[int, int, int]
    spacing_mm: float

    @property
    def memory_bytes(self) -> int:
        return math.prod(self.size) * BYTES_PER_VOXEL

    def slabs(self, max_bytes: int, halo: int) -> list[tuple[int, int]]:
        """Layers first..last-1 of the longest axis that are compounded at a time, `halo` layers to each side apart."""
        layers = max(self.size)
        at_a_time = max(1, max_bytes * layers // self.memory_bytes - 2 * halo)
        n = 1 if self.memory_bytes <= max_bytes else -(-layers // at_a_time)
        edges = [k * layers // n for k in range(n + 1)]
        return list(pairwise(edges))


def plan(T_first_frame: Array, geometry: ProbeGeometry, spacing_mm: float | None = None, *,
         roi_mm: tuple[Array, Array] | None = None, max_bytes: int = DEFAULT_BYTES) -> Grid:
    """The grid that holds the field of view of every frame (or the box `roi_mm`, two corners).

    Without `spacing_mm` it is 0.5 mm, or as much coarser as it takes to be compounded whole in `max_bytes`.

    Raises
    ------
    InputError
        If no pose is finite, or the spacing asked for needs more than `MOST_SLABS` times `max_bytes`.
    """
    T = checks.numbers(T_first_frame, "compounding: poses", ("N", 4, 4), finite=False)
    T = T[np.isfinite(T).all((1, 2))]
    if not len(T):
        raise InputError("compounding: expected finite poses, found none")
    if spacing_mm is not None:
        checks.number(spacing_mm, "compounding: spacing", 1e-3, 1e3, " mm")
    if not isinstance(geometry, ProbeGeometry):
        raise InputError("compounding: geometry: expected a ProbeGeometry, such as that of a result, found "
                         f"{checks.described(geometry)}")
    if roi_mm is None:
        outline = np.clip(geometry.outline(16), *_image_box(geometry))
        points = np.concatenate([outline, np.zeros((len(outline), 1))], 1)
        every = np.einsum("nij,pj->npi", T[:, :3, :3], points) + T[:, None, :3, 3]
        low, high = every.min((0, 1)), every.max((0, 1))
    else:
        low, high = checks.numbers(roi_mm, "compounding: corners of the region in mm", (2, 3))
        if not (high > low).all():
            raise InputError(f"compounding: expected a region with low < high, found {low} to {high}")
    most = max_bytes if spacing_mm is None else MOST_SLABS * max_bytes
    fits = (np.prod(np.maximum(high - low, 0.1)) * BYTES_PER_VOXEL / most) ** (1 / 3)
    spacing = spacing_mm or DEFAULT_SPACING_MM
    while True:
        size = np.floor((high - low) / spacing).astype(int) + 2
        nx, ny, nz = (int(voxels) for voxels in size)
        grid = Grid((float(low[0]), float(low[1]), float(low[2])), (nx, ny, nz), spacing)
        if grid.memory_bytes <= most:
            return grid
        if spacing_mm is not None:
            raise InputError(f"compounding: expected at most {most / 1e9:.1f} GB, found {grid.memory_bytes / 1e9:.1f} "
                             f"GB for {spacing:g} mm: ask for {fits * 1.05:.2g} mm or a smaller region")
        spacing *= 1.1


class _HasBlocks(Protocol):
    def blocks(self) -> Iterable[tuple[int, NDArray[np.uint8]]]: ...


def compound_scan(scan: _HasBlocks | Iterable[tuple[int, NDArray[np.uint8]]], T_first_frame: Array,
                  geometry: ProbeGeometry, spacing_mm: float | None = None, *, interpolation: str = "LINEAR",
                  compounding: str = "MEAN", hole_radius: int = 2, clip_to_fan: bool = True,
                  roi_mm: tuple[Array, Array] | None = None, max_bytes: int = DEFAULT_BYTES,
                  progress: Callable[[int, int], None] | None = None, device: str = "cpu") -> Volume:
    """Compound frames with poses into a regular grid.

    Parameters
    ----------
    scan : a `Scan`, or pairs (index of the first frame, frames uint8 [n, rows, columns]).
    T_first_frame : [N, 4, 4]; frames whose pose is not finite, or that carry no valid image, are left out.
    geometry : field of view of the probe and the scale of its pixels.
    spacing_mm : voxel edge; see `plan`.
    interpolation : NEAREST pastes a pixel into the voxel it lies in, LINEAR shares it among eight.
    compounding : MEAN, MAXIMUM or LATEST of the pixels of a voxel (PLUS's vocabulary). MAXIMUM and LATEST
        with LINEAR write all eight voxels.
    hole_radius : empty voxels are filled from cubes of up to this many voxels to each side of which a
        third is seen; 0 leaves holes.
    clip_to_fan : leave out pixels outside the field of view.
    roi_mm : two corners of a box to which the volume is limited, image mm of frame 0.
    max_bytes : working memory; see `Grid.slabs`.
    progress : called with (done, total), in frames times slabs.
    device : "cpu" or "gpu"; a GPU needs memory for the largest slab, LATEST 8 bytes a voxel more.

    Raises
    ------
    InputError
        For unknown modes, for frames that come from an iterator but have to be read more than once, or see `plan`.
    MemoryError
        If a slab does not fit the device.
    """
    if interpolation not in INTERPOLATIONS or compounding not in COMPOUNDINGS:
        raise InputError(f"compounding: expected {'|'.join(INTERPOLATIONS)} and {'|'.join(COMPOUNDINGS)}, "
                         f"found {interpolation} and {compounding}")
    if device not in ("cpu", "gpu"):
        raise InputError(f"compounding: device: expected cpu or gpu, found {checks.described(device)}")
    hole_radius = checks.whole(hole_radius, "compounding: hole_radius", 0, 100)
    T = checks.numbers(T_first_frame, "compounding: poses", ("N", 4, 4), finite=False)
    if (image_ok := getattr(scan, "image_ok", None)) is not None:
        T = np.where(image_ok[:, None, None], T, np.nan)
    grid = plan(T, geometry, spacing_mm, roi_mm=roi_mm, max_bytes=max_bytes)
    A = _grid_from_pixel(T, geometry.scale, grid)
    mask = geometry.mask() if clip_to_fan else np.ones(geometry.shape, bool)
    first = np.where(mask.any(1), mask.argmax(1), 0)
    last = np.where(mask.any(1), mask.shape[1] - mask[:, ::-1].argmax(1), 0)
    nx, ny, nz = grid.size
    # Threads own slabs of the kernel's first axis: the longest one shares the work best.
    order = np.argsort([nx, ny, nz], kind="stable")
    xp, kernels = _backend(device)
    shape = tuple(int(edge) for edge in np.array(grid.size)[order[::-1]])
    slabs = grid.slabs(max_bytes, hole_radius)
    blocks: Any = scan.blocks if hasattr(scan, "blocks") else lambda: scan
    if len(slabs) > 1 and isinstance(scan, Iterator):
        raise InputError(f"compounding: expected a scan that can be read {len(slabs)} times, found an iterator of "
                         "blocks: give the scan, or more memory")
    linear, mode = interpolation == "LINEAR", COMPOUNDINGS.index(compounding)
    shown = [xp.asarray(part) for part in (mask, first, last)]
    data, accumulation = (_room(shape, kind, grid, max_bytes) for kind in (np.uint8, np.float32))
    for number, (begin, end) in enumerate(slabs):
        low, high = max(begin - hole_radius, 0), min(end + hole_radius, shape[0])
        total = xp.zeros((high - low, *shape[1:]), np.float32)
        weight, shares = xp.zeros_like(total), max(1, min(32, len(total) // 4))
        for start, frames in blocks():
            _check_block(frames, start, len(T), geometry.shape)
            part = np.ascontiguousarray(A[start : start + len(frames)][:, order])
            part[:, 2, 2] -= low
            kernels.splat(cpu_volume.Frames(xp.asarray(frames), xp.asarray(part), *shown), total, weight, mode, linear,
                          shares)
            if progress is not None:
                progress(number * len(T) + start + len(frames), len(slabs) * len(T))
        grey = xp.empty(total.shape, np.uint8)
        kernels.to_grey(total, weight, mode, grey)
        del total
        if hole_radius > 0:
            filled = xp.empty_like(grey)
            kernels.fill_holes(grey, weight, hole_radius, 1 / 3, filled)
            grey = filled
        data[begin:end], accumulation[begin:end] = (to_host(x[begin - low : end - low]) for x in (grey, weight))
    to_zyx = [int(np.flatnonzero(order[::-1] == axis)[0]) for axis in (2, 1, 0)]
    return Volume(data.transpose(to_zyx), accumulation.transpose(to_zyx), grid.origin_mm, grid.spacing_mm,
                  np.eye(3))


def _check_block(frames: Any, start: int, n_poses: int, shape: tuple[int, int]) -> None:
    """Refuse what the kernels, which do not look, would read beyond its end."""
    if getattr(frames, "dtype", None) != np.uint8 or frames.shape[1:] != tuple(shape):
        raise InputError(f"compounding: expected frames uint8 [n, {shape[0]}, {shape[1]}], as the geometry has it, "
                         f"found {checks.described(frames)}")
    if start + len(frames) > n_poses:
        raise InputError(f"compounding: expected a pose for every frame, found {n_poses} for {start + len(frames)} or "
                         "more frames")


def _backend(device: str) -> tuple[Any, Any]:
    """Array module and kernels of a device."""
    return (arrays(device), gpu_volume) if device == "gpu" else (np, cpu_volume)


def _room(shape: tuple[int, ...], kind: type, grid: Grid, max_bytes: int) -> NDArray[Any]:
    """An array to fill: in memory, or in a temporary file where the results do not fit `max_bytes`."""
    if np.prod(grid.size, dtype=np.int64) * RESULT_BYTES_PER_VOXEL <= max_bytes:
        return np.empty(shape, kind)
    with tempfile.TemporaryFile(prefix="speckle_rec_") as file:
        return np.memmap(file, kind, "w+", shape=shape)  # keeps the file alive once closed


def _image_box(geometry: ProbeGeometry) -> tuple[Array, Array]:
    rows, columns = geometry.shape
    s = geometry.scale
    return (np.array([s[0, 0] + s[0, 3], s[1, 1] + s[1, 3]]),
            np.array([s[0, 0] * columns + s[0, 3], s[1, 1] * rows + s[1, 3]]))


def _grid_from_pixel(T: Array, scale: Array, grid: Grid) -> Array:
    """A [N, 3, 3]: grid coordinates (x, y, z) of pixel (column, row, 1), both counted from 0."""
    pixel_from_0 = np.eye(4)
    pixel_from_0[:2, 3] = 1
    A = (T @ scale @ pixel_from_0)[:, :3][:, :, [0, 1, 3]]
    A[:, :, 2] -= grid.origin_mm
    return A / grid.spacing_mm
