"""How a machine makes a picture of echoes: field of view, grey map, gains, levels, what is drawn over it.

The range of brightness (`dynamic_range_db`), the number of lines and the gain belong to `beam.Beam`.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..io import checks
from ..io.calib import built_in
from ..probe.field import SHAPE_4DC7, ProbeGeometry

Array = NDArray[np.float64]
Frame = NDArray[np.uint8]

GREY_MAPS = ("linear", "s-shaped", "gamma")
CODECS = {"none": None, "h264 high": 18, "h264 medium": 26, "h264 low": 34}     # constant rate factors
_SCALE = built_in().scale


@dataclass(frozen=True)
class ProbeFace:
    """A probe's face: radius and half opening of a convex one (rad), half width of a linear one (mm)."""

    kind: str
    radius_mm: float
    half: float


PROBES = {"convex 40": ProbeFace("curvilinear", 40.0, float(np.deg2rad(34))),     # as the 4DC7-3/40
          "convex 60": ProbeFace("curvilinear", 60.0, float(np.deg2rad(30))),
          "convex 15": ProbeFace("curvilinear", 15.0, float(np.deg2rad(42))),
          "linear 38": ProbeFace("linear", 0.0, 19.0),
          "linear 50": ProbeFace("linear", 0.0, 25.0)}


@dataclass(frozen=True)
class Picture:
    """The picture on the screen; the defaults are those of the TUS-REC challenge.

    Attributes
    ----------
    probe : one of `PROBES`.
    depth_mm : last range that is shown.
    shape : rows and columns of the image. A field of view that is larger is cropped.
    pixel_mm : width and height of a pixel.
    top_mm : from the upper border to the middle of the probe's face; negative crops the near field.
    axis : where the middle line of the probe lies, as a share of the image's width.
    grey_map : "linear" in dB; "s-shaped", x - map_strength sin(2 pi x) / 2 pi; "gamma", x to the power of map_strength.
        x is the grey level of eq. 8 over 255.
    map_strength : of the two others: 0 to 1, or .3 to 3.
    tgc_db : gain at equal distances over the depth (the machine's sliders).
    sides_db : gain of the right end of the face over the left one.
    levels : grey levels that are told apart, up to 256.
    text, ruler, border : what is drawn over the picture.
    codec : video compression, one of `CODECS`.
    """

    probe: str = "convex 40"
    depth_mm: float = 90.0
    shape: tuple[int, int] = SHAPE_4DC7
    pixel_mm: tuple[float, float] = (float(_SCALE[0, 0]), float(_SCALE[1, 1]))
    top_mm: float = 9.0
    axis: float = 0.5
    grey_map: str = "linear"
    map_strength: float = 1.0
    tgc_db: tuple[float, ...] = (0.0,) * 8
    sides_db: float = 0.0
    levels: int = 256
    text: bool = False
    ruler: bool = False
    border: bool = False
    codec: str = "none"

    def __post_init__(self):
        for name, known in (("probe", PROBES), ("grey_map", GREY_MAPS), ("codec", CODECS)):
            if getattr(self, name) not in known:
                raise InputError(f"{name}: expected one of {', '.join(known)}, found {getattr(self, name)!r}")
        for name, low, high in (("depth_mm", 20, 300), ("top_mm", -100, 100), ("axis", 0, 1), ("sides_db", -60, 60)):
            checks.number(getattr(self, name), name, low, high)
        if self.grey_map != "linear":
            checks.number(self.map_strength, "map_strength", *((0, 1) if self.grey_map == "s-shaped" else (0.3, 3)))
        for size in self.shape:
            checks.whole(size, "shape", 32, 4096)
        for size_mm in self.pixel_mm:
            checks.number(size_mm, "pixel_mm", 0.01, 2, " mm")
        for db in self.tgc_db:
            checks.number(db, "tgc_db", -60, 60, " dB")
        if len(self.tgc_db) < 2:
            raise InputError(f"tgc_db: expected 2 numbers or more, found {len(self.tgc_db)}")
        checks.whole(self.levels, "levels", 2, 256)
        if not self.geometry().field().any():
            raise InputError(f"top_mm {self.top_mm:g}: expected a field of view within the image, found it outside")

    def geometry(self) -> ProbeGeometry:
        """The field of view in the image."""
        face = PROBES[self.probe]
        scale = np.diag([*self.pixel_mm, 1.0, 1.0])
        apex = (self.pixel_mm[0] * self.shape[1] * self.axis, self.top_mm - face.radius_mm)
        return ProbeGeometry(face.kind, self.shape, scale, apex, face.radius_mm, (0.0, self.depth_mm),
                             (-face.half, face.half))

    @property
    def plain(self) -> bool:
        """Whether grey levels are those of eq. 8."""
        return self.grey_map == "linear" and not any(self.tgc_db) and not self.sides_db

    def gain(self, n_r: int, n_lines: int) -> NDArray[np.float32]:
        """Amplitude gain [n_r, n_lines] of the sliders and of the sides."""
        sliders = np.interp(np.linspace(0, 1, n_r), np.linspace(0, 1, len(self.tgc_db)), self.tgc_db)
        sides = self.sides_db * np.linspace(-0.5, 0.5, n_lines)
        return (10 ** ((sliders[:, None] + sides) / 20)).astype(np.float32)

    def mapped(self, grey, xp=np):
        """Grey levels 0..255 on the screen of those of eq. 8; an array of module `xp`. Ascending, 0 and 255 stay."""
        if self.grey_map == "linear":
            return grey
        x = grey / np.float32(255)
        if self.grey_map == "gamma":
            return np.float32(255) * x ** np.float32(self.map_strength)
        return np.float32(255) * (x - np.float32(self.map_strength / (2 * np.pi)) * xp.sin(np.float32(2 * np.pi) * x))

    def quantised(self, frame: Frame) -> Frame:
        """A frame with `levels` grey levels."""
        if self.levels == 256:
            return frame
        step = np.rint(np.arange(256) * (self.levels - 1) / 255)
        return np.rint(step * 255 / (self.levels - 1)).astype(np.uint8)[frame]


def fitted(probe: str, depth_mm: float, pixel_mm: tuple[float, float], *, margin_mm: float = 1.5,
           beside_mm: float = 0.0, crop: float = 0.0) -> dict:
    """Settings of a `Picture` whose image just holds the field of view.

    Parameters
    ----------
    margin_mm, beside_mm : black around the field, and more of it on both sides (for text).
    crop : share of the field's width that the borders cut off.
    """
    face = PROBES[probe]
    half_mm = face.half if face.kind == "linear" else (face.radius_mm + depth_mm) * np.sin(face.half)
    sag_mm = 0.0 if face.kind == "linear" else face.radius_mm * (1 - np.cos(face.half))
    width_mm = 2 * half_mm * (1 - crop) + (0 if crop else 2 * (margin_mm + beside_mm))
    top_mm = margin_mm + sag_mm
    rows, columns = (int(np.ceil(size / px / 8)) * 8 for size, px in ((top_mm + depth_mm + margin_mm, pixel_mm[1]),
                                                                       (width_mm, pixel_mm[0])))
    return {"probe": probe, "depth_mm": depth_mm, "pixel_mm": pixel_mm, "shape": (rows, columns),
            "top_mm": float(top_mm)}
