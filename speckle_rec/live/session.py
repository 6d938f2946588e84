"""A session: each frame is written down, placed, and told to whoever listens, until no more come.

One thread does the work, since one core has to do; frames wait for it in the inbox. Frames that have waited too long
are written down like the others, so that the full estimate has them, but get no pose while the probe moves: every
second one is dropped and counted, and if that is not enough, all of them until the newest is reached.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..config import Config
from ..errors import InputError, SpeckleRecError
from ..io import calib as calib_files
from ..io import pixels
from ..io.calib import ImageCalibration
from ..io.hdf5 import one_line
from ..io.source import ArrayFrames
from ..speckle.calibration import Calibration
from . import meters
from .estimator import WARM, Estimator, Placed
from .frames import Inbox, LiveFrame
from .growing import GrowingVolume, Snapshot
from .recorder import Recorder
from .state import Board
from .track import twists

Array = NDArray[np.float64]

HURRY_S, LATE_S = 0.08, 0.3     # that a frame has waited, from which every second one, and every one, is dropped
VOLUME_S = 1.0          # between volumes


class Listeners(Protocol):
    """Who hears poses and volumes; `link.Link` is one, by `wire`."""

    def pose(self, T: Array, frame: LiveFrame) -> None: ...
    def volume(self, volume: Snapshot, frame: LiveFrame) -> None: ...


class Nobody:
    """Listeners of a session without a link."""

    def pose(self, T: Array, frame: LiveFrame) -> None:
        """Hear of a frame's pose."""

    def volume(self, volume: Snapshot, frame: LiveFrame) -> None:
        """Hear of the volume so far."""


@dataclass(frozen=True)
class Wanted:
    """What a session is asked for.

    Attributes
    ----------
    recording : file that frames are written to.   idle_s : without a frame, after which the session ends.
    calibration : of the machine's speckle, None for the default.   config : of the estimate.
    pixel_mm, calib : what the user says of the pixels: their size, or a file.   image_calibration : what a scan that is
        replayed says.
    """

    recording: Path
    idle_s: float = 5.0
    calibration: Calibration | None = None
    config: Config = field(default_factory=Config)
    pixel_mm: tuple[float, float] | None = None
    calib: Path | None = None
    image_calibration: ImageCalibration | None = None


@dataclass
class Counts:
    """Frames of a session.

    Attributes
    ----------
    came : frames taken from the inbox.   kept : those that were written down.   placed : those that got a pose.
    dropped : kept ones that came too fast to be placed.   refused : of another size.
    latency_s : from arrival to pose, of each placed one.
    """

    came: int = 0
    kept: int = 0
    placed: int = 0
    dropped: int = 0
    refused: int = 0
    latency_s: list[float] = field(default_factory=list)

    def told(self, lost: int) -> dict[str, Any]:
        """Figures of a session, by name."""
        out: dict[str, Any] = {"frames": self.kept, "placed": self.placed, "dropped": self.dropped,
                               "refused": self.refused, "lost": lost}
        if self.latency_s:
            median, most, worst = np.quantile(self.latency_s, (0.5, 0.95, 1.0)) * 1000
            out |= {"latency_median_ms": round(float(median), 1), "latency_95_ms": round(float(most), 1),
                    "latency_worst_ms": round(float(worst), 1)}
        return out


