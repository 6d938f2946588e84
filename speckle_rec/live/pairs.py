"""A new frame against those before it: motion in the plane and correlation of cells, with the engine's own parts.

Of the engine's lags a few are measured, each when its later frame comes. The planar chain is solved again over the
last frames each time (METHOD.md, section 2); cells are compared in the plane half a step before the new frame.
"""

from collections import deque

import numpy as np
from numpy.typing import NDArray

from ..frames.features import GREY_PER_NEPER, AmplitudeFeatures
from ..frames.working_images import WorkingImages
from ..pairs.block_matching import Matcher, PlanarMotion
from ..pairs.correlation import Correlations, Correlator
from ..pairs.planar_chain import planar_chain
from ..pairs.planar_motions import chain_poses, chained, se2_exp, se2_logs
from ..probe.field import Cells

Array = NDArray[np.float64]

LAGS = (1, 2, 4, 8, 16)             # of cell correlations
FAR_MATCH, FAR_EVERY = 4, 4         # lag, and of how many frames one, of the matches beyond those of neighbours
CHAINED = 33                        # frames, over which the planar chain is solved
KEPT = 48                           # frames, whose correlations are kept


class LivePairs:
    """Pairs of the last frames.

    Attributes
    ----------
    first : frame that the chain begins with.   step : [n, 3] planar step into each frame of it.
    covariance : [n, 3, 3].   matched : whether the newest frame's match with the one before succeeded.
    """

    def __init__(self, images: WorkingImages, cells: Cells):
        self.matcher = Matcher(images.geometry)
        self.correlator = Correlator(images.geometry, cells,
                                     AmplitudeFeatures(images.geometry.mask(), GREY_PER_NEPER))
        self.first, self.n = 0, 0
        self.step, self.covariance = np.zeros((0, 3)), np.zeros((0, 3, 3))
        self.matched = False
        self._pyramids: deque = deque(maxlen=FAR_MATCH + 1)
        self._features: deque = deque(maxlen=max(LAGS) + 1)
        self._matches: list[tuple] = []
        self._singles: deque[Array] = deque(maxlen=FAR_MATCH)
        self._rho: list[tuple[int, int, NDArray[np.float32], Array]] = []

    def add(self, frame: NDArray[np.uint8]) -> Correlations | None:
        """Measure the next frame; its pairs with earlier ones, by the number of their frames; None of the first."""
        k = self.n
        self._pyramids.append(self.matcher.pyramid(frame))
        self._features.append(self.correlator.features(frame))
        self.n += 1
        if k == 0:
            self.step, self.covariance = np.zeros((1, 3)), np.zeros((1, 3, 3))
            return None
        self._match(k)
        self.first = max(0, self.n - CHAINED)
        self._matches = [m for m in self._matches if m[0] >= self.first]
        i, j, twist, covariance, ncc, share = (np.array(a) for a in zip(*self._matches, strict=True))
        near = PlanarMotion(i - self.first, j - self.first, twist, covariance, ncc, share)
        self.step, self.covariance = planar_chain(near, self.n - self.first)
        found = self._correlate(k)
        self._rho = [row for row in self._rho if row[0] >= self.n - KEPT] + found
        return self._joined(found)

    def recent(self) -> Correlations:
        """All pairs of the last `KEPT` frames, sorted by their later frame."""
        return self._joined(self._rho)

    def _match(self, k: int) -> None:
        pyramids = self._pyramids
        guess = self._singles[-1] if self._singles else np.zeros(3)
        row = self.matcher.match(pyramids[-2], pyramids[-1], np.zeros(3))
        if row[3] == 0:     # a hand that goes on fast is found from where it went before
            row = self.matcher.match(pyramids[-2], pyramids[-1], guess)
        self.matched = row[3] > 0
        self._singles.append(row[0])
        self._matches.append((k - 1, k, *row))
        if k >= FAR_MATCH and k % FAR_EVERY == 0:
            self._matches.append((k - FAR_MATCH, k, *self.matcher.match(
                pyramids[-1 - FAR_MATCH], pyramids[-1], chained(self._singles))))

    def _correlate(self, k: int) -> list[tuple]:
        lags = [lag for lag in LAGS if lag <= min(k, len(self._features) - 1)]
        chain = chain_poses(self.step[-(max(lags) + 1):])
        last = len(chain) - 1
        at = [last, *(last - lag for lag in lags)]
        place = chain[last - 1] @ se2_exp(self.step[-1] / 2)
        other = np.arange(1, len(at))
        rho = self.correlator.among([self._features[m - len(chain)] for m in at],
                                    np.linalg.solve(chain[at], place), np.zeros_like(other), other)
        twist = se2_logs(np.linalg.solve(chain[at[1:]], chain[last]))
        return [(k - lag, k, r, v) for lag, r, v in zip(lags, rho, twist, strict=True)][::-1]

    def _joined(self, rows: list[tuple]) -> Correlations:
        i, j = (np.array([row[n] for row in rows], np.int64) for n in (0, 1))
        return Correlations(i, j, np.array([row[2] for row in rows], np.float32),
                            self.correlator.turns(np.array([row[3] for row in rows])))
