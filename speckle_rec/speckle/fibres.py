"""Which way the fibres of a limb run, seen from the image plane: along its motion or across.

Muscles are bundles that are long along the limb and thin across it. A plane across the fibres shows round spots and
moves along the fibres, so that what it shows outlasts the beam; a plane along the fibres shows long bands, and its
motion leaves them behind. Speckle tells less than the true distance in the one, more in the other (METHOD.md (7.11)).
"""

from itertools import chain

import cv2
import numpy as np
from numpy.typing import NDArray

from .. import geometry as se3
from ..frames.texture import WINDOW_HALF, windows
from ..frames.working_images import WorkingImages, threads
from ..probe.field import Cells

Array = NDArray[np.float64]

EVERY = 8                           # frames: what is looked at changes slowly
FINE_MM, COARSE_MM = 0.45, 2.7      # widths (Gaussian) between which bands are looked for: speckle is finer
APART_MM = 1.8                      # places whose likeness is compared, along the image and in depth
ROUND, LONG = 0.0, 0.6              # what of one is more than of the other, in planes across fibres and along them
LEAST_TURN_RAD = 1.1                # of the probe, from which bands would show at one end, and its turn tells more
TELLS = 0.5                         # difference, of two, between the ends of a turn, below which there are no fibres
CLOSE = 0.25                        # of the square of the sine: what counts as an end


def elongation(images: WorkingImages, cells: Cells, jobs: int = 0) -> Array:
    """How much longer than deep the structures of the images are [W], by `tissue.windows`.

    Median over the cells of the correlation of the image, freed of speckle and of shading, with itself `APART_MM`
    further along the image, less that with itself as much deeper: about 0 where structures are round.
    """
    geometry = images.geometry
    px = np.abs(np.diag(geometry.scale)[:2])
    mask = geometry.mask().astype(np.float32)
    right, down = (max(1, round(APART_MM / p)) for p in px.tolist())
    inside = cells.labels >= 0
    label = cells.labels[inside]

    def smooth(image, width_mm: float):
        return cv2.GaussianBlur(image, (0, 0), sigmaX=width_mm / px[0], sigmaY=width_mm / px[1])

    norms = [np.maximum(smooth(mask, width), 1e-3) for width in (FINE_MM, COARSE_MM)]

    def sums(frame: NDArray[np.uint8]) -> Array:
        lit = frame * mask
        fine, coarse = (smooth(lit, width) / norm for width, norm in zip((FINE_MM, COARSE_MM), norms, strict=True))
        h = (fine - coarse) * mask
        return np.stack([np.bincount(label, (h * other)[inside], len(cells))
                         for other in (h, np.roll(h, -right, 1), np.roll(h, -down, 0))], 1)

    with threads(jobs) as pool:
        found = list(chain.from_iterable(
            pool.map(sums, [frame for k, frame in enumerate(block) if (start + k) % EVERY == 0])
            for start, block in images.blocks()))
    at = EVERY * np.arange(len(found))
    middle, _ = windows(images.scan.n_frames)
    out = np.zeros(len(middle))
    for w, m in enumerate(middle):
        total = np.sum([found[k] for k in np.flatnonzero(np.abs(at - m) <= WINDOW_HALF)], axis=0)
        lit = total[:, 0] > 0
        if lit.any():
            out[w] = np.median((total[lit, 1] - total[lit, 2]) / total[lit, 0])
    return out


def across(elongation: Array, n_frames: int, T: Array | None = None) -> Array:
    """How far the image plane moves across the fibres [W]: -1 along them, 1 across, 0 where nothing is known.

    Parameters
    ----------
    elongation : [W], see `elongation`.
    T : [N, 4, 4] poses, if known. Then the images only tell how the fibres lay at first, and the turn since then the
        rest: bands show late, but what is oblique to the fibres moves much as across. Where the probe is turned by
        `LEAST_TURN_RAD` or more, both ends of the turn must differ for there to be fibres.
    """
    seen = np.clip(2 * (elongation - ROUND) / (LONG - ROUND) - 1, -1, 1)
    if T is None:
        return seen
    ok = np.isfinite(T).all(axis=(1, 2))
    if not ok.any():
        return seen
    yaw = np.interp(np.arange(n_frames), np.flatnonzero(ok), se3.turned(T[ok]))
    middle, _ = windows(n_frames)
    sine2 = np.square(np.sin(yaw[np.minimum(middle, n_frames - 1)] - yaw[0]))
    first, last = (float(np.median(seen[end])) for end in (sine2 <= sine2.min() + CLOSE,
                                                           sine2 >= sine2.max() - CLOSE))
    if np.ptp(yaw) < LEAST_TURN_RAD:
        return first * (1 - 2 * sine2)
    return np.sign(last - first) * (2 * sine2 - 1) if abs(last - first) > TELLS else np.zeros(len(middle))
