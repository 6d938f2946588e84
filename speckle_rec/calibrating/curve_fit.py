"""Fit of decorrelation curves to cell correlations of known motion (docs/METHOD.md, section 7).

Least squares by Levenberg-Marquardt under the loss that the estimator uses: residuals over the standard
deviation that the model expects (frozen in each outer iteration, since a free one favours too little motion),
Cauchy. The condition that fixes the scale of Q is then the estimator's own, and its scale unbiased on average.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..kernels.cells import LOSS
from ..products.stages import NO_FILTER, TimeFilter
from ..speckle.cell_regression import design, from_predictors, parts
from ..speckle.curves import RATES, Curves, forms_of

Array = NDArray[np.float64]

GLOBALS = ("waist_mm", "focus_mm", "kappa", "steering", "rows", "tail_b", "tail_beta", *["mix"] * len(RATES))
LENS, KERNEL = ("waist_mm", "focus_mm", "kappa", "steering", "rows"), ("mix",)
BY_LOG = np.array([name not in ("focus_mm", "tail_beta") for name in GLOBALS])     # the shares up to a factor
G = len(GLOBALS)
REACH_MM = 3.0
LIMITS = np.array([[np.log(0.15), 5.0, -9.0, 2.0, -9.0, np.log(0.02), 0.03, *[-9.0] * len(RATES)],
                   [np.log(4.0), 150.0, -1.0, 8.0, np.log(0.3), np.log(10.0), 1.3, *[9.0] * len(RATES)]])


@dataclass(frozen=True)
class Sample:
    """Correlations of single cells and what is known of them.

    Attributes
    ----------
    lines : float64 [n, 6], see `beam_lines.beam_lines`.
    xi : float64 [n, 3], true (z mm, tilt rad, yaw rad) of the pair.   signs : float64 [n, F].   rho : float64 [n].
    turn2 : float64 [n], squared turn of the beam in plane, rad^2.
    between : float64 [n], how far off rows of pixels, see `correlation.between_rows`.
    lag : float64 [n], frames apart.   slide : float64 [n], see `Curves.powers`.
    filtered : the scanner's filter over time.
    """

    lines: Array
    xi: Array
    signs: Array
    rho: Array
    turn2: Array
    between: Array
    lag: Array
    slide: Array | float = 0.0
    filtered: TimeFilter = NO_FILTER

    @property
    def weight(self) -> Array:
        """Weight [n] of each, see `reach_weight`."""
        return reach_weight(self.xi)


def reach_weight(xi: Array) -> Array:
    """Weight [n] of pairs with true motion xi [n, 3]: 1 / (1 + d^2), d mm of the field's middle and sides.

    A pair tells the estimator about absolute motion, of which far pairs say little, and the fit about relative
    scale; without the weight far pairs would decide the scale of near ones (METHOD.md (7.5)).
    """
    return 1 / (1 + (np.square(xi[:, 0] + 50 * xi[:, 1]) + np.square(40 * xi[:, 2])) / REACH_MM**2)


@dataclass(frozen=True)
class Priors:
    """Gaussian priors of the fit: what is known of the lens, and that coefficients are small.

    Attributes
    ----------
    waist_mm, focus_mm : prior means; the lens that the physics allows.
    waist_share, focus_share : relative standard deviations.
    coefficient : standard deviation of a coefficient, on the scale of a logit.
    scale : standard deviation of the logarithm of the mean stretch.
    """

    waist_mm: float = 1.15
    focus_mm: float = 56.0
    waist_share: float = 0.15
    focus_share: float = 0.10
    coefficient: float = 1.0
    scale: float = 0.3


@dataclass(frozen=True)
class CurveFit:
    """Curves and the coefficients [3, 1 + 2 F] of floor, slow share and stretch over the signs."""

    curves: Curves
    coefficients: Array
    cost: float
    rms: float
    iterations: int


def to_vector(c: Curves) -> Array:
    """Global parameters [G] in the order of `GLOBALS`, most by their logarithm."""
    mix = c.mix or (1.0,) * len(RATES)
    x = np.array([c.waist_mm, c.focus_mm, c.kappa, c.steering, c.rows, c.tail_b, c.tail_beta, *mix])
    return np.where(BY_LOG, np.log(np.maximum(np.where(BY_LOG, x, 1), 1e-4)), x)


def to_curves(x: Array, like: Curves) -> Curves:
    """Curves of global parameters; their kernel is a mixture where that of `like` is."""
    waist, focus, kappa, steering, rows, b, beta, *mix = np.where(BY_LOG, np.exp(np.where(BY_LOG, x, 0)), x).tolist()
    shares = tuple(m / sum(mix) for m in mix) if like.mix else ()
    return replace(like, waist_mm=waist, focus_mm=focus, kappa=kappa, steering=steering, rows=rows,
                   tail_b=b, tail_beta=beta, mix=shares)


def unit_q(curves: Curves, sample: Sample) -> Array:
    """Q [n] before the stretch."""
    U = forms_of(curves, sample.lines)
    return np.square(np.einsum("nkm,nm->nk", U, sample.xi)).sum(-1) + curves.steering * sample.turn2


def predict(curves: Curves, coefficients: Array, sample: Sample) -> Array:
    """Expected correlations [n] (METHOD.md (7.1))."""
    floor, slow, stretch = parts(coefficients, sample.signs)
    q = unit_q(curves, sample) * stretch**2
    return curves.through(sample.filtered).expected(q, sample.lag, floor, slow, curves.kept(sample.between),
                                                    sample.slide)


def variance(f: Array) -> Array:
    """Variance [n] that the estimator expects about f (METHOD.md (3.8))."""
    return (1 - f * f) ** 2 / LOSS.samples + LOSS.extra**2


def weights(e: Array, f: Array) -> Array:
    """Weights [n] of residuals e about expected correlations f: the estimator's."""
    s2 = variance(f)
    return 1 / (s2 * (1 + e * e / (s2 * LOSS.cutoff**2)))


