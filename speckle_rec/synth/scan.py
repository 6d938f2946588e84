"""One simulated scan: a subject, a motion, a machine, and the file that they make."""

import contextlib
import fnmatch
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter

from .. import geometry as se3
from ..errors import InputError
from ..io.calib import built_in
from ..io.h5write import H5Writer
from ..probe.field import ProbeGeometry
from . import codec, screen
from . import machine as effects
from .anatomy import Forearm, Phantom
from .beam import Beam
from .body import Movement, reach_mm
from .clutter import Stray
from .image import Renderer
from .machine import Machine, TimeFilter
from .picture import PROBES, Picture
from .plates import Plates
from .scatterers import STANDARD_DENSITY, Medium, Tissue, visible
from .settings import Body, Clutter, TissueModel
from .trajectory import (
    FRAME_RATE_HZ,
    SWEEPING_HAND,
    SWEEPS,
    Hand,
    RotationProtocol,
    SweepProtocol,
    Trajectory,
    rotation,
    sweep,
)

Array = NDArray[np.float64]
Frame = NDArray[np.uint8]

N_LANDMARKS = 100
SWEEP_PRESS_MM = 2.5
CAMERA_DISTANCE_MM = 1200.0
TISSUES = ("forearm", "phantom")
# All rotations, all sweeps of a shape, or one sweep; each with either hand.
MOTIONS = ("rotation", "L", "C", "S", *dict.fromkeys(name[3:] for name in SWEEPS))


@dataclass(frozen=True)
class Conditions:
    """What is scanned, by which machine and hand; see the parts."""

    tissue: str = "forearm"
    density_per_mm3: float = STANDARD_DENSITY
    beam: Beam = field(default_factory=Beam)
    picture: Picture = field(default_factory=Picture)
    machine: Machine = field(default_factory=Machine)
    hand: Hand | None = None
    protocol: RotationProtocol = field(default_factory=RotationProtocol)
    sweep: SweepProtocol = field(default_factory=SweepProtocol)
    tissue_model: TissueModel = field(default_factory=TissueModel)
    clutter: Clutter = field(default_factory=Clutter)
    body: Body = field(default_factory=Body)


@dataclass(frozen=True, kw_only=True)
class ScanSettings(Conditions):
    """All that decides a scan; the same settings give the same file, bit for bit.

    `name` is that of the challenge: ``RH_rotation``, or a sweep such as ``LH_Per_S_DtP``. `subject` and the
    hand in the name choose the arm, `seed` the population.
    """

    name: str = "RH_rotation"
    subject: int = 0
    seed: int = 0
    n_frames: int = 1600

    def __post_init__(self):
        if self.name not in ("RH_rotation", "LH_rotation", *SWEEPS):
            raise InputError(f"scan {self.name}: expected RH_rotation, LH_rotation or a sweep such as RH_Per_L_DtP")
        if self.tissue not in TISSUES:
            raise InputError(f"tissue {self.tissue}: expected one of {', '.join(TISSUES)}")
        if self.n_frames < 10:
            raise InputError(f"{self.name}: expected 10 frames or more, found {self.n_frames}")

    @property
    def is_rotation(self) -> bool:
        return self.name.endswith("rotation")

    @property
    def imprint(self) -> str:
        """How the skin lies: round the face at one "point", or flat along a "line", as under a linear probe."""
        return "point" if self.is_rotation and PROBES[self.picture.probe].kind == "curvilinear" else "line"

    @property
    def steadiness(self) -> Hand:
        """The hand that holds the probe: the usual one of the motion unless given."""
        return self.hand or (Hand() if self.is_rotation else SWEEPING_HAND)

    def generator(self, purpose: str) -> np.random.SeedSequence:
        """Independent random stream of this scan for one purpose; anatomy is shared by all scans of an arm."""
        scan = [] if purpose == "anatomy" else [*self.name.encode()]
        return np.random.SeedSequence([self.seed, self.subject, self.name[0] == "L", *scan, 0, *purpose.encode()])


