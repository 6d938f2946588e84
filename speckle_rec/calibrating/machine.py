"""From training records to a calibration: fit, held-out subjects, comparison of forms (docs/METHOD.md, section 7)."""

import platform
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..io.wording import counted
from ..speckle.calibration import USUAL_SPREAD, Calibration
from ..speckle.cell_regression import parts
from ..speckle.curves import Curves
from ..trajectory import phases
from .curve_fit import KERNEL, LENS, CurveFit, Priors, Sample, fit, predict, robust_cost
from .held_out import NAMES, PairErrors, judge_pairs, lag_one_excess
from .training import Record, drawn

Array = NDArray[np.float64]
Report = Callable[[str, int, int], None]

LENS_SHARE = 0.03           # relative uncertainty of a lens that is known
LENS_SHARES = {"curvilinear": LENS_SHARE, "linear": 0.15}       # linear probes differ more
MAX_FOLDS = 6
LEAST_UNCERTAINTY, UNJUDGED_UNCERTAINTY = 0.04, 0.15
UNJUDGED_SCANS = 2          # that the latter weighs as much as: two held-out scans may agree by chance

# The forms that are compared on held-out subjects; the last one is what a calibration uses.
TAIL = (*LENS, "tail_b", "tail_beta")
FORMS: dict[str, dict[str, Any]] = {
    "exp(-Q), one floor": {"use_signs": False, "free": LENS, "kernel": "exponential"},
    "exp(-Q), signs": {"use_stretch": False, "free": LENS, "kernel": "exponential"},
    "long tail, one floor": {"use_signs": False, "free": TAIL, "kernel": "tail"},
    "long tail, signs, tissue factor": {"free": TAIL, "kernel": "tail"},
    "mixture, one floor": {"use_signs": False},
    "mixture, signs, no tissue factor": {"use_stretch": False},
    "mixture, signs, tissue factor, free lens": {"free_lens": True},
    "mixture, signs, tissue factor, no rows of pixels": {"free": tuple(n for n in (*LENS, *KERNEL) if n != "rows"),
                                                         "rows": 0.0},
    "mixture, signs, tissue factor": {},
}


def start_curves(kind: str, lens: Priors | None = None) -> Curves:
    """Where a fit starts; lens : that of the kind of probe if None."""
    lens = lens or usual_lens(kind)
    return replace(Curves.usual(kind), waist_mm=lens.waist_mm, focus_mm=lens.focus_mm)


def usual_lens(kind: str) -> Priors:
    """What is known of the lens of a kind of probe where nobody tells."""
    usual = Curves.usual(kind)
    return Priors(usual.waist_mm, usual.focus_mm, LENS_SHARES[kind], LENS_SHARES[kind])


def lens_prior(kind: str, lens: tuple[float, float]) -> Priors:
    """What is known of the beam of a lens, aperture and geometric focus in mm.

    Raises
    ------
    InputError
        If there is no such lens.
    """
    if not (np.isfinite(lens).all() and min(lens) > 0):
        raise InputError(f"lens: expected aperture and focus in mm above 0, found {lens[0]:g} and {lens[1]:g}")
    speed = 1540.0
    beam = Curves.of_lens(speed * 1e3 / Curves.usual(kind).wavelength_mm, *lens, speed)
    return Priors(beam.waist_mm, beam.focus_mm, LENS_SHARE, LENS_SHARE)


def fit_form(samples: Sequence[Sample], kind: str, *, lens: Priors | None = None, kernel: str = "mixture",
             free_lens: bool = False, rows: float = 0.03, **options: Any) -> CurveFit:
    """Fit one of `FORMS`; `rows` is the start of `Curves.rows`."""
    start, priors = replace(start_curves(kind, lens), rows=rows), lens or usual_lens(kind)
    if kernel == "tail":
        start = replace(start, mix=())
    elif kernel == "exponential":
        start = replace(start, mix=(), tail_b=1.0, tail_beta=1.0)
    if free_lens:
        priors = replace(priors, waist_share=0.3, focus_share=1.0)
    return fit(samples, start, priors=priors, **options)


def folds(records: Sequence[Record]) -> list[list[int]]:
    """Indices held out together: a subject each, several where there are more than `MAX_FOLDS`."""
    subjects = sorted({r.subject for r in records})
    n = min(MAX_FOLDS, len(subjects))
    return [[k for k, r in enumerate(records) if subjects.index(r.subject) % n == fold] for fold in range(n)]


