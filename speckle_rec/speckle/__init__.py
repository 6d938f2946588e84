"""From a correlation to motion out of the plane: decorrelation curves, cells' strengths, the calibration of a machine.

In: a calibration, a `View` and `Measurements`. Out: a `SpeckleModel`.
Entered by `model.model`; `calibration.Calibration` is the file that a machine's curves are kept in.
"""
