"""Slow shares measured on a scan: known shares come back, and what never moved keeps what it had."""

import dataclasses

import numpy as np
import pytest
import scenes
from scenes import model_scan, trajectory

from speckle_rec.speckle.slow_share import FARTHEST, REGRESSION_SD, adapt

SHARE = np.linspace(0.0, 0.5, len(scenes.CELLS))


def slow_scan(z, seed=0):
    """A scan of which each cell keeps a share of its correlation for ever."""
    scan = model_scan(trajectory(shift_mm=z), seed)
    floor = scan.strengths.fast[0]
    rho = (1 - SHARE) * scan.speckle.rho + SHARE * floor
    curves = dataclasses.replace(scan.curves, kappa=1e-6)
    return dataclasses.replace(scan, curves=curves, speckle=dataclasses.replace(scan.speckle, rho=np.float32(rho)))


def shares(scan, T):
    n = len(T)
    window = np.minimum(np.arange(n) // 16, max(-(-n // 16) - 1, 0))
    wide = [np.repeat(x, window.max() + 1, 0) for x in (scan.strengths.fast, scan.strengths.slow,
                                                        scan.strengths.stretch)]
    start = dataclasses.replace(scan.strengths, fast=0.8 * (wide[0]), slow=0.2 * wide[0], stretch=wide[2],
                                window=window)
    out = adapt(start, T, scan.speckle, scan.forms, scan.curves)
    np.testing.assert_allclose(out.fast + out.slow, start.fast + start.slow)
    return out.slow / (out.fast + out.slow)


@pytest.mark.parametrize("scale", [0.85, 1.0, 1.15])
def test_known_shares_come_back_though_the_scale_is_wrong(scale):
    z = 0.4 * np.arange(96)
    found = shares(slow_scan(z), trajectory(shift_mm=scale * z))
    assert np.abs(found[1:-1] - SHARE).mean() < 0.05
    assert np.corrcoef(found[2], SHARE)[0, 1] > 0.9


def test_where_long_structures_end_they_are_not_taken_for_few():
    """Beyond the farthest distance that counts nothing is alike any more: no structure runs along a limb for ever."""
    z = 0.4 * np.arange(96)
    scan = slow_scan(z)
    apart = (z[scan.speckle.j] - z[scan.speckle.i])[:, None, None] * np.array([1.0, 0, 0])
    q = np.square(np.einsum("pak,mpk->mpa", scan.forms, np.broadcast_to(apart, (len(apart), len(SHARE), 3)))).sum(2)
    gone = q * np.square(scan.strengths.stretch[0]) > FARTHEST
    assert 0.1 < gone.mean() < 0.9
    rho = np.where(gone, 0, scan.speckle.rho).astype(np.float32)
    ended = dataclasses.replace(scan, speckle=dataclasses.replace(scan.speckle, rho=rho))
    np.testing.assert_allclose(shares(ended, trajectory(shift_mm=z)), shares(scan, trajectory(shift_mm=z)))


def test_where_nothing_moved_the_regression_stands():
    z = np.zeros(64)
    np.testing.assert_allclose(shares(slow_scan(z), trajectory(shift_mm=z)), 0.2)


def test_shares_stay_shares():
    scan = slow_scan(0.4 * np.arange(64))
    low = dataclasses.replace(scan, speckle=dataclasses.replace(scan.speckle, rho=scan.speckle.rho - 0.5))
    found = shares(low, trajectory(shift_mm=0.4 * np.arange(64)))
    assert (found >= 0).all() and (found < REGRESSION_SD).any() and np.isfinite(found).all()
