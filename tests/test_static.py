"""What never moves is taken out, tissue is not, and confidence rests on speckle that moves."""

import cv2
import numpy as np
import pytest
import scenes
from hypothesis import given, settings
from hypothesis import strategies as st

from speckle_rec import geometry as se3
from speckle_rec.config import Config
from speckle_rec.frames import overlay
from speckle_rec.frames.speckled import FEWEST, NEAR, SAMPLES, measured, shown
from speckle_rec.frames.working_images import WorkingImages
from speckle_rec.io.source import sampled_pairs
from speckle_rec.pairs.block_matching import Matcher, planar_motion
from speckle_rec.pipeline import reconstruct
from speckle_rec.probe import field
from speckle_rec.products.stages import LEAST_SPECKLED
from speckle_rec.scan import Scan

N = 40
STEP_MM = 0.04
SECTOR = scenes.SECTOR
FIELD = SECTOR.mask()
WRITING = cv2.FONT_HERSHEY_SIMPLEX


def fanned(n=N, seed=0):
    """Frames of a probe that is fanned steadily."""
    face = np.array([*SECTOR.face_mm, 0])
    k = np.arange(n)
    T = scenes.trajectory(tilt_rad=0.0025 * k, x_mm=STEP_MM * k)
    return np.stack([scenes.phantom()(se3.translation(face) @ t @ se3.translation(-face), seed + k)
                     for k, t in enumerate(T)])


@pytest.fixture(scope="module")
def moved():
    return fanned()


@pytest.fixture(scope="module")
def rested():
    return np.stack([scenes.frame(seed=k) for k in range(N)])


def text(frame, k=0):
    for line in range(6):
        cv2.putText(frame, "Patient 6.0 MHz", (80, 70 + 22 * line), WRITING, 0.5, 220, 2)


def box(level):
    def draw(frame, k=0):
        frame[100:150, 120:180] = level
    return draw


def lines(frame, k=0):
    frame[::24] = 180
    frame[:, ::24] = 180


def ruler(frame, k=0):
    for row in range(60, 240, 10):
        frame[row:row + 2, 148:158] = 200


def clock(frame, k=0):
    frame[80:112, 100:200] = 0
    cv2.putText(frame, f"12:00:{k:02d}", (105, 105), WRITING, 0.6, 255, 1)


def drawn(frames, draw):
    out = frames.copy()
    for k, frame in enumerate(out):
        draw(frame, k)
    return out


def jpeg(frames, quality=75):
    return np.stack([cv2.imdecode(cv2.imencode(".jpg", f, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], 0) for f in frames])


def scan_of(frames):
    return Scan.from_arrays(frames, scale=scenes.SCALE)


def still(frames):
    return overlay.still(*overlay.samples(scan_of(frames)), SECTOR)


def alive(frames, geometry=SECTOR):
    images = WorkingImages.of(scan_of(frames), geometry)
    return shown(*near(images.scan), images, field.cells(images.geometry)).moving


def near(scan):
    return sampled_pairs(scan.source, SAMPLES, NEAR)


# -- what is masked

@pytest.mark.parametrize("draw", [text, box(0), box(255), lines, ruler],
                         ids=["text", "black", "white", "lines", "ruler"])
@pytest.mark.parametrize("through", [lambda f: f, lambda f: jpeg(f, 90)], ids=["as it is", "jpeg"])
def test_what_is_drawn_over_moving_tissue_is_found(moved, draw, through):
    blank = np.zeros_like(moved[:1])
    drawn_px = (drawn(blank, draw)[0] != drawn(blank + 1, draw)[0] - 1) & FIELD
    mask = still(through(drawn(moved, draw)))
    assert (mask & drawn_px).sum() >= 0.75 * drawn_px.sum()
    about = cv2.dilate(drawn_px.astype(np.uint8), np.ones((9, 9))) > 0
    assert (mask & ~about).sum() < 2e-3 * FIELD.sum()


def test_tissue_that_moves_is_not_masked(moved):
    assert still(moved).sum() < 1e-3 * FIELD.sum()
    assert still(jpeg(moved)).sum() < 1e-3 * FIELD.sum()


