"""DICOM: a multi-frame cine loop in a file, or a folder with a series of single frames (extra ``[dicom]``).

Of the header only what places the pixels in space and time is read, and what the probe was; never who was scanned,
where or when: times count from the first frame. Physical deltas are cm (units 3), pixel spacing is mm with rows first.
"""

import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from . import calib as calib_files
from . import pixels, timestamps, tusrec
from .calib import ImageCalibration
from .grey import grey
from .hdf5 import check_file, one_line
from .natural import natural
from .source import ScanContent, check_name, check_shape

Array = NDArray[np.float64]
Box = tuple[int, int, int, int]     # first row, end row, first column, end column

ENDINGS = (".dcm", ".dicom", ".ima")
USUAL_NAME = re.compile(r"(\.(dcm|dicom|ima|\d+))?", re.IGNORECASE)     # of the suffix; many have none
DEFAULT_RATE_HZ = 20.0
CM = 3                  # PhysicalUnits: cm
PLANE, TISSUE = 1, 1    # RegionSpatialFormat: 2D; RegionDataType: tissue
FILM = "1.2.840.10008.1.2.4.10"     # what begins so: MPEG-2, MPEG-4, HEVC
DEFLATED = "1.2.840.10008.1.2.1.99"
PROBE = {"Manufacturer": "manufacturer", "ManufacturerModelName": "model", "TransducerData": "transducer",
         "TransducerType": "transducer type"}
HOW = "pip install 'speckle-rec[dicom]'"


def is_dicom(path: Path) -> bool:
    """Whether a file is DICOM by its preamble, or by its name."""
    try:
        with open(path, "rb") as file:
            return file.read(132)[128:] == b"DICM" or path.name.lower().endswith(ENDINGS)
    except OSError:
        return False


def files_in(folder: Path) -> list[Path]:
    """The DICOM files of a folder, in the natural order of their names; `DICOMDIR` lists others and is none."""
    found = [path for path in folder.iterdir() if path.is_file() and not path.name.startswith(".")
             and path.name.upper() != "DICOMDIR" and USUAL_NAME.fullmatch(path.suffix)]
    return sorted((path for path in found if is_dicom(path)), key=natural)


def n_frames_of(path: Path) -> int:
    """How many frames a file declares; 0 where it has no pixels.

    Raises
    ------
    InputError
        If it is no DICOM.
    """
    head = _head(path)
    return 0 if "Rows" not in head else _frames(head, path)


@dataclass(frozen=True)
class Slot:
    """Where a frame lies: a file, and the index in it."""

    path: Path
    index: int


class DicomFrames:
    """Frames of DICOM files, decoded as they are read, grey, cut to a box of rows and columns."""

    def __init__(self, slots: Sequence[Slot], box: Box, invert: bool, top: float):
        self._slots, self._box, self._invert, self._top = tuple(slots), box, invert, top
        self.n_frames = len(self._slots)
        self.shape = (box[1] - box[0], box[3] - box[2])

    def read(self, start: int, stop: int) -> NDArray[np.uint8]:
        out = np.empty((max(min(stop, self.n_frames) - start, 0), *self.shape), np.uint8)
        r0, r1, c0, c1 = self._box
        wanted = self._slots[start:stop]
        at = 0
        while at < len(wanted):
            path = wanted[at].path
            run = [slot.index for slot in wanted[at:] if slot.path == path]
            for image in _decoded(path, run):
                what = f"{path}: frame {wanted[at].index}"
                if image.shape[0] < r1 or image.shape[1] < c1:
                    raise InputError(f"{what}: expected {r1} rows x {c1} columns at least, found {image.shape[:2]}")
                out[at] = self._grey(image[r0:r1, c0:c1], what)
                at += 1
        return out

    def _grey(self, image: NDArray[Any], what: str) -> NDArray[np.uint8]:
        if image.dtype != np.uint8 or self._top != 255:
            image = np.rint(np.clip(image * (255 / self._top), 0, 255)).astype(np.uint8)
        image = grey(image, what)
        return 255 - image if self._invert else image


def open_scan(path: Path, calib: Path | None = None, landmarks: Path | None = None,
              pixel_mm: float | Sequence[float] | None = None) -> ScanContent:
    """Read the header of a cine loop, or those of the single frames in a folder; pixels stay in the files.

    Raises
    ------
    InputError
        If pydicom is missing, a file is damaged or no image, frames do not belong together, or nothing tells the
        pixel size.
    """
    with warnings.catch_warnings():      # of pydicom, where an element is looked at that breaks a rule of its kind
        warnings.simplefilter("ignore")
        return _opened(path, calib, landmarks, pixel_mm)


