"""A command line run where it can do no harm: time, memory, and every write of it are watched.

`Sandbox` is used by the parent; the worker (``python -m tools.reliability.sandbox``) reads requests from its
standard input and answers on its standard output, one JSON a line, and lives on from case to case.
"""

import contextlib
import io
import json
import os
import resource
import select
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
WARM_UP_S = 400.0        # of the first command of a worker, which may compile the kernels
ADDRESS_SPACE = 12 << 30  # so that a bomb ends in MemoryError here and does not take the machine along
CACHES = ("__pycache__", "/matplotlib", "/dev/")
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
CHANGES = {"os.mkdir": 1, "os.remove": 1, "os.rmdir": 1, "os.rename": 2, "os.truncate": 1, "os.link": 2,
           "os.symlink": 2, "shutil.rmtree": 1, "os.chmod": 1, "os.chown": 1}
ALARMS = ("socket.connect", "subprocess.Popen", "os.system", "os.exec", "os.posix_spawn")


@dataclass(frozen=True)
class Outcome:
    """What a command did.

    Attributes
    ----------
    status : exit status; None if it was killed for taking too long, negative if it died.
    stdout, stderr : what it printed.   seconds : that it took.   peak_mib : most memory resident.
    changed : paths outside the permitted folder that it wrote to or removed.
    alarms : network connections and processes that it started.
    """

    status: int | None
    stdout: str = ""
    stderr: str = ""
    seconds: float = 0.0
    peak_mib: float = 0.0
    changed: tuple[str, ...] = ()
    alarms: tuple[str, ...] = ()
    notes: dict[str, Any] = field(default_factory=dict)


class Sandbox:
    """Runs command lines of this package one after the other in a process of its own."""

    def __init__(self, limit_s: float = 10.0, figures: bool = False):
        self.limit_s, self.figures = limit_s, figures
        self._worker: subprocess.Popen | None = None
        self._pending = b""

    def __enter__(self) -> "Sandbox":
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def warm_up(self, arguments: list[str], folder: Path) -> Outcome:
        """Run a command that may have kernels to compile."""
        return self._ask(arguments, folder, folder / "out", WARM_UP_S)

    def run(self, arguments: list[str], folder: Path, out: Path) -> Outcome:
        """Run a command in `folder`; only what lies under `out` may be written."""
        return self._ask(arguments, folder, out, self.limit_s)

    def _ask(self, arguments: list[str], folder: Path, out: Path, limit_s: float) -> Outcome:
        if self._worker is None or self._worker.poll() is not None:
            command = [sys.executable, "-m", "tools.reliability.sandbox", *(["--figures"] if self.figures else [])]
            self._worker = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                            env={**os.environ, "PYTHONPATH": str(ROOT)}, start_new_session=True)
            self._pending = b""
            self._line(WARM_UP_S)
        assert self._worker.stdin is not None
        request = {"arguments": arguments, "folder": str(folder), "out": str(out)}
        before = _tree(folder, out)
        started = time.perf_counter()
        self._worker.stdin.write(json.dumps(request).encode() + b"\n")
        self._worker.stdin.flush()
        answer = self._line(limit_s)
        seconds = time.perf_counter() - started
        if answer is None:
            status = self._stop()
            return Outcome(None if status == -signal.SIGKILL and seconds >= limit_s else status, seconds=seconds)
        changed = sorted({*answer.pop("changed"), *_difference(before, _tree(folder, out))})
        return Outcome(seconds=seconds, changed=tuple(changed), alarms=tuple(answer.pop("alarms")), **answer)

    def _line(self, limit_s: float) -> dict[str, Any] | None:
        assert self._worker is not None and self._worker.stdout is not None
        end = time.monotonic() + limit_s
        while b"\n" not in self._pending:
            if not select.select([self._worker.stdout], [], [], max(end - time.monotonic(), 0))[0]:
                return None
            some = os.read(self._worker.stdout.fileno(), 1 << 16)
            if not some:
                return None
            self._pending += some
        line, _, self._pending = self._pending.partition(b"\n")
        return json.loads(line)

    def _stop(self) -> int | None:
        if self._worker is None:
            return None
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._worker.wait(0.2)
        if self._worker.poll() is None:
            os.killpg(self._worker.pid, signal.SIGKILL)
        status = self._worker.wait()
        self._worker = None
        return status


def _tree(folder: Path, out: Path) -> dict[str, tuple]:
    """Every file under `folder` that is not under `out`: type, size and time of the last change."""
    found = {}
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if Path(place, name) != out]
        for name in [*folders, *files]:
            status = os.lstat(os.path.join(place, name))
            is_file = name in files
            found[os.path.join(place, name)] = (status.st_mode, *((status.st_size, status.st_mtime_ns) * is_file))
    return found


def _difference(before: dict[str, tuple], after: dict[str, tuple]) -> list[str]:
    return [path for path in {*before, *after} if before.get(path) != after.get(path)]


class _Watch:
    """An audit hook that keeps what a command writes elsewhere, connects to or starts."""

    def __init__(self) -> None:
        self.allowed: tuple[str, ...] | None = None
        self.changed: set[str] = set()
        self.alarms: set[str] = set()

    def __call__(self, event: str, arguments: tuple) -> None:
        if self.allowed is None:
            return
        if event == "open":
            path, mode, flags = arguments
            if (mode and any(letter in str(mode) for letter in "wax+")) or (flags or 0) & WRITING:
                self._note(path)
        elif event in CHANGES:
            for path in arguments[:CHANGES[event]]:
                self._note(path)
        elif event in ALARMS:
            self.alarms.add(f"{event} {arguments[:2]!r}"[:200])

    def _note(self, path: Any) -> None:
        assert self.allowed is not None
        if isinstance(path, str | bytes | os.PathLike):
            absolute = os.path.realpath(os.fsdecode(path))
            if not any(word in absolute for word in CACHES) and not absolute.startswith(self.allowed):
                self.changed.add(absolute)


def _serve(figures: bool) -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    from speckle_rec.cli import main
    from speckle_rec.storage import outputs as output_files
    if not figures:
        output_files._write_plots = lambda *arguments: None  # type: ignore[assignment]
        output_files.write_report = lambda *arguments: None  # type: ignore[assignment]
    watch = _Watch()
    sys.addaudithook(watch)
    print(json.dumps({}), file=answers, flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        os.chdir(request["folder"])
        temporary = os.path.join(os.path.realpath(request["folder"]), "tmp")
        os.makedirs(temporary, exist_ok=True)
        import tempfile
        tempfile.tempdir = temporary
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")
        watch.changed, watch.alarms = set(), set()
        watch.allowed = (os.path.realpath(request["out"]), temporary)
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = main(request["arguments"])
        watch.allowed = None
        left = [os.path.join(temporary, name) for name in os.listdir(temporary)]
        shutil.rmtree(temporary)
        os.chdir(ROOT)
        answer = {"status": status, "stdout": out.getvalue()[-4000:], "stderr": err.getvalue()[-1_000_000:],
                  "peak_mib": _peak_mib(), "changed": [*watch.changed, *left], "alarms": [*watch.alarms]}
        print(json.dumps(answer), file=answers, flush=True)


def _peak_mib() -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1024
    return 0.0


if __name__ == "__main__":
    _serve("--figures" in sys.argv)
