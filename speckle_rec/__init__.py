"""Trackerless freehand 3D ultrasound from images alone."""

from . import ddf
from .decorrelation import Curves
from .pipeline import reconstruct
from .result import Reconstruction
from .scan import Scan

__all__ = ["Curves", "Reconstruction", "Scan", "ddf", "reconstruct"]
