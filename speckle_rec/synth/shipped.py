"""Worlds that are shipped, as ``tools/draw_worlds.py`` drew them.

``fit-01`` to ``fit-10`` are to fit on, ``choose-01`` to ``choose-10`` to choose by, ``judge-01`` to ``judge-10`` to
judge by: nothing is to be chosen by these.
"""

from functools import cache
from importlib import resources
from pathlib import Path

from ..config import did_you_mean
from ..errors import InputError
from .draw import random_world
from .world import World, parsed, read

GROUPS = ("fit", "choose", "judge")


@cache
def names() -> tuple[str, ...]:
    """Names of the worlds that are shipped."""
    return tuple(sorted(p.name[:-5] for p in (resources.files(__package__) / "worlds").iterdir()
                        if p.name.endswith(".toml")))


def named(name: str) -> World:
    """A world that is shipped."""
    if name not in names():
        raise InputError(f"world {name}: expected a TOML file, random, or one of {', '.join(names())}"
                         f"{did_you_mean(name, names())}")
    return parsed((resources.files(__package__) / "worlds" / f"{name}.toml").read_text("utf-8"), f"world {name}")


def group(name: str) -> tuple[str, ...]:
    """Names of the worlds of a group."""
    if name not in GROUPS:
        raise InputError(f"group {name}: expected one of {', '.join(GROUPS)}")
    return tuple(n for n in names() if n.startswith(f"{name}-"))


def chosen(word: str, seed: int) -> World:
    """The world that a word asks for: a name, a TOML file, or "random", which the seed draws."""
    if word == "random":
        return random_world(seed)
    if word in names() or not (word.endswith(".toml") or Path(word).is_file()):
        return named(word)
    return read(Path(word))
