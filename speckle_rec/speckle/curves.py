"""Curves that turn the correlation of a cell into a distance out of the plane.

METHOD.md, section 3, has the equations.
"""

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..kernels.cells import Pairs
from ..pairs.correlation import AT_ONCE, Correlations
from ..probe.beam_lines import lines_of
from ..probe.field import Cells, ProbeGeometry
from ..products.stages import NO_FILTER, TimeFilter, both_ways, noise_at

Array = NDArray[np.float64]

TABLE_REACH, TABLE_PER_UNIT = 40, 200
FILTERED_LAGS = 32                  # longest lag of neighbours: a filter blurs frames however far apart they are
SPEEDS = np.array([0.0, 0.4, 0.8, 1.2, 2.0])     # in the plane, deviations of speckle's correlation a frame
RATES = np.array([1.0, 0.3, 0.1, 0.03, 0.01])       # of the exponentials that make a measured kernel
USUAL_MIX = (0.27, 0.27, 0.26, 0.1, 0.1)
# Usual elevational beams: frequency (Hz), aperture and geometric focus (mm).
USUAL_LENSES = {"curvilinear": (6e6, 10.0, 60.0), "linear": (7e6, 7.0, 45.0)}
GUESSED = 0.5       # rms relative error of the scale on seven tracked scans of real tissue, by curves of others
GAUSSIAN_APERTURE = np.sqrt(np.log(2) / 2) / 1.3916     # 1/e half-width over aperture, of the beam with its -6 dB width


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
    filtered : the scanner's filter over time, `pairs.time_filter`: of the scan that is read, no property of a machine.
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
    filtered: TimeFilter = NO_FILTER
    source: str = "default: 6 MHz beam, waist 1.07 mm, focus 45 mm, tail of one simulated forearm; not calibrated"

    @classmethod
    def of_lens(cls, frequency_hz: float, aperture_mm: float, focus_mm: float, speed_m_s: float = 1540.0):
        """Curves of an elevational lens, from its aperture and geometric focus in mm.

        A Gaussian beam as wide at -6 dB as that of the uniform aperture; its waist lies before the geometric focus
        (Siegman 1986, ch. 17).
        """
        wavelength = speed_m_s * 1e3 / frequency_hz
        half = GAUSSIAN_APERTURE * aperture_mm
        share = 1 / (1 + (wavelength * focus_mm / (np.pi * half**2))**2)
        return cls(wavelength, float(half * np.sqrt(1 - share)), float(focus_mm * share),
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
        frequency_hz, aperture_mm, focus_mm = USUAL_LENSES[kind]
        return replace(cls.of_lens(frequency_hz, aperture_mm, focus_mm), tail_b=0.3, tail_beta=0.45, kappa=0.003,
                       slow_share=0.25, floor=0.8, mix=USUAL_MIX,
                       source=f"usual beam of a {kind} probe: {frequency_hz / 1e6:g} MHz, {aperture_mm:g} mm at "
                              f"{focus_mm:g} mm; not calibrated")

    def forms(self, geometry: ProbeGeometry, cells: Cells) -> Array:
        """U [P, 3, 3] of cells, see `forms_of`."""
        return forms_of(self, lines_of(geometry, cells))

    def rest(self, speckle: Correlations) -> NDArray[np.float32]:
        """Part of Q [M, P] that in-plane motion adds (METHOD.md (3.9))."""
        rest = speckle.turn2
        rest *= np.float32(self.steering)
        return rest

    def pairs(self, speckle: Correlations, temper: Array | float = 1.0) -> Pairs:
        """The pairs as kernels take them, with the weight of each [M], or of all."""
        weights = np.ascontiguousarray(np.broadcast_to(np.asarray(temper, float), len(speckle.i)))
        return Pairs(speckle.i, speckle.j, speckle.rho, self.rest(speckle), weights, self.speeds(speckle))

    def speeds(self, speckle: Correlations) -> NDArray[np.int64]:
        """Rows [M] of `tables` for the speeds of pairs in the plane: the nearest of `SPEEDS`."""
        if not self.filtered or speckle.turns is None:
            return np.zeros(len(speckle.i), np.int64)
        return speed_rows(speckle.turns.slides(speckle.j - speckle.i, self.filtered.speckle_mm))

    def resampled(self, speckle: Correlations) -> Correlations:
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

    def through(self, filtered: TimeFilter) -> "Curves":
        """These curves for a scan whose scanner has a filter over time."""
        return replace(self, filtered=filtered)

    def powers(self, q: Array, lag: Array | int, slide: Array | float = 0.0) -> tuple[Array, Array, Array, Array]:
        """What two frames `lag` [...] apart share of tissue, and what each shows of it, with their slopes by Q [...].

        A filter h shows sum_m h_m f_(k - m). With R(d) the correlation of its noise, C(d) what frames d apart share of
        tissue that slides by, and of a steady motion, Q of a pair at lag n being n^2 q, these are
        sum_d R(d) C(d) K((n - d)^2 q) and sum_d R(d) C(d) K(d^2 q), in units of what it leaves of noise: a filter blurs
        what moves.                                                                            METHOD.md (3.7b)

        Parameters
        ----------
        slide : way [...] in the plane a frame, in deviations of speckle's correlation (`correlation.slides`).
        """
        if not self.filtered:
            return self.kernel(q), np.ones(np.shape(q)), self.slope(q), np.zeros(np.shape(q))
        shared, shared_slope, shown, shown_slope = np.zeros((4, *np.shape(q)))
        for d, share in both_ways(self.filtered.response):
            weight = share * still(d * np.asarray(slide))
            ahead, behind = np.square(1 - d / lag), np.square(d / lag)
            shared += weight * self.kernel(ahead * q)
            shared_slope += weight * ahead * self.slope(ahead * q)
            shown += weight * self.kernel(behind * q)
            shown_slope += weight * behind * self.slope(behind * q)
        return shared, shown, shared_slope, shown_slope

    def expected(self, q: Array, lag: Array | int, floor: Array | float = 1.0, slow: Array | float = 0.0,
                 kept: Array | float = 1.0, slide: Array | float = 0.0) -> Array:
        """Correlation [...] of cells of a floor and slow share, `lag` frames apart, at Q [...]:   METHOD.md (3.7b)

        kept : share of the tissue's correlation, of `Curves.kept`.   slide : see `powers`.
        """
        (fast_shared, fast_shown), (slow_shared, slow_shown) = (self.powers(x, lag, slide)[:2]
                                                                for x in (q, self.kappa * q))
        shared, shown = floor * ((1 - slow) * fast_shared + slow * slow_shared), floor * (
            (1 - slow) * fast_shown + slow * slow_shown)
        noise = noise_at(self.filtered.response, lag) * still(lag * np.asarray(slide))
        return (kept * shared + (1 - floor) * noise) / (shown + 1 - floor)

    def noise(self) -> Array:
        """Correlation of noise [V, L] at speeds and lags, in the order of `tables`."""
        lag = np.arange(FILTERED_LAGS + 1 if self.filtered else 1)
        speeds = SPEEDS if self.filtered else SPEEDS[:1]
        return noise_at(self.filtered.response, lag) * still(lag * speeds[:, None])

    def tables(self) -> Array:
        """What `powers` gives [V, L, n, 8] at `SPEEDS` and lags 1 to L - 1, of Q and of kappa Q, at sqrt(Q) =
        k / TABLE_PER_UNIT: what is shared twice, its slopes by Q twice, what is shown twice, its slopes twice. At the
        first lag that of pairs far apart in time, whose frames are taken to be sharp. Without a filter `table` alone
        [1, 1, n, 4]."""
        return _tables(replace(self, source="")) if self.filtered else self.table()[None, None]

    def table(self) -> Array:
        """K(Q), K(kappa Q) and their derivatives by Q [n, 4] at sqrt(Q) = k / TABLE_PER_UNIT, up to TABLE_REACH."""
        q = np.square(np.arange(TABLE_REACH * TABLE_PER_UNIT + 1) / TABLE_PER_UNIT)
        return np.stack([self.kernel(q), self.kernel(self.kappa * q), self.slope(q),
                         self.kappa * self.slope(self.kappa * q)], -1)


def speed_rows(slide: Array) -> NDArray[np.int64]:
    """Rows [M] of `Curves.tables`: the nearest of `SPEEDS` to ways [M] a frame."""
    return np.abs(slide[:, None] - SPEEDS).argmin(1)


def still(way: Array) -> Array:
    """Correlation [...] of a picture of speckle with itself, moved by a way [...] in deviations of this Gaussian."""
    return np.exp(-np.square(way) / 2)


@lru_cache(4)       # of 85 MB
def _tables(curves: Curves) -> Array:
    q = np.square(np.arange(TABLE_REACH * TABLE_PER_UNIT + 1) / TABLE_PER_UNIT)
    pairs, kappa = both_ways(curves.filtered.response), curves.kappa
    weight = np.array([share * still(d * SPEEDS) for d, share in pairs])                  # [D, V]
    out = np.zeros((len(SPEEDS), FILTERED_LAGS + 1, len(q), 8))
    for (d, _), weights in zip(pairs, weight, strict=True):
        for lag in range(FILTERED_LAGS + 1):
            ahead, behind = (1 - d / lag)**2 if lag else 1.0, (d / lag)**2 if lag else 0.0
            for first, by in ((0, ahead), (4, behind)):
                for column, k in enumerate((1.0, kappa)):
                    out[:, lag, :, first + column] += weights[:, None] * curves.kernel(by * k * q)
                    out[:, lag, :, first + 2 + column] += weights[:, None] * by * k * curves.slope(by * k * q)
    return out


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
