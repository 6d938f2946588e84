"""A result folder as one HTML file that needs no network."""

import base64
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..geometry import pixel_points
from ..io import nrrd
from ..io.staging import staged_file
from ..scoring import drift
from . import advice, film, found, niivue, overview, page, plots, readings, volumes
from .scene import EVERY, MAX_OUTLINES, cells, plain, scene
from .stored import Stored
from .words import LABELS, labelled, number, rows, shown

Array = NDArray[np.float64]

CITATION = """@software{{speckle_rec,
  author  = {{The speckle-rec authors}},
  title   = {{speckle-rec: trackerless freehand 3D ultrasound by block matching, speckle decorrelation and geometry}},
  version = {{{version}}},
  note    = {{Calibration {calibration}}}
}}"""
ABOUT = {
    "curves": "Correlation of the clearest cells by out-of-plane motion: what turned speckle into distances here, "
              "at every depth alike. Dots: the scan's own cells at the motion that was estimated.",
    "probe": "A dot: a part that is measured. Red, if there is any: pixels that never change over the scan, which take "
             "no part, as haze that stands still does not.",
    "slices": "Cut through the middle of the volume.",
    "against": "The frames compounded twice on one grid, with the estimated and with the tracked poses. Likeness: grey "
               "values where both have seen something. Overlap: Dice coefficient of what was seen.",
    "motion": "Solid: estimated, with one standard deviation; dashed: tracked. Bands are phases of the motion, dotted "
              "lines reversals of the out-of-plane motion. Dots: frame pairs that show the same place.",
    "drift": "Of the middle of the field of view, from where the tracker has it. The deviation is the one the result "
             "states of itself.",
}
GRADES = {"reliable": "good", "doubtful": "fair", "not measurable": "bad", "known": "good", "assumed": "fair"}
TOLD = {"known": "somebody, or a sensor, told", "assumed": "it may as well be its mirror image"}
SURE_PERCENT, UNSURE_PERCENT = 10, 30       # of scale, up to which it is good, and from which it is bad
MAIN = ("final", "global", "local", "final_mirror_given")


