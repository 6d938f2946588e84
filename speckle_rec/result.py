"""What a reconstruction is: poses, how sure they are, and the evidence."""

from dataclasses import dataclass, field
from html import escape
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .errors import InputError
from .io import checks
from .probe.field import ProbeGeometry
from .scan import Scan
from .verdict import Verdict, unjudged, unmeasured

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from .products.volume import Volume


@dataclass(repr=False)
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
    scan : what the poses are of; None where the result was made of poses alone.
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
    scan: Scan | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        checks.numbers(self.T_first_frame, "Reconstruction: T_first_frame", ("N", 4, 4), finite=False)
        n = len(self.T_first_frame)
        for name, shape in (("T_prev_frame", (n, 4, 4)), ("covariance", (n, 6, 6)), ("confidence", (n,))):
            checks.numbers(getattr(self, name), f"Reconstruction: {name}", shape, finite=False)

    def save(self, folder: str | PathLike[str], *, volume: bool = True, report: bool = True, ddf: bool = False,
             sequence: bool = False, overwrite: bool = False) -> dict[str, Any]:
        """Write the result folder, as ``speckle-rec reconstruct`` does, and return its summary.

        Parameters
        ----------
        volume, report, ddf, sequence : which of the larger files are wanted.
        overwrite : replace a result that is there.

        Raises
        ------
        InputError
            If the result knows no scan, or `folder` may not be written.
        """
        from .scoring.tracked import score_of
        from .storage import folder as results
        from .storage.outputs import Outputs
        scan = self._of_scan("save")
        config = {"scan": scan.path, "image_calibration": scan.calibration_source}
        outputs = Outputs(ddf=ddf, volume=volume, sequence=sequence, report=report)
        return results.write(checks.file_path(folder, "save"), scan, self, config=config, score=score_of(scan, self),
                             calibration_hash=str(self.numbers.get("calibration_hash", "")), outputs=outputs,
                             overwrite=overwrite)

    @classmethod
    def load(cls, folder: str | PathLike[str]) -> "Reconstruction":
        """The result of a folder; with its scan, where that is still where it was.

        Raises
        ------
        InputError
            If `folder` is no result, or damaged.
        """
        from .storage import folder as results
        stored = results.read(checks.file_path(folder, "load"))
        told = stored.summary
        scan = None
        try:
            if told.get("path"):
                scan = Scan.open(told["path"], pixel_mm=(stored.scale[0, 0], stored.scale[1, 1]))
        except InputError:
            scan = None
        if scan is not None and (scan.n_frames, scan.shape) != (len(stored.T_first_frame), stored.shape):
            scan = None
        verdict = told.get("verdict")
        return cls(stored.T_first_frame, stored.T_prev_frame, stored.covariance, stored.confidence,
                   warnings=[str(line) for line in told["warnings"]], numbers=dict(told["numbers"]),
                   evidence=results.evidence(stored),
                   run_times_s=dict(told["run_times_s"]), geometry=results.field_of_view(stored),
                   verdict=unjudged() if verdict is None else verdict, scan=scan)

    def to_volume(self, spacing_mm: float | None = None, **options: Any) -> "Volume":
        """The frames compounded into a volume; `options` as in `volume.compound_scan`.

        Raises
        ------
        InputError
            If the result knows no scan.
        """
        from .storage.outputs import probe_geometry
        from .volume import compound_scan
        scan = self._of_scan("to_volume")
        return compound_scan(scan, self.T_first_frame, probe_geometry(scan, self), spacing_mm, **options)

    def plot(self, path: str | PathLike[str] | None = None) -> "Figure":
        """A figure of path, motion and confidence, which notebooks show; written to `path` (PNG) if there is one."""
        from .report import plots
        tracked = None if self.scan is None else self.scan.tracked_beside(self.T_first_frame)
        figure = plots.trajectory_figure(
            self.T_first_frame, tracked, self.confidence, geometry=self.geometry, covariance=self.covariance,
            timestamps_s=None if self.scan is None else self.scan.timestamps_s, evidence=self.evidence)
        if path is not None:
            figure.savefig(checks.file_path(path, "plot"), dpi=110, format="png")
        return figure

    def _of_scan(self, what: str) -> Scan:
        if self.scan is None:
            raise InputError(f"{what}: expected a result that knows its scan, found one of poses alone; set "
                             "result.scan = Scan.open(path)")
        return self.scan

    def _told(self) -> dict[str, str]:
        """What there is to say of the result, in a few words each."""
        n = len(self.T_first_frame)
        steps_mm = np.linalg.norm(self.T_prev_frame[1:, :3, 3], axis=-1)
        if self.geometry is not None:
            face = np.array([*self.geometry.face_mm, 0, 1.0])
            steps_mm = np.linalg.norm(((self.T_prev_frame[1:] - np.eye(4)) @ face)[:, :3], axis=-1)
        sure = f"{np.mean(self.confidence[1:]):.2f} on average" if n > 1 else "of one frame"
        name = f" of {self.scan.name}" if self.scan is not None else ""
        return {f"Reconstruction{name}": f"{n} frame{'s' * (n != 1)}, a path of {steps_mm.sum():.4g} mm",
                "shape": f"{self.verdict['shape']}: {self.verdict['why']}",
                "scale": f"+- {self.verdict['scale_percent']:g} % out of the plane",
                "handedness": self.verdict["handedness"],
                "confidence": f"{sure}; {len(self.warnings)} warning{'s' * (len(self.warnings) != 1)}"}

    def __repr__(self) -> str:
        (head, text), *rest = self._told().items()
        return "\n".join([f"{head}: {text}", *(f"  {name:<11}{value}" for name, value in rest)])

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        (head, text), *rest = self._told().items()
        rows = "".join(f"<tr><th style='text-align:left'>{escape(name)}</th><td style='text-align:left'>{escape(value)}"
                       "</td></tr>" for name, value in rest)
        lines = "".join(f"<li>{escape(line)}</li>" for line in self.warnings)
        return f"<div><b>{escape(head)}</b>: {escape(text)}<table>{rows}</table>" + (f"<ul>{lines}</ul></div>" if lines
                                                                                     else "</div>")


def still() -> Reconstruction:
    """The result of a scan of one frame: the identity."""
    eye = np.eye(4)[None]
    why = "the scan has one frame: there is no motion to reconstruct"
    return Reconstruction(eye, eye.copy(), np.zeros((1, 6, 6)), np.zeros(1, np.float32), warnings=[why],
                          verdict=unmeasured(why))
