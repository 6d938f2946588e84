"""Run times by stage, and the progress of each."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Progress = Callable[[str, int, int], None]


class Clock:
    """Times the stages of a run and tells of their progress.

    Parameters
    ----------
    progress : called with (stage, done, total); None where nobody looks.
    """

    def __init__(self, progress: Progress | None = None):
        self.progress = progress
        self.times_s: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[Callable[[int, int], None]]:
        """Time a block; yields its progress callback (done, total)."""
        def report(done: int, total: int) -> None:
            if self.progress:
                self.progress(name, done, total)
        started = time.perf_counter()
        report(0, 1)
        yield report
        report(1, 1)
        self.times_s[name] = self.times_s.get(name, 0.0) + time.perf_counter() - started
