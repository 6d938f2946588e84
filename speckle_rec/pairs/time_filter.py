"""The filter over time of a scanner: from the frames of a scan to the correlation that it gives to noise.

Scanners average pictures, or blend each with the one shown before. Noise, new in every frame, then correlates between
frames by the autocorrelation of that filter, whatever the probe does. Cells that show nothing but noise (dark, deep, in
shadow) tell it; what leaks into them of moving echoes falls as that of other cells does (METHOD.md, section 2).
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ..frames.features import GREY_PER_NEPER, AmplitudeFeatures
from ..frames.working_images import WorkingImages
from ..probe.field import ProbeGeometry
from ..products.stages import NO_FILTER, TimeFilter

Array = NDArray[np.float64]

LAGS = 8                        # frames, up to which a filter reaches
STRETCHES, STRETCH = 12, 40     # stretches of a scan that are looked at, and frames of each
BLOCK_MM = 3.0
LIT, UNCLIPPED = 0.6, 0.7       # share of a block inside the field, and of its pixels that are not black
DARK, QUIET = 0.5, 0.05          # share of the blocks that are darkest, and of these the least alike
FEWEST = 8                      # blocks that tell
LEAST = 0.06                    # correlation of noise in neighbours, below which there is no filter
DARKER = 0.9                    # grey level of quiet blocks over that of bright ones, above which they are no noise
# How other blocks fall has to leave so much of how quiet ones do, rms, or as a share of it, to tell a filter.
MISFIT, SHARE = 0.07, 0.4
# Deviation from block to block over the correlation: below the first it is noise if it falls as a filter makes it,
# above the second it is none.
EVEN, UNEVEN = 0.06, 0.3
ALIKE, NEAR = 0.2, 4            # least range of correlations over blocks of tissue, at one of so many lags: noise .1
GONE = 0.2                      # correlation of noise at the last lag, at most
STRICTLY, ABOUT = 0.3, 1.0      # by which logarithms at lags 2 and 1 may miss those of a recursion, 2 to 1; of tissue 4
WIDEST_PX, HALF = 12, 0.4        # shifts that tell the size of speckle, and correlation that is still told
ENDS = 0.03                     # correlation of noise at which a filter has ended


def find(images: WorkingImages) -> TimeFilter:
    """The filter over time that the noise of a scan tells of; `NO_FILTER` where nothing does."""
    found = of_blocks(*block_correlations(images))
    return replace(found, speckle_mm=speckle_size(images)) if found else found


def of_blocks(grey: Array, halves: Array) -> TimeFilter:
    """The filter from mean grey levels [B] of blocks and correlations [2, B, LAGS] of their halves at lags from 1 on.

    Noise of a filter correlates by R(lag), echoes by s(lag), blocks that hold both by (1 - a) R + a s. The least alike
    of the dark blocks hold least echoes; s is that of the bright ones, and a what is left at the far lags, where no
    filter reaches. Noise is alike in all blocks; what is left of echoes is not, or falls as the bright ones' do.
    Blocks as bright as the others hold speckle, and tell nothing but a mean over frames. One half of a block tells
    whether it is quiet, the other what it shows: the least of many is less than it is.               METHOD.md (2.7)
    """
    alike = halves.mean(0)
    if len(grey) < 2 * FEWEST:
        return NO_FILTER
    if nothing_but_noise(alike):
        return TimeFilter(_falling(np.median(alike, axis=0)), 0.01, only_noise=True)
    bright = grey > np.quantile(grey, DARK)
    dark = np.flatnonzero(~bright)
    few = max(FEWEST, round(QUIET * len(dark)))
    quiet = [dark[np.argsort(half[dark, :2].sum(1))][:few] for half in halves]
    shown = np.concatenate([half[blocks] for half, blocks in zip(halves[::-1], quiet, strict=True)])
    seen, echoes = np.median(shown, axis=0), np.median(alike[bright], axis=0)
    spread = 1.48 * float(np.median(np.abs(shown[:, 0] - seen[0])))
    share = float(np.clip(seen @ echoes / max(float(echoes @ echoes), 1e-9), 0, 1))
    response = _without_leak(seen, echoes)
    misfit, whole = (np.sqrt(np.mean(np.square(x))) for x in (seen - share * echoes, seen))
    differs = misfit > min(MISFIT, SHARE * whole) and spread < UNEVEN * response[0]
    even = spread < EVEN * response[0]
    noise = ((differs and _as_a_filter(response, ABOUT, 2 * LEAST))
             or (even and _as_a_filter(response, STRICTLY, LEAST)))
    darker = np.median(grey[np.concatenate(quiet)]) < DARKER * np.median(grey[bright])
    if response[0] < LEAST or not noise or not (darker or _off_a_mean(response) < LEAST):
        return NO_FILTER
    return TimeFilter(_falling(response), max(spread, 0.01))


def _without_leak(seen: Array, echoes: Array) -> Array:
    """What quiet blocks show [LAGS] less the share of echoes that the far lags tell, where only a recursion reaches."""
    far, response, own = np.arange(LAGS // 2, LAGS), seen, 0.0
    for _ in range(3):
        leak = float(np.clip((seen[far].sum() - own) / max(echoes[far].sum() - own, 0.5), 0, 0.9))
        response = (seen - leak * echoes) / (1 - leak)
        own = float((response[0]**(far + 1)).sum()) if _as_a_filter(response, STRICTLY, -1.0) else 0.0
    return response


def nothing_but_noise(alike: Array) -> bool:
    """Whether all blocks, of correlations [B, LAGS], fall alike, soon, and as a filter makes noise fall.

    Tissue falls otherwise at other depths, and slowly at first: as the square of the lag where the motion is steady.
    """
    low, middle, high = np.quantile(alike, (0.05, 0.5, 0.95), axis=0)
    if (high - low)[:NEAR].max() > ALIKE or high[-1] > GONE:
        return False
    if middle[0] < LEAST:
        return True
    return _as_a_filter(middle, STRICTLY, LEAST)


def _as_a_filter(response: Array, off: float, off_a_mean: float) -> bool:
    """Whether a response [LAGS] falls as a recursion's, twice as far at twice the lag, or is that of a mean."""
    if response[0] <= 0:
        return False
    fall = np.log(np.maximum(response[1], 1e-3)) / np.log(min(response[0], 0.999))
    return bool(abs(fall - 2) < off or _off_a_mean(response) < off_a_mean)


