"""kill -9 at random moments, and what the next run makes of it (docs/RELIABILITY.md).

    python -m tools.reliability.kill --runs 50 --seed 0 -o DIR

Half of the runs are killed at a random moment of their usual time, half a moment after something under a temporary
name appears. After each kill nothing half-written may bear a final name; the same command again must end well,
leave nothing temporary, and give what a run that nobody disturbed gives, byte for byte but for run times.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from speckle_rec.io.staging import is_complete

from . import world
from .sandbox import ROOT

TIMES = ("run_times_s", "runtime_s", "frames_per_s", "time_elapsed")
DIGITS = 9
LOOSE = (".html", ".log")      # hold run times


@dataclass(frozen=True)
class Job:
    """A command line that writes under `out` (a word ``{out}`` in it)."""

    name: str
    arguments: tuple[str, ...]

    def start(self, out: Path) -> subprocess.Popen:
        out.parent.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, str(ROOT / "cli.py"), *(word.replace("{out}", str(out)) for word in self.arguments)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
                                preexec_fn=_heard)


def _heard() -> None:
    """Hear Ctrl-C, which a shell turns off for what it runs in the background."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def jobs(data: Path, subjects: int = 1) -> list[Job]:
    """One job a verb, on a data set at `data`."""
    scan = next((data / "frames_transfs").glob("*/*.h5"))
    return [Job("simulate", ("simulate", "{out}/d", "--frames", "10", "--tissue", "phantom", "--scans", "RH*",
                             "--subjects", str(subjects + 1),
                             "-j", "2", "--no-progress")),
            Job("reconstruct", ("reconstruct", str(scan), "-o", "{out}/r", "--no-progress")),
            Job("evaluate", ("evaluate", str(data), "-o", "{out}/e", "--no-progress")),
            Job("calibrate", ("calibrate", str(data), "-o", "{out}/c.h5", "--no-progress"))]


def finish(job: Job, out: Path) -> tuple[int, str, float]:
    """Run a job to its end: status, what it printed, seconds."""
    started = time.perf_counter()
    process = job.start(out)
    text = process.communicate(timeout=600)[0].decode(errors="replace")
    return process.returncode, text, time.perf_counter() - started


def disturb(job: Job, out: Path, usual_s: float, rng: np.random.Generator, at_partial: bool) -> bool:
    """Start a job and kill it and all its processes; whether it was still at work."""
    process = job.start(out)
    limit, extra = rng.uniform(0.05, 1.0) * usual_s, rng.exponential(0.03)
    end = time.monotonic() + (usual_s * 2 if at_partial else limit)
    while time.monotonic() < end and process.poll() is None:
        if at_partial and any(temporary(path) for path in out.rglob("*")):
            time.sleep(extra)
            break
        time.sleep(0.002)
    working = process.poll() is None
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.communicate()
    return working


def temporary(path: Path) -> bool:
    """Whether a file or folder bears a name that says it is not finished."""
    return ".partial-" in path.name or path.name.endswith(".part")


def half_written(out: Path, reference: Path) -> list[str]:
    """Files under final names that are not what the undisturbed run made; empty if all is well."""
    wrong = []
    for path in sorted(out.rglob("*")):
        relative = path.relative_to(out)
        if any(temporary(out / part) for part in (relative, *relative.parents)):
            continue
        if path.is_dir():
            if (reference / relative / "poses.h5").is_file() and any(path.iterdir()) and not is_complete(path):
                wrong.append(f"{relative}: a result folder that is not whole")
        elif path.name.endswith(".statistics.h5"):
            with h5py.File(path) as file:      # grows scan by scan
                len(file["scans"])
        elif not (reference / relative).exists():
            wrong.append(f"{relative}: not in the undisturbed run")
        elif relative.parts[-1] not in SETS and content(path) != content(reference / relative):
            wrong.append(f"{relative}: differs")
    return wrong


