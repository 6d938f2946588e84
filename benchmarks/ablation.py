"""What each part of the method gives: the same measurements of a scan, fused with more and more of it.

    python cli.py simulate bench/rotations --subjects 5 --seed 4242
    python benchmarks/ablation.py bench/rotations

Scores have the mirror bit given and are of points on a grid. `wrong`: the share of the motion out of the plane whose
sign is wrong; `signs`: scans in which that is more than `WRONG`.
"""

import argparse
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from amplitudes import sideways, wrong_signs

import speckle_rec as sr
from speckle_rec import contact, leaps, score
from speckle_rec import geometry as se3
from speckle_rec.adaptation import adapt
from speckle_rec.calibration import Calibration
from speckle_rec.crossing_planes import self_calibrate
from speckle_rec.crossing_volumes import Anatomy
from speckle_rec.direction import other_starts, planar_poses, search, sequential
from speckle_rec.engines import ProtocolPrior
from speckle_rec.exchange import exchanged
from speckle_rec.factors import Factors, hand_acceleration
from speckle_rec.fan import Hand
from speckle_rec.io import tusrec
from speckle_rec.lost_frames import solve_timed
from speckle_rec.measuring import measuring
from speckle_rec.mirror import cheapest, mend, sampled, thinned
from speckle_rec.planar_chain import planar_chain
from speckle_rec.probe import cells, find
from speckle_rec.protocol import phase_precision
from speckle_rec.solver import drawn, solve
from speckle_rec.working import WorkingImages, sample_frames

WRONG = 0.05


def stages(scan: sr.Scan, calibration: Calibration) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """(name, poses [N, 4, 4] in the face's frame, T_image_face) with more and more of the method."""
    found = find(sample_frames(scan), scan.scale)
    T_image_face = se3.translation(np.array([*found.geometry.face_mm, 0.0]))
    images = WorkingImages.of(scan, found.geometry)
    pairs, grid, curves = measuring(images, "cpu"), cells(images.geometry), calibration.curves
    hand = Hand.of(found.geometry.kind, calibration.priors)
    planar, duplicate = pairs.planar_motion()
    step, _ = planar_chain(planar, scan.n_frames)
    lost = contact.lost_in(images, grid)
    speckle = pairs.correlate(grid, step, duplicate).without(lost)
    strengths_of = calibration.judge(speckle, images, grid)
    strengths = strengths_of(None)
    speckle, forms = curves.resampled(speckle), calibration.forms(images.geometry, grid)
    yield "protocol alone", ProtocolPrior().poses(np.where([False, False, True], step, 0)), T_image_face
    yield "in-plane motion alone", se3.chain(planar_poses(step)), T_image_face
    yield "in-plane motion and protocol", ProtocolPrior().poses(step), T_image_face
    T, _, _ = sequential(step, speckle, forms, strengths, curves, hand.swept)
    yield "+ decorrelation", T, T_image_face
    T, _, _ = sequential(step, speckle, forms, strengths, curves, hand)
    yield "+ pivot", T, T_image_face
    strengths = adapt(strengths_of(T), T, speckle, forms, curves)
    T, _, _ = search(step, speckle, forms, strengths, curves, hand)
    yield "+ direction (hypotheses)", T, T_image_face
    acceleration = hand_acceleration(step)
    alone = Factors.of(planar, speckle, forms, strengths, curves, hand, acceleration=acceleration)
    yield "full solve without loops", solve(T, alone), T_image_face
    loops = pairs.find_loops(grid, step, duplicate)
    loops = replace(loops, speckle=curves.resampled(loops.speckle.without(lost)))
    factors = Factors.of(planar, speckle, forms, strengths, curves, hand, loops, acceleration)
    some = thinned(sampled(factors))
    neighbours = step, speckle, forms, strengths, curves, hand
    others, back = other_starts(*neighbours)
    starts = [T, *others]
    mended = mend(solve(drawn(cheapest(starts, factors), some), some), some)
    T = exchanged(mended, [*starts, back], some).T
    yield "+ loops", T, T_image_face
    factors = factors.judged(adapt(strengths_of(T), T, speckle, forms, curves))
    some = thinned(sampled(factors))
    yield "full solve with loops", solve(T, factors), T_image_face
    crossed = self_calibrate(T, some, Anatomy.of(scan, found.geometry))
    yield "+ orthogonal planes", crossed.T, T_image_face
    some, factors = (replace(f, phase_precision=phase_precision(T, hand)) for f in (some, factors))
    crossed = self_calibrate(T, some, Anatomy.of(scan, found.geometry))
    yield "+ phases", crossed.T, T_image_face
    factors = crossed.settled(factors)
    T, _ = solve_timed(leaps.mended(crossed.T, factors)[0], factors, duplicate)
    yield "full solve", calibration.crossed_fans.undone(T) if crossed.crossings else T, T_image_face


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--most", type=int, default=100, help="scans at most")
    args = parser.parse_args()
    calibration = Calibration.shipped()
    rows: dict[str, list[tuple[float, float, float, float]]] = defaultdict(list)
    for entry in tusrec.entries(args.dataset)[:args.most]:
        scan = sr.Scan.open(entry.path)
        truth = scan.T_first_frame_tracked
        if truth is None:
            parser.error(f"{entry.path}: expected tracked poses")
        for name, T, A in stages(scan, calibration):
            first, step = A @ T @ se3.inverse(A), A @ se3.steps(T) @ se3.inverse(A)
            first[0] = step[0] = np.eye(4)
            given, _ = score.with_mirror_given(first, step, truth, se3.steps(truth), scan.scale, scan.shape)
            wrong = wrong_signs(sideways(T), sideways(se3.inverse(A) @ truth @ A))
            wrong = min(wrong, 1 - wrong)
            rows[name].append((given.final, given.global_, given.local, wrong))
            print(f"{scan.name:32} {name:28} {given.final:7.3f} {given.global_:7.3f} {given.local:7.3f} "
                  f"{wrong:6.1%}", flush=True)
    print("\n| with | final | global | local | wrong | signs |\n|---|---:|---:|---:|---:|---:|")
    for name, values in rows.items():
        v = np.array(values)
        final, whole, local, wrong = v.mean(0)
        print(f"| {name} | {final:.3f} | {whole:.3f} | {local:.3f} | {wrong:.1%} | "
              f"{(v[:, 3] > WRONG).sum()} of {len(v)} |")


if __name__ == "__main__":
    main()
