"""What a person wants to know first of a result: can it be trusted, how sure is its scale, which way round is it."""

from typing import Literal, TypedDict

import numpy as np
from numpy.typing import NDArray

FEW_FRAMES = 10
MEASURABLE = 0.2        # mean signal, below which next to nothing was measured
SURE = 0.6              # mean signal of a scan that may be called reliable
ALIKE = 0.4             # similarity of crossing planes: .47 to .79 on runs that came out right, to .25 on wrong ones


class Verdict(TypedDict):
    """Attributes: whether the shape can be trusted, one standard deviation of its scale, whether somebody told which of
    the two mirror images it is, and why the shape is judged so."""

    shape: Literal["reliable", "doubtful", "not measurable"]
    scale_percent: float
    handedness: Literal["known", "assumed"]
    why: str


def unjudged() -> Verdict:
    """The verdict on poses that come without evidence."""
    return Verdict(shape="doubtful", scale_percent=100.0, handedness="assumed", why="nothing tells how good it is")


def unmeasured(why: str, handed: bool = False) -> Verdict:
    """The verdict where there is nothing to measure."""
    return Verdict(shape="not measurable", scale_percent=100.0, handedness="known" if handed else "assumed", why=why)


def verdict(signal: NDArray[np.floating], similarity: float | None, scale_uncertainty: float, *, handed: bool,
            speckled: float = 1.0) -> Verdict:
    """The verdict on a reconstruction.

    Parameters
    ----------
    signal : [N] of the step into each frame, `confidence.signal_of`.
    similarity : of what crossing planes show; None where none cross.
    scale_uncertainty : relative standard deviation of the scale out of the plane.
    handed : whether somebody told which mirror image is the true one.
    speckled : share of the field of view that shows moving speckle.
    """
    n = len(signal)
    mean = float(np.mean(signal[1:])) if n > 1 else 0.0
    if n < FEW_FRAMES:
        return unmeasured(f"{n} frame{'s' * (n > 1)}: too few to tell a motion from", handed)
    agrees = similarity is not None and similarity >= ALIKE
    if mean < MEASURABLE and not agrees:
        return unmeasured(f"hardly any speckle that can be followed (mean signal {mean:.2f}; {speckled:.0%} of the "
                          "field of view shows speckle that moves)", handed)
    sure = False
    if similarity is None:
        why = "no planes cross, by which the shape could be checked"
    elif not agrees:
        why = f"where planes cross they do not show the same (similarity {similarity:.2f})"
    elif mean < SURE:
        why = f"speckle is often lost (mean signal {mean:.2f})"
    else:
        sure, why = True, f"where planes cross they show the same (similarity {similarity:.2f})"
    return Verdict(shape="reliable" if sure else "doubtful", scale_percent=round(100 * scale_uncertainty, 1),
                   handedness="known" if handed else "assumed", why=why)
