"""Persistence: scanners that blend each picture with the one shown before, found, and undone where that is asked for.

What the picture before adds has not moved with the probe. It pulls matches of neighbours towards no motion, those of
frames further apart hardly, and makes neighbours more alike than their distance says. Lines coarser than pixels pull
them as well, so that nothing is taken out unasked (METHOD.md, section 2).
"""

from dataclasses import dataclass, replace
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from ..frames.working_images import WorkingImages, spaced, threads
from ..io.source import FrameSource
from ..probe.field import ProbeGeometry
from .block_matching import Matcher, PlanarMotion, same_picture
from .planar_motions import chained

Array = NDArray[np.float64]
Frame = NDArray[np.uint8]

FAR = 4                     # frames; the match at this lag is hardly pulled
TELLS_MM = (1.0, 2.0)       # rms motion of the image over `FAR` frames: less is pulled by lines coarser than pixels
#                             without any persistence, more leaves the picture before out of reach
STRETCHES, STRETCH = 8, 12  # stretches of pairs that are looked at, and pairs of each
FEWEST, ENOUGH = 3, 9       # stretches, and pairs of each within `TELLS_MM`
CLEAN = 0.95                # share of the motion that neighbours see without persistence (.93 to 1.02 on eight scans)
BLENDED = 0.90              # below it there is persistence
MOST = 0.8
LOST = 0.3                  # share of blocks that agree on a match, below which it is of little but noise


def share(images: WorkingImages, motion: PlanarMotion, jobs: int = 0) -> float:
    """Share of the picture before in each picture of a scan; 0 where nothing tells of persistence.

    It is the share without which neighbours see as much of the motion over `FAR` frames as they do on scanners that
    do not blend, `CLEAN` (2.7), in the median stretch where the probe was rocked or carried in the image plane.

    Parameters
    ----------
    motion : of the frames as they are shown, at lags 1 and `FAR`.
    """
    if seen(motion, images.geometry) > BLENDED:
        return 0.0
    shape = image_shape(images.geometry)
    begins = telling(motion, shape)
    matcher = Matcher(images.geometry)
    low, high = 0.0, MOST
    with threads(jobs) as pool:
        while high - low > 0.02:
            middle = (low + high) / 2
            without = undone(images, middle)
            found = pool.map(lambda begin, seen=without: _again(matcher, seen, begin), begins)
            enough = np.median([neighbours_see(near, far, shape) for near, far in found]) >= CLEAN
            low, high = (low, middle) if enough else (middle, high)
    return round((low + high) / 2, 2)


def seen(motion: PlanarMotion, geometry: ProbeGeometry) -> float:
    """Share of the motion over `FAR` frames that neighbours add up to, in the median stretch; 1 where nothing tells."""
    shape = image_shape(geometry)
    first, near, far = over_far(motion)
    begins = telling(motion, shape)
    if len(begins) < FEWEST:
        return 1.0
    parts = [np.isin(first, np.arange(begin, begin + STRETCH)) for begin in begins]
    return float(np.median([neighbours_see(near[part], far[part], shape) for part in parts]))


def telling(motion: PlanarMotion, shape: Array) -> list[int]:
    """First frames of the stretches in which the probe moved in the image plane so that persistence shows."""
    first, near, far = over_far(motion)
    return stretches(first, tells(near, far, shape))


def warnings_of(seen: float, share: float) -> list[str]:
    """What a user should know of the share of the motion that neighbours see, and of the share that was taken out."""
    if share:
        return [f"each picture holds some {share:.0%} of the one before (persistence): it is taken out before motion "
                "is measured, as was asked for, but noise grows; switch it off on the scanner"]
    return [f"neighbouring frames see {seen:.0%} of the motion in the image plane that frames {FAR} apart see: the "
            "scanner may blend each picture with the one before (persistence: switch it off), or its lines be coarser "
            "than pixels. Nothing was taken out; undo_persistence = true in a configuration takes it for persistence"
            ] if seen <= BLENDED else []


def undone(images: WorkingImages, share: float) -> WorkingImages:
    """The images without a share of the picture before."""
    return replace(images, scan=replace(images.scan, source=Unblended(images.scan.source, share)))


