"""What a result was made of: hashes and settings by which a finished folder is taken over for a new run, or refused.

The content counts, not the place: a scan that was moved or renamed is the same scan.
"""

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..config import Config
from ..errors import InputError
from ..io.staging import is_complete
from ..scan import Scan
from .folder import Stored, read, version

MadeOf = dict[str, Any]
Progress = Callable[[int, int], None]

NOT_COMPARED = ("device", "jobs")     # settings that say where and how fast, not what
ANEW = "choose another --out, or give --overwrite to make it anew"


class OtherResult(InputError):
    """A finished result that was made of something else than what is asked for."""


def of_run(calibration_hash: str, config: Config, engine: str = "speckle", *, given: bool = True) -> MadeOf:
    """What all scans of a run have in common.

    Parameters
    ----------
    given : whether the speckle calibration was asked for. The default is not the same for every probe.
    """
    settings = {name: value for name, value in config.resolved().items() if name not in NOT_COMPARED}
    return {"engine": engine, "calibration": calibration_hash if given else f"default, {calibration_hash}",
            "settings": settings, "version": version()}


def of_scan(scan: Scan, run: Mapping[str, Any], progress: Progress | None = None) -> MadeOf:
    """What a result of this scan is made of, in a run that `of_run` describes; reads all frames.

    Raises
    ------
    InputError
        If a frame cannot be read.
    """
    times = scan.timestamps_s
    tracked = None if scan.T_world_tool is None else np.round(scan.T_world_tool, 5) + 0.0     # no -0, no last bits
    return {
        "path": None if scan.path is None else str(scan.path.resolve()),
        "frames": frames_hash(scan, progress),
        "scale": scan.scale.tolist(),
        "T_tool_image": None if scan.T_tool_image is None else scan.T_tool_image.tolist(),
        "tracking": None if tracked is None else _hash(np.nan_to_num(tracked, nan=1e9)),
        "landmarks": None if scan.landmarks is None else _hash(scan.landmarks),
        "times": f"{scan.frame_rate_hz:.9g} Hz" if times is None else _hash(np.round(times - times[0], 6) + 0.0),
        **run}


def frames_hash(scan: Scan, progress: Progress | None = None) -> str:
    """SHA-256 of the frames as they are read: of their shape, then of the uint8 pixels."""
    digest = hashlib.sha256(f"{scan.n_frames} {scan.shape[0]} {scan.shape[1]} ".encode())
    for start, frames in scan.blocks():
        digest.update(np.ascontiguousarray(frames).data)
        if progress:
            progress(start + len(frames), scan.n_frames)
    return digest.hexdigest()


def is_of_other_frames(result: Path, scan: Scan) -> bool:
    """Whether a result (its folder or a file in it) notes that it was made of other frames than those of `scan`."""
    folder = result if result.is_dir() else result.parent
    found = read(folder).summary.get("made_of") if is_complete(folder) else None
    return isinstance(found, Mapping) and found.get("frames") != frames_hash(scan)


def taken_over(folder: Path, wanted: Mapping[str, Any]) -> Stored:
    """The result in a finished folder, where it was made of what is `wanted`.

    Raises
    ------
    OtherResult
        If it was not; the message names what differs.
    InputError
        If the folder is damaged.
    """
    try:
        stored = read(folder)
    except InputError as error:
        raise InputError(f"{error}; the result is damaged: {ANEW}") from error
    refuse_other(folder, stored.summary.get("made_of"), wanted)
    return stored


def refuse_other(folder: Path, found: Any, wanted: Mapping[str, Any]) -> None:
    """Raise `OtherResult`, which names what differs, unless what `folder` was made of is what is `wanted`."""
    if not isinstance(found, Mapping):
        raise OtherResult(f"{folder}: made by a version that did not note what of; {ANEW}")
    if told := differences(found, wanted):
        raise OtherResult(f"{folder}: made {', '.join(told)}; {ANEW}")


def differences(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """How what was `found` differs from what is `wanted`, as ends of a sentence that begins with "made".

    A scan that has lost its tracked poses or landmarks since is the same scan: the result knows more of it.
    """
    told = []
    if "frames" in wanted:
        if found.get("frames") != wanted["frames"]:
            place = found.get("path")
            told.append("of another scan" + (f" ({place})" if place != wanted["path"] else
                                             " (these frames have changed since)"))
        else:
            told += _beside_frames(found, wanted)
        told += _image_calibration(found, wanted)
    if found.get("engine") != wanted["engine"]:
        told.append(f"by another engine ({found.get('engine')})")
    if found.get("calibration") != wanted["calibration"]:
        told.append("with another speckle calibration")
    told += _settings(found.get("settings"), wanted["settings"])
    if found.get("version") != wanted["version"]:
        told.append(f"by version {found.get('version')} (this is {wanted['version']})")
    return told


def _beside_frames(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    names = {"tracking": "tracked poses", "landmarks": "landmarks", "times": "time stamps"}
    return [f"with other {name}" if found.get(key) else f"without the {name} that are there now"
            for key, name in names.items() if wanted[key] is not None and found.get(key) != wanted[key]]


def _image_calibration(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    if not _same(found.get("scale"), wanted["scale"]):
        return [f"with another image calibration: pixels of {_pixel(found.get('scale'))} mm, "
                f"now {_pixel(wanted['scale'])} mm"]
    if not _same(found.get("T_tool_image"), wanted["T_tool_image"]):
        return ["with another image calibration: another image-to-tool transform"]
    return []


def _settings(found: Any, wanted: Mapping[str, Any]) -> list[str]:
    found = found if isinstance(found, Mapping) else {}
    other = [name for name in {**found, **wanted} if found.get(name) != wanted.get(name)]
    told = [f"{'without' if wanted.get(name) else 'with'} --mirrored" for name in other if name == "mirrored"]

    def told_of(values: Mapping[str, Any], name: str) -> str:
        value = values.get(name)
        return "not given" if value is None else str(value)[:12] if name == "orientation" else str(value)

    named = [f"{name} {told_of(found, name)} (now {told_of(wanted, name)})" for name in other if name != "mirrored"]
    return told + ([f"with other settings: {', '.join(named)}"] if named else [])


def _pixel(scale: Any) -> str:
    try:
        return f"{scale[0][0]:.6g} x {scale[1][1]:.6g}"
    except (TypeError, ValueError, IndexError, KeyError):
        return "unknown size"


def _same(a: Any, b: Any) -> bool:
    """Whether two matrices agree but for the last bits, which differ between machines."""
    if a is None or b is None:
        return a is b
    try:
        return bool(np.shape(a) == np.shape(b) and np.allclose(a, b, rtol=1e-9, atol=1e-9))
    except (TypeError, ValueError):
        return False


def _hash(values: NDArray[Any]) -> str:
    values = np.ascontiguousarray(values)
    return hashlib.sha256(f"{values.dtype.str} {values.shape} ".encode() + values.tobytes()).hexdigest()
