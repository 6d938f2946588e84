"""In-plane motion of frame pairs: block matching by normalised cross-correlation and a robust rigid fit.

A frame pair (i, j) gives the planar motion (x, y, roll) that maps image mm of frame j to image mm of frame i,
about the centre of the probe face, with its covariance (METHOD.md, section 2).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numba
import numpy as np
from numpy.typing import NDArray

from ..frames import warp
from ..frames.features import FloatImage, GreyFeatures, shrink
from ..frames.working_images import WorkingImages, threads
from ..kernels import cpu
from ..probe.field import ProbeGeometry
from .planar_motions import chained, se2_exp, se2_log

Array = NDArray[np.float64]

COARSE = 4           # px of the full image per px of the coarse level
BLOCK_MM = 7.0       # about 32 px of a TUS-REC image: some hundred speckles
COARSE_BLOCK_MM = 14.0
COARSE_MEAN_MM = 8.4  # what is smoother takes no part at the coarse level
AGREEMENT_PX = 0.5   # largest disagreement of forward and backward matches
MIN_NCC = 0.15
MIN_BLOCKS = 8
ENOUGH_BLOCKS = 80
CLEAR = 0.6          # share of a block that must not be static
SAME = 1e-3          # share of pixels that differ, below which a picture was shown twice
LAGS = (1, 2, 4, 8)  # frames: neighbours are clearest, and pulled most towards no motion by what does not move
SHORT = 300          # frames of a scan, up to which all pairs are matched; of longer ones as `ends_of` says


@dataclass(frozen=True)
class PlanarMotion:
    """Planar motion of frame pairs.

    Attributes
    ----------
    i, j : int64 [M], frames of each pair.
    twist : float64 [M, 3], (x mm, y mm, roll rad) of frame j in frame i, about the centre of the probe face.
    covariance : float64 [M, 3, 3].
    ncc : float64 [M], median correlation of the blocks used.
    share : float64 [M], share of the blocks that agree with the rigid fit.
    """

    i: NDArray[np.int64]
    j: NDArray[np.int64]
    twist: Array
    covariance: Array
    ncc: Array
    share: Array

    def joined(self, other: "PlanarMotion") -> "PlanarMotion":
        """These pairs and those of `other`."""
        return PlanarMotion(*(np.concatenate(pair) for pair in zip(vars(self).values(), vars(other).values(),
                                                                    strict=True)))


def same_picture(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> bool:
    """Whether two frames are one picture that was shown twice."""
    return bool(np.mean(a != b) < SAME)


def subpixel_peak(surfaces: NDArray[np.float32]) -> tuple[Array, Array, Array]:
    """Sub-pixel peaks of correlation surfaces.

    A parabola through the logarithm of three samples an axis (exact for a Gaussian peak; METHOD.md (2.4)). On
    simulated speckle its bias is at most 0.025 px within +-0.5 px of the peak, odd in the offset, and below 0.005 px
    at the peak itself, where the warp of the last iteration puts it (tests/test_inplane.py). Lines coarser than
    pixels add a bias of their own towards no motion: up to 0.07 px laterally at 0.3 mm between lines.

    Parameters
    ----------
    surfaces : float32 [B, K, K], K odd.

    Returns
    -------
    shift : [B, 2] row and column shift in px, NaN where the largest sample lies on the border.
    curvature : [B, 2] of -log ncc at the peak, per px^2.
    ncc : [B] largest sample.
    """
    shift, curvature = np.empty((len(surfaces), 2)), np.empty((len(surfaces), 2))
    peak = np.empty(len(surfaces))
    _subpixel_peak(surfaces, shift, curvature, peak)
    return shift, curvature, peak


@numba.njit(nogil=True, cache=True)
def _subpixel_peak(surfaces, shift, curvature, peak):
    K = surfaces.shape[1]
    for b in range(len(surfaces)):
        r, c = 0, 0
        for m in range(K):
            for n in range(K):
                if surfaces[b, m, n] > surfaces[b, r, c]:
                    r, c = m, n
        peak[b] = surfaces[b, r, c]
        inside = 0 < r < K - 1 and 0 < c < K - 1 and peak[b] > 0
        base = min(max(r, 1), K - 2), min(max(c, 1), K - 2)
        middle = _log(surfaces[b, base[0], base[1]])
        for axis in range(2):
            before = _log(surfaces[b, base[0] - (axis == 0), base[1] - (axis == 1)])
            after = _log(surfaces[b, base[0] + (axis == 0), base[1] + (axis == 1)])
            bend = min(before + after - 2 * middle, -1e-3)
            shift[b, axis] = base[axis] + 0.5 * (before - after) / bend - (K - 1) / 2 if inside else np.nan
            curvature[b, axis] = -bend


@numba.njit(nogil=True, cache=True)
def _log(value):
    return np.log(max(float(value), 1e-2))


def rigid_fit(points: Array, moved: Array, weights: Array, iterations: int = 8) -> tuple[Array, Array, Array]:
    """Robust planar motion that maps `moved` onto `points` (mm).

    Iteratively re-weighted least squares with Cauchy weights; the scale is the weighted median of the
    residuals, so that the covariance follows what the blocks really scatter.

    Parameters
    ----------
    points, moved : [B, 2] mm.  weights : [B, 2], inverse variances of x and y up to one common factor.

    Returns
    -------
    twist [3], covariance [3, 3], inlier [B] bool.
    """
    return _rigid_fit(points, moved, weights, iterations)


@numba.njit(nogil=True, cache=True)
def _rigid_fit(points, moved, weights, iterations):
    B = len(points)
    v, scale2 = np.zeros(3), 1.0
    robust, chi2 = np.ones(B), np.empty(B)
    A, b = np.zeros((3, 3)), np.zeros(3)
    for n in range(iterations):
        A[:] = 0
        b[:] = 0
        for k in range(B):
            x, y = (points[k, 0] + moved[k, 0]) / 2, (points[k, 1] + moved[k, 1]) / 2
            right, down = points[k, 0] - moved[k, 0], points[k, 1] - moved[k, 1]
            wx, wy = weights[k, 0] * robust[k], weights[k, 1] * robust[k]
            A[0, 0] += wx
            A[1, 1] += wy
            A[2, 2] += wx * y * y + wy * x * x
            A[0, 2] -= wx * y
            A[1, 2] += wy * x
            b[0] += wx * right
            b[1] += wy * down
            b[2] += wy * x * down - wx * y * right
        A[2, 0], A[2, 1] = A[0, 2], A[1, 2]
        for k in range(3):
            A[k, k] += 1e-12
        v[:] = np.linalg.solve(A, b)
        for k in range(B):
            x, y = (points[k, 0] + moved[k, 0]) / 2, (points[k, 1] + moved[k, 1]) / 2
            right = points[k, 0] - moved[k, 0] - v[0] + y * v[2]
            down = points[k, 1] - moved[k, 1] - v[1] - x * v[2]
            chi2[k] = (weights[k, 0] * right * right + weights[k, 1] * down * down) / 2
        scale2 = max(np.median(chi2) / 0.69, 1e-12)       # median of chi^2_2 / 2 is ln 2
        if n < iterations - 1:
            robust[:] = 1 / (1 + chi2 / (4 * scale2))
    return v, np.linalg.inv(A) * scale2, chi2 < 9 * scale2


class Matcher:
    """Block matching on one probe's images.

    Parameters
    ----------
    geometry : field of view.
    block_mm : edge of a block at full resolution.
    """

    def __init__(self, geometry: ProbeGeometry, block_mm: float = BLOCK_MM):
        self.geometry = geometry
        mask, field = geometry.mask(), geometry.field()
        coarse_mask, coarse_field = (shrink(part.astype(np.float32), COARSE) > 0.5 for part in (mask, field))
        across, down = geometry.pixel_mm
        self.features = GreyFeatures(mask, geometry.pixel_mm)
        self.coarse_features = GreyFeatures(coarse_mask, (COARSE * across, COARSE * down), COARSE_MEAN_MM)
        S = geometry.scale
        self.mm_px = geometry.mm_px
        to_full = np.array([[COARSE, 0, (COARSE - 1) / 2], [0, COARSE, (COARSE - 1) / 2], [0, 0, 1.0]])
        pixel = np.sqrt(S[0, 0] * S[1, 1])
        coarse, fine = (round(mm / px) for mm, px in ((COARSE_BLOCK_MM, COARSE * pixel), (block_mm, pixel)))
        self.levels = [
            _Level(self.mm_px @ to_full, _blocks(coarse_field, coarse_mask, coarse, 3), coarse, 3, coarse_mask.shape,
                   cubic=False),
            _Level(self.mm_px, _blocks(field, mask, fine, 2), fine, 2, mask.shape),
            _Level(self.mm_px, _blocks(field, mask, fine, 1), fine, 1, mask.shape)]

    def pyramid(self, frame: NDArray[np.uint8]) -> tuple[FloatImage, FloatImage]:
        """Coarse and full-resolution features of a frame, as `match` takes them."""
        return self.coarse_features(shrink(frame, COARSE)), self.features(frame)

    def match(self, a: tuple, b: tuple, guess: Array) -> tuple[Array, Array, float, float]:
        """Planar twist of frame b in frame a, from pyramids (coarse, full) and a first guess.

        Returns twist [3], covariance [3, 3], median correlation of the blocks used, share of blocks that
        agree. A pair without enough agreeing blocks comes back at the guess with a covariance of 1e2.
        """
        v = np.asarray(guess, dtype=float)
        covariance, ncc, share = np.diag([1e2, 1e2, 1.0]), 0.0, 0.0
        for n, level in enumerate(self.levels):
            step = level.refine(a[min(n, 1)], b[min(n, 1)], v)
            if step is not None:
                v, covariance, ncc, share = step
            elif n == 1:
                break
        return v, covariance, ncc, share


@dataclass
class _Level:
    mm_px: Array
    blocks: tuple[NDArray[np.int64], NDArray[np.int64]]
    size: int
    radius: int
    shape: tuple[int, int]
    cubic: bool = True

    def __post_init__(self):
        self.px_mm = np.linalg.inv(self.mm_px)
        tops, lefts = self.blocks
        middle = (self.size - 1) / 2
        self.centres = np.stack([lefts + middle, tops + middle, np.ones(len(tops))], -1)
        searched = np.zeros(self.shape, bool)
        for top, left in zip(tops - self.radius, lefts - self.radius, strict=True):
            searched[top:top + self.size + 2 * self.radius, left:left + self.size + 2 * self.radius] = True
        self.spans = warp.spans_of(searched)

    def warp(self, image, G):
        M = (self.px_mm @ G @ self.mm_px)[:2]
        if self.cubic:
            return warp.cubic(image, M, self.spans)
        return cv2.warpAffine(image, M, image.shape[::-1], flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)

    def refine(self, a, b, v):
        tops, lefts = self.blocks
        if len(tops) < MIN_BLOCKS:
            return None
        a, b = self.warp(a, se2_exp(v / 2)), self.warp(b, se2_exp(-v / 2))      # METHOD.md (2.2)
        side = 2 * self.radius + 1
        forward = np.empty((len(tops), side, side), np.float32)
        backward = np.empty_like(forward)
        cpu.block_ncc(a, b, tops, lefts, self.size, self.radius, forward)
        cpu.block_ncc(b, a, tops, lefts, self.size, self.radius, backward)
        shift_f, bend, peak = subpixel_peak(forward)
        shift_b, bend_b, peak_b = subpixel_peak(backward)
        with np.errstate(invalid="ignore"):
            good = (np.abs(shift_f + shift_b).max(1) < AGREEMENT_PX) & (np.minimum(peak, peak_b) > MIN_NCC)
        if good.sum() < MIN_BLOCKS:
            return None
        shift = (shift_f - shift_b)[good] / 2
        q = self.centres[good]
        end = q.copy()
        end[:, 0] += shift[:, 1]
        end[:, 1] += shift[:, 0]
        peak = np.clip((peak + peak_b)[good] / 2, 0.05, 0.995)
        # variance of a delay estimate: (1 - rho^2) / (rho^2 curvature), per px^2 (METHOD.md (2.3))
        precision = (bend + bend_b)[good] / 2 * (peak**2 / (1 - peak**2))[:, None]
        mm = np.abs(np.diag(self.mm_px)[:2])
        weights = np.maximum(precision[:, ::-1], 1e-3) / mm**2
        step, covariance, inlier = rigid_fit((q @ self.mm_px.T)[:, :2], (end @ self.mm_px.T)[:, :2], weights)
        half = se2_exp(v / 2)
        return (se2_log(half @ se2_exp(step) @ half), covariance, float(np.median(peak[inlier])),
                float(inlier.sum() / len(tops)))


def _blocks(field, mask, size, radius):
    """First rows and columns of the blocks whose every px, shifts included, lies in the field of view.

    Blocks stand side by side; where that gives few of them they overlap by half. A part of a block may be none of
    `mask`, as static px are.
    """
    rows, columns = field.shape
    filled, clear = (cv2.integral(part.astype(np.uint8)) for part in (field, mask))
    for stride in (size, max(size // 2, 1)):
        grid = np.meshgrid(np.arange(radius, rows - size - radius + 1, stride),
                                  np.arange(radius, columns - size - radius + 1, stride), indexing="ij")
        tops, lefts = (g.ravel() for g in grid)
        t, lo = tops - radius, lefts - radius
        b, r = tops + size + radius, lefts + size + radius
        share, told = ((n[b, r] - n[t, r] - n[b, lo] + n[t, lo]) / (size + 2 * radius) ** 2 for n in (filled, clear))
        keep = (share > 0.9) & (told > CLEAR)
        if keep.sum() >= ENOUGH_BLOCKS:
            break
    return tops[keep].astype(np.int64), lefts[keep].astype(np.int64)


def ends_of(lag: int, start: int, stop: int, n_frames: int) -> NDArray[np.int64]:
    """Last frames, start..stop - 1, of the pairs at a lag that are matched in a scan: one in lag / 2 of a long one."""
    j = np.arange(max(start, lag), stop)
    return j[j % max(1, lag // 2) == 0] if n_frames > SHORT else j


def half_of(lag: int, lags: Sequence[int]) -> int:
    """Lag of the matches that are added up to where the search at a lag starts: half of it, else that of neighbours.

    Neighbours that share nothing but what does not move (noise behind a filter over time, haze) see no motion, and a
    search that starts there finds none.
    """
    return lag // 2 if lag % 2 == 0 and lag // 2 in lags else 1


def planar_motion(images: WorkingImages, *, lags: Sequence[int] = LAGS, jobs: int = 0,
                  progress: Callable[[int, int], None] | None = None) -> tuple[PlanarMotion, NDArray[np.bool_]]:
    """Planar motion of pairs (j - lag, j) of a scan, see `ends_of`.

    Returns
    -------
    PlanarMotion
    duplicate : bool [N], frames that repeat the one before (a frozen or re-sent image).
    """
    matcher = Matcher(images.geometry)
    n = images.scan.n_frames
    duplicate = np.zeros(n, bool)
    rows: list[tuple] = []
    kept: dict[int, tuple] = {}
    frames: dict[int, NDArray[np.uint8]] = {}
    found: dict[tuple[int, int], Array] = {}

    def one(i: int, j: int) -> tuple:
        half = half_of(j - i, lags)
        guess = chained(found[k - half, k] for k in range(i + half, j + 1, half)) if j - i > 1 else np.zeros(3)
        return i, j, *matcher.match(kept[i], kept[j], guess)

    with threads(jobs) as pool:
        for start, block in images.blocks():
            for k, pyramid in enumerate(pool.map(matcher.pyramid, block), start):
                kept[k], frames[k] = pyramid, block[k - start]
                if k:
                    duplicate[k] = same_picture(frames[k], frames[k - 1])
            for lag in sorted(lags):
                js = ends_of(lag, start, start + len(block), n).tolist()
                for row in pool.map(lambda j, lag=lag: one(j - lag, j), js):
                    rows.append(row)
                    found[row[0], row[1]] = row[2]
            for k in [k for k in kept if k < start + len(block) - max(lags)]:
                del kept[k], frames[k]
            if progress:
                progress(start + len(block), n)
    rows = [row for row in rows if not (duplicate[row[0]] or duplicate[row[1]])]
    i, j, twist, covariance, ncc, share = (np.array(a) for a in zip(*rows, strict=True)) if rows else _NO_PAIRS
    return PlanarMotion(i, j, twist, covariance, ncc, share), duplicate


_NO_PAIRS = (np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros((0, 3)), np.zeros((0, 3, 3)), np.zeros(0),
             np.zeros(0))
