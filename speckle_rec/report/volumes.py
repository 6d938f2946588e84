"""The volumes of a result as the page holds them: grey values on one grid, packed, no larger than the page may be."""

import base64
import gzip
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ..io import nrrd
from ..products.volume import Volume

Array = NDArray[np.float64]

ESTIMATED, TRACKED = "volume.nrrd", "volume_tracked.nrrd"
MOST_VOXELS = 24_000_000        # that a browser is given to show
MOST_BYTES = 3_200_000          # of a packed volume; in base64, a third more of the page
DARKEST = 0.02                  # share of the seen voxels below the window that the page opens with, and above it


@dataclass(frozen=True)
class Embedded:
    """Volumes of one grid, fit for JSON and HTML.

    Attributes
    ----------
    grid : `size` (nx, ny, nz), `origin` and `spacing` in mm of frame 0, `window` (low, high) to open with; `below` and
        `tracked_layers`, how many layers `tracked` begins before `estimated`, and has.
    estimated, tracked : grey values [nz, ny, nx], gzip in base64; `tracked` is empty where there is none. It reaches to
        where the mirror image of the estimate lies, too.
    """

    grid: dict[str, Any]
    estimated: str
    tracked: str = ""


def read(folder: Path) -> Volume | None:
    """The volume of a result, if it has one whose axes are those of frame 0."""
    path = folder / ESTIMATED
    if not path.is_file():
        return None
    volume = nrrd.read(path)
    return volume if np.allclose(volume.directions, np.eye(3), atol=1e-6) and volume.data.any() else None


def embed(volume: Volume, folder: Path) -> Embedded:
    """A volume, and the one of the tracked poses where the folder has it, on the grid of the first."""
    other = nrrd.read(path) if (path := folder / TRACKED).is_file() else None
    low = np.array(volume.origin_mm) - volume.spacing_mm / 2
    spacing = volume.spacing_mm * max(1.0, (volume.data.size / MOST_VOXELS) ** (1 / 3))
    while True:
        data, step = _coarser(volume.data, volume.spacing_mm, spacing)
        origin = low + step / 2
        packed = [_packed(data)]
        below, layers = _layers(origin[2], step[2], len(data))
        if other is not None:
            packed.append(_packed(_on_grid(other, (layers, *data.shape[1:]), origin - [0, 0, below * step[2]], step)))
        if (largest := max(map(len, packed))) <= MOST_BYTES:
            break
        spacing *= max(1.05, (largest / MOST_BYTES) ** (1 / 3))
    grid = {"size": list(data.shape[::-1]), "origin": np.round(origin, 4).tolist(),
            "spacing": np.round(step, 6).tolist(), "window": window(data), "below": below, "tracked_layers": layers}
    return Embedded(grid, *map(_text, packed))


def window(data: NDArray[np.uint8]) -> list[int]:
    """Grey values (low, high) that show the voxels that were seen with most contrast."""
    seen = data[data > 0]
    if not len(seen):
        return [0, 255]
    low, high = np.quantile(seen[:: max(1, len(seen) // 500_000)], (DARKEST, 1 - DARKEST / 4))
    return [int(low), max(int(high), int(low) + 1)]


def _coarser(data: NDArray[np.uint8], has_mm: float, wanted_mm: float) -> tuple[NDArray[np.uint8], Array]:
    """Voxels of about `wanted_mm` by the mean over area, and their edges (x, y, z) in mm."""
    if wanted_mm <= has_mm * 1.001:
        return data, np.full(3, has_mm)
    nz, ny, nx = (max(1, round(n * has_mm / wanted_mm)) for n in data.shape)
    flat = np.stack([cv2.resize(layer, (nx, ny), interpolation=cv2.INTER_AREA) for layer in data])
    flat = flat.reshape(len(data), ny, nx)
    rows = (cv2.resize(np.ascontiguousarray(flat[:, j]), (nx, nz), interpolation=cv2.INTER_AREA) for j in range(ny))
    out: NDArray[np.uint8] = np.stack([row.reshape(nz, nx) for row in rows], axis=1).astype(np.uint8)
    return out, np.array([has_mm * n / m for n, m in zip(data.shape[::-1], (nx, ny, nz), strict=True)])


def _layers(first_mm: float, step_mm: float, n: int) -> tuple[int, int]:
    """Layers that lie before the first of `n`, and all, that hold these and their mirror image across z = 0."""
    last_mm = first_mm + (n - 1) * step_mm
    below = max(0, int(np.ceil((first_mm + last_mm) / step_mm)))
    above = max(0, int(np.ceil((-first_mm - last_mm) / step_mm)))
    return below, below + n + above


def _on_grid(volume: Volume, shape: tuple[int, ...], origin_mm: Array, step_mm: Array) -> NDArray[np.uint8]:
    """A volume at the places of another grid; zero outside."""
    start = (origin_mm - np.array(volume.origin_mm)) / volume.spacing_mm
    return ndimage.affine_transform(volume.data, (step_mm / volume.spacing_mm)[::-1], start[::-1], shape, order=1)


def _packed(data: NDArray[np.uint8]) -> bytes:
    return gzip.compress(np.ascontiguousarray(data).tobytes(), 6, mtime=0)


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
