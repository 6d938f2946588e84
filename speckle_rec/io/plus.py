"""Sequences of the PLUS toolkit and of 3D Slicer (``.igs.mha``, ``.igs.nrrd``, ``.seq.nrrd``, ``.igs.mhd``).

Frames with transforms and a status each. Images are turned to the orientation MF (columns towards the marked side, rows
away from the probe), which is also what PLUS does before it applies an image-to-probe calibration. The pose used is
that of the probe in the reference, inv(ReferenceToTracker) ProbeToTracker where a reference is tracked, else that of
the image, whose matrix tells the pixel size too. What has another status than OK is not used.
"""

import re
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..geometry import inverse
from . import calib as calib_files
from . import nrrd_sequence, pixels, sequence_fields, timestamps, tusrec
from .calib import ImageCalibration
from .hdf5 import one_line
from .mha import Header, SequenceFrames, read_header
from .source import FilledFrames, ScanContent, check_name
from .tusrec import find_landmarks, validated_poses

Array = NDArray[np.float64]

SUFFIXES = (".mha", ".mhd", ".nrrd", ".nhdr")
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


# Width and height (mm) of pixels of water-tank sequences that come without: estimated from the wires in their images,
# assumed to stand 20 mm apart in layers of 10 mm. Nothing published confirms it; a warning says so.
MEASURED_PIXEL_MM = {
    "USTC_3NWires_ProbeTranslation": (0.073, 0.073),
    "USTC_FrameGrabber_ProbeRotationData": (0.132, 0.132),
    "SegmentationTest_VLCUS_RandomStepperMotionData2": (0.112, 0.105),
}


def open_scan(path: Path, calib: Path | None = None, landmarks: Path | None = None,
              pixel_mm: float | Sequence[float] | None = None) -> ScanContent:
    """Read the header of a sequence; pixels are read, or inflated to a temporary file, when asked for.

    Raises
    ------
    InputError
        If the file is missing, truncated, not 8-bit greyscale, nothing tells the pixel size, or a given calibration is
        not rigid.
    """
    name = check_name(scan_name(path), path)
    header = (nrrd_sequence.read_header if path.suffix.lower() in (".nrrd", ".nhdr") else read_header)(path)
    source = SequenceFrames(path, header)
    n_frames, shape = source.n_frames, source.shape
    image_ok, notes = _images(path, header)
    given = None if calib is None else calib_files.read(calib, shape)
    to_probe, more = _image_to_probe(path, header, shape)
    probe = _poses(path, header, "Probe")
    image = None if probe and (given or to_probe) else _image_poses(path, header, shape)
    calibration = pixels.settled(
        str(path), source if image_ok is None else FilledFrames(source, image_ok), pixel_mm=pixel_mm, given=given,
        found=(lambda: to_probe, lambda: image[0] if image else None, lambda: _spacing(path, header),
               lambda: tusrec.beside(path, shape)))
    T_tool_image, poses = calibration.T_tool_image, probe
    if image:
        T_tool_image, poses = np.eye(4), image[1:]
    T_world_tool, tracked_ok, of_poses = poses or (None, None, [])
    times, of_times = timestamps.repaired(_times(header), str(path))
    rate = DEFAULT_RATE_HZ if times is None or n_frames < 2 else timestamps.rate_hz(times)
    points, of_points = find_landmarks(path, n_frames, shape, landmarks)
    return ScanContent(
        name=name, path=path, source=source, scale=calibration.scale, T_tool_image=T_tool_image,
        T_world_tool=T_world_tool, tracked_ok=tracked_ok, image_ok=image_ok, timestamps_s=times, frame_rate_hz=rate,
        landmarks=points, calibration_source=calibration.source,
        warnings=[*header.notes, *calibration.warnings, *more, *notes, *of_poses, *of_times, *of_points])


def scan_name(path: Path) -> str:
    """The file's name without what tells its format, such as ``.igs.mha``."""
    return re.sub(r"(\.igs|\.seq)?\.(mha|mhd|nrrd|nhdr)$", "", path.name, flags=re.IGNORECASE)


def is_sequence(path: Path) -> bool:
    """Whether a file's name is that of such a sequence."""
    return path.name.lower().endswith(SUFFIXES)


def _is_ok(status: str | None) -> bool:
    return status is None or status.strip().upper() == "OK"


def _images(path: Path, header: Header) -> tuple[NDArray[np.bool_] | None, list[str]]:
    """Which frames [N] carry an image; None if all do."""
    ok = np.array([_is_ok(frame.get("ImageStatus")) for frame in header.frames])
    if not ok.any():
        raise InputError(f"{path}: expected images, found none of {len(ok)} frames with ImageStatus = OK")
    if ok.all():
        return None, []
    bad = np.flatnonzero(~ok)
    return ok, [f"{path}: {len(bad)} of {len(ok)} frames carry no valid image (first: {bad[0]}): they take no part, "
                "their motion is interpolated"]