def test_a_probe_at_rest_is_no_overlay(rested):
    assert not still(rested).any()
    assert not still(drawn(rested, text)).any()


def test_a_frozen_picture_and_a_screen_of_text_are_no_overlay(moved):
    assert not still(drawn(np.repeat(moved[:1], N, 0), clock)).any()
    assert not still(drawn(np.zeros_like(moved), text)).any()


def test_saturated_and_dark_tissue_is_no_overlay(moved):
    """A glaring near field and a shadow, both of which fade into what is about them."""
    row = np.arange(moved.shape[1])[:, None]
    gain = np.clip((140 - row) * 2.5, 0, 300) - np.clip((row - 150) * 2.5, 0, 300)
    frames = np.clip(moved + gain, 0, 255).astype(np.uint8)
    assert (frames[:, FIELD].min(0) == 255).mean() > 0.05 and (frames[:, FIELD].max(0) == 0).mean() > 0.05
    assert still(frames).sum() < 1e-3 * FIELD.sum()


def test_too_few_frames_tell_nothing(moved):
    few = drawn(moved[:overlay.FEWEST - 2], text)
    assert not still(few).any()
    assert not still(few[:1]).any() and not still(few[:2]).any()


@settings(max_examples=15, deadline=None)
@given(st.integers(110, 190), st.integers(80, 170), st.integers(6, 40), st.integers(6, 40), st.integers(0, 2**31))
def test_boxes_anywhere_are_found_and_nothing_else_is(top, left, height, width, seed):
    """Pictures of noise that is smooth and new in time, at any level, with a white box somewhere."""
    rng = np.random.default_rng(seed)
    key = np.stack([cv2.GaussianBlur(rng.normal(0, 60, FIELD.shape), (0, 0), 1.5) for _ in range(22)]) + 90
    between = (key[:-1] + key[1:]) / 2      # neighbours alike, far frames not
    frames = np.stack([key[:-1], between], 1).reshape(-1, *FIELD.shape).clip(0, 250).astype(np.uint8) * FIELD
    frames[:, top:top + height, left:left + width] = 255
    there = np.zeros_like(FIELD)
    there[top:top + height, left:left + width] = True
    mask = still(frames)
    assert (mask & there & FIELD).sum() >= 0.95 * (there & FIELD).sum()
    assert (mask & ~(cv2.dilate(there.astype(np.uint8), np.ones((7, 7))) > 0)).sum() < 2e-3 * FIELD.sum()


# -- what the mask does

def test_the_mask_is_none_of_the_field_and_of_no_cell_and_of_few_blocks(moved):
    mask = still(drawn(moved, box(0)))
    geometry = overlay.without(SECTOR, mask)
    assert not (geometry.mask() & mask).any() and (geometry.field() == FIELD).all()
    grid, before = field.cells(geometry), field.cells(SECTOR)
    assert (grid.labels[mask] == -1).all() and 0.5 * len(before) < len(grid) < len(before)
    assert grid.n_px.sum() == (grid.labels >= 0).sum() and (grid.n_px > 0).all()
    assert len(Matcher(geometry).levels[2].centres) < len(Matcher(SECTOR).levels[2].centres)


def test_a_mask_that_leaves_no_room_is_not_taken_out():
    everything = FIELD.copy()
    assert overlay.without(SECTOR, everything) is SECTOR
    assert overlay.without(SECTOR, ~FIELD & False) is SECTOR


def test_working_images_lose_every_pixel_that_has_a_static_part():
    fine = field.ProbeGeometry("linear", (200, 300), np.diag([0.1, 0.1, 1, 1]), (15, 0), 0.0, (0.0, 20.0), (-14, 14))
    mask = np.zeros(fine.shape, bool)
    mask[51, 77] = True
    images = WorkingImages.of(Scan.from_arrays(np.zeros((2, *fine.shape), np.uint8), scale=fine.scale),
                              overlay.without(fine, mask))
    assert images.factor == 2 and np.argwhere(images.geometry.static).tolist() == [[25, 38]]


