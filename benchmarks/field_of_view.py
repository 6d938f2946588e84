"""How well the field of view is found in drawn frames whose field is known: field_of_view.py [--fields 300].

Fields differ in kind, size, pixel size and place in the image; each disturbance is drawn on its own. A row holds the
fields that have the disturbance, so that a field with two of them counts in two rows.
"""

import argparse
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from speckle_rec.probe import field as probe
from speckle_rec.probe.field import ProbeGeometry

CLOSE_MM = 0.5       # a field counts as close when apex, face, far end and sides (there) are within this


def draw(geometry: ProbeGeometry, *, n=16, seed=0, dark_from_mm=None, shadows=(), overlay=True, saturated_mm=0.0,
         flicker=0.0, side_gain=0.0) -> NDArray[np.uint8]:
    """Frames [n, rows, columns]: log-compressed speckle in the field, text and ticks outside.

    Parameters
    ----------
    dark_from_mm : range from which the echoes fade into the black.
    shadows : (first u, last u, first range in mm) of each wedge without echoes.
    saturated_mm : depth of the white band at the face.
    flicker : standard deviation of the noise (grey levels) over the whole image, as of a grabbed video.
    side_gain : grey levels by which the right edge is brighter than the middle, and the left one darker.
    """
    rng = np.random.default_rng(seed)
    rows, columns = geometry.shape
    s = geometry.scale
    x, y = np.meshgrid(s[0, 0] * np.arange(1, columns + 1), s[1, 1] * np.arange(1, rows + 1))
    r, u = geometry.polar(x, y)
    gain = 90.0 + side_gain * u / geometry.lateral[1]
    if dark_from_mm is not None:
        gain -= np.clip(r - dark_from_mm, 0, None) * 4
    for first, last, from_mm in shadows:
        gain -= 150.0 * ((u > first) & (u < last) & (r > from_mm))
    gain += 400.0 * (r < saturated_mm)
    frames = np.empty((n, rows, columns), np.uint8)
    for frame in frames:
        field = rng.standard_normal((2, rows, columns)).astype(np.float32)
        amplitude = np.hypot(*(cv2.GaussianBlur(f, (0, 0), 1.5) for f in field))
        grey = gain + 26.7 * np.log(amplitude / amplitude.mean() + 1e-6)
        frame[...] = np.where(geometry.mask(), np.clip(grey, 0, 255), 0)
        if flicker:
            frame[...] = np.clip(frame.astype(float) + 12 + rng.normal(0, flicker, frame.shape), 0, 255)
        if overlay:
            for i in range(20, rows, 40):
                frame[i : i + 2, columns - 8 :] = 200
            cv2.putText(frame, "4DC7 Abdomen", (4, 18), cv2.FONT_HERSHEY_SIMPLEX, 0.5, 255, 1)
            clock, at = str(rng.integers(1000)), (columns - 90, rows - 6)
            cv2.putText(frame, clock, at, cv2.FONT_HERSHEY_SIMPLEX, 0.5, 255)
    return frames


def sector(rng: np.random.Generator) -> tuple[ProbeGeometry, set[str]]:
    """A curvilinear field that fills its image, or (one in three) is cut off by its sides or its lower end."""
    rows, columns = ((480, 640), (600, 800), (360, 400))[rng.integers(3)]
    radius, half, depth = rng.uniform(8, 65), np.deg2rad(rng.uniform(15, 38)), rng.uniform(40, 150)
    width, height = 2 * (radius + depth) * np.sin(half), radius + depth - radius * np.cos(half)
    tags, margin = set(), rng.uniform(1.03, 1.2)
    if rng.random() < 1 / 3:
        tags.add("cut off by the image")
        margin = rng.uniform(0.85, 1.0)
    pixel = margin * max(width / columns, height / rows)
    scale = np.diag([pixel, pixel * rng.uniform(0.95, 1.05), 1.0, 1.0])
    x = columns * scale[0, 0] * rng.normal(0.5, 0.02)
    top = 4 * pixel + max(0.0, rows * scale[1, 1] - height) * rng.uniform(0, 0.5)
    apex = (x, top - radius * np.cos(half))
    return ProbeGeometry("curvilinear", (rows, columns), scale, apex, radius, (0.0, depth), (-half, half)), tags


def rectangle(rng: np.random.Generator) -> tuple[ProbeGeometry, set[str]]:
    """A linear field inside its image, or as wide as the image."""
    rows, columns = ((480, 640), (600, 800), (400, 360))[rng.integers(3)]
    depth, half = rng.uniform(25, 90), rng.uniform(12, 30)
    pixel = 1.1 * max(2 * half / columns, depth / rows)
    scale = np.diag([pixel, pixel * rng.uniform(0.95, 1.05), 1.0, 1.0])
    spare_x, spare_y = columns * scale[0, 0] - 2 * half, rows * scale[1, 1] - depth
    at = (half + spare_x * rng.uniform(0.2, 0.8), spare_y * rng.uniform(0.05, 0.6))
    return ProbeGeometry("linear", (rows, columns), scale, at, 0.0, (0.0, depth), (-half, half)), set()


