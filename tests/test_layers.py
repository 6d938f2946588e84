"""Imports run downwards only, and every package says what comes in and what goes out."""

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "speckle_rec"

# From low to high: a module may import from its own package and from what stands before it.
LAYERS = ("errors", "kernels", "geometry", "compute", "products", "probe", "io", "config", "scan", "frames",
          "verdict", "result", "ddf", "volume", "scoring", "pairs", "speckle", "trajectory", "arguments", "pipeline",
          "calibrating", "synth", "report", "storage", "evaluation", "live", "cli", "verbs", "__main__")
# Imports within a function that may run upwards, as (module, what it imports): conveniences of what a user holds.
UPWARDS = frozenset({("result", "scoring.tracked"), ("result", "storage.folder"), ("result", "storage.outputs"),
                     ("result", "volume"), ("result", "report.plots")})
MOST_MODULES = 12


def module_name(path: Path, root: Path) -> tuple[str, ...]:
    parts = path.relative_to(root).with_suffix("").parts
    return parts[:-1] if parts[-1] == "__init__" else parts


def imports(path: Path, root: Path, modules: set[tuple[str, ...]]) -> Iterator[tuple[int, tuple[str, ...], bool]]:
    """(line, imported module, whether a function imports it) of each import from the package at `root`."""
    package = path.relative_to(root).parts[:-1]

    def visit(node: ast.AST, lazy: bool) -> Iterator[tuple[int, tuple[str, ...], bool]]:
        if isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            children = node.orelse
        else:
            children = list(ast.iter_child_nodes(node))
        found: list[tuple[str, ...]] = []
        if isinstance(node, ast.Import):
            names = [tuple(alias.name.split(".")) for alias in node.names]
            found = [name[1:] for name in names if name[0] == root.name]
        elif isinstance(node, ast.ImportFrom):
            base = tuple(node.module.split(".")) if node.module else ()
            if node.level:
                base = package[: len(package) - node.level + 1] + base
            elif base[:1] == (root.name,):
                base = base[1:]
            else:
                return
            found = [base + (a.name,) if base + (a.name,) in modules else base or (a.name,)
                     for a in node.names]
        found = [target for target in found if target and target != ("__version__",)]
        yield from ((node.lineno, target, lazy) for target in dict.fromkeys(found))
        for child in children:
            yield from visit(child, lazy or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda))

    return visit(ast.parse(path.read_text(encoding="utf-8")), False)