@dataclass
class Unblended:
    """Frames f of a `source` that shows d_k = (1 - share) f_k + share d_{k-1}; repeated pictures come out repeated."""

    source: FrameSource
    share: float

    def __post_init__(self) -> None:
        self.n_frames, self.shape = self.source.n_frames, self.source.shape

    def read(self, start: int, stop: int) -> Frame:
        """Frames start..stop-1."""
        shown = self.source.read(start, stop)
        before = self._before(start, shown[0]) if len(shown) else None
        out = shown.copy()
        for k in range(len(shown)):
            if k and not same_picture(shown[k - 1], shown[k]):
                before = shown[k - 1]
            if before is not None:
                cv2.addWeighted(shown[k], 1 / (1 - self.share), before, -self.share / (1 - self.share), 0, dst=out[k])
        return out

    def _before(self, start: int, frame: Frame) -> Frame | None:
        """The last picture before frame `start` that is another one."""
        for k in range(start - 1, -1, -1):
            before = self.source.read(k, k + 1)[0]
            if not same_picture(before, frame):
                return before
        return None


def image_shape(geometry: ProbeGeometry) -> Array:
    """[3, 3]: the mean square shift (mm^2) of the field of view under a planar twist v is v^T shape v."""
    row, column = np.nonzero(geometry.mask())
    x, y, _ = geometry.mm_px @ np.stack([column, row, np.ones_like(row)])
    one, zero = np.ones_like(x), np.zeros_like(x)
    J = np.stack([np.stack([one, zero, -y], -1), np.stack([zero, one, x], -1)], 1)
    return np.asarray(np.einsum("nki,nkj->ij", J, J) / len(x))


def over_far(motion: PlanarMotion) -> tuple[NDArray[np.int64], Array, Array]:
    """First frames [M] of the pairs (i, i + FAR) whose neighbours are matched too, the motion that these add up to
    [M, 3], and that of the pair itself [M, 3]. Pairs whose speckle is lost tell nothing and are left out."""
    lag = np.where(motion.share < LOST, 0, motion.j - motion.i)
    step = dict(zip(motion.j[lag == 1].tolist(), motion.twist[lag == 1], strict=True))
    found = [(i, chained([step[i + k] for k in range(1, FAR + 1)]), v)
             for i, v in zip(motion.i[lag == FAR].tolist(), motion.twist[lag == FAR], strict=True)
             if all(i + k in step for k in range(1, FAR + 1))]
    return (np.array([i for i, _, _ in found], np.int64), np.array([near for _, near, _ in found]).reshape(-1, 3),
            np.array([far for _, _, far in found]).reshape(-1, 3))


def tells(near: Array, far: Array, shape: Array) -> NDArray[np.bool_]:
    """[M] whether the motion is of a size that tells."""
    mean = (near + far) / 2
    size = np.sqrt(np.einsum("nk,kl,nl->n", mean, shape, mean))
    return np.asarray((size > TELLS_MM[0]) & (size < TELLS_MM[1]))


def neighbours_see(near: Array, far: Array, shape: Array) -> float:
    """Share of the motion of pairs `FAR` apart that their neighbours add up to, where it tells; 1 where nothing does.

    Motions are projected on the mean of both, so that noise of either does not favour one.
    """
    told = tells(near, far, shape)
    along = ((near + far) / 2)[told] @ shape
    whole = np.einsum("nk,nk", far[told], along)
    return float(np.einsum("nk,nk", near[told], along) / whole) if whole > 0 else 1.0


def stretches(first: NDArray[np.int64], told: NDArray[np.bool_]) -> list[int]:
    """First frames of up to `STRETCHES` stretches that do not overlap, those with most pairs that tell."""
    good = np.zeros(int(first.max(initial=0)) + STRETCH + 1)
    good[first[told]] = 1
    count = np.convolve(good, np.ones(STRETCH), "valid")
    return spaced((k for k in np.argsort(-count, kind="stable").tolist() if count[k] >= ENOUGH), STRETCH, STRETCHES)


def _again(matcher: Matcher, images: WorkingImages, begin: int) -> tuple[Array, Array]:
    """As `over_far`, of the pairs of the stretch from frame `begin` on, matched again."""
    pyramids = [matcher.pyramid(frame) for frame in images.frames(begin, begin + STRETCH + FAR)]
    steps = [matcher.match(a, b, np.zeros(3))[0] for a, b in pairwise(pyramids)]
    near = [chained(steps[k:k + FAR]) for k in range(len(pyramids) - FAR)]
    far = [matcher.match(pyramids[k], pyramids[k + FAR], guess)[0] for k, guess in enumerate(near)]
    return np.array(near), np.array(far)