def scan_names(motion: str, pattern: str = "*") -> list[str]:
    """Names of a subject's scans of one of `MOTIONS`, with each hand; those that fit `pattern`."""
    if motion not in MOTIONS:
        raise InputError(f"motion {motion}: expected one of {', '.join(MOTIONS)}")
    names = (["RH_rotation", "LH_rotation"] if motion == "rotation"
             else [name for name in SWEEPS if motion in (name.split("_")[2], name[3:])])
    found = fnmatch.filter(names, pattern)
    if not found:
        raise InputError(f"scans {pattern}: expected a pattern that fits some of {', '.join(names)}")
    return found


@dataclass(frozen=True)
class SimulatedScan:
    """A scan and what is known of it.

    Attributes
    ----------
    frames : uint8 [N, rows, columns] or None
        None where they were written to a file.
    tforms : float32 [N, 4, 4]
        Tracker tool to camera in mm, as written (with tracker jitter).
    T_world_image : float64 [N, 4, 4]
        The true pose of what each frame shows (a duplicate: the pose at which the tracker wrote it).
    phase : [N] strings
    landmarks : int64 [100, 3]
        Frame from 0, x and y pixel from 1.
    scale, T_tool_image : float64 [4, 4]
        The calibration.
    """

    frames: NDArray[np.uint8] | None
    tforms: NDArray[np.float32]
    T_world_image: Array
    phase: NDArray[np.str_]
    landmarks: NDArray[np.int64]
    scale: Array
    T_tool_image: Array


@dataclass(frozen=True)
class Plan:
    """Poses and machine effects of a scan, before anything is rendered."""

    settings: ScanSettings
    geometry: ProbeGeometry
    T_tool_image: Array
    T_world_image: Array              # [N, 4, 4] written with frame i
    T_world_shown: Array              # [N, 4, 4] that the picture of frame i was taken at
    repeats: NDArray[np.bool_]        # [N] the picture is that of the frame before
    time_s: Array                     # [N] at which frame i was recorded
    phase: NDArray[np.str_]
    tforms: NDArray[np.float32]
    gain_db: Array
    contact: NDArray[np.float32] | None
    skin_mm: float


def plan(settings: ScanSettings) -> Plan:
    """Work out the motion and the machine's effects (fast: nothing is rendered)."""
    calibration = built_in()
    assert calibration.T_tool_image is not None
    geometry = settings.picture.geometry()
    rng = np.random.default_rng(settings.generator("machine"))
    recording = effects.record(settings.n_frames, settings.machine, rng)
    motion = _motion(settings, geometry, int(recording.pose_instant[-1]) + 1)
    T, T_shown = recording.poses(motion.T_world_image)
    written = effects.tracked(T, settings.machine, geometry, rng)
    T_camera_world = _camera(np.random.default_rng(settings.generator("camera")))
    tforms = T_camera_world @ written @ np.linalg.inv(calibration.T_tool_image)
    return Plan(settings, geometry, calibration.T_tool_image, T, T_shown,
                np.diff(recording.image_instant, prepend=-1) == 0,
                (recording.pose_instant + recording.late) / FRAME_RATE_HZ, motion.phase[recording.pose_instant],
                tforms.astype(np.float32), effects.gain_db(settings.n_frames, settings.machine, rng),
                effects.contact(settings.n_frames, settings.machine, rng),
                0.0 if settings.imprint == "point" else SWEEP_PRESS_MM)


def _motion(settings: ScanSettings, geometry: ProbeGeometry, n: int) -> Trajectory:
    seed = settings.generator("motion")
    if settings.is_rotation:
        motion = rotation(n, seed, geometry.face_mm, protocol=settings.protocol, hand=settings.steadiness)
        pressed = se3.translation(np.array([0, 0.0 if settings.imprint == "point" else SWEEP_PRESS_MM, 0]))
        return replace(motion, T_world_image=pressed @ motion.T_world_image)
    return sweep(settings.name, n, seed, geometry.face_mm, press_mm=SWEEP_PRESS_MM,
                 hand=settings.steadiness, protocol=settings.sweep)


