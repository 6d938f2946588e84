"""Pictures: a folder or a glob of PNG, JPEG, TIFF or BMP in the natural order of their names, or a stack in one TIFF.

Neither tells when a picture was taken; of the size of a pixel only the spacing that ImageJ writes into a stack is
believed, for the resolution of a picture is one for printers.
"""

import glob
import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from . import calib as calib_files
from . import pixels, tusrec
from .calib import ImageCalibration
from .grey import grey
from .hdf5 import check_file, one_line
from .natural import natural
from .source import FrameSource, ScanContent, check_name, check_shape

TIFF = (".tif", ".tiff")
ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", *TIFF)
DEFAULT_RATE_HZ = 20.0
UNIT_MM = {"mm": 1.0, "millimeter": 1.0, "cm": 10.0, "um": 1e-3, "\\u00b5m": 1e-3, "µm": 1e-3, "micron": 1e-3}


def is_image(path: Path) -> bool:
    """Whether a file is a picture by its name."""
    return path.name.lower().endswith(ENDINGS) and not path.name.startswith(".")


def is_stack(path: Path) -> bool:
    """Whether a file is a TIFF of several pictures."""
    if not path.name.lower().endswith(TIFF):
        return False
    try:
        with _tiff(path) as file:
            return len(file.pages) > 1
    except InputError:
        return False


def files_of(path: Path) -> list[Path]:
    """The pictures of a folder or a glob, in natural order."""
    found = path.iterdir() if path.is_dir() else map(Path, glob.glob(str(path)))
    return sorted((p for p in found if p.is_file() and is_image(p)), key=natural)


class PictureFrames:
    """Pictures of files, each read when it is asked for."""

    def __init__(self, paths: Sequence[Path]):
        self._paths = tuple(paths)
        first = _picture(self._paths[0])
        self.n_frames = len(self._paths)
        self.shape: tuple[int, int] = (first.shape[0], first.shape[1])
        check_shape((self.n_frames, *self.shape), str(self._paths[0]))

    def read(self, start: int, stop: int) -> NDArray[np.uint8]:
        paths = self._paths[start:stop]
        out = np.empty((len(paths), *self.shape), np.uint8)
        for k, path in enumerate(paths):
            image = _picture(path)
            if image.shape != self.shape:
                raise InputError(f"{path}: expected {self.shape[0]} rows x {self.shape[1]} columns as in "
                                 f"{self._paths[0].name}, found {image.shape[0]} x {image.shape[1]}")
            out[k] = image
        return out


class StackFrames:
    """Pages of a TIFF, each read when it is asked for."""

    def __init__(self, path: Path):
        self._path = path
        with _tiff(path) as file:
            self._pages = len(file.pages)
            first = self._page(file, 0)
            shape: tuple[int, ...] = tuple(file.series[0].shape) if file.series else ()
        # ImageJ writes large stacks as one page and the others after it, without a word in the file's structure.
        self._whole = self._pages == 1 and len(shape) == 3 and shape[2] not in (1, 3, 4)
        if self._whole:
            first = self._block(0, 1)[0]
        self.n_frames = int(shape[0]) if self._whole else self._pages
        self.shape: tuple[int, int] = (first.shape[0], first.shape[1])
        check_shape((self.n_frames, *self.shape), str(path))

    def read(self, start: int, stop: int) -> NDArray[np.uint8]:
        stop = min(stop, self.n_frames)
        if self._whole:
            return self._block(start, stop)
        out = np.empty((max(stop - start, 0), *self.shape), np.uint8)
        with _tiff(self._path) as file:
            for k in range(start, stop):
                page = self._page(file, k)
                if page.shape != self.shape:
                    raise InputError(f"{self._path}: page {k}: expected {self.shape[0]} rows x {self.shape[1]} columns,"
                                     f" found {page.shape[0]} x {page.shape[1]}")
                out[k - start] = page
        return out

    def _block(self, start: int, stop: int) -> NDArray[np.uint8]:
        import tifffile
        data = tifffile.memmap(self._path, mode="r")
        return np.stack([grey(np.asarray(data[k]), f"{self._path}: picture {k}") for k in range(start, stop)])

    def _page(self, file: Any, k: int) -> NDArray[np.uint8]:
        try:
            image = np.asarray(file.pages[k].asarray())
        except MemoryError:
            raise
        except Exception as error:      # of a dozen kinds, by what decodes the page
            raise InputError(f"{self._path}: page {k} cannot be read ({one_line(error)}); is the file truncated?"
                             ) from error
        return grey(image, f"{self._path}: page {k}")


