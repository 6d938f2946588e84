"""Every frame of a scan as a small film: JPEG pictures one after the other (Motion JPEG, which players open)."""

from os import PathLike
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

NAME = "frames.mjpeg"
WIDEST_PX, NARROWEST_PX = 320, 96
QUALITY = 55
MOST_BYTES = 5_500_000      # of the film; in base64, a third more of the page
MOST_FRAMES = 4000          # beyond these, frames are left out evenly
BLOCK = 32                  # frames that are read at a time
SAMPLES = 12                # frames from which the size of all is told
START = b"\xff\xd8\xff"     # of a JPEG picture; does not occur within one that has no thumbnail


class HasFrames(Protocol):
    """What a film is made of."""

    @property
    def n_frames(self) -> int: ...
    def frames(self, start: int, stop: int) -> NDArray[np.uint8]: ...


def shown(n_frames: int) -> NDArray[np.int64]:
    """Frames [K] of a scan that its film holds."""
    return np.unique(np.linspace(0, n_frames - 1, min(n_frames, MOST_FRAMES)).astype(int))


def write(path: str | PathLike[str], scan: HasFrames) -> None:
    """Write the film of a scan, as wide as `MOST_BYTES` allow."""
    chosen = shown(scan.n_frames)
    sample = chosen[:: max(1, len(chosen) // SAMPLES)]
    usual = float(np.mean([len(_picture(_frame(scan, i), WIDEST_PX)) for i in sample]))
    width = int(np.clip(WIDEST_PX * np.sqrt(MOST_BYTES / (usual * len(chosen))), NARROWEST_PX, WIDEST_PX))
    with open(path, "wb") as file:
        for start in range(0, scan.n_frames, BLOCK):
            frames = scan.frames(start, min(start + BLOCK, scan.n_frames))
            for i in chosen[(chosen >= start) & (chosen < start + BLOCK)]:
                file.write(_picture(frames[i - start], width))


def pictures(path: str | PathLike[str]) -> list[bytes]:
    """The pictures of a film, in order; none where there is no film."""
    path = Path(path)
    if not path.is_file():
        return []
    return [START + part for part in path.read_bytes().split(START)[1:]]


def _frame(scan: HasFrames, i: int) -> NDArray[np.uint8]:
    return scan.frames(int(i), int(i) + 1)[0]


def _picture(frame: NDArray[np.uint8], width: int) -> bytes:
    size = min(width, frame.shape[1]), max(1, round(min(width, frame.shape[1]) * frame.shape[0] / frame.shape[1]))
    done, data = cv2.imencode(".jpg", cv2.resize(frame, size, interpolation=cv2.INTER_AREA),
                              [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    return data.tobytes() if done else b""
