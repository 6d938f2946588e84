"""Revisits: frames far apart in time that show the same place, found without poses.

METHOD.md, section 8. Every few frames a small high-passed image is moved by the planar chain to where the first
frame was; one matrix product compares all pairs; peaks are verified by block matching at full resolution and enter
the trajectory as cell correlations, like any other pair.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from ..frames.features import GREY_PER_NEPER, AmplitudeFeatures, FloatImage, GreyFeatures, shrink
from ..frames.working_images import WorkingImages, threads
from ..probe.field import Cells, ProbeGeometry
from .block_matching import _NO_PAIRS, Matcher, PlanarMotion
from .correlation import Correlations, Correlator
from .planar_motions import chain_poses, se2_log

Array = NDArray[np.float64]

STRIDE = 4                # frames between those that are compared: a third of a beam's width at usual speeds
LONG = 2500               # frames, beyond which fewer are compared
GAP = 40                  # frames: nearer ones are tied by the correlations of neighbours
THUMBNAIL_MM = 0.6        # pixels of a thumbnail: below the width of speckle across the beam
SHIFT_MM = 1.2            # between the shifts that are tried: half of it costs less than half the similarity
MOST_SHIFT_MM = 4.8       # that the planar chain drifts by while the probe turns out of the plane
ROWS_AT_ONCE = 128        # thumbnails that a thread compares with all others
MIN_SIMILARITY = 0.10     # of two thumbnails
FEATURES_KEPT = 48        # frames whose features are kept: those that revisit neighbours are neighbours
MOST_EACH = 2             # loops of a frame with later ones, and with earlier ones
MIN_SHARE = 0.18          # of the blocks, that agree with the rigid fit
MIN_CORRELATION = 0.15    # mean over the cells: blocks also agree on layers that look alike, at .04 to .14


@dataclass(frozen=True)
class Loops:
    """Frame pairs that see the same place.

    Attributes
    ----------
    planar : verified planar motion of each pair.   speckle : cell correlations at that alignment.
    candidates : number of pairs that were tried.
    """

    planar: PlanarMotion
    speckle: Correlations
    candidates: int = 0

    def __len__(self) -> int:
        return len(self.planar.i)


NO_LOOPS = Loops(PlanarMotion(*_NO_PAIRS), Correlations(*_NO_PAIRS[:2], np.zeros((0, 0), np.float32)))


def thinning(n_frames: int) -> int:
    """How many times fewer frames of a long scan are compared, so that pairs grow no faster than frames."""
    return max(1, round((n_frames / LONG) ** 0.5))


def stride_of(n_frames: int) -> int:
    """Frames between those of a scan that are compared: a multiple of `STRIDE`."""
    return STRIDE * thinning(n_frames)


def thumbnail_grid(geometry: ProbeGeometry, pixel_mm: float = THUMBNAIL_MM) -> tuple[int, Array, NDArray[np.bool_]]:
    """Px of the working image per px of a thumbnail, thumbnail px -> mm about the face [3, 3], and field of view."""
    S = geometry.scale
    factor = max(1, round(pixel_mm / float(np.sqrt(S[0, 0] * S[1, 1]))))
    mm_px = geometry.mm_px @ np.array([[factor, 0, (factor - 1) / 2], [0, factor, (factor - 1) / 2], [0, 0, 1.0]])
    return factor, mm_px, shrink(geometry.mask().astype(np.float32), factor) > 0.5


def thumbnail_shifts(geometry: ProbeGeometry) -> tuple[list[tuple[int, int]], Array]:
    """Shifts (down, right) of thumbnails in px that are tried, and as planar poses [S, 3, 3] in mm."""
    _, mm_px, _ = thumbnail_grid(geometry)
    apart = np.maximum(np.round(SHIFT_MM / np.diag(mm_px)[:2]), 1).astype(int)
    steps = np.arange(-int(MOST_SHIFT_MM / SHIFT_MM), int(MOST_SHIFT_MM / SHIFT_MM) + 1)
    shifts = [(int(down), int(right)) for down in steps * apart[1] for right in steps * apart[0]]
    drifts = np.tile(np.eye(3), (len(shifts), 1, 1))
    drifts[:, :2, 2] = np.array(shifts)[:, ::-1] * np.diag(mm_px)[:2]
    return shifts, drifts


def thumbnails(frames: list[NDArray[np.uint8]], chain: Array, geometry, *, pixel_mm: float = THUMBNAIL_MM,
               jobs: int = 0) -> FloatImage:
    """Small high-passed images [K, rows, columns] moved to where the first frame was; each of unit norm.

    Parameters
    ----------
    frames : working images.   chain : [K, 3, 3] planar pose of each, mm about the face's centre.
    """
    factor, mm_px, mask = thumbnail_grid(geometry, pixel_mm)
    px_mm = np.linalg.inv(mm_px)
    features = GreyFeatures(mask, (mm_px[0, 0], mm_px[1, 1]))

    def one(frame: NDArray[np.uint8], pose: Array) -> FloatImage:
        image = features(shrink(frame, factor))
        M = (px_mm @ np.linalg.inv(pose) @ mm_px)[:2]
        image = cv2.warpAffine(image, M, image.shape[::-1], flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
        return image / max(float(np.linalg.norm(image)), 1e-6)

    with threads(jobs) as pool:
        return np.stack(list(pool.map(one, frames, chain)))


def shifted_parts(shift: tuple[int, int]) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Where a shifted stack of images goes, and what of it: indices of [K, rows, columns]."""
    to, source = ((slice(None), *(slice(max(m, 0), min(m, 0) or None) for m in way))
                  for way in (shift, (-shift[0], -shift[1])))
    return to, source


