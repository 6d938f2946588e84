"""A frame on its way, and the bounded place where frames wait."""

import threading
import time
from collections import deque
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

WAITING_FRAMES = 64
WAITING_BYTES = 1 << 27


@dataclass(frozen=True)
class LiveFrame:
    """A frame as it came.

    Attributes
    ----------
    image : uint8 [rows, columns].   time_s : when it was taken, by the clock of who sent it.
    stamp : the same as OpenIGTLink's eight bytes, where it came so: they leave again as they are.
    pixel_mm : width and height of a pixel, where the message told one.
    arrived_s : by `time.monotonic`, for latencies.
    """

    image: NDArray[np.uint8]
    time_s: float
    stamp: bytes | None = None
    pixel_mm: tuple[float, float] | None = None
    arrived_s: float = field(default_factory=time.monotonic)


class Inbox:
    """Frames that wait to be handled: at most `WAITING_FRAMES`, or `WAITING_BYTES` of them; more are lost and counted.

    Attributes
    ----------
    lost : frames that found no room.   ended : whether no more will come.
    """

    def __init__(self) -> None:
        self._frames: deque[LiveFrame] = deque()
        self._bytes = 0
        self._changed = threading.Condition()
        self.lost = 0
        self.ended = False

    def put(self, frame: LiveFrame, wait: bool = False) -> None:
        """Leave a frame; with `wait`, for sources that can, until there is room."""
        with self._changed:
            while wait and self._full(frame) and not self.ended:
                self._changed.wait(0.1)
            if self._full(frame) or self.ended:
                self.lost += not self.ended
                return
            self._frames.append(frame)
            self._bytes += frame.image.nbytes
            self._changed.notify_all()

    def take(self, timeout_s: float) -> LiveFrame | None:
        """The frame that has waited longest; None if none comes."""
        with self._changed:
            if not self._frames and not self.ended:
                self._changed.wait(timeout_s)
            if not self._frames:
                return None
            frame = self._frames.popleft()
            self._bytes -= frame.image.nbytes
            self._changed.notify_all()
            return frame

    def end(self) -> None:
        """No more frames: what waits is still to be taken, what comes later is not."""
        with self._changed:
            self.ended = True
            self._changed.notify_all()

    def __len__(self) -> int:
        return len(self._frames)

    def _full(self, frame: LiveFrame) -> bool:
        return len(self._frames) >= WAITING_FRAMES or \
            (bool(self._frames) and self._bytes + frame.image.nbytes > WAITING_BYTES)
