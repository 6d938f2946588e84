"""Images moved by a planar motion, where they are looked at."""

import cv2
import numpy as np
from numpy.typing import NDArray

from ..kernels import cpu
from .features import FloatImage

STEEP = 0.12        # sine of a rotation from which stretches are too short for the kernel: OpenCV is faster


def spans_of(wanted: NDArray[np.bool_]) -> NDArray[np.int64]:
    """First column and one after the last [H, 2] that are wanted of each row; 0, 0 where none is."""
    any_wanted = wanted.any(1)
    first, last = wanted.argmax(1), wanted.shape[1] - wanted[:, ::-1].argmax(1)
    return np.stack([np.where(any_wanted, first, 0), np.where(any_wanted, last, 0)], 1).astype(np.int64)


def steep(M: NDArray[np.float64]) -> bool:
    """Whether a motion [2, 3] turns too far for the kernel."""
    return bool(abs(M[1, 0]) > STEEP)


def cubic(image: FloatImage, M: NDArray[np.float64], spans: NDArray[np.int64]) -> FloatImage:
    """Image [H, W] sampled at M (column, row, 1) by cubic interpolation, 0 outside; of no use outside of `spans`."""
    if steep(M):
        return cv2.warpAffine(image, M, image.shape[::-1], flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP)
    out = np.empty_like(image)
    cpu.warp_cubic(image, np.ascontiguousarray(M), spans, out)
    return out
