"""The link and the page of `live`: pyigtl at both ends on loopback, clients that misbehave, a browser."""

import http.client
import json
import re
import shutil
import socket
import struct
import threading
import time

import numpy as np
import pytest
import scenes

from speckle_rec.cli import main
from speckle_rec.live import link as links
from speckle_rec.live import wire
from speckle_rec.live.estimator import WARM
from speckle_rec.live.frames import Inbox, LiveFrame
from speckle_rec.live.growing import Snapshot
from speckle_rec.live.link import Link, OverLink
from speckle_rec.live.page import Page
from speckle_rec.live.session import Session, Wanted
from speckle_rec.scan import Scan

pyigtl = pytest.importorskip("pyigtl", reason="NOT RUN: pyigtl is not installed (extra [live])")

SECONDS = 60.0
MATRIX = np.diag([*np.diag(scenes.SCALE)[:2], 1, 1])
MATRIX[:3, 3] = 3, 4, 5         # where the image lies is nobody's business


def until(condition, seconds=SECONDS):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.01)


@pytest.fixture(scope="module")
def fan():
    """Frames of a probe that is tilted."""
    return np.stack([scenes.frame((0, 0, 0, 0.005 * k, 0, 0), seed=k) for k in range(24)])


class Running:
    """A session with a link, on a thread."""

    def __init__(self, path, image=None, **wanted):
        self.inbox, self.said = Inbox(), []
        self.link = Link(self.inbox, self.said.append, image)
        self.session = Session(self.inbox, Wanted(path, **wanted), OverLink(self.link), self.said.append)
        self._thread = threading.Thread(target=self.session.run)

    def __enter__(self):
        self.link.listen("127.0.0.1", 0)
        self._thread.start()
        return self

    def __exit__(self, *_):
        self.session.stop()
        self._thread.join(SECONDS)
        self.link.close()
        assert not self._thread.is_alive()

    @property
    def counts(self):
        return self.session.counts


@pytest.fixture
def running(tmp_path):
    """Starts sessions that record to `tmp_path`."""
    def start(**wanted):
        return Running(tmp_path / "a.igs.mha", **{"idle_s": SECONDS, **wanted})
    return start


class Client:
    """A client of pyigtl that keeps every message it hears: its own keeps the last of each name."""

    def __init__(self, port):
        self.heard = []
        self._client = pyigtl.OpenIGTLinkClient("127.0.0.1", port)
        received = self._client._receive_message_from_socket

        def keep(link):
            came = received(link)
            if came:
                self.heard += self._client.get_latest_messages()
            return came

        self._client._receive_message_from_socket = keep
        until(self._client.is_connected)

    def send(self, image, time_s, name="Image_Reference", matrix=MATRIX):
        self._client.send_message(pyigtl.ImageMessage(image, matrix, timestamp=time_s, device_name=name))

    def of(self, kind):
        return [m for m in list(self.heard) if m.message_type == kind]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._client.stop()
        self._client.socket.close()


def packed(image, time_s=1.0, name="Image", matrix=MATRIX):
    return pyigtl.ImageMessage(image, matrix, timestamp=time_s, device_name=name).pack()