def _camera(rng: np.random.Generator) -> Array:
    """T_camera_world [4, 4]: a tracker over a metre away that looks from anywhere above."""
    return (se3.translation(rng.normal(0, 100, 3) + (0, 0, -CAMERA_DISTANCE_MM))
            @ se3.exp(np.concatenate([np.zeros(3), rng.uniform(-1, 1, 3)])))


def tissue_of(settings: ScanSettings) -> Tissue:
    """The arm (or phantom) of a scan."""
    if settings.tissue == "phantom":
        return Phantom()
    seed = int(settings.generator("anatomy").generate_state(1)[0])
    return Forearm(seed, settings.name[:2], settings.imprint, settings.tissue_model)


def renderer_of(p: Plan, device: str = "cpu", threads: int = 1) -> Renderer:
    """Draw the scatterers that the frames of a scan see; half a minute of one thread. `device` is where it works."""
    tissue = tissue_of(p.settings)
    seed = int(p.settings.generator("anatomy").generate_state(2)[1])
    margin = reach_mm(p.settings.body, p.settings.machine.compression)
    seen = visible(p.T_world_shown, p.geometry, p.settings.beam, margin)
    model, beam = p.settings.tissue_model, p.settings.beam
    medium = Medium.draw(tissue, seed, p.settings.density_per_mm3, seen, threads,
                         plates=Plates.of(model, beam, p.geometry), lobe_deg=model.fascia_lobe_deg)
    stray = Stray(p.settings.clutter, int(p.settings.generator("clutter").generate_state(1)[0]))
    return Renderer(medium, tissue, beam, p.geometry, device, p.settings.picture, stray)


def frames(p: Plan, renderer: Renderer, threads: int = 1) -> Iterator[Frame]:
    """The frames of a scan in order, uint8 [rows, columns]; `threads` render ahead, a few frames at most."""
    picture, machine = p.settings.picture, p.settings.machine
    before = machine.filter != "none" and machine.filter_on == "amplitude"
    drawn = screen.overlay(picture, p.settings.beam, p.geometry)

    def on_screen() -> Iterator[Frame]:
        shown: Frame | None = None
        filtered = TimeFilter(machine)
        for new in _ordered(_rendered(p, renderer, before), len(p.T_world_image), threads):
            if new is not None or shown is None:
                new = filtered(new)
                shown = picture.quantised(renderer.shown(new) if before else new)
            yield shown if drawn is None else np.maximum(shown, drawn)

    yield from codec.through(on_screen(), picture.codec)


def _rendered(p: Plan, renderer: Renderer, before: bool) -> Callable[[int], NDArray | None]:
    """A function that renders frame i, as amplitudes `before` compression or as grey levels; None: as the last."""
    machine, geometry = p.settings.machine, p.geometry
    pushed = machine.compression * effects.pressed_mm(p.T_world_shown, geometry, p.skin_mm)
    noise = p.settings.generator("noise").generate_state(2).tolist()
    moved = Movement(p.settings.body, p.T_world_shown, geometry, pushed, renderer.tissue,
                     np.random.default_rng(p.settings.generator("body")))
    render = renderer.amplitude if before else renderer

    def work(i: int) -> NDArray | None:
        if p.repeats[i]:
            return None
        return render(p.T_world_shown[i], (*noise, i), moved.warp(i), gain_db=float(p.gain_db[i]),
                      contact=1.0 if p.contact is None else p.contact[i])

    return work


def _ordered(work: Callable, n: int, threads: int) -> Iterator:
    if threads <= 1:
        yield from map(work, range(n))
        return
    with ThreadPoolExecutor(threads) as pool:
        todo = iter(range(n))
        running = [pool.submit(work, i) for i in islice(todo, 2 * threads)]
        while running:
            yield running.pop(0).result()
            running += [pool.submit(work, i) for i in islice(todo, 1)]


