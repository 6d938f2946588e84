"""Echoes that are not where they seem to be: haze, and reverberation between the face and the skin."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, gaussian_filter1d

from ..probe.field import ProbeGeometry
from .beam import Beam
from .settings import OFF_DB, Clutter

Array = NDArray[np.float64]

HAZE_LINES = 1.5             # standard deviation of a grain of haze across the lines
REVERBERATION_LINES = 12.0   # over which a reverberation line keeps its strength and phase
UNEVENNESS = 0.3             # of the logarithm of its strength


@dataclass(frozen=True)
class Stray:
    """The clutter of one scan; `seed` draws what stays with the probe."""

    clutter: Clutter
    seed: int = 0

    def haze(self, r_mm: Array, deepest_mm: float) -> Array:
        """Amplitude of all haze at ranges r; standard speckle is 1."""
        c = self.clutter
        if c.haze_db <= OFF_DB:
            return np.zeros_like(r_mm)
        return 10 ** ((c.haze_db + c.haze_db_cm * (r_mm - deepest_mm) / 10) / 20)

    def moving(self, r_mm: Array, deepest_mm: float) -> Array:
        """Amplitude of the haze that is new in every frame."""
        return np.sqrt(1 - self.clutter.haze_still) * self.haze(r_mm, deepest_mm)

    def still(self, r_mm: Array, n_lines: int, beam: Beam, geometry: ProbeGeometry) -> NDArray[np.complex64] | None:
        """What is added to the baseband [n_r, n_lines] of every frame; None: nothing."""
        c = self.clutter
        rng = np.random.default_rng(self.seed)
        out = np.zeros((len(r_mm), n_lines), complex)
        haze = np.sqrt(c.haze_still) * self.haze(r_mm, geometry.depth_mm[1])
        step = r_mm[1] - r_mm[0]
        if haze.any():
            grains = _smooth(rng, out.shape, (beam.pulse_sd_mm / step, HAZE_LINES))
            out += haze[:, None] * grains
        if c.reverberation_db > OFF_DB:
            first = geometry.depth_mm[0]
            for n, r in enumerate(np.arange(first + c.reverberation_mm, r_mm[-1], c.reverberation_mm)):
                level = 10 ** ((c.reverberation_db - n * c.reverberation_fall_db) / 20)
                along = _smooth(rng, (1, n_lines), (0.0, REVERBERATION_LINES))[0]
                strength = level * np.exp(UNEVENNESS * along.real + 1j * np.angle(along))
                out += strength * np.exp(-((r_mm - r) ** 2) / (2 * beam.pulse_sd_mm**2))[:, None]
        return out.astype(np.complex64) if out.any() else None

    def soften(self, gain: NDArray[np.float32], geometry: ProbeGeometry) -> NDArray[np.float32]:
        """Gain [range, lateral] that attenuation leaves, with the edges of shadows as wide as asked for."""
        if self.clutter.shadow_edge_mm <= 0:
            return gain
        middle = 1.0 if geometry.kind == "linear" else geometry.radius_mm + sum(geometry.depth_mm) / 2
        step = (geometry.lateral[1] - geometry.lateral[0]) / (gain.shape[1] - 1) * middle
        return gaussian_filter1d(gain, self.clutter.shadow_edge_mm / step, axis=1, mode="nearest")


def _smooth(rng: np.random.Generator, shape: tuple[int, int], sd: tuple[float, float]) -> NDArray[np.complex128]:
    """Complex Gaussian noise of unit power, correlated over `sd` samples along each axis."""
    real, imag = (gaussian_filter(rng.standard_normal(shape), sd, mode="wrap") for _ in range(2))
    out = real + 1j * imag
    return out / np.sqrt(np.mean(np.abs(out) ** 2))
