"""Images made ready for matching: high-passed grey levels and decompressed, normalised amplitude."""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

FloatImage = NDArray[Any]     # float32 [H, W]

GREY_CLIP = 60.0
MEAN_MM = 2.1           # grey levels lose what is smoother than this: anatomy
AMPLITUDE_MEAN_MM = 1.15
GREY_PER_NEPER = 255 / (83 * np.log(10) / 20)     # 83 dB of amplitude over 0..255


def shrink(image, factor: int):
    """Mean over factor x factor px; rows and columns that do not fill a block are left out."""
    if factor == 1:
        return image
    rows, columns = (n // factor * factor for n in image.shape)
    return cv2.resize(image[:rows, :columns], (columns // factor, rows // factor), interpolation=cv2.INTER_AREA)


class LocalMean:
    """Gaussian mean over the field of view `mask` only (normalised convolution; Knutsson & Westin 1993).

    Three box filters stand in for the Gaussian (Wells 1986): their cost does not grow with its width.
    """

    def __init__(self, mask: NDArray[np.bool_], sigma_px: tuple[float, float]):
        """`sigma_px` : across and down."""
        across, down = (int(2 * round((np.sqrt(12 * s**2 / 3 + 1) - 1) / 2) + 1) for s in sigma_px)
        self.widths = across, down
        self.mask: FloatImage = mask.astype(np.float32)
        self.per_weight: FloatImage = 1 / np.maximum(self._smoothed(self.mask), 1e-6)

    def __call__(self, image: FloatImage) -> FloatImage:
        """The mean [H, W] about every pixel of a float32 image."""
        return self._smoothed(image * self.mask) * self.per_weight

    def _smoothed(self, image: FloatImage) -> FloatImage:
        for _ in range(3):
            image = cv2.boxFilter(image, -1, self.widths)
        return image


class GreyFeatures:
    """Log image minus its local mean, clipped at +-60 grey levels, 0 outside the field of view.

    Compression makes speckle's statistics independent of gain; the high pass takes away anatomy.

    Parameters
    ----------
    mask : bool [H, W].   pixel_mm : width and height of a pixel.   sigma_mm : of the local mean.
    """

    def __init__(self, mask: NDArray[np.bool_], pixel_mm: tuple[float, float], sigma_mm: float = MEAN_MM):
        self.local_mean = LocalMean(mask, (sigma_mm / pixel_mm[0], sigma_mm / pixel_mm[1]))

    def __call__(self, frame: NDArray[np.uint8]) -> FloatImage:
        image = frame.astype(np.float32)
        image -= self.local_mean(image)
        np.clip(image, -GREY_CLIP, GREY_CLIP, out=image)
        image *= self.local_mean.mask
        return image


class AmplitudeFeatures:
    """Decompressed amplitude over its local mean, minus 1, 0 outside the field of view.

    A = exp(g / counts_per_neper) undoes log compression (83 dB over 0..255: 26.7 grey levels per neper);
    the division makes the image stationary, as the decorrelation curves assume.

    Parameters
    ----------
    mask : bool [H, W].   pixel_mm : width and height of a pixel.   counts_per_neper : grey levels.
    """

    def __init__(self, mask: NDArray[np.bool_], pixel_mm: tuple[float, float], counts_per_neper: float):
        self.local_mean = LocalMean(mask, (AMPLITUDE_MEAN_MM / pixel_mm[0], AMPLITUDE_MEAN_MM / pixel_mm[1]))
        self.table = np.exp(np.arange(256) / counts_per_neper).astype(np.float32)

    def __call__(self, frame: NDArray[np.uint8]) -> FloatImage:
        return self.of(self.amplitude(frame))

    def amplitude(self, frame: NDArray[np.uint8]) -> FloatImage:
        """The decompressed image."""
        return cv2.LUT(frame, self.table)

    def of(self, amplitude: FloatImage) -> FloatImage:
        """Features of a decompressed image."""
        mean = self.local_mean(amplitude)
        ratio = np.divide(amplitude, np.maximum(mean, 1e-3, out=mean), out=mean)
        ratio -= 1
        np.minimum(ratio, 4.0, out=ratio)
        ratio *= self.local_mean.mask
        return ratio
