"""How large a pixel is: what a user, a file and its surroundings say of it, and what is done where nothing does.

A wrong size makes every distance wrong in silence, so that none is assumed: but for frames of the size and the field
of view of the probe whose calibration is built in, and then a warning says so.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..probe import field
from . import calib as calib_files
from .calib import ImageCalibration
from .hdf5 import H5_ERRORS, h5_dataset, one_line, open_h5
from .source import FrameSource, sampled

Array = NDArray[np.float64]
Size = tuple[float, float]

SMALLEST_MM, LARGEST_MM = 1e-4, 10.0        # of what a user gives
LEAST_TOLD_MM, MOST_TOLD_MM = 0.01, 2.0     # of what a file tells, which may have meant other units
SAME = 0.01                                 # relative difference that is rounding
HOW = "give --pixel-mm X [Y] in mm, or --calib FILE (in Python pixel_mm=, or calib=)"

# Names by which programs call it, lower case, without - and _: PixelSpacing is DICOM's, rows before columns.
ROWS_FIRST = ("pixelspacing", "imagerpixelspacing")
NAMES = ("pixelmm", "pixelsizemm", "mmperpixel", "pixelspacingmm", "spacingmm", "pixelsize", "spacing",
         "elementspacing", *ROWS_FIRST)
X_FIRST = ("pixelmm", "elementspacing")     # ours and MetaImage's say which is which


def checked(pixel_mm: float | Sequence[float], what: str = "pixel_mm") -> Size:
    """Width and height (mm) of a pixel that a user gives as one number or two.

    Raises
    ------
    InputError
        If it is something else, or no size of a pixel.
    """
    try:
        values = [float(v) for v in np.atleast_1d(np.asarray(pixel_mm, np.float64))]
    except (TypeError, ValueError):
        values = []
    if len(values) not in (1, 2) or not all(SMALLEST_MM < v <= LARGEST_MM for v in values):
        raise InputError(f"{what}: expected the width and height of a pixel in mm (one number if they are equal) of "
                         f"{SMALLEST_MM:g} to {LARGEST_MM:g}, found {str(pixel_mm)[:60]}")
    return values[0], values[-1]


def scale_of(size: Size) -> Array:
    """The scale [4, 4], pixel (from 1) -> image mm, of pixels of a size."""
    return np.diag([*size, 1.0, 1.0])


def of_spacing(values: Sequence[float], what: str) -> ImageCalibration | None:
    """The calibration that a spacing (x, y) tells; None for the 1 1 that programs write where they know none.

    Raises
    ------
    InputError
        If no pixel has that size: the unit may be another.
    """
    x, y = values
    if x == y == 1:
        return None
    if not all(math.isfinite(v) and LEAST_TOLD_MM <= v <= MOST_TOLD_MM for v in (x, y)):
        raise InputError(f"{what}: expected pixels of {LEAST_TOLD_MM:g} to {MOST_TOLD_MM:g} mm, found {x:g} x {y:g}; "
                         "is the unit mm? --pixel-mm X [Y] says otherwise")
    return ImageCalibration(scale_of((x, y)), None, what)


def settled(what: str, source: FrameSource, *, pixel_mm: float | Sequence[float] | None = None,
            given: ImageCalibration | None = None,
            found: Iterable[Callable[[], ImageCalibration | None]] = ()) -> ImageCalibration:
    """The calibration of a scan: what is given, else what is found first, else the built-in one where frames show it.

    Parameters
    ----------
    pixel_mm : size that a user gives; it wins over what is found.
    given : calibration that a user gives.
    found : what the scan and its surroundings may tell, the best first; not asked where all is known.

    Raises
    ------
    InputError
        If nothing tells the size of a pixel, or a user gives two that disagree.
    """
    size = None if pixel_mm is None else checked(pixel_mm)
    if given is not None:
        if size is not None and not _agree(given.scale, scale_of(size)):
            raise InputError(f"{what}: expected one size of a pixel, found two: {_told(scale_of(size))} as pixel size "
                             f"and {_told(given.scale)} in {given.source}; leave one out")
        return given
    told = [] if size is None else [ImageCalibration(scale_of(size), None, f"given ({_told(scale_of(size))})")]
    for ask in found:
        if told and told[0].T_tool_image is not None:
            break
        try:
            more = ask()
        except InputError:
            if size is None:
                raise
            continue        # what is given stands in for what is damaged
        if more is not None:
            told = [_joined(told[0], more)] if told else [more]
    if told:
        return told[0]
    built_in = calib_files.built_in()
    frames = sampled(source) if source.shape == field.SHAPE_4DC7 else None
    if frames is not None and field.shows_4dc7(frames, built_in.scale):
        return replace(built_in, warnings=(
            f"{what}: nothing tells the pixel size; {_told(built_in.scale)} of the built-in probe are taken, since "
            f"the frames have its size and show its field of view; {HOW} if it was another",))
    rows, columns = source.shape
    raise InputError(f"{what}: nothing tells the pixel size of its frames ({rows} rows x {columns} columns, not those "
                     f"of the built-in probe); {HOW}")


def of_h5(path: Path, key: str = "frames") -> ImageCalibration | None:
    """What attributes of a dataset or of its file, or small datasets beside it, tell of the pixel size.

    Raises
    ------
    InputError
        If they tell a size that no pixel has, or do not say which number is which.
    """
    with open_h5(path) as file:
        try:
            places = [(item.attrs, name, f"{path}: attribute '{name}'") for item in (file[key], file)
                      for name in item.attrs]
            values = [(name, what, _attribute(attributes, name)) for attributes, name, what in places
                      if _plain(name) in NAMES]
            values += [(name, f"{path}: dataset '{name}'", _dataset(file, name, path)) for name in file
                       if _plain(name) in NAMES]
        except H5_ERRORS as error:
            raise InputError(f"{path}: the attributes cannot be read ({one_line(error)})") from error
    for name, what, numbers in values:
        if numbers is not None and (told := _of_numbers(numbers, _plain(name), what)) is not None:
            return told
    return None


def is_name(name: str) -> bool:
    """Whether programs call the size of a pixel so."""
    return _plain(name) in NAMES


def of_named(numbers: Array, name: str, what: str) -> ImageCalibration | None:
    """What one to three numbers under a name tell of the size of a pixel; see `of_h5`."""
    return _of_numbers(numbers, _plain(name), what)


def _of_numbers(numbers: Array, name: str, what: str) -> ImageCalibration | None:
    """What one to three numbers under a name tell: x and y, but for DICOM's rows and columns."""
    if len(numbers) == 3 and len(set(numbers)) > 1:     # a stack: the odd one is the step between frames
        odd = [k for k in (0, 2) if np.ptp(np.delete(numbers, k)) <= SAME * numbers[1]]
        if len(odd) != 1:
            raise InputError(f"{what}: expected the width and height of a pixel, found {numbers.tolist()}, which may "
                             f"be in either order; {HOW}")
        numbers = np.delete(numbers, odd[0])
    x, y = float(numbers[0]), float(numbers[min(1, len(numbers) - 1)])
    if name in ROWS_FIRST:
        x, y = y, x
    found = of_spacing((x, y), what)
    if found is not None and name not in (*X_FIRST, *ROWS_FIRST) and not np.isclose(x, y, rtol=SAME):
        return replace(found, warnings=(f"{what}: does not say which is which; pixels of {_told(found.scale)} (width x "
                                        "height) are taken; give --pixel-mm X Y if it is the other way round",))
    return found