def _off_a_mean(response: Array) -> float:
    """Most by which a response [LAGS] misses that of a mean over two, three or four frames, at the near lags."""
    lag = np.arange(1, NEAR + 1)
    return float(min(np.abs(response[:NEAR] - np.maximum(1 - lag / m, 0)).max() for m in (2, 3, 4)))


def _falling(response: Array) -> tuple[float, ...]:
    """A response that falls, up to where it has ended."""
    response = np.minimum.accumulate(response)
    ends = int(np.argmax(np.append(response, 0.0) < ENDS))
    return tuple(float(np.round(r, 3)) for r in response[:ends])


def block_correlations(images: WorkingImages) -> tuple[Array, Array]:
    """Mean grey level [B] of blocks of the field of view, and correlations [2, B, LAGS] of their halves at lags from 1.

    Of each pixel what it shows on average in a stretch is taken off: what never moves is no noise.
    """
    geometry, n = images.geometry, images.scan.n_frames
    size = max(4, round(BLOCK_MM / float(np.sqrt(geometry.scale[0, 0] * geometry.scale[1, 1]))))
    tops, lefts = _blocks(geometry, size)
    length = min(STRETCH, n)
    begins = np.unique(np.linspace(0, n - length, min(STRETCHES, max(1, n // length))).astype(int))
    features = AmplitudeFeatures(geometry.mask(), geometry.pixel_mm, GREY_PER_NEPER)
    found = []
    for begin in begins:
        frames = images.frames(begin, begin + length)
        shown = _cut(np.stack(frames), tops, lefts, size)
        black = (shown < 2).mean((0, 2))
        change = _cut(np.stack([features(frame) for frame in frames]), tops, lefts, size)
        change -= change.mean(0)
        halves = np.stack([_alike(part) for part in np.array_split(change, 2, axis=2)])
        told = (black < 1 - UNCLIPPED) & (np.square(change).mean((0, 2)) > 1e-6)
        found.append((shown.mean((0, 2))[told], halves[:, told]))
    grey, alikes = zip(*found, strict=True)
    return np.concatenate(grey), np.concatenate(alikes, axis=1)


def speckle_size(images: WorkingImages) -> tuple[float, float]:
    """Shifts (across, down) in mm at which pictures correlate with themselves by exp(-1/2), as a Gaussian would."""
    geometry, n = images.geometry, images.scan.n_frames
    mask, sums = geometry.mask(), np.zeros((2, 1 + WIDEST_PX, 3))
    features = AmplitudeFeatures(mask, geometry.pixel_mm, GREY_PER_NEPER)
    for frame in np.unique(np.linspace(0, n - 1, STRETCHES).astype(int)):
        image = features(images.frames(frame, frame + 1)[0])
        for axis, shifted in enumerate((image.T, image)):
            lit = (mask.T, mask)[axis]
            for px in range(1, 1 + WIDEST_PX):
                both = lit[px:] & lit[:-px]
                a, b = shifted[px:][both], shifted[:-px][both]
                sums[axis, px] += a @ b, a @ a, b @ b
    alike = sums[:, 1:, 0] / np.maximum(np.sqrt(sums[:, 1:, 1] * sums[:, 1:, 2]), 1e-9)
    across, down = (mm * _deviation(falls) for mm, falls in zip(geometry.pixel_mm, alike, strict=True))
    return across, down


def _deviation(falls: Array) -> float:
    """Deviation of a Gaussian that falls as correlations [WIDEST_PX] at shifts from 1 on do, up to about `HALF`."""
    px = max(1, int(np.argmax(np.append(falls, 0.0) < HALF)))
    return px / float(np.sqrt(-2 * np.log(np.clip(falls[px - 1], 0.05, 0.99))))


def _alike(change: Array) -> Array:
    """Correlation [B, LAGS] at lags from 1 on of what blocks show [n, B, pixels], less its mean over n frames."""
    n, power = len(change), np.square(change).mean(2)
    alike = np.zeros((change.shape[1], LAGS))
    for lag in range(1, min(LAGS, n - 1) + 1):
        energy = np.sqrt(power[:-lag].mean(0) * power[lag:].mean(0))
        alike[:, lag - 1] = (change[:-lag] * change[lag:]).mean(2).mean(0) / np.maximum(energy, 1e-9)
    # The mean that was taken off holds a part of every frame, and the more the more these are alike.
    return alike + (1 - alike) * (1 + 2 * np.maximum(alike, 0).sum(1, keepdims=True)) / n


def _blocks(geometry: ProbeGeometry, size: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First rows and columns of blocks that lie in the field of view and show something that changes."""
    mask = geometry.mask()
    rows, columns = (n // size for n in mask.shape)
    share = mask[:rows * size, :columns * size].reshape(rows, size, columns, size).mean((1, 3))
    top, left = np.nonzero(share > LIT)
    return top * size, left * size


def _cut(images: NDArray, tops: NDArray[np.int64], lefts: NDArray[np.int64], size: int) -> NDArray:
    """Blocks [n, B, size * size] of images [n, rows, columns]."""
    step = np.arange(size)
    rows, columns = tops[:, None, None] + step[:, None], lefts[:, None, None] + step
    return np.ascontiguousarray(images[:, rows, columns].reshape(len(images), len(tops), -1))


def warnings_of(found: TimeFilter) -> list[str]:
    """What a user should know of a filter that was found."""
    if found.only_noise:
        return ["the pictures show nothing that moves but noise: nothing can be measured (a probe in the air, or at "
                "rest)"]
    if not found:
        return []
    return [f"the scanner averages frames over time (noise of neighbours correlates by {found}): this is "
            "reckoned with, but steps are told more surely with persistence, or frame averaging, switched off"]
