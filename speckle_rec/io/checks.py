"""What Python callers hand over: wrong values are told in one line, as on the command line."""

import math
import os
from collections.abc import Sequence
from numbers import Integral, Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

NOT_AN_ARRAY = (TypeError, ValueError, RuntimeError, OverflowError)     # what numpy and tensors raise


def numbers(value: Any, what: str, shape: Sequence[int | str], *, finite: bool = True) -> "NDArray[np.float64]":
    """`value` as a float64 array.

    Parameters
    ----------
    shape : sizes of the axes; a letter for one of any size.
    finite : whether NaN and infinity are refused.

    Raises
    ------
    InputError
        If it holds no real numbers, has another shape, or is not finite.
    """
    import numpy as np  # which the configuration, read for --help, does without
    expected = f"{what}: expected {'finite ' if finite else ''}numbers [{', '.join(map(str, shape))}]"
    try:
        array = np.asarray(value)
    except NOT_AN_ARRAY as error:
        raise InputError(f"{expected}, found {described(value)}") from error
    if array.dtype.kind not in "fiu" or array.ndim != len(shape) or any(
            isinstance(size, int) and size != found for size, found in zip(shape, array.shape, strict=True)):
        raise InputError(f"{expected}, found {described(value)}")
    with np.errstate(invalid="ignore", over="ignore"):      # signalling NaN, and more digits than a double has
        array = array.astype(np.float64)
    if finite and not np.isfinite(array).all():
        raise InputError(f"{what}: expected finite numbers, found values that are not finite")
    return array


def number(value: Any, what: str, low: float, high: float, unit: str = "") -> float:
    """`value` as a float within low..high.

    Raises
    ------
    InputError
        If it is no real number, or outside.
    """
    try:
        found = float(value) if isinstance(value, Real) and not isinstance(value, bool) else math.nan
    except OverflowError:
        found = math.nan
    if not low <= found <= high:      # NaN is not
        raise InputError(f"{what}: expected a number of {low:g} to {high:g}{unit}, found {described(value)}")
    return found


def whole(value: Any, what: str, low: int, high: int) -> int:
    """`value` as an int within low..high.

    Raises
    ------
    InputError
        If it is no whole number, or outside.
    """
    if isinstance(value, bool) or not isinstance(value, Integral) or not low <= int(value) <= high:
        raise InputError(f"{what}: expected a whole number of {low} to {high}, found {described(value)}")
    return int(value)


def file_path(value: Any, what: str, otherwise: str = "") -> Path:
    """`value` as a path; `otherwise` tells what to do with something else.

    Raises
    ------
    InputError
        If it is none.
    """
    if not isinstance(value, str | os.PathLike) or not isinstance(os.fspath(value), str) or "\0" in os.fspath(value):
        raise InputError(f"{what}: expected the path of a file, found {described(value)}{otherwise}")
    return Path(value)


def described(value: Any) -> str:
    """What a value is, in a few words."""
    shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
    if isinstance(shape, tuple) and dtype is not None and shape:
        return f"{dtype} {list(shape)}"
    if value is None or isinstance(value, bool | Real):
        return str(value)[:40]
    if isinstance(value, str | bytes | os.PathLike):
        return ascii(os.fspath(value))[:80]
    if isinstance(value, list | tuple):
        import numpy as np
        try:
            return f"a {type(value).__name__} {list(np.shape(value))}"
        except NOT_AN_ARRAY:
            return f"a {type(value).__name__} of unequal parts"
    return f"a {type(value).__name__}"
