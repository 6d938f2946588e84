"""Ctrl-C that is heard at once: kernels keep Python from handling a signal until they return."""

import multiprocessing
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from ..io import staging

GRACE_S = 0.8      # for the orderly way: staged folders removed, what is done told
STATUS = 130


@contextmanager
def prompt() -> Iterator[None]:
    """Within the block SIGINT raises KeyboardInterrupt, and ends the process if that takes longer than `GRACE_S`."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
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
    try:
        yield
    finally:
        ended.set()
        signal.set_wakeup_fd(before)
        wake.close()
        listener.join(GRACE_S)
        heard.close()


def _end() -> None:
    for child in multiprocessing.active_children():
        child.kill()
    staging.abandon()
    print("speckle-rec: interrupted", file=sys.stderr, flush=True)
    os._exit(STATUS)