def similarity(images: FloatImage, shifts: list[tuple[int, int]] | None = None, jobs: int = 0
               ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Largest correlation of every pair of thumbnails over shifts of the second, one matrix product each.

    Parameters
    ----------
    images : [K, rows, columns] of unit norm.
    shifts : (down, right) in pixels; no shift by default. Where each one's opposite is as far from the end as it is
        from the beginning, half of the products tell the rest.
    jobs : threads that share the rows.

    Returns
    -------
    alike : [K, K].   best : [K, K], row of `shifts`.
    """
    K, rows, columns = images.shape
    shifts = shifts or [(0, 0)]
    # Side by side with room for the shifts between rows, so that to shift all is to begin elsewhere.
    down, right = np.abs(shifts).max(0)
    wide = columns + right
    room, size = down * wide + right, rows * wide
    spaced = np.zeros((K, room + size + room), np.float32)
    spaced[:, room:room + size].reshape(K, rows, wide)[..., :columns] = images
    lit = room + np.flatnonzero(spaced[:, room:room + size].any(0))     # where no image shows anything nothing adds up
    flat = spaced[:, lit]
    alike = np.full((K, K), -1, np.float32)
    best = np.zeros(alike.shape, np.int64)
    half = shifts == [(-down, -right) for down, right in reversed(shifts)]

    def compare(first: int, other: FloatImage, n: int) -> None:
        part = slice(first, first + ROWS_AT_ONCE), slice(first if half else 0, None)
        now = flat[part[0]] @ other[part[1]].T
        better = now > alike[part]
        np.copyto(alike[part], now, where=better)
        np.copyto(best[part], n, where=better)

    with threads(jobs) as pool:
        for n, shift in enumerate(shifts):
            other = spaced[:, lit - shift[0] * wide - shift[1]]
            list(pool.map(lambda first, other=other, n=n: compare(first, other, n), range(0, K, ROWS_AT_ONCE)))
    if half:        # to shift the one is to shift the other back
        earlier = np.tril_indices(len(images), -1)
        alike[earlier], best[earlier] = alike.T[earlier], len(shifts) - 1 - best.T[earlier]
    return alike, best


def mean_correlation(rho: NDArray[np.floating]) -> NDArray[np.floating]:
    """Mean over the cells [..., P] that tell one; 0 where none does."""
    told = np.isfinite(rho)
    return rho.sum(-1, where=told) / np.maximum(told.sum(-1), 1)


def peaks(alike: NDArray[np.float32], gap: int, least: float = MIN_SIMILARITY,
          most_each: int = MOST_EACH) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pairs (a, b), b - a >= gap, where similarity is a maximum along b or along a.

    Of each image the `most_each` highest maxima among later ones count, and as many among earlier ones.
    """
    K = len(alike)
    far = np.abs(np.arange(K) - np.arange(K)[:, None]) >= gap
    level = np.where(far & (alike >= least), alike, -1)
    padded = np.pad(level, ((0, 0), (1, 1)), constant_values=-1)
    height = np.where((level > 0) & (level >= padded[:, :-2]) & (level > padded[:, 2:]), level, -1)
    later = np.arange(K) > np.arange(K)[:, None]
    pairs = np.zeros((K, K), bool)
    for side in (later, ~later):
        order = np.argsort(-np.where(side, height, -1), axis=1, kind="stable")[:, :most_each]
        chosen = np.zeros((K, K), bool)
        np.put_along_axis(chosen, order, True, axis=1)
        chosen &= side & (height > 0)
        pairs |= chosen | chosen.T
    a, b = np.nonzero(pairs & later)
    return a, b


def find_loops(images: WorkingImages, cells: Cells, planar_step: Array, skip: NDArray[np.bool_], *,
               stride: int | None = None, gap: int = GAP, jobs: int = 0,
               progress: Callable[[int, int], None] | None = None) -> Loops:
    """Find and measure the revisits of a scan.

    Parameters
    ----------
    planar_step : [N, 3] planar twist into each frame.   skip : bool [N], frames left out.
    stride : frames between those that are compared; see `stride_of`.
    """
    chain = chain_poses(planar_step)
    stride = stride or stride_of(len(chain))
    at = np.array([k for k in range(0, len(chain), stride) if not skip[k]], np.int64)
    frames = [frame.copy() for start, block in images.blocks()      # a part of a block would keep all of it
              for k, frame in enumerate(block, start) if k % stride == 0 and not skip[k]]
    shifts, drifts = thumbnail_shifts(images.geometry)
    alike, shifted = similarity(thumbnails(frames, chain[at], images.geometry, jobs=jobs), shifts, jobs)
    a, b = peaks(alike, -(-gap // stride))
    matcher = Matcher(images.geometry)
    geometry = images.geometry
    correlator = Correlator(geometry, cells, AmplitudeFeatures(geometry.mask(), geometry.pixel_mm, GREY_PER_NEPER))

    pyramid = lru_cache(FEATURES_KEPT)(lambda row: matcher.pyramid(frames[row]))
    features = lru_cache(FEATURES_KEPT)(lambda row: correlator.features(frames[row]))

    def verify(row: int) -> list[tuple]:
        """Pairs of one earlier frame with all that revisit it."""
        out = []
        for other in b[a == row]:
            guess = se2_log(np.linalg.solve(chain[at[row]], drifts[shifted[row, other]] @ chain[at[other]]))
            twist, covariance, ncc, share = matcher.match(pyramid(row), pyramid(other), guess)
            if share >= MIN_SHARE:
                rho = correlator.pair(features(row), features(other), twist)
                if mean_correlation(rho) >= MIN_CORRELATION:
                    out.append((at[row], at[other], twist, covariance, ncc, share, rho))
        return out

    found: list[tuple] = []
    rows = np.unique(a)
    with threads(jobs) as pool:
        for done, some in enumerate(pool.map(verify, rows), 1):
            found += some
            if progress:
                progress(done, len(rows))
    if not found:
        return NO_LOOPS
    i, j, twist, covariance, ncc, share, rho = (np.array(x) for x in zip(*found, strict=True))
    speckle = Correlations(i, j, rho, correlator.turns(twist))
    return Loops(PlanarMotion(i, j, twist, covariance, ncc, share), speckle, len(a))
