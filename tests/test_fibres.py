"""Fibres: bands told from spots whatever the pixels, and the turn that leads across them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scenes import SECTOR
from scipy.ndimage import gaussian_filter
from scipy.spatial.transform import Rotation

from speckle_rec.frames.texture import windows
from speckle_rec.frames.working_images import WorkingImages
from speckle_rec.probe.field import cells
from speckle_rec.scan import Scan
from speckle_rec.speckle import fibres
from speckle_rec.speckle.calibration import SIGNS, with_across

N = 64


def images_of(long_mm: float, deep_mm: float, seed: int = 0, gain: float = 1.0) -> WorkingImages:
    """Pictures of structures of a width along the image and in depth, under speckle that changes with the frame."""
    rng = np.random.default_rng(seed)
    px = np.diag(SECTOR.scale)[:2]
    structure = gaussian_filter(rng.normal(size=SECTOR.shape), (deep_mm / px[1], long_mm / px[0]))
    frames = []
    for _ in range(N):
        speckle = gaussian_filter(rng.normal(size=SECTOR.shape), 0.8)
        frame = 100 + gain * (25 * structure / structure.std() + 15 * speckle / speckle.std())
        frames.append((np.clip(frame, 1, 255) * SECTOR.mask()).astype(np.uint8))
    scan = Scan.from_arrays(np.array(frames), scale=SECTOR.scale)
    return WorkingImages(scan, SECTOR, 1)


def turning(degrees: np.ndarray) -> np.ndarray:
    T = np.tile(np.eye(4), (len(degrees), 1, 1))
    T[:, :3, :3] = Rotation.from_rotvec(np.radians(degrees)[:, None] * [0, 1, 0]).as_matrix()
    return T


@pytest.mark.parametrize("gain", [0.5, 1.0])
def test_bands_along_the_image_are_told_from_spots_and_from_columns(gain):
    grid = cells(SECTOR)
    bands, spots, columns = (np.median(fibres.elongation(images_of(*size, gain=gain), grid))
                             for size in ((3.0, 0.7), (0.8, 0.8), (0.7, 3.0)))
    assert bands > 0.4 and abs(spots) < 0.15 and columns < -0.4


def test_dark_images_show_no_fibres():
    images = images_of(1.0, 1.0)
    dark = WorkingImages(Scan.from_arrays(np.zeros((20, *SECTOR.shape), np.uint8), scale=SECTOR.scale), SECTOR, 1)
    found = fibres.elongation(dark, cells(SECTOR))
    assert found.shape == windows(20)[0].shape and np.isfinite(found).all()
    assert fibres.elongation(images, cells(SECTOR)).shape == windows(N)[0].shape


LONG_SCAN = 480
EARLY = np.clip((np.arange(LONG_SCAN) - 160) / 160, 0, 1)       # turned in the middle third


def shown(bands: np.ndarray) -> np.ndarray:
    """Elongation [W] of a scan whose frames show bands (1) or spots (0)."""
    return fibres.LONG * bands[np.minimum(windows(LONG_SCAN)[0], LONG_SCAN - 1)]


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("first", ["spots", "bands"])
def test_a_turn_leads_from_one_to_the_other_and_what_is_oblique_goes_by_its_angle(sign, first):
    """Bands show late in the turn; the motion is by its angle to the fibres, whichever way the probe is turned."""
    late = (EARLY > 0.8).astype(float) if first == "spots" else (EARLY < 0.2).astype(float)
    found = fibres.across(shown(late), LONG_SCAN, turning(sign * 90 * EARLY))
    middle = windows(LONG_SCAN)[0]
    expected = -np.cos(2 * np.pi / 2 * EARLY[middle]) * (1 if first == "spots" else -1)
    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_without_a_turn_the_images_tell():
    for bands, expected in ((0.0, -1), (1.0, 1)):
        longer = shown(np.full(LONG_SCAN, bands))
        for T in (None, turning(np.linspace(0, 8, LONG_SCAN)), np.full((LONG_SCAN, 4, 4), np.nan)):
            np.testing.assert_allclose(fibres.across(longer, LONG_SCAN, T), np.full(len(longer), expected), atol=0.05)


@pytest.mark.parametrize("bands, expected", [(0.0, -1), (1.0, 1), (0.5, 0)])
def test_a_short_turn_goes_on_from_what_was_seen_at_first(bands, expected):
    """A turn by half a right angle ends where the motion is as much along as across, and the images do not show it."""
    found = fibres.across(shown(np.full(LONG_SCAN, bands)), LONG_SCAN, turning(-45 * EARLY))
    assert found[0] == pytest.approx(expected) and found[-1] == pytest.approx(0, abs=1e-9)


def test_tissue_that_looks_alike_from_both_sides_has_no_fibres():
    assert (fibres.across(shown(np.full(LONG_SCAN, 0.1)), LONG_SCAN, turning(90 * EARLY)) == 0).all()


def test_untracked_frames_are_bridged():
    T = turning(90 * EARLY)
    gaps = T.copy()
    gaps[200:210] = np.nan
    longer = shown((EARLY > 0.8).astype(float))
    np.testing.assert_allclose(fibres.across(longer, LONG_SCAN, gaps), fibres.across(longer, LONG_SCAN, T), atol=0.02)


@given(st.floats(-1e3, 1e3), st.integers(1, 200), st.floats(-180, 180))
def test_across_is_bounded_whatever_is_shown(value, n, degrees):
    longer = np.full(len(windows(n)[0]), value)
    for T in (None, turning(np.linspace(0, degrees, n))):
        found = fibres.across(longer, n, T)
        assert found.shape == longer.shape and np.abs(found).max() <= 1


def test_only_that_sign_changes():
    signs = np.random.default_rng(0).normal(size=(3, 5, len(SIGNS)))
    other = with_across(signs, np.array([-1.0, 0.0, 1.0]))
    at = SIGNS.index("across")
    np.testing.assert_array_equal(np.delete(other, at, -1), np.delete(signs, at, -1))
    np.testing.assert_array_equal(other[..., at], np.repeat([[-1.0], [0.0], [1.0]], 5, 1))
    assert not np.shares_memory(other, signs)
