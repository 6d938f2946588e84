"""Cell correlations: from the frames of a scan to a correlation coefficient a cell and frame pair.

METHOD.md, section 3, has the equations.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..frames import warp
from ..frames.features import GREY_PER_NEPER, AmplitudeFeatures
from ..frames.working_images import WorkingImages, threads
from ..kernels import cpu
from ..probe.beam_lines import lines_of
from ..probe.field import Cells, ProbeGeometry
from .planar_motions import chain_poses, se2_exp, se2_logs

Array = NDArray[np.float64]
Ints = NDArray[np.int64]

LAGS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)
AT_ONCE = 1024      # pairs whose cells are worked on at a time


@dataclass(frozen=True)
class BeamTurns:
    """How the beams of cells turn in the tissue by in-plane motion, kept as that motion: far smaller than the turns.

    Attributes
    ----------
    lines : [P, 6] of the cells.   geometry : field of view.   twist : [M, 3], planar motion of each pair.
    """

    lines: Array
    geometry: ProbeGeometry
    twist: Array

    def turn2(self, at_once: int = AT_ONCE) -> NDArray[np.float32]:
        """Squared turns [M, P] in rad^2, see `beam_turn2`."""
        return self._each(lambda twist: beam_turn2(self.lines, self.geometry, twist), at_once)

    def between_rows(self, at_once: int = AT_ONCE) -> NDArray[np.float32]:
        """How far [M, P] the cells come to lie off rows of pixels, see `between_rows`."""
        return self._each(lambda twist: between_rows(self.lines, twist, self.geometry.scale[1, 1]), at_once)

    def slides(self, lag: Ints, speckle_mm: tuple[float, float]) -> Array:
        """Ways [M] in the plane a frame, of pairs `lag` [M] frames apart, see `slides`."""
        return slides(self.lines, self.twist, lag, speckle_mm)

    def _each(self, measure: Callable[[Array], NDArray[np.float32]], at_once: int) -> NDArray[np.float32]:
        out = np.empty((len(self.twist), len(self.lines)), np.float32)
        for m in range(0, len(out), at_once):
            out[m:m + at_once] = measure(self.twist[m:m + at_once])
        return out


@dataclass(frozen=True)
class Correlations:
    """Correlation coefficients of cells over frame pairs.

    Attributes
    ----------
    i, j : int64 [M], frames, i < j.   rho : float32 [M, P], NaN where a cell is empty.
    turns : of each cell's beam by in-plane motion; None if there are none.
    """

    i: NDArray[np.int64]
    j: NDArray[np.int64]
    rho: NDArray[np.float32]
    turns: BeamTurns | None = None

    @property
    def turn2(self) -> NDArray[np.float32]:
        """Squared turn [M, P] of each cell's beam in the tissue, rad^2; made anew, as large as `rho`."""
        return np.zeros_like(self.rho) if self.turns is None else self.turns.turn2()

    def every(self, n: int) -> "Correlations":
        """One of `n` of these pairs."""
        turns = self.turns and replace(self.turns, twist=self.turns.twist[::n])
        return Correlations(self.i[::n], self.j[::n], self.rho[::n], turns)

    def without(self, lost: NDArray[np.bool_]) -> "Correlations":
        """These pairs, without the cells that are `lost` [N, P] in either frame."""
        gone = lost[self.i] | lost[self.j]
        return replace(self, rho=np.where(gone, np.float32(np.nan), self.rho)) if gone.any() else self

    def joined(self, other: "Correlations") -> "Correlations":
        """These pairs and those of `other`, of the same cells."""
        known = self.turns or other.turns
        turns = known and replace(known, twist=np.concatenate([
            np.zeros((len(part.i), 3)) if part.turns is None else part.turns.twist for part in (self, other)]))
        return Correlations(np.concatenate([self.i, other.i]), np.concatenate([self.j, other.j]),
                            np.concatenate([self.rho, other.rho]), turns)


