"""The order in which people number files."""

import re
from pathlib import Path


def natural(path: Path) -> tuple[tuple[int, int, str], ...]:
    """A key by which frame2 comes before frame10."""
    parts = re.split(r"(\d+)", path.name.casefold())
    return (*((1, int(part), "") if part.isdigit() else (0, 0, part) for part in parts), (0, 0, path.name))
