"""Frames of a file at its own rate, and of a camera or frame grabber."""

import threading
import time

import cv2
import numpy as np

from ..errors import InputError, SpeckleRecError
from ..io.grey import grey
from ..scan import Scan
from .frames import Inbox, LiveFrame

READ = 16       # frames of a file at a time


class Replay:
    """A scan as if it came from its machine: its frames at their times.

    Parameters
    ----------
    scan : the scan.   inbox : where frames go; none is lost, since a file can wait.   speed : times as fast.
    """

    def __init__(self, scan: Scan, inbox: Inbox, speed: float = 1.0):
        self.scan, self.inbox, self.speed = scan.filled(), inbox, speed
        self.error: SpeckleRecError | None = None
        n = scan.n_frames
        self.times_s = np.arange(n) / scan.frame_rate_hz if scan.timestamps_s is None else scan.timestamps_s

    def start(self) -> None:
        """Begin to play."""
        threading.Thread(target=self._play, daemon=True, name="replay").start()

    def close(self) -> None:
        """Nothing to let go of: the inbox ends the play."""

    def _play(self) -> None:
        began = time.monotonic()
        try:
            for start in range(0, self.scan.n_frames, READ):
                for k, image in enumerate(self.scan.frames(start, start + READ), start):
                    due = began + (self.times_s[k] - self.times_s[0]) / self.speed
                    while (left := due - time.monotonic()) > 0 and not self.inbox.ended:
                        time.sleep(min(left, 0.05))
                    if self.inbox.ended:
                        return
                    self.inbox.put(LiveFrame(image, float(self.times_s[k])), wait=True)
        except SpeckleRecError as error:
            self.error = error
        except Exception as error:      # told by who waits for frames
            self.error = SpeckleRecError(f"{self.scan.name}: {type(error).__name__}: {error}")
        finally:
            self.inbox.end()


class Camera:
    """A camera or frame grabber that OpenCV knows by a number.

    Raises
    ------
    InputError
        If there is none of that number.
    """

    def __init__(self, number: int, inbox: Inbox):
        self.number, self.inbox = number, inbox
        self.error: SpeckleRecError | None = None
        self._capture = cv2.VideoCapture(number)
        if not self._capture.isOpened():
            raise InputError(f"--camera {number}: expected a camera or frame grabber of that number, found none that "
                             "opens; on Linux number N is /dev/videoN")
        self._capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)       # the newest picture, not one that waited

    def start(self) -> None:
        """Begin to take pictures."""
        threading.Thread(target=self._grab, daemon=True, name="camera").start()

    def close(self) -> None:
        """Let go of the camera once no more pictures are wanted."""
        self.inbox.end()

    def _grab(self) -> None:
        try:
            while not self.inbox.ended:
                good, picture = self._capture.read()
                if not good:
                    break
                if picture.ndim == 3 and picture.shape[2] == 3:
                    picture = picture[..., ::-1]        # OpenCV has blue first
                self.inbox.put(LiveFrame(grey(picture, f"--camera {self.number}"), time.time()))
        except SpeckleRecError as error:
            self.error = error
        finally:
            self._capture.release()
            self.inbox.end()
