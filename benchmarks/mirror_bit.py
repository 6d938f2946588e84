"""The one unobservable bit, decided by the prior alone: its success over simulated trajectories.

    python benchmarks/mirror_bit.py --trajectories 50

Trajectories are drawn as `simulate` draws them, their first fan and turn in the usual direction with the shares of
`RotationProtocol`. Each is given as it is and as its mirror image, so that no decision can be right by doing nothing.
"""

import argparse

import numpy as np

from speckle_rec.geometry import inverse, log, mirror, translation
from speckle_rec.speckle.calibration import Calibration
from speckle_rec.synth.trajectory import rotation
from speckle_rec.trajectory.hypothesis_tracking import MIN_TURN_RAD, choose_mirror, first_tilt

FACE_MM = (72.0, 4.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trajectories", type=int, default=50)
    parser.add_argument("--frames", type=int, default=1600)
    parser.add_argument("--seed", type=int, default=2025)
    args = parser.parse_args()
    prior = Calibration.shipped().mirror
    right = turns = fans = 0
    for seed in np.random.SeedSequence(args.seed).spawn(args.trajectories):
        world = rotation(args.frames, seed, FACE_MM).T_world_image
        world = world @ translation(np.array([*FACE_MM, 0.0]))
        T = inverse(world[:1]) @ world
        twist = log(T)
        turn = np.median(twist[-args.frames // 10:, 4])
        turns += bool(abs(turn) > MIN_TURN_RAD and turn * prior.turn_sign > 0)
        fans += bool(first_tilt(twist) * prior.tilt_sign > 0)
        decided = [choose_mirror(X, prior)[0] for X in (T, mirror(T))]
        assert np.allclose(decided[0], decided[1])
        right += bool(np.abs(decided[0] - T).max() < 1e-6)
    n = args.trajectories
    print(f"usual turn: {turns} of {n}; usual first fan: {fans} of {n}; mirror bit decided rightly: {right} of {n}")


if __name__ == "__main__":
    main()
