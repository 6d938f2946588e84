"""What compounding makes of frames and poses."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Volume:
    """A compounded volume.

    Attributes
    ----------
    data : uint8 [nz, ny, nx], zero where nothing was seen.
    accumulation : float32 [nz, ny, nx], number (or summed weight) of the pixels behind each voxel; zero in
        holes, filled or not.
    origin_mm : (x, y, z) of the centre of voxel [0, 0, 0] in the image mm of frame 0.
    spacing_mm : edge of a voxel.
    directions : float64 [3, 3], columns are the grid's x, y and z axes in the image mm of frame 0.
    """

    data: NDArray[np.uint8]
    accumulation: NDArray[np.float32]
    origin_mm: tuple[float, float, float]
    spacing_mm: float
    directions: Array
