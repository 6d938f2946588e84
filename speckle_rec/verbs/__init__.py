"""The verbs of the command line as functions, with the same names and defaults: what they print there they return.

In: paths, scans, arrays. Out: evaluations, calibrations, data sets, volumes.
Entered by `evaluate.evaluate`, `calibrate.calibrate`, `simulate.simulate`, `compound.compound`.
"""
