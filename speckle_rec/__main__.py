"""Start of the command line: what has to be settled before numpy and the package are imported.

Ctrl-C while they are (a second or two) ends the process with one line. Linear algebra gets one thread: the matrices
are small or shared out by the program itself, and the threads of OpenBLAS wait for each other by turning in circles,
which takes ten times as long where other programs use the cores.
"""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from .compute import environment, tuning

STATUS = 130


def main() -> int:
    """Run the command line of this process; its exit status."""
    environment.default("OPENBLAS_NUM_THREADS", "1")
    environment.default("OPENCV_FFMPEG_LOGLEVEL", "-8")      # quiet: what is wrong with a film is told in one line
    tuning.tune()
    with _ended_by_interrupt():
        from .cli import main as run
    status = run()
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:      # while Python shuts down
        signal.signal(signal.SIGINT, _end)
    return status


@contextmanager
def _ended_by_interrupt() -> Iterator[None]:
    """Within the block SIGINT ends the process, unless it is ignored: an import may swallow KeyboardInterrupt."""
    before = signal.getsignal(signal.SIGINT)
    if before is not signal.default_int_handler:
        yield
        return
    signal.signal(signal.SIGINT, _end)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _end(*_: Any) -> None:
    os.write(2, b"speckle-rec: interrupted\n")
    os._exit(STATUS)


if __name__ == "__main__":
    sys.exit(main())
