"""From the signs of a cell (what the images show of it) to its floor, slow share and stretch (METHOD.md (7.2))."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

PARTS = ("floor", "slow", "stretch")       # logit of the floor, logit of the slow share, log of the stretch
CLIP = 2.5                                 # of the signs, beyond which they tell no more


def design(signs: Array) -> Array:
    """Regressors [..., 1 + 2 F] of signs [..., F]: 1, each sign, each squared."""
    s = np.clip(np.nan_to_num(signs), -CLIP, CLIP)
    return np.concatenate([np.ones((*s.shape[:-1], 1)), s, s * s], -1)


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def parts(coefficients: Array, signs: Array) -> tuple[Array, Array, Array]:
    """Floor, slow share and stretch of sqrt(Q) [...] of cells with the given signs [..., F] (METHOD.md (7.2))."""
    return from_predictors(*np.moveaxis(design(signs) @ coefficients.T, -1, 0))


def from_predictors(floor: Array, slow: Array, stretch: Array) -> tuple[Array, Array, Array]:
    """Floor, slow share and stretch [...] of their linear predictors."""
    return sigmoid(floor), sigmoid(slow), np.exp(np.clip(stretch, -0.7, 0.7))