def robust_cost(e: Array, f: Array) -> float:
    """Mean Cauchy cost of residuals, as the estimator counts it."""
    return float(0.5 * LOSS.cutoff**2 * np.mean(np.log1p(e * e / (variance(f) * LOSS.cutoff**2))))


def start_coefficients(n_signs: int, curves: Curves) -> Array:
    """Coefficients that know nothing of the signs: the floor and slow share of `curves`, no stretch."""
    out = np.zeros((3, 1 + 2 * n_signs))
    out[0, 0] = np.log(curves.floor / (1 - curves.floor))
    out[1, 0] = np.log(curves.slow_share / (1 - curves.slow_share))
    return out


def fit(samples: Sequence[Sample], start: Curves, *, priors: Priors = Priors(), use_signs: bool = True,
        use_stretch: bool = True, free: Sequence[str] = LENS + KERNEL, max_iterations: int = 25,
        share: float | None = None) -> CurveFit:
    """Fit curves and coefficients to samples, one a scan; every scan counts the same.

    Parameters
    ----------
    start : curves to start from; what is not in `free` is kept.
    free : of `GLOBALS`; the kernel is a mixture if `start`'s is.
    use_signs : False fits one floor and one slow share for all cells.
    use_stretch : False leaves the tissue factor out (its mean is still fitted: it is the scale).
    share : weight of one correlation, since neighbours are not independent; default .01.
    """
    n_signs = samples[0].signs.shape[1]
    F = 1 + 2 * n_signs
    theta = start_coefficients(n_signs, start)
    x = to_vector(start)
    loose = np.array([name in free for name in GLOBALS])
    active = np.ones((3, F), bool)
    if not use_signs:
        active[:, 1:] = False
    elif not use_stretch:
        active[2, 1:] = False
    # Depth is the lens's business: a stretch over depth would undo its physics (METHOD.md (7.3)).
    active[2, [1, 1 + n_signs]] = False
    keep = np.concatenate([loose, active.ravel()])
    mean = np.concatenate([to_vector(start), np.zeros(3 * F)])
    mean[:2] = np.log(priors.waist_mm), priors.focus_mm
    deviation = np.concatenate([[priors.waist_share, priors.focus_share * priors.focus_mm, 3.0, 0.7, 2.0, 2.0, 1.0],
                                np.full(len(RATES), 2.0), np.full(3 * F, priors.coefficient)])
    deviation[G::F] = 5.0, 5.0, priors.scale
    precision = 1 / deviation**2
    total_weight = np.array([s.weight.sum() for s in samples])
    counts = total_weight.mean() / total_weight
    temper = 0.01 if share is None else share
    damping, cost = 1e-3, np.inf
    best = np.inf
    iterations = 0
    v = np.concatenate([x, theta.ravel()])
    designs = [design(s.signs) for s in samples]
    while iterations < max_iterations:
        iterations += 1
        H, g = np.zeros((len(v), len(v))), np.zeros(len(v))
        frozen, total = [], 0.0
        for s, A, n in zip(samples, designs, counts, strict=True):
            f, J = _jacobian(v, s, A, start, loose)
            e = s.rho - f
            w = weights(e, f) * s.weight * n * temper
            frozen.append(w)
            total += float((w * e * e).sum()) / 2
            H += (J * w[:, None]).T @ J
            g += J.T @ (w * e)
        total += float((precision * (v - mean) ** 2).sum()) / 2
        g -= precision * (v - mean)
        H += np.diag(precision)
        moved = False
        for _ in range(8):
            d = np.zeros_like(v)
            d[keep] = np.linalg.solve((H + np.diag(damping * np.diag(H)))[np.ix_(keep, keep)], g[keep])
            trial = v + d
            trial[:G] = np.clip(trial[:G], *LIMITS)
            new = float((precision * (trial - mean) ** 2).sum()) / 2
            for s, A, w in zip(samples, designs, frozen, strict=True):
                new += float((w * (s.rho - _expected(trial, s, A, start)[0]) ** 2).sum()) / 2
            if new <= total:
                moved, v, damping = True, trial, max(damping / 5, 1e-7)
                break
            damping *= 6
        cost = float(np.mean([robust_cost(s.rho - (f := _expected(v, s, A, start)[0]), f)
                              for s, A in zip(samples, designs, strict=True)]))
        if not moved or abs(best - cost) < 1e-5:
            break
        best = cost
    curves, theta = to_curves(v[:G], start), v[G:].reshape(3, F)
    residual = np.concatenate([s.rho - predict(curves, theta, s) for s in samples])
    return CurveFit(curves, theta, cost, float(np.sqrt(np.mean(residual**2))), iterations)


