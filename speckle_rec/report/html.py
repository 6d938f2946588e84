"""A result folder as one HTML file that needs no network."""

import base64
import html
import io
import json
import re
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..geometry import pixel_points
from ..io import nrrd
from ..scoring import drift
from . import plots, readings
from .scene import middle_of, place_covariance, plain, scene

Array = NDArray[np.float64]

CITATION = """@software{{speckle_rec,
  author  = {{The speckle-rec authors}},
  title   = {{speckle-rec: trackerless freehand 3D ultrasound by block matching, speckle decorrelation and geometry}},
  version = {{{version}}},
  note    = {{Calibration {calibration}}}
}}"""
ABOUT = {
    "view": "Drag or use arrow keys to turn, scroll or pinch to zoom. The circle is frame 0, diamonds are reversals; "
            "thin parts of the path are steps of low confidence, ellipses one standard deviation. The slider picks a "
            "frame; its outline, and the nearest picture there is, are shown.",
    "known": "Seen from above, who holds the probe standing below, the picture's right to his right. Images alone "
             "cannot tell the two; here somebody, or a sensor, has.",
    "assumed": "Seen from above, who holds the probe standing below, the picture's right to his right. Images alone "
               "cannot tell the two: the left one is the usual one, taken because nobody told. --swept, --turned or "
               "--tilted-first tells which it is.",
    "curves": "Correlation of the clearest cells by out-of-plane motion: what turned speckle into distances here, "
              "at every depth alike. Dots: the scan's own cells at the motion that was estimated.",
    "probe": "Red, if there is any: pixels that never change over the scan, which take no part.",
    "slices": "Cut through the middle of the volume.",
    "against": "The frames compounded twice on one grid, with the estimated and with the tracked poses. NCC: grey "
               "values where both have seen something. Overlap: Dice coefficient of what was seen.",
    "motion": "Solid: estimated, with one standard deviation; dashed: tracked. Bands are phases of the motion, dotted "
              "lines reversals of the out-of-plane motion. Dots: frame pairs that show the same place.",
    "drift": "Of the middle of the field of view, from where the tracker has it. The deviation is the one the result "
             "states of itself.",
}


class _Result:
    """What the report reads from a result folder."""

    def __init__(self, folder: Path, tracked: Array | None):
        self.folder = folder
        try:
            self.summary: dict[str, Any] = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
            with h5py.File(folder / "poses.h5") as file:
                self.T, self.scale, self.confidence = (
                    np.asarray(file[k]) for k in ("T_first_frame", "scale", "confidence"))
                self.times, outline, known = (np.asarray(file[k]) if k in file else None for k in (
                    "timestamps_s", "outline_mm", "T_first_frame_tracked"))
                about = file["covariance"].attrs.get("about_mm") if "covariance" in file else None
                covariance = None if about is None else np.asarray(file["covariance"])
                self.evidence = {name: np.asarray(values) for name, values in file.get("evidence", {}).items()}
            self.shape = int(self.summary["rows"]), int(self.summary["columns"])
        except (OSError, ValueError, KeyError) as error:
            raise InputError(f"{folder}: expected a result folder with poses.h5 and summary.json "
                             f"({type(error).__name__}: {error})") from error
        self.tracked = known if tracked is None else tracked
        rows, columns = self.shape
        self.outline: Array = outline if outline is not None else pixel_points(
            self.scale, np.array([1, columns, columns, 1, 1]), np.array([1, 1, rows, rows, 1]))[:, :2]
        if "phase" in self.evidence:
            self.evidence["phase"] = self.evidence["phase"].astype(str)
        self.middle = middle_of(self.outline)
        self.spread = None if covariance is None else place_covariance(self.T, covariance, np.asarray(about),
                                                                       self.middle)