def beam_turn2(lines: Array, geometry: ProbeGeometry, twist: Array) -> NDArray[np.float32]:
    """Squared turn [..., P] (rad^2) of the beams `lines` [P, 6] in the tissue under planar twists [..., 3].

    A curved array's beams point away from its apex, which in-plane motion moves aside; a linear array's turn with it.
    """
    x, y, roll = (twist[..., k, None] for k in range(3))
    depth, _, _, sine, cosine, _ = lines.T
    if geometry.kind == "linear":
        return np.square(np.broadcast_to(roll, (*roll.shape[:-1], len(lines)))).astype(np.float32)
    R = geometry.radius_mm
    return np.square(((x + R * roll) * cosine - y * sine) / (R + depth)).astype(np.float32)


def between_rows(lines: Array, twist: Array, row_mm: float) -> NDArray[np.float32]:
    """How far [M, P] planar twists [M, 3] take the cells on `lines` [P, 6] off rows of pixels `row_mm` apart.

    0 for whole rows, 1 half way: speckle is finer than rows, so that pictures moved by half a row are not the same
    ones (METHOD.md (3.11)).
    """
    rows = (twist[:, 1, None] + twist[:, 2, None] * lines[:, 1]).astype(np.float32) / np.float32(row_mm)
    return np.square(np.sin(np.float32(np.pi) * rows))


def slides(lines: Array, twist: Array, lag: NDArray[Any], speckle_mm: tuple[float, float]) -> Array:
    """Ways [M] in the plane a frame, of pairs `lag` [M] frames apart with planar twists [M, 3], over the deviations of
    speckle's correlation across and down: root of the mean square over cells on `lines` [P, 6].
    """
    x, y, roll = (twist[:, k, None] for k in range(3))
    across, down = (x - roll * lines[:, 2]) / speckle_mm[0], (y + roll * lines[:, 1]) / speckle_mm[1]
    return np.sqrt((np.square(across) + np.square(down)).mean(1)) / lag


def frame_pairs(n_frames: int, lags: Sequence[int], skip: NDArray[np.bool_]) -> tuple[Ints, Ints]:
    """Pairs (i, j = i + lag), sorted by j then i descending; frames marked in `skip` [N] take no part."""
    j, lag = np.meshgrid(np.arange(n_frames), np.sort(lags), indexing="ij")
    i = j - lag
    keep = (i >= 0) & ~skip[j] & ~skip[np.maximum(i, 0)]
    return i[keep], j[keep]


def cell_runs(labels: NDArray[np.int32], n_cells: int) -> tuple[Ints, Ints]:
    """Runs [R, 4] and edges [P + 1] of cells (labels [H, W], -1 outside), as `kernels.cpu.unit_cells` takes them."""
    rows, columns = labels.shape
    padded = np.full((rows, columns + 1), -1, np.int64)
    padded[:, :-1] = labels
    flat = padded.ravel()
    first = np.flatnonzero((flat >= 0) & (flat != np.roll(flat, 1)))
    last = np.flatnonzero((flat >= 0) & (flat != np.roll(flat, -1))) + 1
    cell, size = flat[first], last - first
    edges = np.concatenate([[0], np.cumsum(np.bincount(cell, size, n_cells))]).astype(np.int64)
    order = np.argsort(cell, kind="stable")
    place = np.empty(len(first), np.int64)
    place[order] = np.cumsum(size[order]) - size[order]
    row, column = np.divmod(first, columns + 1)
    return np.stack([row, column, column + size, place], 1), edges


