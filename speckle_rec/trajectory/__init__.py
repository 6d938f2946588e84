"""From distances to poses: signs, loops, crossing planes, the batch solve, and how sure it all is.

In: `View`, `Measurements`, `SpeckleModel`. Out: a `Trajectory`, and of it a `Reconstruction`.
Entered by `estimate.estimate`, a list of named steps, and `conclude.conclude`.
"""