class Landmarks:
    """Picks visible points as the frames come by: random frames but the first, brighter places in the fan."""

    def __init__(self, p: Plan):
        self._rng = np.random.default_rng(p.settings.generator("landmarks"))
        chosen = self._rng.integers(1, p.settings.n_frames, N_LANDMARKS)
        self._count = np.bincount(chosen, minlength=p.settings.n_frames)
        self._mask = p.geometry.mask()
        self._found: list[NDArray[np.int64]] = []

    def see(self, i: int, frame: Frame) -> None:
        """Take this frame's share of the points."""
        if not self._count[i]:
            return
        bright = uniform_filter(frame.astype(np.float32), 9)
        rows, columns = np.nonzero(self._mask & (bright >= np.quantile(bright[self._mask], 0.6)))
        pick = self._rng.choice(len(rows), self._count[i], replace=False)
        self._found.append(np.stack([np.full(len(pick), i), columns[pick] + 1, rows[pick] + 1], 1))

    def points(self) -> NDArray[np.int64]:
        """int64 [100, 3]: frame from 0, x and y from 1."""
        return np.concatenate(self._found).astype(np.int64)


def simulate_scan(path: Path | str | None = None, *, n_frames: int = 300, seed: int = 0, name: str = "RH_rotation",
                  subject: int = 0, threads: int | None = None, progress: Callable[[int], None] | None = None,
                  device: str = "cpu", **settings) -> SimulatedScan:
    """Simulate one scan, into memory or into a file of the challenge's training layout.

    Parameters
    ----------
    path : path, optional
        ``NAME.h5`` to write ``frames`` and ``tforms`` to, frame by frame (appears when complete). Without it
        the frames are returned.
    n_frames, seed, name, subject, **settings
        See `ScanSettings` (tissue, density_per_mm3, beam, machine, hand, protocol).
    threads : int, optional
        Threads that render; all cores by default. The result does not depend on it.
    progress : callable, optional
        Called with the number of frames done.
    device : "cpu" or "gpu"
        Where frames are rendered. Only those of the CPU are the same from run to run, bit for bit.
    """
    p = plan(ScanSettings(name=name, subject=subject, seed=seed, n_frames=n_frames, **settings))
    threads = threads or os.cpu_count() or 1
    landmarks = Landmarks(p)
    kept: list[Frame] = []
    target = None if path is None else Path(path)
    writer = None if target is None else FrameFile(target, n_frames, p.geometry.shape)
    try:
        for i, frame in enumerate(frames(p, renderer_of(p, device, threads), threads)):
            landmarks.see(i, frame)
            kept.append(frame) if writer is None else writer.append(frame)
            if progress:
                progress(i + 1)
        if writer is not None:
            writer.finish(tforms=p.tforms)
    finally:
        if writer is not None:
            writer.close()
    return SimulatedScan(np.stack(kept) if kept else None, p.tforms, p.T_world_image, p.phase, landmarks.points(),
                         p.geometry.scale, p.T_tool_image)


def part_of(path: Path) -> Path:
    """Where a file of frames lies until it is complete."""
    return path.with_name(path.name + ".part")


class FrameFile:
    """An HDF5 file of frames that is written as they come and takes its name when complete."""

    def __init__(self, path: Path, n_frames: int, shape: tuple[int, int]):
        self.path, self._part = path, part_of(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._writer = H5Writer(self._part)
        self._frames = self._writer.file.create_dataset("frames", (n_frames, *shape), np.uint8, chunks=(1, *shape),
                                                 compression="gzip", compression_opts=1)
        self._next = 0

    def append(self, frame: Frame) -> None:
        """Write the next frame."""
        self._frames[self._next] = frame
        self._writer.check()
        self._next += 1

    def finish(self, **datasets: NDArray) -> None:
        """Add other datasets and put the file in its place."""
        for key, value in datasets.items():
            self._writer.file[key] = value
        self._writer.close()
        os.replace(self._part, self.path)

    def close(self) -> None:
        """Close the file; what is not finished is removed."""
        with contextlib.suppress(OSError):      # told where it was written
            self._writer.close()
        self._part.unlink(missing_ok=True)
