"""Cell correlations of many frame pairs at once: twin of `correlation.Correlator` and `correlation.correlate`."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...compute.device import to_host
from ...frames.features import GREY_PER_NEPER, AmplitudeFeatures
from ...kernels import gpu, gpu_images
from ...kernels.cpu import LEAST_PX, LEAST_VARIANCE
from ...kernels.launch import xp_of
from ...probe.field import Cells, ProbeGeometry
from ..correlation import LAGS, BeamTurns, Correlations, Correlator, frame_pairs, places
from ..planar_motions import chain_poses, se2_logs
from .frames import Batches, DeviceFrames

Array = NDArray[Any]
Ints = NDArray[np.int64]


def coefficients(sums: Any) -> Any:
    """Pearson correlation [P] from the sums [P, 6] of `gpu.cell_sums`; NaN where a cell shows no variance."""
    xp = xp_of(sums)
    n, sa, sb, saa, sbb, sab = sums.T
    count = xp.maximum(n, 1)
    va, vb = saa - sa * sa / count, sbb - sb * sb / count
    fit = (n >= LEAST_PX) & (va > LEAST_VARIANCE * count) & (vb > LEAST_VARIANCE * count)
    return xp.where(fit, (sab - sa * sb / count) / xp.sqrt(xp.where(fit, va * vb, 1)), np.nan).astype(np.float32)


class BatchCorrelator:
    """`correlation.Correlator` for many pairs at once."""

    def __init__(self, geometry: ProbeGeometry, cells: Cells, xp: Any, batches: Batches | None = None):
        twin = AmplitudeFeatures(geometry.mask(), geometry.pixel_mm, GREY_PER_NEPER)
        self.correlator, self.xp, self.batches = Correlator(geometry, cells, twin), xp, batches or Batches(xp)
        self.features = gpu_images.AmplitudeFeatures(xp.asarray(twin.local_mean.mask), xp.asarray(twin.table),
                                                     twin.local_mean.widths)
        self.labels = xp.asarray(self.correlator.labels)

    def pairs(self, images: Any, i: Ints, j: Ints, pose_i: Array, pose_j: Array) -> NDArray[np.float32]:
        """Correlations [M, P], on the host, of images i and j (rows of float32 [n, H, W]), each pair at one place.

        pose_i, pose_j : [M, 3, 3], planar poses of that place in either image.
        """
        parts = self.batches.run(lambda r: self._pairs(images, i[r], j[r], pose_i[r], pose_j[r]), len(i))
        return np.concatenate([np.zeros((0, self.correlator.n_cells), np.float32), *parts])

    def _pairs(self, images: Any, i: Ints, j: Ints, pose_i: Array, pose_j: Array) -> NDArray[np.float32]:
        a, b = (self._warped(images, pick, pose) for pick, pose in ((i, pose_i), (j, pose_j)))
        sums = self.xp.empty((len(i), self.correlator.n_cells, 6))
        gpu.cell_sums(a, b, self.labels, sums)
        return to_host(coefficients(sums.reshape(-1, 6)).reshape(len(i), -1))            # METHOD.md (3.2)

    def _warped(self, images: Any, pick: Ints, pose: Array) -> Any:
        maps = np.ascontiguousarray((self.correlator.px_mm @ pose @ self.correlator.mm_px)[:, :2])
        return gpu_images.warp(images, self.xp.asarray(pick), self.xp.asarray(maps), True)

    def turns(self, twists: Array) -> BeamTurns:
        """Turns of the beams in the tissue under planar twists [M, 3]."""
        return self.correlator.turns(twists)


def correlate(frames: DeviceFrames, cells: Cells, planar_step: Array, skip: NDArray[np.bool_], *,
              lags: Sequence[int] = LAGS, batches: Batches | None = None,
              progress: Callable[[int, int], None] | None = None) -> Correlations:
    """Cell correlations of all frame pairs at the given lags; see `correlation.correlate`."""
    xp, n = frames.xp, len(frames.data)
    correlator = BatchCorrelator(frames.images.geometry, cells, xp, batches)
    i, j = frame_pairs(n, lags, skip)
    poses = chain_poses(planar_step)
    twists = se2_logs(np.linalg.solve(poses[i], poses[j]))
    pose_i, pose_j = (np.linalg.solve(poses[k], poses[places(i, j, n)]) for k in (i, j))
    first = np.searchsorted(j, np.arange(n + 1))
    parts = [np.zeros((0, len(cells)), np.float32)]
    kept = None
    for start, block in frames.blocks():
        stop, low = start + len(block), max(start - max(lags), 0)
        new = correlator.features(block)
        kept = new if kept is None else xp.concatenate([kept[low - start :], new])
        rows = slice(first[start], first[stop])
        parts.append(correlator.pairs(kept, i[rows] - low, j[rows] - low, pose_i[rows], pose_j[rows]))
        if progress:
            progress(stop, n)
    return Correlations(i, j, np.concatenate(parts), correlator.turns(twists))
