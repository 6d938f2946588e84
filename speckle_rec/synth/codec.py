"""Frames as they come out of a compressed video."""

from collections.abc import Iterable, Iterator
from fractions import Fraction
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from .picture import CODECS

Frame = NDArray[np.uint8]

RATE_HZ = 20


def through(frames: Iterable[Frame], codec: str) -> Iterator[Frame]:
    """The frames, encoded and decoded again one after another; a few are held at a time.

    Raises
    ------
    InputError
        If PyAV is not installed, or knows no H.264.
    """
    quality = CODECS[codec]
    if quality is None:
        yield from frames
        return
    av = pyav(codec)
    source = iter(frames)
    first = next(source)
    rows, columns = first.shape
    decoder = av.CodecContext.create("h264", "r")
    decoder.thread_count = 1
    for packet in _encoded(av, chain([first], source), quality):
        for picture in decoder.decode(packet):
            yield _grey(picture)[:rows, :columns]


def pyav(codec: str) -> Any:
    """PyAV with an encoder of H.264, which only compressed pictures need."""
    try:
        import av
        av.codec.Codec("libx264", "w")
    except ImportError as error:
        raise InputError(f"codec {codec}: expected PyAV for compressed pictures, found none; "
                         "pip install 'speckle-rec[video]'") from error
    except Exception as error:      # of PyAV's own kinds, by version
        raise InputError(f"codec {codec}: expected a PyAV with libx264, found none; "
                         "pip install 'speckle-rec[video]'") from error
    return av


def _encoded(av: Any, frames: Iterable[Frame], quality: int) -> Iterator[Any]:
    """Packets in the order of decoding, and None at the end. One thread: the bits depend on how many there are."""
    encoder: Any = None
    for k, frame in enumerate(frames):
        padded = np.pad(frame, ((0, frame.shape[0] % 2), (0, frame.shape[1] % 2)), mode="edge")
        if encoder is None:
            encoder = av.CodecContext.create("libx264", "w")
            encoder.height, encoder.width = padded.shape
            encoder.pix_fmt, encoder.time_base, encoder.thread_count = "yuv420p", Fraction(1, RATE_HZ), 1
            encoder.options = {"crf": str(quality), "preset": "medium", "threads": "1"}
        picture = av.VideoFrame.from_ndarray(padded, format="gray").reformat(format="yuv420p")
        picture.pts = k
        yield from encoder.encode(picture)
    yield from encoder.encode(None)
    yield None


def _grey(picture: Any) -> Frame:
    return np.ascontiguousarray(picture.to_ndarray(format="gray"))
