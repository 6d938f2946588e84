"""Data sets of simulated scans in the challenge's layouts, made by several processes and resumable.

``truth/SSS/NAME.h5`` is ours: the exact poses, phases and settings behind each scan. It is written last, so a
scan that has it is complete.
"""

import dataclasses
import itertools
import json
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from ..errors import InputError, SpeckleRecError
from ..io import h5write
from ..io.calib import built_in, write_challenge
from ..io.staging import staged_file
from . import world as worlds
from .scan import FrameFile, Landmarks, ScanSettings, frames, part_of, plan, renderer_of, scan_names
from .world import World

LAYOUTS = ("train", "val")
PROTOCOLS = ("rotation", "L", "C", "S")
POLL_S = 0.2
FAILURES = (SpeckleRecError, OSError, MemoryError, BrokenProcessPool)

_done = None   # frames done by all processes of a pool


@dataclass(frozen=True)
class DatasetReport:
    """Scans made, scans found finished, and scans that failed with the reason."""

    made: tuple[str, ...]
    skipped: tuple[str, ...]
    failed: dict[str, str]


@dataclass(frozen=True)
class ScanFiles:
    """Where the parts of a scan lie."""

    frames: Path
    tforms: Path
    truth: Path

    @classmethod
    def of(cls, root: Path, layout: str, settings: ScanSettings) -> "ScanFiles":
        folder, file = f"{settings.subject:03d}", f"{settings.name}.h5"
        if layout == "train":
            both = root / "frames_transfs" / folder / file
            return cls(both, both, root / "truth" / folder / file)
        return cls(*(root / part / folder / file for part in ("frames", "transfs", "truth")))


def scans_of(world: World, subjects: Iterable[int], *, seed: int = 0, n_frames: int = 1600, pattern: str = "*"
             ) -> list[ScanSettings]:
    """Scans of a world: those of its motion whose names fit the pattern, of each subject."""
    return [world.settings(name=name, subject=subject, seed=seed, n_frames=n_frames)
            for subject in subjects for name in scan_names(world.motion, pattern)]


def simulate_dataset(root: Path | str, scans: list[ScanSettings], *, layout: str = "train", jobs: int = 1,
                     overwrite: bool = False, progress: Callable[[int, int, str], None] | None = None) -> DatasetReport:
    """Make (or complete) a data set; its files do not depend on `jobs`.

    Parameters
    ----------
    scans : list of ScanSettings
    layout : "train" or "val"
        frames and tforms in one file, or in one each.
    jobs : int
        Processes; with more jobs than scans, several threads render each scan.
    overwrite : bool
        Make finished scans anew; otherwise they are kept, and must have been made with the same settings.
    progress : callable, optional
        Called with frames done, frames to do and the last scan finished, a few times a second.
    """
    root = Path(root)
    if layout not in LAYOUTS:
        raise InputError(f"layout {layout}: expected one of {', '.join(LAYOUTS)}")
    other = root / ("frames" if layout == "train" else "frames_transfs")
    if other.is_dir():
        raise InputError(f"{root}: holds a data set of another layout ({other.name}/); choose another folder")
    todo = [s for s in scans if overwrite or not finished(ScanFiles.of(root, layout, s), s)]
    skipped = tuple(key(s) for s in scans if s not in todo)
    root.mkdir(parents=True, exist_ok=True)
    _describe(root, scans, overwrite)
    made, failed = _run(root, layout, todo, jobs, progress)
    _index(root, layout)
    return DatasetReport(tuple(made), skipped, failed)


def _describe(root: Path, scans: list[ScanSettings], overwrite: bool) -> None:
    """Write the world of the scans and their calibration, unless scans of another world lie there."""
    world = worlds.of_settings(scans[0])
    if any(worlds.of_settings(s) != world for s in scans[1:]):
        raise InputError(f"{root}: expected scans of one world, found several; give each its own folder")
    path = root / worlds.FILE_NAME
    if path.is_file() and not overwrite and any((root / "truth").glob("*/*.h5")) and \
            dataclasses.replace(worlds.read(path), motion=world.motion, hand=world.hand) != world:
        raise InputError(f"{path}: the scans there are of another world; add --overwrite or choose another folder")
    motions = {s.name for s in scans}
    motion = next((m for m in worlds.MOTIONS if motions <= set(scan_names(m))), "rotation")
    with staged_file(path, overwrite=True) as part:
        dataclasses.replace(world, motion=motion).write(part)
    T_tool_image = built_in().T_tool_image
    assert T_tool_image is not None
    write_challenge(root / "calib_matrix.csv", world.picture.geometry().scale, T_tool_image)


def _how_it_goes_on(root: Path) -> dict[str, int]:
    """Seed and number of frames of the scans of a data set, and the first subject that is not in it."""
    truths = sorted((root / "truth").glob("*/*.h5"))
    if not truths:
        return {"seed": 0, "n_frames": 1600, "first_subject": 0}
    try:
        with h5py.File(truths[-1]) as file:
            settings = json.loads(file.attrs["settings"])
        return {"seed": settings["seed"], "n_frames": settings["n_frames"],
                "first_subject": max(int(path.parent.name) for path in truths) + 1}
    except (OSError, KeyError, ValueError) as error:
        raise InputError(f"{truths[-1]}: expected the record of a simulated scan, found a damaged file") from error