class Correlator:
    """Cell correlations of frame pairs, aligned in plane.

    Parameters
    ----------
    geometry, cells : field of view and cells at the resolution of the frames.
    features : callable uint8 frame -> float32 image of zero local mean (`features`).
    """

    def __init__(self, geometry: ProbeGeometry, cells: Cells, features: Callable):
        self.labels, self.n_cells, self.features = cells.labels, len(cells), features
        self.geometry, self.lines = geometry, lines_of(geometry, cells)
        self.mm_px = geometry.mm_px
        self.px_mm = np.linalg.inv(self.mm_px)
        self.spans = warp.spans_of(self.labels >= 0)
        self.runs, self.edges = cell_runs(self.labels, self.n_cells)

    def among(self, images: Sequence, poses: Sequence[Array] | Array, first: Ints, second: Ints) -> NDArray[np.float32]:
        """Correlations [M, P] of pairs of feature images, all moved to one place.

        Parameters
        ----------
        images : F feature images.   poses : F planar poses [3, 3] of the place in each of them.
        first, second : int64 [M], images of each pair.
        """
        cells = np.empty((len(images), self.edges[-1]), np.float32)
        for image, pose, out in zip(images, poses, cells, strict=True):
            M = np.ascontiguousarray((self.px_mm @ pose @ self.mm_px)[:2])
            if warp.steep(M):
                image, M = warp.cubic(image, M, self.spans), np.eye(2, 3)
            cpu.unit_cells(image, M, self.spans, self.runs, self.edges, out)
        rho = np.empty((len(first), self.n_cells), np.float32)
        cpu.unit_products(cells, first, second, self.edges, rho)
        return rho

    def pair(self, a, b, planar_twist: Array) -> NDArray[np.float32]:
        """Correlations [P] of two feature images whose planar motion (b in a) is known.

        Both are moved half of it, so that interpolation blurs both alike.
        """
        half = [se2_exp(v) for v in (planar_twist / 2, -planar_twist / 2)]
        return self.among([a, b], half, np.zeros(1, np.int64), np.ones(1, np.int64))[0]

    def turns(self, planar_twist: Array) -> BeamTurns:
        """Turns of the beams in the tissue under planar twists [M, 3]."""
        return BeamTurns(self.lines, self.geometry, planar_twist)


PLACES = 8      # frames between the places that pairs are moved to: a place is hardly off the middle of a pair


def places(i: Ints, j: Ints, n_frames: int) -> Ints:
    """Frame [M] nearest to the middle of each pair, of every `PLACES`-th, in whose plane the pair is compared.

    A frame is so moved a few times, not once for each pair that it is in; between neighbours interpolation blurs the
    one a little more than the other, which changes their correlation by .002 (METHOD.md (3.2)).
    """
    return np.minimum((i + j + PLACES) // (2 * PLACES) * PLACES, n_frames - 1)


def correlate(images: WorkingImages, cells: Cells, planar_step: Array, skip: NDArray[np.bool_], *,
              lags: Sequence[int] = LAGS, jobs: int = 0,
              progress: Callable[[int, int], None] | None = None) -> Correlations:
    """Cell correlations of all frame pairs at the given lags, aligned by the planar chain.

    Parameters
    ----------
    planar_step : [N, 3] planar twist into each frame.   skip : bool [N], frames left out.
    """
    geometry = images.geometry
    correlator = Correlator(geometry, cells, AmplitudeFeatures(geometry.mask(), geometry.pixel_mm, GREY_PER_NEPER))
    n = images.scan.n_frames
    i, j = frame_pairs(n, lags, skip)
    rho = np.empty((len(i), len(cells)), np.float32)
    chain = chain_poses(planar_step)
    twists = se2_logs(np.linalg.solve(chain[i], chain[j]))
    at = places(i, j, n)
    waiting = [(int(j[rows].max()), int(i[rows].min()), int(place), rows)       # last frame, first frame
               for place in np.unique(at) for rows in [np.flatnonzero(at == place)]]
    kept: dict[int, NDArray[np.float32]] = {}

    def compare(place: int, rows: Ints) -> None:
        frames, where = np.unique([i[rows], j[rows]], return_inverse=True)
        first, second = where.reshape(2, -1)
        rho[rows] = correlator.among([kept[k] for k in frames], np.linalg.solve(chain[frames], chain[place]), first,
                                     second)

    with threads(jobs) as pool:
        for start, block in images.blocks():
            kept.update(enumerate(pool.map(correlator.features, block), start))
            there = start + len(block)
            list(pool.map(lambda w: compare(*w[2:]), [w for w in waiting if w[0] < there]))
            waiting = [w for w in waiting if w[0] >= there]
            oldest = min((w[1] for w in waiting), default=n)
            for k in [k for k in kept if k < oldest]:
                del kept[k]
            if progress:
                progress(there, n)
    return Correlations(i, j, rho, correlator.turns(twists))