def write(path: str | Path, folder: str | Path, *, T_first_frame_tracked: Array | None = None) -> None:
    """Write the report of a result folder.

    Parameters
    ----------
    path : the HTML file.
    folder : result of `reconstruct`: ``poses.h5`` and ``summary.json``; ``config.toml``, ``volume.nrrd`` and
        the figures ``trajectory.png``, ``montage.png``, ``probe.png``, ``slices.png`` are taken in where they are.
    T_first_frame_tracked : [N, 4, 4], drawn beside the estimate; by default the dataset of that name in
        ``poses.h5``, if there is one.

    Raises
    ------
    InputError
        If the folder is not a result.
    """
    r = _Result(Path(folder), T_first_frame_tracked)
    summary = r.summary
    sheet = r.folder / "frames.jpg"
    made = scene(r.T, r.tracked, r.confidence, r.outline, covariance_mm2=r.spread, timestamps_s=r.times,
                 evidence=r.evidence)
    if sheet.is_file():
        edges = np.array([[0.5, 0.5], [r.shape[1] + 0.5, r.shape[0] + 0.5]])
        made["sheet_mm"] = plain(pixel_points(r.scale, edges[:, 0], edges[:, 1])[:, :2])
    body = [_lead(summary, r), _warnings(summary.get("warnings", [])), _viewer(made, sheet), *_readings(r), *_volume(r),
            *_image(r.folder / "trajectory.png", "Motion over time", ABOUT["motion"]), *_tracker(r),
            *_curves(r), *_image(r.folder / "montage.png", "Frames over the scan"),
            *_image(r.folder / "probe.png", "Probe geometry over a frame", ABOUT["probe"], small=True),
            _numbers("All figures", _rows(_without(summary, "warnings", "score", "run_times_s", "volume"))),
            *_times(summary.get("run_times_s") or {}), *_config(r.folder), _citation(summary)]
    template = resources.files(__package__).joinpath("template.html").read_text(encoding="utf-8")
    parts = {"TITLE": html.escape(str(summary.get("scan", r.folder.name))), "BODY": "\n".join(body),
             "SCENE": json.dumps(made, separators=(",", ":"), allow_nan=False).replace("</", "<\\/")}
    page = re.sub(r"\{\{([A-Z]+)\}\}", lambda match: parts[match[1]], template)
    Path(path).write_text(page, encoding="utf-8")


def _lead(summary: dict[str, Any], r: _Result) -> str:
    """The handful of figures that come first."""
    numbers, score = summary.get("numbers") or {}, summary.get("score") or {}
    agreed = (summary.get("volume") or {}).get("against_tracked") or {}
    path, deviation = numbers.get("elevational_path_mm"), numbers.get("elevational_path_sd_mm")
    told = path if path is None or deviation is None else f"{path:.1f} ± {deviation:.1f}"
    verdict = summary.get("verdict") or {}
    cards = [("shape", verdict.get("shape")), ("which way round", verdict.get("handedness")),
             ("frames", summary.get("n_frames")), ("path, mm", summary.get("path_length_mm")),
             ("of which out of plane, mm", told),
             ("mean confidence", summary.get("confidence_mean")), ("places seen again", numbers.get("revisits")),
             ("reversals", len(r.evidence["reversals"]) if "reversals" in r.evidence else None),
             ("final score", score.get("final")), ("volume NCC", agreed.get("ncc")),
             ("volume overlap", agreed.get("overlap"))]
    shown = "".join(f"<div><b>{html.escape(_text(v))}</b><span>{k}</span></div>" for k, v in cards if v is not None)
    return f'<div class="cards">{shown}</div>'


def _readings(r: _Result) -> list[str]:
    """Both mirror images that the scan may be."""
    if len(r.T) < 2:
        return []
    numbers, verdict = r.summary.get("numbers") or {}, r.summary.get("verdict") or {}
    known = verdict.get("handedness") == "known"
    drawing = readings.svg(r.T, r.outline, str(numbers.get("reading") or ""), str(numbers.get("other_reading") or ""),
                           known)
    return [f'<section><h2>Which way round</h2><div class="figure">{drawing}</div>'
            f'{_hint(ABOUT["known" if known else "assumed"])}</section>']


