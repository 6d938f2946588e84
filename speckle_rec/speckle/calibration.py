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

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..frames.features import GREY_PER_NEPER
from ..frames.texture import TEXTURE, measure, windows
from ..frames.working_images import WorkingImages
from ..io import checks, h5write
from ..io.hdf5 import attributes, one_line, open_h5, read_dataset
from ..io.staging import staged_file
from ..pairs.correlation import Correlations
from ..probe.field import KINDS, Cells, ProbeGeometry
from ..products.motion_priors import NO_FAN_ERROR, FanError, MirrorPrior
from ..products.stages import NO_FILTER, TimeFilter
from . import fibres
from .at_rest import cell_strengths, outlasting, strengths_at_rest
from .cell_regression import PARTS, parts
from .curves import RATES, Curves
from .strengths import WORST_CELL, CellStrengths, relative

Array = NDArray[np.float64]

VERSION = 5
PHYSICAL = "physical"       # stands for the hash of bare curves
FORMAT = "speckle_rec calibration"
DEFAULT_FILE = Path(__file__).parents[1] / "data" / "default_calibration.h5"
# Share of a motion that bare curves find in simulated worlds and limbs: tissue outlasts the beam (docs/notes/scale.md).
BARE_GAINS = {"curvilinear": 1.0, "linear": 0.7}
USUAL_SPREAD = (2.7, 2.9, 2.5, 1.6, 1.7, 2.4)   # of errors (7.10) where nobody measured it: about that in six worlds
SIGNS = (*TEXTURE, "strength", "static", "across")      # what predicts a cell's curve; all about 0 +- 1


def signs_of(speckle: Correlations, images: WorkingImages, cells: Cells, jobs: int = 0,
             filtered: TimeFilter = NO_FILTER) -> Callable[[Array | None], Array]:
    """Signs [W, P, F] of a scan's cells as a function of its poses [N, 4, 4]; None while those are not known.

    Texture, strength at rest, what outlasts far motion, and `fibres.across`, which alone asks for poses. Strength and
    what stays are taken relative to the other cells of the window, so that they do not tell how fast the probe moved:
    a regression on that would pull all motion towards the usual one (METHOD.md (7.4)).
    """
    n_frames, usual = images.scan.n_frames, Curves.usual(images.geometry.kind).through(filtered)
    strength, rate = strengths_at_rest(speckle, n_frames, usual)
    far, count = outlasting(speckle, strength, rate, n_frames, usual)
    static = 3 * (far - np.median(far, axis=1, keepdims=True)) * (count[:, None] > 0)
    texture, longer = measure(images, cells, GREY_PER_NEPER, jobs), fibres.elongation(images, cells, jobs)
    told = 2 * np.clip(relative(strength), 0, 1.1) - 1
    signs = np.concatenate([texture, np.stack([told, static, np.zeros_like(told)], -1)], -1)
    return lambda T: with_across(signs, fibres.across(longer, n_frames, T))


def with_across(signs: Array, across: Array) -> Array:
    """Signs [W, P, F] with another `fibres.across` [W]."""
    out = signs.copy()
    out[..., SIGNS.index("across")] = across[:, None]
    return out


