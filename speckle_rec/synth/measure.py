"""How the physics of speckle is measured on rendered frames, and what theory says about it."""

import numpy as np
from numpy.typing import NDArray
from scipy.special import hyp2f1, spence

from .. import geometry as se3
from ..probe.field import ProbeGeometry
from .beam import Beam, log_decorrelation

Array = NDArray[np.float64]


def about_face(geometry: ProbeGeometry, twist: Array) -> Array:
    """Pose [4, 4] that moves an image by a twist (mm, rad) of the frame at the centre of the probe face."""
    face = np.array([*geometry.face_mm, 0.0])
    return se3.translation(face) @ se3.exp(twist) @ se3.translation(-face)


def amplitude_correlation(rho_intensity: Array) -> Array:
    """rho_A of fully developed speckle from rho_I: (2F1(-1/2, -1/2; 1; rho_I) - 1) / (4/pi - 1).

    Eq. 10; source: Middleton, Introduction to Statistical Communication Theory (1960), ch. 9.
    """
    return (hyp2f1(-0.5, -0.5, 1, rho_intensity) - 1) / (4 / np.pi - 1)


def log_correlation(rho_intensity: Array) -> Array:
    """rho_log from rho_I: (6 / pi^2) Li2(rho_I), with the dilogarithm Li2 (eq. 11)."""
    return spence(1 - np.asarray(rho_intensity)) * 6 / np.pi**2


def snr(envelope: Array) -> float:
    """Mean over standard deviation; 1.913 for fully developed speckle."""
    return float(envelope.mean() / envelope.std())


def expected_intensity_correlation(beam: Beam, geometry: ProbeGeometry, r: Array, u: Array,
                                   T_image_moved: Array) -> Array:
    """rho_I [...] of the cells (r, u) of an image that moves by a pose [4, 4] under the Gaussian lens (eq. 4).

    Only the elevational part of the motion decorrelates here: in-plane motion has to be small or aligned.
    """
    x, y = geometry.cartesian(r, u)
    x, y = np.broadcast_arrays(x, y)
    points = np.stack([x, y, np.zeros_like(x), np.ones_like(x)], -1) @ T_image_moved.T
    x_ahead, y_ahead = geometry.cartesian(np.asarray(r) + 1, u)
    look = np.stack(np.broadcast_arrays(x_ahead - x, y_ahead - y, 0.0), -1)
    turn = (look @ T_image_moved[:3, :3].T)[..., 2]
    return np.exp(-log_decorrelation(beam, r, points[..., 2], turn))


class PairSums:
    """Sums over pairs of frames of what the intensity correlation of each cell needs."""

    def __init__(self):
        self.sums: Array = np.zeros((5, 1, 1))
        self.count = 0

    def add(self, a: NDArray[np.complex64], b: NDArray[np.complex64]) -> None:
        """Add the pair of basebands [n_r, n_lines]."""
        i, j = np.abs(a).astype(float) ** 2, np.abs(b).astype(float) ** 2
        self.sums = self.sums + np.stack([i, j, i * i, j * j, i * j])
        self.count += 1

    def correlation(self, mask: NDArray[np.bool_]) -> float:
        """rho_I pooled over the cells of `mask` [n_r, n_lines] and all pairs."""
        i, j, ii, jj, ij = self.sums[:, mask].mean(1) / self.count
        return float((ij - i * j) / np.sqrt((ii - i * i) * (jj - j * j)))
