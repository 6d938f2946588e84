"""Revisits: found in rendered scans that return, at the right frames and with the right motion."""

import numpy as np
import pytest
import scenes

from speckle_rec import geometry as se3
from speckle_rec.frames.working_images import WorkingImages
from speckle_rec.pairs import loop_closures
from speckle_rec.pairs.correlation import beam_turn2
from speckle_rec.pairs.planar_motions import se2_exp
from speckle_rec.probe.beam_lines import beam_lines
from speckle_rec.probe.field import cells
from speckle_rec.scan import Scan
from speckle_rec.trajectory.normal_equations import Normal

THERE_AND_BACK = np.concatenate([np.linspace(0, 4, 21), np.linspace(3.8, 0, 20)])     # mm, elevation a frame


@pytest.fixture(scope="module")
def scan():
    """A shift of 4 mm out of plane and back, while the image slides and rolls in plane."""
    n = len(THERE_AND_BACK)
    twist = np.zeros((n, 6))
    twist[:, 0], twist[:, 2], twist[:, 5] = 0.05 * np.arange(n), THERE_AND_BACK, 0.002 * np.arange(n)
    frames = np.stack([scenes.frame(v, seed=k) for k, v in enumerate(twist)])
    images = WorkingImages(Scan.from_arrays(frames, scale=scenes.SCALE), scenes.SECTOR, 1)
    T = se3.exp(twist)
    step = se3.log(se3.steps(T))[:, [0, 1, 5]]
    step[0] = 0
    return T, images, step


def test_frames_that_see_the_same_place_again_are_found(scan):
    T, images, step = scan
    grid = cells(images.geometry)
    loops = loop_closures.find_loops(images, grid, step, np.zeros(len(T), bool), stride=2, gap=10, jobs=1)
    i, j = loops.planar.i, loops.planar.j
    assert len(loops) >= 5 and loops.candidates >= len(loops)
    assert (j - i >= 10).all() and loops.speckle.rho.shape == (len(loops), len(grid))
    apart = np.abs(THERE_AND_BACK[i] - THERE_AND_BACK[j])
    assert np.median(apart) < 0.3 and apart.max() < 1.0
    true = se3.log(se3.inverse(T[i]) @ T[j])[:, [0, 1, 5]]
    scenes.within(loops.planar.twist, true, [0.1, 0.1, 0.01])
    same = apart < 0.1
    assert np.nanmedian(loops.speckle.rho[same]) > np.nanmedian(loops.speckle.rho[~same]) if (~same).any() else True


def test_skipped_frames_take_no_part(scan):
    T, images, step = scan
    skip = np.zeros(len(T), bool)
    skip[:22] = True
    loops = loop_closures.find_loops(images, cells(images.geometry), step, skip, stride=2, gap=10, jobs=1)
    assert len(loops) == 0 or loops.planar.i.min() >= 22


def test_a_scan_that_does_not_return_has_no_loops():
    frames = np.stack([scenes.frame((0, 0, z, 0, 0, 0), seed=k) for k, z in enumerate(np.arange(-5, 5, 0.5))])
    images = WorkingImages(Scan.from_arrays(frames, scale=scenes.SCALE), scenes.SECTOR, 1)
    loops = loop_closures.find_loops(images, cells(images.geometry), np.zeros((20, 3)), np.zeros(20, bool),
                                     stride=1, gap=8, jobs=1)
    assert len(loops) == 0


def test_peaks_take_the_highest_maxima_on_either_side():
    alike = np.full((9, 9), 0.05, np.float32)
    for a, b, level in ((0, 5, 0.6), (0, 7, 0.5), (1, 6, 0.7), (2, 4, 0.9), (3, 8, 0.09)):
        alike[a, b] = alike[b, a] = level
    a, b = loop_closures.peaks(alike, gap=3, least=0.1, most_each=1)
    pairs = set(zip(a.tolist(), b.tolist(), strict=True))
    assert {(0, 5), (1, 6)} <= pairs                    # (2, 4) is too near, (3, 8) too weak
    assert (2, 4) not in pairs and (3, 8) not in pairs


def test_thumbnails_of_a_moving_image_stay_in_place(scan):
    _, images, _ = scan
    frame = scenes.frame(seed=5)
    moved = scenes.frame((1.2, -0.6, 0, 0, 0, 0.03), seed=6)
    chain = np.stack([np.eye(3), se2_exp(np.array([1.2, -0.6, 0.03]))])

    def alike(poses):
        return loop_closures.similarity(loop_closures.thumbnails([frame, moved], poses, images.geometry))[0][0, 1]

    right, still = alike(chain), alike(np.stack([np.eye(3)] * 2))
    assert right > 0.45 and right > still + 0.15


