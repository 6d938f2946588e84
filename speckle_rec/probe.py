"""The probe as the image shows it: a curvilinear sector or a linear field of view, and its cells."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class ProbeGeometry:
    """Field of view of a curvilinear or linear probe in image mm (x right, y down).

    A point of the field has range r (mm along its beam from the probe face) and lateral coordinate u:
    the beam's angle from the y axis (rad, positive to +x) for a curvilinear probe, x in mm for a linear one.
    """

    kind: str                     # "curvilinear" or "linear"
    shape: tuple[int, int]        # rows, columns of the image
    scale: NDArray[np.float64]    # [4, 4] pixel (from 1) -> image mm
    apex_mm: tuple[float, float]  # centre of curvature (x, y); linear: the face's centre
    radius_mm: float              # radius of the face about the apex; 0 for linear
    depth_mm: tuple[float, float]     # first and last range that carries echoes
    lateral: tuple[float, float]      # first and last u

    @property
    def face_mm(self) -> tuple[float, float]:
        """Centre of the probe face (x, y) in image mm."""
        return self.apex_mm[0], self.apex_mm[1] + self.radius_mm

    def polar(self, x_mm, y_mm):
        """(r, u) of image points (mm)."""
        dx, dy = np.asarray(x_mm) - self.apex_mm[0], np.asarray(y_mm) - self.apex_mm[1]
        if self.kind == "linear":
            return dy, dx
        return np.hypot(dx, dy) - self.radius_mm, np.arctan2(dx, dy)

    def cartesian(self, r, u):
        """Image points (x, y) in mm of (r, u)."""
        if self.kind == "linear":
            return self.apex_mm[0] + np.asarray(u), self.apex_mm[1] + np.asarray(r)
        rho = np.asarray(r) + self.radius_mm
        return self.apex_mm[0] + rho * np.sin(u), self.apex_mm[1] + rho * np.cos(u)

    def mask(self) -> NDArray[np.bool_]:
        """True [rows, columns] where a pixel lies inside the field of view."""
        rows, columns = self.shape
        x = self.scale[0, 0] * np.arange(1, columns + 1) + self.scale[0, 3]
        y = self.scale[1, 1] * np.arange(1, rows + 1) + self.scale[1, 3]
        r, u = self.polar(*np.meshgrid(x, y))
        return ((r >= self.depth_mm[0]) & (r <= self.depth_mm[1])
                & (u >= self.lateral[0]) & (u <= self.lateral[1]))


def ultrasonix_4dc7(scale: NDArray[np.float64], shape: tuple[int, int] = (480, 640)) -> ProbeGeometry:
    """The Ultrasonix 4DC7-3/40 at 9 cm depth, centred in the image: 40 mm radius, 68 degrees.

    The radius and depth are published (TUS-REC2025); the opening angle and the place in the image are
    those of a sector that fills a 640 x 480 image, and `find` measures them on the frames of a scan.
    """
    width_mm = scale[0, 0] * shape[1]
    half = np.deg2rad(34.0)
    face_y = 9.0
    return ProbeGeometry("curvilinear", shape, np.asarray(scale, float),
                         (width_mm / 2, face_y - 40.0), 40.0, (0.0, 90.0), (-half, half))
