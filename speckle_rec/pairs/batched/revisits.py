"""Revisits found and measured on a device: twin of `revisit.find_loops`."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...compute.device import to_host
from ...frames.features import GREY_CLIP, GreyFeatures
from ...frames.working_images import BLOCK
from ...kernels import gpu, gpu_images
from ...probe.field import Cells, ProbeGeometry
from ..block_matching import PlanarMotion
from ..correlation import Correlations
from ..loop_closures import (
    GAP,
    MIN_CORRELATION,
    MIN_SHARE,
    NO_LOOPS,
    Loops,
    mean_correlation,
    peaks,
    shifted_parts,
    stride_of,
    thumbnail_grid,
    thumbnail_shifts,
)
from ..planar_motions import chain_poses, se2_exps, se2_logs
from .correlation import BatchCorrelator
from .frames import Batches, DeviceFrames
from .matching import BatchMatcher

Array = NDArray[Any]
Ints = NDArray[np.int64]


def thumbnails(frames: Any, chain: Array, geometry: ProbeGeometry, xp: Any) -> Any:
    """Small high-passed images of uint8 [K, H, W], moved to where the first frame was; see `revisit.thumbnails`."""
    factor, mm_px, mask = thumbnail_grid(geometry)
    twin = GreyFeatures(mask, (mm_px[0, 0], mm_px[1, 1]))
    features = gpu_images.GreyFeatures(xp.asarray(mask), twin.local_mean.widths, GREY_CLIP)
    maps = np.ascontiguousarray((np.linalg.inv(mm_px) @ np.linalg.inv(chain) @ mm_px)[:, :2])
    small = features(gpu_images.shrink(frames, factor))
    moved = gpu_images.warp(small, xp.arange(len(maps)), xp.asarray(maps), False)
    norm = xp.sqrt((moved**2).sum((1, 2), keepdims=True))
    return moved / xp.maximum(norm, np.float32(1e-6))


def find_loops(frames: DeviceFrames, cells: Cells, planar_step: Array, skip: NDArray[np.bool_], *,
               stride: int | None = None, gap: int = GAP, batches: Batches | None = None,
               progress: Callable[[int, int], None] | None = None) -> Loops:
    """Find and measure the revisits of a scan; see `revisit.find_loops`."""
    xp, geometry = frames.xp, frames.images.geometry
    batches = Batches(xp, min((batches or Batches(xp)).at_once, BLOCK // 2))     # a pair has two frames of its own
    chain = chain_poses(planar_step)
    stride = stride or stride_of(len(chain))
    at = np.array([k for k in range(0, len(chain), stride) if not skip[k]], np.int64)
    if not len(at):
        return NO_LOOPS
    small = xp.concatenate([thumbnails(frames.pick(part), chain[part], geometry, xp)
                            for part in np.array_split(at, -(-len(at) // BLOCK))])
    shifts, drifts = thumbnail_shifts(geometry)
    alike, shifted = (to_host(x) for x in gpu.similarity(small, [shifted_parts(shift) for shift in shifts]))
    a, b = peaks(alike, -(-gap // stride))
    del small
    i, j = at[a], at[b]
    guess = se2_logs(np.linalg.solve(chain[i], drifts[shifted[a, b]] @ chain[j]))
    matcher, correlator = BatchMatcher(geometry, xp), BatchCorrelator(geometry, cells, xp)
    done = 0

    def verify(rows: slice) -> tuple:
        """Measure some of the pairs; features of a frame are made once for all of them."""
        nonlocal done
        picked, where = np.unique(np.concatenate([i[rows], j[rows]]), return_inverse=True)
        first, second = np.split(where, 2)
        images = frames.pick(picked)
        found = matcher.match(matcher.pyramids(images), first, second, guess[rows])
        half = found[0] / 2
        rho = correlator.pairs(correlator.features(images), first, second, se2_exps(half), se2_exps(-half))
        done += len(first)
        if progress:
            progress(done, len(i))
        return (*found, rho)

    parts = batches.run(verify, len(i))
    if not parts:
        return NO_LOOPS
    twist, covariance, ncc, share, rho = (np.concatenate(part) for part in zip(*parts, strict=True))
    kept = (share >= MIN_SHARE) & (mean_correlation(rho) >= MIN_CORRELATION)
    if not kept.any():
        return NO_LOOPS
    planar = PlanarMotion(i[kept], j[kept], twist[kept], covariance[kept], ncc[kept], share[kept])
    return Loops(planar, Correlations(planar.i, planar.j, rho[kept], correlator.turns(planar.twist)), len(a))
