"""Measurements on many frame pairs at once, on a GPU: twins of block matching, correlation and loop closures.

Everything takes an array module `xp`: cupy on a GPU, numpy where the same steps are tested without one. Frames go up
once, as uint8; only twists, correlations and similarities come back. `frames` says what memory that takes.
"""
