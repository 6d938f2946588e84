"""A result folder as one HTML file that needs no network."""

import base64
import html
import io
import json
import re
from importlib import resources
from pathlib import Path
from typing import Any

import h5py
import nrrd
import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..geometry import pixel_points
from ..volume import Volume
from . import plots

Array = NDArray[np.float64]

FIGURES = {"trajectory.png": "Motion", "probe.png": "Probe geometry over a frame", "slices.png": "Volume"}
MAX_POINTS, MAX_OUTLINES = 2000, 24


def write(path: str | Path, folder: str | Path, *, T_first_frame_tracked: Array | None = None) -> None:
    """Write the report of a result folder.

    Parameters
    ----------
    path : the HTML file.
    folder : result of `reconstruct`: ``poses.h5`` and ``summary.json``; ``config.toml``, ``volume.nrrd`` and
        the figures ``trajectory.png``, ``probe.png``, ``slices.png`` are taken in where they are.
    T_first_frame_tracked : [N, 4, 4], drawn beside the estimate; by default the dataset of that name in
        ``poses.h5``, if there is one.

    Raises
    ------
    InputError
        If the folder is not a result.
    """
    folder = Path(folder)
    try:
        summary: dict[str, Any] = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
        with h5py.File(folder / "poses.h5") as file:
            T, scale, confidence = (np.asarray(file[k]) for k in ("T_first_frame", "scale", "confidence"))
            if T_first_frame_tracked is None and "T_first_frame_tracked" in file:
                T_first_frame_tracked = np.asarray(file["T_first_frame_tracked"])
            outline = np.asarray(file["outline_mm"]) if "outline_mm" in file else None
        shape = int(summary["rows"]), int(summary["columns"])
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{folder}: expected a result folder with poses.h5 and summary.json "
                         f"({type(error).__name__}: {error})") from error
    if outline is None:
        outline = pixel_points(scale, np.array([1, shape[1], shape[1], 1, 1]),
                               np.array([1, 1, shape[0], shape[0], 1]))[:, :2]
    scene = _scene(T, T_first_frame_tracked, confidence, outline)
    body = [_warnings(summary.get("warnings", [])), _numbers("Summary", _top_rows(summary))]
    if summary.get("score"):
        body.append(_numbers("Against the tracker", _rows(summary["score"])))
    body += [_viewer(T_first_frame_tracked is not None), *_figures(folder)]
    if summary.get("run_times_s"):
        body.append(_numbers("Run times (s)", _rows(summary["run_times_s"])))
    config = folder / "config.toml"
    if config.is_file():
        text = config.read_text(encoding="utf-8")
        body.append(f"<section><h2>Configuration</h2><pre>{html.escape(text)}</pre></section>")
    template = resources.files(__package__).joinpath("template.html").read_text(encoding="utf-8")
    parts = {"TITLE": html.escape(str(summary.get("scan", folder.name))), "BODY": "\n".join(body),
             "SCENE": json.dumps(scene, separators=(",", ":"), allow_nan=False).replace("</", "<\\/")}
    page = re.sub(r"\{\{([A-Z]+)\}\}", lambda match: parts[match[1]], template)
    Path(path).write_text(page, encoding="utf-8")


def _scene(T: Array, tracked: Array | None, confidence: Array, outline: Array) -> dict[str, Any]:
    """What the 3-D view draws, in mm: paths of the outline's middle, and outlines of some frames."""
    middle = np.append((outline.min(0) + outline.max(0)) / 2, 0.0)
    at = np.unique(np.linspace(0, len(T) - 1, min(len(T), MAX_POINTS)).astype(int))
    frames = np.unique(np.linspace(0, len(T) - 1, min(len(T), MAX_OUTLINES)).astype(int))
    corners = np.concatenate([outline, np.zeros((len(outline), 1))], 1)
    if len(corners) > 40:
        corners = corners[np.unique(np.linspace(0, len(corners) - 1, 40).astype(int))]

    def draw(poses: Array) -> dict[str, Any]:
        outlines = np.einsum("nij,pj->npi", poses[frames, :3, :3], corners) + poses[frames, None, :3, 3]
        return {"path": _plain(poses[at, :3, :3] @ middle + poses[at, :3, 3]), "outlines": _plain(outlines)}

    return {"estimated": draw(T), "tracked": None if tracked is None else draw(np.asarray(tracked, float)),
            "confidence": _plain(np.asarray(confidence, float)[at])}


