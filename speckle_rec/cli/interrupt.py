"""Ctrl-C that is heard at once: kernels keep Python from handling a signal until they return."""

import multiprocessing
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ..io import staging

GRACE_S = 0.8      # for the orderly way: staged folders removed, what is done told
STATUS = 130


@contextmanager
def prompt() -> Iterator[threading.Event]:
    """Within the block SIGINT raises KeyboardInterrupt, and ends the process if that takes longer than `GRACE_S`.

    The event tells whether there was one, whatever became of the exception.
    """
    interrupted = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield interrupted
        return

    def hear(*_: Any) -> None:
        interrupted.set()
        raise KeyboardInterrupt

    heard, wake = socket.socketpair()
    wake.setblocking(False)
    ended = threading.Event()

    def listen() -> None:
        while data := heard.recv(64):
            if signal.SIGINT in data and not ended.wait(GRACE_S):
                _end()

    listener = threading.Thread(target=listen, daemon=True)
    before = signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
    listener.start()
    handler = signal.getsignal(signal.SIGINT)
    if handler is signal.default_int_handler:       # else it is ignored, or someone else's
        signal.signal(signal.SIGINT, hear)
    try:
        yield interrupted
    finally:
        ended.set()
        signal.signal(signal.SIGINT, handler)
        signal.set_wakeup_fd(before)
        wake.close()
        listener.join(GRACE_S)
        heard.close()


@contextmanager
def asking(stop: Callable[[], None]) -> Iterator[None]:
    """Within the block the first SIGINT or SIGTERM calls `stop`; a second SIGINT interrupts as it does elsewhere."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    signals = signal.SIGINT, signal.SIGTERM
    before = {number: signal.getsignal(number) for number in signals}
    wake = signal.set_wakeup_fd(-1)

    def put_back() -> None:
        for number in signals:
            signal.signal(number, before[number])
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)

    def hear(*_: Any) -> None:
        put_back()
        stop()

    for number in signals:
        if before[number] is not signal.SIG_IGN:
            signal.signal(number, hear)
    try:
        yield
    finally:
        put_back()


def _end() -> None:
    for child in multiprocessing.active_children():
        child.kill()
    staging.abandon()
    print("speckle-rec: interrupted", file=sys.stderr, flush=True)
    os._exit(STATUS)
