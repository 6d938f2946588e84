"""MetaImage sequences of the PLUS toolkit (``.igs.mha``): frames with a transform and a status each.

Images are turned to the orientation MF (columns towards the marked side, rows away from the probe), which
is also what PLUS does before it applies an image-to-probe calibration. The pose used is that of the probe
in the reference, inv(ReferenceToTracker) ProbeToTracker, where a reference is tracked.
"""

import re
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..geometry import inverse
from . import calib as calib_files
from .calib import ImageCalibration
from .mha import Header, SequenceFrames, read_header
from .source import ScanContent, check_name, one_line
from .tusrec import find_landmarks, validated_poses

Array = NDArray[np.float64]

DEFAULT_RATE_HZ = 20.0

# Image-to-probe matrices published with the sequences of PlusLibData (BSD 3-Clause, PLUS Toolkit, 2017),
# found by file name because these files carry none.
PUBLISHED_IMAGE_TO_PROBE = {
    "BoneUltrasound_L14": (7.96231e-04, 8.54272e-02, 8.50194e-04, 12.74,
                           -8.53999e-02, 7.72721e-04, 2.33653e-03, 50.76,
                           2.32863e-03, -8.71617e-04, 8.53992e-02, -0.5, 0, 0, 0, 1),
    "SpinePhantomFreehand": (-1.57821e-03, 7.85919e-02, -8.03285e-03, 15.3978,
                             -8.39128e-02, 3.72697e-03, 1.53803e-02, 49.5705,
                             1.59024e-02, 7.14276e-03, 8.03604e-02, -8.63446, 0, 0, 0, 1),
}


def open_scan(path: Path, calib: Path | None = None, landmarks: Path | None = None) -> ScanContent:
    """Read the header of a PLUS sequence; pixels are read, or inflated to a temporary file, when asked for.

    Raises
    ------
    InputError
        If the file is missing, truncated, not 8-bit greyscale, or a given calibration is not rigid.
    """
    name = check_name(scan_name(path), path)
    header = read_header(path)
    source = SequenceFrames(path, header)
    n_frames = source.n_frames
    calibration = _calibration(path, header, source.shape, calib)
    warnings = list(calibration.warnings)
    T_world_tool, tracked_ok, notes = _poses(path, header)
    timestamps = _numbers_of(header, "Timestamp")
    if timestamps is not None and not (np.diff(timestamps) > 0).all():
        notes.append(f"{path}: timestamps do not increase; they are not used")
        timestamps = None
    bad = sum(frame.get("ImageStatus", "OK") != "OK" for frame in header.frames)
    if bad:
        notes.append(f"{path}: {bad} of {n_frames} frames carry no valid image")
    rate = DEFAULT_RATE_HZ if timestamps is None or n_frames < 2 else 1 / float(np.median(np.diff(timestamps)))
    points, more = find_landmarks(path, n_frames, source.shape, landmarks)
    return ScanContent(
        name=name, path=path, source=source, scale=calibration.scale,
        T_tool_image=calibration.T_tool_image, T_world_tool=T_world_tool, tracked_ok=tracked_ok,
        timestamps_s=timestamps, frame_rate_hz=rate, landmarks=points,
        calibration_source=calibration.source, warnings=[*warnings, *notes, *more])


def scan_name(path: Path) -> str:
    """The file's name without ``.mha`` and ``.igs``."""
    return re.sub(r"(\.igs)?\.mha$", "", path.name, flags=re.IGNORECASE)


def _calibration(path: Path, header: Header, shape: tuple[int, int], calib: Path | None) -> ImageCalibration:
    if calib is not None:
        return calib_files.read(calib, shape)
    stored = header.fields.get("ImageToProbeTransform") or header.frames[0].get("ImageToProbeTransform")
    if stored:
        return calib_files.from_plus(_matrix(stored, f"{path}: ImageToProbeTransform"), shape,
                                     f"{path}: ImageToProbeTransform")
    name = scan_name(path)
    if name in PUBLISHED_IMAGE_TO_PROBE:
        return calib_files.from_plus(np.reshape(PUBLISHED_IMAGE_TO_PROBE[name], (4, 4)), shape,
                                     f"published with PlusLibData for {name}")
    scale = calib_files.built_in().scale
    return ImageCalibration(scale, None, "unknown", (
        f"{path}: pixel size unknown, {scale[0, 0]:.4f} x {scale[1, 1]:.4f} mm assumed: "
        "distances are not to be trusted; give --calib",))


def _matrix(text: str, what: str) -> Array:
    try:
        values = np.array([float(word) for word in text.split()])
    except ValueError as error:
        raise InputError(f"{what}: expected 16 numbers, {one_line(error)}") from error
    if values.size != 16:
        raise InputError(f"{what}: expected 16 numbers, found {values.size}")
    return values.reshape(4, 4)