def _volume(r: _Result) -> list[str]:
    told = r.summary.get("volume") or {}
    path = r.folder / "slices.png"
    out = _image(path, "Volume", ABOUT["slices"])
    if not out and (r.folder / "volume.nrrd").is_file():
        out = _drawn("Volume", ABOUT["slices"],
                     lambda target: plots.slices(target, ("estimated", nrrd.read(r.folder / "volume.nrrd"))))
    if agreed := told.get("against_tracked"):
        out.append(_numbers("Volume from estimated against tracked poses",
                            [("NCC", agreed.get("ncc")), ("overlap (Dice)", agreed.get("overlap")),
                             ("compared at (mm a voxel)", agreed.get("spacing_mm"))], ABOUT["against"]))
    return out


def _tracker(r: _Result) -> list[str]:
    """Score and drift, where tracked poses are known."""
    out = []
    if score := r.summary.get("score"):
        out.append(_score(score))
    if r.tracked is None or len(r.T) < 2:
        return out
    known = np.isfinite(r.tracked).all((1, 2))
    if known.sum() < 2:
        return out
    figures = vars(drift.measure(r.T[known], r.tracked[known], r.scale, r.shape))
    tracked = r.tracked
    out += _drawn("Drift", ABOUT["drift"],
                  lambda target: plots.drift(target, r.T, tracked, r.middle, r.times, r.spread))
    out.append(_numbers("", _rows({f"drift_{k}" if k != "path_length_mm" else "tracked_path_mm": v
                                   for k, v in figures.items()})))
    return out


def _score(score: dict[str, Any]) -> str:
    """Errors beside those of a probe held still; the rest of the figures folded away."""
    used, lines = set(), ""
    for name in ("GPE", "GLE", "LPE", "LLE"):
        keys = name, f"{name}_identity", f"{name}_normalised"
        if score.get(name) is not None:
            cells = "".join(f"<td>{_text(score[k])}</td>" if score.get(k) is not None else "<td></td>" for k in keys)
            lines += f"<tr><th>{name}</th>{cells}</tr>"
        used |= set(keys)
    head = "<tr><th></th><td>error (mm)</td><td>probe held still</td><td>score</td></tr>"
    table = f'<table class="wide">{head}{lines}</table>' if lines else ""
    main = {k: v for k, v in score.items() if k in ("final", "global", "local", "final_mirror_given")}
    rest = _rows(_without(score, *used, *main))
    return (f'<section><h2>Against the tracker</h2>{table}{_table(_rows(main))}'
            f'<details><summary>steps, and more</summary>{_table(rest)}</details></section>')


def _curves(r: _Result) -> list[str]:
    if "curve_shift" not in r.evidence:
        return []
    source = str((r.summary.get("numbers") or {}).get("curves", ""))
    return _drawn("Decorrelation curves used", f"{ABOUT['curves']} {source}".strip(),
                  lambda target: plots.curves(target, r.evidence))


def _drawn(title: str, told: str, draw: Callable[[io.BytesIO], None]) -> list[str]:
    buffer = io.BytesIO()
    draw(buffer)
    return [_picture(buffer.getvalue(), title, told)]


def _image(path: Path, title: str, told: str = "", small: bool = False) -> list[str]:
    return [_picture(path.read_bytes(), title, told, small)] if path.is_file() else []


def _picture(png: bytes, title: str, told: str, small: bool = False) -> str:
    data, kind = base64.b64encode(png).decode("ascii"), ' class="small"' if small else ""
    return (f'<section><h2>{title}</h2><div class="figure"><img{kind} alt="{title}" src="data:image/png;base64,{data}">'
            f'</div>{_hint(told)}</section>')


def _hint(told: str) -> str:
    return f'<p class="hint">{html.escape(told)}</p>' if told else ""


def _warnings(lines: list[str]) -> str:
    if not lines:
        return ""
    items = "".join(f"<li>{html.escape(str(line))}</li>" for line in lines)
    return f'<section class="warnings"><h2>Warnings</h2><ul>{items}</ul></section>'


def _without(values: dict[str, Any], *names: str) -> dict[str, Any]:
    return {k: v for k, v in values.items() if k not in names}


