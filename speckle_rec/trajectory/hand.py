"""Rotation from the geometry of the fan: a probe that is turned about a contact point moves its face little.

Speckle measures the way of the beam's waist, and hardly tells of what shift and tilt it is made (METHOD.md (4.3)). The
skin does: the contact point drifts about one place, slowly, and the probe does not lie down. So the two are tied
through it, softly, by its place, its step and the lean of the beam (METHOD.md (5.5)). A sweep has no such point.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

UPRIGHT_RAD = 0.025     # lean of a probe that is carried along the skin: .08, weighed ten times like the contact (5.5)
CONTACT = 10.0        # looks at the contact point in `drift_frames`: one is outweighed by what the curves miss
LEAST_LEAN_RAD = 0.02     # rms, that tells a pivot
LEAST_WOBBLE_MRAD, MOST_WOBBLE_MRAD = 0.05, 5.0     # a frame, of any hand
SWEPT_SHARE = 0.3         # `carried` of training scans, from which they were swept
ALIKE_FRAMES = 40        # over which a wobble stays alike
SWEPT_MM = 60.0           # that the face is carried: what a fan of either side, read as a shift, hardly comes to


@dataclass(frozen=True)
class Hand:
    """Prior of the hand: how fast its out-of-plane motion changes, and whether it turns about a fixed contact.

    Attributes
    ----------
    z_mm, tilt_rad, yaw_rad : standard deviations of the change of the step from frame to frame.
    wobble_tilt_rad, wobble_yaw_rad : standard deviations of a step in tilt and in yaw that is not meant: a degree,
        correlated over 40 frames as the contact point is (`contact`).
    sweep_tilt_rad, sweep_yaw_rad : standard deviations of a step in tilt and in yaw of a sweep. Speckle of few cells
        reads noise and shadows at the sides as yaw; sweeps along a limb turn by some degrees. Where training scans were
        swept, theirs is the yaw: what turns by w a frame, alike over `ALIKE_FRAMES`, is sqrt(`ALIKE_FRAMES`) w.
    pivot : True where the probe is turned about a contact point that only drifts, by `drift_mm`, correlated over
        `drift_frames`; False where it is swept along. Speckle hardly tells a shift from a tilt (METHOD.md (4.3)).
    lean_rad : how far the beam's axis leans from where it started, correlated over `lean_frames`: a probe on the
        skin cannot lie down.
    """

    z_mm: float = 0.05
    tilt_rad: float = 0.004
    yaw_rad: float = 0.004
    drift_mm: float = 2.0
    drift_frames: float = 50.0
    lean_rad: float = 0.35
    lean_frames: float = 60.0
    wobble_tilt_rad: float = 6.2e-4
    wobble_yaw_rad: float = 6.2e-4
    sweep_tilt_rad: float = 2e-3
    sweep_yaw_rad: float = 1e-3
    pivot: bool = True

    @classmethod
    def of(cls, kind: str, priors: Mapping[str, Any]) -> "Hand":
        """The hand on a kind of probe, its wobble as training scans have it (`phases.gather`), the usual one if none.

        A linear probe is taken to be swept.
        """
        told: dict[str, Any] = {}
        for angle in ("tilt", "yaw"):
            mean = _mean(priors, f"wobble_{angle}_mrad")
            if mean is not None and LEAST_WOBBLE_MRAD <= mean <= MOST_WOBBLE_MRAD:
                told[f"wobble_{angle}_rad"] = 1e-3 * mean
        if were_swept(priors) and "wobble_yaw_rad" in told:
            told["sweep_yaw_rad"] = max(cls.sweep_yaw_rad, np.sqrt(ALIKE_FRAMES) * told["wobble_yaw_rad"])
        return cls(pivot=kind == "curvilinear", **told)

    @property
    def swept(self) -> "Hand":
        """This hand where the probe is carried along the skin instead."""
        return replace(self, pivot=False)

    @property
    def upright(self) -> "Hand":
        """This hand where nothing is seen twice, and the skin alone tells that the probe of a sweep hardly leans."""
        return replace(self, lean_rad=UPRIGHT_RAD)

    @property
    def contact(self) -> tuple[float, float]:
        """Precision (1/mm^2) of a step of the contact point along z, and the share of its offset it goes back.

        A Gaussian process of standard deviation `drift_mm` that is correlated over `drift_frames` moves by
        sqrt(2) drift_mm / drift_frames a frame.
        """
        if not self.pivot:
            return 0.0, 0.0
        return self.drift_frames**2 / (2 * self.drift_mm**2), 1 / self.drift_frames

    @property
    def wobble_precision(self) -> Array:
        """Precision [2] (1/rad^2) of a step in tilt and in yaw that is not meant."""
        return 1 / np.square([self.wobble_tilt_rad, self.wobble_yaw_rad])

    @property
    def sweep_precision(self) -> Array:
        """Precision [2] (1/rad^2) of a step in tilt and in yaw of a sweep; 0 where the probe is turned."""
        return np.zeros(2) if self.pivot else 1 / np.square([self.sweep_tilt_rad, self.sweep_yaw_rad])

    @property
    def contact_precision(self) -> float:
        """Precision (1/mm^2) a frame of the contact point about its first place, `CONTACT` times in `drift_frames`."""
        return CONTACT / (self.drift_mm**2 * self.drift_frames) if self.pivot else 0.0

    @property
    def contact_reach_mm(self) -> float:
        """Distance from its first place from which the contact point is no longer pulled back harder."""
        return 3 * self.drift_mm

    @property
    def lean_precision(self) -> float:
        """Precision (1/rad^2) a frame of the beam's axis about its first direction."""
        return 1 / (self.lean_rad**2 * self.lean_frames)

    @property
    def precision(self) -> Array:
        return np.diag(1 / np.square([self.z_mm, self.tilt_rad, self.yaw_rad]))


