"""The live estimate: frames in, one by one, and poses out.

The first `WARM` frames tell the field of view and how strongly cells correlate; they are placed together. What never
moves in the pictures is not taken out, and which of the two mirror images it is nobody asks: the full estimate at the
end does both.
"""

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..config import Config
from ..frames import lift_off
from ..frames.features import shrink
from ..frames.working_images import WorkingImages
from ..geometry import translation
from ..pairs.block_matching import same_picture
from ..pairs.correlation import Correlations
from ..probe.field import ProbeGeometry, cells, find
from ..scan import Scan
from ..speckle.calibration import Calibration
from ..trajectory.hand import Hand, were_swept
from .pairs import LivePairs
from .strengths import RollingStrengths
from .track import LAG, LiveTrack

Array = NDArray[np.float64]

WARM = 8            # frames, from which the field of view and the cells' strengths are known
JUDGED = 16         # frames between looks at the strengths
USUAL_FRAMES = 10   # frames between looks at the usual brightness
USUAL_LOOKS = 10    # of them


@dataclass(frozen=True)
class Placed:
    """A frame that has a pose.

    Attributes
    ----------
    index : of the frame among those that were added.
    T : [4, 4], image mm of the frame -> image mm of the first.
    clear : correlation with the frame before of the clearest fifth of the cells: how well speckle is followed.
    step_mm : way of the middle of the field since the frame before.   contact : share of the cells of the left and of
        the right side that show contact.
    repeated : whether it shows the same picture as the frame before.
    """

    index: int
    T: Array
    clear: float
    step_mm: float
    contact: tuple[float, float]
    repeated: bool = False


class Estimator:
    """Places frames as they come.

    Parameters
    ----------
    scale : [4, 4] pixel (from 1) -> image mm.   calibration : of the machine; None for the default of the probe.
    config : its `motion` tells whether the probe is carried along the skin.

    Attributes
    ----------
    geometry : field of view at full resolution, once it is known.   working : the same at the working resolution.
    frame : the last working image.   track, pairs : see there.
    """

    def __init__(self, scale: Array, calibration: Calibration | None = None, config: Config | None = None):
        self.scale, self.calibration, self.config = scale, calibration, config or Config()
        self.geometry: ProbeGeometry | None = None
        self._first: list[NDArray[np.uint8]] = []
        self._before: NDArray[np.uint8] | None = None
        self._placed: Placed | None = None
        self._n = 0

    def add(self, image: NDArray[np.uint8]) -> list[Placed]:
        """Take the next frame, uint8 [rows, columns]; the frames that have poses now and had none before."""
        index, self._n = self._n, self._n + 1
        if self.geometry is not None:
            return self._follow(index, image)
        self._first.append(image)
        if len(self._first) < WARM:
            return []
        self._look(np.stack(self._first))
        placed = [p for k, frame in enumerate(self._first) for p in self._follow(k, frame)]
        self._first = []
        return placed

    @property
    def poses(self) -> Array:
        """[n, 4, 4] of the distinct frames so far, in image mm of the first."""
        if self.geometry is None:
            return np.zeros((0, 4, 4))
        return self.in_image(np.concatenate([np.reshape(self.track.settled, (-1, 4, 4)), self.track.recent]))

    def in_image(self, T: Array) -> Array:
        """Poses [..., 4, 4] about the face's centre in image mm."""
        return np.asarray(self._to_image @ T @ self._from_image)

    def _look(self, frames: NDArray[np.uint8]) -> None:
        self.found = find(frames, self.scale)
        self.geometry = geometry = self.found.geometry
        self._to_image = translation(np.array([*geometry.face_mm, 0.0]))
        self._from_image = translation(-np.array([*geometry.face_mm, 0.0]))
        self.images = WorkingImages.of(Scan.from_arrays(frames[:1], scale=self.scale), geometry)
        self.working = self.images.geometry
        self.cells = cells(self.working)
        calibration = self.calibration or Calibration.default(geometry.kind)
        self.pairs = LivePairs(self.images, self.cells)
        self.strengths = RollingStrengths(calibration, self.images, self.cells)
        hand = Hand.of(geometry.kind, calibration.priors)
        if self.config.motion == "sweep" or self.config.only_swept or were_swept(calibration.priors):
            hand = hand.swept
        self.track = LiveTrack(calibration.forms(self.working, self.cells), calibration.curves, hand)
        self._middle = np.array([0, float(np.mean(geometry.depth_mm)), 0, 1.0])
        self._level = lift_off.level_meter(self.cells)
        self._usual: deque[Array] = deque(maxlen=USUAL_LOOKS)
        lateral = self.cells.centres[:, 1]
        self._left = lateral < np.mean(geometry.lateral)
        self._lost: deque[NDArray[np.bool_]] = deque(maxlen=LAG + 1)

    def _follow(self, index: int, image: NDArray[np.uint8]) -> list[Placed]:
        frame = np.ascontiguousarray(shrink(image, self.images.factor))
        if self._before is not None and same_picture(frame, self._before):
            if self._placed is None:
                return []
            return [Placed(index, self._placed.T, self._placed.clear, 0.0, self._placed.contact, True)]
        self._before = self.frame = frame
        k = self.pairs.n
        self.strengths.look(k, frame)
        lost = self._contact(k, frame)
        found = self.pairs.add(frame)
        contact = float(1 - lost[self._left].mean()), float(1 - lost[~self._left].mean())
        if found is None:
            return [self._told(index, np.eye(4), 1.0, contact)]
        found = self._seen(k, found)
        if k == WARM - 1 or self.track.n_frames == 1 or k % JUDGED == 0:
            self.track.judged(self.strengths.judge(k, self.pairs.recent()))
        T = self.track.add(self.pairs.step, self.pairs.covariance, found)
        near = found.j - found.i == 1
        clear = float(np.quantile(np.nan_to_num(found.rho[near][0]), 0.8)) if near.any() and self.pairs.matched else 0.0
        return [self._told(index, T, clear, contact)]

    def _told(self, index: int, T: Array, clear: float, contact: tuple[float, float]) -> Placed:
        recent = self.track.recent
        step = (recent[-1] - recent[-2]) @ self._middle if len(recent) > 1 else np.zeros(4)
        self._placed = Placed(index, self.in_image(T), clear, float(np.linalg.norm(step)), contact)
        return self._placed

    def _contact(self, k: int, frame: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Which cells [P] lie under a side that has no contact: darker than they usually were."""
        level = self._level(frame)
        if k % USUAL_FRAMES == 0:
            self._usual.append(level)
        usual = np.median(np.array(self._usual), axis=0)
        lost = lift_off.fallen(level[None], usual[None], self.cells.centres[:, 1])[0]
        self._lost.append(lost)
        return lost

    def _seen(self, k: int, pairs: Correlations) -> Correlations:
        """Pairs without what is under a side that lost contact."""
        first = k - len(self._lost) + 1
        lost = np.array(self._lost)
        if not lost.any():
            return pairs
        moved = Correlations(pairs.i - first, pairs.j - first, pairs.rho, pairs.turns).without(lost)
        return Correlations(pairs.i, pairs.j, moved.rho, pairs.turns)
