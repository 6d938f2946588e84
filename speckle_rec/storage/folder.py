"""The folder of a reconstruction: written under another name and renamed, so that one that is there is whole."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tomli_w
from numpy.typing import NDArray

from .. import __version__
from ..errors import InputError
from ..geometry import check_rigid, pixel_points
from ..io import calib as calib_files
from ..io import h5write, trajectory
from ..io.hdf5 import attributes, open_h5, read_array, read_dataset
from ..io.staging import POSES, SUMMARY, is_complete, staged
from ..probe import field as probe
from ..probe.field import ProbeGeometry
from ..report import found
from ..result import Reconstruction
from ..scan import Scan
from . import outputs as output_files

Array = NDArray[np.float64]
Progress = Callable[[str, int, int], None]

CONFIG = "config.toml"
FIELD = "field_of_view"
TRACKED = "T_first_frame_tracked"
CONVENTION = ("T_first_frame maps image mm of frame i to image mm of frame 0, T_prev_frame to frame i-1; image mm: "
              "x right, y down, z = x cross y; pixel (x, y), both from 1, lies at scale @ (x, y, 0, 1)")
COVARIANCE_ORDER = "tx, ty, tz, rx, ry, rz"
COVARIANCE_ABOUT = "the centre of the probe face of frame 0"


@dataclass(frozen=True)
class Stored:
    """A result folder read back; fields as in `Reconstruction` and `Scan`."""

    folder: Path
    T_first_frame: Array
    T_prev_frame: Array
    covariance: Array
    confidence: NDArray[np.float32]
    scale: Array
    shape: tuple[int, int]
    timestamps_s: Array
    summary: dict[str, Any]
    outline_mm: Array | None = None


def version() -> str:
    """Version of this package."""
    return __version__


def write(folder: Path, scan: Scan, result: Reconstruction, *, config: dict[str, Any],
          score: dict[str, Any] | None = None, calibration_hash: str = "", outputs: output_files.Outputs | None = None,
          made_of: dict[str, Any] | None = None, overwrite: bool = False,
          progress: Progress | None = None) -> dict[str, Any]:
    """Write the result folder of a scan and return its summary.

    Parameters
    ----------
    config : resolved parameters, saved as ``config.toml``.
    score : figures against the tracked poses, where there are any.
    calibration_hash : tells which calibration was used.
    made_of : see `made_of.of_scan`; without it no later run takes the folder over.

    Raises
    ------
    InputError
        If `folder` may not be written (see `staged`).
    """
    outputs = outputs or output_files.Outputs()
    report = progress or (lambda stage, done, total: None)
    with staged(folder, overwrite) as out:
        geometry = output_files.probe_geometry(scan, result)
        write_poses(out / POSES, scan, result, calibration_hash, geometry)
        trajectory.write_tum(out / "poses_tum.txt", result.T_first_frame, output_files.timestamps(scan))
        trajectory.write_kitti(out / "poses_kitti.txt", result.T_first_frame)
        write_config(out, config)
        agreed, times = output_files.write_outputs(out, scan, result, geometry, outputs, report)
        summary = summarise(scan, result, score, result.run_times_s | times, calibration_hash)
        summary |= output_files.plain(agreed, none=True)
        if made_of is not None:
            summary["made_of"] = output_files.plain({**made_of, "outputs": output_files.sizes(out)}, none=True)
        write_summary(out, summary)
        if outputs.report:
            output_files.write_report(out, folder)
    return summary


def write_summary(out: Path, summary: dict[str, Any]) -> None:
    """Write ``summary.json``."""
    (out / SUMMARY).write_text(json.dumps(summary, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def write_config(out: Path, config: dict[str, Any]) -> None:
    """Write ``config.toml``."""
    (out / CONFIG).write_text(tomli_w.dumps(output_files.plain(config)), encoding="utf-8")


def write_poses(path: Path, scan: Scan, result: Reconstruction, calibration_hash: str, geometry: ProbeGeometry) -> None:
    """Write ``poses.h5``: the poses, and what `export` and `report` need to know of the scan."""
    with h5write.create(path) as file:
        file["T_first_frame"] = np.asarray(result.T_first_frame, np.float64)
        file["T_prev_frame"] = np.asarray(result.T_prev_frame, np.float64)
        file["covariance"] = np.asarray(result.covariance, np.float64)
        file["confidence"] = np.asarray(result.confidence, np.float32)
        file["scale"] = scan.scale
        file["timestamps_s"] = output_files.timestamps(scan)
        file["outline_mm"] = geometry.outline()
        field = file.create_group(FIELD)
        field.attrs.update(kind=geometry.kind, apex_mm=geometry.apex_mm, lateral=geometry.lateral,
                           radius_mm=geometry.radius_mm, depth_mm=geometry.depth_mm)
        if geometry.static is not None:
            field.create_dataset("static", data=geometry.static, compression="gzip")
        if (known := scan.tracked_beside(result.T_first_frame)) is not None:
            file[TRACKED] = known
        for name, values in result.evidence.items():
            file[f"evidence/{name}"] = values.astype(bytes) if values.dtype.kind == "U" else values
        file["covariance"].attrs.update(order=COVARIANCE_ORDER, units="mm and rad", about=COVARIANCE_ABOUT,
                                        about_mm=(*geometry.face_mm, 0.0))
        file.attrs.update(units="mm", convention=CONVENTION, version=version(), calibration_hash=calibration_hash,
                          scan=scan.name, rows=scan.shape[0], columns=scan.shape[1])


def summarise(scan: Scan, result: Reconstruction, score: dict[str, Any] | None, run_times_s: dict[str, float],
              calibration_hash: str) -> dict[str, Any]:
    """The figures of a reconstruction, fit for JSON (what is not finite becomes null).

    The path is that of the image centre.
    """
    rows, columns = scan.shape
    centre = np.append(pixel_points(scan.scale, np.array((columns + 1) / 2), np.array((rows + 1) / 2)), 1)
    steps_mm = np.linalg.norm(((result.T_prev_frame[1:] - np.eye(4)) @ centre)[:, :3], axis=-1)
    return output_files.plain({
        "scan": scan.name, "path": None if scan.path is None else str(scan.path.resolve()), "version": version(),
        "n_frames": scan.n_frames, "rows": scan.shape[0], "columns": scan.shape[1],
        "frame_rate_hz": scan.frame_rate_hz, "pixel_mm": [scan.scale[0, 0], scan.scale[1, 1]],
        "image_calibration": scan.calibration_source, "calibration_hash": calibration_hash,
        "verdict": result.verdict, "found": found.of_result(result.T_first_frame, result.confidence, result.evidence,
                                                            _face_mm(scan, result)),
        "path_length_mm": float(steps_mm.sum()),
        "confidence_mean": float(np.mean(result.confidence[1:])) if len(steps_mm) else None,
        "numbers": result.numbers, "score": score, "run_times_s": run_times_s,
        "warnings": list(dict.fromkeys([*scan.warnings, *result.warnings])),
    }, none=True)


def _face_mm(scan: Scan, result: Reconstruction) -> tuple[float, float]:
    """Middle of the probe face; that of the image's upper edge where the field of view is not known."""
    if result.geometry is not None:
        return result.geometry.face_mm
    x, y = pixel_points(scan.scale, np.array((scan.shape[1] + 1) / 2), np.array(1.0))[:2]
    return float(x), float(y)


