"""Out-of-plane motion from speckle: cell correlations and the curves that turn them into distances.

METHOD.md, section 3, has the equations.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from .inplane import se2_exp
from .kernels import cpu
from .probe import Cells, ProbeGeometry

Array = NDArray[np.float64]

LAGS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)
FLOOR_LAGS = (1, 2, 3, 4)


@dataclass(frozen=True)
class Curves:
    """How correlation falls with out-of-plane motion: a focused Gaussian beam and a kernel.

    The defaults are physical, not fitted; `calibration` fits them to tracked scans.

    Attributes
    ----------
    wavelength_mm, waist_mm, focus_mm : two-way elevational beam (METHOD.md (3.3)); the waist is the
        1/e^2 half-width of the one-way intensity at the focus.
    tail_b, tail_beta : kernel K(Q) = exp(-b ((1 + Q/b)^beta - 1) / beta); beta = 1 is exp(-Q), the Gaussian
        beam in ideal speckle, smaller beta a longer tail (METHOD.md (3.5)).
    source : where the numbers come from, named in every result.
    """

    wavelength_mm: float = 1540e3 / 6e6
    waist_mm: float = 1.2
    focus_mm: float = 60.0
    tail_b: float = 1.0
    tail_beta: float = 1.0
    source: str = "physical default: 6 MHz, waist 1.2 mm, focus 60 mm, not calibrated"

    @classmethod
    def of_lens(cls, frequency_hz: float, aperture_mm: float, focus_mm: float, speed_m_s: float = 1540.0):
        """Curves of an elevational lens, from its aperture and focus (Gaussian of 1/e^2 half-width 0.4 D)."""
        wavelength = speed_m_s * 1e3 / frequency_hz
        return cls(wavelength, wavelength * focus_mm / (np.pi * 0.4 * aperture_mm), focus_mm,
                   source=f"lens: {frequency_hz / 1e6:g} MHz, aperture {aperture_mm:g} mm, focus {focus_mm:g} mm")

    def beam(self, depth_mm) -> tuple[Array, Array]:
        """Beam half-width w (mm) and wavefront curvature 1/R (1/mm) at depths (mm) (Siegman 1986, ch. 17)."""
        z = np.asarray(depth_mm, float) - self.focus_mm
        rayleigh = np.pi * self.waist_mm**2 / self.wavelength_mm
        return self.waist_mm * np.sqrt(1 + (z / rayleigh) ** 2), z / (z**2 + rayleigh**2)

    def forms(self, geometry: ProbeGeometry, r_mm, u) -> Array:
        """U [P, 2, 3] of cells at (r, u): Q = |U xi|^2, xi = (z mm, tilt rad, yaw rad) about the face centre.

        Q = 2 z_p^2 / w^2 + (k2^2 w^2 / 8) (delta - z_p / R)^2     METHOD.md (3.4)
        """
        w, curvature = self.beam(r_mm)
        x, y = geometry.cartesian(r_mm, u)
        x, y = x - geometry.face_mm[0], y - geometry.face_mm[1]
        sine, cosine = (np.sin(u), np.cos(u)) if geometry.kind == "curvilinear" else (0 * u, 1 + 0 * u)
        offset = np.stack([np.ones_like(x), y, -x], -1)
        turn = np.stack([np.zeros_like(x), cosine, -sine], -1)
        k2 = 4 * np.pi / self.wavelength_mm
        return np.stack([np.sqrt(2) / w[:, None] * offset,
                         (k2 * w / np.sqrt(8))[:, None] * (turn - curvature[:, None] * offset)], 1)

    def kernel(self, q) -> Array:
        """K(Q)."""
        return np.exp(-self.tail_b * ((1 + np.asarray(q) / self.tail_b) ** self.tail_beta - 1) / self.tail_beta)

    def kernel_inverse(self, k) -> Array:
        """Q of K(Q)."""
        log = -np.log(np.asarray(k))
        return self.tail_b * ((1 + self.tail_beta * log / self.tail_b) ** (1 / self.tail_beta) - 1)


@dataclass(frozen=True)
class Correlations:
    """Correlation coefficients of cells over frame pairs.

    Attributes
    ----------
    i, j : int64 [M], frames, i < j.   rho : float32 [M, P], NaN where a cell is empty.
    """

    i: NDArray[np.int64]
    j: NDArray[np.int64]
    rho: NDArray[np.float32]


def coefficients(sums: Array, min_px: int = 30) -> NDArray[np.float32]:
    """Pearson correlation [P] from the sums of `kernels.cell_sums`; NaN where a cell shows no variance."""
    n, sa, sb, saa, sbb, sab = sums.T
    count = np.maximum(n, 1)
    va, vb = saa - sa * sa / count, sbb - sb * sb / count
    fit = (n >= min_px) & (va > 1e-3 * count) & (vb > 1e-3 * count)
    return np.where(fit, (sab - sa * sb / count) / np.sqrt(np.where(fit, va * vb, 1)), np.nan).astype(np.float32)


def warp_halfway(a, b, twist: Array, mm_px: Array, px_mm: Array):
    """Both images moved half of the planar motion of b in a, so that interpolation blurs both alike."""
    out = []
    for image, v in ((a, twist / 2), (b, -twist / 2)):
        M = (px_mm @ se2_exp(v) @ mm_px)[:2]
        out.append(cv2.warpAffine(image, M, image.shape[::-1], flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP))
    return out


def noise_floor(rho: NDArray[np.float32], pairs_by_lag: dict[int, tuple[Array, Array]]) -> Array:
    """Per-cell noise floor r0 = exp(-n) [P], solved jointly over the lags.

    Over a steady motion -ln rho grows with the square of the lag on top of n: the intercept of a line over
    lag^2 through the medians of lags 1..4 is n (METHOD.md (3.6)). Pairs that are decorrelated (median
    rho below .3) say nothing and are left out.

    Parameters
    ----------
    rho : [M, P].   pairs_by_lag : lag -> indices into M, aligned so that entry k of each lag starts at the
        same frame.
    """
    lags = sorted(pairs_by_lag)
    L = np.stack([-np.log(np.clip(rho[pairs_by_lag[lag]], 0.02, 1)) for lag in lags])      # [lags, K, P]
    A = np.stack([np.ones(len(lags)), np.square(lags)], -1).astype(float)
    weight = np.clip(np.exp(-2 * np.nan_to_num(L, nan=9.0)), 1e-4, 1)                       # var(ln rho) ~ 1/rho^2
    S0, S1, S2 = (np.einsum("l,lkp->kp", A[:, 1] ** e, weight) for e in (0, 1, 2))
    B0, B1 = (np.einsum("l,lkp->kp", A[:, 1] ** e, weight * np.nan_to_num(L)) for e in (0, 1))
    intercept = (S2 * B0 - S1 * B1) / np.maximum(S0 * S2 - S1**2, 1e-9)
    steady = np.exp(-L[0]) > 0.5
    intercept = np.where(steady, intercept, np.nan)
    enough = steady.sum(0) >= 5
    out = np.full(rho.shape[1], np.nan)
    if enough.any():
        out[enough] = np.nanmedian(intercept[:, enough], axis=0)
    typical = np.nanmedian(out) if enough.any() else 0.05
    return np.exp(-np.clip(np.where(np.isnan(out), typical, out), 0.0, 1.5))


def frame_pairs(n_frames: int, lags: Sequence[int], skip: NDArray[np.bool_]) -> tuple[Array, Array]:
    """Pairs (i, j = i + lag), sorted by j then i descending; frames marked in `skip` [N] take no part."""
    j, lag = np.meshgrid(np.arange(n_frames), np.sort(lags), indexing="ij")
    i = j - lag
    keep = (i >= 0) & ~skip[j] & ~skip[np.maximum(i, 0)]
    return i[keep], j[keep]


class Correlator:
    """Cell correlations of frame pairs, aligned in plane.

    Parameters
    ----------
    geometry, cells : field of view and cells at the resolution of the frames.
    features : callable uint8 frame -> float32 image of zero local mean (`features`).
    """

    def __init__(self, geometry: ProbeGeometry, cells: Cells, features: Callable):
        self.labels, self.n_cells, self.features = cells.labels, len(cells), features
        S, face = geometry.scale, geometry.face_mm
        self.mm_px = np.array([[S[0, 0], 0, S[0, 3] + S[0, 0] - face[0]],
                               [0, S[1, 1], S[1, 3] + S[1, 1] - face[1]], [0, 0, 1.0]])
        self.px_mm = np.linalg.inv(self.mm_px)

    def pair(self, a, b, planar_twist: Array) -> NDArray[np.float32]:
        """Correlations [P] of two feature images whose planar motion (b in a) is known."""
        warped = warp_halfway(a, b, planar_twist, self.mm_px, self.px_mm)
        sums = np.empty((self.n_cells, 6))
        cpu.cell_sums(*warped, self.labels, sums)
        return coefficients(sums)
