"""How long Ctrl-C takes, at random moments of each verb (docs/RELIABILITY.md).

    python -m tools.reliability.interrupt DATASET --runs 20
"""

import argparse
import signal
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from .kill import Job, jobs, temporary


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="a data set in the train layout")
    parser.add_argument("--runs", type=int, default=20, help="of all verbs together")
    parser.add_argument("--longest", type=float, default=20.0, help="latest moment, s")
    parser.add_argument("--verbs", default="", help="only these, separated by commas")
    parser.add_argument("--limit", type=float, default=2.0)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng, bad = np.random.default_rng(options.seed), 0
    some = jobs(options.data)
    some.append(Job("evaluate -j 2", (*some[2].arguments, "-j", "2")))
    some = [job for job in some if not options.verbs or job.name in options.verbs.split(",")]
    for k in range(options.runs):
        job, wait = some[k % len(some)], rng.uniform(0.2, options.longest)
        with tempfile.TemporaryDirectory() as name:
            out = Path(name) / "out"
            process = job.start(out)
            time.sleep(wait)
            if process.poll() is not None:
                print(f"{job.name}: had ended before {wait:.1f} s")
                process.communicate()
                continue
            started = time.perf_counter()
            process.send_signal(signal.SIGINT)
            text = process.communicate(timeout=120)[0].decode(errors="replace")
            took = time.perf_counter() - started
            left = [path.name for path in out.rglob("*") if temporary(path)]
            wrong = took > options.limit or process.returncode != 130 or "Traceback" in text or bool(left)
            bad += wrong
            print(f"{job.name}: after {wait:.1f} s took {took:.2f} s, status {process.returncode}"
                  f"{f', left {left}' if left else ''}{f': {text[-200:]}' if wrong else ''}", flush=True)
    print(f"{bad} went wrong")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
