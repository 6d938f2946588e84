"""What each misfortune of a scan does to the score, and whether the result says so (docs/RELIABILITY.md).

    python benchmarks/hard_scans.py SCAN --frames 160

SCAN is tracked. Every case is its first frames with something done to them, but for those that are simulated: three
times the frame rate, another lens, a linear probe. The last column holds the warnings that the undisturbed scan does
not have.
"""

import argparse
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")      # as the command line does

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from speckle_rec import geometry
from speckle_rec.errors import InputError
from speckle_rec.io.calib import built_in
from speckle_rec.pipeline import reconstruct
from speckle_rec.probe.field import ProbeGeometry
from speckle_rec.scan import Scan
from speckle_rec.scoring import score
from speckle_rec.synth import scan as simulator
from speckle_rec.synth.beam import Beam
from speckle_rec.trajectory.confidence import UNRELIABLE

Frames = NDArray[np.uint8]


@dataclass
class Hard:
    """A disturbed scan: frames, true poses of the tool, pixel scale and image-to-tool transform."""

    name: str
    frames: Frames
    T_world_tool: NDArray[np.float64]
    scale: NDArray[np.float64]
    T_tool_image: NDArray[np.float64]

    def changed(self, name: str, frames: Frames, **other) -> "Hard":
        return Hard(**{**vars(self), "name": name, "frames": frames, **other})

    def some(self, name: str, pick) -> "Hard":
        return self.changed(name, self.frames[pick], T_world_tool=self.T_world_tool[pick])


def dimmed(frames: Frames, grey: int = 105) -> Frames:
    """Frames with less signal: grey levels are logarithms, 105 of them some 34 dB."""
    return np.maximum(frames.astype(np.int16) - grey, 0).astype(np.uint8)


