"""The page for the one who scans: served on loopback, everything in it, told what is new by server-sent events."""

import base64
import json
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import cv2

from ..errors import InputError
from .session import Session

PAGE = Path(__file__).parents[1] / "data" / "live.html"
HOST = "127.0.0.1"
NAMES = ("127.0.0.1", "localhost", "[::1]")     # by which the page may be asked for: others may be a trick
LEAST_S = 0.04          # between events
QUIET_S = 2.0           # after which an event comes in any case
MOST_PX = 480           # of the longer side of the picture that is shown
MOST_EVENTS = 8         # browsers that are told what is new


class Page:
    """Serves the page of a session.

    Raises
    ------
    InputError
        If nothing can listen at the port; 0 is one that is free.
    """

    def __init__(self, session: Session, port: int = 0):
        try:
            self._server = _Server((HOST, port), session)
        except (OSError, OverflowError) as error:
            raise InputError(f"--page-port {port}: cannot listen there ({getattr(error, 'strerror', None) or error}); "
                             "--page-port 0 takes a free one") from error
        self.url = f"http://{HOST}:{self._server.server_address[1]}/"
        threading.Thread(target=self._server.serve_forever, args=(0.1,), daemon=True, name="page").start()

    def close(self) -> None:
        """Serve no more."""
        self._server.ended.set()
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, address: tuple[str, int], session: Session):
        self.session, self.ended = session, threading.Event()
        self.events = threading.Semaphore(MOST_EVENTS)
        self._picture: tuple[float, str] = (-1.0, "")
        self._drawing = threading.Lock()
        super().__init__(address, _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that goes away is no error."""

    def picture(self) -> tuple[float, str]:
        """The last frame as JPEG in base64, and when it came; made once for all who look."""
        frame = self.session.board.frame
        if frame is None:
            return -1.0, ""
        with self._drawing:
            if self._picture[0] != frame.arrived_s:
                rows, columns = frame.image.shape
                less = min(1.0, MOST_PX / max(rows, columns))
                small = cv2.resize(frame.image, None, fx=less, fy=less, interpolation=cv2.INTER_AREA)
                good, packed = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, 70])
                self._picture = frame.arrived_s, base64.b64encode(packed.tobytes()).decode() if good else ""
            return self._picture


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    server_version, sys_version = "speckle-rec", ""

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing of each request."""

    def do_GET(self) -> None:
        """The page, or the events of a session."""
        if not self._asked_here():
            return
        if self.path.partition("?")[0] == "/events":
            if self.server.events.acquire(blocking=False):
                try:
                    with suppress(OSError):
                        self._events()
                finally:
                    self.server.events.release()
            else:
                self.send_error(503, "too many browsers")
        elif self.path.partition("?")[0] == "/":
            self._answer(PAGE.read_bytes(), "text/html; charset=utf-8")
        else:
            self.send_error(404)

    def do_POST(self) -> None:
        """Stop the session: asked for by the page itself, whose header no other page can send unasked."""
        if not self._asked_here():
            return
        if self.path == "/stop" and self.headers.get("X-Speckle-Rec") == "stop":
            self.server.session.stop()
            self._answer(b"{}", "application/json")
        else:
            self.send_error(403)

    def _asked_here(self) -> bool:
        """Whether the request was meant for this page: a name of another that leads here is refused."""
        name = self.headers.get("Host", "").rpartition(":")[0]
        if name in NAMES:
            return True
        self.send_error(403)
        return False

    def _answer(self, body: bytes, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("Content-Security-Policy", "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
                                                    "script-src 'unsafe-inline'; connect-src 'self'")
        self.end_headers()
        self.wfile.write(body)

    def _events(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        board, version, known, shown = self.server.session.board, -1, 0, -1.0
        while not self.server.ended.is_set():
            began = time.monotonic()
            version = board.wait(version, QUIET_S)
            view = board.view(known)
            known += len(view["path"])
            came, picture = self.server.picture()
            if came != shown:
                shown, view["picture"] = came, picture
            self.wfile.write(b"data: " + json.dumps(view).encode() + b"\n\n")
            self.wfile.flush()
            self.server.ended.wait(max(0.0, LEAST_S - (time.monotonic() - began)))
