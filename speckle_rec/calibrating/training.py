"""Statistics of tracked scans for `calibrate`: a bounded, seeded sample of cell correlations a scan, and its motion.

A scan's record does not depend on the others, and a fit takes records in the order of their names: records
collected on many machines and merged give what one run gives, bit for bit (docs/METHOD.md, section 7).
"""

import itertools
import json
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from .. import geometry as se3
from ..errors import InputError
from ..frames import lift_off
from ..frames.texture import windows
from ..frames.view import field_of
from ..io import h5write
from ..io.hdf5 import H5_ERRORS, attributes, one_line, open_h5, read_array
from ..io.source import check_name
from ..io.staging import staged_file
from ..pairs.backends import backend_of
from ..pairs.correlation import Correlations, between_rows, correlate, slides
from ..pairs.measure import in_plane
from ..probe.beam_lines import lines_of
from ..probe.field import KINDS, Cells, ProbeGeometry
from ..products.stages import NO_FILTER, TimeFilter
from ..scan import Scan
from ..speckle.calibration import SIGNS, signs_of
from ..trajectory import phases
from .curve_fit import Sample

Array = NDArray[np.float64]

FORMAT, VERSION = "speckle_rec training statistics", 7
PAIRS = 640                  # pairs kept of a scan, all their cells
DRAWN = 40_000               # correlations of a scan that enter a fit
MIN_PAIRS = 20
MOST_RHO = 2.0               # what is more is no correlation, not even a noisy one
FIELDS = ("lines", "i", "j", "xi", "rho", "turn", "planar", "row_mm", "signs", "window", "planar_rms",
          "response", "speckle_mm")     # of a file
NEAR_LAGS = 8                # half of the pairs kept are no further apart


@dataclass(frozen=True)
class Record:
    """What is kept of a scan.

    Attributes
    ----------
    name, subject : of the scan.   kind : of the probe.   n_frames : of the scan.
    lines : float64 [P, 6], see `beam_lines.beam_lines`.
    i, j : int32 [M], frames of the pairs.   xi : float64 [M, 3], true motion (z mm, tilt rad, yaw rad) about the face.
    rho : float16 [M, P], NaN where a cell is empty.   turn : float16 [M, P], of the beams in plane, rad.
    planar : float64 [M, 3], twist in plane that they were aligned by.   row_mm : float64 [1], between rows of pixels.
    signs : float16 [W, P, F] of the windows in use.   window : int32 [M].
    motion : statistics of `phases.measure`.
    planar_rms : [3], error of the planar chain (mm, mm, rad) against the tracker.
    response, speckle_mm : of the scanner's filter over time, see `TimeFilter`.
    """

    name: str
    subject: str
    kind: str
    n_frames: int
    lines: Array
    i: NDArray[np.int32]
    j: NDArray[np.int32]
    xi: Array
    rho: NDArray[np.float16]
    turn: NDArray[np.float16]
    planar: Array
    row_mm: Array
    signs: NDArray[np.float16]
    window: NDArray[np.int32]
    motion: dict[str, float]
    planar_rms: Array
    response: Array = field(default_factory=lambda: np.zeros(0))
    speckle_mm: Array = field(default_factory=lambda: np.array(NO_FILTER.speckle_mm))

    @property
    def filtered(self) -> TimeFilter:
        """The scanner's filter over time."""
        across, down = self.speckle_mm.tolist()
        return TimeFilter(tuple(self.response.tolist()), speckle_mm=(across, down))

    @property
    def slide(self) -> Array:
        """Ways [M] of the pairs in the plane a frame, see `Curves.powers`."""
        return slides(self.lines, self.planar, self.j - self.i, self.filtered.speckle_mm)


def subject_of(name: str) -> str:
    """Subject of a scan's name: SSS of subSSS__NAME, else the name itself."""
    head = name.split("__")[0]
    return head[3:] if head.startswith("sub") and "__" in name else name


