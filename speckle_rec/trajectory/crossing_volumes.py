"""Volumes of what a scan shows beyond speckle before and after its turn, and how alike they are (METHOD.md (9.1))."""

from dataclasses import dataclass
from functools import cached_property

import cv2
import numba
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.sparse import csr_array

from .. import geometry as se3
from ..frames.working_images import BLOCK, threads
from ..pairs.loop_closures import STRIDE
from ..probe.field import ProbeGeometry
from ..scan import Scan

Array = NDArray[np.float64]
Images = NDArray[np.float32]

PIXEL_MM = 1.2          # of the images that are compared
DETAIL_MM = 4.0         # what changes more slowly along an image is shading
MOST_FRAMES = 3000      # of a scan, beyond which fewer of them are looked at
SEEN = 0.6              # of the frames that must show something at a pixel
VOXEL_MM = 1.2
LARGEST_MM = 400.0      # side of a volume
BEFORE, AFTER = 0.25, 0.75      # of the total turn: what counts as before and after it
LEAST_TURN_RAD = 0.7    # below which planes hardly cross
LEAST_FRAMES = 20       # on either side
LEAST_VOXELS = 2000     # that both sides show
KEY = 16                # frames that are pulled as one
PAIRS = 4               # of the frames that show a voxel, that share its pull
SHARPEST_MM = 0.8       # width (Gaussian) to which volumes are smoothed at last
LEAST_SEEN = 0.1        # pixels that a voxel must hold, smoothed


