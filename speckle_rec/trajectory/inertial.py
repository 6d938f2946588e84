"""An inertial sensor on the probe: which mirror image, and how far the probe tilted and turned.

How the sensor sits on the probe is not known, nor where its world points. Turns between two times do not ask for the
world: those of the sensor are those of the image, seen through a constant rotation, which is fitted (hand-eye
calibration by vectors, Park & Martin 1994). They do not tell the mirror: mirrored, a turn (a, b, c) is (-a, -b, c), as
if the sensor sat the other way round, turned by half a turn about z. So one thing more must be known: that the sensor's
axes are those of the image, or of the tracked tool that the image calibration is about; or, from gravity, that a probe
is held from above, its beam pointing down.

A sensor's tilt does not drift, its turn about the vertical does, by some degrees a minute; both are noisy from sample
to sample, where matches are not. So slow changes of orientation are taken from the sensor, fast ones from the images.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from scipy.spatial.transform import Rotation

from .. import geometry as se3
from ..errors import InputError
from ..io.orientation import Orientation

Array = NDArray[np.float64]

LAGS_S = (0.25, 1.0)        # over which turns are compared
ALIKE = 0.5                 # of the turns of both, from which the sensor is taken to have been on this probe
STEADY_DEG = 10.0           # a probe that turned by no more is known to have, however the sensor sits
SEARCHED_S = 2.0            # by which two clocks that are read as one may differ
SLACK_S = 0.5               # by which a recording may be too short at either end
AS_GOOD, WORSE = 0.03, 0.15     # likeness lost by a way to sit that is the true one, and by its mirror image
CERTAIN = 0.99              # share of the ways to sit that are likely, in which the beam points the same way
LEAST_DOWN = 0.35           # how far down the beam points on average: 20 degrees below the horizon
FAR_OFF_DEG, FAR_OFF_SHARE = 3.0, 0.05      # error of the orientations beyond which they are not taken over
DRIFT_DEG_MIN, MOST_DRIFT_DEG_MIN = 3.5, 6.0    # about the vertical: of a cheap sensor, usually and at most
ERROR_DEG, ERRORS = 1.0, 20.0       # random errors of a trajectory's turn, and how many independent ones a scan has
SMOOTHED_S = 0.25           # standard deviation, over which what the sensor says otherwise is averaged
SENSOR_DEG = 1.0            # error of its orientations over a scan: noise averaged away, some drift
SAMPLES, MOST_COMPARED = 200, 400
ROUNDS = 5                  # of the robust fit
HALF_TURN = np.diag([-1.0, -1.0, 1.0])


@dataclass(frozen=True)
class Inertial:
    """A sensor fitted to a trajectory, which is one of two mirror images.

    Attributes
    ----------
    R_first_frame : [N, 3, 3] orientations of the frames by the sensor, in frame 0; as the trajectory is mirrored.
    up : [3], the vertical in frame 0, about which the sensor drifts.
    mirrored : whether the trajectory is the wrong image; None where the sensor cannot tell.
    why : what tells, or why nothing does.   likeness : of the turns of both, -1 to 1.
    offset_s : of the sensor's clock.   uncertain_deg : error of the orientations from how the sensor sits.
    usable : whether the orientations are better taken than left.
    """

    R_first_frame: Array
    up: Array
    mirrored: bool | None
    why: str
    likeness: float
    offset_s: float
    uncertain_deg: float
    usable: bool

    @property
    def numbers(self) -> dict[str, float | int | str]:
        """Figures for the summary."""
        return {"sensor": "tilt and turn taken over" if self.usable else "left out",
                "sensor_likeness": round(self.likeness, 3), "sensor_offset_s": round(self.offset_s, 3)}


@dataclass(frozen=True)
class _Turns:
    """Turns [M, 3] (rad) between frames, of the images and of the sensor, each in its own axes; M of several lags."""

    image: Array
    sensor: Array
    lag: NDArray[np.int64]

    @property
    def size(self) -> float:
        return float(np.linalg.norm(self.image) * np.linalg.norm(self.sensor)) or 1.0

    def likeness(self, R_sensor_image: Array) -> float:
        return float((self.sensor * (self.image @ R_sensor_image.T)).sum()) / self.size


def fit(T: Array, times_s: Array, orientation: Orientation, axes: Sequence[Array] = ()) -> Inertial:
    """Fit a sensor to a trajectory.

    Parameters
    ----------
    T : [N, 4, 4].   times_s : [N] of the frames.
    axes : rotations [3, 3] image -> sensor that are likely: of sensors that are mounted along known axes.

    Raises
    ------
    InputError
        If the recording is shorter than the scan.
    """
    offset = _offset(T, times_s, orientation)
    R_sensor = orientation.at(times_s + offset, _frame_s(times_s))
    turns = _turns(T, R_sensor.as_matrix(), _lags(times_s))
    X, spread = _mounted(turns)
    likeness = turns.likeness(X)
    drawn = np.random.default_rng(0).multivariate_normal(np.zeros(3), spread, SAMPLES)
    likely = Rotation.from_rotvec(drawn).as_matrix()
    relative = (R_sensor[0].inv() * R_sensor).as_matrix()
    mirrored, why, known = _mirror(turns, X, likely, R_sensor, axes, likeness)
    if known is not None:
        X, likely = known, likely[:0]
    R = X.T @ relative @ X
    some = R[:: max(1, len(R) // 50)]
    reach = float(np.degrees(_angles(R).max()))
    others = np.einsum("sji,njk,skl->snil", likely @ X, relative[:: max(1, len(R) // 50)], likely @ X)
    off = float(np.degrees(np.median(_angles(np.swapaxes(some, 1, 2) @ others).max(1)))) if len(others) else 0.0
    usable = reach < STEADY_DEG or (likeness >= ALIKE and off < FAR_OFF_DEG + FAR_OFF_SHARE * reach)
    up = X.T @ R_sensor[0].inv().apply([0.0, 0.0, 1.0])
    return Inertial(R, up, mirrored, why, likeness, offset, off, usable)


def corrected(T: Array, found: Inertial, times_s: Array, sensed_mm: float, scale_sd: float = 0.5) -> Array:
    """A trajectory [N, 4, 4] about the face with the sensor's slow changes of orientation.

    Steps in the plane stay, and so does the path along z at `sensed_mm` below the face: what speckle measures is the
    way of the beam's waist, whatever shift and tilt it is made of. 0 keeps the face's.

    Parameters
    ----------
    scale_sd : relative standard deviation of the scale of the trajectory's turns, by which its errors are told from the
        sensor's drift.
    """
    sigma = SMOOTHED_S / _frame_s(times_s)
    error = Rotation.from_matrix(found.R_first_frame @ np.swapaxes(T[:, :3, :3], 1, 2)).as_rotvec()
    error = _unwrapped(error)
    turn = _unwrapped(Rotation.from_matrix(T[:, :3, :3]).as_rotvec()) @ found.up
    error -= np.outer(_drift(error @ found.up, turn, times_s - times_s[0], scale_sd), found.up)
    error = gaussian_filter1d(error, sigma, axis=0, mode="nearest")
    R = Rotation.from_rotvec(error).as_matrix() @ T[:, :3, :3]
    step = se3.steps(T)
    new = np.tile(np.eye(4), (len(T), 1, 1))
    new[1:, :3, :3] = np.swapaxes(R[:-1], 1, 2) @ R[1:]
    new[:, :3, 3] = step[:, :3, 3]
    new[:, 2, 3] += sensed_mm * (step[:, 2, 1] - new[:, 2, 1])
    return T[0] @ se3.chain(new)


def _drift(error: Array, turn: Array, elapsed_s: Array, scale_sd: float) -> Array:
    """Turn [N] (rad) about the vertical by which the sensor has drifted, of the `error` it finds in a trajectory.

    What it finds is its drift, a share of the trajectory's `turn` [N], and the trajectory's random errors: least
    squares with what is usual of each as prior, the drift at most `MOST_DRIFT_DEG_MIN`.
    """
    sd = np.array([np.radians(DRIFT_DEG_MIN) / 60, scale_sd])
    A = np.column_stack([elapsed_s, turn]) * sd * np.sqrt(ERRORS / len(error)) / np.radians(ERROR_DEG)
    b = error * np.sqrt(ERRORS / len(error)) / np.radians(ERROR_DEG)
    rate = sd[0] * np.linalg.solve(A.T @ A + np.eye(2), A.T @ b)[0]
    most = np.radians(MOST_DRIFT_DEG_MIN) / 60
    return np.asarray(np.clip(rate, -most, most) * elapsed_s)


def _unwrapped(vectors: Array) -> Array:
    """Rotation vectors [N, 3] without the jumps of those near half a turn."""
    out = vectors.copy()
    for k in range(1, len(out)):
        angle = np.linalg.norm(out[k])
        if angle > np.pi / 2:
            other = out[k] * (1 - 2 * np.pi / angle)
            if np.linalg.norm(other - out[k - 1]) < np.linalg.norm(out[k] - out[k - 1]):
                out[k] = other
    return out


def _frame_s(times_s: Array) -> float:
    return float(np.median(np.diff(times_s))) if len(times_s) > 1 else 0.05


def _lags(times_s: Array) -> list[int]:
    n = len(times_s)
    return sorted({min(max(1, round(s / _frame_s(times_s))), max(1, n // 4)) for s in LAGS_S})


def _turns(T: Array, R_sensor: Array, lags: Sequence[int], among: NDArray[np.int64] | None = None) -> _Turns:
    """Turns over each lag, of frames that begin at `among` (by default all)."""
    image: list[Array] = []
    sensor: list[Array] = []
    of: list[NDArray[np.int64]] = []
    for lag in lags:
        start = np.arange(len(T) - lag) if among is None else among[among < len(T) - lag]
        for R, out in ((T[:, :3, :3], image), (R_sensor, sensor)):
            out.append(Rotation.from_matrix(np.swapaxes(R[start], 1, 2) @ R[start + lag]).as_rotvec())
        of.append(np.full(len(start), lag))
    return _Turns(np.concatenate(image), np.concatenate(sensor), np.concatenate(of))


def _kabsch(turns: _Turns, weight: Array | float = 1.0) -> Array:
    """Rotation [3, 3] image -> sensor that brings the turns together best (Kabsch 1976)."""
    U, _, Vt = np.linalg.svd((turns.sensor * np.reshape(weight, (-1, 1))).T @ turns.image)
    return np.asarray(U @ np.diag([1, 1, np.linalg.det(U @ Vt)]) @ Vt)


def _mounted(turns: _Turns) -> tuple[Array, Array]:
    """How the sensor sits: rotation [3, 3] image -> sensor, and its covariance [3, 3] as a turn of the sensor's axes.

    Parts of a trajectory may go the wrong way, so large residuals count less.
    """
    weight = np.ones(len(turns.lag))
    X = _kabsch(turns)
    for _ in range(ROUNDS):
        residual = np.linalg.norm(turns.sensor - turns.image @ X.T, axis=1)
        scale = float(np.median(residual)) / 1.54 or 1e-9        # median length of a 3-vector of unit deviations
        weight = 1 / (1 + (residual / (3 * scale)) ** 2)
        X = _kabsch(turns, weight)
    moved = turns.image @ X.T
    variance = float((weight * residual**2).sum() / weight.sum()) / 3 + 1e-12
    H = np.einsum("m,mab->ab", weight / turns.lag / variance, np.square(moved).sum(1)[:, None, None] * np.eye(3)
                  - moved[:, :, None] * moved[:, None, :])
    return X, np.linalg.inv(H + 1e-2 * np.eye(3))


def _mirror(turns: _Turns, X: Array, likely: Array, R_sensor: Rotation, axes: Sequence[Array], likeness: float
            ) -> tuple[bool | None, str, Array | None]:
    """Whether the trajectory is the wrong image (None: unknown), why, and how the sensor sits where that is known."""
    if likeness < ALIKE:
        return None, f"its turns are not those that the images show (likeness {likeness:.2f})", None
    for A in axes:
        as_is, turned = turns.likeness(A), turns.likeness(A @ HALF_TURN)
        if max(as_is, turned) > likeness - AS_GOOD and min(as_is, turned) < likeness - WORSE:
            mirrored = turned > as_is
            return mirrored, "its axes are those of the image or of the tracked tool", A @ HALF_TURN if mirrored else A
    down = -R_sensor.inv().apply([0.0, 0.0, 1.0]).mean(0)
    pointing = (likely @ X)[:, :, 1] @ down                 # how far down the beam points if the trajectory is right
    up = float((pointing < 0).mean())
    if abs(float(np.median(pointing))) < LEAST_DOWN or max(up, 1 - up) < CERTAIN:
        return None, ("by gravity the beam points neither clearly down nor clearly up, or the probe turned too little "
                      "about its own axes to tell how the sensor sits"), None
    return up > 0.5, "the probe is taken to be held from above, its beam pointing down", None


def _offset(T: Array, times_s: Array, orientation: Orientation) -> float:
    """What to add to the frames' times to get the sensor's (s): 0 where both share a clock, unless another fits better.

    Raises
    ------
    InputError
        If the recording is shorter than the scan.
    """
    first, last = float(orientation.times_s[0]), float(orientation.times_s[-1])
    lowest, highest = first - SLACK_S - float(times_s[0]), last + SLACK_S - float(times_s[-1])
    if highest < lowest:
        raise InputError(f"{orientation.source}: expected orientations over the whole scan, "
                         f"{times_s[-1] - times_s[0]:.1f} s, found {last - first:.1f} s")
    shared = lowest <= 0 <= highest
    if shared:
        lowest, highest = max(lowest, -SEARCHED_S), min(highest, SEARCHED_S)
    frame_s, n = _frame_s(times_s), len(T)
    among = np.unique(np.linspace(0, n - 1, min(n, MOST_COMPARED)).astype(np.int64))
    lags = _lags(times_s)[-1:]

    def alike(offset: float) -> float:
        turns = _turns(T, orientation.at(times_s + offset, frame_s).as_matrix(), lags, among)
        return turns.likeness(_kabsch(turns))

    grid = np.linspace(lowest, highest, int(np.clip((highest - lowest) / frame_s, 1, 2000)) + 1)
    found = np.array([alike(o) for o in grid])
    best = float(grid[found.argmax()])
    fine = best + np.linspace(-1, 1, 9) * (grid[1] - grid[0] if len(grid) > 1 else 0.0)
    fine = fine[(fine >= lowest) & (fine <= highest)] if len(fine) else fine
    if len(fine):
        best = float(fine[np.argmax([alike(o) for o in fine])])
    return 0.0 if shared and alike(0.0) > alike(best) - AS_GOOD else best


def _angles(R: Array) -> Array:
    """Angles [...] (rad) of rotations [..., 3, 3]."""
    return np.arccos(np.clip((np.trace(R, axis1=-2, axis2=-1) - 1) / 2, -1, 1))


def step_covariance(covariance: Array, sensed_mm: float) -> Array:
    """Covariance [N, 3, 3] of (z, tilt, yaw) of steps whose turns a sensor tells, from that of those found by speckle.

    The path along z at `sensed_mm` below the face is as sure as it was; the turns chain to `SENSOR_DEG` in all.
    """
    along = np.array([1.0, sensed_mm, 0.0])
    turned = np.radians(SENSOR_DEG) ** 2 / max(len(covariance), 1)
    out = np.zeros_like(covariance)
    out[:, 0, 0] = np.einsum("a,nab,b->n", along, covariance, along)
    lever = np.array([-sensed_mm, 1.0, 0.0])
    return out + turned * (np.outer(lever, lever) + np.diag([0.0, 0.0, 1.0]))


def warnings_of(found: Inertial) -> list[str]:
    """What a user should know where the sensor does not tell all."""
    out = []
    if found.mirrored is None:
        out.append(f"the sensor does not tell which way round the scan is: {found.why}")
    if not found.usable:
        out.append("orientations of the sensor are left out: "
                   + (f"how it sits on the probe is uncertain by {found.uncertain_deg:.0f} deg over the scan"
                      if found.likeness >= ALIKE else f"its turns are not those that the images show (likeness "
                      f"{found.likeness:.2f}); is it the recording of this scan?"))
    return out
