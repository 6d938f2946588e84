"""The large files of a result folder: displacement fields, sequence, volume, figures, page."""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..geometry import inverse
from ..io import calib as calib_files
from ..io import plus
from ..io.source import sampled
from ..probe import field as probe
from ..probe.field import ProbeGeometry
from ..result import Reconstruction
from ..scan import Scan

Array = NDArray[np.float64]
Progress = Callable[[str, int, int], None]

TRACKED_VOLUME = "volume_tracked.nrrd"
FILES = {"ddf": "ddf.h5", "sequence": "scan.igs.mha", "volume": "volume.nrrd"}     # of `Outputs`


@dataclass(frozen=True)
class Outputs:
    """Which of the larger files are wanted."""

    ddf: bool = False
    volume: bool = True
    sequence: bool = False
    report: bool = True


def write_outputs(out: Path, scan: Scan, result: Reconstruction, geometry: ProbeGeometry, outputs: Outputs,
                  report: Progress) -> tuple[dict[str, Any], dict[str, float]]:
    """Write the larger files that are wanted; returns what the summary says of them, and the seconds each took."""
    told: dict[str, Any] = {}
    times: dict[str, float] = {}
    extras: list[tuple[str, bool, Callable[[], None]]] = [
        ("ddf", outputs.ddf, lambda: _write_ddf(out, scan, result, report)),
        ("sequence", outputs.sequence, lambda: write_sequence(
            out / FILES["sequence"], scan, result.T_first_frame,
            lambda done, total: report("writing sequence", done, total))),
        ("volume", outputs.volume, lambda: told.update(_write_volume(out, scan, result, geometry, report))),
        ("plots", outputs.report, lambda: _write_plots(out, scan, result, geometry)),
    ]
    for name, job in [(name, job) for name, enabled, job in extras if enabled]:
        report(f"writing {name}", 0, 1)
        started = time.perf_counter()
        job()
        times[name] = time.perf_counter() - started
        report(f"writing {name}", 1, 1)
    return told, times


def sizes(folder: Path) -> dict[str, int]:
    """Bytes of those of the larger files that a folder has."""
    return {name: (folder / name).stat().st_size for name in FILES.values() if (folder / name).is_file()}


def timestamps(scan: Scan) -> Array:
    """Times [N] (s) of the frames, from the frame rate where the scan carries none."""
    return np.arange(scan.n_frames) / scan.frame_rate_hz if scan.timestamps_s is None else scan.timestamps_s


def write_sequence(path: Path, scan: Scan, T_first_frame: Array,
                   progress: Callable[[int, int], None] | None = None) -> None:
    """Write the frames with estimated poses as a PLUS sequence; `progress` is called with (frames done, all).

    The image-to-probe matrix goes into the header; probe poses are such that image poses come out as given.
    """
    def blocks() -> Iterator[tuple[int, NDArray[np.uint8]]]:
        for start, frames in scan.blocks():
            yield start, frames
            if progress:
                progress(start + len(frames), scan.n_frames)

    T_tool_image = np.eye(4) if scan.T_tool_image is None else scan.T_tool_image
    plus.write(path, blocks(), (scan.n_frames, *scan.shape), T_first_frame @ inverse(T_tool_image),
               image_to_probe=calib_files.to_plus(scan.scale, T_tool_image), timestamps_s=timestamps(scan),
               image_ok=scan.image_ok)


def available(name: str) -> ModuleType | None:
    """A module of this package, or None where this installation lacks it."""
    full = f"speckle_rec.{name}"
    try:
        return import_module(full)
    except ModuleNotFoundError as error:
        if error.name is None or not full.startswith(error.name):
            raise
        return None


def plain(value: Any, none: bool = False) -> Any:
    """Builtin types only, for JSON and TOML; None is dropped unless `none`."""
    if isinstance(value, dict):
        return {str(k): plain(v, none) for k, v in value.items() if none or v is not None}
    if isinstance(value, list | tuple):
        return [plain(v, none) for v in value if none or v is not None]
    if isinstance(value, np.ndarray):
        return plain(value.tolist(), none)
    if isinstance(value, np.generic):
        value = value.item()
    if none and isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value


def probe_geometry(scan: Scan, result: Reconstruction | None = None) -> ProbeGeometry:
    """The field of view the reconstruction found, else the one that some of the frames show."""
    found = None if result is None else result.geometry
    if found is None:
        found = probe.find(sampled(scan.filled().source), scan.scale).geometry
    return found


def _write_ddf(out: Path, scan: Scan, result: Reconstruction, progress: Progress) -> None:
    if module := available("ddf"):
        done, total = 0, 2 * (scan.n_frames - 1)

        def written(fields: int) -> None:
            nonlocal done
            done += fields
            progress("writing ddf", done, total)

        module.write(out / FILES["ddf"], result.T_first_frame, result.T_prev_frame, scan.scale, scan.shape,
                     scan.landmarks, progress=written)


def _write_volume(out: Path, scan: Scan, result: Reconstruction, geometry: ProbeGeometry,
                  progress: Progress) -> dict[str, Any]:
    """Write the volume; returns what the summary says of it, and of its likeness to that of the tracked poses."""
    compounding, nrrd, plots = available("volume"), available("io.nrrd"), available("report.plots")
    if not (compounding and nrrd):
        return {}
    T, truth = result.T_first_frame, scan.tracked_beside(result.T_first_frame)
    volume = compounding.compound_scan(scan, T, geometry, device=str(result.numbers.get("device", "cpu")),
                                       progress=lambda done, total: progress("writing volume", done, total))
    nrrd.write(out / FILES["volume"], volume, accumulation=out / "accumulation.nrrd")
    told: dict[str, Any] = {"voxels": volume.data.shape[::-1], "spacing_mm": volume.spacing_mm}
    shown = [("estimated", volume)]
    if truth is not None and (comparing := available("scoring.agreement")):
        estimated, tracked, agreed = comparing.of_trajectories(scan, T, truth, geometry)
        told["against_tracked"] = vars(agreed)
        shown = [("estimated", estimated), ("tracked", tracked)]
        nrrd.write(out / TRACKED_VOLUME, tracked)
    if plots:
        plots.slices(out / "slices.png", *shown)
    return {"volume": told}


def _write_plots(out: Path, scan: Scan, result: Reconstruction, geometry: ProbeGeometry) -> None:
    middle = scan.n_frames // 2
    probe.plot(geometry, scan.frames(middle, middle + 1)[0], out / "probe.png",
               measured_mm=result.evidence.get("cell_mm"))
    if film := available("report.film"):
        film.write(out / film.NAME, scan)
    if plots := available("report.plots"):
        plots.montage(out / "montage.png", scan, geometry, timestamps(scan))
        plots.trajectory(out / "trajectory.png", result.T_first_frame, scan.tracked_beside(result.T_first_frame),
                         result.confidence, geometry=geometry, covariance=result.covariance,
                         timestamps_s=timestamps(scan), evidence=result.evidence)


def write_report(folder: Path, called: Path | None = None) -> None:
    """Write ``report.html`` of a result folder, which will be `called` so where it still has another name."""
    if html := available("report.html"):
        html.write(folder / "report.html", folder, called=called)
