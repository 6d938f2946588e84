"""What passes between the stages, documented with shapes and units: frozen, and free of what computes it.

scan -> `View` -> `Measurements` -> `SpeckleModel` -> `Trajectory` -> `result.Reconstruction`.
"""
