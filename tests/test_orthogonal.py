"""Orthogonal self-calibration, on a random field that is sampled on the planes of a known motion."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter, map_coordinates
from scipy.spatial.transform import Rotation

from speckle_rec import geometry as se3
from speckle_rec.kernels.cells import LOSS, CellModel, Pairs
from speckle_rec.probe.field import ProbeGeometry
from speckle_rec.scan import Scan
from speckle_rec.trajectory import crossing_planes, crossing_signs
from speckle_rec.trajectory.crossing_planes import Calibrated, gained, self_calibrate, warnings_of
from speckle_rec.trajectory.crossing_scale import stretch, stretch_between, stretched
from speckle_rec.trajectory.crossing_shape import crossings
from speckle_rec.trajectory.crossing_signs import settled, still_places, told
from speckle_rec.trajectory.crossing_volumes import BEFORE, LEAST_SEEN, Anatomy, overlap, sides
from speckle_rec.trajectory.factors import ACCELERATION, Crossings, Factors, hand_acceleration
from speckle_rec.trajectory.mirror_tests import flip
from speckle_rec.trajectory.solver import solve, total_cost

VOXEL = 1.0
EVERY = 4


def motion(n=800, fan=0.35, yaw=np.pi / 2) -> np.ndarray:
    """Poses [n, 4, 4]: fan to either side, turn, fan again, about the centre of the face."""
    t = np.linspace(0, 1, n)
    turn = np.clip((t - 0.4) / 0.2, 0, 1)
    tilt = fan * np.sin(2 * np.pi * np.where(t < 0.4, t, np.clip(t - 0.6, 0, 1)) / 0.4)
    twist = np.zeros((2, n, 6))
    twist[0, :, 4], twist[1, :, 3] = yaw * turn * turn * (3 - 2 * turn), tilt
    return se3.exp(twist[0]) @ se3.exp(twist[1])


@pytest.fixture(scope="module")
def field():
    """Anatomy [140, 100, 140] mm that changes over some 3 mm, and its corner."""
    noise = np.random.default_rng(5).normal(size=(140, 100, 140)).astype(np.float32)
    smooth = gaussian_filter(noise, 2.0)
    return smooth / smooth.std(), np.array([-70.0, -10.0, -70.0])


def seen(T, field, noise=0.3) -> Anatomy:
    """What a probe shows on the way `T`: 60 by 60 mm."""
    values, corner = field
    u, v = np.meshgrid(np.arange(-30, 30.1, 2), np.arange(2, 60.1, 2))
    points = np.stack([u.ravel(), v.ravel()], 1)
    frames = np.arange(0, len(T), EVERY)
    x = points @ np.swapaxes(T[frames, :3, :2], 1, 2) + T[frames, None, :3, 3]
    detail = map_coordinates(values, np.moveaxis((x - corner) / VOXEL, -1, 0), order=1, mode="wrap")
    detail += noise * np.random.default_rng(1).normal(size=detail.shape)
    return Anatomy(frames, points, (detail - detail.mean(0)).astype(np.float32))


@pytest.fixture(scope="module")
def scan(field):
    T = motion()
    return T, seen(T, field)


def along(T) -> Factors:
    """Factors that know the motion in the plane and that it is smooth, and nothing else."""
    n = len(T)
    k = np.arange(n - 1)
    planar = se3.log(se3.steps(T))[1:, [0, 1, 5]]
    information = np.broadcast_to(np.diag([1e6, 1e6, 1e9]), (n - 1, 3, 3))
    none = np.zeros(0, np.int64)
    unseen, one = np.zeros((0, 1), np.float32), np.ones((1, 1))
    cells = CellModel(np.zeros((3, 3, 1)), one, 0 * one, one, np.zeros(n, np.int64), np.zeros((1, 1, 2, 2)), 1.0,
                      np.zeros((1, 1)))
    return Factors(k, k + 1, planar, information, Pairs(none, none, unseen, unseen, np.zeros(0), none), cells, LOSS,
                   ACCELERATION / 10)


def test_a_sweep_crosses_nothing(field):
    T = motion(yaw=0.3)
    anatomy = seen(T, field)
    assert sides(T, anatomy.frames) is None
    given = self_calibrate(T, along(T), anatomy)
    assert given.crossings is None and given.gain == 1 and (given.T == T).all()


def test_sides_are_before_and_after_the_turn(scan):
    T, anatomy = scan
    apart = sides(T, anatomy.frames)
    yaw = np.arctan2(T[:, 0, 2], T[:, 0, 0])[anatomy.frames] / (np.pi / 2)
    assert (yaw[apart.before] < BEFORE + 0.01).all() and (yaw[apart.after] > 0.74).all()
    assert len(apart.before) + len(apart.after) > 0.8 * len(anatomy.frames)


@pytest.mark.parametrize("turned_by", [0.01, 0.4])
def test_volumes_hold_what_whole_ones_do_where_both_sides_show_something(scan, turned_by):
    """Against volumes of all that either side shows, smoothed by SciPy; the pose of the whole changes nothing."""
    T, anatomy = scan
    T = se3.exp(np.array([3.1, -2.2, 5.3, turned_by, turned_by / 2, 0])) @ T
    apart, voxel, width = sides(T, anatomy.frames), 1.2, 2.0
    found = overlap(T, anatomy, apart, width, voxel)
    at = np.round(found.low / voxel)
    poses = T[anatomy.frames]
    index = np.floor((poses[:, None, :3, :2] @ anatomy.points_mm[..., None])[..., 0] / voxel
                     + poses[:, None, :3, 3] / voxel - at + 0.5).astype(int)
    low = index.min((0, 1)) - 20
    volumes = []
    for rows in (apart.before, apart.after):
        total, count = np.zeros((2, *(index.max((0, 1)) - low + 21)))
        place = tuple(np.moveaxis(index[rows] - low, -1, 0))
        np.add.at(total, place, anatomy.detail[rows])
        np.add.at(count, place, 1)
        shown = count > 0
        total, count = (gaussian_filter(x, width / voxel, truncate=3) for x in (total, count))
        volumes.append((shown & (count > LEAST_SEEN), total / np.maximum(count, LEAST_SEEN)))
    both = np.argwhere(volumes[0][0] & volumes[1][0]) + low
    assert {tuple(v) for v in found.voxels} == {tuple(v) for v in both}
    for (_, whole), values in zip(volumes, found.values, strict=True):
        np.testing.assert_allclose(values, whole[tuple((found.voxels - low).T)], atol=1e-5)


def test_coarse_pixels_are_means_of_fine_ones(scan):
    _, anatomy = scan
    coarse = anatomy.coarse
    assert len(coarse.points_mm) == 16 * 15        # of 31 by 30
    for k in (0, 7, 100):
        near = np.abs(anatomy.points_mm - coarse.points_mm[k]).max(1) <= 1.001
        np.testing.assert_allclose(coarse.detail[:, k], anatomy.detail[:, near].mean(1), atol=1e-6)


@pytest.mark.parametrize("tilt, yaw", [(1.12, 1.1), (0.9, 0.92), (1.0, 1.0)])
def test_the_scale_of_tilt_and_turn_is_found(scan, tilt, yaw):
    T, anatomy = scan
    found = stretch(stretched(T, 1 / tilt, 1 / yaw), anatomy, sides(T, anatomy.frames))
    np.testing.assert_allclose(found, (tilt, yaw), atol=0.025)


@pytest.fixture
def open_signs(monkeypatch):
    """Speckle that minds no mirror and offers none."""
    for name, stand_in in (("drawn", lambda T, f: T), ("solve", lambda T, f, iterations: T),
                           ("total_cost", lambda T, f: 0.0), ("proposals", lambda T, f: ([], []))):
        monkeypatch.setattr(crossing_signs, name, stand_in)


@pytest.mark.parametrize("scale", [0.7, 1.0, 1.4])
def test_a_part_that_is_mirrored_is_found_at_any_scale(scan, open_signs, scale):
    T, anatomy = scan
    T = stretched(T, scale, scale)
    apart = sides(T, anatomy.frames)
    after = int(anatomy.frames[apart.after[0]])
    assert settled(T, along(T), anatomy, apart)[1] == ()
    mended, where = settled(flip(T, after), along(T), anatomy, apart)
    assert len(where) == 1 and abs(where[0] - after) < 2 * EVERY
    np.testing.assert_allclose(mended, T, atol=1.5)     # mm at most, of 60: the turn goes on at the mirror


@pytest.mark.parametrize("turn_alone", [False, True])
def test_a_turn_that_goes_the_wrong_way_is_found(scan, open_signs, turn_alone, monkeypatch):
    monkeypatch.setattr(crossing_signs, "DOUBTFUL", 0.7)      # true trajectories reach .9 in this field
    T, anatomy = scan
    apart = sides(T, anatomy.frames)
    early, after, late = (int(anatomy.frames[k]) for k in (apart.before[len(apart.before) // 2], apart.after[0],
                                                           apart.after[len(apart.after) // 2]))
    start, end = still_places(T, early, after)[0], still_places(T, after, late)[0]
    wrong = flip(T, start, end) if turn_alone else flip(T, start)
    apart = sides(wrong, anatomy.frames)
    mended, where = settled(wrong, along(T), anatomy, apart)
    assert where
    true, found = (overlap(X, anatomy, apart).similarity for X in (T, mended))
    assert found > true - 0.1


def test_a_stroke_whose_sign_speckle_leaves_open_is_told_by_the_anatomy(scan, open_signs, monkeypatch):
    T, anatomy = scan
    apart, last = sides(T, anatomy.frames), 720       # where the last stroke begins
    offered = [(0.0, (300,)), (10.0, (last,))], [(crossing_signs.STANDING + 1, (560,))]
    monkeypatch.setattr(crossing_signs, "proposals", lambda T, f: offered)
    f = along(T)
    assert settled(T, f, anatomy, apart)[1] == ()
    mended, where = settled(flip(T, last), f, anatomy, apart)
    assert where == (last,)
    np.testing.assert_allclose(mended, T, atol=1e-9)
    assert settled(flip(T, 560), f, anatomy, apart)[1] == ()        # neighbours speak against it too clearly


def test_mirrors_of_short_ends_do_not_crowd_out_that_of_a_stroke(scan, open_signs, monkeypatch):
    """Mirrors of a few frames cost next to nothing, and there the anatomy cannot tell either way."""
    T, anatomy = scan
    apart, last, n = sides(T, anatomy.frames), 720, len(T)
    ends = [(0.0, (t,)) for t in (2, 6, n - 10, n - 6)]
    monkeypatch.setattr(crossing_signs, "proposals",
                        lambda T, f: (ends + [(300.0, (last,))], [(0.0, (last, last + 8))]))
    assert settled(flip(T, last), along(T), anatomy, apart)[1] == (last,)


def test_speckle_and_anatomy_are_weighed_in_one_sum(scan, open_signs, monkeypatch):
    """A mirror that the anatomy asks for is taken where speckle minds it less than that is worth, and not otherwise."""
    T, anatomy = scan
    apart, last = sides(T, anatomy.frames), 720
    wrong = flip(T, last)
    monkeypatch.setattr(crossing_signs, "proposals", lambda T, f: ([(0.0, (last,))], []))
    similar = [crossing_signs.at_best(X, anatomy, apart) for X in (T, wrong)]
    worth = told(similar[1]) - told(similar[0])
    assert worth > 2 * crossing_signs.LEAST

    def right(X):
        return np.allclose(X, T, atol=1e-6)

    for price, taken in ((worth - 2 * crossing_signs.LEAST, (last,)), (worth, ())):
        monkeypatch.setattr(crossing_signs, "total_cost",
                            lambda X, f, price=price: price if right(X) else 0.0)
        assert settled(wrong, along(T), anatomy, apart)[1] == taken


def test_what_speckle_alone_asks_for_is_not_taken(scan, open_signs, monkeypatch):
    """It may be no more than a solve that had not come to its end."""
    T, anatomy = scan
    apart, last = sides(T, anatomy.frames), 720
    monkeypatch.setattr(crossing_signs, "proposals", lambda T, f: ([(0.0, (last,))], []))
    monkeypatch.setattr(crossing_signs, "total_cost",
                        lambda X, f: 1e4 * np.allclose(X, T, atol=1e-6))
    monkeypatch.setattr(crossing_signs, "at_best", lambda *_: 0.3)
    assert settled(T, along(T), anatomy, apart)[1] == ()


def test_anatomy_tells_the_more_the_more_it_is_alike():
    assert told(-0.3) == told(0.0) == 0
    values = [told(s) for s in np.linspace(0, 1, 11)]
    assert np.isfinite(values).all() and (np.diff(values) < 0).all() and (np.diff(values, 2)[:8] < 0).all()


def test_a_trajectory_whose_sides_show_nothing_in_common_stays_as_it_was(scan, monkeypatch):
    """Signs that were tried on the way do not stay."""
    T, anatomy = scan
    wrong = flip(T, 428)
    lacking = replace(overlap(T, anatomy, sides(T, anatomy.frames)), voxels=np.zeros((0, 3), np.int64))
    monkeypatch.setattr(crossing_planes, "settled", lambda T, *_: (flip(T, 428), (428,)))
    monkeypatch.setattr(crossing_planes, "stretch", lambda *_: (1.0, 1.0))
    first = overlap(wrong, anatomy, sides(wrong, anatomy.frames))
    opposed = replace(first, after=-first.before)      # less alike than what is not compared at all
    given = iter([opposed])
    monkeypatch.setattr(crossing_planes, "overlap", lambda *_: next(given, lacking))
    found = self_calibrate(wrong, along(wrong), anatomy)
    assert found.crossings is None and found.mirrored == () and (found.T == wrong).all()


def test_sides_that_are_drawn_apart_are_not_taken_for_more_alike_than_those_that_disagree(scan, monkeypatch):
    """A trajectory that was bent until hardly anything is shown twice has a similarity of 0."""
    T, anatomy = scan
    first = overlap(T, anatomy, sides(T, anatomy.frames))
    monkeypatch.setattr(crossing_planes, "settled", lambda T, *_: (T, ()))
    monkeypatch.setattr(crossing_planes, "stretch", lambda *_: (1.0, 1.0))
    monkeypatch.setattr(crossing_planes, "overlap", lambda *_: replace(first, after=-first.before))
    apart = Calibrated(flip(T, 428), crossings=object(), similarity=(0.0, 0.0), gain=2.5)
    monkeypatch.setattr(crossing_planes, "drawn_together", lambda *_, **__: apart)
    found = self_calibrate(T, along(T), anatomy)
    assert found.crossings is None and found.gain == 1 and (found.T == T).all()


def test_sides_that_do_not_agree_are_told(scan, field):
    T, anatomy = scan
    both = overlap(T, anatomy, sides(T, anatomy.frames))
    good = Calibrated(T, crossings(T, both, 1.0), (0.5, both.similarity))
    assert warnings_of(good) == warnings_of(self_calibrate(
        T[:20], along(T[:20]), seen(T[:20], field))) == []
    assert "does not agree" in warnings_of(replace(good, similarity=(0.0, 0.05)))[0]


def test_a_turn_and_back_has_the_sides_of_the_turn(scan):
    T, anatomy = scan
    there = sides(T, anatomy.frames)
    both = np.concatenate([T, T[-2::-1]])
    frames = np.arange(0, len(both), 4)
    back = sides(both, frames)
    assert (frames[back.before] < len(T)).all() and frames[back.before].max() == anatomy.frames[there.before].max()
    assert frames[back.after].min() == anatomy.frames[there.after].min() and frames[back.after].max() > len(T)


def test_what_pulls_vanishes_at_the_truth_and_points_there_from_beside_it(scan):
    T, anatomy = scan
    apart = sides(T, anatomy.frames)
    off = T.copy()
    shift = np.array([0.5, 0.0, -0.4])
    off[anatomy.frames[apart.after[0]]:, :3, 3] += shift
    for start, expected in ((T, np.zeros(3)), (off, shift)):
        pull = crossings(start, overlap(start, anatomy, apart), 1.0)
        H, g = pull.hessian[:, :3, :3].sum(0), pull.gradient[:, :3].sum(0)
        found = np.linalg.solve(H, -g)
        assert np.linalg.norm(found - expected) < 0.35, found


def test_where_planes_cross_the_contact_may_lie_anywhere_but_slides_steadily(scan):
    """A slide that goes along with a fan costs more than without planes that cross, one that stays costs less."""
    T, anatomy = scan
    crossed = Calibrated(T, crossings(T, overlap(T, anatomy, sides(T, anatomy.frames)), 1.0))
    t = np.linspace(0, 60, len(T))
    still = np.tile(np.eye(4), (len(T), 1, 1))

    def price(z_mm, **weights) -> float:
        f = replace(along(still), acceleration=np.full(6, 1e3), **weights)
        moved = se3.translation(z_mm[:, None] * [0, 0, 1])
        both = replace(crossed.applied(f), crossings=None), Calibrated(T).applied(f)
        crossing, alone = (total_cost(moved, g) - total_cost(still, g) for g in both)
        return crossing / alone

    assert price(np.full(len(t), 0.5), contact_precision=1.0) < 0.5
    assert price(np.sin(t), contact_rate_precision=1.0) > 1.5
    few = along(T)
    few = replace(few, pairs=few.pairs._replace(i=np.zeros(2, np.int64), j=np.array([1, 8]), temper=np.ones(2)))
    near, alone = (found.settled(few).pairs.temper for found in (crossed, Calibrated(T)))
    assert near[0] > near[1] and alone[0] == alone[1]


@pytest.mark.parametrize("tilt, yaw", [(1.3, 0.8), (0.7, 1.0), (1.0, 1.0)])
def test_what_a_trajectory_was_stretched_by_is_read_off_it(scan, tilt, yaw):
    T, _ = scan
    np.testing.assert_allclose(stretch_between(T, stretched(T, tilt, yaw)), (tilt, yaw), rtol=0.01)


def test_curves_read_a_stretched_motion_as_the_one_that_was_measured(scan):
    """A gain and a scale of fans undo the stretch in what cells are expected to show: forms times motion stay."""
    T, _ = scan
    tilt, yaw = 1.3, 0.8
    f = along(T)
    f = replace(f, cells=f.cells._replace(forms=np.random.default_rng(2).normal(size=(3, 3, 1))))
    motion = np.array([0.2, 0.02, -0.03])
    before = f.cells.stretch[0, 0] * (f.cells.forms[:, :, 0] @ motion)
    for fans_apart, factors in ((True, (tilt, tilt, yaw)), (False, (yaw, yaw, yaw))):
        cells = gained(Calibrated(T), (tilt, yaw), fans_apart).applied(f).cells
        after = cells.stretch[0, 0] * (cells.forms[:, :, 0] @ (motion * factors))
        np.testing.assert_allclose(after, before)


def test_a_bent_trajectory_is_drawn_to_the_anatomy(scan):
    """Slow errors of tilt, turn and shift, that neither stretch mends: half is left at most."""
    T, anatomy = scan
    step = se3.log(se3.steps(T))
    t = np.linspace(0, 1, len(T))
    step[1:, 2] += 0.03 * np.sin(9 * t[1:])
    step[:, 3] *= 1 + 0.15 * np.cos(7 * t)
    step[:, 4] *= 0.94
    bent = se3.chain(se3.exp(step))
    found = self_calibrate(bent, along(bent), anatomy)
    points = np.array([[-30, 60, 0, 1], [30, 60, 0, 1], [0, 30, 0, 1.0]]).T
    before, after = (misfit((X @ points)[:, :3], (T @ points)[:, :3]) for X in (bent, found.T))
    assert found.similarity[1] > found.similarity[0] and 0.8 < found.gain < 1.2
    assert after < before / 2, (before, after)


def misfit(a, b):
    """Mean distance of points [n, 3, m] once the whole is laid on the other: the first frame alone holds it."""
    a, b = (np.moveaxis(x, 1, -1).reshape(-1, 3) for x in (a, b))
    a, b = a - a.mean(0), b - b.mean(0)
    rotation = Rotation.align_vectors(b, a)[0]
    return float(np.linalg.norm(rotation.apply(a) - b, axis=1).mean())


def test_anatomy_that_contradicts_is_left_alone(scan, field):
    T, anatomy = scan
    other = replace(anatomy, detail=np.random.default_rng(0).normal(size=anatomy.detail.shape).astype(np.float32))
    found = self_calibrate(T, along(T), other)
    moved = np.abs(found.T - T)[:, :3].max()
    assert found.crossings is None or moved < 30      # nothing to see: no worse than lost, and no crash


@settings(max_examples=20)
@given(st.integers(0, 2**31))
def test_the_quadratic_is_the_same_whoever_moves(seed):
    """Only the difference of the two frames' twists counts, and the gradient is that of the cost."""
    rng = np.random.default_rng(seed)
    A = rng.normal(size=(1, 6, 6))
    c = Crossings(np.array([0]), np.array([1]), se3.exp(0.2 * rng.normal(size=(2, 6))), rng.normal(size=(1, 6)),
                  A @ np.swapaxes(A, 1, 2))
    common = se3.exp(0.01 * rng.normal(size=6))
    np.testing.assert_allclose(c.moved(common @ c.T), 0, atol=1e-12)
    e, d = rng.normal(size=(1, 6)), rng.normal(size=6)
    h = 1e-5
    slope = (c.pull(e + h * d)[0] - c.pull(e - h * d)[0]) / (2 * h)
    assert slope == pytest.approx(float((c.pull(e)[1] @ d).item()), rel=1e-5, abs=1e-6)


