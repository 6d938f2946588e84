"""A verb of the command line called from Python: without what only a terminal needs, and errors as exceptions."""

import inspect
from collections.abc import Callable
from os import PathLike
from pathlib import Path
from typing import Any

from ..errors import InputError, SpeckleRecError
from ..io.checks import described

OF_A_TERMINAL = ("quiet", "no_progress", "verbose")
PATHS = ("calib", "landmarks", "calibration", "config", "out")


def options(verb: Callable[..., Any]) -> dict[str, Any]:
    """Names and defaults of a verb's options, but for those of a terminal."""
    return {name: parameter.default for name, parameter in inspect.signature(verb).parameters.items()
            if name not in OF_A_TERMINAL and parameter.default is not inspect.Parameter.empty}


def run(verb: Callable[..., Any], *words: Any, **given: Any) -> None:
    """Call a verb quietly.

    Raises
    ------
    InputError
        If an option is unknown, or as the verb says.
    SpeckleRecError
        If something failed.
    """
    known = options(verb)
    for name in given:
        if name not in known:
            raise InputError(f"{verb.__name__}: expected options {', '.join(known)}, found '{name}'")
    given = {name: Path(value) if name in PATHS and isinstance(value, str | PathLike) else value
             for name, value in given.items()}
    if "pixel_mm" in given:
        given["pixel_mm"] = size(given["pixel_mm"])
    quiet = {name: True for name in ("quiet", "no_progress") if name in inspect.signature(verb).parameters}
    if verb(*words, **given, **quiet):
        raise SpeckleRecError(f"{verb.__name__}: something failed; what succeeded is kept, see the messages")


def size(pixel_mm: Any) -> str | None:
    """Width and height of a pixel as the command line has them."""
    if pixel_mm is None or isinstance(pixel_mm, str):
        return pixel_mm
    from ..io import pixels
    return ",".join(f"{value:.17g}" for value in pixels.checked(pixel_mm))


def path(value: Any, what: str) -> Path:
    """A path that a caller gives.

    Raises
    ------
    InputError
        If it is none.
    """
    if not isinstance(value, str | PathLike) or "\0" in str(value):
        raise InputError(f"{what}: expected a path, found {described(value)}")
    return Path(value)
