"""Sign of the out-of-plane motion: each frame against several earlier ones, several hypotheses side by side.

Correlations fix the out-of-plane motion of a pair up to its sign. Frames further apart than one step tell a
reversal from a continued motion, since the distance to an earlier frame shrinks after a reversal.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ..frames.working_images import threads
from ..geometry import exp, inverse, log, mirror
from ..kernels.cells import LOSS
from ..kernels.hypotheses import Hypotheses, Likeness, Ways, extend, go_on, prune
from ..kernels.multilaterate import StepPrior, Track, multilaterate
from ..pairs.correlation import Correlations
from ..products.motion_priors import USUAL_MIRROR, MirrorPrior
from ..speckle.curves import Curves
from ..speckle.strengths import CellStrengths, cell_model
from .hand import ROTATING, Hand

Array = NDArray[np.float64]

TEMPER = 0.05         # overlapping lags and neighbouring cells are not independent

KEPT, GIVE_UP = 64, 150.0   # hypotheses kept, and the cost over the cheapest at which one is given up
LEAST, SHARE = 0.05, 0.03   # difference in sqrt(Q), absolute and of the size, below which two are the same
MARKS = (1, 2, 4, 8, 16, 24, 32)    # frames back at which two are compared
EVERY_CELL = 3              # of the cells, weighed up: a step has three unknowns

MIN_TURN_RAD = 0.5
MIN_TILT_SHARE = 0.25       # of the scan's largest tilt: what counts as its first
START = np.array([0.02, 0.003, 0.003])      # breaks the symmetry of a scan that starts at rest: turned about a contact,
SWEPT_START = np.array([0.1, 0.0, 0.0])     # or swept, where tilt and yaw are held


def planar_poses(twist: Array) -> Array:
    """[N, 4, 4] of planar twists [N, 3] (x, y, roll)."""
    full = np.zeros((len(twist), 6))
    full[:, [0, 1, 5]] = twist
    return exp(full)


def step_prior(hand: Hand) -> StepPrior:
    """What a hand tells of a step from the step before."""
    still, pull = hand.contact
    start = START if hand.pivot else SWEPT_START
    return StepPrior(hand.precision, np.array([still, *hand.sweep_precision]), pull, start)


def sequential(planar_step: Array, speckle: Correlations, forms: Array, strengths: CellStrengths, curves: Curves,
               hand: Hand = ROTATING) -> tuple[Array, Array, Array]:
    """Multilaterate frame after frame.

    Parameters
    ----------
    planar_step : [N, 3] planar twist of the step into each frame.
    speckle : correlations of pairs sorted by j.   forms : [P, 3, 3] of the cells.

    Returns
    -------
    T : [N, 4, 4] poses about the face centre, either they or their mirror image (`choose_mirror`).
    step : [N, 3] out-of-plane twist (z, tilt, yaw) of the step into each frame.   covariance : [N, 3, 3].
    """
    N = len(planar_step)
    first = np.searchsorted(speckle.j, np.arange(N + 1))
    track = Track(np.empty((N, 3, 4)), np.empty((N, 3)), np.empty((N, 3, 3)), np.empty(N))
    multilaterate(np.ascontiguousarray(planar_poses(planar_step)[:, :3]), first,
                  curves.pairs(speckle, TEMPER),
                  cell_model(forms, strengths, curves), LOSS, step_prior(hand), track)
    T = np.zeros((N, 4, 4))
    T[:, :3] = track.poses
    T[:, 3, 3] = 1
    return T, track.steps, track.covariances


def search(planar_step: Array, speckle: Correlations, forms: Array, strengths: CellStrengths, curves: Curves,
           hand: Hand = ROTATING, temper: float = TEMPER, every: int = EVERY_CELL) -> tuple[Array, Array, Array]:
    """Multilaterate frame after frame along several trajectories at once, and take the cheapest (METHOD.md (4.5)).

    Whether the motion turned shows only frames later. At each frame every hypothesis goes on both ways where both
    are minima; the cheapest `KEPT` that differ go on. `sequential`, which decides at once, is the simple version.

    Parameters and returns as `sequential`, and
    temper, every : weight of a correlation, and of which cells: one of so many.
    """
    N = len(planar_step)
    first = np.searchsorted(speckle.j, np.arange(N + 1))
    pairs = curves.pairs(speckle, temper).sampled(every)
    cells = cell_model(forms, strengths, curves).sampled(every)
    gram = np.einsum("pai,paj->ij", forms[::every], forms[::every]) / len(forms[::every])
    planar, prior = np.ascontiguousarray(planar_poses(planar_step)[:, :3]), step_prior(hand)
    depth = max(int((speckle.j - speckle.i).max(initial=1)), max(MARKS)) + 1
    found = Hypotheses(np.zeros((1, N, 3, 4)), np.zeros((1, 3)), np.zeros(1))
    found.poses[0, 0] = np.eye(4)[:3]
    history = []
    for k in range(1, N):
        B = len(found.poses)
        ways = Ways(np.empty((B, 2, 3)), np.empty((B, 2)), np.empty((B, 2, 3, 3)))
        extend(k, found, planar[k], pairs.picked(slice(first[k], first[k + 1])), cells, LOSS, prior, ways)
        likeness = Likeness(np.array([k - m for m in MARKS if m <= k]), gram, LEAST, SHARE)
        parent, which, total = prune(k, found, planar[k], ways, likeness, GIVE_UP, KEPT)
        n, last = len(parent), ways.steps[parent, which]
        begin = max(k - depth, 0)
        kept = np.zeros((n, N, 3, 4)) if n > B else found.poses[:n]
        kept[:, begin:k] = found.poses[parent, begin:k]
        found = Hypotheses(kept, last, total)
        go_on(k, kept, planar[k], last)
        history.append((parent, last, ways.covariances[parent, which]))
    step, covariance, b = np.zeros((N, 3)), np.zeros((N, 3, 3)), 0
    for k in range(N - 1, 0, -1):
        parents, ends, spread = history[k - 1]
        step[k], covariance[k], b = ends[b], spread[b], parents[b]
    poses = np.zeros((1, N, 3, 4))
    poses[0, 0] = np.eye(4)[:3]
    for k in range(1, N):
        go_on(k, poses, planar[k], step[k:k + 1])
    T = np.tile(np.eye(4), (N, 1, 1))
    T[:, :3] = poses[0]
    return T, step, covariance


def other_starts(planar_step: Array, speckle: Correlations, forms: Array, strengths: CellStrengths, curves: Curves,
                 hand: Hand) -> tuple[list[Array], Array]:
    """Trajectories [N, 4, 4] that went other ways where signs were nearly even: by other weights and cells; backward.

    Each goes one frame at a time, on one core.
    """
    scan = planar_step, speckle, forms, strengths, curves, hand
    with threads(1) as aside:
        alone, back = aside.submit(sequential, *scan), aside.submit(backward, *scan)
        other = search(*scan, temper=4 * TEMPER, every=EVERY_CELL + 1)[0]
        return [alone.result()[0], other], back.result()


def backward(planar_step: Array, speckle: Correlations, forms: Array, strengths: CellStrengths, curves: Curves,
             hand: Hand) -> Array:
    """`search` from the last frame to the first: trajectory [N, 4, 4]. What it takes for what differs from `search`
    at the end of a motion, not at its beginning."""
    last = len(planar_step) - 1
    i, j = last - speckle.j, last - speckle.i
    order = np.lexsort((i, j))
    turns = speckle.turns and replace(speckle.turns, twist=-speckle.turns.twist[order])
    steps = np.concatenate([planar_step[:1], -planar_step[:0:-1]])
    T = search(steps, Correlations(i[order], j[order], speckle.rho[order], turns), forms,
               replace(strengths, window=strengths.window[::-1]), curves, hand)[0][::-1]
    return inverse(T[0]) @ T


def first_tilt(twist: Array) -> float:
    """Tilt (rad) of the first stroke, of twists [N, 6] from the first frame; 0 where nothing tilts.

    A shift counts as the tilt that moves a depth of 60 mm as far: speckle hardly tells them apart.
    """
    lift = twist[:, 3] + twist[:, 2] / 60.0
    moved = np.flatnonzero(np.abs(lift) > max(MIN_TILT_SHARE * np.abs(lift).max(initial=0), 1e-6))
    return float(lift[moved[0]]) if len(moved) else 0.0


def choose_mirror(T: Array, prior: MirrorPrior = USUAL_MIRROR, mirrored: bool = False) -> tuple[Array, str]:
    """Settle the one bit that images cannot tell, the mirror z -> -z, by the protocol's usual directions.

    A scan that turns by more than `MIN_TURN_RAD` in all is given the usual sign of the turn; any other one
    starts in the usual direction of the first tilt. If `mirrored`, the other way round, as somebody knows.

    Returns
    -------
    T : [N, 4, 4] poses, mirrored or not.   note : what was decided and why, one line.
    """
    twist = log(T)
    turn = np.median(twist[-max(len(T) // 10, 1):, 4])
    if abs(turn) > MIN_TURN_RAD:
        wrong = bool(turn * prior.turn_sign < 0)
        why = f"the turn is taken to be {'positive' if prior.turn_sign > 0 else 'negative'}"
    else:
        wrong = first_tilt(twist) * prior.tilt_sign < 0
        why = f"the first tilt is taken to be {'positive' if prior.tilt_sign > 0 else 'negative'}"
    note = f"images cannot tell a scan from its mirror image in z: {why} ({prior.source})"
    if mirrored:
        note += "; mirrored, as was asked for"
    return (mirror(T) if wrong != mirrored else T), note
