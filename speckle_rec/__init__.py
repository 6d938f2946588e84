"""Trackerless freehand 3D ultrasound from images alone."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .compute import caches

if TYPE_CHECKING:
    from . import ddf
    from .compute.tuning import tune
    from .config import Config
    from .errors import InputError, SpeckleRecError
    from .pipeline import reconstruct
    from .result import Reconstruction
    from .scan import Scan
    from .speckle.calibration import Calibration
    from .speckle.curves import Curves
    from .verbs.calibrate import calibrate
    from .verbs.compound import compound
    from .verbs.evaluate import evaluate
    from .verbs.simulate import simulate

caches.settle()      # changes nothing where libraries find folders for their caches

__version__ = "0.1.0"
__all__ = ["Calibration", "Config", "Curves", "InputError", "Reconstruction", "Scan", "SpeckleRecError", "calibrate",
           "compound", "ddf", "evaluate", "reconstruct", "simulate", "tune"]

_HOMES = {"Calibration": "speckle.calibration", "Config": "config", "Curves": "speckle.curves", "InputError": "errors",
          "Reconstruction": "result", "Scan": "scan", "SpeckleRecError": "errors", "calibrate": "verbs.calibrate",
          "compound": "verbs.compound", "evaluate": "verbs.evaluate", "reconstruct": "pipeline",
          "simulate": "verbs.simulate", "tune": "compute.tuning"}


def __getattr__(name: str) -> Any:
    """Import on first use: the command line has to set up its process before numpy is loaded."""
    if name == "ddf":
        return import_module(".ddf", __name__)
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f".{_HOMES[name]}", __name__), name)
    return value


def __dir__() -> list[str]:
    return sorted({*__all__, "__version__", *(name for name in globals() if name.startswith("__"))})
