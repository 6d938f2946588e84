"""One plain body, run over an index space wherever its arrays are.

A body takes its index first and after it arrays, numbers and bundles (NamedTuples) of them, and does the work of one
index. On cupy arrays it is a
CUDA kernel (numba), under ``NUMBA_ENABLE_CUDASIM=1`` the same kernel in numba's simulator on numpy arrays, and on
other numpy arrays a plain compiled loop on one thread: that is how all of it is tested without a GPU.
"""

import inspect
import math
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numba
import numpy as np
from numba.extending import register_jitable

Body = Callable[..., None]

SIMULATED = os.environ.get("NUMBA_ENABLE_CUDASIM", "0") not in ("", "0")
THREADS = {1: (256,), 2: (32, 8), 3: (32, 8, 1)}     # of a CUDA block, fastest index first

helper = register_jitable     # of a function that bodies call, wherever they run
cuda: Any = None              # numba.cuda once a kernel is built for it: importing it takes a while


def _arrays(arguments: Iterable[Any]) -> Iterator[Any]:
    """The arguments, those within bundles one by one."""
    for a in arguments:
        if isinstance(a, tuple):
            yield from _arrays(a)
        else:
            yield a


def _on_gpu(argument: Any) -> Any:
    """An argument as numba takes it: it knows arrays of cupy, but not within bundles."""
    if not isinstance(argument, tuple):
        return argument
    return type(argument)(*(cuda.as_cuda_array(a, sync=False) if xp_of(a) is not np else _on_gpu(a) for a in argument))


def xp_of(array: Any) -> Any:
    """The module of an array: cupy or numpy."""
    return sys.modules["cupy"] if type(array).__module__.partition(".")[0] == "cupy" else np


@helper
def floor(x):
    """Largest whole number not above x; in a CUDA kernel math.floor alone gives a float."""
    return int(math.floor(x))  # noqa: RUF046


@register_jitable
def _plain_add(array, index, value):
    array[index] += value


@register_jitable
def _plain_highest(array, index, value):
    array[index] = max(array[index], value)


class Kernel:
    """A body over 1 to 3 indices, the last one the fastest.

    Parameters
    ----------
    make : callable (add, highest) -> body. Both arguments are callables (array, index, value), atomic where
        indices run side by side: what several indices may write to goes through them.
    indices : number of the body's leading parameters that are indices.
    """

    def __init__(self, make: Callable[[Any, Any], Body], indices: int):
        self.make, self.indices = make, indices
        self._built: dict[str, Any] = {}

    def __call__(self, shape: tuple[int, ...], *arguments: Any) -> None:
        """Run the body over all indices of `shape`."""
        if 0 in shape:
            return
        on_gpu = any(xp_of(a) is not np for a in _arrays(arguments))
        if not (on_gpu or SIMULATED):
            self._get("loop", _build_loop)(shape, *arguments)
            return
        kernel = self._get("cuda", _build_cuda)
        threads = tuple(min(most, n) for most, n in zip(THREADS[len(shape)], shape[::-1], strict=True))
        blocks = tuple(-(-n // t) for n, t in zip(shape[::-1], threads, strict=True))
        stream = cuda.external_stream(sys.modules["cupy"].cuda.get_current_stream().ptr) if on_gpu else 0
        kernel[blocks, threads, stream](shape, *(map(_on_gpu, arguments) if on_gpu else arguments))

    def _get(self, where: str, build: Callable[["Kernel"], Any]) -> Any:
        if where not in self._built:
            self._built[where] = build(self)
        return self._built[where]


def kernel(indices: int) -> Callable[[Body], Kernel]:
    """Decorator: a body whose indices each write to places of their own."""
    return lambda body: Kernel(lambda add, highest: body, indices)


def scattering(indices: int) -> Callable[[Callable[[Any, Any], Body]], Kernel]:
    """Decorator of a maker (add, highest) -> body, for bodies whose indices write to the same places."""
    return lambda make: Kernel(make, indices)


# numba compiles neither *args of a kernel nor a body chosen at run time: the frame around a body is written out here,
# with the body's own parameter names.
_LOOP = """
def frame(body):
    def run(shape, {names}):
        {loops}body({indices}, {names})
    return run
"""
_CUDA = """
def frame(body):
    def run(shape, {names}):
        {index} = cuda.grid({count})
        if {inside}:
            body({indices}, {names})
    return run
"""


def _framed(template: str, body: Body, count: int, space: dict[str, Any]) -> Any:
    every = list(inspect.signature(body).parameters)
    index, names = every[:count], every[count:]
    loops = "".join(f"for {name} in range(shape[{k}]):\n" + " " * 4 * (k + 3) for k, name in enumerate(index))
    source = template.format(names=", ".join(names), indices=", ".join(index), loops=loops, count=count,
                             index=", ".join(index[::-1]),
                             inside=" and ".join(f"{name} < shape[{k}]" for k, name in enumerate(index)))
    made: dict[str, Any] = {}
    exec(source, space, made)
    return made["frame"](body)


def _build_loop(of: Kernel) -> Any:
    body = of.make(_plain_add, _plain_highest)
    return numba.njit(nogil=True)(_framed(_LOOP, numba.njit(nogil=True)(body), of.indices, globals()))


def cuda_function(of: Kernel) -> Any:
    """The Python function of a CUDA kernel, not compiled yet: its first argument is the shape, then the body's own."""
    global cuda
    if cuda is None:
        from numba import cuda
    body = of.make(cuda.jit(device=True)(_atomic_add), cuda.jit(device=True)(_atomic_highest))
    return _framed(_CUDA, body if SIMULATED else cuda.jit(device=True)(body), of.indices, globals())


def _build_cuda(of: Kernel) -> Any:
    function = cuda_function(of)
    return cuda.jit(function)


def _atomic_add(array, index, value):
    cuda.atomic.add(array, index, value)


def _atomic_highest(array, index, value):
    cuda.atomic.max(array, index, value)
