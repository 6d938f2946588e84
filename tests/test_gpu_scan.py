"""A whole scan measured on many pairs at once agrees with the CPU: on numpy everywhere, on a GPU where there is one."""

import tracemalloc

import numpy as np
import pytest
import scenes

from speckle_rec import geometry as se3
from speckle_rec import pipeline, volume
from speckle_rec.compute import device
from speckle_rec.config import Config
from speckle_rec.frames.working_images import WorkingImages
from speckle_rec.pairs import backends, measure
from speckle_rec.pairs.batched import matching
from speckle_rec.pairs.batched.frames import Batches, DeviceFrames
from speckle_rec.pairs.block_matching import LAGS, rigid_fit
from speckle_rec.pairs.planar_motions import se2_exp, se2_exps, se2_log, se2_logs
from speckle_rec.probe.field import cells
from speckle_rec.scan import Scan
from speckle_rec.scoring import score
from speckle_rec.synth import image

N, REPEATED, GAP = 34, 20, 10


def true_poses():
    """T_first_image [N, 4, 4] of a fan there and back, sliding and rolling."""
    t = np.arange(N)
    T = scenes.trajectory(tilt_rad=0.05 * np.sin(np.pi * t / N), roll_rad=0.02 * np.sin(t / 8),
                          x_mm=0.4 * np.sin(t / 9))
    face = np.array([*scenes.SECTOR.face_mm, 0])
    T = se3.translation(face) @ T @ se3.translation(-face)
    T[REPEATED] = T[REPEATED - 1]
    return T


@pytest.fixture(scope="module")
def scan():
    renderer = scenes.phantom()
    frames = np.stack([renderer(T, k) for k, T in enumerate(true_poses())])
    frames[REPEATED] = frames[REPEATED - 1]
    return Scan.from_arrays(frames, scale=scenes.SCALE)


def measured(scan, xp):
    """(planar motion, repeated frames, correlations, revisits, poses) of a scan; xp None: on the CPU's path."""
    kept = {}

    def keep(images, wanted, jobs):
        pairs = backends.OnCpu(images, 1, []) if xp is None else backends.OnGpu(images, xp)
        kept["pairs"] = pairs
        pairs.planar_motion = keeping("planar_motion", pairs.planar_motion)
        pairs.correlate = keeping("correlate", pairs.correlate)
        return pairs

    def keeping(name, run):
        def call(*args, **options):
            kept[name], kept[f"{name} of"] = run(*args, **options), args
            return kept[name]
        return call

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measure, "backend_of", keep)
        result = pipeline.reconstruct(scan, calibration=scenes.matched_curves(), config=Config(jobs=1))
    grid, step, skip = kept["correlate of"]
    pairs = kept["pairs"]
    if xp is None:
        loops = backends.loop_closures.find_loops(pairs.images, grid, step, skip, stride=2, gap=GAP, jobs=1)
    else:
        loops = backends.revisits.find_loops(pairs.frames, grid, step, skip, stride=2, gap=GAP)
    return *kept["planar_motion"], kept["correlate"], loops, result


@pytest.fixture(scope="module")
def expected(scan):
    return measured(scan, None)


@pytest.fixture(scope="module")
def on_numpy(scan):
    return measured(scan, np)


@pytest.fixture(scope="module")
def on_gpu(scan, cupy):
    return measured(scan, cupy)


@pytest.fixture(params=["numpy", "gpu"])
def found(request):
    return request.getfixturevalue(f"on_{request.param}")


def same_motion(found, expected):
    np.testing.assert_array_equal(found.i, expected.i)
    np.testing.assert_array_equal(found.j, expected.j)
    scenes.within(found.twist, expected.twist, [1e-4, 1e-4, 3e-6])          # mm, mm, rad
    np.testing.assert_allclose(found.covariance, expected.covariance, rtol=0.03, atol=1e-9)
    np.testing.assert_allclose(found.ncc, expected.ncc, atol=2e-3)
    np.testing.assert_allclose(found.share, expected.share, atol=0.03)      # a block at a threshold may tip


def test_planar_motion(found, expected):
    same_motion(found[0], expected[0])
    assert np.flatnonzero(found[1]).tolist() == [REPEATED]
    assert len(found[0].i) == sum(N - lag - 2 for lag in LAGS)


def test_correlations(found, expected):
    for name in ("i", "j"):
        np.testing.assert_array_equal(getattr(found[2], name), getattr(expected[2], name))
    np.testing.assert_allclose(found[2].rho, expected[2].rho, atol=2e-4)
    np.testing.assert_allclose(found[2].turn2, expected[2].turn2, atol=1e-7)


