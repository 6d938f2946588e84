"""Trackerless freehand 3D ultrasound from images alone."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .compute import caches, environment

if TYPE_CHECKING:
    from . import ddf
    from .config import Config
    from .pipeline import reconstruct
    from .result import Reconstruction
    from .scan import Scan
    from .speckle.calibration import Calibration
    from .speckle.curves import Curves

# The kernels' threads wait asleep for work. By default they turn in circles, and take the cores from the very threads
# that they wait for where other programs run beside them: docs/BENCHMARKS.md, rate.
environment.default("OMP_WAIT_POLICY", "passive")
caches.settle()

__version__ = "0.1.0"
__all__ = ["Calibration", "Config", "Curves", "Reconstruction", "Scan", "ddf", "reconstruct"]

_HOMES = {"Calibration": "speckle.calibration", "Config": "config", "Curves": "speckle.curves",
          "reconstruct": "pipeline", "Reconstruction": "result", "Scan": "scan"}


def __getattr__(name: str) -> Any:
    """Import on first use: the command line has to set up its process before numpy is loaded."""
    if name == "ddf":
        return import_module(".ddf", __name__)
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f".{_HOMES[name]}", __name__), name)
    return value
