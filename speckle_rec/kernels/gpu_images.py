"""Images made ready for matching, on a GPU: twins of what `features` and `block_matching` take from OpenCV.

They agree with OpenCV 5 to rounding. OpenCV 4 rounds the coordinates of a cubic warp to 1/32 px, which is up to
some 5% of the contrast of speckle in single pixels.
"""

from typing import Any

import numpy as np

from .cpu import CUBIC
from .launch import floor, helper, kernel, xp_of


def shrink(frames: Any, factor: int) -> Any:
    """Mean over factor x factor px of uint8 [n, H, W], rounded as OpenCV does; see `features.shrink`."""
    if factor == 1:
        return frames
    n, rows, columns = frames.shape[0], *(edge // factor for edge in frames.shape[1:])
    blocks = frames[:, : rows * factor, : columns * factor].reshape(n, rows, factor, columns, factor)
    total = blocks.sum((2, 4), dtype=np.uint32)
    if factor == 2:
        return ((total + 2) >> 2).astype(np.uint8)
    return xp_of(frames).rint(total * np.float32(1 / factor**2)).astype(np.uint8)


def box_filter(images: Any, widths: tuple[int, int]) -> Any:
    """Mean over `widths` px (odd; across, down) of float32 [n, H, W], mirrored about the outermost pixels."""
    xp = xp_of(images)
    across, out = xp.empty_like(images), xp.empty_like(images)
    _mean_along(images.shape, images, widths[0] // 2, 0, 1, across)
    _mean_along(images.shape, across, widths[1] // 2, 1, 0, out)
    return out


@helper
def _mirrored(k, n):
    """Index 0..n-1 that stands for k: d c b | a b c d | c b a; most k are inside, and a division takes its time."""
    if 0 <= k and k < n:
        return k
    period = max(2 * n - 2, 1)
    k = abs(k) % period
    return k if k < n else period - k


@kernel(3)
def _mean_along(n, r, c, images, half, down, right, out):
    total = np.float32(0)
    for t in range(-half, half + 1):
        total += images[n, _mirrored(r + t * down, images.shape[1]), _mirrored(c + t * right, images.shape[2])]
    out[n, r, c] = total / np.float32(2 * half + 1)


class LocalMean:
    """Gaussian mean over the field of view `mask` bool [H, W] only; twin of `features.LocalMean`."""

    def __init__(self, mask: Any, widths: tuple[int, int]):
        self.widths = widths
        self.mask = mask.astype(np.float32)
        self.weight = xp_of(mask).maximum(self._thrice(self.mask[None]), np.float32(1e-6))

    def _thrice(self, images: Any) -> Any:
        for _ in range(3):
            images = box_filter(images, self.widths)
        return images

    def __call__(self, images: Any) -> Any:
        """float32 [n, H, W] of float32 [n, H, W]."""
        return self._thrice(images * self.mask) / self.weight


class GreyFeatures:
    """Twin of `features.GreyFeatures`: uint8 [n, H, W] -> float32 [n, H, W]; `mask` lies on the device."""

    def __init__(self, mask: Any, widths: tuple[int, int], clip: float):
        self.mean, self.clip = LocalMean(mask, widths), clip

    def __call__(self, frames: Any) -> Any:
        image = frames.astype(np.float32)
        return xp_of(frames).clip(image - self.mean(image), -self.clip, self.clip) * self.mean.mask


class AmplitudeFeatures:
    """Twin of `features.AmplitudeFeatures`: uint8 [n, H, W] -> float32 [n, H, W]; `table` float32 [256]."""

    def __init__(self, mask: Any, table: Any, widths: tuple[int, int]):
        self.mean, self.table = LocalMean(mask, widths), table

    def __call__(self, frames: Any) -> Any:
        xp = xp_of(frames)
        amplitude = self.table[frames.astype(np.int32)]
        ratio = amplitude / xp.maximum(self.mean(amplitude), np.float32(1e-3))
        return xp.minimum(ratio - np.float32(1), np.float32(4)) * self.mean.mask


def warp(images: Any, pick: Any, M: Any, cubic: bool, out: Any = None) -> Any:
    """Images `pick` sampled at M (column, row, 1), 0 outside: cv2.warpAffine with WARP_INVERSE_MAP.

    Parameters
    ----------
    images : float32 [K, H, W].   pick : int64 [n], image of each result.   M : float64 [n, 2, 3], px.
    out : float32 [n, H, W] to write into.
    """
    if out is None:
        out = xp_of(images).empty((len(pick), *images.shape[1:]), np.float32)
    (_warp_cubic if cubic else _warp_linear)(out.shape, images, pick, M, out)
    return out


@kernel(3)
def _warp_linear(n, r, c, images, pick, M, out):
    x = M[n, 0, 0] * c + M[n, 0, 1] * r + M[n, 0, 2]
    y = M[n, 1, 0] * c + M[n, 1, 1] * r + M[n, 1, 2]
    left, top, k = floor(x), floor(y), pick[n]
    fx, fy, one = np.float32(x - left), np.float32(y - top), np.float32(1)
    total = np.float32(0)
    for a in range(2):
        row = top + a
        if 0 <= row and row < images.shape[1]:
            down = fy if a else one - fy
            for b in range(2):
                column = left + b
                if 0 <= column and column < images.shape[2]:
                    total += down * (fx if b else one - fx) * images[k, row, column]
    out[n, r, c] = total


@kernel(3)
def _warp_cubic(n, r, c, images, pick, M, out):
    x = M[n, 0, 0] * c + M[n, 0, 1] * r + M[n, 0, 2]
    y = M[n, 1, 0] * c + M[n, 1, 1] * r + M[n, 1, 2]
    left, top, k = floor(x), floor(y), pick[n]
    s, t = np.float32(CUBIC), np.float32(x - left)
    one, two, three = np.float32(1), np.float32(2), np.float32(3)
    u = one - t
    x0, x1 = s * t * u * u, ((s + two) * t - (s + three)) * t * t + one
    x2 = ((s + two) * u - (s + three)) * u * u + one
    x3 = one - x0 - x1 - x2
    t = np.float32(y - top)
    u = one - t
    y0, y1 = s * t * u * u, ((s + two) * t - (s + three)) * t * t + one
    y2 = ((s + two) * u - (s + three)) * u * u + one
    y3 = one - y0 - y1 - y2
    total = np.float32(0)
    for a in range(4):
        row = top - 1 + a
        if 0 <= row and row < images.shape[1]:
            line = np.float32(0)
            for b in range(4):
                column = left - 1 + b
                if 0 <= column and column < images.shape[2]:
                    line += (x0 if b == 0 else x1 if b == 1 else x2 if b == 2 else x3) * images[k, row, column]
            total += (y0 if a == 0 else y1 if a == 1 else y2 if a == 2 else y3) * line
    out[n, r, c] = total
