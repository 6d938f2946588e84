"""The sequence as it comes, in one ``.igs.mha`` that can be read at every moment: kill -9 loses the frame in hand.

A sequence tells of its frames before their pixels, so that room for `MOST_FRAMES` is kept at the beginning, filled with
fields that mean nothing. A frame is written in three steps: its pixels at the end, its time stamp into the room, and
then the number of frames, in one small write that replaces as many bytes as it has.
"""

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..io.mha import read_header
from .frames import LiveFrame

MOST_FRAMES = 36_000        # half an hour at 20 frames/s
ROOM = 96                   # bytes of the fields of a frame, a multiple of the line that fills the room
FILLER = b"Reserved = ".ljust(ROOM - 1) + b"\n"
COUNT = 8                   # digits of the number of frames


class Recorder:
    """Writes frames of one size to a new file.

    Parameters
    ----------
    path : of the file, which appears with the first frame.   pixel_mm : width and height; None where nothing tells.
    most : frames that it has room for.
    """

    def __init__(self, path: Path, pixel_mm: tuple[float, float] | None, most: int = MOST_FRAMES):
        self.path, self.pixel_mm, self.most = path, pixel_mm, most
        self.times_s: list[float] = []
        self._file: int | None = None
        self._shape = (0, 0)

    @property
    def n_frames(self) -> int:
        """Frames that are in the file."""
        return len(self.times_s)

    @property
    def full(self) -> bool:
        """Whether no further frame has room."""
        return self.n_frames >= self.most

    def add(self, frame: LiveFrame) -> None:
        """Write a frame.

        Raises
        ------
        OSError
            If the disk is full, or the file cannot be written.
        ValueError
            If the frame has another size than the first, or there is no more room.
        """
        if self._file is None:
            self._open(frame)
        assert self._file is not None
        if frame.image.shape != self._shape or self.full:
            raise ValueError(f"no room for a frame {frame.image.shape} after {self.n_frames} of {self._shape}")
        k = self.n_frames
        _write(self._file, np.ascontiguousarray(frame.image).data.cast("B"), self._pixels + k * frame.image.size)
        told = f"Seq_Frame{k:06d}_Timestamp = {frame.time_s:.6f}\nSeq_Frame{k:06d}_ImageStatus = OK"
        _write(self._file, told.encode().ljust(ROOM - 1) + b"\n", self._room + k * ROOM)
        _write(self._file, b"%0*d" % (COUNT, k + 1), self._count)
        self.times_s.append(frame.time_s)

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _open(self, frame: LiveFrame) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
        self._shape = rows, columns = frame.image.shape
        spacing = "1 1" if self.pixel_mm is None else f"{self.pixel_mm[0]!r} {self.pixel_mm[1]!r}"
        head = ("ObjectType = Image\nNDims = 3\nAnatomicalOrientation = RAI\nBinaryData = True\n"
                "BinaryDataByteOrderMSB = False\nCenterOfRotation = 0 0 0\nCompressedData = False\n"
                f"DimSize = {columns} {rows} ").encode()
        tail = ("\nKinds = domain domain list\nElementNumberOfChannels = 1\n"
                f"ElementSpacing = {spacing} 1\nElementType = MET_UCHAR\nOffset = 0 0 0\n"
                "TransformMatrix = 1 0 0 0 1 0 0 0 1\nUltrasoundImageOrientation = MF\n"
                "UltrasoundImageType = BRIGHTNESS\n").encode()
        self._count = len(head)
        self._room = self._count + COUNT + len(tail)
        end = b"ElementDataFile = LOCAL\n"
        self._pixels = self._room + self.most * ROOM + len(end)
        _write(self._file, head + b"0" * COUNT + tail + FILLER * self.most + end, 0)


def _write(file: int, data: bytes | memoryview, at: int) -> None:
    left = memoryview(data)
    while len(left):
        done = os.pwrite(file, left, at)
        left, at = left[done:], at + done


class RecordedFrames:
    """The frames of a recording, one to `n_frames`: a `FrameSource`."""

    def __init__(self, path: Path, n_frames: int):
        header = read_header(path)
        self.n_frames, self.shape = n_frames, (header.size[1], header.size[2])
        if header.size[0] < n_frames:
            raise InputError(f"{path}: expected {n_frames} frames, found {header.size[0]}")
        self._path, self._offset = path, header.data_offset

    def read(self, start: int, stop: int) -> NDArray[np.uint8]:
        """Frames start..stop-1."""
        size = self.shape[0] * self.shape[1]
        stop = min(stop, self.n_frames)
        data = np.fromfile(self._path, np.uint8, (stop - start) * size, offset=self._offset + start * size)
        return data.reshape(stop - start, *self.shape)
