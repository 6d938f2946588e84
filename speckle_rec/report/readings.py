"""The two mirror images that a scan may be: both drawn, seen from above, and the command that takes the other."""

import html
import shlex
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from .scene import middle_of
from .stored import Stored

Array = NDArray[np.float64]

WIDTH, HEIGHT, MARGIN = 340, 250, 34
MOST_POINTS, SHOWN = 300, 4        # of the path; faces of the probe along it

OTHER = {"towards": "away", "away": "towards", "clockwise": "anticlockwise", "anticlockwise": "clockwise"}
ABOUT = ("Seen from above, who holds the probe standing below, the picture's right to his right. Images alone cannot "
         "tell the two")
KNOWN = f"{ABOUT}; here somebody, or a sensor, has."
ASSUMED = (f"{ABOUT}: the left one is the usual one, taken because nobody told. --swept, --turned or --tilted-first "
           "tells which it is.")
SENSED = "A sensor on the probe told which of the two it is."


def told(r: Stored, folder: Path) -> dict[str, Any] | None:
    """What the page says of both readings; None of a single frame."""
    if len(r.T) < 2:
        return None
    known = r.verdict.get("handedness") == "known"
    drawing = svg(r.T, r.outline, str(r.numbers.get("reading") or ""), str(r.numbers.get("other_reading") or ""), known)
    return {"drawing": Markup(drawing), "about": KNOWN if known else ASSUMED, "command": command(r, folder),
            "settled": SENSED}


def command(r: Stored, folder: Path) -> str:
    """The command that takes the other reading; empty where a sensor decided.

    The result's folder goes by its name alone: the page puts in where it lies, and no path reaches a page that is sent.
    What somebody told of the directions is told the other way round; where nobody did, --mirrored is switched.
    """
    path = r.summary.get("path")
    words = ["speckle-rec", "reconstruct", str(path or "SCAN"), "-o", folder.name, "--overwrite"]
    directions = {name: r.config[name] for name in ("swept", "turned", "tilted_first") if name in r.config}
    if directions:
        for name, way in directions.items():
            words += [f"--{name.replace('_', '-')}", OTHER.get(str(way), str(way))]
    elif r.config.get("mirrored"):
        pass        # without it, it is the usual one again
    elif r.verdict.get("handedness") == "known":
        return ""
    else:
        words.append("--mirrored")
    if r.config.get("motion") in ("fan", "sweep"):
        words += ["--motion", str(r.config["motion"])]
    return shlex.join(words)


def svg(T_first_frame: Array, outline_mm: Array, reading: str, other_reading: str, known: bool) -> str:
    """Both readings side by side as SVG: the way of the middle of the picture, and the face of the probe along it.

    Parameters
    ----------
    T_first_frame : [N, 4, 4].   outline_mm : [m, 2] of the field of view.
    reading, other_reading : in words, what was decided and its mirror image.   known : whether somebody told.
    """
    T = T_first_frame[np.isfinite(T_first_frame).all((1, 2))]
    at = np.unique(np.linspace(0, len(T) - 1, min(len(T), MOST_POINTS)).astype(int))
    shown = np.unique(np.linspace(0, len(T) - 1, SHOWN).astype(int))
    middle = middle_of(outline_mm)
    left, right = middle.copy(), middle.copy()
    left[0], right[0] = outline_mm[:, 0].min(), outline_mm[:, 0].max()
    left[1] = right[1] = outline_mm[:, 1].min()
    path = _above(T[at], middle)
    faces = np.stack([_above(T[shown], left), _above(T[shown], right)], 1)
    points = np.concatenate([path, faces.reshape(-1, 2)])
    reach = np.abs(points[:, 1]).max() + 1e-6           # the same scale for both: z of the one is -z of the other
    scale = min((WIDTH - 2 * MARGIN) / max(float(np.ptp(points[:, 0])), 1e-6), (HEIGHT - 2 * MARGIN) / (2 * reach))
    x0 = (points[:, 0].min() + points[:, 0].max()) / 2
    title = ("as told" if known else "as decided", "its mirror image")
    panels = []
    for k, (words, sign) in enumerate(((reading, 1), (other_reading, -1))):
        def page(p: Array, sign: int = sign, k: int = k) -> str:
            x = k * WIDTH + WIDTH / 2 + scale * (p[:, 0] - x0)
            return " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, HEIGHT / 2 - scale * sign * p[:, 1], strict=True))

        style = 'stroke="var(--a, #05c)" stroke-width="2.5"' if k == 0 else \
            'stroke="var(--soft, #777)" stroke-width="2" stroke-dasharray="6 4"'
        lines = "".join(f'<polyline points="{page(face)}" stroke="currentColor" stroke-opacity="{1 - .22 * n:.2f}" '
                        f'stroke-width="{3 if n == 0 else 1.5}" fill="none"/>' for n, face in enumerate(faces))
        panels.append(
            f'<text x="{k * WIDTH + WIDTH / 2}" y="14" text-anchor="middle" font-weight="600">{title[k]}</text>'
            f'<text x="{k * WIDTH + 4}" y="{MARGIN + 10}">away</text><text x="{k * WIDTH + WIDTH / 2}" '
            f'y="{HEIGHT - 4}" text-anchor="middle">you</text>{lines}'
            f'<polyline points="{page(path)}" {style} fill="none" marker-end="url(#tip)"/>'
            f'<text x="{k * WIDTH + WIDTH / 2}" y="{HEIGHT + 16}" text-anchor="middle">{html.escape(words)}</text>')
    told = html.escape(f"{title[0]}: {reading}; {title[1]}: {other_reading}")
    return (f'<svg viewBox="0 0 {2 * WIDTH} {HEIGHT + 24}" role="img" aria-label="{told}" font-size="12" '
            'style="width:100%;max-width:760px" fill="currentColor"><defs><marker id="tip" viewBox="0 0 8 8" refX="6" '
            'refY="4" markerWidth="5" markerHeight="5" orient="auto-start-reverse"><path d="M0 0L8 4L0 8z" '
            f'fill="currentColor"/></marker></defs>{"".join(panels)}</svg>')


def _above(T: Array, point_mm: Array) -> Array:
    """Where a point of the image goes, (x, z) [n, 2] in image mm of frame 0."""
    return (T[:, :3, :3] @ point_mm + T[:, :3, 3] - point_mm)[:, [0, 2]] + [point_mm[0], 0.0]
