"""Numbers only: loops compiled by numba for the CPU and for CUDA, of equal signatures.

In: arrays and bundles of arrays (`bundles`). Out: arrays that are filled. Nothing here knows of scans.
The CPU's files are the specification of the GPU's.
"""