STEP, FOCUS_STEP = 1e-4, 1e-3       # of differences that derivatives are taken by; the focus is in mm


def _expected(v: Array, s: Sample, A: Array, like: Curves) -> tuple[Array, Array, Array]:
    """Expected correlations [n], Q before the stretch, and the linear predictors [3, n]."""
    curves = to_curves(v[:G], like).through(s.filtered)
    predictors = (A @ v[G:].reshape(3, -1).T).T
    unit = unit_q(curves, s)
    floor, slow, stretch = from_predictors(*predictors)
    return curves.expected(unit * stretch**2, s.lag, floor, slow, curves.kept(s.between), s.slide), unit, predictors


def _jacobian(v: Array, s: Sample, A: Array, like: Curves, loose: NDArray[np.bool_]) -> tuple[Array, Array]:
    f, unit, predictors = _expected(v, s, A, like)
    floor, slow, stretch = from_predictors(*predictors)
    curves = to_curves(v[:G], like).through(s.filtered)
    kept = curves.kept(s.between)
    columns = []
    for k in range(G):
        d = np.zeros_like(f)
        if loose[k]:
            h = FOCUS_STEP if k == 1 else STEP
            trial = v[:G].copy()
            trial[k] += h
            c = to_curves(trial, like).through(s.filtered)
            q = (unit_q(c, s) if GLOBALS[k] in ("waist_mm", "focus_mm", "steering") else unit) * stretch**2
            d = (c.expected(q, s.lag, floor, slow, c.kept(s.between), s.slide) - f) / h
        columns.append(d[:, None])
    for k in range(3):
        floor, slow, stretch = from_predictors(*(x + STEP if m == k else x for m, x in enumerate(predictors)))
        stepped = curves.expected(unit * stretch**2, s.lag, floor, slow, kept, s.slide)
        columns.append(((stepped - f) / STEP)[:, None] * A)
    return f, np.concatenate(columns, 1)
