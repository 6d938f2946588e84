"""Block matching of many frame pairs at once: twin of `block_matching.Matcher` and `block_matching.planar_motion`."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...compute.device import to_host
from ...frames.features import GREY_CLIP
from ...kernels import gpu, gpu_images
from ...kernels.launch import xp_of
from ...probe.field import ProbeGeometry
from ..block_matching import (
    _NO_PAIRS,
    AGREEMENT_PX,
    COARSE,
    LAGS,
    MIN_BLOCKS,
    MIN_NCC,
    SAME,
    Matcher,
    PlanarMotion,
    ends_of,
    half_of,
)
from ..planar_motions import se2_exps, se2_logs
from .frames import Batches, DeviceFrames

Array = NDArray[Any]
Ints = NDArray[np.int64]


def masked_median(values: Any, keep: Any) -> Any:
    """Median [M] over the values [M, B] that `keep` marks; infinite where there are none."""
    xp = xp_of(values)
    ordered = xp.sort(xp.where(keep, values, np.inf), axis=1)
    count = keep.sum(1)
    both = xp.stack([xp.maximum(count - 1, 0) // 2, count // 2], 1)
    return xp.take_along_axis(ordered, xp.minimum(both, values.shape[1] - 1), axis=1).mean(1)


def rigid_fits(points: Any, moved: Any, weights: Any, keep: Any, iterations: int = 8) -> tuple[Any, Any, Any]:
    """Robust planar motions that map `moved` onto `points`, a fit a pair; see `block_matching.rigid_fit`.

    Parameters
    ----------
    points : [B, 2] mm.   moved, weights : [M, B, 2].   keep : bool [M, B], blocks that count.

    Returns
    -------
    twist [M, 3], covariance [M, 3, 3], inlier bool [M, B].
    """
    xp = xp_of(moved)
    moved = xp.where(keep[..., None], moved, points)
    weights = xp.where(keep[..., None], weights, 0.0)
    delta, centre = points - moved, (points + moved) / 2
    J = xp.zeros((*moved.shape, 3))
    J[..., 0, 0] = J[..., 1, 1] = 1
    J[..., 0, 2], J[..., 1, 2] = -centre[..., 1], centre[..., 0]
    rows = J.reshape(len(J), -1, 3)
    robust = xp.ones(keep.shape)
    for n in range(iterations):
        weighed = rows * (weights * robust[..., None]).reshape(len(J), -1, 1)
        A = weighed.transpose(0, 2, 1) @ rows + 1e-12 * xp.eye(3)
        right = weighed.transpose(0, 2, 1) @ delta.reshape(len(J), -1, 1)
        inverse = xp.linalg.inv(A)
        v = inverse @ right                                                             # METHOD.md (2.5)
        residual = delta - (rows @ v).reshape(delta.shape)
        chi2 = (weights * residual**2).sum(2) / 2
        scale2 = xp.clip(masked_median(chi2, keep) / 0.69, 1e-12, 1e12)[:, None]        # as in `rigid_fit`
        if n < iterations - 1:
            robust = 1 / (1 + chi2 / (4 * scale2))
    return v[..., 0], inverse * scale2[..., None], keep & (chi2 < 9 * scale2)


class BatchMatcher:
    """`block_matching.Matcher` for many pairs at once.

    Parameters
    ----------
    geometry : field of view.   xp : array module.
    """

    def __init__(self, geometry: ProbeGeometry, xp: Any, batches: Batches | None = None):
        self.matcher, self.xp = Matcher(geometry), xp
        self.batches = batches or Batches(xp)
        both = self.matcher.coarse_features, self.matcher.features
        self.coarse, self.fine = (gpu_images.GreyFeatures(xp.asarray(f.local_mean.mask), f.local_mean.widths, GREY_CLIP)
                                  for f in both)
        self.levels = [_Level(level, xp) for level in self.matcher.levels]

    def pyramids(self, frames: Any) -> tuple[Any, Any]:
        """Coarse and full-resolution features, float32 [n, ...], of uint8 [n, H, W] on the device."""
        return self.coarse(gpu_images.shrink(frames, COARSE)), self.fine(frames)

    def match(self, pyramids: tuple[Any, Any], i: Ints, j: Ints, guess: Array) -> tuple[Array, Array, Array, Array]:
        """Planar twists of images j in images i (rows of the pyramids) from first guesses [M, 3].

        Returns twist [M, 3], covariance [M, 3, 3], ncc [M] and share [M] on the host, as `Matcher.match` does for
        each pair.
        """
        parts = self.batches.run(lambda rows: self._match(pyramids, i[rows], j[rows], guess[rows]), len(i))
        if not parts:
            return np.zeros((0, 3)), np.zeros((0, 3, 3)), np.zeros(0), np.zeros(0)
        twist, covariance, ncc, share = (np.concatenate(part) for part in zip(*parts, strict=True))
        return twist, covariance, ncc, share

    def _match(self, pyramids: tuple[Any, Any], i: Ints, j: Ints, guess: Array) -> tuple:
        v = np.array(guess, float)
        covariance = np.tile(np.diag([1e2, 1e2, 1.0]), (len(v), 1, 1))
        ncc, share = np.zeros((2, len(v)))
        at = np.arange(len(v))                  # pairs that go on to the next level
        for n, level in enumerate(self.levels):
            done, step, spread, peak, part = level.refine(pyramids[min(n, 1)], i[at], j[at], v[at])
            on = at[done]
            v[on], covariance[on], ncc[on], share[on] = step[done], spread[done], peak[done], part[done]
            if n == 1:
                at = on
        return v, covariance, ncc, share


class _Level:
    """One level of a pyramid, see `block_matching`."""

    def __init__(self, level: Any, xp: Any):
        self.level, self.xp = level, xp
        self.tops, self.lefts = (xp.asarray(edge) for edge in level.blocks)
        self.centres = xp.asarray(level.centres)
        self.points = xp.asarray((level.centres @ level.mm_px.T)[:, :2])
        self.mm = xp.asarray(np.diag(level.mm_px)[:2])
        self.cubic = level.cubic

    def _warped(self, images: Any, pick: Ints, v: Array) -> Any:
        maps = (self.level.px_mm @ se2_exps(v) @ self.level.mm_px)[:, :2]
        return gpu_images.warp(images, self.xp.asarray(pick), self.xp.asarray(np.ascontiguousarray(maps)), self.cubic)

    def refine(self, images: Any, i: Ints, j: Ints, v: Array) -> tuple:
        """done bool [M], and where it is: twist [M, 3], covariance [M, 3, 3], ncc [M], share [M]; on the host."""
        xp, count = self.xp, len(self.level.centres)
        if count < MIN_BLOCKS or not len(v):
            return (np.zeros(len(v), bool), *(np.zeros((len(v), *tail)) for tail in ((3,), (3, 3), (), ())))
        a, b = self._warped(images, i, v / 2), self._warped(images, j, -v / 2)          # METHOD.md (2.2)
        side = 2 * self.level.radius + 1
        surfaces = xp.empty((2, len(v), count, side, side), np.float32)
        for first, second, out in ((a, b, surfaces[0]), (b, a, surfaces[1])):
            gpu.block_ncc(first, second, self.tops, self.lefts, self.level.size, self.level.radius, out)
        (shift_f, shift_b), (bend_f, bend_b), (peak_f, peak_b) = gpu.subpixel_peak(surfaces)
        agree = xp.abs(shift_f + shift_b).max(2) < AGREEMENT_PX
        good = agree & (xp.minimum(peak_f, peak_b) > MIN_NCC)
        shift = (shift_f - shift_b) / 2
        peak = xp.clip((peak_f + peak_b) / 2, 0.05, 0.995)
        precision = (bend_f + bend_b) / 2 * (peak**2 / (1 - peak**2))[..., None]        # METHOD.md (2.3)
        weights = xp.maximum(precision[..., ::-1], 1e-3) / self.mm**2
        step, covariance, inlier = rigid_fits(self.points, self.points + shift[..., ::-1] * self.mm, weights, good)
        found = [(good.sum(1) >= MIN_BLOCKS).astype(float), masked_median(peak, inlier), inlier.sum(1) / count]
        small = to_host(xp.concatenate([xp.stack(found, 1), step, covariance.reshape(-1, 9)], 1))
        half = se2_exps(v / 2)
        done = small[:, 0] > 0
        return (done, se2_logs(half @ se2_exps(small[:, 3:6]) @ half), small[:, 6:].reshape(-1, 3, 3), small[:, 1],
                small[:, 2])


def planar_motion(frames: DeviceFrames, *, lags: Sequence[int] = LAGS, batches: Batches | None = None,
                  progress: Callable[[int, int], None] | None = None) -> tuple[PlanarMotion, NDArray[np.bool_]]:
    """Planar motion of pairs (j - lag, j) of a scan, and its repeated frames: twin of that of `block_matching`."""
    xp, n = frames.xp, len(frames.data)
    matcher = BatchMatcher(frames.images.geometry, xp, batches)
    duplicate = np.zeros(n, bool)
    steps = {lag: np.tile(np.eye(3), (n, 1, 1)) for lag in lags}
    rows: list[tuple] = []
    kept: tuple[Any, Any] | None = None
    for start, block in frames.blocks():
        stop = start + len(block)
        before = max(start - 1, 0)
        changed = (frames.data[before + 1 : stop] != frames.data[before : stop - 1]).mean((1, 2))
        duplicate[before + 1 : stop] = to_host(changed) < SAME
        new = matcher.pyramids(block)
        low = max(start - max(lags), 0)         # frame of the first row of `kept`
        kept = new if kept is None else tuple(xp.concatenate([old[low - start :], more])  # type: ignore[assignment]
                                              for old, more in zip(kept, new, strict=True))
        for lag in sorted(lags):
            j = ends_of(lag, start, stop, n)
            if not len(j):
                continue
            guess = np.tile(np.eye(3), (len(j), 1, 1))
            half = half_of(lag, lags)
            for k in range(half, lag + 1 if lag > 1 else 0, half):
                guess = guess @ steps[half][j - lag + k]
            assert kept is not None
            found = matcher.match(kept, j - lag - low, j - low, se2_logs(guess))
            rows.append((j - lag, j, *found))
            steps[lag][j] = se2_exps(found[0])
        if progress:
            progress(stop, n)
    every: Any = [np.concatenate(part) for part in zip(*rows, strict=True)] if rows else _NO_PAIRS
    moves = ~(duplicate[every[0]] | duplicate[every[1]])
    return PlanarMotion(*(part[moves] for part in every)), duplicate
