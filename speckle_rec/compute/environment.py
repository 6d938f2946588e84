"""Variables that this package sets in its process, kept apart from those it was started with.

Processes it starts inherit both; what is not of this package, a foreign entry, is to get the latter alone.
"""

import os

_OURS = "SPECKLE_REC_HAS_SET"


def put(name: str, value: str) -> None:
    """Set a variable for this process and its children, and remember that it was not the user's doing."""
    if name not in (names := _names()):
        os.environ[_OURS] = " ".join([*names, name])
    os.environ[name] = value


def default(name: str, value: str) -> None:
    """The same unless the user has set it."""
    if name not in os.environ:
        put(name, value)


def for_others() -> dict[str, str]:
    """The environment without what this package has set."""
    return {name: value for name, value in os.environ.items() if name not in (_OURS, *_names())}


def _names() -> list[str]:
    return os.environ.get(_OURS, "").split()
