"""The page of `live` in headless Chromium: a picture of it after some seconds, and how often it was drawn anew.

python cli.py live --replay SCAN --page-port 8090 &
python tools/live_page.py http://127.0.0.1:8090/ PICTURE.png [--seconds 10] [--width 1280] [--height 800]

Chromium's own option for pictures takes them when a page has loaded, before anything has happened on it; so it is asked
over its debugging port, by the few messages of a WebSocket that this takes.
"""

import argparse
import base64
import http.client
import json
import os
import re
import shutil
import socket
import struct
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

START_S, ANSWER_S = 60, 60


class Browser:
    """A headless Chromium with one page open."""

    def __init__(self, url: str, width: int = 1280, height: int = 800):
        found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
        if found is None:
            raise SystemExit("no Chromium found: apt-get install chromium")
        self._folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        self._process = subprocess.Popen(
            [found, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
             "--disable-background-networking", "--disable-component-update", "--disable-sync",
             "--hide-scrollbars", f"--window-size={width},{height}", "--remote-debugging-port=0",
             f"--user-data-dir={self._folder.name}", url],
            stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        told, end = Path(self._folder.name) / "DevToolsActivePort", time.monotonic() + START_S
        page = None
        while page is None:
            if time.monotonic() > end or self._process.poll() is not None:
                self.close()
                raise SystemExit("Chromium did not start")
            time.sleep(0.1)
            if told.is_file() and (words := told.read_text().split()):
                page = self._page(int(words[0]), url)
        port, way = page
        self._link = socket.create_connection(("127.0.0.1", port), timeout=ANSWER_S)
        key = base64.b64encode(os.urandom(16)).decode()
        self._link.sendall((f"GET {way} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\n"
                            f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n"
                            ).encode())
        self._came = self._link.makefile("rb")
        while self._came.readline().strip():
            pass
        self._number = 0

    @staticmethod
    def _page(port: int, url: str) -> tuple[int, str] | None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER_S)
        connection.request("GET", "/json")
        for target in json.loads(connection.getresponse().read()):
            if target.get("type") == "page" and target.get("url") == url:
                match = re.match(r"ws://[^/]+(/.*)", target["webSocketDebuggerUrl"])
                return (port, match[1]) if match else None
        return None

    def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        """The answer to a command of the debugging protocol."""
        self._number += 1
        text = json.dumps({"id": self._number, "method": method, "params": parameters}).encode()
        size = struct.pack("!BB", 0x81, 0x80 | len(text)) if len(text) < 126 else struct.pack(
            "!BBH", 0x81, 0x80 | 126, len(text))
        self._link.sendall(size + b"\0\0\0\0" + text)       # masked by zeros, as clients have to
        whole = b""
        while True:
            first, length = self._came.read(2)
            if length & 127 >= 126:
                (length,) = struct.unpack("!H" if length == 126 else "!Q", self._came.read(2 if length == 126 else 8))
            whole += self._came.read(length)
            if first & 0x80:
                answer = json.loads(whole)
                whole = b""
                if answer.get("id") == self._number:
                    return dict(answer["result"])

    def value(self, expression: str) -> Any:
        """What an expression is on the page."""
        return self.ask("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    def picture(self, path: Path) -> None:
        """Write what the page looks like as PNG."""
        path.write_bytes(base64.b64decode(self.ask("Page.captureScreenshot", format="png")["data"]))

    def close(self) -> None:
        """End the browser."""
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._folder.cleanup()

    def __enter__(self) -> "Browser":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("picture", type=Path)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--width", type=int, default=1280)
    parser.add_argument("--height", type=int, default=800)
    asked = parser.parse_args()
    with Browser(asked.url, asked.width, asked.height) as browser:
        time.sleep(1)
        shown, began = browser.value("window.shown()"), time.monotonic()
        time.sleep(asked.seconds)
        events = (browser.value("window.shown()") - shown) / (time.monotonic() - began)
        browser.picture(asked.picture)
    print(f"{asked.picture}: {events:.1f} updates/s")


if __name__ == "__main__":
    main()