def read(folder: Path) -> Stored:
    """Read a result folder.

    Raises
    ------
    InputError
        If it is not one, or damaged.
    """
    folder = Path(folder)
    if not is_complete(folder):
        raise InputError(f"{folder}: expected a result folder with {POSES} and {SUMMARY}")
    poses = folder / POSES
    try:
        summary = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))
        shape = int(summary["rows"]), int(summary["columns"])
        _check_summary(summary)
    except (ValueError, KeyError, TypeError, OSError, RecursionError, OverflowError) as error:
        raise InputError(f"{folder / SUMMARY}: expected the summary of a result ({type(error).__name__})") from error
    data = {key: read_dataset(poses, key, 1 << 29) for key in (
        "T_first_frame", "T_prev_frame", "covariance", "confidence", "scale", "timestamps_s")}
    n_frames = len(data["T_first_frame"])
    for key, tail in (("T_first_frame", (4, 4)), ("T_prev_frame", (4, 4)), ("covariance", (6, 6)), ("confidence", ()),
                      ("timestamps_s", ())):
        if data[key].shape != (n_frames, *tail) or data[key].dtype.kind != "f":
            raise InputError(f"{poses}: dataset '{key}': expected {[n_frames, *tail]}, found {data[key].shape}")
    for key in ("T_first_frame", "T_prev_frame"):
        data[key] = check_rigid(data[key], f"{poses}: dataset '{key}'")
    calib_files.check_scale(data["scale"], f"{poses}: dataset 'scale'")
    with open_h5(poses) as file:
        outline = read_array(file, "outline_mm", poses).astype(np.float64) if "outline_mm" in file else None
    if outline is not None and (outline.ndim != 2 or outline.shape[1] != 2 or not np.isfinite(outline).all()):
        raise InputError(f"{poses}: dataset 'outline_mm': expected finite [m, 2], found {outline.shape}")
    return Stored(folder=folder, shape=shape, summary=summary, outline_mm=outline, **data)


