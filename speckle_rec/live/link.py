"""The OpenIGTLink side of a session: whoever sends frames, and whoever hears poses and the growing volume.

Each connection has a thread that reads and one that writes. What is to be sent waits in a short queue of each listener,
where the oldest pose gives way: who does not listen costs neither memory nor time of the others.
"""

import socket
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..io.hdf5 import one_line
from .frames import Inbox, LiveFrame
from .growing import Snapshot
from .wire import Malformed, Received, pose_bytes, receive, volume_bytes

MOST_PEERS = 16
POSES_WAITING = 256         # of a listener: ten seconds of them
RETRY_S = 0.5               # before a server that hung up is called again

Told = Callable[[str], None]


class Peer:
    """One connection.

    Attributes
    ----------
    dropped : messages that gave way to newer ones.
    """

    def __init__(self, link: socket.socket, name: str):
        self.link, self.name = link, name
        self.dropped = 0
        self._poses: deque[bytes] = deque()
        self._volume: bytes | None = None
        self._changed = threading.Condition()
        self._closed = False
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=self._write, daemon=True, name=f"to {name}").start()

    def send(self, packed: bytes, volume: bool = False) -> None:
        """Leave a message to be sent: a pose behind the others, a volume instead of the last."""
        with self._changed:
            if volume:
                self.dropped += self._volume is not None
                self._volume = packed
            else:
                if len(self._poses) >= POSES_WAITING:
                    self._poses.popleft()
                    self.dropped += 1
                self._poses.append(packed)
            self._changed.notify()

    def close(self) -> None:
        """Hang up."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        with suppress(OSError):
            self.link.shutdown(socket.SHUT_RDWR)
        self.link.close()

    def drained(self) -> bool:
        """Whether nothing waits to be sent."""
        return not self._poses and self._volume is None

    def _write(self) -> None:
        while True:
            with self._changed:
                while not (self._closed or self._poses or self._volume is not None):
                    self._changed.wait()
                if self._closed:
                    return
                if self._poses:
                    packed = self._poses.popleft()
                else:
                    packed, self._volume = self._volume or b"", None
            try:
                self.link.sendall(packed)
            except OSError:
                self.close()        # the reader hears of it, and says so
                return


class Link:
    """All connections of a session.

    Parameters
    ----------
    inbox : where frames go.   say : is told what a user should know, a line each.
    image : name of the images that are frames; None for those of the first name that comes.

    Attributes
    ----------
    port : that is listened on.   frames_from : the name of the connection that frames come from.
    """

    def __init__(self, inbox: Inbox, say: Told, image: str | None = None):
        self.inbox, self.say, self.image = inbox, say, image
        self.port: int | None = None
        self.frames_from: str | None = None
        self.dropped = 0
        self._device = image
        self._peers: list[Peer] = []
        self._lock = threading.Lock()
        self._server: socket.socket | None = None
        self._ended = threading.Event()
        self._told: set[str] = set()

    def listen(self, host: str, port: int) -> None:
        """Take connections; port 0 is one that is free.

        Raises
        ------
        InputError
            If nothing can listen there.
        """
        try:
            self._server = socket.create_server((host, port), backlog=MOST_PEERS)
        except (OSError, OverflowError) as error:
            raise InputError(f"--port {port}: cannot listen on {host} ({getattr(error, 'strerror', None) or error}); "
                             "is another live, PLUS or 3D Slicer there? --port 0 takes a free one") from error
        self.port = int(self._server.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True, name="listen").start()

    def call(self, host: str, port: int) -> None:
        """Connect to a server of frames, and again whenever it hangs up."""
        threading.Thread(target=self._call, args=(host, port), daemon=True, name="call").start()

    def send(self, packed: bytes, volume: bool = False) -> None:
        """Send a message to everyone."""
        with self._lock:
            peers = list(self._peers)
        for peer in peers:
            peer.send(packed, volume)

    @property
    def n_peers(self) -> int:
        """Connections that are there."""
        return len(self._peers)

    @property
    def drained(self) -> bool:
        """Whether nothing waits to be sent."""
        with self._lock:
            return all(peer.drained() for peer in self._peers)

    @property
    def unsent(self) -> int:
        """Messages that gave way to newer ones, of all connections."""
        with self._lock:
            return self.dropped + sum(peer.dropped for peer in self._peers)

    def close(self) -> None:
        """Hang up on everyone."""
        self._ended.set()
        if self._server is not None:
            with suppress(OSError):
                self._server.shutdown(socket.SHUT_RDWR)
            self._server.close()
        with self._lock:
            peers = list(self._peers)
        for peer in peers:
            peer.close()

    def _accept(self) -> None:
        assert self._server is not None
        while not self._ended.is_set():
            try:
                link, address = self._server.accept()
            except OSError:
                if self._ended.wait(0.05):
                    return
                continue
            if self.n_peers >= MOST_PEERS:
                self._once(f"more than {MOST_PEERS} connections: further ones are refused")
                link.close()
                continue
            threading.Thread(target=self._read, args=(link, f"{address[0]}:{address[1]}"), daemon=True).start()

    def _call(self, host: str, port: int) -> None:
        there = True
        while not self._ended.is_set():
            try:
                link = socket.create_connection((host, port), timeout=5)
            except OSError as error:
                if there:
                    self.say(f"{host}:{port}: no answer yet ({one_line(error, 60)}); trying again")
                there = False
            else:
                link.settimeout(None)
                self._read(link, f"{host}:{port}")
                there = True
            self._ended.wait(RETRY_S)

    def _read(self, link: socket.socket, name: str) -> None:
        """Read a connection to its end."""
        peer = Peer(link, name)
        with self._lock:
            self._peers.append(peer)
        self.say(f"{name}: connected")
        why = "hung up"
        try:
            while not self._ended.is_set():
                try:
                    message = receive(link, self._is_frame)
                except Malformed as error:
                    if error.lost:
                        why = f"hung up on: {error}"
                        break
                    self._once(f"{name}: {error}")
                    continue
                if message is None:
                    break
                self._take(message, peer)
        except OSError as error:
            why = f"connection lost ({one_line(error, 60)})"
        except Exception as error:      # one connection is not the session
            why = f"hung up on: {type(error).__name__}: {one_line(error, 80)}"
        finally:
            peer.close()
            with self._lock:
                self._peers.remove(peer)
                self.dropped += peer.dropped
                if self.frames_from == name:
                    self.frames_from = None
                    self._device = self.image
            if not self._ended.is_set():
                self.say(f"{name}: {why}")

    def _is_frame(self, name: str) -> bool:
        return self._device is None or self._device == name

    def _take(self, message: Received, peer: Peer) -> None:
        """Take the frame of a message, if it comes from whom frames come."""
        if message.frame is None:
            if message.kind == "IMAGE":
                self._once(f"{peer.name}: images '{message.name}' are not taken: frames are '{self._device}'"
                           + ("" if self.image else "; --image chooses"))
            return
        with self._lock:
            if self.frames_from is None:
                self.frames_from, self._device = peer.name, message.name
                self.say(f"{peer.name}: frames are its images '{message.name}'")
            first = self.frames_from == peer.name
        if first:
            self.inbox.put(message.frame)
        else:
            self._once(f"{peer.name}: its images are not taken while frames come from {self.frames_from}")

    def _once(self, text: str) -> None:
        if text not in self._told:
            if len(self._told) < 100:
                self._told.add(text)
            self.say(text)


class OverLink:
    """Listeners of a session: everyone who is connected."""

    def __init__(self, link: Link):
        self.link = link

    def pose(self, T: NDArray[np.float64], frame: LiveFrame) -> None:
        """Send a TRANSFORM with the frame's time stamp."""
        if self.link.n_peers:
            self.link.send(pose_bytes(T, frame))

    def volume(self, volume: Snapshot, frame: LiveFrame) -> None:
        """Send an IMAGE of the volume so far."""
        if self.link.n_peers:
            self.link.send(volume_bytes(volume, frame), volume=True)
