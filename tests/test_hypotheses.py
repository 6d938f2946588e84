"""Kernels of the search: both ways on, and of what looks alike the cheaper."""

import numpy as np
from scenes import model_scan, trajectory

from speckle_rec.decorrelation import TABLE_PER_UNIT
from speckle_rec.direction import CUTOFF, EXTRA, LEAST, SAMPLES, SHARE, START
from speckle_rec.fan import Hand
from speckle_rec.kernels.hypotheses import extend, prune

EYE = np.eye(4)[:3]
GRAM = np.eye(3)


def pruned(steps, costs, margin=50.0, kept=8):
    """Parents, ways and costs that `prune` keeps of hypotheses that all rest at one place."""
    B = len(steps)
    poses = np.tile(EYE, (B, 2, 1, 1))
    parent, which, total = np.empty(kept, np.int64), np.empty(kept, np.int64), np.empty(kept)
    n = prune(1, poses, np.zeros(B), EYE.copy(), np.array(steps, float), np.array(costs, float), np.array([0]), GRAM,
              LEAST, SHARE, margin, kept, parent, which, total)
    return list(zip(parent[:n], which[:n], total[:n], strict=True))


def test_one_frame_against_one_goes_either_way():
    z = 0.3
    scan = model_scan(trajectory(shift_mm=[0.0, z]), 0)
    steps, costs, covariances = np.empty((1, 2, 3)), np.empty((1, 2)), np.empty((1, 2, 3, 3))
    one = scan.strengths
    extend(1, np.tile(EYE, (1, 2, 1, 1)), np.zeros((1, 3)), EYE.copy(), np.array([0]), scan.speckle.rho,
           0 * scan.speckle.rho, scan.forms, one.fast[0], one.slow[0], one.stretch[0], scan.curves.table(),
           float(TABLE_PER_UNIT), SAMPLES, EXTRA, CUTOFF, 1.0, Hand().precision * 1e-4, 0.0, 0.0, START, steps, costs,
           covariances)
    np.testing.assert_allclose(steps[0, 1], -steps[0, 0], atol=0.02)
    assert np.abs(steps[0, 0]).max() > 0.001
    assert np.isclose(costs[0, 0], costs[0, 1], rtol=0.05)


def test_the_cheaper_of_two_that_are_mirror_images_stands_for_both():
    assert [(p, w) for p, w, _ in pruned([[[1.0, 0, 0], [-1.0, 0, 0]]], [[3.0, 2.0]])] == [(0, 1)]


def test_those_that_differ_go_on_cheapest_first_up_to_the_margin():
    steps = [[[1.0, 0, 0], [2.0, 0, 0]], [[3.0, 0, 0], [4.0, 0, 0]]]
    found = pruned(steps, [[9.0, 1.0], [5.0, 60.0]])
    assert [(p, w) for p, w, _ in found] == [(0, 1), (1, 0), (0, 0)]
    np.testing.assert_allclose([c for *_, c in found], [1, 5, 9])
    assert len(pruned(steps, [[9.0, 1.0], [5.0, 60.0]], kept=2)) == 2
