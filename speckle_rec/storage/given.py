"""Poses that somebody else found, one for each frame of a scan: which belongs to which, and whether they can be."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..geometry import image_trajectory, steps
from ..io import trajectory
from ..io.hdf5 import attributes, open_h5, read_dataset
from ..io.staging import POSES
from ..scan import Scan
from .outputs import timestamps

Array = NDArray[np.float64]

TRACKED = "tracked"
FASTEST_MM = 50.0       # a frame: a metre a second, at 20 frames a second
FARTHEST_MM = 1000.0    # between two frames, from one end of what a tracker sees to the other
FAST_MM, LONGEST_MM = 10.0, 3000.0      # median of a frame; of a whole scan
SHORTEST_MM, STILL_MM = 0.01, 0.001     # of a whole scan; median of a frame
UNITS = "are the units right? TUM and KITTI count in metres, poses.h5 and tracked poses in mm"


@dataclass(frozen=True)
class Given:
    """Poses for the frames of a scan.

    Attributes
    ----------
    T_first_frame : float64 [N, 4, 4] in mm, NaN for frames without a pose.
    warnings : what was left out or had to be assumed, one line each.
    """

    T_first_frame: Array
    warnings: tuple[str, ...] = ()


def for_scan(scan: Scan, source: Path) -> Given:
    """The poses of a result folder, a ``poses.h5``, a TUM or KITTI file, or (`TRACKED`) the scan's own tracking.

    Poses with time stamps (TUM) go to the frames within half a frame interval of them, on the scan's clock. Where the
    scan has no clock of its own, or its frames are as far apart on another one, one pose a frame is taken in order.

    Raises
    ------
    InputError
        If they cannot be read, are not those of this scan, or no hand moves so.
    """
    source = Path(source)
    if str(source) == TRACKED:
        given = _tracked(scan)
        what = f"{scan.path or scan.name}: tracked poses"
    else:
        T, times = trajectory.read_timed(source)
        what = str(source)
        if times is not None:
            given = _timed(scan, T, times, what)
        elif len(T) != scan.n_frames:
            raise InputError(f"{what}: expected {scan.n_frames} poses, one a frame of {scan.path or scan.name}, found "
                             f"{len(T)}")
        else:
            given = Given(T, _of_another(scan, source))
    T = given.T_first_frame
    world = () if not np.isfinite(T[0]).all() or np.allclose(T[0], np.eye(4), atol=1e-3) else (
        f"{what}: the pose of frame 0 is not the identity: the volume lies in the world of the poses, not in the "
        "image of frame 0",)
    return Given(T, (*given.warnings, *world, *_lengths(T, what)))


def _tracked(scan: Scan) -> Given:
    what = scan.path or scan.name
    if scan.T_world_tool is None:
        raise InputError(f"{what}: expected tracked poses for --poses {TRACKED}, found none; give a file with poses")
    if scan.T_tool_image is None:
        raise InputError(f"{what}: expected to know where the image lies on the tracked tool; give --calib")
    ok = np.asarray(np.isfinite(scan.T_world_tool).all((1, 2)))
    if not ok.any():
        raise InputError(f"{what}: expected tracked poses for --poses {TRACKED}, found no frame with one that is valid")
    T = np.full((scan.n_frames, 4, 4), np.nan)
    T[ok] = image_trajectory(scan.T_world_tool[ok], scan.T_tool_image)
    warnings = []
    if not ok.all():
        warnings.append(f"{what}: {int((~ok).sum())} of {len(ok)} frames are not tracked and are left out")
    if not ok[0]:
        warnings.append(f"{what}: frame 0 is not tracked; the volume lies as the image of frame {int(ok.argmax())}")
    return Given(T, tuple(warnings))


def _timed(scan: Scan, poses: Array, times: Array, what: str) -> Given:
    """Poses [P, 4, 4] at times [P] (s, ascending) for the frames of a scan."""
    n, clock, own = scan.n_frames, timestamps(scan), scan.timestamps_s is not None
    interval = float(np.median(np.diff(np.sort(clock)))) if n > 1 else 1 / scan.frame_rate_hz
    half = interval / 2 + 1e-6      # to which times are written
    edges = (times[1:] + times[:-1]) / 2
    nearest = np.searchsorted(edges, clock)
    there = np.abs(times[nearest] - clock) <= half
    apart = np.abs((times - times[0]) - (clock - clock[0])).max() if len(times) == n else np.inf
    if len(times) == n and (not own or (there.mean() < 0.5 and apart <= half)):
        return Given(poses, _in_order(times, clock, apart <= half, what))
    inside = (times >= clock.min() - half) & (times <= clock.max() + half)
    if not there.any() or (not own and not inside.all()) or (len(times) == n and there.mean() < 0.5):
        raise InputError(
            f"{what}: expected one pose for each of {n} frames, or time stamps on the scan's clock "
            f"({clock.min():.6g} to {clock.max():.6g} s{'' if own else ' by its frame rate'}), found {len(times)} at "
            f"{times[0]:.16g} to {times[-1]:.16g} s, which {int(there.sum())} frames are near to; mend the time "
            "stamps, or give one pose a frame as KITTI")
    T = np.where(there[:, None, None], poses[nearest], np.nan)
    if there.all():
        return Given(T)
    return Given(T, (f"{what}: {int((~there).sum())} of {n} frames have no pose within half a frame interval "
                     f"({half * 1000:.0f} ms) and are left out",))


def _in_order(times: Array, clock: Array, alike: bool, what: str) -> tuple[str, ...]:
    """What is to be said of poses that are taken one a frame, whatever their times; `alike`: but for the start."""
    if not alike:
        return (f"{what}: one pose a frame, taken in order: the time stamps are {np.median(np.diff(times)):.3g} s "
                f"apart (median), the frames {np.median(np.diff(clock)):.3g} s by the frame rate",)
    if abs(times[0] - clock[0]) > (clock[-1] - clock[0]) / max(len(clock) - 1, 1) / 2:
        return (f"{what}: the time stamps are of another clock; the first ({times[0]:.16g} s) is taken for frame 0",)
    return ()


def _of_another(scan: Scan, source: Path) -> tuple[str, ...]:
    """In what a result (its folder or ``poses.h5``) differs from the scan; nothing for other files."""
    path = source / POSES if source.is_dir() else source
    if path.suffix.lower() not in trajectory.H5:
        return ()
    with open_h5(path) as file:
        said = attributes(file, path)
        scaled = "scale" in file
    differs = []
    if isinstance(name := said.get("scan"), str) and name != scan.name:
        differs.append(f"the scan '{name}', not '{scan.name}'")
    shape = said.get("rows", scan.shape[0]), said.get("columns", scan.shape[1])
    if shape != scan.shape:
        differs.append(f"images of {shape[0]} x {shape[1]} pixels, not {scan.shape[0]} x {scan.shape[1]}")
    scale = read_dataset(path, "scale") if scaled else scan.scale
    if scale.shape == (4, 4) and not np.allclose(scale[:2, :2], scan.scale[:2, :2], rtol=0.01, atol=1e-6):
        differs.append(f"pixels of {scale[0, 0]:.4g} x {scale[1, 1]:.4g} mm, not {scan.scale[0, 0]:.4g} x "
                       f"{scan.scale[1, 1]:.4g}")
    return (f"{path}: the poses are of {' and '.join(differs)}",) if differs else ()


def _lengths(T_first_frame: Array, what: str) -> tuple[str, ...]:
    """Refuse steps that no hand makes; say what else is unlikely of them."""
    posed = np.flatnonzero(np.isfinite(T_first_frame).all((1, 2)))
    if len(posed) < 2:
        return ()
    T = T_first_frame[posed]
    far = np.linalg.norm(steps(T)[1:, :3, 3], axis=1)
    a_frame = far / np.diff(posed)
    median, worst, path = float(np.median(a_frame)), int(np.argmax(far)), float(far.sum())
    if median > FASTEST_MM or far[worst] > FARTHEST_MM:
        raise InputError(f"{what}: expected the steps of a hand, found {median:.3g} mm a frame (median) and "
                         f"{far[worst]:.3g} mm from frame {posed[worst]} to {posed[worst + 1]}; {UNITS}")
    found = []
    if (fast := a_frame > FASTEST_MM).any():
        found.append(f"{int(fast.sum())} steps of more than {FASTEST_MM:g} mm a frame, the first from frame "
                     f"{posed[np.argmax(fast)]}")
    if median > FAST_MM or path > LONGEST_MM:
        found.append(f"a path of {path / 1000:.3g} m, {median:.3g} mm a frame (median)")
    if path < SHORTEST_MM or (median < STILL_MM and path < 1):
        found.append(f"a path of {path:.2g} mm in all")
    return (f"{what}: {' and '.join(found)}: {UNITS}",) if found else ()