@pytest.mark.parametrize("shift", [(3, -2), (-2, 0), (0, 4), (0, 0)])
def test_similarity_finds_the_shift(shift):
    rng = np.random.default_rng(0)
    whole = rng.normal(size=(40, 50)).astype(np.float32)
    first = whole[8:32, 8:42]
    second = whole[8 + shift[0]:32 + shift[0], 8 + shift[1]:42 + shift[1]]
    images = np.stack([x / np.linalg.norm(x) for x in (first, second)])
    shifts = [(down, right) for down in range(-4, 5) for right in range(-4, 5)]
    alike, best = loop_closures.similarity(images, shifts)
    assert shifts[best[0, 1]] == shift and alike[0, 1] > 0.7
    assert shifts[best[1, 0]] == (-shift[0], -shift[1])


def test_revisits_are_found_where_the_planar_chain_has_drifted(scan):
    T, images, step = scan
    drifting = step.copy()
    drifting[1:, 0] += 0.06
    loops = loop_closures.find_loops(images, cells(images.geometry), drifting, np.zeros(len(T), bool), stride=2, gap=10,
                               jobs=1)
    far = loops.planar.j - loops.planar.i > 24
    assert far.any()
    true = se3.log(se3.inverse(T[loops.planar.i]) @ T[loops.planar.j])[:, [0, 1, 5]]
    scenes.within(loops.planar.twist[far], true[far], [0.1, 0.1, 0.01])


def test_normal_equations_with_far_blocks_are_the_dense_ones():
    rng = np.random.default_rng(0)
    normal, A, b = Normal(40, 3), np.zeros((240, 240)), np.zeros(240)
    pairs = [(k, k + 1) for k in range(39)] + [(k, k + 3) for k in range(0, 37, 2)] + [(2, 30), (5, 25), (10, 39)]
    for i, j in pairs:
        Ji, Jj, g = rng.normal(size=(6, 6)), rng.normal(size=(6, 6)), rng.normal(size=6)
        normal.add([(np.array([i]), Ji[None]), (np.array([j]), Jj[None])], g[None], np.eye(6)[None])
        J = np.zeros((6, 240))
        J[:, 6 * i:6 * i + 6], J[:, 6 * j:6 * j + 6] = Ji, Jj
        A += J.T @ J
        b -= J.T @ g
    damping = 0.1
    A[np.diag_indices(240)] = A.diagonal() * (1 + damping) + 1e-9
    A[:6, :6] += 1e12 * np.eye(6)
    expected = np.linalg.solve(A, b).reshape(-1, 6)
    np.testing.assert_allclose(normal.step(damping), expected, atol=0.03 * np.abs(expected).max())


def test_the_beams_turn_as_the_apex_moves_aside():
    lines = beam_lines(scenes.SECTOR, np.array([0.0, 40.0, 20.0]), np.array([0.0, 0.0, 0.3]))
    R = scenes.SECTOR.radius_mm
    about_apex = np.array([-R * 0.1, 0.0, 0.1])                 # the array slides round its own centre
    np.testing.assert_allclose(beam_turn2(lines, scenes.SECTOR, about_apex), 0, atol=1e-12)
    about_face = np.sqrt(beam_turn2(lines, scenes.SECTOR, np.array([0.0, 0.0, 0.1])))
    np.testing.assert_allclose(about_face[:2], [0.1, 0.05], rtol=1e-6)
    linear = beam_lines(scenes.LINEAR, np.array([10.0, 30.0]), np.array([0.0, 5.0]))
    np.testing.assert_allclose(beam_turn2(linear, scenes.LINEAR, np.array([2.0, 1.0, 0.1])), 0.01, rtol=1e-6)


@pytest.mark.parametrize("n_frames, stride", [(100, 4), (2500, 4), (7000, 8), (20_000, 12)])
def test_pairs_that_are_compared_grow_no_faster_than_frames(n_frames, stride):
    assert loop_closures.stride_of(n_frames) == stride
    assert (n_frames / stride) ** 2 / n_frames < 1.6 * loop_closures.LONG / loop_closures.STRIDE**2


def test_similarity_is_the_same_however_many_rows_a_thread_takes(monkeypatch):
    images = np.random.default_rng(0).normal(size=(11, 6, 5)).astype(np.float32)
    whole = loop_closures.similarity(images, [(0, 0), (1, -1)])
    monkeypatch.setattr(loop_closures, "ROWS_AT_ONCE", 4)
    parts = loop_closures.similarity(images, [(0, 0), (1, -1)], jobs=3)
    np.testing.assert_allclose(parts[0], whole[0], rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(parts[1], whole[1])


def test_knots_of_long_scans_lie_further_apart(monkeypatch):
    """The preconditioner changes, the step does not."""
    rng = np.random.default_rng(1)
    normal = Normal(120, 3)
    for i, j in [(k, k + 1) for k in range(119)] + [(3, 100), (40, 90)]:
        Ji, Jj = rng.normal(size=(2, 6, 6))
        normal.add([(np.array([i]), Ji[None]), (np.array([j]), Jj[None])], rng.normal(size=(1, 6)), np.eye(6)[None])
    near = normal.step(0.1)
    monkeypatch.setattr("speckle_rec.trajectory.normal_equations.MOST_KNOTS", 4)
    np.testing.assert_allclose(normal.step(0.1), near, atol=0.03 * np.abs(near).max())