@dataclass(frozen=True)
class Anatomy:
    """What a scan shows beyond speckle, at a few frames.

    Attributes
    ----------
    frames : [K].   points_mm : [P, 2] of the pixels, from the centre of the probe face.
    detail : [K, P] brightness less its surroundings, less what all frames show at a pixel.
    """

    frames: NDArray[np.int64]
    points_mm: Array
    detail: Images

    @classmethod
    def of(cls, scan: Scan, geometry: ProbeGeometry, every: int = STRIDE) -> "Anatomy":
        """Anatomy of every few frames of a scan, of fewer where it is long.

        Parameters
        ----------
        geometry : field of view at full resolution.
        """
        every *= -(-scan.n_frames // MOST_FRAMES)
        factor = max(1, round(PIXEL_MM / float(np.sqrt(scan.scale[0, 0] * scan.scale[1, 1]))))
        shape = scan.shape[0] // factor, scan.shape[1] // factor
        frames, images = [], []
        for start, block in scan.blocks(BLOCK):
            for k in range(-start % every, len(block), every):
                frames.append(start + k)
                whole = block[k][:shape[0] * factor, :shape[1] * factor]
                images.append(cv2.resize(whole, shape[::-1], interpolation=cv2.INTER_AREA).astype(np.float32))
        stack = np.array(images)
        seen = (stack > 0).mean(0) > SEEN
        width = DETAIL_MM / (factor * float(np.sqrt(scan.scale[0, 0] * scan.scale[1, 1])))
        around = gaussian_filter(seen.astype(np.float32), width) + 1e-6
        for image in stack:
            image -= gaussian_filter(image * seen, width) / around
        detail = stack[:, seen]
        row, column = np.nonzero(seen)
        pixel = np.stack([column * factor + (factor + 1) / 2, row * factor + (factor + 1) / 2], 1)
        points = pixel * np.diag(scan.scale)[:2] + scan.scale[:2, 3] - np.asarray(geometry.face_mm)
        return cls(np.array(frames), points, detail - detail.mean(0))

    @cached_property
    def coarse(self) -> "Anatomy":
        """The same with pixels of twice the size: for volumes that are smoothed more widely than that."""
        column, row = (np.unique(at.round(6), return_inverse=True)[1] // 2 for at in self.points_mm.T)
        name, count = np.unique(column * (row.max() + 1) + row, return_inverse=True, return_counts=True)[1:]
        means = csr_array((1 / count[name], (name, np.arange(len(name)))))
        return Anatomy(self.frames, means @ self.points_mm, np.ascontiguousarray((means @ self.detail.T).T, np.float32))


@dataclass(frozen=True)
class Sides:
    """Entries of `Anatomy.frames` before, in and after the turn."""

    before: NDArray[np.int64]
    within: NDArray[np.int64]
    after: NDArray[np.int64]

    @property
    def pairs(self) -> list["Sides"]:
        """Each two of the three, the outer ones first; without the middle where it is short."""
        none = self.within[:0]
        if len(self.within) < LEAST_FRAMES:
            return [self]
        return [self, Sides(self.before, none, self.within), Sides(self.within, none, self.after)]


def total_turn(T: Array) -> float:
    """How far (rad) a probe turned about its axis in a trajectory [N, 4, 4]; at most, where it was turned back."""
    yaw = se3.turned(T)
    turn = float(np.median(yaw[-max(len(yaw) // 20, 1):]))
    return turn if abs(turn) >= LEAST_TURN_RAD else float(max(np.quantile(yaw, (0.1, 0.9)), key=abs))


def sides(T: Array, frames: NDArray[np.int64]) -> Sides | None:
    """The frames before and after the turn of a trajectory [N, 4, 4]; None where the probe was hardly turned.

    A probe that was turned back is taken by how far it was turned; what it showed on its way back is left out.
    """
    turn = total_turn(T)
    if abs(turn) < LEAST_TURN_RAD:
        return None
    share = se3.turned(T)[frames] / turn
    after = share > AFTER
    back = np.arange(len(frames)) > np.flatnonzero(after).max(initial=-1)
    before = (share < BEFORE) & ~back
    if min(before.sum(), after.sum()) < LEAST_FRAMES:
        return None
    return Sides(np.flatnonzero(before), np.flatnonzero(~before & ~after & ~back), np.flatnonzero(after))


@numba.njit(nogil=True, cache=True)
def _splat(T, detail, points, keys, grid, total, count, shown):
    """Add pixels to the nearest voxels of a grid (centre of its first, spacing), and keep a few of the frames that
    show each, drawn evenly."""
    n_kept, (low, spacing) = shown.shape[3], grid
    X = np.empty((3, 3))        # from pixels (mm) to voxels, half a voxel on
    for k in range(T.shape[0]):
        for r in range(3):
            X[r, 0], X[r, 1] = T[k, r, 0] / spacing, T[k, r, 1] / spacing
            X[r, 2] = (T[k, r, 3] - low[r]) / spacing + 0.5
        for p in range(points.shape[0]):
            u, v = points[p, 0], points[p, 1]
            x = X[0, 0] * u + X[0, 1] * v + X[0, 2]
            y = X[1, 0] * u + X[1, 1] * v + X[1, 2]
            z = X[2, 0] * u + X[2, 1] * v + X[2, 2]
            if not (0 <= x < total.shape[0] and 0 <= y < total.shape[1] and 0 <= z < total.shape[2]):     # NaN neither
                continue
            a, b, c = np.uint64(x), np.uint64(y), np.uint64(z)
            total[a, b, c] += detail[k, p]
            count[a, b, c] += 1
            if n_kept == 0:
                continue
            n = int(count[a, b, c])
            at = n - 1
            if n > n_kept:      # reservoir
                at = (n * 2654435761 + int(a) * 40503 + int(b) * 9176 + int(c) * 131) % n
            if at < n_kept:
                shown[a, b, c, at] = keys[k]


@dataclass(frozen=True)
class Overlap:
    """Two volumes of the same anatomy, where both show it.

    Attributes
    ----------
    voxels : [V, 3] indices.   low : [3] mm, centre of voxel 0.
    before, after : volumes, smoothed.
    shown : [V, pairs] which `KEY` frames show each voxel before, and after; -1: none.
    voxel_mm : edge of a voxel.
    """

    voxels: NDArray[np.int64]
    low: Array
    before: Images
    after: Images
    shown: tuple[NDArray[np.int32], NDArray[np.int32]]
    voxel_mm: float = VOXEL_MM

    @property
    def enough(self) -> bool:
        """Whether both show enough to be compared."""
        return len(self.voxels) * (self.voxel_mm / VOXEL_MM) ** 3 >= LEAST_VOXELS

    @property
    def values(self) -> tuple[Images, Images]:
        at = tuple(self.voxels.T)
        return self.before[at], self.after[at]

    @property
    def similarity(self) -> float:
        """Normalised correlation of what both show; 0 where that is hardly anything."""
        if not self.enough:
            return 0.0
        return float(np.corrcoef(*self.values)[0, 1])


def overlap(T: Array, anatomy: Anatomy, apart: Sides, width_mm: float = SHARPEST_MM,
            voxel_mm: float = VOXEL_MM, pairs: int = PAIRS, jobs: int = 2) -> Overlap:
    """Volumes of the anatomy before and after the turn, smoothed to `width_mm`, along a trajectory [N, 4, 4].

    `pairs` of the frames that show a voxel are kept: none are needed to tell how alike the volumes are. `jobs`: 2 for a
    thread each.
    """
    poses = np.ascontiguousarray(T[anatomy.frames])
    low, shape = _common(poses, anatomy.points_mm, apart, width_mm, voxel_mm)

    def filled(rows: NDArray[np.int64]) -> tuple[Images, NDArray[np.bool_], NDArray[np.int32]]:
        """Volume of some frames, where it shows something, and the frames that do."""
        total, count = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
        kept = np.full((*shape, pairs), -1, np.int32)
        keys = (anatomy.frames[rows] // KEY).astype(np.int32)
        _splat(poses[rows], anatomy.detail[rows], anatomy.points_mm, keys, (low, voxel_mm), total, count, kept)
        seen = count > 0
        total, count = (smoothed(x, width_mm / voxel_mm) for x in (total, count))
        return (np.where(count > LEAST_SEEN / 2, total / np.maximum(count, LEAST_SEEN / 2), 0),
                seen & (count > LEAST_SEEN), kept)

    if jobs > 1:
        with threads(2) as pool:
            before, after = pool.map(filled, (apart.before, apart.after))
    else:
        before, after = filled(apart.before), filled(apart.after)
    voxels = np.argwhere(before[1] & after[1])
    at = tuple(voxels.T)
    return Overlap(voxels, low, before[0], after[0], (before[2][at], after[2][at]), voxel_mm)


def _common(poses: Array, points_mm: Array, apart: Sides, width_mm: float,
            voxel_mm: float) -> tuple[Array, tuple[int, ...]]:
    """Centre [3] of the first voxel (mm) and size of the grid that holds what both sides may show, with as much about
    it as smoothing reaches."""
    (x0, y0), (x1, y1) = points_mm.min(0), points_mm.max(0)
    ends = np.array([[x0, y0], [x0, y1], [x1, y0], [x1, y1]])
    corners = (poses[:, None, :3, :2] @ ends[..., None])[..., 0] + poses[:, None, :3, 3]
    before, after = corners[apart.before], corners[apart.after]
    low = np.maximum(before.min((0, 1)), after.min((0, 1)))
    high = np.minimum(before.max((0, 1)), after.max((0, 1)))
    middle = corners[0].mean(0)
    low, high = np.maximum(low, middle - LARGEST_MM / 2), np.minimum(high, middle + LARGEST_MM / 2)
    about = _reach(width_mm / voxel_mm) + 1
    first = np.floor(low / voxel_mm) - about
    shape = np.maximum(np.ceil(high / voxel_mm) + about - first + 1, 1).astype(int)
    return first * voxel_mm, tuple(shape.tolist())


def _reach(width: float) -> int:
    """Voxels either side that a Gaussian of a width takes in."""
    return int(3 * width + 0.5)


def smoothed(volume: Images, width: float) -> Images:
    """A volume under a Gaussian of a width in voxels; nothing about it."""
    x = np.arange(-_reach(width), _reach(width) + 1)
    kernel = np.exp(-0.5 * np.square(x / width)).astype(np.float32)
    kernel /= kernel.sum()
    one, out = np.ones(1, np.float32), np.empty_like(volume)
    flat = volume.reshape(len(volume), -1)
    cv2.sepFilter2D(flat, -1, one, kernel, dst=out.reshape(flat.shape), borderType=cv2.BORDER_CONSTANT)
    for plane in out:
        cv2.sepFilter2D(plane, -1, kernel, kernel, dst=plane, borderType=cv2.BORDER_CONSTANT)
    return out
