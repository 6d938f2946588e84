"""Films (.mp4, .avi, .mov, ...): luma of every frame, and its time by the container's clock.

PyAV (extra ``[video]``) decodes where it is installed, OpenCV elsewhere. A film does not tell the size of a pixel.
"""

import math
import re
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from . import calib as calib_files
from . import pixels, timestamps, tusrec
from .grey import UnpackedFrames, grey
from .hdf5 import check_file, one_line
from .source import ScanContent, check_name

ENDINGS = (".mp4", ".avi", ".mov", ".mkv", ".m4v", ".webm", ".wmv", ".mpg", ".mpeg", ".gif")
DEFAULT_RATE_HZ = 20.0
PLAYLISTS = {"hls", "dash", "concat", "imf"}      # what FFmpeg takes for a film and leads elsewhere
Timed = tuple[float, NDArray[np.uint8]]     # seconds (NaN where the container tells none), luma [rows, columns]


def open_scan(path: Path, calib: Path | None = None, landmarks: Path | None = None,
              pixel_mm: float | Sequence[float] | None = None) -> ScanContent:
    """Unpack a film to a temporary file, frame by frame.

    Raises
    ------
    InputError
        If it is none, is damaged, or nothing tells the pixel size.
    """
    name = check_name(re.sub(rf"(?i)({'|'.join(map(re.escape, ENDINGS))})$", "", path.name), path)
    check_file(path)
    clock: list[float] = []
    source = UnpackedFrames(partial(_frames, path, clock), str(path))
    calibration = pixels.settled(
        str(path), source, pixel_mm=pixel_mm, given=None if calib is None else calib_files.read(calib, source.shape),
        found=(lambda: tusrec.beside(path, source.shape),))
    times, notes = timestamps.repaired(np.array(clock[:source.n_frames]), str(path))
    if times is not None:
        times = times - times[0]
    rate = timestamps.rate_hz(times) if times is not None and len(times) > 1 else DEFAULT_RATE_HZ
    if times is None:
        notes.append(f"{path}: nothing tells the times of the frames; {DEFAULT_RATE_HZ:g} Hz are assumed")
    points, of_points = tusrec.find_landmarks(path, source.n_frames, source.shape, landmarks)
    return ScanContent(
        name=name, path=path, source=source, scale=calibration.scale, T_tool_image=calibration.T_tool_image,
        timestamps_s=times, frame_rate_hz=rate, landmarks=points, calibration_source=calibration.source,
        warnings=[*calibration.warnings, *notes, *of_points])


def _frames(path: Path, clock: list[float]) -> Iterator[NDArray[np.uint8]]:
    """Luma of the frames in turn; their times go to `clock`."""
    clock.clear()
    try:
        import av
    except ImportError:
        decoded = _by_opencv(path)
    else:
        del av
        decoded = _by_av(path)
    for seconds, frame in decoded:
        clock.append(seconds)
        yield frame


def _by_av(path: Path) -> Iterator[Timed]:
    import av
    what = f"{path}: expected a film"
    n = 0
    try:
        with av.open(str(path), options={"protocol_whitelist": "file"}) as container:
            if set(container.format.name.split(",")) & PLAYLISTS:
                raise InputError(f"{what}, found a list of other files; give the film itself")
            if not container.streams.video:
                raise InputError(f"{what}, found no pictures in it")
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            for frame in container.decode(stream):
                if frame.format.components and frame.format.components[0].bits > 8:
                    raise InputError(f"{path}: expected 8 bits a pixel, found {frame.format.name}; save it with 8 bits")
                yield math.nan if frame.time is None else float(frame.time), _luma(frame)
                n += 1
    except InputError:
        raise
    except (av.error.FFmpegError, ValueError, IndexError, OSError) as error:
        raise InputError(f"{what}, found something else or a damaged one after {n} frames ({one_line(error)})"
                         ) from error


def _luma(frame: "object") -> NDArray[np.uint8]:
    """The grey image of a frame, levels of films (16 to 235) spread to 0..255."""
    import av
    assert isinstance(frame, av.VideoFrame)
    if frame.format.is_rgb or frame.format.name.startswith("pal"):
        return grey(frame.to_ndarray(format="rgb24"), "frame")
    return np.asarray(frame.to_ndarray(format="gray"), np.uint8)


def _by_opencv(path: Path) -> Iterator[Timed]:
    film = cv2.VideoCapture(str(path))
    try:
        if not film.isOpened():
            raise InputError(f"{path}: expected a film, found something else or a damaged one; "
                             "pip install 'speckle-rec[video]' reads more kinds")
        while True:
            ok, image = film.read()
            if not ok:
                return
            yield film.get(cv2.CAP_PROP_POS_MSEC) / 1000, grey(image[..., ::-1] if image.ndim == 3 else image,
                                                               str(path))
    finally:
        film.release()
