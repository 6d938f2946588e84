"""Kernels loaded, or compiled, before the first frame comes: that takes seconds, and the first time a minute."""

import numpy as np

from . import meters
from .estimator import JUDGED, Estimator
from .growing import GrowingVolume


def warm_up() -> None:
    """Place a few frames of noise."""
    noise = np.random.default_rng(0).integers(0, 255, (JUDGED + 2, 160, 160), dtype=np.uint8)
    estimator = Estimator(np.diag([0.3, 0.3, 1.0, 1.0]))
    for image in noise:
        estimator.add(image)
    assert estimator.geometry is not None
    volume = GrowingVolume(estimator.geometry)
    small = [volume.thumbnail(image) for image in noise]
    volume.paste(small, estimator.poses)
    volume.snapshot(small, estimator.poses)
    again = meters.SeenAgain(estimator.working)
    for k in range(2):
        again(k * meters.EVERY, estimator.frame)