def write(path: str | Path, folder: str | Path, *, T_first_frame_tracked: Array | None = None,
          called: Path | None = None) -> None:
    """Write the report of a result folder.

    Parameters
    ----------
    path : the HTML file.
    folder : result of `reconstruct`: ``poses.h5`` and ``summary.json``; ``config.toml``, the volumes, the film and the
        figures ``trajectory.png``, ``montage.png``, ``probe.png``, ``slices.png`` are taken in where they are.
    T_first_frame_tracked : [N, 4, 4], drawn beside the estimate; by default the dataset of that name in
        ``poses.h5``, if there is one.
    called : where the folder will be, if it is still under another name.

    Raises
    ------
    InputError
        If the folder is not a result.
    """
    r = Stored(Path(folder), T_first_frame_tracked)
    summary = r.summary
    volume = _volume(r)
    embedded = None if volume is None else volumes.embed(volume, r.folder)
    content = scene(r.T, r.tracked, r.confidence, r.outline, covariance_mm2=r.spread, previous=r.previous,
                    timestamps_s=r.times, evidence=r.evidence)
    content["probe"] = plain(overview.probe_mm(r))
    made = _film(r, content)
    content["cells"], coherence = cells(r.evidence, len(r.T))
    content["volume"] = embedded and embedded.grid
    numbers = r.numbers
    agreed = (summary.get("volume") or {}).get("against_tracked") or {}
    text = page.render(
        "result.html", title=str(summary.get("scan", r.folder.name)), version=str(summary.get("version", "")),
        found=str(summary.get("found") or found.of_result(r.T, r.confidence, r.evidence, r.face_mm)),
        verdict=_verdict(r.verdict), why=_why(r.verdict), key_figures=_key_figures(r), advice=advice.next_time(r),
        overview={"alt": "The volume from the side, the path of the middle of the picture, and the probe at its start "
                         "and end", "png": _text(overview.png(r, volume))},
        scene=content, film=made, cells=_text(coherence.tobytes()) if coherence.size else "", volume=embedded,
        every=max(EVERY, -(-len(r.T) // MAX_OUTLINES)), other_reading=str(numbers.get("other_reading") or ""),
        agreement=rows(agreed), about=ABOUT, niivue=niivue.installed() if embedded else None,
        readings=readings.told(r, called or r.folder), figures=_figures(r), drift=_drift(r),
        score=_score(summary.get("score") or {}), rows=rows(summary),
        times=_times(summary.get("run_times_s") or {}), config=r.config_text,
        citation=CITATION.format(version=summary.get("version", "unknown"),
                                 calibration=str(summary.get("calibration_hash") or "unknown")[:16]))
    with staged_file(Path(path), overwrite=True) as partial:
        partial.write_text(text, encoding="utf-8")


def _volume(r: Stored) -> Any:
    try:
        return volumes.read(r.folder)
    except InputError:      # a damaged volume must not cost the page
        return None


def _film(r: Stored, content: dict[str, Any]) -> str:
    """The film in base64, and in the scene the bytes of each of its pictures and where their edges lie."""
    pictures = film.pictures(r.folder / film.NAME)
    if len(pictures) != len(content["frame"]):
        return ""
    edges = np.array([[0.5, 0.5], [r.shape[1] + 0.5, r.shape[0] + 0.5]])
    content["sheet_mm"] = plain(pixel_points(r.scale, edges[:, 0], edges[:, 1])[:, :2])
    content["film"] = [len(picture) for picture in pictures]
    return _text(b"".join(pictures))


def _verdict(verdict: dict[str, Any]) -> list[dict[str, str]]:
    """Shape, scale and handedness, each with a grade for its colour; the word stands beside it."""
    out = []
    if verdict.get("shape") is not None:
        out.append({"label": "Shape", "value": str(verdict["shape"]), "told": "", "grade": _grade(verdict["shape"])})
    percent = verdict.get("scale_percent")
    if isinstance(percent, int | float):
        grade = "good" if percent <= SURE_PERCENT else "fair" if percent < UNSURE_PERCENT else "bad"
        out.append({"label": "Scale out of the plane", "value": f"± {number(float(percent))} %",
                    "told": "one standard deviation", "grade": grade})
    if verdict.get("handedness") is not None:
        hand = str(verdict["handedness"])
        out.append({"label": "Which way round", "value": hand, "told": TOLD.get(hand, ""), "grade": _grade(hand)})
    return out


def _grade(word: Any) -> str:
    return GRADES.get(str(word), "fair")


def _why(verdict: dict[str, Any]) -> list[str]:
    """Why, and whatever else a verdict carries, a sentence each."""
    lines = [str(verdict["why"])] if verdict.get("why") else []
    for name, value in verdict.items():
        if name not in ("shape", "scale_percent", "handedness", "why") and value not in (None, "", [], {}):
            values = value if isinstance(value, list) else [value]
            label, text = labelled(name, "; ".join(shown(v) for v in values) if len(values) > 1 else values[0])
            lines.append(f"{label}: {text}")
    return [f"{line[:1].upper()}{line[1:]}." if not line.endswith((".", "!", "?")) else line for line in lines]


def _key_figures(r: Stored) -> list[tuple[str, str]]:
    """The handful of figures that come first."""
    numbers, score = r.numbers, r.summary.get("score") or {}
    path, deviation = numbers.get("elevational_path_mm"), numbers.get("elevational_path_sd_mm")
    out = [("Frames", f"{len(r.T)}" + (f" in {number(float(r.seconds[-1]))} s" if r.times is not None else ""))]
    if path is not None:
        out.append((LABELS["elevational_path_mm"][0], f"{number(path)} mm" if deviation is None else
                    f"{number(path)} ± {number(float(f'{deviation:.2g}'))} mm"))
    if score.get("final") is not None:
        out.append((LABELS["final"][0], number(score["final"])))
        given = score.get("final_mirror_given")
        if given is not None and given > score["final"]:
            out.append((LABELS["final_mirror_given"][0], number(given)))
    return out


def _figures(r: Stored) -> list[dict[str, Any]]:
    out = []
    for name, title, told in (("trajectory", "Motion over time", "motion"), ("slices", "Volume", "slices"),
                              ("montage", "Frames over the scan", ""),
                              ("probe", "Probe geometry over a frame", "probe")):
        if (path := r.folder / f"{name}.png").is_file():
            out.append(_figure(path.read_bytes(), title, ABOUT.get(told, ""), small=name == "probe"))
    if not (r.folder / "slices.png").is_file() and (r.folder / "volume.nrrd").is_file():
        out.append(_drawn("Volume", ABOUT["slices"],
                          lambda target: plots.slices(target, ("estimated", nrrd.read(r.folder / "volume.nrrd")))))
    if "curve_shift" in r.evidence:
        out.append(_drawn("Decorrelation curves used", f"{ABOUT['curves']} {r.numbers.get('curves', '')}".strip(),
                          lambda target: plots.curves(target, r.evidence)))
    return out


def _drift(r: Stored) -> dict[str, Any] | None:
    """How far the estimate strays from the tracked poses, where these are known."""
    if r.tracked is None or len(r.T) < 2:
        return None
    known = np.isfinite(r.tracked).all((1, 2))
    if known.sum() < 2:
        return None
    figures = vars(drift.measure(r.T[known], r.tracked[known], r.scale, r.shape))
    tracked = r.tracked
    return {"figure": _drawn("Drift", ABOUT["drift"],
                             lambda target: plots.drift(target, r.T, tracked, r.middle, r.times, r.spread)),
            "rows": rows({f"drift_{k}" if k != "path_length_mm" else "tracked_path_mm": v
                          for k, v in figures.items()})}


def _score(score: dict[str, Any]) -> dict[str, Any] | None:
    """Errors beside those of a probe held still; the rest of the figures folded away."""
    if not score:
        return None
    used, errors = set(MAIN), []
    for name in ("GPE", "GLE", "LPE", "LLE"):
        keys = name, f"{name}_identity", f"{name}_normalised"
        used |= set(keys)
        if score.get(name) is not None:
            errors.append({"label": LABELS[name][0], "error": shown(score[name], "mm"),
                           "identity": shown(score.get(keys[1]), "mm"), "score": number(score.get(keys[2]))})
    return {"errors": errors, "main": rows({k: score[k] for k in MAIN if k in score}),
            "rest": rows({k: v for k, v in score.items() if k not in used})}


def _times(times: dict[str, float]) -> dict[str, Any] | None:
    """Run times, a bar each."""
    if not times:
        return None
    total = sum(times.values()) or 1.0
    return {"total": shown(float(total), "s"),
            "rows": [(name, shown(float(t), "s"), f"{60 * t / total:.1f}") for name, t in times.items()]}


def _drawn(title: str, told: str, draw: Callable[[io.BytesIO], None]) -> dict[str, Any]:
    buffer = io.BytesIO()
    draw(buffer)
    return _figure(buffer.getvalue(), title, told)


def _figure(png: bytes, title: str, told: str, small: bool = False) -> dict[str, Any]:
    return {"png": _text(png), "title": title, "about": told, "small": small}


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
