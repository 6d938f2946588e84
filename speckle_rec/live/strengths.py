"""How well cells correlate at rest, from the last two seconds: what a calibration says of a scan, as it goes on.

The same signs as of a whole scan (`speckle.calibration.signs_of`), of one window that ends now. Which way fibres run is
not looked at.
"""

from collections import deque

import numpy as np
from numpy.typing import NDArray

from ..frames.features import GREY_PER_NEPER
from ..frames.texture import EVERY, WINDOW_HALF, WINDOW_STEP, TextureMeter, describe
from ..frames.working_images import WorkingImages
from ..pairs.correlation import Correlations
from ..probe.field import Cells
from ..speckle.at_rest import cell_strengths, outlasting, strengths_at_rest
from ..speckle.calibration import SIGNS, Calibration, Uncalibrated
from ..speckle.curves import Curves
from ..speckle.strengths import CellStrengths, relative

Array = NDArray[np.float64]

LOOK_EVERY = 2 * EVERY                # frames between those whose texture is measured
LOOKS = 2 * WINDOW_HALF // LOOK_EVERY
FEW_PAIRS = 2                         # one of so many pairs is looked at


class RollingStrengths:
    """Strengths of the cells, judged again from time to time.

    Parameters
    ----------
    calibration : of the machine.   geometry, cells : at the working resolution.
    """

    def __init__(self, calibration: Calibration, images: WorkingImages, cells: Cells):
        self.calibration, self.cells, self.geometry = calibration, cells, images.geometry
        self.bare = isinstance(calibration, Uncalibrated)
        self._meter = TextureMeter(self.geometry, cells, GREY_PER_NEPER)
        self._sums: deque[Array] = deque(maxlen=LOOKS)
        self._usual = Curves.usual(self.geometry.kind)

    def look(self, k: int, frame: NDArray[np.uint8]) -> None:
        """Measure the texture of frame k, if it is one of those."""
        if not self.bare and k % LOOK_EVERY == 0:
            self._sums.append(self._meter(frame))

    def judge(self, k: int, pairs: Correlations) -> CellStrengths:
        """Strengths, of one window, from pairs of frames up to k; pairs are sorted by their later frame."""
        shift = WINDOW_STEP // 2 + WINDOW_HALF - k      # so that frame k ends the first window of a scan
        recent = Correlations(pairs.i + shift, pairs.j + shift, pairs.rho, pairs.turns)
        if self.bare:
            return cell_strengths(recent, WINDOW_STEP, self.calibration.curves)
        recent = recent.every(FEW_PAIRS) if len(recent.i) > 100 else recent
        strength, rate = strengths_at_rest(recent, WINDOW_STEP, self._usual)
        far, count = outlasting(recent, strength, rate, WINDOW_STEP, self._usual)
        static = 3 * (far - np.median(far, axis=1, keepdims=True)) * (count[:, None] > 0)
        told = 2 * np.clip(relative(strength), 0, 1.1) - 1
        texture = describe(np.sum(self._sums, axis=0), self.cells.centres[:, 0], self.geometry.depth_mm[1])[None]
        signs = np.zeros((1, len(self.cells), len(SIGNS)))
        signs[..., :texture.shape[-1]] = texture
        signs[..., SIGNS.index("strength")], signs[..., SIGNS.index("static")] = told, static
        return self.calibration.strengths(signs, WINDOW_STEP)
