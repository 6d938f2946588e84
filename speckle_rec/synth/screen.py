"""What a screen shows over and beside the field of view."""

import cv2
import numpy as np
from numpy.typing import NDArray

from ..probe.field import ProbeGeometry
from .beam import Beam
from .picture import Picture

Frame = NDArray[np.uint8]


def overlay(picture: Picture, beam: Beam, geometry: ProbeGeometry) -> Frame | None:
    """Text and logo, ruler and orientation mark, border; None where nothing is drawn."""
    if not (picture.text or picture.ruler or picture.border):
        return None
    out = np.zeros(geometry.shape, np.uint8)
    if picture.text:
        _text(out, picture, beam)
    if picture.ruler:
        _ruler(out, geometry)
    if picture.border:
        cv2.rectangle(out, (1, 1), (out.shape[1] - 2, out.shape[0] - 2), 120, 1)
    return out


def _text(out: Frame, picture: Picture, beam: Beam) -> None:
    font, columns = cv2.FONT_HERSHEY_SIMPLEX, out.shape[1]
    for k, line in enumerate((f"MSK {picture.probe}", f"{beam.frequency_hz * 1e-6:.1f} MHz",
                              f"{picture.depth_mm / 10:.1f} cm", f"DR {beam.dynamic_range_db:.0f} dB")):
        cv2.putText(out, line, (8, 22 + 16 * k), font, 0.4, 190, 1, cv2.LINE_AA)
    cv2.rectangle(out, (columns - 60, 8), (columns - 10, 26), 150, 1)
    cv2.putText(out, "US", (columns - 45, 22), font, 0.4, 220, 1, cv2.LINE_AA)


def _ruler(out: Frame, geometry: ProbeGeometry) -> None:
    columns = geometry.shape[1]
    sx, sy = geometry.scale[0, 0], geometry.scale[1, 1]
    for depth in range(0, int(geometry.depth_mm[1]) + 1, 10):
        row = round((geometry.face_mm[1] + depth) / sy)
        cv2.line(out, (columns - (9 if depth % 50 == 0 else 6), row), (columns - 3, row), 170, 1)
    x, y = geometry.cartesian(geometry.depth_mm[0] + 1.0, geometry.lateral[0])
    cv2.circle(out, (round(float(x) / sx) - 8, round(float(y) / sy)), 4, 230, -1)