def _transforms(path: Path, header: Header, name: str) -> tuple[Array, NDArray[np.bool_]] | None:
    """Transforms [N, 4, 4] called `name` and their status [N]; None if the sequence has none."""
    key = f"{name}Transform"
    if not any(key in frame for frame in header.frames):
        return None
    out, ok = np.full((len(header.frames), 4, 4), np.nan), np.zeros(len(header.frames), bool)
    for i, frame in enumerate(header.frames):
        if key in frame and frame.get(f"{key}Status", "OK") == "OK":
            out[i], ok[i] = _matrix(frame[key], f"{path}: Seq_Frame{i:04d}_{key}"), True
    return out, ok


def _poses(path: Path, header: Header) -> tuple[Array | None, NDArray[np.bool_] | None, list[str]]:
    direct = _transforms(path, header, "ProbeToReference")
    probe = direct or _transforms(path, header, "ProbeToTracker")
    if probe is None:
        return None, None, []
    poses, ok, notes = validated_poses(probe[0], f"{path}: probe transforms", probe[1])
    reference = None if direct else _transforms(path, header, "ReferenceToTracker")
    if reference is not None:
        bases, ok_bases, more = validated_poses(reference[0], f"{path}: ReferenceToTrackerTransform", reference[1])
        notes += more
        ok &= ok_bases
        poses[ok] = inverse(bases[ok]) @ poses[ok]
        poses[~ok] = np.nan
    if not ok.any():
        return None, None, [*notes, f"{path}: no frame is tracked"]
    return poses, ok, notes


def _numbers_of(header: Header, key: str) -> Array | None:
    try:
        values = np.array([float(frame[key]) for frame in header.frames])
    except (KeyError, ValueError):
        return None
    return values if np.isfinite(values).all() else None


def write(path: Path, blocks: Iterator[tuple[int, NDArray[np.uint8]]], size: tuple[int, int, int],
          T_reference_probe: Array, *, image_to_probe: Array | None = None, timestamps_s: Array | None = None,
          tracked_ok: NDArray[np.bool_] | None = None, compress: bool = True) -> None:
    """Write a sequence that PLUS, 3D Slicer and SimpleITK read, in bounded memory.

    Parameters
    ----------
    blocks : (start, frames uint8 [n, rows, columns]) in order, as `Scan.blocks` gives them.
    size : (frames, rows, columns).
    T_reference_probe : [N, 4, 4] in mm, written as ``ProbeToReferenceTransform``.
    image_to_probe : PLUS's M (pixels from 0), for the header; with it each frame carries ``ImageToReferenceTransform``
        too, which places it without a configuration file.
    """
    n_frames, rows, columns = size
    ok = np.ones(n_frames, bool) if tracked_ok is None else tracked_ok
    times = np.arange(n_frames) / DEFAULT_RATE_HZ if timestamps_s is None else timestamps_s
    head = ["ObjectType = Image", "NDims = 3", "AnatomicalOrientation = RAI", "BinaryData = True",
            "BinaryDataByteOrderMSB = False", "CenterOfRotation = 0 0 0", f"CompressedData = {compress}"]
    tail = [f"DimSize = {columns} {rows} {n_frames}", "Kinds = domain domain list", "ElementNumberOfChannels = 1",
            "ElementSpacing = 1 1 1", "ElementType = MET_UCHAR", "Offset = 0 0 0",
            "TransformMatrix = 1 0 0 0 1 0 0 0 1", "UltrasoundImageOrientation = MF",
            "UltrasoundImageType = BRIGHTNESS"]
    if image_to_probe is not None:
        tail.append(f"ImageToProbeTransform = {_row(image_to_probe)}")
    for i in range(n_frames):
        frame = f"Seq_Frame{i:04d}"
        tail += [f"{frame}_ProbeToReferenceTransform = {_row(T_reference_probe[i] if ok[i] else np.eye(4))}",
                 f"{frame}_ProbeToReferenceTransformStatus = {'OK' if ok[i] else 'INVALID'}",
                 f"{frame}_Timestamp = {times[i]:.6f}", f"{frame}_ImageStatus = OK"]
        if image_to_probe is not None:
            tail += [f"{frame}_ImageToReferenceTransform = "
                     f"{_row(T_reference_probe[i] @ image_to_probe if ok[i] else np.eye(4))}",
                     f"{frame}_ImageToReferenceTransformStatus = {'OK' if ok[i] else 'INVALID'}"]
    tail.append("ElementDataFile = LOCAL")
    with open(path, "wb") as file:
        file.write(("\n".join(head) + "\n").encode())
        size_at = file.tell()
        if compress:
            file.write(f"CompressedDataSize = {0:<20d}\n".encode())
        file.write(("\n".join(tail) + "\n").encode())
        start = file.tell()
        deflate = zlib.compressobj(1)
        for _, frames in blocks:
            raw = np.ascontiguousarray(frames, np.uint8).tobytes()
            file.write(deflate.compress(raw) if compress else raw)
        if compress:
            file.write(deflate.flush())
            packed = file.tell() - start
            file.seek(size_at)
            file.write(f"CompressedDataSize = {packed:<20d}\n".encode())


def _row(T: Array) -> str:
    return " ".join(f"{value:.12g}" for value in np.asarray(T).ravel())