def collect(scan: Scan, *, seed: int = 0, jobs: int = 0, planar: str = "estimated",
            filtered: str = "auto", progress: Callable[[str, int, int], None] | None = None) -> Record:
    """Statistics of a tracked scan, its correlations aligned as `reconstruct` aligns them.

    Parameters
    ----------
    planar : "estimated" aligns by block matching, "tracked" by the tracker's poses.
    filtered : "auto" or "none", `Config.time_filter`.

    Raises
    ------
    InputError
        If the scan has no usable poses or too few pairs of speckle.
    """
    scan = scan.filled().kept()
    T_image = scan.T_first_frame_tracked
    if T_image is None or not np.isfinite(T_image[0]).all():
        raise InputError(f"{scan.path or scan.name}: expected tracked poses (tforms and an image calibration) from the "
                         "first frame on, found none; calibrate on tracked scans")
    report = progress or (lambda stage, done, total: None)
    found, what, _ = field_of(scan)
    images, grid = what.images, what.cells
    face = se3.translation(np.array([*found.geometry.face_mm, 0.0]))
    T = se3.inverse(face) @ T_image @ face
    ok = np.asarray(np.isfinite(T).all(axis=(1, 2)))
    both: NDArray[np.bool_] = np.asarray(ok & np.roll(ok, 1))
    both[0] = False
    steps = np.zeros((len(T), 6))
    steps[both] = se3.log(se3.inverse(T[np.flatnonzero(both) - 1]) @ T[both])
    within = in_plane(images, backend_of(images, "cpu", jobs), filtered,
                      lambda a, b: report("in-plane motion", a, b))
    chain = within.step
    planar_rms = np.sqrt(np.mean(np.square(chain - steps[:, [0, 1, 5]])[both], axis=0)) if both.any() else np.zeros(3)
    if planar == "tracked":
        chain = steps[:, [0, 1, 5]]
    speckle = correlate(images, grid, chain, within.duplicate, jobs=jobs,
                        progress=lambda a, b: report("speckle correlation", a, b))
    speckle = speckle.without(lift_off.lost_in(images, grid))
    signs = signs_of(speckle, images, grid, jobs, within.filtered)(T)
    record = sample(scan.name, images.geometry, grid, speckle, signs, windows(scan.n_frames)[1], T, seed=seed,
                    planar_rms=planar_rms)
    return replace(record, response=np.array(within.filtered.response), speckle_mm=np.array(within.filtered.speckle_mm))


