"""OpenIGTLink messages on a socket: frames of IMAGE messages, and poses and volumes as bytes to send.

The messages are those of `pyigtl`. Its server and client are not used: the server talks to one client at a time, keeps
the last message of a name without a word of those it replaces, waits for ever in a circle where a header is cut off,
makes room for whatever length a header states, and checks no checksum. What may come here is looked at first: a header
that is none ends its connection, since nothing tells where the next begins; a body that is damaged is left out.
"""

import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..io.grey import grey
from ..io.hdf5 import one_line
from ..io.pixels import LEAST_TOLD_MM, MOST_TOLD_MM
from ..io.source import check_shape
from .frames import LiveFrame
from .growing import Snapshot

Array = NDArray[np.float64]

POSE, VOLUME = "ImageToReference", "LiveVolume"
MOST_BYTES = 1 << 26        # of a message: a frame of 8192 x 8192, or less in colour
HEADER = struct.Struct("> H 12s 20s 8s Q Q")        # version, type, name, time stamp, bytes, checksum
STAMP = slice(34, 42)
VERSIONS = (1, 2, 3)


class Malformed(Exception):
    """What came is no message; `lost` where nothing tells where the next one begins."""

    def __init__(self, text: str, lost: bool):
        super().__init__(text)
        self.lost = lost


@dataclass(frozen=True)
class Received:
    """A message: its type and name, and the frame it holds, if it is an image of one."""

    kind: str
    name: str
    frame: LiveFrame | None = None


def pyigtl() -> ModuleType:
    """The library of the messages.

    Raises
    ------
    InputError
        If it is not installed.
    """
    try:
        import pyigtl as found
    except ImportError as error:
        raise InputError("live: expected pyigtl for OpenIGTLink, found none; pip install 'speckle-rec[live]'"
                         ) from error
    return found


def receive(link: socket.socket, wanted: Callable[[str], bool] = lambda name: True) -> Received | None:
    """The next message; None where the other side has hung up.

    Parameters
    ----------
    wanted : of the name of an image, whether it is unpacked.

    Raises
    ------
    Malformed
        If it is not one.
    OSError
        If the connection breaks.
    """
    head = _exactly(link, HEADER.size)
    if head is None:
        return None
    version, kind_of, name_of, stamp, size, crc = HEADER.unpack(head)
    kind, name = _text(kind_of), _text(name_of)
    if version not in VERSIONS or not kind or name is None:
        raise Malformed(f"expected an OpenIGTLink header, found {bytes(head[:14])!r}", lost=True)
    if size > MOST_BYTES:
        raise Malformed(f"expected a message of up to {MOST_BYTES >> 20} MiB, found {kind} of {size} bytes", lost=True)
    if kind != "IMAGE" or not wanted(name):
        return Received(kind, name) if _skip(link, size) else None
    body = _exactly(link, size)
    if body is None:
        return None
    messages = pyigtl().messages
    if crc and messages.CRC64(bytes(body)) != crc:
        raise Malformed(f"an IMAGE '{name}' whose checksum is wrong: left out", lost=False)
    try:
        fields = messages.MessageBase.parse_header(bytes(head))
        message = messages.ImageMessage()
        message.unpack(fields, bytes(body))
        frame = _frame_of(message, fields["timestamp"], stamp, name)
    except InputError as error:
        raise Malformed(f"{error}: left out", lost=False) from error
    except Exception as error:      # whatever a damaged body makes of a parser
        raise Malformed(f"an IMAGE '{name}' that cannot be read ({type(error).__name__}: {one_line(error, 80)}): left "
                        "out", lost=False) from error
    return Received(kind, name, frame)


def _frame_of(message: Any, time_s: float, stamp: bytes, name: str) -> LiveFrame:
    image, axes = np.asarray(message.image), (0, 1)
    if image.shape[2] == 1 != image.shape[0]:       # what pyigtl makes of an array [rows, columns]
        image, axes = np.moveaxis(image, 2, 0), (1, 2)
    if image.shape[0] != 1:
        raise InputError(f"IMAGE '{name}': expected a frame, found a volume of {image.shape[0]} slices")
    pixels = grey(image[0], f"IMAGE '{name}'")
    check_shape((1, *pixels.shape), f"IMAGE '{name}'")
    size = np.linalg.norm(np.asarray(message.ijk_to_world_matrix, float)[:3, axes], axis=0)
    told = bool((size != 1).any() and ((size >= LEAST_TOLD_MM) & (size <= MOST_TOLD_MM)).all())
    # A float32 on the wire: more digits would be made up.
    pixel_mm = (float(f"{size[0]:.7g}"), float(f"{size[1]:.7g}")) if told else None
    if not any(stamp):      # a sender without a clock
        time_s = time.time()
    return LiveFrame(np.ascontiguousarray(pixels), time_s, stamp, pixel_mm)


def pose_bytes(T: Array, frame: LiveFrame) -> bytes:
    """A TRANSFORM with the time stamp of a frame: image mm of the frame -> image mm of the first."""
    message = pyigtl().TransformMessage(matrix=np.asarray(T, np.float32), timestamp=max(frame.time_s, 0.0),
                                        device_name=POSE)
    return _stamped(message.pack(), frame)


def volume_bytes(volume: Snapshot, frame: LiveFrame) -> bytes:
    """An IMAGE of the volume so far, in the coordinates that poses lead to."""
    voxel_mm = np.diag([volume.spacing_mm] * 3 + [1.0])
    voxel_mm[:3, 3] = volume.origin_mm
    message = pyigtl().ImageMessage(volume.grey, ijk_to_world_matrix=voxel_mm, world_coordinate_system="ras",
                                    timestamp=max(frame.time_s, 0.0), device_name=VOLUME)
    return _stamped(message.pack(), frame)


def _stamped(packed: bytes, frame: LiveFrame) -> bytes:
    """The message with the eight bytes that came with the frame: a float would round them; no checksum covers them."""
    return packed if frame.stamp is None else packed[:STAMP.start] + frame.stamp + packed[STAMP.stop:]


def _text(field: bytes) -> str | None:
    text = field.rstrip(b"\0 ")
    return text.decode("ascii") if all(32 <= c < 127 for c in text) else None


def _exactly(link: socket.socket, size: int) -> bytearray | None:
    """So many bytes; None where the other side hangs up first."""
    data = bytearray(size)
    view, done = memoryview(data), 0
    while done < size:
        got = link.recv_into(view[done:])
        if got == 0:
            return None
        done += got
    return data


def _skip(link: socket.socket, size: int) -> bool:
    """Read past so many bytes; False where the other side hangs up first."""
    room = bytearray(min(size, 1 << 16))
    while size:
        got = link.recv_into(memoryview(room)[:min(size, len(room))])
        if got == 0:
            return False
        size -= got
    return True
