"""The way of a scan through the code: which modules its first calls enter, and how often they go back.

    python tools/way_of_a_scan.py                    # a small simulated scan
    python tools/way_of_a_scan.py SCAN --calls 600

Counts the calls of this package's functions from `pipeline.reconstruct` on, in the order in which they are made:
modules that are entered, moves from module to module that return to one that was left, and moves back up the import
order (towards modules that import the one that is left, directly or not).
"""

import argparse
import ast
import itertools
import sys
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "speckle_rec"
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]


def module_of(file: str) -> str | None:
    """Name of a module of this package within it; None for other files."""
    path = Path(file)
    if PACKAGE not in path.parents:
        return None
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")


@cache
def imports(module: str) -> frozenset[str]:
    """Modules of this package that a module imports when it is loaded."""
    path = PACKAGE.joinpath(*module.split(".")).with_suffix(".py")
    path = path if path.is_file() else PACKAGE.joinpath(*module.split("."), "__init__.py")
    if not path.is_file():
        return frozenset()
    here = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
    found = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ImportFrom) and node.level:
            base = here[:len(here) - node.level + 1] + (node.module.split(".") if node.module else [])
            for alias in node.names:
                whole = [*base, alias.name]
                file = PACKAGE.joinpath(*whole)
                found.add(".".join(whole if file.with_suffix(".py").is_file() or file.is_dir() else base))
    return frozenset(found - {module, ""})


@cache
def floor(module: str) -> int:
    """Longest chain of imports below a module."""
    return 1 + max((floor(below) for below in imports(module)), default=0)


def calls(scan: Any, most: int) -> list[str]:
    """Modules of the first calls of `reconstruct`."""
    from speckle_rec.config import Config
    from speckle_rec.pipeline import reconstruct
    entered: list[str] = []

    def heard(frame: FrameType, event: str, _: Any) -> None:
        if event == "call" and len(entered) < most and (name := module_of(frame.f_code.co_filename)):
            entered.append(name)

    sys.setprofile(heard)
    try:
        reconstruct(scan, config=Config(jobs=1))
    finally:
        sys.setprofile(None)
    return entered


def small_scan() -> Any:
    """A probe that is fanned over a small phantom."""
    import scenes

    from speckle_rec import geometry as se3
    from speckle_rec.scan import Scan
    renderer = scenes.phantom()
    frames = [renderer(se3.translation([0, 0, 2 * np.sin(k / 8)]), k) for k in range(48)]
    return Scan.from_arrays(np.stack(frames), scale=scenes.SCALE)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scan", nargs="?", type=Path)
    parser.add_argument("--calls", type=int, default=600)
    args = parser.parse_args()
    from speckle_rec.scan import Scan
    way = calls(small_scan() if args.scan is None else Scan.open(args.scan), args.calls)
    left: set[str] = set()
    returns = up = moves = 0
    for before, after in itertools.pairwise(way):
        if before == after:
            continue
        moves += 1
        left.add(before)
        returns += after in left
        up += floor(after) > floor(before)
    print(f"{len(way)} calls: {len(set(way))} modules entered, {moves} moves, {returns} returns to a module that was "
          f"left, {up} moves back up the import order")


if __name__ == "__main__":
    main()
