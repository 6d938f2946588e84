"""Kernels of the search: both ways on, and of what looks alike the cheaper."""

import numpy as np
from scenes import model_scan, trajectory

from speckle_rec.kernels.cells import LOSS
from speckle_rec.kernels.hypotheses import Hypotheses, Likeness, Ways, extend, prune
from speckle_rec.kernels.multilaterate import StepPrior
from speckle_rec.speckle.strengths import cell_model
from speckle_rec.trajectory.hand import Hand
from speckle_rec.trajectory.hypothesis_tracking import LEAST, SHARE, START

EYE = np.eye(4)[:3]
GRAM = np.eye(3)


def pruned(steps, costs, margin=50.0, kept=8):
    """Parents, ways and costs that `prune` keeps of hypotheses that all rest at one place."""
    B = len(steps)
    found = Hypotheses(np.tile(EYE, (B, 2, 1, 1)), np.zeros((B, 3)), np.zeros(B))
    ways = Ways(np.array(steps, float), np.array(costs, float), np.zeros((B, 2, 3, 3)))
    return list(zip(*prune(1, found, EYE.copy(), ways, Likeness(np.array([0]), GRAM, LEAST, SHARE), margin, kept),
                    strict=True))


def test_one_frame_against_one_goes_either_way():
    z = 0.3
    scan = model_scan(trajectory(shift_mm=[0.0, z]), 0)
    steps, costs = np.empty((1, 2, 3)), np.empty((1, 2))
    extend(1, Hypotheses(np.tile(EYE, (1, 2, 1, 1)), np.zeros((1, 3)), np.zeros(1)), EYE.copy(),
           scan.curves.pairs(scan.speckle), cell_model(scan.forms, scan.strengths, scan.curves), LOSS,
           StepPrior(Hand().precision * 1e-4, np.zeros(3), 0.0, START), Ways(steps, costs, np.empty((1, 2, 3, 3))))
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
