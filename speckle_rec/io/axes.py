"""Frames that other tools wrote in another order of axes: recognised, then turned upright or refused.

MATLAB stores [rows, columns, N] so that others read [N, columns, rows]; numpy users store [rows, columns, N]. Either
looks like frames [N, rows, columns] by its shape, and none of it moves as a probe does.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..probe import field
from .source import FrameSource, H5Frames, sampled

# Sizes (rows, columns) that machines and grabbers give.
USUAL = {(480, 640), (576, 720), (576, 768), (600, 800), (616, 820), (720, 960), (720, 1280), (768, 1024), (960, 1280),
         (1024, 1280), (1050, 1680), (1080, 1440), (1080, 1920), (1200, 1600)}
EQUAL = 12          # grey levels within which a line of pixels shows nothing
SHOWS_NOTHING = 0.1     # share of the lines along the axis of frames that do, outside a sector
HARDLY = 0.01           # share of those along another axis
UNIT = np.diag([0.2, 0.2, 1.0, 1.0])    # mm, to look for a sector where the size of a pixel is not known yet
FINER = 0.5     # variation down over that across, below which pulses seem to run across


class TurnedFrames:
    """Frames of another source with rows and columns exchanged."""

    def __init__(self, source: FrameSource):
        self._source = source
        self.n_frames, self.shape = source.n_frames, source.shape[::-1]

    def read(self, start: int, stop: int) -> NDArray[np.uint8]:
        return np.ascontiguousarray(self._source.read(start, stop).transpose(0, 2, 1))


def upright(path: Path, source: H5Frames, n_poses: int | None) -> tuple[FrameSource, list[str]]:
    """Frames with rows along the beams, and a warning if they had to be turned.

    Parameters
    ----------
    n_poses : number of tracked poses, if there are any: one a frame.

    Raises
    ------
    InputError
        If another axis than the first counts the frames.
    """
    shape = (source.n_frames, *source.shape)
    if source.shape == field.SHAPE_4DC7 and n_poses in (None, source.n_frames):
        return source, []
    axis, why = _axis_of_frames(source, n_poses)
    if axis:
        raise InputError(f"{path}: dataset 'frames': expected [N, rows, columns], found {list(shape)} with the frames "
                         f"along axis {axis} ({why}); store np.moveaxis(frames, {axis}, 0)")
    if source.shape[0] < source.shape[1] or source.n_frames < 3:
        return source, []
    frames = sampled(source)
    turned = frames.transpose(0, 2, 1)
    found = f"{path}: dataset 'frames' {list(shape)}"
    mend = "store them as [N, rows, columns]; in MATLAB write permute(frames, [2 1 3])"
    if field.find(frames, UNIT).source != "frames":
        seen = field.find(turned, UNIT)
        if seen.source == "frames" and seen.geometry.kind == "curvilinear":
            return TurnedFrames(source), [f"{found}: the field of view lies on its side: rows and columns were "
                                          f"exchanged; {mend}"]
    if _down_over_across(frames) < FINER:
        if source.shape[::-1] in USUAL:
            return TurnedFrames(source), [f"{found}: beams run across the images: rows and columns were exchanged; "
                                          f"{mend}"]
        return source, [f"{found}: beams seem to run across the images; if rows and columns are exchanged, {mend}"]
    if source.shape[::-1] in USUAL and source.shape not in USUAL:
        return source, [f"{found}: a usual size, but higher than wide; if rows and columns are exchanged, {mend}"]
    return source, []


def _axis_of_frames(source: H5Frames, n_poses: int | None) -> tuple[int, str]:
    """The axis that counts the frames, and what tells so if it is not the first."""
    shape = (source.n_frames, *source.shape)
    if n_poses == shape[0]:
        return 0, ""
    if n_poses in shape[1:]:
        return shape.index(n_poses), f"there are {n_poses} poses"
    if source.chunks and sorted(source.chunks)[1] > 1 and min(source.chunks) == 1:
        axis = source.chunks.index(1)
        if axis and shape[axis] > 1:
            return axis, f"it is stored in blocks of {list(source.chunks)}"
    if shape[1:] not in USUAL and shape[:0:-1] not in USUAL:
        for axis, image in ((2, shape[:2]), (1, shape[::2])):
            if image in USUAL or image[::-1] in USUAL:
                return axis, f"images of {image[0]} x {image[1]} are usual"
    axis = _by_content(sampled(source))
    return axis, "only along that axis much never changes, as outside of a sector"


def _by_content(frames: NDArray[np.uint8]) -> int:
    """The axis along which most lines show nothing, where they do so along no other; else the first."""
    if len(frames) < 3:
        return 0
    for axis in range(3):
        others = tuple(k for k in range(3) if k != axis)
        frames = np.compress(np.ptp(frames, axis=others) > EQUAL, frames, axis)
        if not frames.size:
            return 0
    share = [float((np.ptp(frames, axis=axis) <= EQUAL).mean()) for axis in range(3)]
    best = int(np.argmax(share))
    return best if share[best] > SHOWS_NOTHING and share[0] < HARDLY else 0


def _down_over_across(frames: NDArray[np.uint8]) -> float:
    """How much frames vary from row to row over how much from column to column: pulses are shorter than beams wide."""
    grey = frames.astype(np.float32)
    down, across = (np.square(np.diff(grey, axis=axis)).mean() for axis in (1, 2))
    return float(down / max(across, 1e-9))
