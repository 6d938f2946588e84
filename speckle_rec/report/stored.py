"""What the report reads from a result folder."""

import json
import tomllib
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..geometry import pixel_points
from .scene import middle_of, place_covariance

Array = NDArray[np.float64]


class Stored:
    """A result folder.

    Attributes
    ----------
    summary, config : as in ``summary.json`` and ``config.toml``.   shape : rows and columns of an image.
    T : [N, 4, 4].   previous : [N, 4, 4] or None, to the frame before.   scale : [4, 4], pixel -> mm.
    confidence : [N].   times : [N] (s) or None.   evidence : arrays by name.
    tracked : [N, 4, 4] or None; NaN where there are no tracked poses.
    outline : [m, 2] of the field of view, image mm.   middle : [3] of it.
    spread : [N, 3, 3] covariance (mm^2) of the place of the middle, or None.
    """

    def __init__(self, folder: Path, tracked: Array | None = None):
        self.folder = folder
        try:
            self.summary: dict[str, Any] = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
            with h5py.File(folder / "poses.h5") as file:
                self.T, self.scale, self.confidence = (
                    np.asarray(file[k]) for k in ("T_first_frame", "scale", "confidence"))
                self.times, outline, known, self.previous = (np.asarray(file[k]) if k in file else None for k in (
                    "timestamps_s", "outline_mm", "T_first_frame_tracked", "T_prev_frame"))
                about = file["covariance"].attrs.get("about_mm") if "covariance" in file else None
                covariance = None if about is None else np.asarray(file["covariance"])
                self.evidence = {name: np.asarray(values) for name, values in file.get("evidence", {}).items()}
            self.shape = int(self.summary["rows"]), int(self.summary["columns"])
        except (OSError, ValueError, KeyError) as error:
            raise InputError(f"{folder}: expected a result folder with poses.h5 and summary.json "
                             f"({type(error).__name__}: {error})") from error
        self.tracked = known if tracked is None else tracked
        rows, columns = self.shape
        self.outline: Array = outline if outline is not None else pixel_points(
            self.scale, np.array([1, columns, columns, 1, 1]), np.array([1, 1, rows, rows, 1]))[:, :2]
        if "phase" in self.evidence:
            self.evidence["phase"] = self.evidence["phase"].astype(str)
        self.middle = middle_of(self.outline)
        self.face_mm: tuple[float, float] = (
            (float(self.outline[:, 0].min() + self.outline[:, 0].max()) / 2, float(self.outline[:, 1].min()))
            if about is None else (float(about[0]), float(about[1])))
        self.spread = None if covariance is None else place_covariance(self.T, covariance, np.asarray(about),
                                                                       self.middle)
        self.config: dict[str, Any] = {}
        try:
            self.config_text = (folder / "config.toml").read_text(encoding="utf-8")
            self.config = tomllib.loads(self.config_text)
        except FileNotFoundError:
            self.config_text = ""
        except ValueError:      # is shown as it is
            pass

    @property
    def numbers(self) -> dict[str, Any]:
        """The figures of the stages."""
        return self.summary.get("numbers") or {}

    @property
    def verdict(self) -> dict[str, Any]:
        """The verdict, empty where an older version wrote none."""
        return self.summary.get("verdict") or {}

    @property
    def seconds(self) -> Array:
        """Times [N] (s) since the first frame; the frames' numbers where there are no times."""
        return np.arange(float(len(self.T))) if self.times is None else self.times - self.times[0]
