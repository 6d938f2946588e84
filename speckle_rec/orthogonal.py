"""Orthogonal self-calibration: what was scanned before the turn, resliced along the planes scanned after it.

After a turn by 90 degrees the image plane holds the direction in which the probe was fanned before. There, lengths are
pixels: where anatomy is seen from both directions, its place in one shows how far the other had moved out of its
plane (METHOD.md, section 9). Speckle differs between crossing planes; bones, fasciae and muscles do not.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import cv2
import numba
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, gaussian_filter1d
from scipy.optimize import minimize

from . import geometry as se3
from .fusion import Crossings, Factors, drawn, solve, total_cost
from .mirror import flip, proposals
from .probe import ProbeGeometry
from .revisit import STRIDE
from .scan import Scan
from .working import BLOCK, spaced, threads

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
WIDTHS = (2.0, 1.5, 1.0, 0.8, 0.8)      # coarse to fine
WEIGHT = 0.77           # of a voxel, as a number of independent samples, at the width `SHARPEST_MM`
TOLERANT = 2.0          # robust standard deviations of the difference of brightness (Cauchy)
LEAST_SEEN = 0.1        # pixels that a voxel must hold, smoothed
STRETCHES = (0.75, 0.85, 0.95, 1.05, 1.15, 1.3)
ITERATIONS = 8
HELD = 0.2              # of the weight of the contact prior, where planes cross
STEADY = 3.0            # times the weight of the contact point's steps there
SCALE_SD = 0.05         # relative, of the scale where planes cross: fans of simulated scans by curves fitted to such
LEFT = 0.3              # of an error of scale: by curves that were none of the tissue's a path came out 16% short
CLEARLY = 0.1           # of the similarity by which a mirror image must be more alike
DOUBTFUL = 0.3          # similarity that no true trajectory falls below
PLACES, PLACES_APART = 8, 40    # frames at which a mirror is tried then
OPEN, STANDING = 500.0, 800.0   # cost of a mirror that speckle leaves open, solved anew and as it stands
TELLS = 0.03            # of the similarity by which it must then be more alike
OPEN_ROUNDS, TRIED = 3, 3       # rounds, and mirrors a round of those that the anatomy does not tell apart
ARM_MM = 50.0           # of rotations beside shifts


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


def sides(T: Array, frames: NDArray[np.int64]) -> Sides | None:
    """The frames before and after the turn of a trajectory [N, 4, 4]; None where the probe was hardly turned.

    A probe that was turned back is taken by how far it was turned; what it showed on its way back is left out.
    """
    yaw = se3.turned(T)
    turn = float(np.median(yaw[-max(len(yaw) // 20, 1):]))
    if abs(turn) < LEAST_TURN_RAD:
        turn = float(max(np.quantile(yaw, (0.1, 0.9)), key=abs))
    if abs(turn) < LEAST_TURN_RAD:
        return None
    share = yaw[frames] / turn
    after = share > AFTER
    back = np.arange(len(frames)) > np.flatnonzero(after).max(initial=-1)
    before = (share < BEFORE) & ~back
    if min(before.sum(), after.sum()) < LEAST_FRAMES:
        return None
    return Sides(np.flatnonzero(before), np.flatnonzero(~before & ~after & ~back), np.flatnonzero(after))


@numba.njit(nogil=True, cache=True)
def _splat(T, detail, points, keys, low, spacing, total, count, shown):
    """Add pixels to the nearest voxels, and keep a few of the frames that show each, drawn evenly."""
    n_kept = shown.shape[3]
    for k in range(T.shape[0]):
        for p in range(points.shape[0]):
            u, v = points[p, 0], points[p, 1]
            a = int(np.floor((T[k, 0, 0] * u + T[k, 0, 1] * v + T[k, 0, 3] - low[0]) / spacing + 0.5))
            b = int(np.floor((T[k, 1, 0] * u + T[k, 1, 1] * v + T[k, 1, 3] - low[1]) / spacing + 0.5))
            c = int(np.floor((T[k, 2, 0] * u + T[k, 2, 1] * v + T[k, 2, 3] - low[2]) / spacing + 0.5))
            if min(a, b, c) < 0 or a >= total.shape[0] or b >= total.shape[1] or c >= total.shape[2]:
                continue
            total[a, b, c] += detail[k, p]
            count[a, b, c] += 1
            n = int(count[a, b, c])
            at = n - 1 if n <= n_kept else (n * 2654435761 + a * 40503 + b * 9176 + c * 131) % n    # reservoir
            if at < n_kept:
                shown[a, b, c, at] = keys[k]


@numba.njit(nogil=True, cache=True)
def _pull(voxels, difference, slope, weight, early, late, low, spacing, pair, gradient, hessian):
    """Normal equations of each pair of frames by its twist, from the voxels that both show."""
    J = np.empty(6)
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


@dataclass(frozen=True)
class Overlap:
    """Two volumes of the same anatomy, where both show it.

    Attributes
    ----------
    voxels : [V, 3] indices.   low : [3] mm, centre of voxel 0.
    before, after : volumes, smoothed.
    shown : [V, PAIRS] which `KEY` frames show each voxel before, and after; -1: none.
    """

    voxels: NDArray[np.int64]
    low: Array
    before: Images
    after: Images
    shown: tuple[NDArray[np.int32], NDArray[np.int32]]

    @property
    def enough(self) -> bool:
        """Whether both show enough to be compared."""
        return len(self.voxels) >= LEAST_VOXELS

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


def overlap(T: Array, anatomy: Anatomy, apart: Sides, width_mm: float = SHARPEST_MM) -> Overlap:
    """Volumes of the anatomy before and after the turn, smoothed to `width_mm`, along a trajectory [N, 4, 4]."""
    poses = np.ascontiguousarray(T[anatomy.frames])
    ends = anatomy.points_mm[[anatomy.points_mm[:, 0].argmin(), anatomy.points_mm[:, 0].argmax(),
                              anatomy.points_mm[:, 1].argmin(), anatomy.points_mm[:, 1].argmax()]]
    corners = (poses[:, None, :3, :2] @ ends[..., None])[..., 0] + poses[:, None, :3, 3]
    low, high = corners.min((0, 1)), corners.max((0, 1))
    low = np.maximum(low, corners[0].mean(0) - LARGEST_MM / 2)
    shape = tuple(int(n) for n in np.ceil((np.minimum(high, low + LARGEST_MM) - low) / VOXEL_MM) + 1)

    def filled(rows: NDArray[np.int64]) -> tuple[Images, NDArray[np.bool_], NDArray[np.int32]]:
        """Volume of some frames, where it shows something, and the frames that do."""
        total, count = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
        kept = np.full((*shape, PAIRS), -1, np.int32)
        keys = (anatomy.frames[rows] // KEY).astype(np.int32)
        _splat(poses[rows], anatomy.detail[rows], anatomy.points_mm, keys, low, VOXEL_MM, total, count, kept)
        seen = count > 0
        total, count = (gaussian_filter(x, width_mm / VOXEL_MM, truncate=3) for x in (total, count))
        return (np.where(count > LEAST_SEEN / 2, total / np.maximum(count, LEAST_SEEN / 2), 0),
                seen & (count > LEAST_SEEN), kept)

    with threads(2) as pool:
        before, after = pool.map(filled, (apart.before, apart.after))
    voxels = np.argwhere(before[1] & after[1])
    at = tuple(voxels.T)
    return Overlap(voxels, low, before[0], after[0], (before[2][at], after[2][at]))


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
    _pull(both.voxels, difference, slopes, weight, early, late, both.low, VOXEL_MM, pair, gradient, hessian)
    turned = i > j
    gradient[turned] *= -1
    return Crossings(KEY * np.minimum(i, j), KEY * np.maximum(i, j), T, gradient, hessian)


def stretched(T: Array, tilt: float, yaw: float) -> Array:
    """A trajectory [N, 4, 4] whose steps go `tilt` times as far along z and about x, and `yaw` times about y."""
    return se3.chain(se3.exp(se3.log(se3.steps(T)) * np.array([1, 1, tilt, tilt, yaw, 1])))


def stretch(T: Array, anatomy: Anatomy, apart: Sides) -> tuple[float, float]:
    """Factors of tilt and of yaw (see `stretched`) at which both sides show most alike the same."""
    def alike(x: Any) -> float:
        return -overlap(stretched(T, *x), anatomy, apart).similarity

    start = min(((s, s) for s in STRETCHES), key=alike)
    found = minimize(alike, start, method="Nelder-Mead",
                     options={"initial_simplex": [start, (start[0] + 0.06, start[1]), (start[0], start[1] + 0.06)],
                              "xatol": 0.004, "fatol": 0.001, "maxfev": 30})
    return float(found.x[0]), float(found.x[1])


@dataclass(frozen=True)
class Calibrated:
    """A trajectory after orthogonal self-calibration.

    Attributes
    ----------
    T : [N, 4, 4].   crossings : factors of the planes that cross, None where nothing was done.
    similarity : of the anatomy seen from both sides, before and after.   gain : share of the true turn that was found.
    mirrored : frames after which the trajectory was mirrored.
    """

    T: Array
    crossings: Crossings | None = None
    similarity: tuple[float, float] = (0.0, 0.0)
    gain: float = 1.0
    mirrored: tuple[int, ...] = ()

    def scale_uncertainty(self, before: float) -> float:
        """Relative standard deviation of the scale out of the plane, of curves that had `before`.

        Planes that cross and do not show the same tell nothing of it.
        """
        if not self.crossings or self.similarity[1] < DOUBTFUL:
            return before
        return min(before, float(np.hypot(SCALE_SD, LEFT * before)))

    def applied(self, f: Factors) -> Factors:
        """Factors with the crossings, and curves stretched by the scan's own gain.

        The contact point is held less: the anatomy shows where it is. It slides the more steadily: planes that cross
        do not see a shift that goes along with a tilt near the face, and would read a part of each fan as one.
        """
        held, steady = (HELD, STEADY) if self.crossings else (1.0, 1.0)
        return replace(f, stretch=f.stretch * self.gain, crossings=self.crossings,
                       contact_precision=f.contact_precision * held,
                       contact_rate_precision=f.contact_rate_precision * steady)

    def settled(self, f: Factors) -> Factors:
        """Factors of the last solve: `applied`, near neighbours counting more where crossing planes tell the scale."""
        return self.applied(f.by_lag() if self.crossings else f)


def warnings_of(found: Calibrated) -> list[str]:
    """What a user should know where both sides of the turn do not show the same."""
    if found.crossings is None or found.similarity[1] >= DOUBTFUL:
        return []
    return [f"what the images show before and after the turn does not agree (similarity {found.similarity[1]:.2f}; .5 "
            "and more where a trajectory is right): a part may have gone the wrong way, or the turn be of another size"]


def right_handed(T: Array, anatomy: Anatomy, apart: Sides) -> tuple[Array, tuple[int, ...]]:
    """The trajectory with the part after the turn mirrored, where the anatomy asks for it clearly.

    Where neither is like what true trajectories show, the turn itself may go the wrong way: then places where the
    probe hardly moved before it are tried, for the turn alone and for all that comes after.
    """
    last = int(anatomy.frames[apart.after[0]])

    def alike(*places: int) -> float:
        return overlap(flip(T, *places), anatomy, apart).similarity

    here, turned = alike(), alike(last)
    best: tuple[float, tuple[int, ...]] = max((here + CLEARLY, ()), (turned, (last,)))
    if max(here, turned) < DOUBTFUL:
        early, late = (int(anatomy.frames[rows[len(rows) // 2]]) for rows in (apart.before, apart.after))
        end = still_places(T, last, late)[:1]
        for t in still_places(T, early, last):
            best = max(best, (alike(t), (t,)), (alike(t, *end), (t, *end)))
    return flip(T, *best[1]), best[1]


def settled(T: Array, factors: Factors, anatomy: Anatomy, apart: Sides) -> tuple[Array, tuple[int, ...]]:
    """The trajectory with those mirrors that speckle leaves open and that the anatomy asks for.

    A stroke that shows no place that was seen before has a sign that hardly costs; bones and fasciae tell it. Of
    mirrors that make the anatomy about as much more alike, the one that speckle minds least comes first.
    """
    mirrored: tuple[int, ...] = ()
    for _ in range(OPEN_ROUNDS):
        here, cost = overlap(T, anatomy, apart).similarity, total_cost(T, factors)
        options = [(change, overlap(flip(T, *frames), anatomy, apart).similarity - here, frames)
                   for change, frames in chain.from_iterable(proposals(T, factors)) if change < STANDING]
        most = max((more for _, more, _ in options), default=0.0)
        for _, _, frames in sorted(o for o in options if o[1] >= max(TELLS, most - TELLS))[:TRIED]:
            trial = solve(drawn(flip(T, *frames), factors), factors, ITERATIONS)
            if total_cost(trial, factors) <= cost + OPEN:
                T, mirrored = trial, mirrored + frames
                break
        else:
            break
    return T, mirrored


def still_places(T: Array, start: int, stop: int) -> list[int]:
    """Up to `PLACES` frames of start..stop-1 where a trajectory [N, 4, 4] hardly moves out of its plane, the stillest
    first."""
    step = se3.log(se3.steps(T))[:, 2:5] * np.array([1, *2 * [ARM_MM]])
    pace = gaussian_filter1d(np.linalg.norm(step, axis=1), 3)
    return spaced((start + np.argsort(pace[start:stop], kind="stable")).tolist(), PLACES_APART, PLACES)


def self_calibrate(T: Array, factors: Factors, anatomy: Anatomy) -> Calibrated:
    """Draw the anatomy seen before and after the turn together; as given, where that is not seen to succeed.

    Parameters
    ----------
    T : [N, 4, 4] solved poses.   factors : of the solve; a few cells do.
    """
    apart = sides(T, anatomy.frames)
    if apart is None:
        return Calibrated(T)
    first = overlap(T, anatomy, apart).similarity
    X, mirrored = right_handed(T, anatomy, apart)
    X, opened = settled(X, factors, anatomy, apart)
    tilt, yaw = stretch(X, anatomy, apart)
    X = stretched(X, tilt, yaw)
    found = Calibrated(X, gain=1 / yaw)
    for width in WIDTHS:
        seen = [both for pair in apart.pairs if (both := overlap(X, anatomy, pair, width)).enough]
        if not seen:
            return Calibrated(T)
        found = replace(found, crossings=joined([crossings(X, both, width) for both in seen]))
        X = solve(X, found.applied(factors), ITERATIONS)
    last = overlap(X, anatomy, apart).similarity
    if last <= first:
        return Calibrated(T)
    return replace(found, T=X, similarity=(first, last), mirrored=mirrored + opened)
