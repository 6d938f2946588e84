"""Image-to-tool calibrations: the challenge's ``calib_matrix.csv``, a 4x4 of PLUS, a PLUS configuration.

PLUS maps [column, row, 0, 1], counted from 0, to the probe in mm by one matrix M. Here pixels count from 1,
and M splits into a scale (pixel -> image mm) and a rigid ``T_tool_image`` (see `from_plus`).
"""

import re
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..geometry import FARTHEST_MM, check_rigid
from .hdf5 import check_file, one_line

Array = NDArray[np.float64]

SCALE_TITLE = "scaling_from_pixel_to_mm"
TOOL_TITLE = "spatial_calibration_from_image_coordinate_system_to_tracking_tool_coordinate_system"
MAX_BYTES = 1 << 20

# Beyond this the axes of a calibration are a mistake, not the residual of an affine fit.
MAX_SHEAR = 0.1


@dataclass(frozen=True)
class ImageCalibration:
    """scale [4, 4] pixel (from 1) -> image mm, T_tool_image [4, 4] image mm -> tool mm, and their source."""

    scale: Array
    T_tool_image: Array | None
    source: str
    warnings: tuple[str, ...] = ()


def built_in() -> ImageCalibration:
    """The probe calibration published with TUS-REC2024 and TUS-REC2025 (Ultrasonix 4DC7-3/40, 9 cm)."""
    scale = np.diag([0.229389190673828, 0.220979690551758, 1.0, 1.0])
    T_tool_image = np.array([
        [0.231064671309448, -0.218052035041340, 0.948189025293473, -70.7413291931152],
        [-0.190847036221471, -0.965787272832032, -0.175591436013112, -80.6505661010742],
        [0.954036962825936, -0.140386087807861, -0.264773903381482, -46.1766223907471],
        [0, 0, 0, 1]])
    return ImageCalibration(scale, check_rigid(T_tool_image, "built-in calibration"),
                            "built-in (TUS-REC2025, Ultrasonix 4DC7-3/40 at 9 cm)")


def read(path: Path, shape: tuple[int, int]) -> ImageCalibration:
    """Read a calibration of any known layout; `shape` is (rows, columns) of the images.

    Layouts: the challenge's CSV (scale and rigid part under titles), a bare 4x4 as text or CSV (PLUS's M),
    a PLUS configuration (``<Transform From="Image" To="Probe" Matrix="...">``).

    Raises
    ------
    InputError
        If the file is missing, of no known layout, or not a scale with a rigid transform.
    """
    text = _text(path)
    if text.lstrip().startswith("<"):
        return from_plus(_xml_matrix(text, path), shape, str(path))
    if re.search(r"[A-Za-df-z_]{3}", text.replace("nan", "").replace("inf", "")):
        return _challenge(text, path)
    numbers = _numbers(text, path)
    if numbers.size != 16:
        raise InputError(f"{path}: expected a 4x4 matrix or the layout of calib_matrix.csv, "
                         f"found {numbers.size} numbers")
    return from_plus(numbers.reshape(4, 4), shape, str(path))


def write_challenge(path: Path, scale: Array, T_tool_image: Array) -> None:
    """Write ``calib_matrix.csv`` in the challenge's layout."""
    lines = []
    for title, matrix in ((SCALE_TITLE, scale), (TOOL_TITLE, T_tool_image)):
        lines.append(title)
        lines += [",".join(f"{value:.17g}" for value in row) for row in np.asarray(matrix, float)]
    Path(path).write_text("\n".join(lines) + "\n", encoding="ascii")