def tracked(stored: Stored) -> Array:
    """The tracked poses [N, 4, 4] that a result was judged by, as `T_first_frame`; NaN where there are none.

    Raises
    ------
    InputError
        If the scan had none.
    """
    path = stored.folder / POSES
    with open_h5(path) as file:
        if TRACKED not in file:
            raise InputError(f"{stored.folder}: expected tracked poses, found none: the scan had none, or nothing told "
                             "how the image lies on the tracked tool")
        T = read_array(file, TRACKED, path).astype(np.float64)
    if T.shape != stored.T_first_frame.shape:
        raise InputError(f"{path}: dataset '{TRACKED}': expected {stored.T_first_frame.shape}, found {T.shape}")
    return T


def evidence(stored: Stored) -> dict[str, NDArray[Any]]:
    """The arrays behind a result, see `Reconstruction`: those that are numbers."""
    path = stored.folder / POSES
    with open_h5(path) as file:
        if "evidence" not in file:
            return {}
        group = file["evidence"]
        return {name: read_array(group, name, path) for name in group if group[name].dtype.kind in "fiub"}


def outline_mm(stored: Stored) -> Array:
    """Outline [m, 2] of the field of view in image mm; that of the image where the result does not tell."""
    if stored.outline_mm is not None:
        return stored.outline_mm
    rows, columns = stored.shape
    return pixel_points(stored.scale, np.array([1, columns, columns, 1, 1]), np.array([1, 1, rows, rows, 1]))[:, :2]


def field_of_view(stored: Stored) -> ProbeGeometry:
    """The field of view that a result was made with.

    Raises
    ------
    InputError
        If the result does not tell.
    """
    path = stored.folder / POSES
    with open_h5(path) as file:
        found = attributes(file[FIELD], path) if FIELD in file else {}
        static = read_array(file[FIELD], "static", path) if FIELD in file and "static" in file[FIELD] else None
    try:
        apex, depth, lateral = ((float(found[name][0]), float(found[name][1]))
                                for name in ("apex_mm", "depth_mm", "lateral"))
        geometry = ProbeGeometry(str(found["kind"]), stored.shape, stored.scale, apex, float(found["radius_mm"]), depth,
                                 lateral, None if static is None else static.astype(bool).reshape(stored.shape))
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise InputError(f"{path}: expected '{FIELD}', the field of view ({type(error).__name__}); the result is "
                         "damaged: --overwrite makes it anew") from error
    if geometry.kind not in probe.KINDS or not np.isfinite(geometry.outline()).all():
        raise InputError(f"{path}: expected a finite '{FIELD}'; the result is damaged: --overwrite makes it anew")
    return geometry


def _check_summary(summary: dict[str, Any]) -> None:
    kinds: dict[str, Any] = {"scan": str, "n_frames": int, "numbers": dict, "warnings": list, "path": str | None,
                             "score": dict | None, "run_times_s": dict, "path_length_mm": float | int | None,
                             "confidence_mean": float | int | None}
    wrong = [key for key, kind in kinds.items() if not isinstance(summary[key], kind)]
    flat = [*summary["warnings"], *summary["numbers"].values()] if not wrong else []
    score = summary["score"] or {} if not wrong else {}
    if wrong or not all(isinstance(v, str | float | int | None) for v in flat) or not isinstance(
            score.get("steps") or {}, dict) or any(isinstance(v, str | list) for v in score.values()):
        raise ValueError(f"{', '.join(wrong) or 'a value'} of another type")


