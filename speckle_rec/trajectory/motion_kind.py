"""What kind of motion a scan is: about a contact point (a fan, a turn), or swept along the skin.

Speckle hardly tells the two apart (METHOD.md (4.3)). What decides is who knows; else rocks (which turn about a contact
point), the probe (linear ones are swept), and how far the face is carried by a trajectory found without the prior of a
contact point.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .. import geometry as se3
from .hand import SWEPT_MM, is_swept

Array = NDArray[np.float64]

NARROW = 2.0                # times: the face carried by half of what tells a sweep, or twice as far, is no clear case
LIES_DOWN_DEG = 75.0        # lean of a probe about its contact point, beyond which it was rather carried along
SWEEP, FAN = "swept along", "about a contact point"
SWEPT_AS_TOLD, SWEPT_AS_TRAINED = "as --swept says", "as the scans of the calibration were"
MOST_TURN_RAD = {SWEPT_AS_TOLD: 0.5, SWEPT_AS_TRAINED: 1.0}    # of a sweep; training scans tell how far it may turn
AS_TOLD = {"fan": "as --motion fan says", "sweep": "as --motion sweep says"}


@dataclass(frozen=True)
class Motion:
    """The kind of motion, and what speaks for it.

    Attributes
    ----------
    swept : whether the probe is taken to be carried along the skin.   decided : by what.
    carried_mm : distance of the face from its first place, of the trajectory found as a sweep; None where not asked.
    lean_deg : of the beam from its first direction, of the one found about a contact point.
    cost_sweep, cost_fan : of the correlations, of both: mostly even, since the images hardly tell.
    """

    swept: bool
    decided: str
    carried_mm: float | None = None
    lean_deg: float | None = None
    cost_sweep: float | None = None
    cost_fan: float | None = None

    @property
    def doubt(self) -> str:
        """Why it may well be the other kind; empty where nothing says so."""
        if self.carried_mm is None or self.lean_deg is None or self.decided in (SWEPT_AS_TOLD, SWEPT_AS_TRAINED):
            return ""
        if SWEPT_MM / NARROW < self.carried_mm < SWEPT_MM * NARROW:
            return (f"as a sweep the probe would have been carried {self.carried_mm:.0f} mm; from {SWEPT_MM:.0f} mm on "
                    "it is taken for one")
        return ""

    @property
    def numbers(self) -> dict[str, float | int | str]:
        """Figures for the summary."""
        figures = {"motion_carried_mm": self.carried_mm, "motion_lean_deg": self.lean_deg,
                   "motion_cost_sweep": self.cost_sweep, "motion_cost_fan": self.cost_fan}
        told: dict[str, float | int | str] = {"motion": SWEEP if self.swept else FAN, "motion_decided": self.decided}
        return told | {name: round(value, 2) for name, value in figures.items() if value is not None}

    @property
    def warnings(self) -> list[str]:
        """One line where the kind is not clear."""
        if not self.doubt:
            return []
        other = "sweep" if not self.swept else "fan"
        return [f"the motion was taken to be {SWEEP if self.swept else FAN}, but the odds are small: {self.doubt}; "
                f"--motion {other} takes it the other way"]


def before_measuring(motion: str, kind: str, rocks: bool) -> Motion:
    """The kind of motion by what is known before any trajectory: the setting, the kind of probe, rocks."""
    if motion != "auto":
        return Motion(motion == "sweep", AS_TOLD[motion])
    if rocks:
        return Motion(False, "it rocks, which is about a contact point")
    if kind != "curvilinear":
        return Motion(True, "linear probes that do not rock are taken to be swept")
    return Motion(False, "probes like this one mostly do")


def by_trajectories(as_sweep: tuple[Array, float], as_fan: tuple[Array, float], told_swept: str = "") -> Motion:
    """The kind of motion by the trajectories [N, 4, 4] found as each, with the costs of their correlations.

    Parameters
    ----------
    told_swept : who says that the probe was swept, empty for nobody; a scan that turns is not.
    """
    T, cost_sweep = as_sweep
    carried = float(np.quantile(np.linalg.norm(T[:, :3, 3], axis=1), 0.95))
    lean = float(np.degrees(np.arccos(np.clip(as_fan[0][:, 1, 1], -1, 1)).max(initial=0)))
    turned = float(np.abs(se3.turned(T)).max(initial=0))
    swept = is_swept(T)
    decided = f"the face was carried {carried:.0f} mm, {'over' if swept else 'below'} {SWEPT_MM:.0f} mm"
    if told_swept and turned < MOST_TURN_RAD[told_swept]:
        swept, decided = True, told_swept
    elif not swept and lean > LIES_DOWN_DEG:
        swept, decided = True, f"about a contact point the probe would have leaned by {lean:.0f} deg"
    return Motion(swept, decided, carried, lean, cost_sweep, as_fan[1])