def from_plus(M: Array, shape: tuple[int, int], source: str) -> ImageCalibration:
    """Split PLUS's image-to-probe matrix M so that T_tool_image @ scale @ (c+1, r+1, 0, 1) = M @ (c, r, 0, 1).

    Exact where the image axes of M are at right angles. Published fits are affine; then the nearest
    rotation is taken, the image centre kept in place, and the largest deviation told in a warning.
    The third column of M is not used: images are flat, and z = x cross y.
    """
    M = np.asarray(M, np.float64)
    if M.shape != (4, 4) or not np.isfinite(M).all():
        raise InputError(f"{source}: expected a finite 4x4 matrix from image to probe")
    if np.abs(M).max() > FARTHEST_MM:
        raise InputError(f"{source}: expected numbers up to {FARTHEST_MM:g} mm, found {np.abs(M).max():.3g}")
    if np.abs(M[3] - (0, 0, 0, 1)).max() > 1e-6:
        raise InputError(f"{source}: expected a last row 0 0 0 1, found {M[3].tolist()}")
    sx, sy = np.linalg.norm(M[:3, 0]), np.linalg.norm(M[:3, 1])
    if not (1e-4 < sx < 10 and 1e-4 < sy < 10):
        raise InputError(f"{source}: expected pixels of 0.0001 to 10 mm, found {sx:.4g} x {sy:.4g} mm")
    x, y = M[:3, 0] / sx, M[:3, 1] / sy
    if abs(x @ y) > MAX_SHEAR:
        raise InputError(f"{source}: expected a rigid calibration; its image axes are "
                         f"{np.degrees(np.arccos(x @ y)):.1f} degrees apart, not 90")
    u, _, vt = np.linalg.svd(np.column_stack([x, y, np.cross(x, y)]))
    scale = np.diag([sx, sy, 1.0, 1.0])
    T = np.eye(4)
    T[:3, :3] = u @ vt
    rows, columns = shape
    centre = np.array([(columns - 1) / 2, (rows - 1) / 2, 0, 1])
    T[:3, 3] = (M @ centre)[:3] - T[:3, :3] @ (scale @ (centre + (1, 1, 0, 0)))[:3]
    corners = np.array([[0, 0, 0, 1], [columns - 1, 0, 0, 1], [0, rows - 1, 0, 1], [columns - 1, rows - 1, 0, 1.0]])
    moved = np.linalg.norm(corners @ M.T - (corners + (1, 1, 0, 0)) @ (T @ scale).T, axis=1).max()
    warnings = () if moved < 0.05 else (
        f"{source}: the calibration is not rigid; its nearest rigid one moves image corners by {moved:.2f} mm",)
    return ImageCalibration(scale, T, source, warnings)


def to_plus(scale: Array, T_tool_image: Array) -> Array:
    """PLUS's M (pixels from 0) of our scale (pixels from 1) and T_tool_image: the inverse of `from_plus`."""
    one_based = np.eye(4)
    one_based[:2, 3] = 1
    return T_tool_image @ scale @ one_based


def _text(path: Path) -> str:
    check_file(path, "calibration file")
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    if len(data) > MAX_BYTES or b"\0" in data:
        raise InputError(f"{path}: expected a calibration as text, found a binary or very long file")
    return data.decode("utf-8-sig", errors="replace")


def _numbers(text: str, path: Path) -> Array:
    try:
        return np.array([float(word) for word in re.split(r"[\s,;]+", text.strip()) if word])
    except ValueError as error:
        raise InputError(f"{path}: expected numbers, {one_line(error)}") from error


def _challenge(text: str, path: Path) -> ImageCalibration:
    tables: dict[str, list[Array]] = {}
    title = ""
    for line in text.splitlines():
        line = line.strip().strip(",").strip('"')
        if line and re.match(r"[A-Za-z_]{4}", line):
            title = line
            tables[title] = []
        elif line and title:
            tables[title].append(_numbers(line, path))
    named = {}
    for wanted in (SCALE_TITLE, TOOL_TITLE):
        rows = tables.get(wanted)
        if rows is None or len(rows) != 4 or any(len(row) != 4 for row in rows):
            raise InputError(f"{path}: expected four rows of four numbers under '{wanted}'")
        named[wanted] = np.array(rows)
    scale = named[SCALE_TITLE]
    check_scale(scale, str(path))
    return ImageCalibration(scale, check_rigid(named[TOOL_TITLE], f"{path}: image to tool"), str(path))


def check_scale(scale: Array, what: str) -> None:
    """Raise `InputError` unless `scale` [4, 4] is a positive diagonal scaling (offsets are allowed)."""
    if scale.shape != (4, 4) or not np.isfinite(scale).all():
        raise InputError(f"{what}: expected a finite 4x4 scaling from pixel to mm")
    linear = scale[:3, :3]
    if (np.abs(linear - np.diag(np.diag(linear))).max() > 1e-9 or np.diag(linear)[:2].min() <= 1e-4
            or np.diag(linear)[:2].max() > 10 or np.abs(scale[3] - (0, 0, 0, 1)).max() > 1e-9):
        raise InputError(f"{what}: expected a diagonal scaling of 0.0001 to 10 mm a pixel, "
                         f"found {np.diag(linear)[:2].tolist()}")


def _xml_matrix(text: str, path: Path) -> Array:
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise InputError(f"{path}: expected a PLUS configuration, {one_line(error)}") from error
    for element in root.iter("Transform"):
        if element.get("From") == "Image" and element.get("To") == "Probe":
            numbers = _numbers(element.get("Matrix", ""), path)
            if numbers.size == 16:
                return numbers.reshape(4, 4)
    raise InputError(f'{path}: expected <Transform From="Image" To="Probe" Matrix="16 numbers">')
