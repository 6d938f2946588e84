"""Calibration of a machine: decorrelation curves and what a scan's own images say about its cells, in one file.

`training` collects the statistics, `curvefit` fits them; this is the outcome and its use (docs/METHOD.md, section 7).
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cache
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from .curvefit import PARTS, parts
from .decorrelation import WORST_CELL, CellStrengths, Correlations, Curves, relative_strength, typical_correlation
from .direction import MirrorPrior
from .errors import InputError
from .io.source import open_h5, read_dataset
from .tissue import TEXTURE, Texture, windows

Array = NDArray[np.float64]

VERSION = 2
FORMAT = "speckle_rec calibration"
DEFAULT_FILE = Path(__file__).parent / "data" / "default_calibration.h5"
SIGNS = (*TEXTURE, "strength", "static")      # what predicts a cell's curve; all about 0 +- 1
STATIC_LAGS = (16, 32)


def signs_of(speckle: Correlations, n_frames: int, texture: Texture) -> Array:
    """Signs [W, P, F] of cells, from images alone: texture, lag-1 strength, and what stays correlated at long lags.

    The last two are taken relative to the other cells of the window, so that they do not tell how fast the
    probe moved: a regression on that would pull all motion towards the usual one (METHOD.md (7.4)).
    """
    strength = 2 * np.clip(relative_strength(speckle, n_frames), 0, 1.1) - 1
    far, count = typical_correlation(speckle, n_frames, STATIC_LAGS)
    static = 3 * (far - np.median(far, axis=1, keepdims=True)) * (count[:, None] > 0)
    return np.concatenate([texture.values, strength[..., None], static[..., None]], -1)


@dataclass(frozen=True)
class Calibration:
    """What one machine's speckle does, and what its users do.

    Attributes
    ----------
    curves : decorrelation curves; their `floor` and `slow_share` are means over the training cells.
    coefficients : float64 [3, 1 + 2 F], of `PARTS` over `SIGNS` (`curvefit.design`).
    mirror : usual signs of the protocol.
    priors : protocol statistics with counts, in the units their names say.
    figures : what held-out scans gave.
    provenance : data, command, versions.
    hash : of the file it was read from; empty until saved.
    """

    curves: Curves
    coefficients: Array
    kind: str = "curvilinear"
    mirror: MirrorPrior = field(default_factory=MirrorPrior)
    priors: dict[str, Any] = field(default_factory=dict)
    figures: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
    hash: str = ""

    def strengths(self, speckle: Correlations, n_frames: int, texture: Texture) -> CellStrengths:
        """Floor, slow share and stretch of every cell, predicted from the scan's images (METHOD.md (7.2))."""
        floor, slow, stretch = parts(self.coefficients, signs_of(speckle, n_frames, texture))
        floor = np.where(floor < WORST_CELL, 0, floor)
        return CellStrengths((1 - slow) * floor, slow * floor, windows(n_frames)[1], stretch)

    def save(self, path: Path) -> "Calibration":
        """Write the file; returns the calibration with its hash."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(path.name + ".part")
        with h5py.File(part, "w") as file:
            file.attrs.update(format=FORMAT, version=VERSION, kind=self.kind)
            for name, value in asdict(self.curves).items():
                file.attrs[f"curves.{name}"] = value
            file["coefficients"] = self.coefficients
            file["coefficients"].attrs.update(rows=json.dumps(PARTS), signs=json.dumps(SIGNS),
                                              columns="1, signs, squares of the signs; clipped at 2.5")
            for name, value in (("mirror", asdict(self.mirror)), ("priors", self.priors), ("figures", self.figures),
                                ("provenance", self.provenance)):
                file.attrs[name] = json.dumps(value, sort_keys=True)
        part.replace(path)
        return replace(self, hash=file_hash(path))

    @classmethod
    def load(cls, path: Path) -> "Calibration":
        """Read a calibration file.

        Raises
        ------
        InputError
            If the file is missing or no calibration of this version.
        """
        path = Path(path)
        with open_h5(path) as file:
            attributes = dict(file.attrs)
        if attributes.get("format") != FORMAT:
            raise InputError(f"{path}: expected a calibration written by `calibrate`, found another HDF5 file")
        if attributes.get("version") != VERSION:
            raise InputError(f"{path}: expected calibration version {VERSION}, found {attributes.get('version')}; "
                             "make it again with `calibrate`")
        try:
            curves = Curves(**{f.name: f.type_of(attributes[f"curves.{f.name}"]) for f in _curve_fields()})
            mirror = MirrorPrior(**json.loads(attributes["mirror"]))
            told = [json.loads(attributes[name]) for name in ("priors", "figures", "provenance")]
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"{path}: the calibration is damaged ({type(error).__name__}: {error})") from error
        coefficients = read_dataset(path, "coefficients")
        expected = (len(PARTS), 1 + 2 * len(SIGNS))
        if coefficients.shape != expected or coefficients.dtype.kind != "f" or not np.isfinite(coefficients).all():
            raise InputError(f"{path}: dataset 'coefficients': expected finite numbers {list(expected)}, "
                             f"found {coefficients.dtype} {list(coefficients.shape)}")
        priors, figures, provenance = told
        return cls(curves, np.asarray(coefficients, np.float64), str(attributes.get("kind", "curvilinear")), mirror,
                   priors, figures, provenance, file_hash(path))

    @classmethod
    def shipped(cls) -> "Calibration":
        """The calibration that comes with the package, fitted to simulated scans of a 4DC7-3/40-like probe."""
        return _shipped()


@dataclass(frozen=True)
class _Field:
    name: str
    type_of: Callable[[Any], Any]


_TYPES: dict[str, Callable[[Any], Any]] = {"source": str, "mix": lambda v: tuple(float(x) for x in v)}


def _curve_fields() -> list[_Field]:
    return [_Field(f.name, _TYPES.get(f.name, float)) for f in fields(Curves)]


@cache
def _shipped() -> Calibration:
    return Calibration.load(DEFAULT_FILE)


def file_hash(path: Path) -> str:
    """SHA-256 of a file."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()
