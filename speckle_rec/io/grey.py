"""Grey images of colour ones, and frames that can only be read from first to last."""

import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ..errors import InputError, SpeckleRecError
from .source import check_shape


def grey(image: NDArray[Any], what: str) -> NDArray[np.uint8]:
    """An image [rows, columns] or [rows, columns, 1, 3 (RGB) or 4 (RGBA)] as its luma (BT.601), uint8 [rows, columns].

    Raises
    ------
    InputError
        If it is none, or has more than 8 bits.
    """
    if image.dtype == bool:
        image = image.astype(np.uint8) * 255
    if image.dtype != np.uint8:
        raise InputError(f"{what}: expected 8 bits a pixel, found {image.dtype}; save the frames with 8 bits, or give "
                         "them to Scan.from_arrays as values in 0..255")
    if image.ndim == 3 and image.shape[2] in (1, 3, 4):
        if image.shape[2] == 1:
            return np.ascontiguousarray(image[..., 0])
        return np.asarray(cv2.cvtColor(np.ascontiguousarray(image[..., :3]), cv2.COLOR_RGB2GRAY), np.uint8)
    if image.ndim != 2:
        raise InputError(f"{what}: expected an image [rows, columns], grey or in colour, found {list(image.shape)}")
    return image


class UnpackedFrames:
    """Frames of a stream, unpacked once, frame by frame, to a temporary file that is gone when nothing reads it.

    Parameters
    ----------
    frames : makes the stream of uint8 [rows, columns]; a function that can be pickled.
    """

    def __init__(self, frames: Callable[[], Iterator[NDArray[np.uint8]]], what: str):
        self._frames, self._what = frames, what
        self._data: NDArray[np.uint8] | None = self._unpacked()
        self.n_frames = len(self._data)
        self.shape: tuple[int, int] = (int(self._data.shape[1]), int(self._data.shape[2]))

    def read(self, start: int, stop: int) -> NDArray[np.uint8]:
        if self._data is None:
            self._data = self._unpacked()
        return np.array(self._data[start:stop])

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_data": None}

    def _unpacked(self) -> NDArray[np.uint8]:
        shape: tuple[int, int] | None = None
        n = 0
        with tempfile.TemporaryFile(prefix="speckle_rec_") as file:
            for frame in self._frames():
                if shape is None:
                    shape = (frame.shape[0], frame.shape[1])
                    check_shape((1, *shape), self._what)
                if frame.shape != shape:
                    raise InputError(f"{self._what}: expected frames of one size, found {frame.shape[0]} x "
                                     f"{frame.shape[1]} (frame {n}) after {shape[0]} x {shape[1]} rows x columns")
                _write(file, frame, self._what)
                n += 1
            if shape is None:
                raise InputError(f"{self._what}: expected at least one frame, found none")
            _write(file, None, self._what)
            return np.memmap(file, np.uint8, "r", shape=(n, *shape))     # keeps the file alive once closed


def _write(file: Any, frame: NDArray[np.uint8] | None, what: str) -> None:
    """Write a frame, or what is left in the buffer."""
    try:
        file.flush() if frame is None else file.write(np.ascontiguousarray(frame).data)
    except OSError as error:
        raise SpeckleRecError(f"{what}: {tempfile.gettempdir()}, where it is unpacked: {error.strerror}") from error