def _opened(path: Path, calib: Path | None, landmarks: Path | None,
            pixel_mm: float | Sequence[float] | None) -> ScanContent:
    name = check_name(path.name if path.is_dir() else re.sub(r"(?i)\.(dcm|dicom|ima)$", "", path.name), path)
    paths = files_in(path) if path.is_dir() else [path]
    if not paths:
        raise InputError(f"{path}: expected DICOM files, found none")
    heads = [_image_head(p) for p in paths]
    told: list[str] = []
    if len(heads) > 1:
        paths, heads, told = _series(path, paths, heads)
    slots = [Slot(p, k) for p, head in zip(paths, heads, strict=True) for k in range(_frames(head, p))]
    first = heads[0]
    box, region, more = _region(first, paths[0])
    source = DicomFrames(slots, box, *_levels(first))
    check_shape((source.n_frames, *source.shape), str(path))
    source.read(source.n_frames - 1, source.n_frames)      # files that are cut short lack it
    calibration = pixels.settled(
        str(path), source, pixel_mm=pixel_mm, given=None if calib is None else calib_files.read(calib, source.shape),
        found=(lambda: region, lambda: _spacing(first, paths[0]), lambda: tusrec.beside(paths[0], source.shape)))
    times, of_times = _times(heads, len(slots), str(path))
    if times is not None:
        times, bad = timestamps.repaired(times, str(path))
        of_times += bad
    rate = timestamps.rate_hz(times) if times is not None and len(times) > 1 else DEFAULT_RATE_HZ
    points, of_points = tusrec.find_landmarks(path, source.n_frames, source.shape, landmarks)
    if len(slots) == 1:
        told.append(f"{path}: one frame; give the folder for a series of single frames")
    return ScanContent(
        name=name, path=path, source=source, scale=calibration.scale, T_tool_image=calibration.T_tool_image,
        timestamps_s=times, frame_rate_hz=rate, landmarks=points, calibration_source=calibration.source,
        about=_about(first), warnings=[*told, *more, *calibration.warnings, *of_times, *of_points])


def _pydicom(path: Path) -> Any:
    try:
        import pydicom
        import pydicom.pixels
    except ImportError as error:
        raise InputError(f"{path}: DICOM needs pydicom: {HOW}") from error
    return pydicom


def _head(path: Path) -> Any:
    pydicom = _pydicom(path)
    check_file(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return pydicom.dcmread(path, stop_before_pixels=True, force=path.name.lower().endswith(ENDINGS))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or one_line(error)})") from error
    except Exception as error:      # pydicom lets through what damaged files make of its parts
        raise InputError(f"{path}: expected DICOM, found something else or a damaged file ({one_line(error)})"
                         ) from error


def _image_head(path: Path) -> Any:
    head = _head(path)
    rows, columns = _number(head, "Rows"), _number(head, "Columns")
    if rows is None or columns is None:
        kind = str(getattr(head, "Modality", "") or "")
        raise InputError(f"{path}: expected a DICOM image or cine loop, found "
                         f"one {f'of modality {kind[:16]} ' if kind.isprintable() and kind else ''}without pixels")
    check_shape((_frames(head, path), int(rows), int(columns)), str(path))
    return head


def _frames(head: Any, path: Path) -> int:
    n = _number(head, "NumberOfFrames")
    if n is None:
        return 1
    if not 1 <= n <= 1_000_000:
        raise InputError(f"{path}: expected at least one frame, found NumberOfFrames {n:g}")
    return int(n)


def _number(item: Any, name: str) -> float | None:
    """The number of an element; None where there is none."""
    numbers = _numbers(item, name)
    return None if numbers is None else float(numbers[0])


def _numbers(item: Any, name: str) -> Array | None:
    try:
        value = getattr(item, name, None)
        if value is None or isinstance(value, str | bytes):
            return None if not value else np.array([float(value)])
        numbers = np.atleast_1d(np.asarray(value, np.float64)).ravel()
    except Exception:      # what is no number is none: damaged values raise many kinds of errors
        return None
    return numbers if len(numbers) and np.isfinite(numbers).all() else None