def _image_to_probe(path: Path, header: Header, shape: tuple[int, int]) -> tuple[ImageCalibration | None, list[str]]:
    """The calibration that the file holds, or that is known of its name."""
    key = "ImageToProbeTransform"
    what = f"{path}: {key}"
    stored = [fields for fields in (header.fields, *header.frames) if key in fields]
    usable = {fields[key]: None for fields in stored if _is_ok(fields.get(f"{key}Status"))}
    matrices = [M for M in (_matrix(text, what) for text in usable) if not np.array_equal(M, np.eye(4))]
    notes = [f"{what}: its status is not OK, or it is the identity, wherever it stands; it is not used"
             ] if stored and not matrices else []
    if matrices:
        found = [calib_files.from_plus(M, shape, what) for M in matrices]
        sizes = np.array([np.diag(c.scale)[:2] for c in found])
        if np.ptp(sizes, axis=0).max() > pixels.SAME * sizes.min():
            raise InputError(f"{what}: expected pixels of one size, found {sizes.min():.4g} to {sizes.max():.4g} mm: "
                             "the depth was changed; split the sequence there")
        return found[0], notes
    name = scan_name(path)
    if name in PUBLISHED_IMAGE_TO_PROBE:
        return calib_files.from_plus(np.reshape(PUBLISHED_IMAGE_TO_PROBE[name], (4, 4)), shape,
                                     f"published with PlusLibData for {name}"), notes
    if name in MEASURED_PIXEL_MM:
        told = (f"{path}: nothing tells the pixel size; that of wires assumed 20 mm apart is taken: give --pixel-mm X "
                "[Y]",)
        return ImageCalibration(pixels.scale_of(MEASURED_PIXEL_MM[name]), None, "estimated from wires", told), notes
    return None, notes


def _spacing(path: Path, header: Header) -> ImageCalibration | None:
    if header.spacing_mm is None:
        return None
    x, y = header.spacing_mm
    if header.fields.get("UltrasoundImageOrientation", "MF")[:1].upper() in "NF":
        x, y = y, x
    return pixels.of_spacing((x, y), f"{path}: ElementSpacing" if path.suffix.lower() in (".mha", ".mhd")
                             else f"{path}: spacing")


def _matrix(text: str, what: str) -> Array:
    try:
        values = np.array([float(word) for word in text.split()])
    except ValueError as error:
        raise InputError(f"{what}: expected 16 numbers, {one_line(error)}") from error
    if values.size != 16:
        raise InputError(f"{what}: expected 16 numbers, found {values.size}")
    return values.reshape(4, 4)


def _transforms(path: Path, header: Header, name: str) -> tuple[Array, NDArray[np.bool_]] | None:
    """Transforms [N, 4, 4] called `name` and their status [N]; None if the sequence has none that is OK."""
    key = f"{name}Transform"
    out, ok = np.full((len(header.frames), 4, 4), np.nan), np.zeros(len(header.frames), bool)
    for i, frame in enumerate(header.frames):
        if key in frame and _is_ok(frame.get(f"{key}Status")):
            out[i], ok[i] = _matrix(frame[key], f"{path}: frame {i}: {key}"), True
    return (out, ok) if ok.any() else None


def _untracked(path: Path, header: Header, tool: str) -> list[str]:
    keys = [f"{tool}To{base}Transform" for base in ("Reference", "Tracker")]
    return [f"{path}: no frame is tracked"] if any(key in f for f in header.frames for key in keys) else []


def _in_reference(path: Path, header: Header, tool: str) -> tuple[Array, NDArray[np.bool_], list[str]] | None:
    """Matrices [N, 4, 4] of `tool` in the reference, else in the tracker, and their status [N]."""
    direct = _transforms(path, header, f"{tool}ToReference")
    found = direct or _transforms(path, header, f"{tool}ToTracker")
    if found is None:
        return None
    M, ok = found
    reference = None if direct else _transforms(path, header, "ReferenceToTracker")
    if reference is None:
        if not direct and any("ReferenceToTrackerTransform" in frame for frame in header.frames):
            return M, np.zeros(len(M), bool), []
        return M, ok, []
    bases, ok_bases, notes = validated_poses(reference[0], f"{path}: ReferenceToTrackerTransform", reference[1])
    ok = ok & ok_bases
    M[ok] = inverse(bases[ok]) @ M[ok]
    return M, ok, notes


def _poses(path: Path, header: Header, tool: str) -> tuple[Array | None, NDArray[np.bool_] | None, list[str]] | None:
    """Poses of the probe [N, 4, 4], where they are usable [N], and warnings; None if the sequence has none."""
    found = _in_reference(path, header, tool)
    if found is None:
        notes = _untracked(path, header, tool)
        return (None, None, notes) if notes else None
    poses, ok, more = validated_poses(found[0], f"{path}: probe transforms", found[1])
    notes = [*more, *found[2]]
    return (poses, ok, notes) if ok.any() else (None, None, [*notes, f"{path}: no frame is tracked"])