def test_a_picture_of_the_probe_shows_what_is_masked(moved, tmp_path):
    frames = drawn(moved, box(255))
    plain, masked = tmp_path / "a.png", tmp_path / "b.png"
    field.plot(SECTOR, frames[0], plain)
    field.plot(overlay.without(SECTOR, still(frames)), frames[0], masked)

    def red(path):
        image = cv2.imread(str(path)).astype(int)
        return ((image[..., 2] - image[..., 1] > 60) & (image[..., 2] - image[..., 0] > 60)).mean()
    assert red(masked) > red(plain) + 0.01


# -- what is believed

def test_tissue_shows_moving_speckle(moved):
    assert alive(moved).mean() > 0.9
    assert alive(moved[:12]).mean() > 0.8


@pytest.mark.parametrize("make", [
    lambda f: np.repeat(f[:1], N, 0),
    lambda f: drawn(np.repeat(f[:1], N, 0), clock),
    lambda f: jpeg(drawn(np.repeat(f[:1], N, 0), clock)),
    lambda f: drawn(np.zeros_like(f), text),
    lambda f: drawn(np.zeros_like(f), lambda frame, k: (text(frame), clock(frame, k))),
    lambda f: drawn(np.zeros_like(f), lambda frame, k: [cv2.circle(frame, (x + k // 2, y), 3, 250, -1)
                                                        for x in (100, 150, 200) for y in (80, 130, 180)]),
    lambda f: np.random.default_rng(0).integers(0, 3, f.shape, dtype=np.uint8),
], ids=["frozen", "frozen, clock", "frozen, clock, jpeg", "text", "text, clock", "wires in water", "dark noise"])
def test_pictures_without_moving_speckle_are_told(moved, make):
    assert alive(make(moved)).mean() < LEAST_SPECKLED - 0.05


def test_static_haze_is_none_where_tissue_moves(moved, rested):
    """The lower half stands still, noise and all, while the upper one moves."""
    both = moved.copy()
    both[:, 150:] = rested[:, 150:]
    images = WorkingImages.of(scan_of(both), SECTOR)
    grid = field.cells(images.geometry)
    deep = np.array([np.nonzero(grid.labels == c)[0].min() > 152 for c in range(len(grid))])
    seen = shown(*near(images.scan), images, grid)
    assert seen.moving[deep].mean() < 0.1 and seen.standing[deep].mean() > 0.9
    assert seen.moving[~deep].mean() > 0.7 and seen.standing[~deep].mean() < 0.2


def test_haze_that_stands_still_is_not_taken_for_a_probe_at_rest():
    """Two thirds of the field stand still, from a depth of which tissue shows; the rest tells the motion."""
    frames = fanned(FEWEST)
    frames[:, 120:] = np.stack([scenes.frame(seed=k) for k in range(FEWEST)])[:, 120:]
    scan = scan_of(frames)
    whole = WorkingImages.of(scan, SECTOR)
    what = measured(whole)
    assert what.standing_share > 0.5 and what.moving.mean() > 0.7
    clear, all_of_it = (planar_motion(images, lags=(1, 4), jobs=1)[0] for images in (what.images, whole))
    lateral = [float(np.mean(np.abs(found.twist[found.j - found.i == 4, 0]))) for found in (clear, all_of_it)]
    assert lateral[0] == pytest.approx(4 * STEP_MM, rel=0.15)
    assert lateral[1] < 2 * STEP_MM


@pytest.mark.parametrize("share", [0.0, 0.3, 0.55])
def test_noise_behind_a_filter_does_not_make_a_probe_at_rest_haze(rested, share):
    """Noise goes, but no tissue does."""
    both, kept = rested.copy(), 120.0
    rng = np.random.default_rng(0)
    for frame in both:
        kept = share * kept + (1 - share) * rng.normal(120, 60, frame.shape)
        frame[150:] = (np.clip(kept, 0, 255) * FIELD)[150:]
    images = WorkingImages.of(scan_of(both), SECTOR)
    assert not shown(*near(images.scan), images, field.cells(images.geometry)).standing.any()


def test_of_a_short_scan_nothing_is_taken_for_haze(moved, rested):
    both = moved.copy()
    both[:, 150:] = rested[:, 150:]
    assert len(both) < FEWEST
    images = WorkingImages.of(scan_of(both), SECTOR)
    assert measured(images).images is images


# -- reconstructions

def path_of(result):
    return result.numbers["elevational_path_mm"]


def test_tissue_under_a_large_overlay_is_measured_as_without(moved):
    config = Config(jobs=1, fusion="smooth")
    plain, covered = (reconstruct(scan_of(f), calibration=scenes.matched_curves(), config=config)
                      for f in (moved, drawn(drawn(moved, text), box(0))))
    assert covered.numbers["static_share"] > 0.1 and plain.numbers["static_share"] < 1e-3
    assert any("never changes" in line for line in covered.warnings)
    assert not any("never changes" in line for line in plain.warnings)
    assert covered.confidence[1:].mean() > 0.8
    assert path_of(covered) == pytest.approx(path_of(plain), rel=0.1)
    assert np.abs(covered.evidence["in_plane"] - plain.evidence["in_plane"])[:, :2].max() < 0.06
    assert covered.geometry.static is not None


@pytest.mark.parametrize("make", [lambda f: drawn(np.repeat(f[:1], N, 0), clock),
                                  lambda f: drawn(np.zeros_like(f), lambda frame, k: (text(frame), clock(frame, k)))],
                         ids=["frozen with a clock", "text with a clock"])
def test_nothing_is_claimed_of_pictures_without_tissue(moved, make):
    result = reconstruct(scan_of(make(moved)), config=Config(jobs=1))
    assert result.confidence.max() < 0.2 and result.verdict["shape"] == "not measurable"
    assert any("nothing can be measured" in line for line in result.warnings)


@pytest.mark.parametrize("share", [0.0, 0.5])
@pytest.mark.parametrize("rests", [True, False], ids=["below a probe at rest", "everywhere"])
def test_noise_behind_a_filter_is_not_taken_for_motion(rested, share, rests):
    rng, kept, frames = np.random.default_rng(2), 120.0, rested.copy()
    frames[:] = frames[0]
    for frame in frames:
        kept = share * kept + (1 - share) * rng.normal(120, 60, frame.shape)
        noise = (np.clip(kept, 0, 255) * FIELD).astype(np.uint8)
        frame[150 * rests:] = noise[150 * rests:]
    result = reconstruct(scan_of(frames), config=Config(jobs=1))
    assert result.confidence.max() < 0.2 and result.verdict["shape"] == "not measurable"
    assert path_of(result) < 1
    assert any("nothing can be measured" in line for line in result.warnings)
    assert not any("missing between" in line for line in result.warnings)


@pytest.mark.parametrize("name", ["USTC_3NWires_ProbeTranslation", "USTC_FrameGrabber_ProbeRotationData",
                                  "SegmentationTest_VLCUS_RandomStepperMotionData2"])
def test_water_tanks_cannot_be_measured(shared_data, name):
    path = shared_data / "plus" / f"{name}.igs.mha"
    if not path.is_file():
        pytest.skip(f"no example scan at {path}")
    whole = Scan.open(path)
    scan = Scan.from_arrays(whole.frames(0, 120)[::3], scale=np.diag([0.1, 0.1, 1, 1]), name=name)
    result = reconstruct(scan, config=Config(jobs=1))
    assert result.confidence[1:].mean() < 0.2 and result.verdict["shape"] == "not measurable"


def test_a_real_limb_keeps_its_signal(shared_data):
    path = shared_data / "plus" / "BoneUltrasound_L14.igs.mha"
    if not path.is_file():
        pytest.skip(f"no example scan at {path}")
    result = reconstruct(Scan.open(path), config=Config(jobs=1))
    assert result.evidence["signal"][1:].mean() > 0.9 and result.confidence[1:].mean() > 0.3
    assert result.numbers["static_share"] < 0.01