def test_revisits(found, expected):
    assert len(expected[3]) >= 2 and found[3].candidates == expected[3].candidates
    same_motion(found[3].planar, expected[3].planar)
    np.testing.assert_allclose(found[3].speckle.rho, expected[3].speckle.rho, atol=2e-4)
    np.testing.assert_allclose(found[3].speckle.turn2, expected[3].speckle.turn2, atol=1e-7)


def test_poses_and_score(found, expected):
    """The issue's figures: corners of all frames within .01 mm, the score within .001."""
    rows, columns = scenes.SECTOR.shape
    corners = se3.pixel_points(scenes.SCALE, np.array([1, columns, 1, columns]), np.array([1, 1, rows, rows]))
    corners = np.concatenate([corners, np.ones((4, 1))], 1)
    truth = true_poses()
    scores = []
    for result in (found[4], expected[4]):
        scores.append(score.evaluate(result.T_first_frame, result.T_prev_frame, truth, se3.steps(truth), scenes.SCALE,
                                     scenes.SECTOR.shape))
    for name in ("T_first_frame", "T_prev_frame"):
        apart = (getattr(found[4], name) - getattr(expected[4], name)) @ corners.T
        assert np.linalg.norm(apart[:, :3], axis=1).max() < 0.01
    assert abs(scores[0].final - scores[1].final) < 0.001
    assert found[4].numbers["device"] == "gpu" and expected[4].numbers["device"] == "cpu"


# -- parts

def test_planar_motions_as_arrays():
    v = np.random.default_rng(0).normal(size=(20, 3))
    v[:3, 2] = 0, 3e-5, -3e-5
    np.testing.assert_allclose(se2_exps(v), [se2_exp(one) for one in v], atol=1e-12)
    back = se2_logs(se2_exps(v))
    np.testing.assert_allclose(back, v, atol=1e-9)
    np.testing.assert_allclose(back, [se2_log(se2_exp(one)) for one in v], atol=1e-12)


def test_masked_median():
    values = np.random.default_rng(1).normal(size=(5, 9))
    keep = np.random.default_rng(2).random((5, 9)) < 0.6
    keep[3], keep[4] = False, True
    medians = matching.masked_median(values, keep)
    assert np.isinf(medians[3])
    for m in (0, 1, 2, 4):
        assert medians[m] == pytest.approx(np.median(values[m, keep[m]]))


def test_rigid_fits_are_those_of_single_pairs():
    rng = np.random.default_rng(3)
    points = rng.uniform([-30, 0], [30, 60], (60, 2))
    v = np.array([[0.4, -0.2, 0.02], [-0.1, 0.3, -0.01], [0, 0, 0]])
    back = np.linalg.inv(se2_exps(v))
    moved = np.einsum("mij,bj->mbi", back[:, :2, :2], points) + back[:, None, :2, 2]
    moved += 0.01 * rng.normal(size=moved.shape)
    moved[:, :15] += rng.normal(size=(3, 15, 2))
    weights, keep = rng.uniform(0.5, 2, (3, 60, 2)), rng.random((3, 60)) < 0.8
    moved[~keep] = np.nan
    twist, covariance, inlier = matching.rigid_fits(points, moved, weights, keep)
    np.testing.assert_allclose(twist, v, atol=0.01)
    for m in range(3):
        one = rigid_fit(points[keep[m]], moved[m, keep[m]], weights[m, keep[m]])
        np.testing.assert_allclose(twist[m], one[0], atol=1e-9)
        np.testing.assert_allclose(covariance[m], one[1], rtol=1e-6)
        np.testing.assert_array_equal(inlier[m, keep[m]], one[2])
        assert not inlier[m, ~keep[m]].any()


def test_pairs_without_texture_stay_at_the_guess():
    matcher = matching.BatchMatcher(scenes.SECTOR, np)
    flat = np.full((2, *scenes.SECTOR.shape), 90, np.uint8)
    guess = np.array([[0.3, -0.1, 0.01]])
    twist, covariance, ncc, share = matcher.match(matcher.pyramids(flat), np.array([0]), np.array([1]), guess)
    np.testing.assert_array_equal(twist, guess)
    np.testing.assert_array_equal(covariance[0], np.diag([1e2, 1e2, 1.0]))
    assert ncc == share == 0