class Session:
    """Handles frames until no more come.

    Parameters
    ----------
    inbox : where frames come from.   wanted : see there.   listeners : who hears poses and volumes.
    say : is told what a user should know, a line each.

    Attributes
    ----------
    counts : what became of the frames.   board : what the page shows.   recorder : of the frames; None before the
        first.
    """

    def __init__(self, inbox: Inbox, wanted: Wanted, listeners: Listeners | None = None,
                 say: Callable[[str], None] = lambda text: None):
        self.inbox, self.wanted, self.listeners, self.say = inbox, wanted, listeners or Nobody(), say
        self.counts, self.board = Counts(), Board()
        self.recorder: Recorder | None = None
        self.estimator: Estimator | None = None
        self._shape: tuple[int, ...] | None = None
        self._catching_up = self._gave_way = self._over = False
        self._awaited: dict[int, LiveFrame] = {}
        self._added = 0
        self._live: _Shown | None = None

    def stop(self) -> None:
        """End the session: what waits is still handled, no more is taken."""
        self.inbox.end()

    def run(self) -> Counts:
        """Handle frames until the source ends, the session is stopped, or none comes for `idle_s`."""
        last = time.monotonic()
        try:
            while True:
                frame = self.inbox.take(0.1)
                if frame is not None:
                    self._handle(frame)
                    last = time.monotonic()
                elif self.inbox.ended or (self.counts.came and time.monotonic() - last > self.wanted.idle_s):
                    return self.counts
        finally:
            self.inbox.end()
            if self.recorder is not None:
                self.recorder.close()

    def _handle(self, frame: LiveFrame) -> None:
        counts = self.counts
        counts.came += 1
        if self._over:      # what still waits has no place in the recording
            return
        if self.recorder is None:
            self._begin(frame)
        assert self.recorder is not None
        if frame.image.shape != self._shape:
            counts.refused += 1
            if counts.refused == 1:
                self.say(f"frames of {frame.image.shape[0]} rows x {frame.image.shape[1]} columns are left out: those "
                         f"before have {self._shape[0]} x {self._shape[1]}")     # type: ignore[index]
            return
        try:
            self.recorder.add(frame)
        except OSError as error:
            self.say(f"{self.recorder.path}: {error.strerror}: the recording ends with {counts.kept} frames")
            self._over = True
            self.inbox.end()
            return
        counts.kept += 1
        if self.recorder.full:
            self.say(f"{self.recorder.most} frames, for which the recording has room: the session ends")
            self._over = True
            self.inbox.end()
        if self._is_late(frame):
            counts.dropped += 1
        elif self.estimator is not None:
            self._place(frame)
        self.board.update(counts=counts.told(self.inbox.lost), frame=frame)

    def _is_late(self, frame: LiveFrame) -> bool:
        """Whether a frame gives way to those that wait behind it: first one at a time, which speckle can bridge."""
        waited = time.monotonic() - frame.arrived_s
        behind = len(self.inbox) > 0
        self._catching_up = behind and (self._catching_up or waited > LATE_S)
        self._gave_way = self._catching_up or (behind and waited > HURRY_S and not self._gave_way)
        return self._gave_way

    def _begin(self, frame: LiveFrame) -> None:
        """Of the first frame: the size of its pixels, a recording, an estimator."""
        wanted = self.wanted
        self._shape = frame.image.shape
        told, given = None, wanted.image_calibration
        try:
            if given is None and wanted.calib is not None:
                given = calib_files.read(wanted.calib, frame.image.shape)
            if wanted.pixel_mm is None and frame.pixel_mm is not None:
                told = pixels.of_spacing(frame.pixel_mm, "the spacing of the images")
            known = pixels.settled("live", ArrayFrames(frame.image[None], "live"), pixel_mm=wanted.pixel_mm,
                                   given=given, found=(lambda: told,))
        except InputError as error:
            self.say(f"{error}; frames are recorded, and get no poses")
            self.recorder = Recorder(wanted.recording, wanted.pixel_mm)
            return
        for warning in known.warnings:
            self.say(f"warning: {warning}")
        size = float(known.scale[0, 0]), float(known.scale[1, 1])
        self.recorder = Recorder(wanted.recording, size if given or told or wanted.pixel_mm else None)
        self.estimator = Estimator(known.scale, wanted.calibration, wanted.config)

    def _place(self, frame: LiveFrame) -> None:
        assert self.estimator is not None
        self._awaited[self._added] = frame
        self._added += 1
        try:
            placed = self.estimator.add(frame.image)
            self._tell(placed)
            if placed and self._live is not None:
                self._live.each_second(frame, self.listeners)
        except Exception as error:      # the recording goes on, whatever the estimate meets
            told = str(error) if isinstance(error, SpeckleRecError) else f"{type(error).__name__}: {one_line(error)}"
            self.say(f"no live poses from frame {self.counts.kept - 1} on ({told}); frames are recorded")
            self.estimator = None

    def _tell(self, placed: list[Placed]) -> None:
        assert self.estimator is not None
        for one in placed:
            if not np.isfinite(one.T).all():
                raise FloatingPointError("a pose that is not finite")
            frame = self._awaited.pop(one.index)
            self.listeners.pose(one.T, frame)
            self.counts.placed += 1
            self.counts.latency_s.append(time.monotonic() - frame.arrived_s)
            if self._live is None:
                self._live = _Shown(self.estimator, self.board)
            self._live.show(one, frame)


class _Shown:
    """What is shown of a session beside its poses: the growing volume and the meters."""

    def __init__(self, estimator: Estimator, board: Board):
        assert estimator.geometry is not None
        self.estimator, self.board = estimator, board
        self.volume = GrowingVolume(estimator.geometry)
        self.speedometer = meters.Speedometer()
        self.seen_again = meters.SeenAgain(estimator.working)
        self._thumbnails: list[NDArray[np.uint8]] = []      # of frames that are not pasted yet
        self._pasted = self._n = 0
        self._next = time.monotonic() + VOLUME_S
        self._seen_s = self._turned_s = -np.inf
        self._turns = 0
        board.begin(estimator)

    def show(self, placed: Placed, frame: LiveFrame) -> None:
        """Show a frame that was placed."""
        told: dict[str, Any] = {}
        if not placed.repeated:
            self._thumbnails.append(self.volume.thumbnail(frame.image))
            k, self._n = self._n, self._n + 1
            # While the first frames are placed together, the estimator's image is that of the last.
            before = self.seen_again(k, self.estimator.frame) if k >= WARM else None
            if before is not None:
                self._seen_s = frame.time_s
                told["seen_frame"] = before
        lately = meters.LATELY_S
        self.board.update(
            **self.speedometer(frame.time_s, placed), **told, contact=meters.contact_of(placed),
            seen_again=self.seen_again.count, seen_lately=frame.time_s - self._seen_s < lately,
            turned_lately=frame.time_s - self._turned_s < lately)
        self.board.path(self.estimator)

    def each_second(self, frame: LiveFrame, listeners: Listeners) -> None:
        """The growing volume and the turns back, if a second has passed."""
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + VOLUME_S
        track = self.estimator.track
        stand = len(track.settled) - self._pasted
        self.volume.paste(self._thumbnails[:stand],
                          self.estimator.in_image(np.reshape(track.settled[self._pasted:], (-1, 4, 4))))
        del self._thumbnails[:stand]
        self._pasted += stand
        snapshot = self.volume.snapshot(self._thumbnails, self.estimator.in_image(track.recent))
        assert self.estimator.geometry is not None
        turns = len(meters.turns_back(twists(track), self.estimator.geometry))
        if turns > self._turns:
            self._turned_s = frame.time_s
        self._turns = turns
        self.board.update(turned_back=turns, seen_ml=round(snapshot.seen_ml, 1), covered=round(snapshot.covered, 3))
        listeners.volume(snapshot, frame)
