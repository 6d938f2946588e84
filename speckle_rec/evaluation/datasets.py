"""A data set through an engine, scored as the challenge does: one folder a scan, tables over all of them."""

import fnmatch
import hashlib
import json
import math
import re
import shutil
import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import ddf, geometry
from ..compute.workers import run_all
from ..config import Config
from ..errors import InputError, SpeckleRecError
from ..io import naming, tusrec
from ..io.hdf5 import H5_ERRORS, one_line, open_h5
from ..io.staging import SUMMARY, is_finished, staged_file
from ..scan import Scan
from ..scoring import drift, score
from ..storage import folder as results
from ..storage import made_of
from ..storage import outputs as output_files
from .challenge import Submission
from .engines import Setup, engine
from .outcome import COLUMNS, IDENTITY, Evaluation, Row, _mean
from .tables import write_tables

Array = NDArray[np.float64]

STAMP = "evaluation.json"
KEY = r"sub\w+__\w[\w .+-]*"     # of a scan in dataset_keys.h5; nothing that leads elsewhere

_one_at_a_time = threading.Lock()     # kernels are parallel already; a dask worker may have several threads


@dataclass(frozen=True)
class Task:
    """One scan to reconstruct and score; fit to be sent to another process."""

    name: str
    path: Path
    folder: Path
    engine: str | Submission
    calibration: Any
    calibration_hash: str
    config: Config
    made_of: made_of.MadeOf
    overwrite: bool
    pixel_mm: tuple[float, float] | None = None


def evaluate_dataset(root: Path, out: Path, *, engine: str | Submission = "speckle", calibration: Any = None,
                     calibration_hash: str = "built-in", config: Config | None = None, scans: str = "*",
                     jobs: int = 1, scheduler: str | None = None, overwrite: bool = False,
                     pixel_mm: tuple[float, float] | None = None,
                     progress: Callable[[Row, int, int], None] | None = None) -> Evaluation:
    """Reconstruct and score every scan of a train- or val-layout data set.

    Writes ``out/scans/<scan>/`` for each, then ``metrics.csv``, ``metrics_mirror_given.csv``, ``drift.csv``,
    ``metrics.h5`` and ``summary.json``. Scans that are there are not done again.

    Parameters
    ----------
    engine : name of one of `engines.ENGINES`, or someone's submission.
    calibration, calibration_hash : speckle calibration for engines that take one, and what tells it from others.
    scans : pattern of the names to take.
    jobs, scheduler : see `workers.run_all`.
    pixel_mm : width and height of a pixel, where no file tells.
    progress : called with each scan's row as it ends, and (done, total).

    Raises
    ------
    InputError
        If `root` is no data set, or `out` holds the evaluation of something else.
    """
    config = config or Config()
    label = engine if isinstance(engine, str) else engine.label
    found = scans_of(root, scans)
    out.mkdir(parents=True, exist_ok=True)
    run = made_of.of_run(calibration_hash, config, _named(engine), given=calibration is not None)
    _stamp(out, {"dataset": str(root.resolve()), **run}, [entry.name for entry in scans_of(root)], overwrite)
    tasks = [Task(entry.name, entry.path, out.absolute() / "scans" / entry.name, engine, calibration,
                  calibration_hash, config, run, overwrite, pixel_mm) for entry in found]
    rows: dict[str, Row] = {}
    for i, outcome in run_all(evaluate_scan, tasks, jobs=jobs, scheduler=scheduler):
        if isinstance(outcome, made_of.OtherResult):
            raise outcome
        row = outcome if isinstance(outcome, Row) else _lost(tasks[i], outcome)
        rows[row.name] = row
        if progress:
            progress(row, len(rows), len(tasks))
    evaluation = Evaluation(out, label, tuple(rows[task.name] for task in tasks))
    write_tables(evaluation)
    return evaluation


def scans_of(root: Path, pattern: str = "*") -> list[tusrec.Entry]:
    """Scans of a data set by name: those that ``dataset_keys.h5`` lists, where there is one.

    Raises
    ------
    InputError
        If there is none whose name fits `pattern`.
    """
    names_of = naming.distinct([entry.path for entry in tusrec.entries(root)])
    entries = {name: tusrec.Entry(name, path) for path, name in names_of.items()}
    keys = root / "dataset_keys.h5"
    if keys.is_file():
        names = _names_in(keys)
        for name in names:
            subject, _, scan = name.removeprefix("sub").partition("__")
            if name not in entries and not re.fullmatch(KEY, name):
                raise InputError(f"{keys}: expected names of scans such as sub001__RH_rotation, found "
                                 f"{name[:40]!r}")
            entries.setdefault(name, tusrec.Entry(name, root / "frames" / subject / f"{scan}.h5"))
        entries = {name: entries[name] for name in names}
    chosen = [entries[name] for name in sorted(fnmatch.filter(entries, pattern))]
    if not chosen:
        raise InputError(f"{root}: no scan fits '{pattern}'; there are {', '.join(sorted(entries)[:4])} ...")
    return chosen


