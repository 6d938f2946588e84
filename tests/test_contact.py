"""Sides of the probe without contact: found where they were lifted, and nowhere else."""

import numpy as np
import pytest
import scenes
from hypothesis import example, given, settings
from hypothesis import strategies as st

from speckle_rec.frames import lift_off
from speckle_rec.frames.working_images import WorkingImages
from speckle_rec.pairs.correlation import Correlations
from speckle_rec.probe.field import cells
from speckle_rec.scan import Scan

N = 240
GRID = cells(scenes.SECTOR)
ACROSS = GRID.centres[:, 1]
PLACE = (ACROSS - ACROSS.min()) / np.ptp(ACROSS)        # 0 to 1 from side to side
LIFTED = slice(100, 130)


def levels(seed=0):
    """Grey levels [N, P] of tissue that changes slowly, in part too dark to tell."""
    rng = np.random.default_rng(seed)
    usual = rng.uniform(60, 120, len(GRID)) + 10 * np.sin(np.linspace(0, 5, N))[:, None]
    usual[:, rng.random(len(GRID)) < 0.2] = 15
    return usual + 4 * rng.normal(size=usual.shape)


def lift(level, where):
    out = level.copy()
    out[LIFTED, where] = np.minimum(out[LIFTED, where], 22)
    return out


@settings(max_examples=30)
@given(st.floats(0.15, 0.6), st.booleans(), st.integers(0, 99))
@example(0.4, True, 13)          # strips that are never lit beside the lifted ones
def test_a_lifted_side_is_found(reach, left, seed):
    side = PLACE < reach if left else PLACE > 1 - reach
    found = lift_off.lifted(lift(levels(seed), side), ACROSS)
    assert not np.delete(found, np.r_[LIFTED], 0).any()
    assert found[LIFTED][:, side].mean() > 0.95
    beyond = PLACE > reach + 0.15 if left else PLACE < 1 - reach - 0.15
    assert not found[LIFTED][:, beyond].any()


def test_both_sides_may_lift_at_once():
    found = lift_off.lifted(lift(levels(), (PLACE < 0.3) | (PLACE > 0.8)), ACROSS)
    assert found[LIFTED][:, (PLACE < 0.3) | (PLACE > 0.8)].all() and not found[:, abs(PLACE - 0.55) < 0.1].any()


@pytest.mark.parametrize("what", ["nothing", "gain", "a shadow in the middle", "all of it", "a dark scan"])
def test_nothing_else_is_taken_for_it(what):
    level = levels()
    if what == "gain":
        level[N // 2:] -= 30
    elif what == "a shadow in the middle":
        level = lift(level, abs(PLACE - 0.5) < 0.1)
    elif what == "all of it":
        level = lift(level, PLACE >= 0)
    elif what == "a dark scan":
        level[:] = 10
    assert not lift_off.lifted(level, ACROSS).any()


@pytest.mark.parametrize("n", [1, 2, 9])
def test_short_scans(n):
    assert lift_off.lifted(levels()[:n], ACROSS).shape == (n, len(GRID))


def test_levels_are_means_over_the_cells():
    rng = np.random.default_rng(0)
    smooth = rng.integers(0, 200, (3, 1, 1)) + np.arange(scenes.SECTOR.shape[0])[:, None] // 4
    frames = np.broadcast_to(smooth, (3, *scenes.SECTOR.shape)).astype(np.uint8)
    images = WorkingImages(Scan.from_arrays(frames, scale=scenes.SCALE), scenes.SECTOR, 1)
    found = lift_off.levels(images, GRID)
    expected = [[frame[GRID.labels == p].mean() for p in range(len(GRID))] for frame in frames]
    np.testing.assert_allclose(found, expected, atol=0.5)


def test_cells_without_contact_take_no_part():
    lost = np.zeros((5, 4), bool)
    lost[2, 1] = True
    pairs = Correlations(np.array([0, 1, 2, 3]), np.array([1, 2, 4, 4]), np.ones((4, 4), np.float32))
    told = np.isfinite(pairs.without(lost).rho)
    assert not told[1:3, 1].any() and told.sum() == 14
    assert pairs.without(np.zeros_like(lost)) is pairs


def test_it_is_told_once():
    lost = np.zeros((9, 3), bool)
    assert lift_off.warnings_of(lost) == []
    lost[4:6, 0] = True
    (text,) = lift_off.warnings_of(lost)
    assert "2 frames (first: 4)" in text