def _plain(values: Array) -> list[Any]:
    """Nested lists rounded to micrometres; a row that is not finite becomes None."""
    values = np.round(values, 3)
    if values.ndim == 1:
        return [float(v) if np.isfinite(v) else None for v in values]
    return [None if not np.isfinite(row).all() else row.tolist() if values.ndim == 2 else _plain(row)
            for row in values]


def _figures(folder: Path) -> list[str]:
    out = []
    for name, title in FIGURES.items():
        image = (folder / name).read_bytes() if (folder / name).is_file() else b""
        if not image and name == "slices.png" and (folder / "volume.nrrd").is_file():
            buffer = io.BytesIO()
            plots.slices(buffer, _read_volume(folder / "volume.nrrd"))
            image = buffer.getvalue()
        if image:
            data = base64.b64encode(image).decode("ascii")
            out.append(f'<section><h2>{title}</h2>'
                       f'<img alt="{title}" src="data:image/png;base64,{data}"></section>')
    return out


def _read_volume(path: Path) -> Volume:
    data, header = nrrd.read(str(path), index_order="C")
    directions = np.asarray(header["space directions"], float).T
    spacing = float(np.linalg.norm(directions[:, 0]))
    x, y, z = (float(v) for v in header["space origin"])
    return Volume(data, np.zeros((0, 0, 0), np.float32), (x, y, z), spacing, directions / spacing)


def _warnings(lines: list[str]) -> str:
    if not lines:
        return ""
    items = "".join(f"<li>{html.escape(str(line))}</li>" for line in lines)
    return f'<section class="warnings"><h2>Warnings</h2><ul>{items}</ul></section>'


def _top_rows(summary: dict[str, Any]) -> list[tuple[str, Any]]:
    skipped = ("warnings", "score", "run_times_s")
    return _rows({k: v for k, v in summary.items() if k not in skipped})


def _rows(values: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    rows: list[tuple[str, Any]] = []
    for key, value in values.items():
        if isinstance(value, dict):
            rows += _rows(value, f"{prefix}{key}: " if key != "numbers" else prefix)
        else:
            rows.append((prefix + key, value))
    return rows


def _numbers(title: str, rows: list[tuple[str, Any]]) -> str:
    cells = "".join(f"<tr><th>{html.escape(_label(k))}</th><td>{html.escape(_text(v))}</td></tr>"
                    for k, v in rows if v is not None)
    return f"<section><h2>{html.escape(title)}</h2><table>{cells}</table></section>"


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


def _viewer(tracked: bool) -> str:
    box = ('<label><input type="checkbox" id="show-tracked" checked> <span class="key tracked"></span>tracked'
           "</label>") if tracked else ""
    return ('<section><h2>Path and frames</h2><canvas id="view" tabindex="0" role="img" '
            'aria-label="Path of the image centre and outlines of the frames in three dimensions"></canvas>'
            '<p class="controls"><label><input type="checkbox" id="show-estimated" checked> '
            f'<span class="key"></span>estimated</label>{box}'
            '<label><input type="checkbox" id="show-outlines" checked> frames</label>'
            '<button id="reset" type="button">reset</button></p>'
            '<p class="hint">Drag or use the arrow keys to turn, scroll or pinch to zoom. '
            "The circle is frame 0; thin parts of the path are steps of low confidence.</p></section>")