def of_dataset(root: Path) -> tuple[World, dict[str, int]]:
    """The world of a data set, and how it goes on: seed and frames of its scans, the first subject not in it."""
    path = Path(root) / worlds.FILE_NAME
    if not path.is_file():
        raise InputError(f"{root}: expected a simulated data set with its {worlds.FILE_NAME}, found none")
    return worlds.read(path), _how_it_goes_on(Path(root))


def key(settings: ScanSettings) -> str:
    """The scan's key in the challenge's files: subSSS__NAME."""
    return f"sub{settings.subject:03d}__{settings.name}"


def described(settings: ScanSettings) -> str:
    """The settings as JSON, to tell scans of other settings apart."""
    return json.dumps(dataclasses.asdict(settings), sort_keys=True)


def finished(files: ScanFiles, settings: ScanSettings) -> bool:
    """Whether a scan is complete.

    Raises
    ------
    InputError
        If it was made with other settings.
    """
    if not (files.truth.is_file() and files.frames.is_file() and files.tforms.is_file()):
        return False
    try:
        with h5py.File(files.truth, "r") as file:
            found = file.attrs.get("settings", "")
    except OSError:
        return False
    if found != described(settings):
        raise InputError(f"{files.truth}: this scan was made with other settings; add --overwrite or choose "
                         "another folder")
    return True


def make_scan(root: Path, layout: str, settings: ScanSettings, threads: int,
              tick: Callable[[], None] | None = None) -> str:
    """Render one scan into its files; returns its key."""
    files = ScanFiles.of(root, layout, settings)
    files.truth.unlink(missing_ok=True)
    p = plan(settings)
    landmarks = Landmarks(p)
    writer = FrameFile(files.frames, settings.n_frames, p.geometry.shape)
    try:
        for i, frame in enumerate(frames(p, renderer_of(p, threads=threads), threads)):
            landmarks.see(i, frame)
            writer.append(frame)
            if tick:
                tick()
        writer.finish(**({"tforms": p.tforms} if layout == "train" else {}))
    finally:
        writer.close()
    if layout == "val":
        _write(files.tforms, {"tforms": p.tforms})
    _write(files.truth, {"T_world_image": p.T_world_image, "T_world_shown": p.T_world_shown,
                         "repeats": p.repeats, "time_s": p.time_s, "gain_db": p.gain_db,
                         "landmarks": landmarks.points(),
                         "phase": p.phase.astype("S")}, {"settings": described(settings)})
    return key(settings)


def _write(path: Path, datasets: dict, attributes: dict | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with staged_file(path, overwrite=True) as part, h5write.create(part) as file:
        for name, value in datasets.items():
            file[name] = value
        file.attrs.update(attributes or {})


def _run(root: Path, layout: str, todo: list[ScanSettings], jobs: int, progress) -> tuple[list[str], dict[str, str]]:
    total = sum(s.n_frames for s in todo)
    made: list[str] = []
    failed: dict[str, str] = {}
    workers = min(jobs, len(todo))
    if workers <= 1:
        done = itertools.count(1)

        def tick() -> None:
            if progress:
                progress(next(done), total, made[-1] if made else "")

        for s in todo:
            try:
                made.append(make_scan(root, layout, s, jobs, tick))
            except FAILURES as error:
                failed[key(s)] = f"{type(error).__name__}: {error}"
        return made, failed
    context = multiprocessing.get_context("spawn")
    counter = context.Value("q", 0)
    last = ""
    with ProcessPoolExecutor(workers, context, _start, (counter,)) as pool:
        running = {pool.submit(_work, root, layout, s, jobs // workers): s for s in todo}
        try:
            while running:
                for future in wait(running, POLL_S, FIRST_COMPLETED)[0]:
                    settings = running.pop(future)
                    try:
                        last = future.result()
                        made.append(last)
                    except FAILURES as error:
                        failed[key(settings)] = f"{type(error).__name__}: {error}"
                if progress:
                    progress(counter.value, total, last)
        except BaseException:
            for process in list((pool._processes or {}).values()):
                process.kill()
            pool.shutdown(wait=False, cancel_futures=True)
            for settings in running.values():
                part_of(ScanFiles.of(root, layout, settings).frames).unlink(missing_ok=True)
            raise
    return sorted(made), failed


def _start(counter) -> None:
    global _done
    signal.signal(signal.SIGINT, signal.SIG_IGN)     # the parent hears it and ends its workers
    _done = counter
    os.environ["OMP_NUM_THREADS"] = "1"


def _work(root: Path, layout: str, settings: ScanSettings, threads: int) -> str:
    return make_scan(root, layout, settings, threads, _tick)


def _tick() -> None:
    if _done is not None:
        with _done.get_lock():
            _done.value += 1


def _index(root: Path, layout: str) -> None:
    """Landmark files and dataset_keys.h5 of all finished scans."""
    subjects: dict[str, dict[str, np.ndarray]] = {}
    for path in sorted((root / "truth").glob("*/*.h5")):
        with h5py.File(path, "r") as file:
            subjects.setdefault(path.parent.name, {})[path.stem] = file["landmarks"][:]
    keys = {}
    for subject, points in subjects.items():
        _write(root / "landmarks" / f"landmark_{subject}.h5", points)
        keys.update({f"sub{subject}__{name}": np.int64(0) for name in points})
    if keys:
        _write(root / "dataset_keys.h5", keys)
