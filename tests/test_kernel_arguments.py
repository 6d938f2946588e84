"""Kernels take few arguments: what travels together is a bundle, see `kernels.cells.CellModel`."""

import ast
from pathlib import Path

import numpy as np
import pytest

from speckle_rec.kernels import launch, scatter

PACKAGE = Path(launch.__file__).parents[1]
MOST = 8
COMPILED = ("jit", "_shared", "helper", "kernel", "scattering")     # what the decorators of kernels are called


def _doubled(n, lattice, out):
    out[n] = lattice.field[n] * lattice.step


def functions() -> list:
    """Functions that are compiled, wherever they stand, and all in `kernels`, with what is defined within them."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.FunctionDef):
                continue
            decorators = " ".join(ast.unparse(d) for d in node.decorator_list)
            if path.parent.name == "kernels" or any(name in decorators for name in COMPILED):
                for inner in ast.walk(node):
                    if isinstance(inner, ast.FunctionDef):
                        found[f"{path.relative_to(PACKAGE)}:{inner.lineno} {inner.name}"] = inner.args
    return [pytest.param(arguments, id=name) for name, arguments in found.items()]


def test_there_are_kernels_to_look_at():
    names = [p.id.split()[-1] for p in functions()]
    assert len(names) > 100
    assert {"cell_fit", "multilaterate", "extend", "deposit", "_deposit", "body", "_all_fits", "_place"} <= set(names)


@pytest.mark.parametrize("arguments", functions())
def test_a_kernel_takes_at_most_eight_arguments(arguments):
    assert arguments.vararg is None or len(arguments.args) < MOST
    assert len(arguments.posonlyargs + arguments.args + arguments.kwonlyargs) <= MOST


def test_bundles_reach_a_body_wherever_it_runs():
    """As plain loops, and with the arrays of a bundle in a bundle."""
    body = launch.kernel(1)(_doubled)
    lattice = scatter.Lattice(np.arange(4.0), np.ones(3), 2.0)
    out = np.empty(4)
    body((4,), lattice, out)
    np.testing.assert_array_equal(out, 2 * np.arange(4.0))
    inside = list(launch._arrays([(lattice, 3), out]))
    assert len(inside) == 5 and inside[0] is lattice.field and inside[-1] is out
