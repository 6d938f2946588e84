"""What the one who scans wants to know at a glance: speed, contact, turns back, places seen again, coverage."""

from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..frames.features import GreyFeatures, shrink
from ..pairs.loop_closures import GAP, thumbnail_grid
from ..probe.field import ProbeGeometry
from ..trajectory.confidence import CLEAR, LOST, UNRELIABLE
from ..trajectory.evidence import reversals
from .estimator import Placed

Array = NDArray[np.float64]

TOO_FAST, STILL, IDEAL = "too fast", "standing still", "ideal"
LOST_CONTACT = 0.75         # share of a side's cells that must show contact
STILL_MM_S = 0.6            # of the middle of the field
SHORT = 10                  # frames over which speed is taken
EVERY = 6                   # frames between those that are compared with earlier ones
ALIKE = 0.3                 # similarity of pictures of a place that is seen again
PIXEL_MM = 1.2              # of those pictures
MOST_PICTURES = 800         # kept; then only every second one
LATELY_S = 2.0              # how long a turn back, or a place that is seen again, is told


class SeenAgain:
    """Tells a place that was seen before, by small pictures: no further off in the plane than half a pixel of them."""

    def __init__(self, geometry: ProbeGeometry):
        self._factor, mm_px, mask = thumbnail_grid(geometry, PIXEL_MM)
        self._features = GreyFeatures(mask, (mm_px[0, 0], mm_px[1, 1]))
        self._pictures: list[NDArray[np.float32]] = []
        self._frames: list[int] = []
        self._every = EVERY
        self.count = 0

    def __call__(self, k: int, frame: NDArray[np.uint8]) -> int | None:
        """The earlier frame that shows the same place as working frame k, if there is one."""
        if k % self._every:
            return None
        picture = self._features(shrink(frame, self._factor)).ravel()
        picture = picture / max(float(np.linalg.norm(picture)), 1e-6)
        far = sum(frame <= k - GAP for frame in self._frames)
        alike = np.stack(self._pictures[:far]) @ picture if far else np.zeros(0)
        self._pictures.append(picture.astype(np.float32))
        self._frames.append(k)
        if len(self._pictures) >= MOST_PICTURES:
            self._pictures, self._frames, self._every = self._pictures[::2], self._frames[::2], 2 * self._every
        if not far or alike.max() < ALIKE:
            return None
        self.count += 1
        return self._frames[int(np.argmax(alike))]


class Speedometer:
    """How fast the probe goes, for speckle: by what is left of it from frame to frame, and in mm/s."""

    def __init__(self) -> None:
        self._steps: deque[tuple[float, Placed]] = deque(maxlen=SHORT)

    def __call__(self, time_s: float, placed: Placed) -> dict[str, Any]:
        """State after a frame: `speed` in words, `needle` 0 (still) to 1 (too fast), `mm_s`."""
        self._steps.append((time_s, placed))
        lasted = max(self._steps[-1][0] - self._steps[0][0], 1e-3)
        mm_s = sum(p.step_mm for _, p in list(self._steps)[1:]) / lasted if len(self._steps) > 1 else 0.0
        confidence = np.clip((np.median([p.clear for _, p in self._steps]) - LOST) / (CLEAR - LOST), 0, 1.4)
        word = TOO_FAST if confidence < UNRELIABLE else STILL if mm_s < STILL_MM_S else IDEAL
        # The middle of the gauge is ideal: its right third is where confidence is too low to be believed.
        needle = float(np.interp(confidence, [0, UNRELIABLE, 1, 1.4], [1, 0.7, 0.35, 0.15]))
        return {"speed": word, "needle": round(0.05 if word == STILL else needle, 3), "mm_s": round(float(mm_s), 1)}


def contact_of(placed: Placed) -> dict[str, bool]:
    """Whether each side of the picture shows contact."""
    return dict(zip(("left", "right"), (bool(share >= LOST_CONTACT) for share in placed.contact), strict=True))


def turns_back(increments: Array, geometry: ProbeGeometry) -> Sequence[int]:
    """Frames at which the motion turned back, of twists [N, 6] into all frames so far."""
    return [int(k) for k in reversals(increments, float(np.mean(geometry.depth_mm)))]