def open_scan(path: Path, calib: Path | None = None, landmarks: Path | None = None,
              pixel_mm: float | Sequence[float] | None = None) -> ScanContent:
    """Open a folder or a glob of pictures, or a TIFF stack.

    Raises
    ------
    InputError
        If there are no pictures, one is damaged or of another size, or nothing tells the pixel size.
    """
    name = check_name(scan_name(path), path)
    told: ImageCalibration | None = None
    source: FrameSource
    if path.is_file() and path.name.lower().endswith(TIFF):
        source, told = StackFrames(path), _spacing(path)
        paths = [path]
    else:
        paths = [path] if path.is_file() else files_of(path)
        if not paths:
            check_file(path)
            raise InputError(f"{path}: expected pictures ({', '.join(ENDINGS)}), found none")
        source = PictureFrames(paths)
        source.read(source.n_frames - 1, source.n_frames)
    calibration = pixels.settled(
        str(path), source, pixel_mm=pixel_mm, given=None if calib is None else calib_files.read(calib, source.shape),
        found=(lambda: told, lambda: tusrec.beside(paths[0], source.shape)))
    points, of_points = tusrec.find_landmarks(path, source.n_frames, source.shape, landmarks)
    return ScanContent(
        name=name, path=path, source=source, scale=calibration.scale, T_tool_image=calibration.T_tool_image,
        frame_rate_hz=DEFAULT_RATE_HZ, landmarks=points, calibration_source=calibration.source,
        warnings=[*calibration.warnings,
                  f"{path}: pictures do not tell their times; {DEFAULT_RATE_HZ:g} Hz are assumed", *of_points])


def scan_name(path: Path) -> str:
    """The folder's name, or what comes before the first sign of a glob, or the stem of a file."""
    if glob.has_magic(str(path)) and not path.exists():
        head = re.split(r"[*?\[]", path.name)[0].rstrip("_-. ")
        return head or path.absolute().parent.name
    return path.absolute().name if path.is_dir() else path.stem


def _picture(path: Path) -> NDArray[np.uint8]:
    from PIL import Image
    check_file(path)
    try:
        with warnings.catch_warnings(), Image.open(path) as image:
            warnings.simplefilter("ignore")
            plain = image.mode in ("1", "L", "RGB", "RGBA") or image.mode[0] in "IF"
            array = np.asarray(image if plain else image.convert("RGB"))      # a palette may be in colour
    except MemoryError:
        raise
    except Exception as error:      # of a dozen kinds, by what decodes the picture
        raise InputError(f"{path}: expected a picture, found something else or a damaged one ({one_line(error)})"
                         ) from error
    return grey(array, str(path))


def _tiff(path: Path) -> Any:
    import tifffile
    check_file(path)
    try:
        return tifffile.TiffFile(path)
    except MemoryError:
        raise
    except Exception as error:
        raise InputError(f"{path}: expected TIFF, found something else or a damaged file ({one_line(error)})"
                         ) from error


def _spacing(path: Path) -> ImageCalibration | None:
    """The spacing that ImageJ writes into a stack: pixels a unit as resolution, and the unit."""
    with _tiff(path) as file:
        told = file.imagej_metadata or {}
        unit = UNIT_MM.get(str(told.get("unit", "")))
        tags = [file.pages[0].tags.get(name) for name in ("XResolution", "YResolution")]
    if unit is None or any(tag is None for tag in tags):
        return None
    try:
        x, y = (unit * tag.value[1] / tag.value[0] for tag in tags)
    except (TypeError, ZeroDivisionError, IndexError):
        return None
    return pixels.of_spacing((x, y), f"{path}: ImageJ's resolution")
