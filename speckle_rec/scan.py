"""A scan: frames read by block, pixel scale, and whatever is known of tracking and landmarks."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import geometry
from .errors import InputError
from .io import calib as calib_files
from .io import checks, kinds, pixels, tusrec
from .io.source import ArrayFrames, FilledFrames, KeptFrames, MaskedFrames, ScanContent, check_name, sampled
from .probe import field

Array = NDArray[np.float64]

KEPT_BYTES = 1 << 29     # of frames: 1747 of 480 x 640
UNSEEN = 12              # grey levels: darker shows nothing, and what changes less is drawn
FEWEST_TO_TELL = 8       # frames
MOST_DRAWN = 0.3         # share of the image; where more stands still, the probe does
USUAL_RATE_HZ = 20.0     # of the challenges' scans


@dataclass
class Scan(ScanContent):
    """Frames of a freehand sweep and what is known about them.

    Attributes
    ----------
    name, path : of the scan; path is None for arrays.
    n_frames : number of frames.
    shape : (rows, columns).
    scale : float64 [4, 4], pixel (from 1) -> image mm.
    T_tool_image : float64 [4, 4] or None, image mm -> tracked tool mm.
    T_world_tool : float64 [N, 4, 4] or None, tracked poses in mm (NaN where not `tracked_ok`). For judging
        a result only.
    tracked_ok : bool [N] or None, where the tracker was valid.
    image_ok : bool [N] or None, where the image is valid; None: everywhere.
    timestamps_s : float64 [N] or None.
    frame_rate_hz : mean frame rate.
    landmarks : int64 [L, 3] or None: frame from 0, x and y pixel from 1.
    calibration_source : where scale and T_tool_image come from.
    about : what the file says of probe and machine.
    warnings : what had to be assumed or left out, one line each.
    """

    @classmethod
    def open(cls, path: str | PathLike[str], calib: str | PathLike[str] | None = None,
             landmarks: str | PathLike[str] | None = None, *,
             pixel_mm: float | Sequence[float] | None = None, dataset: str | None = None,
             poses: str | PathLike[str] | None = None) -> "Scan":
        """Open a scan of any kind of `io.kinds`: HDF5, PLUS and 3D Slicer sequences, DICOM, films, pictures, NumPy.

        Parameters
        ----------
        path : a file, a folder of pictures or of a DICOM series, or a glob of pictures.
        calib : image calibration (``calib_matrix.csv``, a 4x4 of PLUS as text, a PLUS ``.xml``). Default:
            what the file says of itself; ``calib_matrix.csv`` beside the scan or up to three parents; the built-in
            probe's where the frames show its field of view (see `calibration_source` and `warnings`).
        landmarks : ``landmark_SSS.h5``; by default looked for beside the scan.
        pixel_mm : width and height of a pixel, or one number for both; wins over what is found.
        dataset : the name of the frames in an HDF5 or ``.npz`` file that does not call them ``frames``.
        poses : tracked poses in a file of their own: TUM and KITTI in metres, 4x4 matrices in mm, or a folder with one
            file a frame. By default looked for beside films, pictures, DICOM and NumPy files.

        Raises
        ------
        InputError
            If a file is missing, damaged, or not what it should be, or nothing tells the size of a pixel.
        """
        path = checks.file_path(path, "Scan.open", "; Scan.from_arrays(frames, scale=...) takes frames in memory")
        if path.name.startswith("."):
            raise InputError(f"{path}: hidden files are no scans (macOS puts ._ files beside the real ones); rename it")
        calib_path = None if calib is None else checks.file_path(calib, "Scan.open: calib")
        landmarks_path = None if landmarks is None else checks.file_path(landmarks, "Scan.open: landmarks")
        poses_path = None if poses is None else checks.file_path(poses, "Scan.open: poses")
        if dataset is not None and not isinstance(dataset, str):
            raise InputError(f"Scan.open: dataset: expected a name, found {checks.described(dataset)}")
        content = kinds.open_scan(path, calib_path, landmarks_path, pixel_mm, dataset=dataset, poses=poses_path)
        return cls(**vars(content))

    @classmethod
    def from_arrays(cls, frames: NDArray[Any] | Any, *, scale: Array | None = None, T_tool_image: Array | None = None,
                    T_world_tool: Array | None = None, landmarks: NDArray[Any] | None = None,
                    timestamps_s: Array | None = None, frame_rate_hz: float | None = None, name: str = "scan",
                    pixel_mm: float | Sequence[float] | None = None) -> "Scan":
        """A scan of frames in memory.

        Parameters
        ----------
        frames : [N, rows, columns], uint8 or numbers in 0..255 or 0..1; an array, a memory map, or what can be sliced
            like one (dask, zarr, HDF5), which is read by block.
        scale : [4, 4] pixel (from 1) -> image mm, np.diag([mm_x, mm_y, 1, 1]).
        pixel_mm : the size of a pixel, or its width and height, instead. Without either the built-in probe's is taken
            where the frames show its field of view, with a warning.
        T_tool_image, T_world_tool : [4, 4] and [N, 4, 4], mm; a pose that is not finite is one not tracked.
        landmarks : whole numbers [L, 3]: frame from 0, x and y pixel from 1.
        timestamps_s : [N], ascending.
        frame_rate_hz : by default that of the time stamps, else 20.
        name : can name a folder.

        Raises
        ------
        InputError
            If nothing tells the size of a pixel, shapes disagree, values are of the wrong kind or not finite, or
            transforms are not rigid.
        """
        name = _named(name)
        lazy = isinstance(getattr(frames, "dtype", None), np.dtype) and hasattr(frames, "__getitem__") \
            and isinstance(getattr(frames, "shape", None), tuple)
        try:
            source = ArrayFrames(frames if lazy else np.asarray(frames), f"{name}: frames")
            source.read(0, 1)
        except checks.NOT_AN_ARRAY as error:
            raise InputError(f"{name}: frames: expected an array [N, rows, columns], found "
                             f"{checks.described(frames)}") from error
        n_frames = source.n_frames
        warnings = [] if source.note is None else [source.note]
        given = None
        if scale is not None:
            scale = checks.numbers(scale, f"{name}: scale from pixel to mm, np.diag([mm_x, mm_y, 1, 1])", (4, 4))
            given = calib_files.ImageCalibration(scale, None, "given")
            calib_files.check_scale(given.scale, f"{name}: scale")
        calibration = pixels.settled(name, source, pixel_mm=pixel_mm, given=given)
        warnings += calibration.warnings
        scale, T_tool_image = calibration.scale, calibration.T_tool_image if T_tool_image is None else T_tool_image
        tracked_ok = None
        if T_tool_image is not None:
            T_tool_image = geometry.check_rigid(checks.numbers(T_tool_image, f"{name}: T_tool_image", (4, 4)),
                                                f"{name}: T_tool_image")
        if T_world_tool is not None:
            T_world_tool, tracked_ok, notes = tusrec.validated_poses(
                checks.numbers(T_world_tool, f"{name}: T_world_tool", (n_frames, 4, 4), finite=False),
                f"{name}: T_world_tool")
            warnings += notes
        points = None if landmarks is None else tusrec.checked_landmarks(
            checks.numbers(landmarks, f"{name}: landmarks", ("L", 3)), f"{name}: landmarks", n_frames, source.shape)
        timestamps_s, frame_rate_hz = _times(timestamps_s, frame_rate_hz, n_frames, name)
        return cls(name=name, path=None, source=source, scale=scale, T_tool_image=T_tool_image,
                   T_world_tool=T_world_tool, tracked_ok=tracked_ok, timestamps_s=timestamps_s,
                   frame_rate_hz=frame_rate_hz, landmarks=points, calibration_source=calibration.source,
                   warnings=warnings)

    @property
    def n_frames(self) -> int:
        """Number of frames."""
        return self.source.n_frames

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns)."""
        return self.source.shape

    def frames(self, start: int = 0, stop: int | None = None) -> NDArray[np.uint8]:
        """Frames start..stop-1 as uint8 [n, rows, columns]."""
        stop = self.n_frames if stop is None else min(stop, self.n_frames)
        if not 0 <= start <= stop:
            raise IndexError(f"frames {start}..{stop} of {self.n_frames}")
        return self.source.read(start, stop)

    def filled(self) -> "Scan":
        """This scan with frames that carry no valid image showing the one before: such repeats are not measured."""
        return self if self.image_ok is None else replace(self, source=FilledFrames(self.source, self.image_ok))

    def anonymised(self) -> "Scan":
        """This scan without what may tell who was scanned, where or when.

        The name becomes one of the pixels' own, paths and times of day go, and what stands outside the field of view or
        never changes, as names that machines write do, is black.
        """
        frames = sampled(self.filled().source)
        warnings = [_without_places(text, self.path) for text in self.warnings]
        found = field.find(frames, self.scale)
        shown = found.geometry.field() if found.source == "frames" else np.ones(self.shape, bool)
        bright = shown & (frames.max(0) > UNSEEN)
        drawn = bright & (np.ptp(frames, axis=0) <= UNSEEN)
        if len(frames) >= FEWEST_TO_TELL and drawn.sum() < MOST_DRAWN * bright.sum():
            shown = shown & ~drawn
        elif found.source != "frames":
            warnings.append("the field of view is not told from what is around it, nor text from tissue: text in the "
                            "images stays")
        source = MaskedFrames(self.source, shown)
        ends = np.concatenate([source.read(0, 1), source.read(self.n_frames - 1, self.n_frames)])
        name = f"scan-{hashlib.sha256(f'{self.n_frames} {self.shape}'.encode() + ends.tobytes()).hexdigest()[:10]}"
        times = None if self.timestamps_s is None else self.timestamps_s - self.timestamps_s[0]
        return replace(self, name=name, path=None, source=source, timestamps_s=times, about={}, warnings=warnings,
                       calibration_source=_without_places(self.calibration_source, self.path))

    def kept(self) -> "Scan":
        """This scan with its frames kept in memory once they are read, if that takes no more than `KEPT_BYTES`."""
        small = self.n_frames * self.shape[0] * self.shape[1] <= KEPT_BYTES
        return replace(self, source=KeptFrames(self.source)) if small else self

    def blocks(self, size: int = 64) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        """(start, frames) over the scan, `size` frames at a time."""
        for start in range(0, self.n_frames, size):
            yield start, self.frames(start, start + size)

    @property
    def T_first_frame_tracked(self) -> Array | None:
        """Tracked trajectory [N, 4, 4], image mm of frame i -> that of the first tracked frame (NaN where untracked).

        None without tracking, or without an image-to-tool calibration.
        """
        if self.T_world_tool is None or self.T_tool_image is None:
            return None
        tracked = np.isfinite(self.T_world_tool).all(axis=(1, 2))
        if not tracked.any():
            return None
        T_world_image = self.T_world_tool @ self.T_tool_image
        return geometry.inverse(T_world_image[np.argmax(tracked)]) @ T_world_image

    def tracked_beside(self, T_first_frame: Array) -> Array | None:
        """The tracked trajectory in image mm of frame 0; if that is untracked, by an estimate of the first that is."""
        tracked = self.T_first_frame_tracked
        if tracked is None:
            return None
        return np.asarray(T_first_frame[np.argmax(np.isfinite(tracked).all(axis=(1, 2)))] @ tracked)


