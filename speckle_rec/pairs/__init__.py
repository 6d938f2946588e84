"""What two frames tell: motion in the plane, correlation of cells, places that are seen again.

In: a `View`. Out: `Measurements`. `batched` holds the same on a GPU, step by step; the CPU's are the specification.
Entered by `measure.measure`.
"""