def sample(name: str, geometry: ProbeGeometry, grid: Cells, speckle: Correlations, signs: Array,
           window: NDArray[np.int64], T: Array, *, seed: int = 0, planar_rms: Array | None = None) -> Record:
    """Draw the pairs that are kept; the draw depends on `seed` and the scan's name alone.

    Half of the pairs are drawn among all, half among those at most `NEAR_LAGS` frames apart.

    Parameters
    ----------
    T : [N, 4, 4] tracked poses about the face's centre, NaN where untracked.
    """
    ok = np.asarray(np.isfinite(T).all(axis=(1, 2)))
    usable = np.flatnonzero(ok[speckle.i] & ok[speckle.j] & np.isfinite(speckle.rho).any(axis=1))
    if len(usable) < MIN_PAIRS:
        raise InputError(f"{name}: expected {MIN_PAIRS} tracked pairs of frames with speckle or more, "
                         f"found {len(usable)}")
    rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
    near = usable[(speckle.j - speckle.i)[usable] <= NEAR_LAGS]
    first = rng.choice(usable, min(PAIRS // 2, len(usable)), replace=False)
    second = rng.choice(near, min(PAIRS // 2, len(near)), replace=False)
    m = np.union1d(first, second)
    i, j = speckle.i[m], speckle.j[m]
    used, row = np.unique(window[j], return_inverse=True)
    half = np.float16
    lines = lines_of(geometry, grid)
    xi = se3.log(se3.inverse(T[i]) @ T[j])[:, 2:5]
    twist = np.zeros((len(m), 3)) if speckle.turns is None else speckle.turns.twist[m]
    return Record(name, subject_of(name), geometry.kind, len(T), lines, i.astype(np.int32), j.astype(np.int32), xi,
                  speckle.rho[m].astype(half), np.sqrt(speckle.turn2[m]).astype(half), twist,
                  np.array([geometry.scale[1, 1]]), np.clip(signs[used], -6e4, 6e4).astype(half), row.astype(np.int32),
                  phases.measure(T), np.zeros(3) if planar_rms is None else planar_rms)


def drawn(record: Record, seed: int = 0, count: int = DRAWN) -> Sample:
    """A seeded draw of single correlations of a record, for `curvefit.fit`."""
    rng = np.random.default_rng([seed, zlib.crc32(record.name.encode()), 1])
    m, c = np.nonzero(np.isfinite(record.rho))
    pick = rng.choice(len(m), min(count, len(m)), replace=False)
    m, c = m[pick], c[pick]
    return Sample(record.lines[c], record.xi[m], record.signs[record.window[m], c].astype(float),
                  record.rho[m, c].astype(float), np.square(record.turn[m, c].astype(float)),
                  between_rows(record.lines, record.planar, record.row_mm[0])[m, c].astype(float),
                  (record.j - record.i)[m].astype(float), record.slide[m], record.filtered)


def merge(groups: Iterable[Sequence[Record]]) -> list[Record]:
    """Records of several runs in the order of their names.

    Raises
    ------
    InputError
        If a scan occurs twice, or probes of different kinds meet.
    """
    records = sorted((r for group in groups for r in group), key=lambda r: r.name)
    names = [r.name for r in records]
    if len(set(names)) < len(names):
        twice = next(a for a, b in itertools.pairwise(names) if a == b)
        raise InputError(f"{twice}: this scan is in two of the files to merge; give every shard once")
    if len({r.kind for r in records}) > 1:
        raise InputError("the scans come from curvilinear and linear probes; calibrate them apart")
    return records


def write(path: Path, records: Sequence[Record]) -> None:
    """Write records to an HDF5 file, all or nothing."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with staged_file(path, overwrite=True) as part, h5write.create(part) as file:
        file.attrs.update(format=FORMAT, version=VERSION, signs=json.dumps(SIGNS))
        for r in records:
            group = file.create_group(f"scans/{r.name}")
            group.attrs.update(subject=r.subject, kind=r.kind, n_frames=r.n_frames, motion=json.dumps(r.motion))
            for field in FIELDS:
                value = getattr(r, field)
                big = value.size > 10_000
                group.create_dataset(field, data=value, compression="gzip" if big else None)


def read(path: Path) -> list[Record]:
    """Records of a file of `write`.

    Raises
    ------
    InputError
        If the file is missing, damaged or something else.
    """
    path = Path(path)
    with open_h5(path) as file:
        found = attributes(file, path)
        if str(found.get("format")) != FORMAT or str(found.get("version")) != str(VERSION):
            raise InputError(f"{path}: expected training statistics written by `calibrate`, version {VERSION}; "
                             "found something else")
        try:
            scans = _group(file, "scans")
            return [_read(name, _group(scans, name), path) for name in scans]
        except H5_ERRORS as error:
            raise InputError(f"{path}: the statistics are damaged ({type(error).__name__}: {one_line(error)})"
                             ) from error


def _most(values: NDArray[Any]) -> float:
    there = np.abs(values[np.isfinite(values)])
    return float(there.max()) if len(there) else np.inf


def _group(parent: h5py.Group, name: str) -> h5py.Group:
    if not isinstance(parent.get(name, getlink=True), h5py.HardLink) or not isinstance(parent[name], h5py.Group):
        raise ValueError(f"'{name}' is no group of this file")
    return parent[name]


def _read(name: str, group: h5py.Group, path: Path) -> Record:
    a = attributes(group, path)
    arrays = {key: read_array(group, key, path) for key in FIELDS}
    motion = json.loads(a["motion"])
    record = Record(check_name(name, path), str(a["subject"]), str(a["kind"]), int(a["n_frames"]), motion=motion,
                    **arrays)
    M, P, W = len(record.i), len(record.lines), len(record.signs)
    shapes = {"lines": (P, 6), "i": (M,), "j": (M,), "xi": (M, 3), "rho": (M, P), "turn": (M, P), "planar": (M, 3),
              "row_mm": (1,), "signs": (W, P, len(SIGNS)), "window": (M,), "planar_rms": (3,),
              "response": record.response.shape[:1], "speckle_mm": (2,)}
    for key, shape in shapes.items():
        if arrays[key].shape != shape or arrays[key].dtype.kind not in ("iu" if key in ("i", "j", "window") else "f"):
            raise ValueError(f"{name}/{key}: expected {shape}, found {arrays[key].dtype} {arrays[key].shape}")
    whole = all(np.isfinite(arrays[key]).all() for key in FIELDS if key != "rho") and record.row_mm[0] > 0
    sound = whole and M and P and W and isinstance(motion, dict) and all(
        isinstance(value, int | float) and np.isfinite(value) for value in motion.values())
    if not sound or record.kind not in KINDS or not _most(record.rho) < MOST_RHO or not (
            (0 <= record.i) & (record.i < record.j) & (record.j < record.n_frames)
            & (0 <= record.window) & (record.window < W)).all():
        raise ValueError(f"{name}: numbers that no scan gives")
    return record
