"""Several trajectories side by side, one frame at a time, and the cheapest of them smoothed over the last 32 frames.

`trajectory.hypothesis_tracking.search` without its end (METHOD.md (4.5)): signs that later frames tell differently
are changed as long as they are not older than `LAG`; older poses stand.
"""

from collections import deque
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ..geometry import chain, exp
from ..kernels.cells import LOSS, CellModel
from ..kernels.hypotheses import Hypotheses, Likeness, Ways, extend, go_on, prune
from ..pairs.correlation import Correlations
from ..speckle.curves import Curves
from ..speckle.strengths import CellStrengths, cell_model
from ..trajectory.hand import Hand
from ..trajectory.hypothesis_tracking import (
    EVERY_CELL,
    GIVE_UP,
    LEAST,
    MARKS,
    SHARE,
    TEMPER,
    planar_poses,
    step_prior,
)
from ..trajectory.smoother import smooth, step_measurements

Array = NDArray[np.float64]

LAG = 32            # frames, after which a pose stands
KEPT = 16           # hypotheses


class LiveTrack:
    """Poses of a probe as its frames come.

    Parameters
    ----------
    forms : [P, 3, 3] of the cells.   curves : of the machine.   hand : prior of the hand.

    Attributes
    ----------
    settled : [n, 4, 4] poses that stand, as a list.   recent : [m, 4, 4] poses of the last frames, which may change.
    increments : twists [6] into each frame that stands.   tail : [m, 6] into the last frames.
    """

    def __init__(self, forms: Array, curves: Curves, hand: Hand):
        self.forms, self.curves, self.prior = forms, curves, step_prior(hand)
        sampled = forms[::EVERY_CELL]
        self._gram = np.einsum("pai,paj->ij", sampled, sampled) / len(sampled)
        self._depth = max(max(MARKS), LAG) + 1
        self._poses = np.zeros((1, self._depth + 1, 3, 4))
        self._poses[0, 0] = np.eye(4)[:3]
        self._last, self._total = np.zeros((1, 3)), np.zeros(1)
        self._history: deque[tuple[Array, Array, Array]] = deque(maxlen=LAG)
        self._cells: CellModel | None = None
        self._n = 1                     # frames so far
        self.settled: list[Array] = []
        self.increments: list[Array] = []
        self.recent, self.tail = np.eye(4)[None], np.zeros((1, 6))

    @property
    def n_frames(self) -> int:
        """Frames that have poses."""
        return self._n

    def judged(self, strengths: CellStrengths) -> None:
        """Take other strengths of the cells (of one window) from here on."""
        held = replace(strengths, window=np.zeros(self._depth + 2, np.int64))
        self._cells = cell_model(self.forms, held, self.curves).sampled(EVERY_CELL)

    def add(self, planar_step: Array, planar_covariance: Array, pairs: Correlations) -> Array:
        """Place the next frame, and the last ones anew; its pose [4, 4] about the centre of the face.

        Parameters
        ----------
        planar_step, planar_covariance : [n, 3], [n, 3, 3] of the last frames, at least of those that may change.
        pairs : of the new frame with earlier ones.
        """
        assert self._cells is not None
        if self._n > self._depth:       # the window goes on by one
            self._poses[:, :-1] = self._poses[:, 1:].copy()
        k = min(self._n, self._depth)
        at = Correlations(pairs.i + k - self._n, pairs.j + k - self._n, pairs.rho, pairs.turns)
        planar = np.ascontiguousarray(planar_poses(planar_step[-1:])[0, :3])
        self._follow(k, planar, at)
        self._n += 1
        self._smooth(planar_step, planar_covariance)
        return self.recent[-1]

    def _follow(self, k: int, planar: Array, pairs: Correlations) -> None:
        assert self._cells is not None
        found = Hypotheses(self._poses, self._last, self._total)
        B = len(found.poses)
        ways = Ways(np.empty((B, 2, 3)), np.empty((B, 2)), np.empty((B, 2, 3, 3)))
        seen = self.curves.pairs(self.curves.resampled(pairs), TEMPER).sampled(EVERY_CELL)
        extend(k, found, planar, seen, self._cells, LOSS, self.prior, ways)
        likeness = Likeness(np.array([k - m for m in MARKS if m <= k]), self._gram, LEAST, SHARE)
        parent, which, total = prune(k, found, planar, ways, likeness, GIVE_UP, KEPT)
        self._poses, self._last = np.ascontiguousarray(found.poses[parent]), ways.steps[parent, which]
        self._total = total - total[0]
        go_on(k, self._poses, planar, self._last)
        self._history.append((parent, self._last, ways.covariances[parent, which]))

    def _smooth(self, planar_step: Array, planar_covariance: Array) -> None:
        """Steps of the cheapest hypothesis over the last frames, smoothed; the one that grows too old stands."""
        n = len(self._history)
        steps, spread, b = np.zeros((n + 1, 3)), np.zeros((n + 1, 3, 3)), 0
        for m in range(n - 1, -1, -1):
            parents, ends, covariances = self._history[m]
            steps[m + 1], spread[m + 1], b = ends[b], covariances[b], parents[b]
        planar = planar_step[-(n + 1):].copy()
        planar[0] = 0
        full = np.zeros((n + 1, 6))
        full[:, 2:5] = steps
        T = chain(planar_poses(planar) @ exp(full))
        measured, noise = step_measurements(T, planar_covariance[-(n + 1):], spread)
        increment, _ = smooth(measured, noise)
        if self._n > LAG + 1:       # the window begins one frame later
            self.settled.append(self.recent[0])
            self.increments.append(self.tail[0])
            begin, self.tail = self.recent[1], np.concatenate([self.tail[1:2], increment[1:]])
        else:
            begin, self.tail = self.recent[0], np.concatenate([self.tail[:1], increment[1:]])
        self.recent = begin @ chain(exp(np.concatenate([np.zeros((1, 6)), increment[1:]])))


def twists(track: LiveTrack) -> Array:
    """Twists [N, 6] into all frames so far."""
    return np.concatenate([np.reshape(track.increments, (-1, 6)), track.tail])

