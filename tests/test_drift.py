"""Drift measures against evo, scipy, and motions whose answer is known."""

import numpy as np
import pytest
from scipy.spatial.distance import directed_hausdorff

from speckle_rec import geometry
from speckle_rec.scoring import drift

SCALE = np.diag([0.2, 0.25, 1.0, 1.0])
SHAPE = (48, 64)


def walk(seed, n=60):
    rng = np.random.default_rng(seed)
    T_prev = geometry.exp(rng.normal(0, 1, (n, 6)) * [0.3, 0.3, 0.5, 0.01, 0.01, 0.01])
    T_prev[0] = np.eye(4)
    return geometry.chain(T_prev)


def centres(T):
    """Poses of the image's centre, in its own axes."""
    x, y, z = geometry.pixel_points(SCALE, np.array(32.5), np.array(24.5))
    shift = geometry.translation(np.array([x, y, z]))
    return T @ shift


def test_against_evo():
    metrics = pytest.importorskip("evo.core.metrics")
    from evo.core.trajectory import PosePath3D
    est, true = walk(1), walk(2)
    paths = [PosePath3D(poses_se3=list(centres(T))) for T in (true, est)]
    ape = metrics.APE(metrics.PoseRelation.translation_part)
    ape.process_data(tuple(paths))
    got = drift.measure(est, true, SCALE, SHAPE)
    assert got.path_length_mm == pytest.approx(paths[0].path_length)
    assert got.max_mm == pytest.approx(ape.get_statistic(metrics.StatisticsType.max))
    assert got.mean_mm == pytest.approx(ape.error[1:].mean())
    assert got.final_mm == pytest.approx(ape.error[-1])
    assert got.final_rate == pytest.approx(ape.error[-1] / paths[0].path_length)
    assert got.average_rate == pytest.approx(np.mean(ape.error[1:] / paths[0].distances[1:]))


def test_hausdorff_against_scipy():
    est, true = walk(3), walk(4)
    a, b = (centres(T)[:, :3, 3] for T in (est, true))
    assert drift.measure(est, true, SCALE, SHAPE).hausdorff_mm == pytest.approx(
        max(directed_hausdorff(a, b)[0], directed_hausdorff(b, a)[0]))


def sweep(step_mm, n=41):
    offset = np.zeros((n, 3))
    offset[:, 2] = step_mm * np.arange(n)
    return geometry.translation(offset)


def test_a_sweep_of_half_the_length():
    field = drift.fill(np.ones(SHAPE, bool), SCALE)
    got = drift.measure(sweep(0.5), sweep(1.0), SCALE, SHAPE, field)
    assert (got.path_length_mm, got.final_mm, got.final_rate) == pytest.approx((40, 20, 0.5))
    assert got.average_rate == pytest.approx(0.5) and got.hausdorff_mm == pytest.approx(20)
    # 21 of 11 + 21 layers of voxels are in both trajectories
    assert got.volume_overlap == pytest.approx(2 * 11 / 32, abs=0.01)


def test_perfect_and_hopeless():
    T = walk(5)
    field = drift.fill(np.ones(SHAPE, bool), SCALE)
    perfect = drift.measure(T, T, SCALE, SHAPE, field)
    assert perfect.volume_overlap == 1 and perfect.max_mm == 0
    away = T.copy()
    away[1:, :3, 3] += 1e9
    assert drift.measure(away, T, SCALE, SHAPE, field).volume_overlap < 0.5
    still = np.tile(np.eye(4), (4, 1, 1))
    assert drift.measure(still, still, SCALE, SHAPE).final_rate is None


def test_points_fill_the_field_densely():
    mask = np.zeros((480, 640), bool)
    mask[100:300, 50:400] = True
    points = drift.fill(mask, np.diag([0.23, 0.22, 1, 1.0]))
    assert points.min(0) == pytest.approx([50 * 0.23, 100 * 0.22], abs=1.4)
    gaps = np.unique(np.round(np.diff(np.unique(points[:, 0])), 6))
    assert gaps.max() <= drift.VOXEL_MM / 1.5
