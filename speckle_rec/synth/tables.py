"""Frozen dataclasses of plain values as TOML tables and back."""

import dataclasses
import json
import math
import types
import typing
from typing import Any, TypeVar, Union

from ..config import did_you_mean
from ..errors import InputError
from ..io.checks import described

T = TypeVar("T")


def table_of(value: Any) -> dict[str, Any]:
    """All fields of a dataclass, those of the dataclasses in it as tables of their own; None is left out."""
    return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)
            if getattr(value, f.name) is not None}


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return table_of(value)
    return [_plain(v) for v in value] if isinstance(value, tuple) else value


def toml(table: dict[str, Any]) -> str:
    """A table of values and of tables of values as TOML, each value on a line of its own, as JSON has it too."""
    lines = [f"{key} = {json.dumps(value)}" for key, value in table.items() if not isinstance(value, dict)]
    for key, value in table.items():
        if isinstance(value, dict):
            lines += ["", f"[{key}]", toml(value).rstrip()]
    return "\n".join(lines) + "\n"


def from_table(kind: type[T], table: Any, what: str) -> T:
    """A dataclass of a table; fields that are not there have their defaults. `what` names the table in messages.

    Raises
    ------
    InputError
        If a key is unknown, or a value of the wrong type or refused by the dataclass.
    """
    if not isinstance(table, dict):
        raise InputError(f"{what}: expected a table, found {described(table)}")
    hints = typing.get_type_hints(kind)
    names = [f.name for f in dataclasses.fields(kind)]      # type: ignore[arg-type]
    values = {}
    for key, value in table.items():
        if key not in names:
            raise InputError(f"{what}: unknown key '{key}'{did_you_mean(key, names)}")
        values[key] = _typed(hints[key], value, f"{what}: {key}")
    try:
        return kind(**values)
    except InputError as error:
        raise InputError(f"{what}: {error}") from error
    except ValueError as error:
        raise InputError(f"{what}: {' '.join(str(error).split())}") from error


def _typed(hint: Any, value: Any, what: str) -> Any:
    """`value` as the annotated type: a whole number may stand for a float, a list for a tuple."""
    if typing.get_origin(hint) in (Union, types.UnionType):
        hint = next(h for h in typing.get_args(hint) if h is not type(None))
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return from_table(hint, value, what)
    if typing.get_origin(hint) is tuple:
        return _tuple(typing.get_args(hint), value, what)
    if hint is float and type(value) is int:
        value = float(value)
    if type(value) is not hint:
        names = {float: "a number", int: "a whole number", bool: "true or false", str: "text"}
        raise InputError(f"{what}: expected {names.get(hint, hint)}, found {described(value)}")
    if hint is float and not math.isfinite(value):
        raise InputError(f"{what}: expected a finite number, found {value}")
    return value


def _tuple(hints: tuple[Any, ...], value: Any, what: str) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise InputError(f"{what}: expected a list, found {described(value)}")
    if len(hints) == 2 and hints[1] is Ellipsis:
        hints = (hints[0],) * len(value)
    if len(value) != len(hints):
        raise InputError(f"{what}: expected a list of {len(hints)}, found {len(value)}")
    return tuple(_typed(h, v, what) for h, v in zip(hints, value, strict=True))
