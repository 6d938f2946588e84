"""Factors of a trajectory: what its frame pairs, its hand and its crossing planes say of the poses."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from .. import geometry as se3
from ..kernels.cells import LOSS, CellModel, Loss, Pairs
from ..pairs.block_matching import PlanarMotion
from ..pairs.correlation import Correlations
from ..pairs.loop_closures import Loops
from ..pairs.planar_chain import match_information
from ..speckle.curves import Curves
from ..speckle.strengths import CellStrengths, cell_model
from .hand import Hand
from .hypothesis_tracking import TEMPER

Array = NDArray[np.float64]

MOST_LAG = 36       # frames: pairs further apart are loops, outside the band
LOOP_TEMPER = 0.3   # loops share cells with their neighbours, but no lags
NEAREST, FALL = 3.0, 0.75   # weight of neighbours at lag 1 in the last solve, and the power by which it falls
ACCELERATION = np.array([0.06, 0.06, 0.05, 0.003, 0.003, 0.003])   # mm, rad per frame^2: a hand's, at most
LEAST_ACCELERATION = ACCELERATION / 20
MEANT = 2.0          # times the usual change of a step: a hand means to speed up and to slow down, too


def hand_acceleration(planar_step: Array) -> Array:
    """Standard deviations [6] of the change of a step, out of the plane as it is seen in the plane.

    A hand shakes much the same along the image as across it, METHOD.md (5.4): z moves like x, tilt and yaw like roll.

    Parameters
    ----------
    planar_step : [N, 3] twists (x, y, roll) into each frame.
    """
    if len(planar_step) < 4:
        return ACCELERATION
    x, y, roll = np.median(np.abs(np.diff(planar_step[1:], axis=0)), axis=0) / 0.6745
    return np.clip([x, y, x, roll, roll, roll], LEAST_ACCELERATION, ACCELERATION)


@dataclass(frozen=True)
class Crossings:
    """What crossing planes show of where they lie to each other, METHOD.md (9.1): quadratic about a trajectory.

    Attributes
    ----------
    i, j : [M] frames, i < j.   T : [N, 4, 4] trajectory about which.
    gradient : [M, 6], hessian : [M, 6, 6] of the cost by the twist of frame i less that of frame j, in the first frame.
    """

    i: NDArray[np.int64]
    j: NDArray[np.int64]
    T: Array
    gradient: Array
    hessian: Array

    def moved(self, T: Array) -> Array:
        """Twists [M, 6] of the frames i less those of the frames j since `self.T`."""
        k, at = np.unique(np.concatenate([self.i, self.j]), return_inverse=True)
        e = se3.log(T[k] @ se3.inverse(self.T[k]))[at]
        return e[:len(self.i)] - e[len(self.i):]

    def pull(self, e: Array) -> tuple[float, Array]:
        """Cost, and its gradient [M, 6], of twists [M, 6]."""
        force = (self.hessian @ e[..., None])[..., 0]
        return float(((0.5 * force + self.gradient) * e).sum()), force + self.gradient


@dataclass(frozen=True)
class Factors:
    """What a batch solve weighs against each other.

    Attributes
    ----------
    planar_i, planar_j : [K], frames, i < j;  planar : [K, 3] (x, y, roll);  planar_information : [K, 3, 3].
    pairs, cells, loss : frame pairs, what their cells say and what is expected of them, see `kernels.cells`.
    acceleration : [6] standard deviations of the change of the step.
    contact_precision : 1/mm^2, a frame, of the face's centre about where it started; 0 for sweeps.
    contact_rate_precision : 1/mm^2, of its step along z; 0 for sweeps.
    lean_precision : 1/rad^2, a frame, of the beam's axis about where it started.
    contact_reach_mm : beyond which the contact point is no longer pulled back harder (Cauchy).
    most_lag : frames; pairs further apart are revisits.
    crossings : of planes that cross after a turn.
    phase_precision : [N, 2], 1/rad^2, of the tilt and the yaw of the step into each frame, as the phase of the protocol
        holds them (`protocol.phase_precision`); None where phases are not known.
    elapsed : [N], frame times that the step into each frame took (`lost_frames`); None where all took one.
    """

    planar_i: NDArray[np.int64]
    planar_j: NDArray[np.int64]
    planar: Array
    planar_information: Array
    pairs: Pairs
    cells: CellModel
    loss: Loss
    acceleration: NDArray[np.float64]
    contact_precision: float = 0.0
    contact_rate_precision: float = 0.0
    lean_precision: float = 0.0
    contact_reach_mm: float = 6.0
    most_lag: int = MOST_LAG
    crossings: Crossings | None = None
    phase_precision: Array | None = None
    elapsed: Array | None = None

    @classmethod
    def of(cls, planar: PlanarMotion, speckle: Correlations, forms: Array, strengths: CellStrengths,
           curves: Curves, hand: Hand, loops: Loops | None = None, acceleration: Array = ACCELERATION) -> "Factors":
        """Factors of a scan's measurements, with the weights of `direction`.

        acceleration : [6] usual change of the step (`hand_acceleration`); `MEANT` times as much is allowed for.
        """
        temper = np.full(len(speckle.i), TEMPER)
        if loops:
            planar = planar.joined(loops.planar)
            speckle = speckle.joined(loops.speckle)
            temper = np.concatenate([temper, np.full(len(loops), LOOP_TEMPER)])
        return cls(planar.i, planar.j, planar.twist, match_information(planar), curves.pairs(speckle, temper),
                   cell_model(forms, strengths, curves), LOSS, MEANT * acceleration, hand.contact_precision,
                   hand.contact[0], hand.lean_precision, hand.contact_reach_mm)

    def picked(self, which: NDArray[np.bool_]) -> "Factors":
        """The same factors with the correlations of some pairs [M] only."""
        return replace(self, pairs=self.pairs.picked(which))

    def judged(self, strengths: CellStrengths) -> "Factors":
        """The same factors with other strengths of the cells."""
        return replace(self, cells=self.cells._replace(fast=strengths.fast, slow=strengths.slow,
                                                       stretch=strengths.stretch))

    def weighed(self, by: Array) -> "Factors":
        """The same factors with the correlations of each pair weighed by [M] times as much."""
        return replace(self, pairs=self.pairs._replace(temper=self.pairs.temper * by))

    def by_lag(self) -> "Factors":
        """The same factors with the weights of neighbours falling with their lag, METHOD.md (5.1b)."""
        lag = np.maximum(self.pairs.j - self.pairs.i, 1)
        return self.weighed(np.where(self.revisits, 1, NEAREST / lag**FALL))

    @property
    def holds_steps(self) -> bool:
        """Whether anything holds steps to be small."""
        return self.contact_rate_precision > 0 or self.phase_precision is not None

    def step_precision(self, k: NDArray[np.int64]) -> Array:
        """Precision [M, 3] of the steps along z, in tilt and in yaw into frames k [M]: 0 where nothing holds them."""
        out = np.zeros((len(k), 3))
        out[:, 0] = self.contact_rate_precision
        if self.phase_precision is not None:
            out[:, 1:] = self.phase_precision[k]
        return out

    def pace(self, k: NDArray[np.int64]) -> Array:
        """Steps into frames k [M] that a frame time takes: 1 where none was lost before them."""
        return np.ones(len(k)) if self.elapsed is None else 1 / self.elapsed[k]

    @property
    def gram(self) -> Array:
        """Mean [3, 3] of U^T U over the cells: xi^T gram xi is the mean Q of a motion."""
        forms = np.ascontiguousarray(np.moveaxis(self.cells.forms, -1, 0))
        return np.einsum("pai,paj->ij", forms, forms) / len(forms)

    @property
    def revisits(self) -> NDArray[np.bool_]:
        """Which pairs [M] are revisits."""
        return self.pairs.j - self.pairs.i > self.most_lag
