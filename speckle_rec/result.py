"""What a reconstruction is: poses, how sure they are, and the evidence."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .io import checks
from .probe.field import ProbeGeometry
from .verdict import Verdict, unjudged, unmeasured


@dataclass
class Reconstruction:
    """Poses of a scan's frames, in image mm (see `geometry`).

    Attributes
    ----------
    T_first_frame : float64 [N, 4, 4], image mm of frame i -> image mm of frame 0; [0] is the identity.
    T_prev_frame : float64 [N, 4, 4], frame i -> frame i-1; [0] is the identity. Need not chain to
        T_first_frame: the best local and the best global estimate differ.
    covariance : float64 [N, 6, 6] of T_first_frame, as a twist (tx, ty, tz, rx, ry, rz) in mm and rad about
        the centre of the probe face of frame 0.
    confidence : float32 [N], 0..1, of the step into frame i.
    verdict : whether the shape can be trusted, how sure its scale is, and which way round it is (see `Verdict`).
    warnings : one line each.
    numbers : figures of the summary by name; the unit is in the name.
    evidence : arrays behind the result (phases, signs, per-frame in-plane motion), for the report.
    run_times_s : seconds by stage.
    geometry : field of view the frames were read with; None where none was needed.
    """

    T_first_frame: NDArray[np.float64]
    T_prev_frame: NDArray[np.float64]
    covariance: NDArray[np.float64]
    confidence: NDArray[np.float32]
    warnings: list[str] = field(default_factory=list)
    numbers: dict[str, float | int | str] = field(default_factory=dict)
    evidence: dict[str, NDArray[Any]] = field(default_factory=dict)
    run_times_s: dict[str, float] = field(default_factory=dict)
    geometry: ProbeGeometry | None = None
    verdict: Verdict = field(default_factory=unjudged)

    def __post_init__(self) -> None:
        checks.numbers(self.T_first_frame, "Reconstruction: T_first_frame", ("N", 4, 4), finite=False)
        n = len(self.T_first_frame)
        for name, shape in (("T_prev_frame", (n, 4, 4)), ("covariance", (n, 6, 6)), ("confidence", (n,))):
            checks.numbers(getattr(self, name), f"Reconstruction: {name}", shape, finite=False)


def still() -> Reconstruction:
    """The result of a scan of one frame: the identity."""
    eye = np.eye(4)[None]
    why = "the scan has one frame: there is no motion to reconstruct"
    return Reconstruction(eye, eye.copy(), np.zeros((1, 6, 6)), np.zeros(1, np.float32), warnings=[why],
                          verdict=unmeasured(why))