def _names_in(keys: Path) -> list[str]:
    with open_h5(keys) as file:
        try:
            return list(file.keys())
        except H5_ERRORS as error:
            raise InputError(f"{keys}: the HDF5 file is damaged ({one_line(error)})") from error


def evaluate_scan(task: Task) -> Row:
    """Reconstruct and score one scan, or read what is there of it."""
    with _one_at_a_time:
        truth: tuple[Array, Array] | None = None
        scan: Scan | None = None
        try:
            scan = Scan.open(task.path, pixel_mm=task.pixel_mm)
            truth = _truth(scan)
            made = made_of.of_scan(scan, task.made_of)
            if not task.overwrite and (stored := _stored(task, made)) is not None:
                return stored
            return (_by_submission if isinstance(task.engine, Submission) else _by_engine)(task, scan, truth, made)
        except made_of.OtherResult:
            raise
        except Exception as error:
            if not isinstance(error, SpeckleRecError | OSError | MemoryError):
                error = SpeckleRecError(f"unexpected {type(error).__name__}: {error}")
            return _failure(task.name, str(error), scan, truth)


def _by_engine(task: Task, scan: Scan, truth: tuple[Array, Array], made: made_of.MadeOf) -> Row:
    assert isinstance(task.engine, str)
    started = time.perf_counter()
    result = engine(task.engine)(scan, Setup(task.calibration, task.config))
    for T in (result.T_first_frame, result.T_prev_frame):
        for _ in ddf.blocks(T, scan.scale, scan.shape):     # the challenge's clock stops after the fields
            pass
    seconds = time.perf_counter() - started
    if not all(np.isfinite(T).all() for T in (result.T_first_frame, result.T_prev_frame)):
        raise SpeckleRecError(f"{task.path}: the estimate holds poses that are not finite")
    four = (result.T_first_frame, result.T_prev_frame, *truth)
    decided = score.evaluate(*four, scan.scale, scan.shape, scan.landmarks)
    better, mirrored = score.with_mirror_given(*four, scan.scale, scan.shape, scan.landmarks)
    field_mm = drift.fill(output_files.probe_geometry(scan, result).mask(), scan.scale)
    drifted = drift.measure(result.T_first_frame, truth[0], scan.scale, scan.shape, field_mm)
    row = _row(task.name, scan.n_frames, decided.as_dict(), better.as_dict(), mirrored, seconds, vars(drifted))
    results.write(task.folder, scan, result, calibration_hash=task.calibration_hash, made_of=made, overwrite=True,
                  config={**task.config.resolved(), "scan": scan.path, "engine": task.engine,
                          "calibration_hash": task.calibration_hash},
                  score={**row.score, "mirror_given": row.mirror_given, "drift": row.drift},
                  outputs=output_files.Outputs(volume=False, report=False))
    return row


def _by_submission(task: Task, scan: Scan, truth: tuple[Array, Array], made: made_of.MadeOf) -> Row:
    assert isinstance(task.engine, Submission)
    decided, mirror_image, seconds = task.engine.run(scan, *truth)
    if any(not math.isfinite(value) for value in decided.values()):
        raise SpeckleRecError(f"{task.engine.label}: the displacement fields hold values that are not finite")
    still = np.tile(np.eye(4), (scan.n_frames, 1, 1))
    identity = score.evaluate(still, still, *truth, scan.scale, scan.shape, scan.landmarks).as_dict()
    both = [_scored(errors, identity) for errors in (decided, mirror_image)]
    mirrored = both[1]["final"] > both[0]["final"]
    row = _row(task.name, scan.n_frames, both[0], both[mirrored], mirrored, seconds, {})
    summary = {"scan": scan.name, "path": str(scan.path), "version": results.version(), "n_frames": scan.n_frames,
               "engine": str(task.engine), "score": {**row.score, "mirror_given": row.mirror_given},
               "made_of": made}
    if task.folder.exists():
        shutil.rmtree(task.folder)
    with staged_file(task.folder / SUMMARY) as partial:
        partial.write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    return row


def _scored(errors: Mapping[str, float], identity: Mapping[str, Any]) -> dict[str, Any]:
    """Errors of an estimate with everything that follows from them and those of the identity."""
    parts = {name: 1 - errors[name] / identity[f"{name}_identity"] if identity[f"{name}_identity"] else 0.0
             for name in errors}
    out: dict[str, Any] = {name: errors.get(name) for name in score.ERRORS}
    out |= {name: identity[name] for name in IDENTITY}
    out |= {f"{name}_normalised": parts.get(name) for name in score.ERRORS}
    for name, of in (("final", score.ERRORS), ("global", ("GPE", "GLE")), ("local", ("LPE", "LLE")),
                     ("pixel", ("GPE", "LPE")), ("landmark", ("GLE", "LLE"))):
        out[name] = _mean(parts.get(part) for part in of)
    return out