def _series(folder: Path, paths: list[Path], heads: list[Any]) -> tuple[list[Path], list[Any], list[str]]:
    """Files of a series in the order of their frames.

    Raises
    ------
    InputError
        If there are several series, or images of several sizes.
    """
    series: dict[str, int] = {}
    for head in heads:
        uid = str(getattr(head, "SeriesInstanceUID", ""))
        series[uid] = series.get(uid, 0) + 1
    if len(series) > 1:
        raise InputError(f"{folder}: expected the frames of one series, found {len(series)} series of "
                         f"{', '.join(map(str, series.values()))} files; give each a folder of its own")
    sizes = {tuple(_numbers(head, key)[0] for key in ("Rows", "Columns")) for head in heads}  # type: ignore[index]
    if len(sizes) > 1:
        found = " and ".join(f"{r:g} x {c:g}" for r, c in sorted(sizes)[:3])
        raise InputError(f"{folder}: expected images of one size, found {found} rows x columns")
    numbers = [_number(head, "InstanceNumber") for head in heads]
    known = [number for number in numbers if number is not None]
    if len(set(known)) == len(heads):
        order = sorted(range(len(heads)), key=lambda k: numbers[k] or 0.0)
        return [paths[k] for k in order], [heads[k] for k in order], []
    return paths, heads, [f"{folder}: no InstanceNumber tells the order of the {len(heads)} files: that of their names "
                          "is taken"]


def _levels(head: Any) -> tuple[bool, float]:
    """Whether white is the lowest value, and what value is the brightest."""
    bits = int(_number(head, "BitsStored") or 8)
    return str(getattr(head, "PhotometricInterpretation", "")) == "MONOCHROME1", float(2**min(max(bits, 1), 32) - 1)


def _region(head: Any, path: Path) -> tuple[Box, ImageCalibration | None, list[str]]:
    """Rows and columns of the 2D image on the screen, and what tells the size of its pixels."""
    rows, columns = int(_number(head, "Rows") or 0), int(_number(head, "Columns") or 0)
    whole = (0, rows, 0, columns)
    found: list[tuple[Box, Any]] = []
    for item in getattr(head, "SequenceOfUltrasoundRegions", None) or ():
        corners = [_number(item, f"RegionLocation{name}") for name in ("MinY0", "MaxY1", "MinX0", "MaxX1")]
        if _number(item, "RegionSpatialFormat") != PLANE or any(corner is None for corner in corners):
            continue
        r0, r1, c0, c1 = (int(corner or 0) for corner in corners)
        box = (max(r0, 0), min(r1 + 1, rows), max(c0, 0), min(c1 + 1, columns))
        if box[1] - box[0] >= 16 and box[3] - box[2] >= 16:
            found.append((box, item))
    if not found:
        return whole, None, []
    tissue = [pair for pair in found if _number(pair[1], "RegionDataType") in (None, TISSUE)] or found
    area = [(b[1] - b[0]) * (b[3] - b[2]) for b, _ in tissue]
    box, item = tissue[int(np.argmax(area))]
    notes = []
    if len({b for b, _ in tissue}) > 1:
        notes.append(f"{path}: {len(tissue)} regions show 2D images; the largest is taken ({_told(box)})")
    elif box != whole:
        notes.append(f"{path}: cut to the region of the 2D image ({_told(box)})")
    units = [_number(item, f"PhysicalUnits{axis}Direction") for axis in "XY"]
    deltas = [_number(item, f"PhysicalDelta{axis}") for axis in "XY"]
    if any(unit != CM for unit in units) or any(not delta for delta in deltas):
        notes.append(f"{path}: the region of the 2D image does not tell the size of its pixels in cm")
        return box, None, notes
    x, y = (10 * abs(float(delta or 0)) for delta in deltas)
    return box, pixels.of_spacing((x, y), f"{path}: SequenceOfUltrasoundRegions"), notes


def _told(box: Box) -> str:
    return f"rows {box[0]}..{box[1] - 1}, columns {box[2]}..{box[3] - 1}"


def _spacing(head: Any, path: Path) -> ImageCalibration | None:
    """What a pixel spacing tells: rows first, and in enhanced files within functional groups."""
    places = [head]
    for groups in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        for group in list(getattr(head, groups, None) or ())[:1]:
            places += list(getattr(group, "PixelMeasuresSequence", None) or ())[:1]
    for place in places:
        for name in ("PixelSpacing", "NominalScannedPixelSpacing", "ImagerPixelSpacing"):
            numbers = _numbers(place, name)
            if numbers is not None and len(numbers) == 2:
                return pixels.of_spacing((float(numbers[1]), float(numbers[0])), f"{path}: {name}")
    return None