def _rows(values: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    rows: list[tuple[str, Any]] = []
    for key, value in values.items():
        if isinstance(value, dict):
            rows += _rows(value, f"{prefix}{key}: " if key != "numbers" else prefix)
        else:
            rows.append((prefix + key, value))
    return rows


def _numbers(title: str, rows: list[tuple[str, Any]], told: str = "") -> str:
    heading = f"<h2>{html.escape(title)}</h2>" if title else ""
    return f"<section>{heading}{_table(rows)}{_hint(told)}</section>"


def _table(rows: list[tuple[str, Any]]) -> str:
    cells = "".join(f"<tr><th>{html.escape(_label(k))}</th><td>{html.escape(_text(v))}</td></tr>"
                    for k, v in rows if v is not None)
    return f"<table>{cells}</table>"


def _times(times: dict[str, float]) -> list[str]:
    """Run times, a bar each."""
    if not times:
        return []
    total = sum(times.values()) or 1.0
    cells = "".join(f"<tr><th>{html.escape(name)}</th><td>"
                    f'<span class="bar" style="width:{60 * t / total:.1f}%"></span> {t:.2f}</td></tr>'
                    for name, t in times.items())
    return [f'<section><h2>Run times (s), {total:.1f} in all</h2><table class="times">{cells}</table></section>']


def _config(folder: Path) -> list[str]:
    path = folder / "config.toml"
    if not path.is_file():
        return []
    return [f"<section><h2>Configuration</h2><pre>{html.escape(path.read_text(encoding='utf-8'))}</pre></section>"]


def _citation(summary: dict[str, Any]) -> str:
    text = CITATION.format(version=summary.get("version", "unknown"),
                           calibration=str(summary.get("calibration_hash") or "unknown")[:16])
    return f"<section><h2>How to cite</h2><pre>{html.escape(text)}</pre></section>"


def _label(name: str) -> str:
    """`path_length_mm` -> `path length (mm)`."""
    for unit in ("mm", "rad", "deg", "s", "hz", "px"):
        if name.endswith(f"_{unit}"):
            name = f"{name[: -len(unit) - 1]} ({'Hz' if unit == 'hz' else unit})"
            break
    return name.replace("_", " ")


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    return ", ".join(_text(v) for v in value) if isinstance(value, list) else str(value)


def _box(name: str, label: str, key: str = "") -> str:
    mark = f'<span class="key {key}"></span>' if key else ""
    return f'<label><input type="checkbox" id="show-{name}" checked>{mark}{label}</label>'


def _viewer(made: dict[str, Any], sheet: Path) -> str:
    boxes, picture = [_box("estimated", "estimated", "estimated")], ""
    if "sheet_mm" in made:
        data = base64.b64encode(sheet.read_bytes()).decode("ascii")
        picture = f'<img id="sheet" alt="" src="data:image/jpeg;base64,{data}">'
    if made["tracked"] is not None:
        boxes.append(_box("tracked", "tracked", "tracked"))
    if picture:
        boxes.append(_box("image", "image"))
    boxes.append(_box("outlines", "frames"))
    for name, label in (("ellipsoids", "uncertainty"), ("phases", "phases"), ("reversals", "reversals"),
                        ("loops", "seen again")):
        if made.get(name):
            boxes.append(_box(name, label))
    phases = "".join(f'<span><span class="key phase-{html.escape(name)}"></span>{html.escape(name)}</span>'
                     for name in made.get("phases", ()))
    return (f'<section><h2>Path and frames</h2>{picture}<canvas id="view" tabindex="0" role="img" '
            'aria-label="Path of the image centre and outlines of the frames in three dimensions"></canvas>'
            f'<p class="controls">{"".join(boxes)}<button id="reset" type="button">reset</button></p>'
            f'<p class="controls" id="phase-names">{phases}</p>'
            '<p class="controls"><input type="range" id="frame" min="0" value="0" aria-label="frame">'
            f'<output id="told"></output></p>{_hint(ABOUT["view"])}</section>')