def held_out(records: Sequence[Record], samples: Sequence[Sample], form: str, lens: Priors | None = None,
             progress: Report | None = None) -> tuple[list[PairErrors], dict[str, Any]]:
    """Leave-one-subject-out: pair errors of every scan by curves that never saw its subject, and the summary."""
    judged: list[PairErrors] = []
    cost, square, count = 0.0, 0.0, 0
    groups = folds(records)
    for done, out in enumerate(groups):
        if progress:
            progress(f"held out: {form}", done, len(groups))
        f = fit_form([s for k, s in enumerate(samples) if k not in out], records[0].kind, lens=lens, **FORMS[form])
        for k in out:
            expected = predict(f.curves, f.coefficients, samples[k])
            residual = samples[k].rho - expected
            cost += robust_cost(residual, expected) * len(residual)
            square += float(np.square(residual).sum())
            count += len(residual)
            judged.append(judge_pairs(records[k], f.curves, f.coefficients))
    gain, error = np.array([p.gain for p in judged]), np.array([p.error for p in judged])
    summary: dict[str, Any] = {"rho_cost": cost / count, "rho_rms": float(np.sqrt(square / count))}
    for k, name in enumerate(NAMES):
        g, e = gain[:, k][np.isfinite(gain[:, k])], error[:, k][np.isfinite(error[:, k])]
        if len(g):
            summary[name] = {"gain_mean": float(np.exp(np.log(np.maximum(g, 1e-3)).mean())),
                             "gain_sd": float(g.std()), "error_median": float(np.median(e)), "scans": len(g)}
    return judged, summary


def scale_uncertainty(judged: Sequence[PairErrors]) -> float:
    """Root mean square of the logarithm of the gains of displacement and yaw of held-out scans, among which a usual
    one counts for `UNJUDGED_SCANS`."""
    gains = np.array([p.gain[:2] for p in judged])
    gains = gains[np.isfinite(gains) & (gains > 0.1)]
    squares = np.append(np.log(gains) ** 2, np.full(2 * UNJUDGED_SCANS, UNJUDGED_UNCERTAINTY**2))
    return float(max(LEAST_UNCERTAINTY, np.sqrt(squares.mean())))


def calibrate(records: Sequence[Record], *, lens: tuple[float, float] | None = None, seed: int = 0, name: str = "",
              compare: bool = False, provenance: dict[str, Any] | None = None,
              progress: Report | None = None) -> Calibration:
    """Fit a calibration to training records (sorted by name, see `training.merge`).

    Parameters
    ----------
    lens : aperture and geometric focus in mm of the elevational lens, where they are known; else that of the usual
        probe of the kind. Speckle tells it poorly (METHOD.md (7.6)).
    name : what results call this calibration.
    compare : fit every one of `FORMS`, held out, into the table of the figures.

    Raises
    ------
    InputError
        If there is no record.
    """
    if not records:
        raise InputError("no tracked scan to calibrate on")
    kind, form = records[0].kind, list(FORMS)[-1]
    samples = [drawn(r, seed) for r in records]
    known = lens_prior(kind, lens) if lens else None
    f = fit_form(samples, kind, lens=known, **FORMS[form])
    cells = [parts(f.coefficients, s.signs) for s in samples]
    subjects = {r.subject for r in records}
    judged: list[PairErrors] = []
    figures: dict[str, Any] = {}
    if len(subjects) > 1:
        table = {}
        for other in FORMS if compare else [form]:
            judged, table[other] = held_out(records, samples, other, known, progress)
        figures = {"held_out": table, "scans": {p.scan: {"gain": _plain(p.gain), "error": _plain(p.error)}
                                               for p in judged}}
    free = fit_form(samples, kind, lens=known, free_lens=True)
    figures |= {"rho_cost": f.cost, "rho_rms": f.rms, "iterations": f.iterations,
                "free_lens": {"waist_mm": free.curves.waist_mm, "focus_mm": free.curves.focus_mm},
                "lag_one_excess": {r.name: _plain(np.array(lag_one_excess(r, f.curves, f.coefficients)))
                                   for r in records},
                "planar_rms": {r.name: _plain(r.planar_rms) for r in records}}
    curves = replace(f.curves, floor=float(np.mean([c[0].mean() for c in cells])),
                     slow_share=float(np.mean([c[1].mean() for c in cells])),
                     scale_uncertainty=scale_uncertainty(judged),
                     source=name or f"calibrated on {counted(len(records), 'scan')} of "
                                    f"{counted(len(subjects), 'subject')}")
    priors = phases.gather([r.motion for r in records])
    return Calibration(curves, f.coefficients, kind, phases.mirror_prior(priors), priors, figures,
                       {"scans": [r.name for r in records], "seed": seed, "numpy": np.__version__,
                        "python": platform.python_version(), "lens": lens or "usual", **(provenance or {})},
                       spread=USUAL_SPREAD)


def _plain(values: Array) -> list[float | None]:
    return [float(v) if np.isfinite(v) else None for v in values]