def _image_poses(path: Path, header: Header, shape: tuple[int, int]
                 ) -> tuple[ImageCalibration, Array, NDArray[np.bool_], list[str]] | None:
    """Pixel size and rigid poses of the image from ImageToReference, which holds both; None if there is none."""
    found = _in_reference(path, header, "Image")
    if found is None or not found[1].any():
        return None
    what = f"{path}: ImageToReferenceTransform"
    M, ok, notes = found[0], found[1].copy(), list(found[2])
    T, sizes, reason = np.full_like(M, np.nan), np.full((len(M), 2), np.nan), ""
    for i in np.flatnonzero(ok):
        try:
            one = calib_files.from_plus(M[i], shape, what)
        except InputError as error:
            reason, ok[i] = reason or str(error), False
            continue
        T[i], sizes[i] = one.T_tool_image, np.diag(one.scale)[:2]
    if ok.any():
        size = np.median(sizes[ok], axis=0)
        other = ok & (np.abs(np.nan_to_num(sizes, nan=np.inf) - size) > pixels.SAME * size).any(axis=1)
        if other.any():
            reason = reason or f"{what}: expected pixels of one size, found {np.nanmin(sizes):.4g} to " \
                               f"{np.nanmax(sizes):.4g} mm"
            ok &= ~other
            T[other] = np.nan
    if reason:
        notes.append(f"{reason} ({int((found[1] & ~ok).sum())} of {len(ok)} frames); they are not used")
    if not ok.any() or (size == 1).all():
        return None
    return ImageCalibration(pixels.scale_of((float(size[0]), float(size[1]))), np.eye(4), what), T, ok, notes


def _times(header: Header) -> Array:
    """Time stamps [N] in s, NaN where there is none."""
    out = np.full(len(header.frames), np.nan)
    for i, frame in enumerate(header.frames):
        try:
            out[i] = float(frame.get("Timestamp", "nan"))
        except ValueError:
            continue
    return out


def write(path: Path, blocks: Iterator[tuple[int, NDArray[np.uint8]]], size: tuple[int, int, int],
          T_reference_probe: Array | None, *, image_to_probe: Array | None = None, timestamps_s: Array | None = None,
          tracked_ok: NDArray[np.bool_] | None = None, image_ok: NDArray[np.bool_] | None = None,
          compress: bool = True) -> None:
    """Write a sequence that PLUS, 3D Slicer and SimpleITK read, in bounded memory.

    Parameters
    ----------
    blocks : (start, frames uint8 [n, rows, columns]) in order, as `Scan.blocks` gives them.
    size : (frames, rows, columns).
    T_reference_probe : [N, 4, 4] in mm, written as ``ProbeToReferenceTransform``; None for frames without poses, whose
        pixel size is then written as the spacing.
    tracked_ok, image_ok : [N], for the status of the transforms and the images.
    image_to_probe : PLUS's M (pixels from 0), for the header; with it each frame carries ``ImageToReferenceTransform``
        too, which places it without a configuration file.
    """
    n_frames, rows, columns = size
    ok = np.ones(n_frames, bool) if tracked_ok is None else tracked_ok
    images = np.ones(n_frames, bool) if image_ok is None else image_ok
    times = np.arange(n_frames) / DEFAULT_RATE_HZ if timestamps_s is None else timestamps_s
    head = ["ObjectType = Image", "NDims = 3", "AnatomicalOrientation = RAI", "BinaryData = True",
            "BinaryDataByteOrderMSB = False", "CenterOfRotation = 0 0 0", f"CompressedData = {compress}"]
    tail = [f"DimSize = {columns} {rows} {n_frames}", "Kinds = domain domain list", "ElementNumberOfChannels = 1",
            f"ElementSpacing = {_spacing_of(T_reference_probe, image_to_probe)}", "ElementType = MET_UCHAR",
            "Offset = 0 0 0", "TransformMatrix = 1 0 0 0 1 0 0 0 1", "UltrasoundImageOrientation = MF",
            "UltrasoundImageType = BRIGHTNESS"]
    poses = None if T_reference_probe is None else (T_reference_probe, ok)
    tail += [f"{name} = {value}" for name, value in sequence_fields.of_frames(times, images, poses, image_to_probe)]
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


def _spacing_of(T_reference_probe: Array | None, image_to_probe: Array | None) -> str:
    if T_reference_probe is not None or image_to_probe is None:
        return "1 1 1"
    return " ".join(f"{np.linalg.norm(image_to_probe[:3, k]):.9g}" for k in (0, 1)) + " 1"
