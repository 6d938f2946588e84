"""What each step of the estimate gives: the same measurements of a scan, estimated without one step at a time.

    python cli.py simulate bench/rotations --subjects 5 --seed 4242 --world benchmarks/gaussian.toml
    python benchmarks/ablation.py bench/rotations

The steps are those of `speckle_rec.estimate.STEPS`, by name. Scores have the mirror bit given and are of points on a
grid. `wrong`: the share of the motion out of the plane whose sign is wrong; `signs`: scans in which that is more than
`WRONG`. What simple engines reach (`identity`, `prior`, `inplane`, `speckle-smooth`) is the benchmark's to say:
`python cli.py benchmark`.
"""

import argparse
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from amplitudes import sideways, wrong_signs

import speckle_rec as sr
from speckle_rec import geometry as se3
from speckle_rec.compute.clock import Clock
from speckle_rec.config import Config
from speckle_rec.frames.view import look
from speckle_rec.io import tusrec
from speckle_rec.pairs.measure import measure
from speckle_rec.scoring import score
from speckle_rec.speckle.model import model
from speckle_rec.trajectory.conclude import conclude
from speckle_rec.trajectory.estimate import STEPS, estimate

WRONG = 0.05


def without_each(scan: sr.Scan, steps: list[str]) -> Iterator[tuple[str, sr.Reconstruction]]:
    """(what is left out, result): of the whole estimate first, then without each step that ran."""
    config, clock = Config(), Clock()
    view = look(scan.kept())
    speckle, measurements = model(None, view, measure(view, config, "cpu", clock), config)
    for name in ["nothing", *steps]:
        left_out = () if name == "nothing" else (name,)
        found = estimate(view, measurements, speckle, config, clock, without=left_out)
        if name == "nothing":
            ran = found.steps
        if name == "nothing" or name in ran:
            yield name, conclude(view, measurements, speckle, found, config, clock)


def main() -> None:
    optional = list(dict.fromkeys(step.name for step in STEPS if not step.needed))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path, help="a data set in the challenge's layout, with tracked poses")
    parser.add_argument("--most", type=int, default=100, help="scans at most")
    parser.add_argument("--steps", nargs="*", choices=optional, default=optional, metavar="STEP",
                        help=f"steps to leave out, each in its turn: {', '.join(optional)}")
    args = parser.parse_args()
    rows: dict[str, list[tuple[float, float, float, float]]] = defaultdict(list)
    for entry in tusrec.entries(args.dataset)[:args.most]:
        scan = sr.Scan.open(entry.path)
        truth = scan.T_first_frame_tracked
        if truth is None:
            parser.error(f"{entry.path}: expected tracked poses")
        for name, result in without_each(scan, args.steps):
            given, _ = score.with_mirror_given(result.T_first_frame, result.T_prev_frame, truth, se3.steps(truth),
                                               scan.scale, scan.shape)
            assert result.geometry is not None
            A = se3.translation(np.array([*result.geometry.face_mm, 0.0]))
            wrong = wrong_signs(*(sideways(se3.inverse(A) @ T @ A) for T in (result.T_first_frame, truth)))
            wrong = min(wrong, 1 - wrong)
            rows[name].append((given.final, given.global_, given.local, wrong))
            print(f"{scan.name:32} {name:24} {given.final:7.3f} {given.global_:7.3f} {given.local:7.3f} {wrong:6.1%}",
                  flush=True)
    print("\n| without | final, mean | worst | global | local | wrong | signs |\n|---|---:|---:|---:|---:|---:|---:|")
    for name, values in rows.items():
        v = np.array(values)
        final, whole, local, wrong = v.mean(0)
        print(f"| {name} | {final:.3f} | {v[:, 0].min():.3f} | {whole:.3f} | {local:.3f} | {wrong:.1%} | "
              f"{(v[:, 3] > WRONG).sum()} of {len(v)} |")


if __name__ == "__main__":
    main()
