"""Small scans and poses for tests."""

import numpy as np

from speckle_rec import geometry

ROWS, COLUMNS = 48, 64


def speckle(n_frames: int, seed: int = 0) -> np.ndarray:
    """uint8 [n, 48, 64] of noise."""
    return np.random.default_rng(seed).integers(1, 255, (n_frames, ROWS, COLUMNS), dtype=np.uint8)


def random_poses(n: int, seed: int = 0, size: float = 0.2) -> np.ndarray:
    """Poses [n, 4, 4] in mm and rad."""
    return geometry.exp(np.random.default_rng(seed).normal(size=(n, 6)) * size)