def _joined(first: ImageCalibration, second: ImageCalibration) -> ImageCalibration:
    """The pixel size of the first with the image-to-tool transform of the second, and what they disagree on."""
    same = _agree(first.scale, second.scale)
    warning = () if same else (
        f"pixels of {_told(first.scale)} ({first.source}) are taken, not the {_told(second.scale)} of {second.source}",)
    if second.T_tool_image is None:
        return replace(first, warnings=(*first.warnings, *warning))
    return ImageCalibration(first.scale, second.T_tool_image, f"{first.source}; image to tool: {second.source}",
                            (*first.warnings, *second.warnings, *warning))


def _agree(a: Array, b: Array) -> bool:
    return bool(np.allclose(np.diag(a)[:2], np.diag(b)[:2], rtol=SAME, atol=0))


def _told(scale: Array) -> str:
    return f"{scale[0, 0]:.4g} x {scale[1, 1]:.4g} mm"


def _plain(name: str) -> str:
    return name.lower().replace("_", "").replace("-", "").replace(" ", "")


def _attribute(attributes: h5py.AttributeManager, name: str) -> Array | None:
    """One to three numbers; types with texts are not read, whose heaps may be damaged."""
    stored = attributes.get_id(name)
    if stored.dtype.kind not in "fiu" or stored.shape is None or not 1 <= math.prod(stored.shape) <= 3:
        return None
    return np.asarray(attributes[name], np.float64).reshape(-1)


def _dataset(file: h5py.File, name: str, path: Path) -> Array | None:
    data = h5_dataset(file, name, path)
    if data.dtype.kind not in "fiu" or data.size is None or not 1 <= data.size <= 3:
        return None
    return np.asarray(data[()], np.float64).reshape(-1)
