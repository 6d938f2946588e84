"""Plots of a calibration: curves by depth and angle, residuals, estimate against truth, priors."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..calibrating.curve_fit import predict, unit_q
from ..calibrating.held_out import judge_pairs
from ..calibrating.training import Record, drawn
from ..speckle.calibration import SIGNS, Calibration
from ..speckle.cell_regression import PARTS, parts
from ..speckle.curves import forms_of

DEPTHS_MM = ((0, 20), (20, 40), (40, 60), (60, 90))


def write(path: Path, calibration: Calibration, records: Sequence[Record]) -> None:
    """Write a PNG of six panels."""
    from matplotlib.figure import Figure

    curves, theta = calibration.curves, calibration.coefficients
    samples = [drawn(r) for r in records]
    figure = Figure(figsize=(16, 9), layout="constrained")
    axes = figure.subplots(2, 3)
    figure.suptitle(f"{curves.source}\nwaist {curves.waist_mm:.2f} mm at {curves.focus_mm:.1f} mm, "
                    f"scale uncertain by {curves.scale_uncertainty:.0%}")

    lines = np.concatenate([s.lines for s in samples])
    rho = np.concatenate([s.rho for s in samples])
    expected = np.concatenate([predict(curves, theta, s) for s in samples])
    stretch = np.concatenate([parts(theta, s.signs)[2] for s in samples])
    q = np.concatenate([unit_q(curves, s) for s in samples]) * stretch**2
    edges = np.geomspace(0.01, 100, 17)
    middle = np.sqrt(edges[1:] * edges[:-1])
    bins = np.digitize(q, edges) - 1
    for lo, hi in DEPTHS_MM:
        deep = (lines[:, 0] >= lo) & (lines[:, 0] < hi)
        chosen = [deep & (bins == k) for k in range(len(middle))]
        seen = [k for k, m in enumerate(chosen) if m.sum() > 50]
        if not seen:
            continue
        told = np.array([[rho[chosen[k]].mean(), expected[chosen[k]].mean(), np.std((rho - expected)[chosen[k]])]
                         for k in seen])
        points = axes[0, 0].semilogx(middle[seen], told[:, 0], "o", ms=4)
        axes[0, 0].semilogx(middle[seen], told[:, 1], color=points[0].get_color(), label=f"{lo}-{hi} mm")
        axes[0, 1].semilogx(middle[seen], told[:, 0] - told[:, 1], "o-", ms=4, color=points[0].get_color())
    axes[0, 0].set(title="correlation: mean (dots) and curve, by depth", xlabel="Q", ylabel="correlation")
    axes[0, 0].legend()
    axes[0, 1].axhline(0, color="k", lw=0.5)
    axes[0, 1].set(title="mean residual", xlabel="Q", ylabel="correlation", ylim=(-0.15, 0.15))

    tilt, yaw = np.linspace(0, 2, 60), np.linspace(0, 4, 60)
    one = records[0].lines
    for cell in (np.argmin(np.abs(one[:, 3]) + abs(one[:, 0] - d) / 50) for d in (15, 50, 80)):
        U = forms_of(curves, one[cell:cell + 1])[0]
        fan = curves.kernel(np.square(U[:, 1:2] * np.radians(tilt)).sum(0))
        axes[0, 2].plot(tilt, fan, label=f"tilt, depth {one[cell, 0]:.0f} mm")
    side = np.argmax(one[:, 3])
    U = forms_of(curves, one[side:side + 1])[0]
    axes[0, 2].plot(yaw, curves.kernel(np.square(U[:, 2:] * np.radians(yaw)).sum(0)), "--", label="yaw, side")
    axes[0, 2].set(title="fast part by angle about the face", xlabel="degrees", ylabel="K(Q)")
    axes[0, 2].legend()

    for record in records:
        p = judge_pairs(record, curves, theta)
        axes[1, 0].plot(np.abs(p.truth[:, 0]), np.abs(p.estimate[:, 0]), ".", ms=2)
        axes[1, 1].plot(np.degrees(np.abs(p.truth[:, 1])), np.degrees(np.abs(p.estimate[:, 1])), ".", ms=2,
                        label=record.name if len(records) <= 8 else None)
    for ax, title in ((axes[1, 0], "displacement at the focus of single pairs, mm"), (axes[1, 1], "yaw, degrees")):
        reach = max(*ax.get_xlim(), 1e-3)
        ax.plot([0, reach], [0, reach], "k", lw=0.7)
        ax.set(title=title, xlabel="tracked", ylabel="estimated, contact point given", ylim=(0, 1.5 * reach))
    axes[1, 1].legend(fontsize=7)

    axes[1, 2].axis("off")
    rows = [f"{'sign':<12}" + "".join(f"{p:>9}" for p in PARTS)]
    rows += [f"{name:<12}" + "".join(f"{theta[k, 1 + i]:9.2f}" for k in range(len(PARTS)))
             for i, name in enumerate(SIGNS)]
    rows += [""] + [f"{name:<16}{v['mean']:9.3g} +-{v['sd']:8.2g}  n {v['n']}" for name, v in calibration.priors.items()
                    if isinstance(v, dict) and "mean" in v and not name.startswith(("share", "frames_"))]
    axes[1, 2].text(0, 1, "\n".join(rows), family="monospace", fontsize=7, va="top")
    figure.savefig(path, dpi=90)
