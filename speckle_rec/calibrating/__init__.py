"""Calibration of a machine from tracked scans: statistics of training scans, the fit, its gain, held-out pairs.

In: tracked scans. Out: a `speckle.calibration.Calibration`.
Entered by `training.collect` and `machine.calibrate`.
"""
