"""Images made ready for matching: high-passed grey levels and decompressed, normalised amplitude."""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

FloatImage = NDArray[Any]     # float32 [H, W]

GREY_CLIP = 60.0


def shrink(image, factor: int):
    """Mean over factor x factor px; rows and columns that do not fill a block are left out."""
    if factor == 1:
        return image
    rows, columns = (n // factor * factor for n in image.shape)
    return cv2.resize(image[:rows, :columns], (columns // factor, rows // factor), interpolation=cv2.INTER_AREA)


def local_mean(image: FloatImage, mask: NDArray[np.bool_], sigma_px: float) -> FloatImage:
    """Gaussian mean over the field of view only (normalised convolution; Knutsson & Westin 1993).

    Three box filters stand in for the Gaussian (Wells 1986): their cost does not grow with its width.
    """
    width = int(2 * round((np.sqrt(12 * sigma_px**2 / 3 + 1) - 1) / 2) + 1)
    weight: FloatImage = mask.astype(np.float32)
    top: FloatImage = image * weight
    for _ in range(3):
        top = cv2.boxFilter(top, -1, (width, width))
        weight = cv2.boxFilter(weight, -1, (width, width))
    return top / np.maximum(weight, 1e-6)


class GreyFeatures:
    """Log image minus its local mean, clipped at +-60 grey levels, 0 outside the field of view.

    Compression makes speckle's statistics independent of gain; the high pass takes away anatomy.
    """

    def __init__(self, mask: NDArray[np.bool_], sigma_px: float = 9.0):
        self.mask, self.sigma_px = mask, sigma_px

    def __call__(self, frame: NDArray[np.uint8]) -> FloatImage:
        image = frame.astype(np.float32)
        high = np.clip(image - local_mean(image, self.mask, self.sigma_px), -GREY_CLIP, GREY_CLIP)
        return high * self.mask


class AmplitudeFeatures:
    """Decompressed amplitude over its local mean, minus 1, 0 outside the field of view.

    A = exp(g / counts_per_neper) undoes log compression (83 dB over 0..255: 26.7 grey levels per neper);
    the division makes the image stationary, as the decorrelation curves assume.
    """

    def __init__(self, mask: NDArray[np.bool_], counts_per_neper: float, sigma_px: float = 5.0):
        self.mask, self.sigma_px = mask, sigma_px
        self.table = np.exp(np.arange(256) / counts_per_neper).astype(np.float32)

    def __call__(self, frame: NDArray[np.uint8]) -> FloatImage:
        amplitude = cv2.LUT(frame, self.table)
        ratio = amplitude / np.maximum(local_mean(amplitude, self.mask, self.sigma_px), 1e-3)
        return np.minimum(ratio - 1, 4.0) * self.mask