def _times(heads: Sequence[Any], n_frames: int, what: str) -> tuple[Array | None, list[str]]:
    """Times [N] (s) from the first frame on, None where nothing tells; and warnings."""
    first = heads[0]
    if len(heads) > 1:
        clock = [_clock(head) for head in heads]
        told = [time for time in clock if time is not None]
        if len(told) == len(heads) == n_frames and len(set(told)) > n_frames / 2:
            return np.array(told) - told[0], []
    notes = []
    vector = _numbers(first, "FrameTimeVector")
    if vector is not None and len(heads) == 1:
        if len(vector) == n_frames:
            times = np.cumsum(vector) / 1000
            return times - times[0], []
        notes.append(f"{what}: expected a FrameTimeVector of {n_frames} times, found {len(vector)}; it is not used")
    step_ms = _number(first, "FrameTime")
    rates = [_number(first, name) for name in ("CineRate", "RecommendedDisplayFrameRate")]
    if step_ms is None or step_ms <= 0:
        step_ms = next((1000 / rate for rate in rates if rate is not None and rate > 0), None)
    if step_ms is None:
        return None, [*notes, f"{what}: nothing tells the times of the frames; {DEFAULT_RATE_HZ:g} Hz are assumed"]
    return np.arange(n_frames) * step_ms / 1000, notes


def _clock(head: Any) -> float | None:
    """Seconds of the day at which a single frame was acquired."""
    for name in ("AcquisitionDateTime", "AcquisitionTime", "ContentTime"):
        text = str(getattr(head, name, None) or "")
        if found := re.fullmatch(r"(?:\d{8})?(\d{2})(\d{2})(\d{2}(?:\.\d{1,6})?)(?:[+-]\d{4})?", text):
            return 3600 * int(found[1]) + 60 * int(found[2]) + float(found[3])
    return None


def _about(head: Any) -> dict[str, str]:
    """What the probe and the machine are called."""
    about = {}
    for element, name in PROBE.items():
        value = getattr(head, element, None)
        words = [value] if isinstance(value, str) else list(value or ()) if not isinstance(value, bytes) else []
        text = " ".join("".join(c if c.isprintable() else " " for c in " ".join(map(str, words))).split())
        if text:
            about[name] = text[:120]
    return about


def _decoded(path: Path, indices: Sequence[int]) -> Iterator[NDArray[Any]]:
    """Frames of a file, [rows, columns] or [rows, columns, 3] RGB."""
    pydicom = _pydicom(path)
    head = _head(path)
    syntax = str(getattr(getattr(head, "file_meta", None), "TransferSyntaxUID", ""))
    palette = str(getattr(head, "PhotometricInterpretation", "")) == "PALETTE COLOR"
    n = 0
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # pydicom looks for the pixels of a deflated file in the file as it is
            source = pydicom.dcmread(path) if syntax == DEFLATED else path
            for image in pydicom.pixels.iter_pixels(source, indices=list(indices)):
                yield _of_palette(np.asarray(image), head, pydicom) if palette else np.asarray(image)
                n += 1
    except (InputError, MemoryError):
        raise
    except Exception as error:      # of a dozen kinds, by what decodes the pixels
        text = one_line(error)
        if syntax.startswith(FILM):
            raise InputError(f"{path}: expected single pictures, found a film (transfer syntax {syntax}); take it out "
                             "with dcmtk's dcmdump or ffmpeg, and give the .mp4 with --pixel-mm") from error
        if ("plugin" in text and "missing" in text) or "requires" in text:
            raise InputError(f"{path}: its compression (transfer syntax {syntax}) needs a decoder: {HOW}") from error
        raise InputError(f"{path}: the pixels cannot be read ({text}); is the file truncated?") from error
    if n != len(indices):
        raise InputError(f"{path}: expected frame {indices[n]}, found the end; is the file truncated?")


def _of_palette(image: NDArray[Any], head: Any, pydicom: Any) -> NDArray[Any]:
    """The image in the colours that its numbers stand for."""
    coloured = np.asarray(pydicom.pixels.apply_color_lut(image, head))
    return (coloured >> 8).astype(np.uint8) if coloured.dtype == np.uint16 else coloured
