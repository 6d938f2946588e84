"""From a calibration and a scan's own images to what a correlation of each cell says of motion."""

from dataclasses import replace

from ..config import Config
from ..products.stages import Measurements, SpeckleModel, View
from .calibration import Calibration, Uncalibrated
from .curves import Curves


def model(calibration: Calibration | Curves | None, view: View, measurements: Measurements,
          config: Config) -> tuple[SpeckleModel, Measurements]:
    """The speckle model of a scan, and its measurements with correlations as the model's curves take them.

    Parameters
    ----------
    calibration : of this machine; by default the one shipped, or bare curves for linear probes and scans
        without the protocol's rocks. Bare curves go without the regression over what the images show of each cell.
    """
    if by_hand := isinstance(calibration, Curves):
        calibration = Uncalibrated.of(calibration)
    calibration = calibration or Calibration.default(view.found.geometry.kind)
    calibration = calibration.seen_through(measurements.time_filter)
    curves = calibration.curves if by_hand or calibration.of_this_machine else calibration.curves.guessed()
    strengths_of = calibration.judge(measurements.speckle, measurements.images, view.cells, config.jobs)
    forms = calibration.forms(view.images.geometry, view.cells)
    loops = replace(measurements.loops, speckle=curves.resampled(measurements.loops.speckle))
    seen = replace(measurements, speckle=curves.resampled(measurements.speckle), loops=loops)
    return SpeckleModel(calibration, curves, forms, strengths_of), seen