SETS = ("dataset_keys.h5", "landmark_000.h5")     # of the scans that were there


def compare(out: Path, reference: Path) -> list[str]:
    """How a finished run differs from the undisturbed one; empty if it does not."""
    names = {path.relative_to(out) for path in out.rglob("*")}, {path.relative_to(reference)
                                                                 for path in reference.rglob("*")}
    wrong = [f"{name}: only in one of the two" for name in sorted(names[0] ^ names[1])]
    return wrong + [f"{name}: differs" for name in sorted(names[0] & names[1])
                    if (out / name).is_file() and content(out / name) != content(reference / name)]


def content(path: Path) -> object:
    """What a file says apart from run times; scores to 1e-9.

    Code that numba has just compiled and the same code from its cache differ in the last bit of sums.
    """
    if path.suffix in LOOSE:
        return path.exists()
    if path.suffix == ".json":
        return _timeless(json.loads(path.read_text()))
    if path.suffix == ".csv" and "runtime_s" in (text := path.read_text()).splitlines()[0]:
        rows = [line.split(",") for line in text.splitlines()]
        at = rows[0].index("runtime_s")
        return [[_rounded(cell) for cell in row[:at] + row[at + 1:]] for row in rows]
    if path.name == "metrics.h5":
        with h5py.File(path) as file:
            return {key: (np.round(file[key][()], DIGITS) + 0.0).tobytes() for key in file if key not in TIMES}
    return path.read_bytes().replace(str(path.parents[1]).encode(), b"")


def _timeless(value: object) -> object:
    if isinstance(value, dict):
        return {k: _timeless(v) for k, v in value.items() if k not in TIMES}
    return _rounded(repr(value)) if isinstance(value, float) else value


def _rounded(cell: str) -> str:
    try:
        return str(round(float(cell), DIGITS) + 0.0)
    except ValueError:
        return cell


def trial(job: Job, folder: Path, reference: Path, usual_s: float, rng: np.random.Generator, at_partial: bool
          ) -> tuple[bool, list[str]]:
    """Kill a job once and run it again: whether it was at work, and what is wrong."""
    out = folder / "out"
    shutil.rmtree(folder, ignore_errors=True)
    working = disturb(job, out, usual_s, rng, at_partial)
    wrong = half_written(out, reference) if out.exists() else []
    status, text, _ = finish(job, out)
    if status != 0:
        wrong.append(f"the next run ends with status {status}: {text[-300:]}")
    wrong += [f"{path.name}: left behind" for path in out.rglob("*") if temporary(path)]
    return working, wrong + compare(out, reference)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=50, help="of all verbs together")
    parser.add_argument("--frames", type=int, default=20)
    parser.add_argument("--verbs", default="simulate,reconstruct,evaluate,calibrate")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--out", type=Path, required=True, help="a folder to work in")
    options = parser.parse_args()
    data = options.out / "data"
    if not data.exists():
        world.data_set(data, n_frames=options.frames)
    chosen = [job for job in jobs(data) if job.name in options.verbs.split(",")]
    rng, bad = np.random.default_rng(options.seed), 0
    for number, job in enumerate(chosen):
        reference = options.out / "reference" / job.name / "out"
        shutil.rmtree(reference.parent, ignore_errors=True)
        finish(job, options.out / "warm" / job.name / "out")
        status, text, usual_s = finish(job, reference)
        if status:
            raise SystemExit(f"{job.name}: {text}")
        runs = options.runs // len(chosen) + (number < options.runs % len(chosen))
        caught = 0
        for k in range(runs):
            working, wrong = trial(job, options.out / "trial" / job.name, reference, usual_s, rng, k % 2 == 1)
            caught += working
            bad += bool(wrong)
            for line in wrong:
                print(f"{job.name}, run {k}: {line}", flush=True)
        print(f"{job.name}: {usual_s:.1f} s undisturbed; {runs} runs, {caught} killed at work", flush=True)
    print(f"{bad} runs went wrong")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