def were_swept(priors: Mapping[str, Any]) -> bool:
    """Whether the training scans of a calibration were sweeps, by what `phases.gather` says of them."""
    carried = _mean(priors, "carried")
    return carried is not None and carried > SWEPT_SHARE


def _mean(priors: Mapping[str, Any], name: str) -> float | None:
    """Mean of a quantity over the training scans of a calibration; None where it has none."""
    entry = priors.get(name)
    mean = entry.get("mean") if isinstance(entry, Mapping) else None
    return mean if isinstance(mean, float) else None


ROTATING = Hand()       # the hand of the rotation protocol


class Held(Protocol):
    """Factors that hold the contact point and the beam's axis, see `factors.Factors`."""

    @property
    def contact_precision(self) -> float: ...
    @property
    def contact_reach_mm(self) -> float: ...
    @property
    def lean_precision(self) -> float: ...


def standing(T: Array, f: Held) -> float:
    """Cost of where the contact point is and how far the beam's axis leans, METHOD.md (5.5)."""
    reach2 = f.contact_reach_mm**2
    return 0.5 * float(f.contact_precision * reach2 * np.log1p(np.square(T[1:, :3, 3]).sum(1) / reach2).sum()
                       + f.lean_precision * np.square(T[1:, :3, 1] - T[0, :3, 1]).sum())


def pivot_depth(T: Array) -> float:
    """Depth (mm) below the face's centre of the point of the beam's axis that moves least; 0 where nothing leans.

    Least squares of t_k + d y_k about its mean, t_k the face's centre and y_k the beam's axis of poses [N, 4, 4]. The
    contact drifts, so that a scan tells it to some 1.5 mm.
    """
    t, y = (T[:, :3, column] - T[:, :3, column].mean(0) for column in (3, 1))
    lean = float(np.square(y).sum())
    return -float((t * y).sum()) / lean if lean > len(T) * LEAST_LEAN_RAD**2 else 0.0


def is_swept(T: Array) -> bool:
    """Whether the probe was carried along the skin, by a trajectory [N, 4, 4] found without a fixed contact point."""
    return bool(np.quantile(np.linalg.norm(T[:, :3, 3], axis=1), 0.95) > SWEPT_MM)
