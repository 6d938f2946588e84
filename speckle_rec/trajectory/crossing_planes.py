"""Orthogonal self-calibration: what was scanned before the turn, resliced along the planes scanned after it.

After a turn by 90 degrees the image plane holds the direction in which the probe was fanned before. There, lengths are
pixels: where anatomy is seen from both directions, its place in one shows how far the other had moved out of its
plane (METHOD.md, section 9). Speckle differs between crossing planes; bones, fasciae and muscles do not.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..verdict import ALIKE
from .crossing_scale import stretch, stretch_between, stretched
from .crossing_shape import crossings, joined
from .crossing_signs import DOUBTFUL, ITERATIONS, settled
from .crossing_volumes import Anatomy, Sides, overlap, sides
from .factors import Crossings, Factors
from .solver import solve

Array = NDArray[np.float64]

WIDTHS = (2.0, 1.5, 1.0, 0.8, 0.8)      # coarse to fine
HELD = 0.2              # of the weight of the contact prior, where planes cross
STEADY = 3.0            # times the weight of the contact point's steps there
SCALE_SD = 0.05         # relative, of the scale where planes cross: fans of simulated scans by curves fitted to such
UNLIKE = 0.1            # log of a fan's stretch over a turn's, from which a scale of their own is tried for fans
LEFT = 0.3              # of an error of scale: by curves that were none of the tissue's a path came out 16% short


@dataclass(frozen=True)
class Calibrated:
    """A trajectory after orthogonal self-calibration.

    Attributes
    ----------
    T : [N, 4, 4].   crossings : factors of the planes that cross, None where nothing was done.
    similarity : of the anatomy seen from both sides, before and after.   gain : share of the true turn that was found.
    fan : share of the true fans that was found, over `gain`.
    mirrored : frames after which the trajectory was mirrored.
    turned : whether there was a turn, before and after which planes could cross.
    """

    T: Array
    crossings: Crossings | None = None
    similarity: tuple[float, float] = (0.0, 0.0)
    gain: float = 1.0
    fan: float = 1.0
    mirrored: tuple[int, ...] = ()
    turned: bool = True

    def scale_uncertainty(self, before: float) -> float:
        """Relative standard deviation of the scale out of the plane, of curves that had `before`.

        Planes that cross and do not show the same tell nothing of it.
        """
        if not self.crossings or self.similarity[1] < ALIKE:
            return before
        return min(before, float(np.hypot(SCALE_SD, LEFT * before)))

    def applied(self, f: Factors) -> Factors:
        """Factors with the crossings, and curves stretched by the scan's own gain.

        The contact point is held less: the anatomy shows where it is. It slides the more steadily: planes that cross
        do not see a shift that goes along with a tilt near the face, and would read a part of each fan as one.
        """
        held, steady = (HELD, STEADY) if self.crossings else (1.0, 1.0)
        forms = f.cells.forms * np.array([self.fan, self.fan, 1.0])[:, None]
        cells = f.cells._replace(forms=forms, stretch=f.cells.stretch * self.gain)
        return replace(f, cells=cells, crossings=self.crossings,
                       contact_precision=f.contact_precision * held,
                       contact_rate_precision=f.contact_rate_precision * steady)

    def settled(self, f: Factors) -> Factors:
        """Factors of the last solve: `applied`, near neighbours counting more where crossing planes tell the scale."""
        return self.applied(f.by_lag() if self.crossings else f)


def warnings_of(found: Calibrated) -> list[str]:
    """What a user should know where both sides of the turn do not show the same."""
    if found.crossings is None or found.similarity[1] >= DOUBTFUL:
        return []
    return [f"what the images show before and after the turn does not agree (similarity {found.similarity[1]:.2f}; .5 "
            "and more where a trajectory is right): a part may have gone the wrong way, or the turn be of another size"]


def self_calibrate(T: Array, factors: Factors, anatomy: Anatomy) -> Calibrated:
    """Draw the anatomy seen before and after the turn together; as given, where that is not seen to succeed.

    Parameters
    ----------
    T : [N, 4, 4] solved poses.   factors : of the solve; a few cells do.
    """
    apart = sides(T, anatomy.frames)
    if apart is None:
        return Calibrated(T, turned=False)
    first = overlap(T, anatomy, apart).similarity
    X, mirrored = settled(T, factors, anatomy, apart)
    by = stretch(X, anatomy, apart)
    found = drawn_together(X, by, factors, anatomy, apart)
    if abs(np.log(by[1] / by[0])) > UNLIKE:
        other = drawn_together(X, by, factors, anatomy, apart, fans_apart=True)
        found = max(found, other, key=lambda f: f.similarity[1])
    if found.crossings is None or found.similarity[1] <= max(first, 0.0):      # 0 where hardly anything is shown twice
        return Calibrated(T)
    return replace(found, similarity=(first, found.similarity[1]), mirrored=mirrored)


def drawn_together(T: Array, by: tuple[float, float], factors: Factors, anatomy: Anatomy, apart: Sides,
                   fans_apart: bool = False) -> Calibrated:
    """The trajectory stretched, and bent until both sides show the same as far as speckle allows; as given, without
    crossings, where they show too little in common.

    Parameters
    ----------
    by : factors of tilt and of yaw to begin with.
    fans_apart : whether the curves of fans have a scale of their own.
    """
    X, found = stretched(T, *by), gained(Calibrated(T), by, fans_apart)
    for width in WIDTHS:
        seen = [both for pair in apart.pairs if (both := overlap(X, anatomy, pair, width)).enough]
        if not seen:
            return Calibrated(T)
        found = replace(found, crossings=joined([crossings(X, both, width) for both in seen]))
        X = solve(X, found.applied(factors), ITERATIONS)
        found = gained(found, stretch_between(T, X), fans_apart)
    return replace(found, T=X, similarity=(0.0, overlap(X, anatomy, apart).similarity))


def gained(found: Calibrated, by: tuple[float, float], fans_apart: bool) -> Calibrated:
    """With the curves' gain where tilts and yaws had to be stretched so."""
    tilt, yaw = by
    return replace(found, gain=1 / yaw, fan=yaw / tilt if fans_apart else 1.0)