def test_the_solve_follows_crossings():
    """Two frames and a factor between them, whose minimum is known."""
    T = se3.chain(se3.exp(np.tile([0.1, 0, 0, 0, 0.01, 0], (60, 1))))
    twist = np.array([0.3, -0.2, 0.4, 0.01, -0.02, 0.0])
    H = np.diag([1e4, 1e4, 1e4, 1e8, 1e8, 1e8])[None]
    loose = replace(along(T), planar_information=np.broadcast_to(np.eye(3), (59, 3, 3)), most_lag=20,
                    crossings=Crossings(np.array([5]), np.array([50]), T, -(H @ twist), H))
    X = solve(T, loose, 60, 1e-12)
    np.testing.assert_allclose(loose.crossings.moved(X)[0], twist, atol=0.02)


def test_anatomy_of_a_scan_has_its_pixels_in_place():
    """A bright bar in the image lies where the scale says, whatever the size of a pixel."""
    for pixel in (0.2, 0.4):
        size = int(80 / pixel)
        frames = np.full((9, size, size), 40, np.uint8)
        rows = np.arange(size)
        for k in range(9):
            frames[k, np.abs((rows + 1) * pixel - 20 - 5 * k) < 3] = 200
        scan = Scan.from_arrays(frames, scale=np.diag([pixel, pixel, 1, 1]))
        geometry = ProbeGeometry("linear", (size, size), scan.scale, (40.0, 2.0), 0.0, (0.0, 70.0), (-30.0, 30.0))
        anatomy = Anatomy.of(scan, geometry, 4)
        assert anatomy.frames.tolist() == [0, 4, 8]
        for row, k in enumerate(anatomy.frames):
            bright = anatomy.detail[row] > 0.6 * anatomy.detail[row].max()
            assert abs(anatomy.points_mm[bright, 1].mean() + 2.0 - (20 + 5 * k)) < 1.0
            assert abs(anatomy.points_mm[bright, 0].mean()) < 0.5


@given(st.floats(0.002, 0.05), st.floats(1e-4, 2e-3))
@settings(max_examples=20)
def test_the_hand_shakes_out_of_the_plane_as_in_it(mm, rad):
    step = np.cumsum(np.random.default_rng(3).normal(size=(2000, 3)) * [mm, mm, rad], 0)
    found = hand_acceleration(step)
    expected = np.clip([mm, mm, mm, rad, rad, rad], ACCELERATION / 20, ACCELERATION)
    np.testing.assert_allclose(found, expected, rtol=0.15)
