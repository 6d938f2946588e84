"""The official score of the TUS-REC challenges, from poses and without holding displacement fields.

With p = (x, y, 0, 1) the pixels (from 1) and S the scale, the field of frame j is ``(T S p - S p)[0:3]``.
Two fields differ by ``(T_est - T_true) S p``, so that an error is the mean length of an affine function.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .. import geometry
from ..errors import InputError
from ..kernels import cpu_fields

Array = NDArray[np.float64]

ERRORS = ("GPE", "GLE", "LPE", "LLE")


@dataclass(frozen=True)
class Score:
    """Errors in mm and scores of one scan; landmark parts are None where no landmarks are known.

    Attributes
    ----------
    GPE, LPE : global and local pixel error: mean distance over the frames 1..N-1 and all pixels.
    GLE, LLE : global and local landmark error: mean distance over the landmarks.
    *_identity : the same for the estimate that nothing moves.
    *_normalised : 1 - E / E_identity; 0 where the identity is exact or the scan failed.
    final, global_, local, pixel, landmark : means of the normalised errors that are there.
    landmarks_known : False where `final` is the mean of the pixel parts only.
    failed : True where the estimate is not finite; every score is then 0.
    """

    GPE: float
    GLE: float | None
    LPE: float
    LLE: float | None
    GPE_identity: float
    GLE_identity: float | None
    LPE_identity: float
    LLE_identity: float | None
    GPE_normalised: float
    GLE_normalised: float | None
    LPE_normalised: float
    LLE_normalised: float | None
    final: float
    global_: float
    local: float
    pixel: float
    landmark: float | None
    landmarks_known: bool
    failed: bool

    def as_dict(self) -> dict[str, float | bool | None]:
        """Fields by their published names (`global` for `global_`)."""
        return {name.rstrip("_"): value for name, value in vars(self).items()}


def evaluate(T_first_est: Array, T_prev_est: Array, T_first_true: Array, T_prev_true: Array, scale: Array,
             shape: tuple[int, int] = (480, 640), landmarks: NDArray[np.integer] | None = None) -> Score:
    """Score estimated against true poses exactly as the challenge does.

    Parameters
    ----------
    T_first_est, T_first_true : [N, 4, 4] image mm of frame i -> image mm of frame 0.
    T_prev_est, T_prev_true : [N, 4, 4] frame i -> frame i-1; entry 0 is not used.
    scale : [4, 4] pixel (from 1) -> image mm.
    shape : rows and columns of the image.
    landmarks : [L, 3] frame (from 0), x and y pixel (from 1). A landmark on frame 0 is looked up on the
        last frame, as the challenge's indexing [frame - 1] does.

    Raises
    ------
    InputError
        If the numbers of poses differ, are below two, or a landmark lies outside the scan.
    """
    poses = [np.asarray(T, float) for T in (T_first_est, T_prev_est, T_first_true, T_prev_true)]
    n = len(poses[0])
    if n < 2 or any(T.shape != (n, 4, 4) for T in poses):
        found = ", ".join(str(T.shape) for T in poses)
        raise InputError(f"score: expected four pose arrays [N,4,4] with N >= 2, found {found}")
    first_est, prev_est, first_true, prev_true = poses
    at = None if landmarks is None or len(landmarks) == 0 else _check_landmarks(landmarks, n, shape)
    eye = np.eye(4)
    values: dict[str, float | None] = {}
    for scope, est, true in (("G", first_est, first_true), ("L", prev_est, prev_true)):
        for suffix, start in (("", est), ("_identity", eye)):
            A = (start - true) @ scale
            values[f"{scope}PE{suffix}"] = float(_pixel_errors(A[1:], shape).mean())
            values[f"{scope}LE{suffix}"] = None if at is None else float(_landmark_errors(A, at).mean())
    failed = not all(np.isfinite(v) for v in values.values() if v is not None)
    normalised = {name: None if values[name] is None else 0.0 if failed
                  else _normalised(values[name], values[f"{name}_identity"]) for name in ERRORS}

    def mean(*names: str) -> float:
        return float(np.mean([v for v in map(normalised.get, names) if v is not None]))

    return Score(
        **values, **{f"{name}_normalised": v for name, v in normalised.items()},  # type: ignore[arg-type]
        final=mean(*ERRORS), global_=mean("GPE", "GLE"), local=mean("LPE", "LLE"), pixel=mean("GPE", "LPE"),
        landmark=None if at is None else mean("GLE", "LLE"), landmarks_known=at is not None, failed=failed)


def with_mirror_given(T_first_est: Array, T_prev_est: Array, T_first_true: Array, T_prev_true: Array,
                      scale: Array, shape: tuple[int, int] = (480, 640),
                      landmarks: NDArray[np.integer] | None = None) -> tuple[Score, bool]:
    """The better `final` of the estimate and its mirror image, and whether it is the mirror image.

    The mirror bit cannot be seen in speckle: this is the score of the method apart from the prior.
    """
    true = (T_first_true, T_prev_true, scale, shape, landmarks)
    as_is = evaluate(T_first_est, T_prev_est, *true)
    mirrored = evaluate(geometry.mirror(T_first_est), geometry.mirror(T_prev_est), *true)
    return (mirrored, True) if mirrored.final > as_is.final else (as_is, False)


@dataclass(frozen=True)
class StepErrors:
    """Errors of the steps between neighbouring frames, and path lengths of the image centre.

    `inplane_rms_mm` and `elevational_rms_mm` hold at the image centre, the `corner` values are the root
    mean square over the four corners. `elevational_size_rms_mm` compares |dz|, whatever its sign.
    """

    inplane_rms_mm: float
    inplane_corner_rms_mm: float
    elevational_rms_mm: float
    elevational_corner_rms_mm: float
    elevational_size_rms_mm: float
    path_est_mm: float
    path_true_mm: float
    inplane_path_est_mm: float
    inplane_path_true_mm: float
    elevational_path_est_mm: float
    elevational_path_true_mm: float
    steps: int


def step_errors(T_prev_est: Array, T_prev_true: Array, scale: Array, shape: tuple[int, int] = (480, 640), *,
                where: NDArray[np.bool_] | None = None) -> StepErrors:
    """Errors of steps [N, 4, 4] (entry 0 is ignored), of the frames `where` [N] only if given."""
    rows, columns = shape
    take = np.ones(len(T_prev_est), bool) if where is None else np.array(where, bool)
    take[:1] = False
    if not take.any():
        raise InputError("step errors: expected at least one step")
    points = geometry.pixel_points(scale, np.array([(columns + 1) / 2, 1, columns, 1, columns]),
                                   np.array([(rows + 1) / 2, 1, 1, rows, rows]))
    est, true = (np.einsum("nij,pj->npi", T[take][:, :3, :3] - np.eye(3), points) + T[take][:, None, :3, 3]
                 for T in (np.asarray(T_prev_est, float), np.asarray(T_prev_true, float)))
    error = est - true

    def rms(a: Array) -> float:
        return float(np.sqrt(np.mean(a**2)))

    def path(steps: Array) -> float:
        return float(np.linalg.norm(steps, axis=-1).sum())

    return StepErrors(
        inplane_rms_mm=rms(np.linalg.norm(error[:, 0, :2], axis=-1)),
        inplane_corner_rms_mm=rms(np.linalg.norm(error[:, 1:, :2], axis=-1)),
        elevational_rms_mm=rms(error[:, 0, 2]),
        elevational_corner_rms_mm=rms(error[:, 1:, 2]),
        elevational_size_rms_mm=rms(np.abs(est[:, 0, 2]) - np.abs(true[:, 0, 2])),
        path_est_mm=path(est[:, 0]), path_true_mm=path(true[:, 0]),
        inplane_path_est_mm=path(est[:, 0, :2]), inplane_path_true_mm=path(true[:, 0, :2]),
        elevational_path_est_mm=path(est[:, 0, 2:]), elevational_path_true_mm=path(true[:, 0, 2:]),
        steps=int(take.sum()))


def _check_landmarks(landmarks: NDArray[np.integer], n: int, shape: tuple[int, int]) -> NDArray[np.int64]:
    at = np.asarray(landmarks).astype(np.int64)
    if at.ndim != 2 or at.shape[1] != 3:
        raise InputError(f"landmarks: expected [L, 3] (frame, x, y), found shape {at.shape}")
    low, high = at.min(0), at.max(0)
    if low[0] < 0 or high[0] >= n or low[1:].min() < 1 or high[1] > shape[1] or high[2] > shape[0]:
        raise InputError(f"landmarks: expected frames 0..{n - 1}, x 1..{shape[1]}, y 1..{shape[0]}, "
                         f"found {low.tolist()}..{high.tolist()}")
    return at


def _pixel_errors(A: Array, shape: tuple[int, int]) -> Array:
    """Mean length over the pixels, per frame, of ``A p`` with A [n, 4, 4]."""
    return cpu_fields.mean_lengths(np.ascontiguousarray(A[:, :3][:, :, [0, 1, 3]]), *shape)


def _landmark_errors(A: Array, at: NDArray[np.int64]) -> Array:
    frame = np.where(at[:, 0] == 0, len(A) - 1, at[:, 0])
    p = np.stack([at[:, 1], at[:, 2], np.zeros(len(at)), np.ones(len(at))], -1)
    return np.linalg.norm(np.einsum("lij,lj->li", A[frame, :3], p), axis=-1)


def _normalised(error: float | None, identity: float | None) -> float:
    assert error is not None and identity is not None
    return 1 - error / identity if identity > 0 else 0.0