def cases(base: Hard) -> Iterator[Hard]:
    """The scan as it is, and every misfortune."""
    f = base.frames
    n, rows, columns = f.shape
    yield base
    third, half, late = n // 3, n // 2, 2 * n // 3
    lifted = f.copy()
    lifted[third:half, :, columns // 2:] = dimmed(f[third:half, :, columns // 2:])
    yield base.changed("lift-off of one half", lifted)
    air = f.copy()
    air[third:half] = dimmed(f[third:half])
    yield base.changed("lift-off of all", air)
    yield base.changed("frozen image", np.concatenate([f[:third], np.repeat(f[third:third + 1], half - third, 0),
                                                       f[half:]]))
    lit = f > 0
    yield base.changed("gain jump, +40 grey", np.where((np.arange(n) >= half)[:, None, None] & lit,
                                                       np.minimum(f.astype(int) + 40, 255), f).astype(np.uint8))
    near = f.copy()
    near[:, :rows // 3][lit[:, :rows // 3]] = 255
    yield base.changed("saturated near field", near)
    shadow = f.copy()
    dark = np.s_[:, rows // 5:, :int(0.7 * columns)]
    shadow[dark] = dimmed(f[dark])
    yield base.changed("mostly shadow", shadow)
    yield base.changed("all black after a while", np.concatenate([f[:late], np.zeros_like(f[late:])]))
    yield base.some("two frames", slice(0, 2))
    yield base.some("5 fps", slice(None, None, 4))
    yield base.some("2.5 fps", slice(None, None, 8))
    double = np.diag([2.0, 2, 1, 1])
    double[:2, 3] = -0.5
    yield base.changed("half the image size", f.reshape(n, rows // 2, 2, columns // 2, 2).mean((2, 4)).astype(np.uint8),
                       scale=base.scale @ double)
    yield base.changed("cropped to the middle", np.ascontiguousarray(f[:, rows // 8:, columns // 4:-columns // 4]),
                       T_tool_image=base.T_tool_image @ geometry.translation(
                           (base.scale @ [columns // 4, rows // 8, 0, 0])[:3]))
    for name, axis, flip in (("upside down", 1, (1, -1, -1)), ("left and right swapped", 2, (-1, 1, -1))):
        turn = np.diag([*flip, 1.0])
        middle = base.scale @ [columns + 1, rows + 1, 0, 2]
        turn[:2, 3] = np.where(np.array(flip[:2]) < 0, middle[:2], 0)
        yield base.changed(name, np.ascontiguousarray(np.flip(f, axis)), T_tool_image=base.T_tool_image @ turn)
    wrong = base.scale.copy()
    wrong[0, 0] *= 1.3
    wrong[1, 1] *= 1.3
    yield base.changed("another probe: pixels said to be 1.3 times as large", f, scale=wrong)
    noise = np.random.default_rng(0).integers(0, 256, f.shape, dtype=np.uint8)
    yield base.changed("noise alone", np.where(lit, noise, f))
    yield base.some("backwards", slice(None, None, -1))
    yield base.some("frames in any order", np.random.default_rng(0).permutation(n))


def simulated(n_frames: int) -> Iterator[Hard]:
    """The first frames of scans that no other scan can be made into."""
    p = simulator.plan(simulator.ScanSettings(name="LH_rotation", n_frames=1600, seed=31))
    x, y = p.geometry.face_mm
    linear = ProbeGeometry("linear", p.geometry.shape, p.geometry.scale, (x, y), 0.0, (0.0, 60.0), (-19.0, 19.0))
    slow = simulator.plan(replace(p.settings, n_frames=3 * 1600))
    lens = replace(p, settings=replace(p.settings, beam=Beam(aperture_mm=8, focus_mm=45)))
    comb = replace(p, geometry=linear, settings=replace(p.settings, beam=Beam(n_lines=256, aperture_mm=5, focus_mm=25)))
    for name, these in (("simulated at 20 fps, to compare", p), ("60 fps", slow), ("another lens, 8 mm at 45 mm", lens),
                        ("a linear probe", comb)):
        these = replace(these, **{key: getattr(these, key)[:n_frames] for key in PER_FRAME})
        frames = np.stack(list(simulator.frames(these, simulator.renderer_of(these), 2)))
        yield Hard(name, frames, these.tforms.astype(float), built_in().scale, these.T_tool_image)


PER_FRAME = ("T_world_image", "T_world_shown", "repeats", "phase", "tforms", "gain_db")


def judge(hard: Hard, usual: set[str]) -> tuple[str, set[str]]:
    """A row of the table, and the warnings of the result."""
    scan = Scan.from_arrays(hard.frames, scale=hard.scale, T_tool_image=hard.T_tool_image,
                            T_world_tool=hard.T_world_tool)
    try:
        result = reconstruct(scan)
    except InputError as error:
        return f"| {hard.name} | {len(hard.frames)} | - | - | - | - | - | refused: {error} |", usual
    truth = scan.T_first_frame_tracked
    assert truth is not None
    args = (result.T_first_frame, result.T_prev_frame, truth, geometry.steps(truth), scan.scale, scan.shape)
    decided, given = score.evaluate(*args), score.with_mirror_given(*args)[0]
    low = float((result.confidence[1:] < UNRELIABLE).mean())
    new = "; ".join(warning for warning in result.warnings if warning not in usual) or "-"
    return (f"| {hard.name} | {len(hard.frames)} | {decided.final:.3f} | {given.final:.3f} | {decided.GPE:.2f} | "
            f"{float(np.mean(result.confidence[1:])):.2f} | {low:.0%} | {result.verdict['shape']} | "
            f"{new if usual else '(usual ones)'} |",
            set(result.warnings))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scan", type=Path)
    parser.add_argument("--frames", type=int, default=160)
    parser.add_argument("--only", default="", help="cases whose names hold one of these words, and the first")
    options = parser.parse_args()
    scan = Scan.open(options.scan)
    assert scan.T_world_tool is not None and scan.T_tool_image is not None
    base = Hard("as it is", scan.frames(0, options.frames), scan.T_world_tool[:options.frames], scan.scale,
                scan.T_tool_image)
    print("| case | frames | final | mirror given | GPE mm | confidence | steps below "
          f"{UNRELIABLE:g} | verdict | warnings beside the usual |\n|---|---|---|---|---|---|---|---|---|")
    usual: set[str] = set()
    for hard in chain(cases(base), simulated(options.frames)):
        if usual and not any(word in hard.name for word in options.only.split(",")):
            continue
        row, found = judge(hard, usual)
        if not usual:
            usual = found
        print(row, flush=True)


if __name__ == "__main__":
    main()
