"""What a reconstruction costs on this machine: seconds by stage, for `check` and for the time left."""

import math
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..scan import Scan
    from ..storage.outputs import Outputs

PIXELS = 480 * 640
# Processor seconds on the machine that docs/BENCHMARKS.md ("Rate") speaks of: of a stage as such, a frame of `PIXELS`,
# and to compile its kernels, once. The stages stand in the order in which they run.
STAGES_S: Mapping[str, tuple[float, float, float]] = {
    "probe": (0.4, 0.0012, 0.0),
    "in-plane motion": (0.1, 0.025, 13.0),
    "speckle correlation": (0.1, 0.0145, 2.5),
    "revisits": (0.1, 0.015, 0.5),
    "speckle model": (0.1, 0.001, 0.5),
    "multilateration": (0.1, 0.0015, 20.0),
    "hypotheses": (0.1, 0.002, 24.0),
    "starts": (0.1, 0.0075, 13.0),
    "mirror tests": (0.1, 0.0085, 3.0),
    "segment exchange": (0.1, 0.001, 0.0),
    "crossing planes": (0.1, 0.009, 4.0),
    "open mirrors": (0.1, 0.0015, 0.0),
    "batch solve": (0.1, 0.001, 0.0),
    "smoothing": (0.1, 0.0006, 1.0),
    "writing ddf": (0.1, 0.09, 0.0),
    "writing sequence": (0.1, 0.004, 0.0),
    "writing volume": (0.5, 0.005, 9.0),
    "writing plots": (2.0, 0.001, 0.0),
}
# Those whose time is that of images: on all threads, and as long as there are pixels.
IMAGES = ("in-plane motion", "speckle correlation", "revisits", "writing ddf", "writing sequence", "writing volume")
# The volume: of a voxel, and of a voxel of the comparison with tracked poses. How many there will be is a guess.
VOXEL_S, COMPARED_VOXEL_S = 0.65e-6, 0.65e-6
VOXEL_MM, MOST_VOXELS = 0.5, 200e6
FRAME_MM, FURTHEST_MM = 0.45, 150.0     # a frame's share of the way across the planes, and all of it
START_S = 2.5           # imports, reading, and the report
PROBE_S = 0.3
LEAST = 0.2             # of a core: others that leave less will hardly do so all the time
ROUND_S = 9e-5          # of the probe on one quiet core of the same machine
# Files of kernels that a reconstruction needs, all of which keep what they compile on disk.
KERNELS = ("cpu", "cells", "hypotheses", "multilaterate", "twists", "cpu_volume")


@dataclass(frozen=True)
class Machine:
    """How fast this machine is just now, of the reference: one thread, and all that the kernels take.

    Attributes
    ----------
    one, all : rounds of the probe in a second, in those of a quiet core of the reference.
    threads : of the kernels.
    to_compile : part of the kernels that has yet to be compiled, 0..1.
    """

    one: float = 1.0
    all: float = 2.0
    threads: int = 2
    to_compile: float = 0.0


def usual_s(scan: "Scan", outputs: "Outputs", machine: Machine | None = None) -> dict[str, float]:
    """Seconds by stage of the reconstruction of a scan, in the order of the stages.

    Parameters
    ----------
    outputs : what is to be written.
    machine : the reference where none is given.
    """
    machine = machine or Machine()
    left_out = {f"writing {name}" for name, wanted in (
        ("ddf", outputs.ddf), ("sequence", outputs.sequence), ("volume", outputs.volume), ("plots", outputs.report)
    ) if not wanted}
    area_mm2 = math.prod(scan.shape) * abs(float(scan.scale[0, 0] * scan.scale[1, 1]))
    across_mm = min(FRAME_MM * scan.n_frames, FURTHEST_MM)
    voxels = min(area_mm2 * across_mm / VOXEL_MM**3, MOST_VOXELS)
    of_voxels_s = voxels * (VOXEL_S + (scan.tracked_ok is not None) * COMPARED_VOXEL_S)
    pixels = math.prod(scan.shape) / PIXELS
    out = {}
    for stage, (fixed_s, frame_s, compile_s) in STAGES_S.items():
        if stage not in left_out:
            alone_s, shared_s = fixed_s + machine.to_compile * compile_s, frame_s * scan.n_frames
            if stage in IMAGES:
                shared_s = pixels * shared_s + (of_voxels_s if stage == "writing volume" else 0)
            out[stage] = alone_s / machine.one + shared_s / (machine.all if stage in IMAGES else machine.one)
    return out


def seconds(scan: "Scan", machine: Machine) -> tuple[float, float]:
    """Seconds that a scan takes with the usual outputs, and those that the kernels take to compile before."""
    from ..storage.outputs import Outputs
    warm, whole = (sum(usual_s(scan, Outputs(), one).values()) for one in (replace(machine, to_compile=0.0), machine))
    return warm, whole - warm


def measured(threads: int) -> Machine:
    """This machine, by some tenths of a second of work on all threads: what others leave of it counts too."""
    import cv2
    import numpy as np
    image = np.random.default_rng(0).random((240, 320), np.float32)
    rounds, busy_s = [0] * threads, [0.0] * threads

    def work(k: int) -> None:
        out = np.empty_like(image)
        started = time.thread_time()
        while time.perf_counter() < end:
            cv2.GaussianBlur(image, (9, 9), 2.0, dst=out)
            rounds[k] += 1
        busy_s[k] = time.thread_time() - started

    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    helpers = [threading.Thread(target=work, args=(k,)) for k in range(threads)]
    began = time.perf_counter()
    end = began + PROBE_S
    try:
        for helper in helpers:
            helper.start()
        for helper in helpers:
            helper.join()
    finally:        # none outlives a Ctrl-C
        end = began
        for helper in helpers:
            if helper.ident is not None:
                helper.join()
        cv2.setNumThreads(before)
    cores = sum(busy_s) / (time.perf_counter() - began)
    speed = ROUND_S * sum(rounds) / max(sum(busy_s), 1e-6)
    return Machine(max(speed * cores / threads, LEAST), max(speed * cores, LEAST), threads, 1 - _compiled())


def _compiled() -> float:
    """Part of the files of `KERNELS` whose compiled code lies on disk and is not older than the file."""
    from numba.core.dispatcher import Dispatcher
    found = 0
    for name in KERNELS:
        module = import_module(f"speckle_rec.kernels.{name}")
        source = Path(str(module.__file__))
        kept = {str(kernel.stats.cache_path) for kernel in vars(module).values() if isinstance(kernel, Dispatcher)}
        found += any(file.stat().st_mtime >= source.stat().st_mtime
                     for folder in kept for file in Path(folder).glob(f"{source.stem}.*.nbi"))
    return found / len(KERNELS)