@dataclass(frozen=True)
class Calibration:
    """What one machine's speckle does, and what its users do.

    Attributes
    ----------
    curves : decorrelation curves; their `floor` and `slow_share` are means over the training cells.
    coefficients : float64 [3, 1 + 2 F], of `PARTS` over `SIGNS` (`cell_regression.design`).
    mirror : usual signs of the protocol.
    priors : protocol statistics with counts, in the units their names say.
    figures : what held-out scans gave.
    provenance : data, command, versions.
    gain : share of a true motion that the whole engine finds with `gain` 1; the curves are stretched by it (`gain.py`).
    fan : that of fans and shifts over that of turns.
    crossed_fans : what is left of fans where planes cross, with the gains above.
    spread : [6], of true errors of poses in units of the standard deviations that the engine gives with `spread` 1.
    hash : of the file it was read from; empty until saved.
    """

    curves: Curves
    coefficients: Array
    kind: str = "curvilinear"
    mirror: MirrorPrior = field(default_factory=MirrorPrior)
    priors: dict[str, Any] = field(default_factory=dict)
    figures: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
    gain: float = 1.0
    fan: float = 1.0
    crossed_fans: FanError = NO_FAN_ERROR
    spread: tuple[float, ...] = (1.0,) * 6
    hash: str = ""

    @property
    def of_this_machine(self) -> bool:
        """Whether it was made for the machine: neither the one shipped nor bare curves."""
        return self.hash not in (PHYSICAL, Calibration.shipped().hash)

    def seen_through(self, filtered: TimeFilter) -> "Calibration":
        """This calibration for a scan whose scanner has a filter over time, see `Curves.filtered`."""
        return replace(self, curves=self.curves.through(filtered))

    def strengths(self, signs: Array, n_frames: int) -> CellStrengths:
        """Floor, slow share and stretch of every cell, predicted from its signs [W, P, F] (METHOD.md (7.2))."""
        floor, slow, stretch = parts(self.coefficients, signs)
        floor = np.where(floor < WORST_CELL, 0, floor)
        return CellStrengths((1 - slow) * floor, slow * floor, windows(n_frames)[1], stretch * self.gain)   # (7.9)

    def judge(self, speckle: Correlations, images: WorkingImages, cells: Cells,
              jobs: int = 0) -> Callable[[Array | None], CellStrengths]:
        """Strengths of a scan's cells as a function of its poses [N, 4, 4]; None while those are not known."""
        signs = signs_of(speckle, images, cells, jobs, self.curves.filtered)
        return lambda T: self.strengths(signs(T), images.scan.n_frames)

    def forms(self, geometry: ProbeGeometry, cells: Cells) -> Array:
        """Forms [P, 3, 3] of cells, see `Curves.forms`, with the gain of fans (METHOD.md (7.9))."""
        return self.curves.forms(geometry, cells) * [self.fan, self.fan, 1.0]

    def save(self, path: Path) -> "Calibration":
        """Write the file; returns the calibration with its hash.

        Raises
        ------
        InputError
            If `load` would refuse the file; nothing is written.
        """
        path = Path(path)
        self.check(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        with staged_file(path, overwrite=True) as part, h5write.create(part) as file:
            file.attrs.update(format=FORMAT, version=VERSION, kind=self.kind, gain=self.gain, fan=self.fan,
                              fan_share=self.crossed_fans.share, fan_slide_mm=self.crossed_fans.slide_mm,
                              spread=self.spread)
            for f in _curve_fields():
                file.attrs[f"curves.{f.name}"] = getattr(self.curves, f.name)
            file["coefficients"] = self.coefficients
            file["coefficients"].attrs.update(rows=json.dumps(PARTS), signs=json.dumps(SIGNS),
                                              columns="1, signs, squares of the signs; clipped at 2.5")
            for name, value in (("mirror", asdict(self.mirror)), ("priors", self.priors), ("figures", self.figures),
                                ("provenance", self.provenance)):
                file.attrs[name] = json.dumps(value, sort_keys=True)
        return replace(self, hash=file_hash(path))

    @classmethod
    def load(cls, path: Path) -> "Calibration":
        """Read a calibration file.

        Raises
        ------
        InputError
            If the file is missing or no calibration of this version.
        """
        path = checks.file_path(path, "Calibration.load")
        with open_h5(path) as file:
            found = attributes(file, path)
        if str(found.get("format")) != FORMAT:
            raise InputError(f"{path}: expected a calibration written by `calibrate`, found another HDF5 file")
        if str(found.get("version")) != str(VERSION):
            raise InputError(f"{path}: expected calibration version {VERSION}, found {found.get('version')}; "
                             "make it again with `calibrate`")
        try:
            curves = Curves(**{f.name: f.type_of(found[f"curves.{f.name}"]) for f in _curve_fields()})
            mirror = MirrorPrior(**json.loads(found["mirror"]))
            priors, figures, provenance = (_mapping(found, name) for name in ("priors", "figures", "provenance"))
            kind, gain, fan = str(found["kind"]), *(float(found.get(name, 1.0)) for name in ("gain", "fan"))
            fans = FanError(*(float(found.get(f"fan_{f.name}", f.default)) for f in fields(FanError)))
            spread = tuple(float(v) for v in np.ravel(found.get("spread", (1.0,) * 6)))
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            raise InputError(f"{path}: the calibration is damaged ({type(error).__name__}: {one_line(error)})"
                             ) from error
        read = cls(curves, read_dataset(path, "coefficients"), kind, mirror, priors, figures, provenance, gain, fan,
                   fans, spread, file_hash(path))
        read.check(path)
        return replace(read, coefficients=np.asarray(read.coefficients, np.float64))

    def check(self, path: Path) -> None:
        """Raise InputError, which names `path`, where a value is none that any machine can have."""
        _check_values(self.curves, self.mirror, self.kind, path)
        if not _all_within((self.gain, self.fan), 0.3, 3):
            raise InputError(f"{path}: gain: expected .3 to 3, found {self.gain:g}, of fans {self.fan:g}")
        fans = self.crossed_fans
        if not (_all_within(fans.share, 0.5, 2) and _all_within(fans.slide_mm, -20, 20)):
            raise InputError(f"{path}: fans where planes cross: expected a share of .5 to 2 and a slide of -20 to 20 "
                             f"mm, found {fans.share:g} and {fans.slide_mm:g}")
        if len(self.spread) != 6 or not _all_within(self.spread, 0.01, 1000):
            raise InputError(f"{path}: spread: expected six numbers of .01 to 1000, found {str(self.spread)[:80]}")
        found, expected = self.coefficients, (len(PARTS), 1 + 2 * len(SIGNS))
        if found.shape != expected or found.dtype.kind != "f" or not _all_within(
                found, -LARGEST_COEFFICIENT, LARGEST_COEFFICIENT):
            raise InputError(f"{path}: dataset 'coefficients': expected numbers {list(expected)} up to "
                             f"{LARGEST_COEFFICIENT:g}, found {found.dtype} {list(found.shape)}")

    @classmethod
    def shipped(cls) -> "Calibration":
        """The calibration that comes with the package, fitted to simulated scans of a 4DC7-3/40-like probe."""
        return _shipped()

    @classmethod
    def default(cls, kind: str) -> "Calibration":
        """What is used where none is given: the shipped one, or bare curves for a linear probe."""
        return cls.shipped() if kind == "curvilinear" else cls.bare(kind)

    @classmethod
    def bare(cls, kind: str) -> "Calibration":
        """Physical curves of a usual lens, without a look at what the images show of each cell."""
        return replace(Uncalibrated.of(Curves.usual(kind)), gain=BARE_GAINS[kind], spread=USUAL_SPREAD)


class Uncalibrated(Calibration):
    """Bare curves, without a regression over what the images show of each cell."""

    @classmethod
    def of(cls, curves: Curves) -> "Uncalibrated":
        """Curves as a calibration; its hash is `PHYSICAL`."""
        return cls(curves, np.zeros((len(PARTS), 1 + 2 * len(SIGNS))), hash=PHYSICAL)

    def judge(self, speckle: Correlations, images: WorkingImages, cells: Cells,
              jobs: int = 0) -> Callable[[Array | None], CellStrengths]:
        """Strengths of a scan's cells, see `at_rest.cell_strengths`, whatever its poses."""
        bare = cell_strengths(speckle, images.scan.n_frames, self.curves)
        strengths = replace(bare, stretch=bare.stretch * self.gain)
        return lambda T: strengths


@dataclass(frozen=True)
class _Field:
    name: str
    type_of: Callable[[Any], Any]


# What any probe and any tissue can have; outside them numbers overflow.
LARGEST_COEFFICIENT = 1e3
RANGES = {"wavelength_mm": (0.01, 2), "waist_mm": (0.05, 20), "focus_mm": (-500, 500), "tail_b": (1e-4, 1e4),
          "tail_beta": (1e-3, 1), "slow_share": (0, 1), "kappa": (0, 1), "floor": (0.01, 1.5),
          "scale_uncertainty": (0, 10), "steering": (1, 1e6), "rows": (0, 0.4)}


def _all_within(values: Any, low: float, high: float) -> bool:
    return bool(((np.asarray(values) >= low) & (np.asarray(values) <= high)).all())     # NaN is within nothing


def _check_values(curves: Curves, mirror: MirrorPrior, kind: str, path: Path) -> None:
    for name, (low, high) in RANGES.items():
        if not _all_within(getattr(curves, name), low, high):
            raise InputError(f"{path}: expected curves.{name} in {low:g}..{high:g}, found {getattr(curves, name)}")
    if curves.mix and not (len(curves.mix) == len(RATES) and _all_within(curves.mix, -1e-6, 2)
                           and 0.5 < sum(curves.mix) < 2):
        raise InputError(f"{path}: expected curves.mix of {len(RATES)} shares that add up to 1, found "
                         f"{str(curves.mix)[:80]}")
    if {mirror.turn_sign, mirror.tilt_sign} - {-1, 1} or not isinstance(mirror.source, str):
        raise InputError(f"{path}: expected mirror signs of 1 or -1, found {str(mirror)[:80]}")
    if kind not in KINDS:
        raise InputError(f"{path}: expected a calibration of a {' or '.join(KINDS)} probe, found '{kind[:40]}'")


def _mapping(found: dict[str, Any], name: str) -> dict[str, Any]:
    value = json.loads(found[name])
    if not isinstance(value, dict):
        raise ValueError(f"{name} is no mapping")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value.isprintable():
        raise ValueError("a text is expected")
    return value


_TYPES: dict[str, Callable[[Any], Any]] = {"source": _text, "mix": lambda v: tuple(float(x) for x in v)}


def _curve_fields() -> list[_Field]:
    return [_Field(f.name, _TYPES.get(f.name, float)) for f in fields(Curves) if f.name != "filtered"]     # of a scan


@cache
def _shipped() -> Calibration:
    return Calibration.load(DEFAULT_FILE)


def file_hash(path: Path) -> str:
    """SHA-256 of a file."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()
