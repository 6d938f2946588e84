"""How far a run is: bars on a terminal, lines where there is none."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

Report = Callable[[str, int, int], None]

WIDE = 100      # columns from which bars have room for all their figures


@contextlib.contextmanager
def progress_bar(shown: bool, *, lines: str | None = None,
                 usual_s: Mapping[str, float] | None = None) -> Iterator[Report]:
    """A callable (stage, done, total) that draws a bar a stage on stderr where that is a terminal.

    A stage of one step is shown as busy, with the time it takes; others with rate and time left.

    Parameters
    ----------
    shown : whether bars are wanted.
    lines : where there is no bar, print a line as each stage ends; what it begins with, such as the scan's name.
    usual_s : what the stages usually take, in their order: adds a bar over all of them, with the time left.
    """
    if shown and _is_terminal():
        with _bars(usual_s or {}) as report:
            yield report
    elif lines is not None:
        yield Lines(lines)
    else:
        yield lambda stage, done, total: None


class Lines:
    """A line on stderr as each stage ends: what it took, and the time since the start."""

    def __init__(self, name: str = "") -> None:
        self.name = f"{name}: " if name else ""
        self.started = self.ended = time.perf_counter()
        self.stage: str | None = None
        self.whole = False

    def __call__(self, stage: str, done: int, total: int) -> None:
        # A stage that starts with (0, 1) ends with (1, 1), whatever it counts in between.
        if (done, total) == (0, 1):
            self.stage, self.whole, self.ended = stage, True, time.perf_counter()
        elif self.stage != stage:
            self.stage, self.whole = stage, False
        if done >= total and (total == 1 or not self.whole):
            now = time.perf_counter()
            self.stage = None
            print(f"speckle-rec: {self.name}{stage}: {now - self.ended:.1f} s, {now - self.started:.1f} s in all",
                  file=sys.stderr, flush=True)
            self.ended = now


class Overall:
    """Share and time left of a run of several stages, from what they usually take and what they took so far."""

    def __init__(self, usual_s: Mapping[str, float], clock: Callable[[], float] = time.perf_counter):
        self.usual_s, self.order, self.clock = usual_s, list(usual_s), clock
        self.began = self.stage_began = clock()
        self.at = -1                    # the stage that runs; those before it have ended, or were left out
        self.part = 0.0                 # of it that is done
        self.took_s = self.usual_so_far_s = 0.0

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Hear of a stage that begins, goes on or ends."""
        if stage not in self.usual_s:
            return
        at = self.order.index(stage)
        if at > self.at:
            now = self.clock()
            if self.at >= 0:
                self.took_s += now - self.stage_began
                self.usual_so_far_s += self.usual_s[self.order[self.at]]
            self.at, self.stage_began = at, now
        if at == self.at:
            self.part = done / max(total, 1)

    def left_s(self) -> float:
        """Time to the end in seconds."""
        pace = self.took_s / self.usual_so_far_s if self.usual_so_far_s > 0 else 1.0
        to_come = pace * sum(self.usual_s[stage] for stage in self.order[self.at + 1:])
        if self.at < 0 or self.part >= 1:
            return to_come
        passed = self.clock() - self.stage_began
        usual = pace * self.usual_s[self.order[self.at]]
        # What a stage counts is believed the more of it is done: its first steps may wait for compilers and disks.
        counted = passed / self.part if self.part else usual
        return to_come + max(self.part * counted + (1 - self.part) * usual - passed, 0.05 * usual)

    def share(self) -> float:
        """Part of the whole time that has passed."""
        passed = self.clock() - self.began
        return passed / max(passed + self.left_s(), 1e-9)


def _is_terminal() -> bool:
    from rich.console import Console
    return Console(stderr=True).is_terminal


@contextlib.contextmanager
def _bars(usual_s: Mapping[str, float]) -> Iterator[Report]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeElapsedColumn
    from rich.text import Text

    class Rate(ProgressColumn):
        """What is done of what is to be done, and how much a second; nothing for stages that cannot count."""

        def render(self, task: Task) -> Text:
            if task.id == whole:
                return Text(f"{task.percentage:.0f}%", style="progress.percentage")
            if task.total is None or task.total <= 1:
                return Text("")
            speed = task.finished_speed or task.speed
            rate = "" if speed is None else f"  {speed:.0f}/s" if speed >= 10 else f"  {speed:.2g}/s"
            return Text(f"{int(task.completed)}/{int(task.total)}{rate}", style="progress.download")

    class Left(ProgressColumn):
        """Time left."""

        max_refresh = 0.5

        def render(self, task: Task) -> Text:
            left_s = overall.left_s() if task.id == whole else task.time_remaining
            if left_s is None or task.total is None:
                return Text("-:--:--", style="progress.remaining")
            minutes, seconds = divmod(round(left_s), 60)
            return Text(f"{minutes // 60}:{minutes % 60:02d}:{seconds:02d}", style="progress.remaining")

    class Bars(Progress):
        """The bar over all stages moves between their reports too."""

        def get_renderables(self) -> Any:
            if whole is not None:
                self._tasks[whole].completed = overall.share()
            return super().get_renderables()

    overall = Overall(usual_s)
    whole: Any = None
    console = Console(stderr=True)
    wide = console.width >= WIDE
    columns = (TextColumn(f"{{task.description:<{24 if wide else 19}}}", markup=False),
               BarColumn(40 if wide else max(4, min(16, console.width - 64))), Rate(), TimeElapsedColumn(),
               TextColumn("left"), Left())
    with Bars(*columns, console=console, transient=True) as bar:
        tasks: dict[str, Any] = {}
        if usual_s:
            whole = bar.add_task("all", total=1.0)

        def report(stage: str, done: int, total: int) -> None:
            overall(stage, done, total)
            if stage not in tasks:
                tasks[stage] = bar.add_task(stage, total=None)
            busy = total == 1 and done == 0 and bar.tasks[tasks[stage]].total is None
            if not busy:
                bar.update(tasks[stage], completed=done, total=total)

        yield report