def faults(root: Path, layers: tuple[str, ...] = LAYERS, upwards: frozenset[tuple[str, str]] = UPWARDS) -> list[str]:
    """What is wrong with the layout of the package at `root`, a line each."""
    paths = {module_name(path, root): path for path in sorted(root.rglob("*.py"))}
    found = []
    siblings: dict[tuple[str, ...], set[tuple[str, ...]]] = {}
    for name, path in paths.items():
        if not name:                # the package's own __init__ stands above all
            continue
        where = path.relative_to(root.parent).as_posix()
        if name[0] not in layers:
            found.append(f"{where}: {name[0]} is not in the list of layers")
            continue
        for line, target, lazy in imports(path, root, set(paths)):
            if target[0] == name[0]:
                siblings.setdefault(name, set()).add(target)
            elif target[0] not in layers:
                found.append(f"{where}:{line}: {'.'.join(target)} is not in the list of layers")
            elif layers.index(target[0]) > layers.index(name[0]) \
                    and not (lazy and (".".join(name), ".".join(target)) in upwards):
                found.append(f"{where}:{line}: {name[0]} imports {'.'.join(target)}, which stands above it")
    try:
        TopologicalSorter(siblings).prepare()
    except CycleError as error:
        found.append("circle: " + " -> ".join(".".join(name) for name in error.args[1]))
    for path in sorted(root.rglob("__init__.py")):
        lines = (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").splitlines()
        if path.parent != root and not 2 <= len(lines) <= 5:
            found.append(f"{path.relative_to(root.parent).as_posix()}: a docstring of {len(lines)} lines, not 2 to 5")
    if (count := len(list(root.glob("*.py")))) > MOST_MODULES:
        found.append(f"{root.name}: {count} modules, more than {MOST_MODULES}")
    return found


def test_imports_run_downwards_only():
    assert not (found := faults(PACKAGE)), "\n" + "\n".join(found)


@pytest.fixture
def tree(tmp_path):
    """A sound package of two layers; writes further files into it."""
    def write(files: dict[str, str]) -> Path:
        for name, text in files.items():
            path = tmp_path / "speckle_rec" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return tmp_path / "speckle_rec"

    document = '"""Comes in: nothing.\n\nGoes out: nothing.\n"""\n'
    write({"__init__.py": '"""One line."""\nfrom .cli import main\n', "errors.py": "", "frames/__init__.py": document,
           "frames/probe.py": "from ..errors import InputError\nfrom . import fit\n", "frames/fit.py": "import numpy\n",
           "cli/__init__.py": document + "import speckle_rec.frames.probe\nfrom speckle_rec import errors\n",
           "cli/main.py": "from ..frames.probe import find\n"})
    return write


def test_a_sound_tree_has_no_faults(tree):
    assert faults(tree({})) == []


@pytest.mark.parametrize("text", [
    "from ..cli import main\n", "from ..cli.main import run\n", "from .. import cli\n", "import speckle_rec.cli.main\n",
    "from speckle_rec.cli import main\n", "from speckle_rec import cli\n", "def f():\n    from ..cli import main\n",
    "class A:\n    def f(self):\n        if self:\n            from ..cli import main\n",
    "try:\n    from ..cli import main\nexcept ImportError:\n    pass\n",
    "if TYPE_CHECKING:\n    pass\nelse:\n    from ..cli import main\n"])
def test_an_import_that_runs_up_is_found(tree, text):
    found = faults(tree({"frames/fit.py": text}))
    assert len(found) == 1 and found[0].startswith("speckle_rec/frames/fit.py:") and "stands above" in found[0]


def test_imports_for_types_and_listed_ones_of_functions_may_run_up(tree):
    listed = frozenset({("frames.fit", "cli.main")})
    lazy = "def f():\n    from ..cli import main\n"
    types = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from ..cli import main\n"
    assert faults(tree({"frames/fit.py": types + lazy}), upwards=listed) == []
    assert len(faults(tree({"frames/fit.py": "from ..cli import main\n"}), upwards=listed)) == 1


@pytest.mark.parametrize(("files", "says"), [
    ({"frames/fit.py": "from .probe import find\n"}, "circle: "),
    ({"frames/fit.py": "def f():\n    from . import probe\n"}, "circle: "),
    ({"frames/deep/__init__.py": '"""Two\nlines."""\n', "frames/deep/a.py": "from ...cli import main\n"}, "above it"),
    ({"frames/fit.py": "from .. import reconstruct\n"}, "reconstruct is not in the list"),
    ({"odd.py": ""}, "odd is not in the list"),
    ({"frames/__init__.py": '"""One line."""\n'}, "a docstring of 1 lines"),
    ({"frames/__init__.py": '"""' + "A line.\n" * 6 + '"""\n'}, "a docstring of 6 lines"),
    ({"frames/__init__.py": ""}, "a docstring of 0 lines")])
def test_other_faults_are_found(tree, files, says):
    found = faults(tree(files))
    assert len(found) == 1 and says in found[0]


def test_too_many_modules_are_told(tree):
    layers = (*LAYERS, *(f"m{i}" for i in range(20)))
    assert faults(tree({f"m{i}.py": "" for i in range(10)}), layers) == []      # twelve with __init__ and errors
    assert "13 modules, more than 12" in faults(tree({"m10.py": ""}), layers)[0]
