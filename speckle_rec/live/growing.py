"""The volume while it grows: frames that stand are pasted once, the last ones anew each time it is asked for."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..frames.features import shrink
from ..kernels import cpu_volume
from ..probe.field import ProbeGeometry

Array = NDArray[np.float64]

SPACING_MM = 1.0
MARGIN_MM = 15.0            # around what the frames need, so that the grid rarely grows
MOST_VOXELS = 12_000_000    # beyond which voxels become twice as large


@dataclass(frozen=True)
class Snapshot:
    """The volume at one moment.

    Attributes
    ----------
    grey : uint8 [nz, ny, nx].   origin_mm : (x, y, z) of the first voxel, image mm of the first frame.
    spacing_mm : edge of a voxel.   seen_ml : of tissue that frames passed through.   covered : share of what lies
        between the first and the last seen voxel of each line along z.
    """

    grey: NDArray[np.uint8]
    origin_mm: Array
    spacing_mm: float
    seen_ml: float
    covered: float


class GrowingVolume:
    """Pastes frames of one geometry, at one millimetre."""

    def __init__(self, geometry: ProbeGeometry):
        pixel = float(np.sqrt(geometry.scale[0, 0] * geometry.scale[1, 1]))
        self.factor = factor = max(1, round(SPACING_MM / pixel))
        centre = np.diag([factor, factor, 1.0, 1.0])
        centre[:2, 3] = (1 - factor) / 2
        shape = (geometry.shape[0] // factor, geometry.shape[1] // factor)
        static = geometry.static if geometry.static is None else shrink(geometry.static.astype(np.float32), factor) > 0
        small = replace(geometry, shape=shape, scale=geometry.scale @ centre, static=static)
        self._mask = small.mask()
        self._first = np.where(self._mask.any(1), self._mask.argmax(1), 0)
        self._last = np.where(self._mask.any(1), shape[1] - self._mask[:, ::-1].argmax(1), 0)
        pixel_from_0 = np.eye(4)
        pixel_from_0[:2, 3] = 1
        self._mm = small.scale @ pixel_from_0
        outline = geometry.outline(8)
        self._outline = np.concatenate([outline, np.zeros((len(outline), 1)), np.ones((len(outline), 1))], 1)
        self.spacing_mm = max(SPACING_MM, pixel)
        self._origin = np.zeros(3)
        self._total = np.zeros((1, 1, 1), np.float32)
        self._weight = np.zeros_like(self._total)
        self._pasted: list[tuple[NDArray[np.uint8], Array]] = []

    def thumbnail(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """A frame as small as it is pasted."""
        return np.ascontiguousarray(shrink(image, self.factor))

    def paste(self, thumbnails: list[NDArray[np.uint8]], T: Array) -> None:
        """Paste frames whose poses T [n, 4, 4], image mm, stand."""
        if len(thumbnails):
            self._make_room(T)
            self._splat(thumbnails, T, self._total, self._weight)

    def snapshot(self, thumbnails: list[NDArray[np.uint8]], T: Array) -> Snapshot:
        """The volume with some more frames, which may move yet."""
        self._make_room(T)
        total, weight = self._total.copy(), self._weight.copy()
        self._splat(thumbnails, T, total, weight)
        grey = np.empty(total.shape, np.uint8)
        cpu_volume.to_grey(total, weight, cpu_volume.MEAN, grey)
        seen = weight > 0
        z = np.arange(len(seen), dtype=np.int32)[:, None, None]
        depth = np.where(seen, z, -1).max(0) - np.where(seen, z, len(seen)).min(0) + 1
        between = int(depth[seen.any(0)].sum())
        count = int(seen.sum())
        return Snapshot(grey, self._origin.copy(), self.spacing_mm, count * self.spacing_mm**3 / 1000,
                        count / max(between, 1))

    def _splat(self, thumbnails: list[NDArray[np.uint8]], T: Array, total: NDArray[np.float32],
               weight: NDArray[np.float32]) -> None:
        A = (T @ self._mm)[:, :3][:, :, [0, 1, 3]]
        A[:, :, 2] -= self._origin
        frames = cpu_volume.Frames(np.stack(thumbnails), np.ascontiguousarray(A / self.spacing_mm), self._mask,
                                   self._first, self._last)
        cpu_volume.splat(frames, total, weight, cpu_volume.MEAN, True, max(1, min(32, len(total) // 4)))

    def _make_room(self, T: Array) -> None:
        """Let the grid hold the field of view of frames at poses [n, 4, 4]."""
        points = np.einsum("nij,pj->npi", T[:, :3], self._outline).reshape(-1, 3)
        low, high = points.min(0), points.max(0)
        size = np.array(self._total.shape[::-1])
        end = self._origin + (size - 1) * self.spacing_mm
        empty = self._total.size == 1
        if not empty and (low >= self._origin).all() and (high <= end).all():
            return
        if not empty:
            low, high = np.minimum(low, self._origin), np.maximum(high, end)
        while np.prod((high - low + 2 * MARGIN_MM) / self.spacing_mm + 2) > MOST_VOXELS:
            self._coarser()
        before = np.zeros(3, int) if empty else np.ceil((self._origin - low + MARGIN_MM) / self.spacing_mm - 1e-6
                                                        ).astype(int)
        origin = low - MARGIN_MM if empty else self._origin - before * self.spacing_mm
        wanted = np.ceil((high + MARGIN_MM - origin) / self.spacing_mm).astype(int) + 2
        old = self._total, self._weight
        self._total, self._weight = (np.zeros(tuple(wanted[::-1]), np.float32) for _ in old)
        if not empty:
            there = tuple(slice(b, b + n) for b, n in zip(before[::-1], old[0].shape, strict=True))
            wide = tuple(max(0, s.stop - n) for s, n in zip(there, self._total.shape, strict=True))
            if any(wide):
                raise AssertionError("a grid that grows holds the one before")
            self._total[there], self._weight[there] = old
        self._origin = origin

    def _coarser(self) -> None:
        """Twice as large voxels."""
        self.spacing_mm *= 2
        if self._total.size > 1:
            even = [(0, n % 2) for n in self._total.shape]
            self._total, self._weight = (
                np.pad(x, even).reshape(*(m for n in x.shape for m in ((n + n % 2) // 2, 2))).sum((1, 3, 5))
                for x in (self._total, self._weight))
            self._origin = self._origin + self.spacing_mm / 4
