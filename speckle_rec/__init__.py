"""Trackerless freehand 3D ultrasound from images alone."""

from . import ddf
from .calibration import Calibration
from .config import Config
from .decorrelation import Curves
from .pipeline import reconstruct
from .result import Reconstruction
from .scan import Scan

__all__ = ["Calibration", "Config", "Curves", "Reconstruction", "Scan", "ddf", "reconstruct"]