def _row(name: str, n_frames: int, decided: Mapping[str, Any], better: Mapping[str, Any], mirrored: bool,
         seconds: float, drifted: Mapping[str, Any]) -> Row:
    more = {"final_mirror_given": better["final"], "runtime_s": seconds}
    keep = {*COLUMNS} - {"scan"}
    as_decided, given = ({key: value for key, value in {**values, **more}.items() if key in keep}
                         for values in (decided, better))
    return Row(name, {**as_decided, "mirrored": mirrored}, given, dict(drifted), n_frames=n_frames)


def _truth(scan: Scan) -> tuple[Array, Array]:
    truth = scan.T_first_frame_tracked
    if truth is None:
        raise InputError(f"{scan.path}: no tracked poses (dataset 'tforms', here or under transfs/) to score against")
    if not np.isfinite(truth).all():
        raise InputError(f"{scan.path}: some frames have no usable tracked pose: the scan cannot be scored")
    if scan.n_frames < 2:
        raise InputError(f"{scan.path}: expected at least two frames to score, found one")
    return truth, geometry.steps(truth)


def _failure(name: str, why: str, scan: Scan | None, truth: tuple[Array, Array] | None) -> Row:
    """A scan that failed scores 0; one that cannot be judged has no score at all."""
    why = " ".join(why.split())
    if scan is None or truth is None:
        return Row(name, error=why)
    still = np.tile(np.eye(4), (scan.n_frames, 1, 1))
    values = score.evaluate(still, still, *truth, scan.scale, scan.shape, scan.landmarks).as_dict()
    values |= dict.fromkeys(score.ERRORS)
    zero = {key: value for key, value in values.items() if key in COLUMNS}
    zero |= {"final_mirror_given": 0.0, "runtime_s": None, "mirrored": False}
    return Row(name, zero, {k: v for k, v in zero.items() if k != "mirrored"}, error=why, n_frames=scan.n_frames)


def _lost(task: Task, error: BaseException) -> Row:
    """The row of a scan whose process died."""
    scan, truth = None, None
    try:
        scan = Scan.open(task.path, pixel_mm=task.pixel_mm)
        truth = _truth(scan)
    except SpeckleRecError:
        pass
    return _failure(task.name, str(error) or type(error).__name__, scan, truth)


def _stored(task: Task, made: made_of.MadeOf) -> Row | None:
    """The row of a scan that is finished; what is damaged here is made again.

    Raises
    ------
    OtherResult
        If it was made of something else.
    """
    try:
        if isinstance(task.engine, Submission):
            summary = json.loads((task.folder / SUMMARY).read_text(encoding="utf-8"))
        elif is_finished(task.folder):
            summary = results.read(task.folder).summary
        else:
            return None
        stored = dict(summary["score"])
        given, drifted = stored.pop("mirror_given"), stored.pop("drift", {})
        if not isinstance(stored["runtime_s"], float):
            return None
        row = Row(task.name, stored, given, drifted, n_frames=int(summary["n_frames"]), resumed=True)
    except (InputError, OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    made_of.refuse_other(task.folder, summary.get("made_of"), made)
    return row


def _named(engine: str | Submission) -> str:
    """An engine by name; a submission by its place and the content of its file."""
    if isinstance(engine, str):
        return engine
    return f"{engine} of content {hashlib.sha256(engine.path.read_bytes()).hexdigest()[:16]} in {engine.python}"


def _stamp(out: Path, run: made_of.MadeOf, names: Collection[str], overwrite: bool) -> None:
    """Say what `out` is the evaluation of, or refuse to mix it with another.

    A data set that has moved is the same; its scans are compared one by one.
    """
    path = out / STAMP
    if path.is_file() and not overwrite:
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except (ValueError, RecursionError):
            found = None
        if isinstance(found, dict) and "version" not in found:      # of an evaluation that noted less
            found = None
        made_of.refuse_other(out, found, run)
        there = {scan.name for scan in (out / "scans").glob("[!.]*")}
        if (other := found.get("dataset")) != run["dataset"] and (foreign := sorted(there - set(names))):
            raise made_of.OtherResult(f"{out}: made of another data set ({other}), which has a scan {foreign[0]}; "
                                      f"{made_of.ANEW}")
    with staged_file(path, overwrite=True) as partial:
        partial.write_text(json.dumps(run, indent=1) + "\n", encoding="utf-8")