def test_images_go_in_and_poses_come_out(running, fan, tmp_path):
    with running() as run, Client(run.link.port) as client:
        for k, image in enumerate(fan):
            client.send(image[None], 1e9 + k / 20)
            time.sleep(0.05)
        until(lambda: run.counts.placed + run.counts.dropped == len(fan))
        until(lambda: len(client.of("TRANSFORM")) == run.counts.placed)
        poses = client.of("TRANSFORM")
        until(lambda: client.of("IMAGE") or (not time.sleep(0.2) and client.send(fan[-1][None] // 2, 1e9 + 99)))
    assert {m.device_name for m in poses} == {wire.POSE} and run.counts.placed > WARM
    times = [m.timestamp for m in poses]
    assert times == sorted(times) and set(np.round(times, 4)) <= set(np.round(1e9 + np.arange(len(fan)) / 20, 4))
    np.testing.assert_allclose(poses[0].matrix, np.eye(4), atol=1e-6)
    far = np.array([poses[-1].matrix @ [35, 50, 0, 1]])[0]
    moved = 0.005 * round((times[-1] - 1e9) * 20) * 48
    close = abs(far[2]) == pytest.approx(moved, rel=0.5)
    # What a busy machine leaves out is guessed at; otherwise the motion is given back.
    assert close or (run.counts.dropped and 0.1 * moved < abs(far[2]) < 2 * moved), (far, run.counts)
    volume = client.of("IMAGE")[0]
    assert volume.device_name == wire.VOLUME and volume.image.dtype == np.uint8 and volume.image.any()
    np.testing.assert_allclose(np.diag(volume.ijk_to_world_matrix)[:3], 1, atol=1e-6)
    scan = Scan.open(tmp_path / "a.igs.mha")
    np.testing.assert_array_equal(scan.frames(0, len(fan)), fan)
    np.testing.assert_allclose(np.diag(scan.scale)[:2], np.diag(scenes.SCALE)[:2], rtol=1e-6)
    np.testing.assert_allclose(scan.timestamps_s[:len(fan)], 1e9 + np.arange(len(fan)) / 20, atol=1e-5)


def test_the_time_stamp_comes_back_as_it_was(running, fan):
    """All 64 bits, which a float of seconds would round."""
    stamps = [bytes([0x65, 0x43, 0x21, k, 0x9A, 0xBC, 0xDE, 0xF1 + k]) for k in range(WARM)]
    with running() as run, socket.create_connection(("127.0.0.1", run.link.port)) as plain:
        for stamp, image in zip(stamps, fan, strict=False):
            message = packed(image[None])
            plain.sendall(message[:34] + stamp + message[42:])
        plain.settimeout(SECONDS)
        came = b""
        while len(came) < WARM * 106:
            came += plain.recv(4096)
    assert [came[106 * k + 34:106 * k + 42] for k in range(WARM)] == stamps


def test_an_array_of_two_axes_and_colours_are_frames_too(running, fan, tmp_path):
    with running(pixel_mm=(0.23, 0.22)) as run, Client(run.link.port) as client:
        client.send(fan[0], 1.0, matrix=None)
        client.send(np.repeat(fan[1][None, ..., None], 3, axis=3), 2.0, matrix=None)
        client.send(fan[2][None, ..., None], 3.0, matrix=None)
        until(lambda: run.counts.kept == 3)
    np.testing.assert_array_equal(Scan.open(tmp_path / "a.igs.mha").frames(), fan[:3])


def test_a_client_that_hangs_up_and_returns_goes_on(running, fan, tmp_path):
    with running() as run:
        for part in (fan[:12], fan[12:]):
            with Client(run.link.port) as client:
                for k, image in enumerate(part):
                    client.send(image[None], 1e9 + run.counts.kept + k)
                    time.sleep(0.03)
                until(lambda part=part: run.counts.kept in (12, 24) and len(client.of("TRANSFORM")) > 2)
            until(lambda: run.link.n_peers == 0)
    assert run.counts.kept == 24 and run.counts.placed + run.counts.dropped == 24
    assert Scan.open(tmp_path / "a.igs.mha").n_frames == 24 and run.link.frames_from is None
    assert sum("hung up" in text for text in run.said) == 2


def test_two_clients_hear_the_same_and_one_sends(running, fan):
    with running() as run, Client(run.link.port) as sender, Client(run.link.port) as listener:
        until(lambda: run.link.n_peers == 2)
        for k, image in enumerate(fan):
            sender.send(image[None], 1e9 + k)
            if k == 3:
                until(lambda: run.counts.kept == 4)
                listener.send(fan[0][None], 5.0)        # a second sender: told, not taken
            time.sleep(0.03)
        until(lambda: run.counts.placed + run.counts.dropped == len(fan))
        for client in (sender, listener):
            until(lambda client=client: len(client.of("TRANSFORM")) == run.counts.placed)
        pairs = zip(sender.of("TRANSFORM"), listener.of("TRANSFORM"), strict=True)
        assert all(a.timestamp == b.timestamp and (a.matrix == b.matrix).all() for a, b in pairs)
    assert run.counts.kept == len(fan)
    assert sum("its images are not taken while frames come from" in text for text in run.said) == 1


def header(kind=b"IMAGE", name=b"Image", size=10, version=1, crc=0):
    return struct.pack(">H12s20s8sQQ", version, kind, name, b"\0" * 8, size, crc)


IMAGE = packed(np.zeros((1, 40, 40), np.uint8))


def with_body(change):
    """An image whose body is changed, with a checksum that fits."""
    body = bytearray(IMAGE[58:])
    change(body)
    return header(size=len(body), crc=pyigtl.messages.CRC64(bytes(body))) + bytes(body)


def no_scalar(body):
    body[3] = 99


def part_of_an_image(body):
    body[60] = 1


def many_slices(body):
    body[10:12] = struct.pack(">H", 40)


def nothing_left(body):
    del body[20:]


def floats(body):
    body[3] = 10


def of_no_width(body):
    body[6:8] = body[66:68] = b"\0\0"


def infinite_matrix(body):
    body[12:60] = struct.pack(">12f", *[np.nan] * 12)


LOST = {        # where the next message begins nobody knows: the connection ends
    "garbage": bytes(range(256)) * 4, "text": b"GET / HTTP/1.1\r\nHost: here\r\n" + b"\r\n" * 40,
    "zeros": bytes(400), "a size beyond all": header(size=1 << 60), "a size of all bits": header(size=(1 << 64) - 1),
    "a version of none": header(version=0xFFFF), "a name that is no text": header(name=b"\xff\xfe\x01"),
    "a type of none": header(kind=b"")}
LEFT_OUT = {    # the message ends where it says: the next one is taken
    "a wrong checksum": IMAGE[:50] + b"\1" * 8 + IMAGE[58:], "no body": header(size=0),
    "a short body": header() + b"x" * 10,
    "a pixel of no kind": with_body(no_scalar), "a part of an image": with_body(part_of_an_image),
    "slices that are not there": with_body(many_slices), "half a header": with_body(nothing_left),
    "pixels of floats": with_body(floats), "an image of no width": with_body(of_no_width),
    "an extended header that is none": header(version=2, size=4) + b"\xff" * 4,
    "another type": header(b"NONSENSE", size=500) + b"y" * 500, "a status": header(b"STATUS", size=30) + b"z" * 30,
    "a tiny image": packed(np.zeros((1, 3, 3), np.uint8)), "a volume": packed(np.zeros((9, 20, 20), np.uint8)),
    "sixteen bits": packed(np.zeros((1, 20, 20), np.uint16))}
SILENT = {"another type", "a status"}


@pytest.mark.parametrize("what", [*LOST, *LEFT_OUT])
def test_a_malformed_message_is_told_in_a_line_and_does_not_end_the_session(running, fan, what):
    with running(pixel_mm=(0.23, 0.22)) as run:
        with socket.create_connection(("127.0.0.1", run.link.port)) as bad:
            bad.sendall((LOST | LEFT_OUT)[what])
            if what in LEFT_OUT:
                bad.sendall(packed(fan[0][None]))
                until(lambda: run.counts.kept == 1)
            else:
                bad.settimeout(SECONDS)
                try:
                    assert bad.recv(1) == b""
                except ConnectionResetError:
                    pass
        until(lambda: run.link.n_peers == 0)
        with Client(run.link.port) as good:
            good.send(fan[1][None], 2.0)
            until(lambda: run.counts.kept == (2 if what in LEFT_OUT else 1))
    told = [text for text in run.said if "left out" in text or "hung up on" in text]
    assert len(told) == (what not in SILENT) and not any("\n" in text for text in run.said)


def test_a_matrix_that_is_none_tells_no_pixel_size(running, fan):
    with running(pixel_mm=(0.23, 0.22)) as run, socket.create_connection(("127.0.0.1", run.link.port)) as plain:
        plain.sendall(with_body(infinite_matrix))
        until(lambda: run.counts.kept == 1)


@pytest.mark.parametrize("cut", [1, 57, 58, 59, 200, len(IMAGE) - 1])
def test_a_message_that_is_cut_off_ends_its_connection_alone(running, fan, cut):
    with running() as run:
        with socket.create_connection(("127.0.0.1", run.link.port)) as bad:
            bad.sendall(IMAGE[:cut])
        until(lambda: run.link.n_peers == 0 and any("hung up" in text for text in run.said))
        with Client(run.link.port) as good:
            good.send(fan[0][None], 2.0)
            until(lambda: run.counts.kept == 1)


def test_a_connection_that_goes_to_sleep_within_a_message_does_not_stop_the_others(running, fan):
    with running() as run, socket.create_connection(("127.0.0.1", run.link.port)) as slow:
        slow.sendall(IMAGE[:100])
        with Client(run.link.port) as good:
            good.send(fan[0][None], 2.0)
            until(lambda: run.counts.kept == 1)


def test_a_listener_that_does_not_listen_costs_no_memory_and_no_time():
    said = []
    link = Link(Inbox(), said.append)
    link.listen("127.0.0.1", 0)
    deaf = socket.create_connection(("127.0.0.1", link.port))
    until(lambda: link.n_peers == 1)
    frame = LiveFrame(np.zeros((16, 16), np.uint8), 1e9)
    volume = Snapshot(np.zeros((128, 256, 256), np.uint8), np.zeros(3), 1.0, 1.0, 1.0)
    over, began = OverLink(link), time.monotonic()
    for _ in range(3):
        over.volume(volume, frame)
        time.sleep(0.1)
    for k in range(2000):
        over.pose(se3_z(k), frame)
    assert time.monotonic() - began < SECONDS / 2
    peer = link._peers[0]
    assert len(peer._poses) <= links.POSES_WAITING and link.unsent >= 2000 - links.POSES_WAITING
    deaf.close()
    until(lambda: link.n_peers == 0)
    assert link.unsent >= 2000 - links.POSES_WAITING
    link.close()


def se3_z(k):
    T = np.eye(4)
    T[2, 3] = k
    return T


def test_the_image_is_chosen_by_name(fan, tmp_path):
    with Running(tmp_path / "a.igs.mha", image="B", idle_s=SECONDS) as run, Client(run.link.port) as client:
        for name in "ABAB":
            client.send(fan[0][None], 1.0, name=name)
        until(lambda: run.counts.kept == 2)
    assert sum("images 'A' are not taken" in text for text in run.said) == 1
    with Running(tmp_path / "b.igs.mha", idle_s=SECONDS) as run, Client(run.link.port) as client:
        for name in "AABAB":
            client.send(fan[0][None], 1.0, name=name)
        until(lambda: run.counts.kept == 3 and any("--image chooses" in text for text in run.said))


def test_frames_of_a_server_that_goes_and_returns(running, fan):
    """`--connect`: the server of PLUS is on the other side."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with running() as run:
        run.link.call("127.0.0.1", port)
        until(lambda: any("no answer yet" in text for text in run.said))
        for n in (1, 2):
            server = socket.create_server(("127.0.0.1", port))
            there, _ = server.accept()
            there.sendall(packed(fan[n][None], float(n)))
            until(lambda n=n: run.counts.kept == n)
            there.close()
            server.close()


def test_a_session_ends_when_nothing_comes_any_more(running, fan):
    run = running(idle_s=0.5)
    run.link.listen("127.0.0.1", 0)
    run._thread.start()
    time.sleep(1.0)
    assert run._thread.is_alive()           # it waits for the first frame
    with Client(run.link.port) as client:
        client.send(fan[0][None], 1.0)
        run._thread.join(SECONDS)
    assert not run._thread.is_alive() and run.counts.kept == 1
    run.link.close()


def test_the_verb_takes_frames_from_a_client(tmp_path, fan, monkeypatch, capsys, fake_pipeline):
    monkeypatch.chdir(tmp_path)
    ports, listen = [], Link.listen

    def note(self, host, port):
        listen(self, host, port)
        ports.append(self.port)

    def send():
        until(lambda: bool(ports))
        with Client(ports[0]) as client:
            for k, image in enumerate(fan):
                client.send(image[None], 1e9 + k / 20)
                time.sleep(0.05)
            until(lambda: bool(client.of("TRANSFORM")))

    monkeypatch.setattr(Link, "listen", note)
    sender = threading.Thread(target=send)
    sender.start()
    assert main(["live", "--port", "0", "-o", "r", "--idle", "2", "--no-volume", "--no-progress"]) == 0
    sender.join(SECONDS)
    assert f"frames {len(fan)}" in capsys.readouterr().out and (tmp_path / "r" / "poses.h5").is_file()
    assert json.loads((tmp_path / "r" / "summary.json").read_text())["made_of"]["path"].endswith("r.igs.mha")


def test_a_port_that_is_taken_is_told(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as other:
        assert main(["live", "--port", str(other.getsockname()[1])]) == 2
        assert main(["live", "--port", "0", "--page-port", str(other.getsockname()[1])]) == 2
    err = capsys.readouterr().err
    assert "--port 0 takes a free one" in err and "--page-port" in err and err.count("\n") == 2


def test_without_the_library_it_says_how_to_get_it(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(__import__("sys").modules, "pyigtl", None)
    assert main(["live"]) == 2
    assert "speckle-rec[live]" in capsys.readouterr().err


# -- the page


@pytest.fixture
def shown(tmp_path, fan):
    """A session that was shown some frames, and its page."""
    inbox = Inbox()
    run = Session(inbox, Wanted(tmp_path / "a.igs.mha", pixel_mm=(0.23, 0.22)))
    page = Page(run)
    thread = threading.Thread(target=run.run)
    thread.start()

    def feed():
        for k in range(400):
            if inbox.ended:
                return
            inbox.put(LiveFrame(fan[min(k % 46, 45 - k % 46)], k / 20))
            time.sleep(0.05)
    feeder = threading.Thread(target=feed)
    feeder.start()
    yield run, page
    run.stop()
    feeder.join(SECONDS)
    thread.join(SECONDS)
    page.close()


def asked(page, path="/", method="GET", **headers):
    port = int(re.search(r":(\d+)/", page.url)[1])
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
    connection.request(method, path, headers=headers)
    return connection.getresponse()


def test_the_page_tells_what_is_new(shown):
    page = shown[1]
    answer = asked(page)
    text = answer.read().decode()
    assert answer.status == 200 and not re.search(r"(src|href)\s*=\s*[\"']?(https?:)?//", text)
    assert "default-src 'none'" in answer.getheader("Content-Security-Policy")
    events, path, last = asked(page, "/events"), 0, {}
    for _ in range(60):
        line = events.readline()
        assert line.startswith(b"data: ") and events.readline() == b"\n"
        view = json.loads(line[6:])
        assert view["from"] == path
        path += len(view["path"])
        last |= {name: value for name, value in view.items() if value not in ("", [])}
    assert last["phase"] == "scanning" and last["speed"] in ("ideal", "too fast", "standing still")
    assert last["contact"] == {"left": True, "right": True} and last["picture"] and len(last["plane"]) > 10
    assert 0 < last["covered"] <= 1 and last["counts"]["placed"] > 0 and len(last["tail"]) > 10
    events.close()


def test_the_page_is_for_this_machine_and_its_button_for_the_page(shown):
    run, page = shown
    assert page.url.startswith("http://127.0.0.1:")
    assert asked(page, Host="evil.example:80").status == 403 and asked(page, "/../etc/passwd").status == 404
    assert asked(page, "/stop", "POST").status == 403 and asked(page, "/stop").status == 404
    assert not run.inbox.ended
    assert asked(page, "/stop", "POST", **{"X-Speckle-Rec": "stop"}).status == 200 and run.inbox.ended


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.mark.skipif(CHROMIUM is None, reason="NOT SEEN IN A BROWSER: no chromium")
def test_a_browser_shows_the_page(shown):
    run, page = shown
    from tools.live_page import Browser
    until(lambda: run.counts.placed > 20)
    with Browser(page.url) as browser:
        until(lambda: (browser.value("window.shown && window.shown()") or 0) > 0)
        before, began = browser.value("window.shown()"), time.monotonic()
        until(lambda: browser.value("window.shown()") >= before + 40)
        assert browser.value("document.getElementById('speed').textContent") in ("ideal", "too fast", "standing still")
        assert int(browser.value("document.getElementById('frames').textContent")) > 20
        assert browser.value("document.getElementById('picture').naturalWidth") > 100
        browser.value("document.getElementById('stop').click()")
        until(lambda: run.inbox.ended)
    assert 40 / (time.monotonic() - began) > 2
