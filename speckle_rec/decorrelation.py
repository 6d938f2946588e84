"""Out-of-plane motion from speckle: cell correlations and the curves that turn them into distances.

METHOD.md, section 3, has the equations.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import warp
from .features import AmplitudeFeatures
from .inplane import chain_poses, se2_exp, se2_logs
from .kernels import cpu
from .probe import Cells, ProbeGeometry
from .tissue import WINDOW_HALF, windows
from .working import WorkingImages, threads

Array = NDArray[np.float64]
Ints = NDArray[np.int64]

TABLE_REACH, TABLE_PER_UNIT = 40, 200
RATES = np.array([1.0, 0.3, 0.1, 0.03, 0.01])       # of the exponentials that make a measured kernel
USUAL_MIX = (0.27, 0.27, 0.26, 0.1, 0.1)
# Waist and its depth, mm: a Gaussian lens of 10 mm at a geometric focus of 60 mm, 6 MHz (assumed), and 5 mm at 20.
USUAL_LENSES = {"curvilinear": (1.12, 55.8), "linear": (0.5, 20.0)}
GUESSED = 0.5       # rms relative error of the scale on seven tracked scans of real tissue, by curves of others
LAGS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)
GAUSSIAN_APERTURE = np.sqrt(np.log(2) / 2) / 1.3916     # 1/e half-width over aperture, of the beam with its -6 dB width
AT_ONCE = 1024      # pairs whose cells are worked on at a time
GREY_PER_NEPER = 255 / (83 * np.log(10) / 20)     # 83 dB of amplitude over 0..255


@dataclass(frozen=True)
class Curves:
    """How correlation falls with out-of-plane motion: a focused Gaussian beam and a kernel.

    The beam of the defaults is physical, their tail that of one simulated forearm (docs/BENCHMARKS.md).

    Attributes
    ----------
    wavelength_mm, waist_mm, focus_mm : two-way elevational beam (METHOD.md (3.3)); the waist is the
        1/e^2 half-width of the one-way intensity at the focus.
    tail_b, tail_beta : kernel K(Q) = exp(-b ((1 + Q/b)^beta - 1) / beta); beta = 1 is exp(-Q), the Gaussian
        beam in ideal speckle, smaller beta a longer tail (METHOD.md (3.5)).
    mix : shares of `RATES` in the kernel K(Q) = sum mix exp(-rate Q), measured; empty for the tail above.
    steering : Q per rad^2 of a beam's turn in plane, (k2 w)^2 / 8 for a beam of half-width w (METHOD.md (3.9)).
    rows : share of the correlation that is lost half way between rows of pixels (METHOD.md (3.11)).
    slow_share, kappa : share of a cell's correlation that belongs to structure larger than the beam, and how
        much slower in Q it falls (METHOD.md (3.7)).
    floor : correlation of the clearest cells at rest.
    scale_uncertainty : relative standard deviation of the out-of-plane scale.
    source : where the numbers come from, named in every result.
    """

    wavelength_mm: float = 1540e3 / 6e6
    waist_mm: float = 1.07
    focus_mm: float = 45.0
    tail_b: float = 0.44
    tail_beta: float = 0.10
    slow_share: float = 0.17
    kappa: float = 1.2e-4
    floor: float = 0.94
    scale_uncertainty: float = 0.25
    steering: float = 220.0
    rows: float = 0.0
    mix: tuple[float, ...] = ()
    source: str = "default: 6 MHz beam, waist 1.07 mm, focus 45 mm, tail of one simulated forearm; not calibrated"

    @classmethod
    def default(cls, kind: str) -> "Curves":
        """Curves of a kind of probe that nobody calibrated: the 4DC7-3/40, or a 10 MHz linear array.

        The width for linear arrays is read off one tracked scan of an ex vivo leg, where correlation over that
        at rest was .92, .71, .57, .51 and .45 at .25, .75, 1.25, 1.75 and 2.25 mm: other lenses and tissues differ.
        """
        if kind == "linear":
            return replace(cls(), wavelength_mm=0.154, waist_mm=1.2, focus_mm=20.0, slow_share=0.25,
                           scale_uncertainty=0.4, source="default of a linear array: 10 MHz, waist 1.2 mm, tail of "
                                                         "one leg; not calibrated")
        return cls()

    @classmethod
    def of_lens(cls, frequency_hz: float, aperture_mm: float, focus_mm: float, speed_m_s: float = 1540.0):
        """Curves of an elevational lens, from its aperture and geometric focus in mm.

        A Gaussian beam as wide at -6 dB as that of the uniform aperture; its waist lies before the geometric focus
        (Siegman 1986, ch. 17).
        """
        wavelength = speed_m_s * 1e3 / frequency_hz
        half = GAUSSIAN_APERTURE * aperture_mm
        share = 1 / (1 + (wavelength * focus_mm / (np.pi * half**2))**2)
        return cls(wavelength, half * float(np.sqrt(1 - share)), focus_mm * share,
                   source=f"lens: {frequency_hz / 1e6:g} MHz, aperture {aperture_mm:g} mm, focus {focus_mm:g} mm")

    def guessed(self) -> "Curves":
        """These curves where nobody measured them on this machine and tissue: with the error that that made."""
        return replace(self, scale_uncertainty=max(self.scale_uncertainty, GUESSED))

    def beam(self, depth_mm) -> tuple[Array, Array]:
        """Beam half-width w (mm) and wavefront curvature 1/R (1/mm) at depths (mm) (Siegman 1986, ch. 17)."""
        z = np.asarray(depth_mm, float) - self.focus_mm
        rayleigh = np.pi * self.waist_mm**2 / self.wavelength_mm
        return self.waist_mm * np.sqrt(1 + (z / rayleigh) ** 2), z / (z**2 + rayleigh**2)

    @classmethod
    def usual(cls, kind: str) -> "Curves":
        """Curves of the usual lens of a kind of probe that nothing was fitted to: those by which cells are judged
        wherever a calibration is made or used, and from which the fit of one starts."""
        waist, focus = USUAL_LENSES[kind]
        return replace(cls.default(kind), waist_mm=waist, focus_mm=focus, tail_b=0.3, tail_beta=0.45, kappa=0.003,
                       slow_share=0.25, floor=0.8, mix=USUAL_MIX)

    def forms(self, geometry: ProbeGeometry, cells: Cells) -> Array:
        """U [P, 3, 3] of cells, see `forms_of`."""
        return forms_of(self, lines_of(geometry, cells))

    def rest(self, speckle: "Correlations") -> NDArray[np.float32]:
        """Part of Q [M, P] that in-plane motion adds (METHOD.md (3.9))."""
        rest = speckle.turn2
        rest *= np.float32(self.steering)
        return rest

    def resampled(self, speckle: "Correlations") -> "Correlations":
        """Correlations without what moves between rows of pixels have cost (METHOD.md (3.11))."""
        if speckle.turns is None or not self.rows:
            return speckle
        rho = speckle.turns.between_rows()          # half a gigabyte in long scans: divided in place
        for m in range(0, len(rho), AT_ONCE):
            rho[m:m + AT_ONCE] = speckle.rho[m:m + AT_ONCE] / self.kept(rho[m:m + AT_ONCE])
        return replace(speckle, rho=rho)

    def kept(self, between: NDArray[Any]) -> NDArray[Any]:
        """Share [...] of the correlation that is left so far `between` [...] rows of pixels (METHOD.md (3.11))."""
        return 1 - self.rows * between

    def kernel(self, q) -> Array:
        """K(Q)."""
        q = np.asarray(q)
        if self.mix:
            return np.exp(-q[..., None] * RATES) @ np.array(self.mix)
        return np.exp(-self.tail_b * ((1 + q / self.tail_b) ** self.tail_beta - 1) / self.tail_beta)

    def slope(self, q) -> Array:
        """dK/dQ."""
        q = np.asarray(q)
        if self.mix:
            return -(np.exp(-q[..., None] * RATES) @ (RATES * np.array(self.mix)))
        return -self.kernel(q) * (1 + q / self.tail_b) ** (self.tail_beta - 1)

    def table(self) -> Array:
        """K(Q), K(kappa Q) and their derivatives by Q [n, 4] at sqrt(Q) = k / TABLE_PER_UNIT, up to TABLE_REACH."""
        q = np.square(np.arange(TABLE_REACH * TABLE_PER_UNIT + 1) / TABLE_PER_UNIT)
        return np.stack([self.kernel(q), self.kernel(self.kappa * q), self.slope(q),
                         self.kappa * self.slope(self.kappa * q)], -1)


def beam_lines(geometry: ProbeGeometry, r_mm, u, spread_mm=0.0) -> Array:
    """Lines [P, 6] of cells at (r, u): depth, x and y about the face centre (mm), sine and cosine of the beam, spread.

    The spread is the standard deviation (mm) of a cell's pixels across the beam.
    """
    x, y = geometry.cartesian(r_mm, u)
    sine, cosine = (np.sin(u), np.cos(u)) if geometry.kind == "curvilinear" else (0 * u, 1 + 0 * u)
    return np.stack([r_mm, x - geometry.face_mm[0], y - geometry.face_mm[1], sine, cosine, spread_mm + 0 * x], -1)


def lines_of(geometry: ProbeGeometry, cells: Cells) -> Array:
    """`beam_lines` of the cells."""
    return beam_lines(geometry, cells.centres[:, 0], cells.centres[:, 1], cells.spread_mm)


def forms_of(curves: Curves, lines: Array) -> Array:
    """U [P, 3, 3] of cells on `lines` [P, 6]: Q = |U xi|^2, xi = (z mm, tilt rad, yaw rad) about the face centre.

    Q = 2 z_p^2 / w^2 + (k2^2 w^2 / 8) (delta - z_p / R)^2 + (2 s^2 / w^2 + oval / 4) d^2     METHOD.md (3.4), (3.10)

    with s the cell's spread across the beam and d the change of z_p across it: a cell sees the mean of its pixels, and
    its beam turns about itself by d.
    """
    r_mm, x, y, sine, cosine, spread = lines.T
    w, curvature = curves.beam(r_mm)
    offset = np.stack([np.ones_like(x), y, -x], -1)
    turn = np.stack([np.zeros_like(x), cosine, -sine], -1)
    across = np.stack([np.zeros_like(x), -sine, -cosine], -1)
    k2 = 4 * np.pi / curves.wavelength_mm
    return np.stack([np.sqrt(2) / w[:, None] * offset,
                     (k2 * w / np.sqrt(8))[:, None] * (turn - curvature[:, None] * offset),
                     np.sqrt(2 * spread**2 / w**2 + ovalness(curves, w, curvature) / 4)[:, None] * across], 1)


def ovalness(curves: Curves, w: Array, curvature: Array) -> Array:
    """How far beams of half-width w (mm) and wavefront `curvature` (1/mm) are from round; 0 for a round one.

    |a - b|^2 / (Re a Re b) of a point spread function exp(-a x^2 - b z^2), its width along x that of `steering`.
    """
    k2 = 4 * np.pi / curves.wavelength_mm
    a, b = k2**2 / (4 * curves.steering), 2 / w**2
    return ((a - b) ** 2 + (k2 / 2 * curvature) ** 2) / (a * b)


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


WORST_CELL = 0.25                     # a cell whose correlation at rest is below this says nothing


@dataclass(frozen=True)
class CellStrengths:
    """Correlation of cells at rest, split into a fast and a slow part, and how fast it falls in this tissue.

    Attributes
    ----------
    fast, slow : float64 [W, P], 0 for cells that say nothing.   window : int64 [N], row that holds at each frame.
    stretch : float64 [W, P], factor of sqrt(Q): below 1 where tissue decorrelates more slowly than the curves say.
    """

    fast: Array
    slow: Array
    window: NDArray[np.int64]
    stretch: Array


def typical_correlation(correlations: Correlations, n_frames: int, lags: tuple[int, int],
                        less: Callable[[int, Ints], Array] | None = None) -> tuple[Array, Array]:
    """Median correlation [W, P] of each cell about each window over pairs of first <= lag <= last, and pairs [W].

    Parameters
    ----------
    less : of a window and its pairs [K], what is taken off their correlations first, [K, P].
    """
    i, j, rho = correlations.i, correlations.j, correlations.rho
    middle, _ = windows(n_frames)
    picked = np.flatnonzero((j - i >= lags[0]) & (j - i <= lags[1]))
    out, count = np.zeros((len(middle), rho.shape[1])), np.zeros(len(middle))
    for k, centre in enumerate(middle):
        near = picked[np.abs(j[picked] - centre) <= WINDOW_HALF]
        count[k] = len(near)
        if len(near):
            out[k] = np.median(np.nan_to_num(rho[near] - (less(k, near) if less else 0)), axis=0)
    return out, count


def relative(strength: Array) -> Array:
    """Strength [W, P] of each cell over that of the clearest fifth of its window."""
    return strength / np.maximum(np.quantile(strength, 0.8, axis=1, keepdims=True), 1e-3)


def cell_strengths(correlations: Correlations, n_frames: int, curves: Curves) -> CellStrengths:
    """How well each cell correlates at rest, from its lag-1 correlation alone: no regression, no tissue factor.

    Noise, shadow and thin echoes lower a cell's correlation at every distance. Cells beside each other see
    nearly the same motion, so that a cell's median correlation at lag 1 over that of the clearest cells
    is its strength relative to theirs, whatever the motion was (METHOD.md (3.6)). The simple version, for curves
    without a calibration; `calibration.Calibration.strengths` is the other.
    """
    lag_one, _ = typical_correlation(correlations, n_frames, (1, 1))
    strength = curves.floor * np.clip(relative(lag_one), 0, 1.03)
    strength[strength < WORST_CELL] = 0
    return CellStrengths((1 - curves.slow_share) * strength, curves.slow_share * strength, windows(n_frames)[1],
                         np.ones_like(strength))


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
    correlator = Correlator(images.geometry, cells, AmplitudeFeatures(images.geometry.mask(), GREY_PER_NEPER))
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
