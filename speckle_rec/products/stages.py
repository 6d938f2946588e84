"""What passes between the stages: a stage takes products and gives products.

scan -> `View` -> `Measurements` -> `SpeckleModel` -> `Trajectory` -> `result.Reconstruction`

N frames, P cells, M pairs of frames. Poses are float64 [N, 4, 4] in mm about the centre of the probe face, that of
frame 0 the identity. Twists are (x, y, z, tilt, yaw, roll), the first three in mm, the others in rad.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from ..frames.working_images import WorkingImages
    from ..pairs.block_matching import PlanarMotion
    from ..pairs.correlation import Correlations
    from ..pairs.loop_closures import Loops
    from ..probe.field import Cells, Found
    from ..scan import Scan
    from ..speckle.calibration import Calibration
    from ..speckle.curves import Curves
    from ..speckle.strengths import CellStrengths
    from ..trajectory.crossing_planes import Calibrated
    from ..trajectory.factors import Factors
    from ..trajectory.hand import Hand
    from ..trajectory.lost_frames import LostFrames
    from ..trajectory.mirror_tests import Mended
    from ..trajectory.motion_kind import Motion

Array = NDArray[np.float64]

AS_ONE_MM = 1e6         # size of speckle beside which no motion counts
LEAST_SPECKLED = 0.2    # share of the cells that must show moving speckle: confidence judges the clearest fifth


@dataclass(frozen=True)
class View:
    """What the frames show of the probe, each for itself.

    Attributes
    ----------
    scan : the scan.   found : field of view at full resolution, and whether the frames show it.
    images : frames at the resolution that is measured at.   cells : P parts of the field of view.
    lost : bool [N, P], cells under a side of the probe that has no contact.
    speckled : bool [P], cells that show speckle that moves.   static_share : of the field of view that never changes.
    warnings : one line each.
    """

    scan: "Scan"
    found: "Found"
    images: "WorkingImages"
    cells: "Cells"
    lost: NDArray[np.bool_]
    speckled: NDArray[np.bool_]
    static_share: float = 0.0
    warnings: tuple[str, ...] = ()

    @property
    def measurable(self) -> bool:
        """Whether enough of the field of view shows speckle that moves."""
        return self.speckled_share >= LEAST_SPECKLED

    @property
    def speckled_share(self) -> float:
        """Share of the field of view that shows speckle that moves; what never changes is a part of the field."""
        return float(self.speckled.mean()) * (1 - self.static_share)


@dataclass(frozen=True)
class TimeFilter:
    """What a scanner's filter over time does to noise.

    Attributes
    ----------
    response : correlation of noise at lags 1, 2, ...; empty where no filter was found.
    deviation : standard deviation of the first of them.
    only_noise : whether the pictures show nothing else.
    speckle_mm : (across, down), by which a picture is shifted until it correlates with itself by exp(-1/2).
    """

    response: tuple[float, ...] = ()
    deviation: float = 0.0
    only_noise: bool = False
    speckle_mm: tuple[float, float] = (AS_ONE_MM, AS_ONE_MM)

    def __bool__(self) -> bool:
        return bool(self.response)

    def __str__(self) -> str:
        return " ".join(f"{r:.2f}" for r in self.response)


NO_FILTER = TimeFilter()


def noise_at(response: Sequence[float] | Array, lag: Any) -> Any:
    """Correlation [...] of noise at lags [...] from 1 on, 0 beyond the response."""
    return np.append(np.zeros(1), response)[np.where(np.asarray(lag) > len(response), 0, lag).astype(int)]


def both_ways(response: Sequence[float]) -> list[tuple[int, float]]:
    """(d, R(d)) of a response, from its longest lag before to its longest after."""
    after = list(enumerate(response, 1))
    return [(-d, weight) for d, weight in reversed(after)] + [(0, 1.0), *after]


@dataclass(frozen=True)
class Measurements:
    """What pairs of frames tell.

    Attributes
    ----------
    planar : in-plane motion of pairs.   planar_step : [N, 3] (x, y, roll) of the step into each frame, as the pairs
        agree on it.   planar_covariance : [N, 3, 3] of it.
    duplicate : bool [N], frames that show the picture before again.
    speckle : correlations of cells over neighbours in time.   loops : pairs of frames far apart in time that show
        the same place.
    images : frames as they were measured.   device : "cpu" or "gpu".
    time_filter : of the scanner, which correlates neighbouring frames.   warnings : one line each.
    """

    planar: "PlanarMotion"
    planar_step: Array
    planar_covariance: Array
    duplicate: NDArray[np.bool_]
    speckle: "Correlations"
    loops: "Loops"
    images: "WorkingImages"
    device: str
    time_filter: TimeFilter = NO_FILTER
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class SpeckleModel:
    """What a correlation of a cell says of motion out of the plane.

    Attributes
    ----------
    calibration : of the machine.   curves : its decorrelation curves.
    forms : [P, 3, 3] U of the cells, Q = |U xi|^2 with xi = (z, tilt, yaw).
    strengths_of : strengths of the cells as a function of the poses [N, 4, 4]; of None while those are not known.
    """

    calibration: "Calibration"
    curves: "Curves"
    forms: Array
    strengths_of: "Callable[[Array | None], CellStrengths]"


@dataclass(frozen=True)
class Trajectory:
    """Poses as far as the steps of the estimate have brought them.

    Attributes
    ----------
    T : [N, 4, 4].   step_covariance : [N, 3, 3] of (z, tilt, yaw) of the step into each frame, from its neighbours.
    hand : prior of the hand, about a contact point or swept.   strengths : of the cells, along `T`.
    factors : what the batch solve weighs; None until it is set up.
    starts : trajectories that took other signs, and `backward` the one from the last frame to the first.
    started : the one of them from which signs were mended.
    mended : what became of the signs.   crossed : outcome of the crossing planes.
    lost_frames : where frames are missing.
    outlier_steps : that were mended.   solved : whether all pairs were weighed together.
    steps : names of the steps that ran, in order.   motion : the kind of motion, and what decided it.
    """

    T: Array
    step_covariance: Array
    hand: "Hand"
    strengths: "CellStrengths"
    factors: "Factors | None" = None
    starts: tuple[Array, ...] = ()
    backward: Array | None = None
    started: Array | None = None
    mended: "Mended | None" = None
    crossed: "Calibrated | None" = None
    lost_frames: "LostFrames | None" = None
    outlier_steps: int = 0
    solved: bool = False
    steps: tuple[str, ...] = field(default=())
    motion: "Motion | None" = None