def disturbances(geometry: ProbeGeometry, rng: np.random.Generator) -> dict[str, tuple[str, Any]]:
    """What may be wrong with frames: its name, the option of `draw` and the option's drawn value."""
    half, depth = geometry.lateral[1], geometry.depth_mm[1]

    def shadow(centre: float) -> tuple[float, float, float]:
        wide = rng.uniform(0.05, 0.25) * half
        return centre * half - wide, centre * half + wide, rng.uniform(0, 0.3) * depth

    return {"shadow at a side": ("shadows", [shadow(rng.choice([-0.95, 0.95]))]),
            "two shadows": ("shadows", [shadow(c) for c in rng.uniform(-0.7, 0.7, 2)]),
            "dark far end": ("dark_from_mm", rng.uniform(0.3, 0.8) * depth),
            "one side brighter": ("side_gain", rng.uniform(20, 70) * rng.choice([-1, 1])),
            "white near field": ("saturated_mm", rng.uniform(1, 5)),
            "noise of a grabber": ("flicker", rng.uniform(0.5, 3)),
            "no text": ("overlay", False)}


def drawn(seed: int) -> tuple[ProbeGeometry, dict[str, Any], set[str]]:
    """A field, the options that draw it, and the names of its disturbances."""
    rng = np.random.default_rng([20, seed])
    geometry, tags = rectangle(rng) if rng.random() < 0.25 else sector(rng)
    options = {"n": int(rng.choice([1, 3, 8, 8, 8])), "seed": seed}
    if options["n"] == 1:
        options["overlay"] = False       # a single frame does not tell text from echoes
        tags.add("a single frame")
    for name, (option, value) in disturbances(geometry, rng).items():
        if rng.random() < 0.2 and option not in options:
            options[option] = value
            tags.add(name)
    return geometry, options, tags or {"nothing"}


ERRORS: dict[str, Callable[[ProbeGeometry, ProbeGeometry], float]] = {
    "radius mm": lambda g, t: abs(g.radius_mm - t.radius_mm),
    "apex mm": lambda g, t: float(np.hypot(*np.subtract(g.apex_mm, t.apex_mm))),
    "face mm": lambda g, t: float(np.hypot(*np.subtract(g.face_mm, t.face_mm))),
    "far end mm": lambda g, t: abs(g.depth_mm[1] - t.depth_mm[1]),
    "sides mm": lambda g, t: float(np.abs(np.subtract(g.lateral, t.lateral)).max()
                                   * (1 if t.kind == "linear" else t.radius_mm + t.depth_mm[1])),
    "sides deg": lambda g, t: (0.0 if t.kind == "linear"
                               else float(np.rad2deg(np.abs(np.subtract(g.lateral, t.lateral)).max())))}


def errors(found: ProbeGeometry, true: ProbeGeometry, tags: set[str]) -> dict[str, float]:
    """Errors of a field that was found; NaN where the frames do not show what is asked."""
    hidden = {"far end mm"} if tags & {"dark far end", "cut off by the image"} else set()
    return {name: float("nan") if name in hidden else error(found, true) for name, error in ERRORS.items()}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--fields", type=int, default=300)
    options.add_argument("--first", type=int, default=0, help="seed of the first field")
    o = options.parse_args()
    rows: dict[str, list[NDArray[np.float64]]] = {}
    count, missed, close = Counter(), Counter(), Counter()
    seconds = []
    for seed in range(o.first, o.first + o.fields):
        true, how, tags = drawn(seed)
        frames = draw(true, **how)
        start = time.process_time()
        found = probe.find(frames, true.scale)
        seconds.append(time.process_time() - start)
        seen = found.source == "frames" and found.geometry.kind == true.kind
        error = np.array(list(errors(found.geometry, true, tags).values())) if seen else None
        for row in (f"all {true.kind}", *sorted(tags)):
            count[row] += 1
            missed[row] += not seen
            if error is not None:
                rows.setdefault(row, []).append(error)
                close[row] += not (error[1:-1] > CLOSE_MM).any()
    print(f"{o.fields} fields from seed {o.first}; mean / worst error of those that were found; "
          f"{np.mean(seconds):.3f} s of CPU a field (median {np.median(seconds):.3f}, worst {max(seconds):.3f})\n")
    print("| fields with | number | not found | within .5 mm | " + " | ".join(ERRORS) + " |")
    print("|---|" + "---:|" * (len(ERRORS) + 3))
    for row in sorted(count, key=lambda name: (not name.startswith("all"), name)):
        found_errors = np.array(rows.get(row, np.full((1, len(ERRORS)), np.nan)))
        known = np.isfinite(found_errors).any(0)
        mean = np.where(known, np.nanmean(np.where(known, found_errors, 0), 0), np.nan)
        worst = np.where(known, np.nanmax(np.where(known, found_errors, 0), 0), np.nan)
        cells = [f"{m:.2f} / {w:.2f}" if np.isfinite(m) else "" for m, w in zip(mean, worst, strict=True)]
        print(f"| {row} | {count[row]} | {missed[row]} | {close[row]} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