def _without_places(text: str, path: Path | None) -> str:
    """A text without folders, and without the name of the scan's file."""
    if path is not None:
        for form in (path.absolute(), path):
            text = text.replace(str(form), "the scan")
        for parent in [form for way in (path.absolute(), path) for form in way.parents if form != form.parent]:
            text = text.replace(f"{parent}/", "")
        text = text.replace(path.name, "the scan")
    return text


def _named(name: Any) -> str:
    if not isinstance(name, str):
        raise InputError(f"name: expected a text, found {checks.described(name)}")
    try:
        return check_name(name, Path("name"))
    except InputError as error:
        raise InputError("name: expected one that can name a folder: up to 200 printable characters without '/', the "
                         f"first no dot, found {ascii(name)[:60]}") from error


def _times(timestamps_s: Any, frame_rate_hz: Any, n_frames: int, name: str) -> tuple[Array | None, float]:
    if timestamps_s is not None:
        timestamps_s = checks.numbers(timestamps_s, f"{name}: timestamps_s", (n_frames,))
        step = np.diff(timestamps_s)
        if not (step > 0).all():
            first = int(np.argmin(step > 0))
            raise InputError(f"{name}: timestamps_s: expected ascending times, found {timestamps_s[first]:g} s of "
                             f"frame {first} before {timestamps_s[first + 1]:g} s")
        if frame_rate_hz is None and n_frames > 1:
            frame_rate_hz = 1 / float(np.median(step))
    frame_rate_hz = USUAL_RATE_HZ if frame_rate_hz is None else frame_rate_hz
    return timestamps_s, checks.number(frame_rate_hz, f"{name}: frame_rate_hz", 1e-3, 1e6, " Hz")
