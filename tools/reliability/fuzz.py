"""Damaged files of every kind through the command line (docs/RELIABILITY.md).

    python -m tools.reliability.fuzz --cases 2000 --seed 0 -o report.json

A case is sound if the program ends at most 10 s later than with the undamaged file and below 2 GiB, writes
nothing outside the output folder, and says in one line what is wrong (exit status 2), or gives a whole result. A
damaged scan among several that are evaluated may end with status 1 and the scan listed as failed.
"""

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import h5py
import numpy as np

from speckle_rec.errors import InputError

from .mutations import Case, cases, geometry_is_sound
from .sandbox import Outcome, Sandbox
from .world import SCAN, TARGETS, build

LIMIT_S, LIMIT_MIB = 10.0, 2048.0
SEVERAL = ("evaluate",)


def verdict(case: Case, outcome: Outcome, out: Path) -> str | None:
    """What is wrong with how a case ended; None if nothing is."""
    if outcome.status is None:
        return f"hangs for more than {outcome.seconds:.0f} s"
    if outcome.status < 0:
        return f"dies of signal {-outcome.status}"
    if outcome.peak_mib > LIMIT_MIB:
        return f"takes {outcome.peak_mib:.0f} MiB"
    if outcome.changed:
        return f"writes outside: {', '.join(outcome.changed[:3])}"
    if outcome.alarms:
        return f"reaches out: {outcome.alarms[0]}"
    lines = outcome.stderr.splitlines()
    if any("Traceback" in line or "a defect" in line or "Warning:" in line for line in [*lines, outcome.stdout]):
        return f"not told plainly: {outcome.stderr.strip()[-300:]}"
    if any(not line.startswith("speckle-rec: ") or not line.isprintable() for line in lines):
        return f"something else than messages on stderr: {outcome.stderr[:300]!r}"
    if outcome.status == 2:
        return None if len(lines) == 1 or case.target.arguments[0] == "check" else f"{len(lines)} lines: {lines[:3]}"
    if outcome.status == 1:
        return None if case.target.arguments[0] in SEVERAL else f"status 1: {outcome.stderr.strip()[:300]}"
    return _unsound(out)


def _unsound(out: Path) -> str | None:
    """What is wrong with the results of a command that says it succeeded."""
    for path in out.rglob("*"):
        if ".partial" in path.name or path.name.endswith(".part"):
            return f"leaves {path.name} behind"
    for path in out.rglob("poses.h5"):
        with h5py.File(path) as file:
            confidence = file["confidence"][()]
            try:
                sound = all(geometry_is_sound(file[key][()]) for key in ("T_first_frame", "T_prev_frame"))
            except InputError:
                sound = False
            if not sound or not np.isfinite(file["covariance"][()]).all():
                return "poses that are not finite or not rigid"
            if not ((confidence >= 0) & (confidence <= 1)).all():
                return "confidence outside 0..1"
    return None


def play(case: Case, sandbox: Sandbox, world: Path, place: Path) -> tuple[str | None, Outcome]:
    """Damage a copy of the world, run the command, judge."""
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(world, place)
    out = place / "out"
    out.mkdir()
    case.damage(place / case.target.file)
    arguments = [word.format(out="out") if "{out" in word else word for word in case.target.arguments]
    own = {"report": place / "result", "reconstruct": place / "results"}
    named = "{out" in " ".join(case.target.arguments)
    outcome = sandbox.run(arguments, place, out if named else own.get(case.target.arguments[0], out))
    return verdict(case, outcome, out), outcome


def run(some: Iterable[Case], folder: Path, show: bool = False, figures: bool = False) -> list[dict]:
    """Play cases in `folder`; a row for each."""
    world = build(folder / "world")
    rows = []
    with Sandbox(LIMIT_S, figures) as sandbox:
        warm = shutil.copytree(world, folder / "warm")
        for verb in (f"reconstruct {SCAN}", "reconstruct calibration.h5", "compound tum.txt", "calibrate --merge"):
            target = TARGETS.get(verb) or next(t for t in TARGETS.values() if t.file == "statistics.h5")
            (warm / "out").mkdir(exist_ok=True)
            told = sandbox.warm_up([word.format(out=f"out/{len(list((warm / 'out').iterdir()))}")
                                    if "{out" in word else word for word in target.arguments], warm)
            if told.status != 0:
                raise SystemExit(f"the undamaged {target.label} fails: {told.status} {told.stderr}")
        again = ["calibrate", "--merge", "statistics.h5", "-o", "out/again.h5", "--no-report"]     # the slowest
        sandbox.limit_s += sandbox.warm_up(again, warm).seconds
        for k, case in enumerate(some, 1):
            wrong, outcome = play(case, sandbox, world, folder / "case")
            rows.append({"case": case.name, "wrong": wrong, "status": outcome.status,
                         "seconds": round(outcome.seconds, 3), "peak_mib": round(outcome.peak_mib),
                         "told": outcome.stderr.strip()[:300]})
            if show and wrong:
                print(f"{k:5d} {case.name}: {wrong}", flush=True)
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="cases whose names hold this")
    parser.add_argument("--figures", action="store_true", help="draw figures and reports too (a second a result)")
    parser.add_argument("-o", "--out", type=Path, help="a row for each case, as JSON")
    options = parser.parse_args()
    some = [case for case in cases(options.cases, options.seed) if options.only in case.name]
    started = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="speckle_rec_fuzz_") as name:
        rows = run(some, Path(name), show=True, figures=options.figures)
    if options.out:
        options.out.write_text(json.dumps(rows, indent=1))
    wrong = [row for row in rows if row["wrong"]]
    status = Counter(row["status"] for row in rows)
    print(f"{len(rows)} cases in {time.perf_counter() - started:.0f} s: "
          + ", ".join(f"{n} with status {s}" for s, n in sorted(status.items(), key=str))
          + f"; slowest {max(row['seconds'] for row in rows):.1f} s, most memory "
          f"{max(row['peak_mib'] for row in rows)} MiB; {len(wrong)} wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
