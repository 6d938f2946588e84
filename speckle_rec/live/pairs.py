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
FAR_MATCH, FAR_EVERY = 4, 4         # lag of matches beyond those of neighbours; they, and the longest of `LAGS`, are
                                    # measured of so many frames one
CHAINED = 17                        # frames, over which the planar chain is solved again
STEPS = 33                          # whose steps are kept
SURE, NEAR_PX = 0.5, 1.0            # share of the blocks, and way from where a steady hand would be, of a quick match
KEPT = 48                           # frames, whose correlations are kept


class LivePairs:
    """Pairs of the last frames.

    Attributes
    ----------
    step : [n, 3] planar step into each of the last `STEPS` frames.   covariance : [n, 3, 3].
    matched : whether the newest frame's match with the one before succeeded.
    """

    def __init__(self, images: WorkingImages, cells: Cells):
        geometry = images.geometry
        self.matcher = Matcher(geometry)
        self.correlator = Correlator(geometry, cells,
                                     AmplitudeFeatures(geometry.mask(), geometry.pixel_mm, GREY_PER_NEPER))
        self.n = 0
        self._near_mm = NEAR_PX * float(np.abs(np.diag(images.geometry.mm_px)[:2]).min())
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
        self._chain(k)
        found = self._correlate(k)
        self._rho = [row for row in self._rho if row[0] >= self.n - KEPT] + found
        return self._joined(found)

    def _chain(self, k: int) -> None:
        """Steps of the last frames anew, as their matches agree."""
        first = max(0, self.n - CHAINED)
        self._matches = [m for m in self._matches if m[0] >= first]
        i, j, twist, covariance, ncc, share = (np.array(a) for a in zip(*self._matches, strict=True))
        near = PlanarMotion(i - first, j - first, twist, covariance, ncc, share)
        steps, spread = planar_chain(near, self.n - first)
        # Of the first frame of the chain the step into it stands as it was found before.
        kept = self.step[:len(self.step) + 2 - len(steps)], self.covariance[:len(self.step) + 2 - len(steps)]
        self.step = np.concatenate([kept[0], steps[1:]])[-STEPS:]
        self.covariance = np.concatenate([kept[1], spread[1:]])[-STEPS:]

    def recent(self) -> Correlations:
        """All pairs of the last `KEPT` frames, sorted by their later frame."""
        return self._joined(self._rho)

    def _match(self, k: int) -> None:
        pyramids = self._pyramids
        row = self._quick_match(pyramids[-2], pyramids[-1]) or self.matcher.match(pyramids[-2], pyramids[-1],
                                                                                  np.zeros(3))
        self.matched = row[3] > 0
        self._singles.append(row[0])
        self._matches.append((k - 1, k, *row))
        if k >= FAR_MATCH and k % FAR_EVERY == 0:
            self._matches.append((k - FAR_MATCH, k, *self.matcher.match(
                pyramids[-1 - FAR_MATCH], pyramids[-1], chained(self._singles))))

    def _quick_match(self, a: tuple, b: tuple) -> tuple | None:
        """The finest level alone, from where a steady hand would be; None unless it is sure."""
        if not (self._singles and self.matched):
            return None
        guess = self._singles[-1]
        row = self.matcher.levels[-1].refine(a[1], b[1], guess)
        if row is None or row[3] < SURE or np.abs(row[0] - guess)[:2].max() > self._near_mm:
            return None
        return row

    def _correlate(self, k: int) -> list[tuple]:
        lags = [lag for lag in LAGS if lag <= k and (lag < max(LAGS) or k % FAR_EVERY == 0)]
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
