"""What a calibration knows of the motion that its scans usually hold: signs, and what is left of fans."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .. import geometry as se3

Array = NDArray[np.float64]

APART = 20                # frames between which tilts are compared


@dataclass(frozen=True)
class MirrorPrior:
    """Usual signs of a protocol: of the total turn (yaw) and of the first tilt."""

    turn_sign: int = -1
    tilt_sign: int = 1
    source: str = "default of the rotation protocol, not calibrated"


USUAL_MIRROR = MirrorPrior()


@dataclass(frozen=True)
class FanError:
    """What fans come out as where planes cross, the same share too small in scan after scan (METHOD.md (7.9b)).

    Attributes
    ----------
    share : of the true tilt that is found.   slide_mm : shift along z that is found for each rad of true tilt.
    """

    share: float = 1.0
    slide_mm: float = 0.0

    @classmethod
    def of(cls, found: Array, true: Array) -> "FanError":
        """That of poses [N, 4, 4] about the face's centre, signs given: slopes of their steps on the true tilt's.

        Frames where the two tilt in opposite ways tell of a wrong sign, not of a share, and are left out.
        """
        apart = min(APART, len(true) - 1)
        (z, tilt), (true_z, true_tilt) = (se3.log(se3.inverse(T[:-apart]) @ T[apart:])[:, 2:4].T for T in (found, true))
        same = tilt * true_tilt > 0
        square = float(np.square(true_tilt[same]).sum())
        if square == 0:
            return cls()
        return cls(float((tilt * true_tilt)[same].sum()) / square,
                   float(((z - true_z) * true_tilt)[same].sum()) / square)

    def undone(self, T: Array) -> Array:
        """Poses [N, 4, 4] with the fans as they would have been."""
        step = se3.log(se3.steps(T))
        step[:, 3] /= self.share
        step[:, 2] -= self.slide_mm * step[:, 3]
        return T[0] @ se3.chain(se3.exp(step))


NO_FAN_ERROR = FanError()