@pytest.mark.parametrize("interpolation", volume.INTERPOLATIONS)
@pytest.mark.parametrize("compounding", volume.COMPOUNDINGS)
def test_compounding(monkeypatch, scan, interpolation, compounding):
    monkeypatch.setattr(volume, "arrays", lambda name: np)
    options = {"spacing_mm": 1.5, "interpolation": interpolation, "compounding": compounding}
    made, expected = (volume.compound_scan(scan, true_poses(), scenes.SECTOR, device=name, **options)
                      for name in ("gpu", "cpu"))
    np.testing.assert_allclose(made.accumulation, expected.accumulation, rtol=1e-4, atol=1e-4)
    apart = np.abs(made.data.astype(int) - expected.data)
    assert apart.max() <= 1 and (apart > 0).mean() < 1e-3       # sums in another order may round to the next grey
    assert (made.origin_mm, made.spacing_mm) == (expected.origin_mm, expected.spacing_mm)


def test_frames_are_read_once(scan):
    read = []

    class Counted(WorkingImages):
        def blocks(self):
            for start, block in super().blocks():
                read.append(start)
                yield start, block

    images = WorkingImages.of(scan, scenes.SECTOR)
    frames = DeviceFrames(Counted(**vars(images)), np)
    np.testing.assert_array_equal(frames.pick(np.array([33, 2])), scan.frames()[[33, 2]])
    for _ in range(2):
        assert np.array_equal(np.concatenate([block for _, block in frames.blocks()]), scan.frames())
    assert read == [0, 32]


def test_memory_is_bounded(scan):
    """What `pairs.batched.frames` states, counted in numpy: the frames, and 1200 bytes a pixel of one."""
    images = WorkingImages.of(scan, scenes.SECTOR)
    grid, step, skip = cells(images.geometry), np.zeros((N, 3)), np.zeros(N, bool)
    tracemalloc.start()
    try:
        pairs = backends.OnGpu(images, np)
        backends.batched_correlation.correlate(pairs.frames, grid, step, skip, lags=(1, 2, 32))     # 64 pairs at once
        backends.revisits.find_loops(pairs.frames, grid, step, skip, stride=1, gap=12)
        pixels = images.geometry.shape[0] * images.geometry.shape[1]
        assert tracemalloc.get_traced_memory()[1] < (N + 1200) * pixels
    finally:
        tracemalloc.stop()


def test_smaller_batches_give_the_same(scan):
    images = WorkingImages.of(scan, scenes.SECTOR)
    few = DeviceFrames(images, np)
    grid = cells(images.geometry)
    step, skip = np.zeros((N, 3)), np.zeros(N, bool)
    one, other = (backends.batched_correlation.correlate(few, grid, step, skip, lags=(2,), batches=Batches(np, size))
                  for size in (64, 3))
    np.testing.assert_array_equal(one.rho, other.rho)


def test_a_gpu_is_taken_where_it_works(monkeypatch, scan):
    images = WorkingImages.of(scan, scenes.SECTOR)
    monkeypatch.setattr(device, "arrays", lambda name: np)
    for reason, wanted, name in ((None, "auto", "gpu"), (None, "gpu", "gpu"), (None, "cpu", "cpu"),
                                 ("no driver", "auto", "cpu"), ("no driver", "cpu", "cpu")):
        monkeypatch.setattr(device, "why_not", lambda reason=reason: reason)
        assert backends.backend_of(images, wanted).name == name


# -- the simulator

def press(points):
    """Tissue pushed down under the middle of the face."""
    return points + [[0, 0.4, 0.1]] * np.exp(-np.sum((points - scenes.SECTOR.apex_mm[0]) ** 2, -1, keepdims=True) / 2e3)


def test_simulated_frames(monkeypatch):
    monkeypatch.setattr(image, "arrays", lambda name: np)
    check_frames(1e-4)


def test_simulated_frames_on_a_gpu(cupy):
    """Paths of hundreds of wavelengths in float32, whose multiplications and additions a GPU contracts."""
    check_frames(5e-4)


def check_frames(allowed):
    one = scenes.phantom(half_width_mm=1.0)
    other = image.Renderer(one.medium, one.tissue, one.beam, one.geometry, "gpu")
    T = np.eye(4)
    options = {"gain_db": 2.0, "contact": np.linspace(0.5, 1, 9)}
    expected, found = (renderer(T, 3, press, **options) for renderer in (one, other))
    apart = np.abs(found.astype(int) - expected)
    assert apart.max() <= 3 and (apart > 0).mean() < 0.02 and expected.std() > 20
    field = one.baseband(T, None, warp=press)
    np.testing.assert_allclose(other.baseband(T, None, warp=press), field, atol=allowed * np.abs(field).max())
