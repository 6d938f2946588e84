"""What the page shows of a session, as numbers: written by the session, read by whoever looks."""

import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..geometry import translation
from ..probe.field import ProbeGeometry
from .estimator import Estimator
from .frames import LiveFrame

Array = NDArray[np.float64]

WAITING, SCANNING, ESTIMATING, DONE, FAILED = "waiting", "scanning", "estimating", "done", "failed"


class Board:
    """The state of a session.

    Attributes
    ----------
    version : grows with every change.   frame : the last one.
    """

    def __init__(self) -> None:
        self.version = 0
        self.frame: LiveFrame | None = None
        self._values: dict[str, Any] = {"phase": WAITING, "note": ""}
        self._settled: list[list[float]] = []
        self._tail: list[list[float]] = []
        self._plane: list[list[float]] = []
        self._outline: Array | None = None
        self._middle: Array = np.array([0, 0, 0, 1.0])
        self._changed = threading.Condition()

    def update(self, frame: LiveFrame | None = None, **values: Any) -> None:
        """Set values by name, and the last frame."""
        with self._changed:
            self._values.update(values)
            if frame is not None:
                self.frame = frame
                if self._values["phase"] == WAITING:
                    self._values["phase"] = SCANNING
            self.version += 1
            self._changed.notify_all()

    def begin(self, estimator: Estimator) -> None:
        """Know the field of view."""
        geometry = estimator.geometry
        assert geometry is not None
        outline = geometry.outline(8)[:-1]
        self._outline = np.concatenate([outline, np.zeros((len(outline), 1)), np.ones((len(outline), 1))], 1)
        self._middle = _middle_of(geometry)

    def path(self, estimator: Estimator) -> None:
        """The way of the middle of the field so far, and where the field is now."""
        track = estimator.track
        tail = estimator.in_image(track.recent)
        stand = estimator.in_image(np.reshape(track.settled[len(self._settled):], (-1, 4, 4)))
        with self._changed:
            self._settled += _points(stand @ self._middle)
            self._tail = _points(tail @ self._middle)
            if self._outline is not None:
                self._plane = _points(self._outline @ tail[-1].T)

    def wait(self, version: int, timeout_s: float) -> int:
        """The version now, once it is another, or after a time."""
        with self._changed:
            if self.version == version:
                self._changed.wait(timeout_s)
            return self.version

    def view(self, known: int) -> dict[str, Any]:
        """All values; of the path that stands, the points from `known` on."""
        with self._changed:
            return {**self._values, "from": known, "path": self._settled[known:], "tail": self._tail,
                    "plane": self._plane}


def _middle_of(geometry: ProbeGeometry) -> Array:
    x, y = geometry.face_mm
    return np.asarray(translation(np.array([x, y + float(np.mean(geometry.depth_mm)), 0])) @ [0, 0, 0, 1.0])


def _points(points: Array) -> list[list[float]]:
    return [[round(float(v), 2) for v in p[:3]] for p in points]
