"""The few parameters of a run: frozen, each with a default, read from TOML, saved with the result."""

import difflib
import tomllib
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from .errors import InputError
from .io import checks

DEVICES = ("auto", "cpu", "gpu")
MAX_BYTES = 1 << 20
MAX_JOBS = 4096
FUSIONS = ("smooth", "batch", "revisits")
TIME_FILTERS = ("auto", "none")
MOTIONS = ("auto", "fan", "sweep")
TO_OR_FRO, TURNS = ("towards", "away"), ("clockwise", "anticlockwise")


@dataclass(frozen=True)
class Config:
    """Parameters of a reconstruction.

    Attributes
    ----------
    device : "auto", "cpu" or "gpu".
    jobs : threads of the kernels; 0 takes all cores.
    seed : of whatever draws random numbers.
    fusion : "smooth", Kalman/RTS over the steps, the fastest; "batch", Gauss-Newton over all pairs; "revisits", that
        with loop closures, several starts and mirror tests (as "smooth" where too little is seen twice).
        docs/BENCHMARKS.md says what each measures.
    mirrored : take the mirror image of what the usual directions decide, where the probe is known to have gone the
        other way: images cannot tell.
    time_filter : "auto" reckons with the averaging of frames that the noise of a scan tells of; "none" with none.
    motion : "fan", about a contact point; "sweep", carried along the skin; "auto", as the images and the probe suggest.
    swept, tilted_first : "towards" or "away" from who holds the probe, the way of the first stroke of a sweep, and of
        the far end of the picture in the first stroke of a fan.
    turned : "clockwise" or "anticlockwise", seen from the hand down the probe.
        Each of the three decides between the two mirror images (docs/HANDEDNESS.md); None where not known.
    """

    device: str = "auto"
    jobs: int = 0
    seed: int = 0
    fusion: str = "revisits"
    mirrored: bool = False
    time_filter: str = "auto"
    motion: str = "auto"
    swept: str | None = None
    turned: str | None = None
    tilted_first: str | None = None

    def __post_init__(self) -> None:
        for name, known in (("device", DEVICES), ("fusion", FUSIONS), ("time_filter", TIME_FILTERS),
                            ("motion", MOTIONS), ("swept", TO_OR_FRO), ("turned", TURNS), ("tilted_first", TO_OR_FRO)):
            word = getattr(self, name)
            if word is None and name in ("swept", "turned", "tilted_first"):
                continue
            if not isinstance(word, str) or word not in known:
                raise InputError(f"{name}: expected one of {', '.join(known)}, found {checks.described(word)}"
                                 f"{did_you_mean(str(word), known)}")
        checks.whole(self.jobs, "jobs (0 takes all cores)", 0, MAX_JOBS)
        checks.whole(self.seed, "seed", 0, (1 << 63) - 1)
        for field in fields(self):
            if isinstance(field.default, bool) and not isinstance(getattr(self, field.name), bool):
                raise InputError(f"{field.name}: expected True or False, found "
                                 f"{checks.described(getattr(self, field.name))}")

    @property
    def only_swept(self) -> bool:
        """Whether a sweep is all that is told of the motion."""
        return self.swept is not None and self.turned is None and self.tilted_first is None

    def resolved(self) -> dict[str, Any]:
        """All parameters by name, fit for TOML."""
        return {key: value for key, value in asdict(self).items() if value is not None}


def load(path: Path | None = None, **overrides: Any) -> Config:
    """Configuration of a TOML file (or the defaults), with those overrides that are not None.

    Raises
    ------
    InputError
        If the file is missing or no TOML, or holds an unknown key or a value of the wrong type.
    """
    values = {} if path is None else _from_toml(Path(path))
    values.update({key: value for key, value in overrides.items() if value is not None})
    try:
        return replace(Config(), **values)
    except InputError as error:
        raise InputError(f"{path}: {error}" if path is not None else str(error)) from error


def did_you_mean(word: str, known: Any) -> str:
    """``; did you mean 'x'?`` for the nearest known word, or nothing."""
    near = difflib.get_close_matches(word, list(known), 1)
    return f"; did you mean '{near[0]}'?" if near else ""


def _from_toml(path: Path) -> dict[str, Any]:
    if path.is_file() and path.stat().st_size > MAX_BYTES:
        raise InputError(f"{path}: expected TOML, found a file of {path.stat().st_size} bytes")
    if path.exists() and not path.is_file():
        raise InputError(f"{path}: expected a file, found a folder, a pipe or a device")
    try:
        with open(path, "rb") as file:
            values = tomllib.load(file)
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such configuration file") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: expected TOML, {' '.join(str(error).split())[:160]}") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    defaults = {field.name: getattr(Config(), field.name) for field in fields(Config)}
    for key, value in values.items():
        if key not in defaults:
            raise InputError(f"{path}: unknown parameter '{key}'{did_you_mean(key, defaults)}")
        values[key] = _like(value, defaults[key], f"{path}: {key}")
    return values


def _like(value: Any, default: Any, what: str) -> Any:
    """`value` as the type of `default` (a whole number may stand for a float, a list for a tuple)."""
    if isinstance(default, float) and type(value) is int:
        return float(value)
    if isinstance(default, tuple) and isinstance(value, list):
        return tuple(value)
    if default is not None and type(value) is not type(default):
        raise InputError(f"{what}: expected {type(default).__name__}, found {type(value).__name__} {str(value)[:40]!r}")
    return value
