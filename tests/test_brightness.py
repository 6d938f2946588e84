"""Sudden changes of brightness: the gain, a lifted probe; not speckle that changes, nor tissue that moves."""

import numpy as np
import pytest
import scenes

from speckle_rec.frames import brightness
from speckle_rec.frames.working_images import WorkingImages
from speckle_rec.scan import Scan

N = 12


def frames():
    """uint8 [N, rows, columns] of speckle, some of it new in every frame, in a field two fifths of which are dark."""
    lit = scenes.SECTOR.mask()
    lit[:, :120] = False
    rng = np.random.default_rng(0)
    return (rng.integers(30, 160, lit.shape) + rng.integers(-25, 26, (N, *lit.shape))).astype(np.uint8) * lit


def measured(images):
    return brightness.measure(WorkingImages.of(Scan.from_arrays(images, scale=scenes.SCALE), scenes.SECTOR))


@pytest.mark.parametrize("by", [40, -20])
def test_a_turn_of_the_gain_is_told(by):
    images = frames()
    images[7:] = np.where(images[7:] > 0, np.clip(images[7:].astype(int) + by, 0, 255), 0)
    found = measured(images)
    assert np.abs(np.delete(found.change, 7, 0)[:, 1]).max() < 5 and found.change[7, 1] * np.sign(by) > 0.7 * abs(by)
    (text,) = brightness.warnings_of(found)
    assert "1 frame (first: 7" in text


def test_speckle_is_not():
    assert brightness.warnings_of(measured(frames())) == []


def test_a_side_that_lifts_off_is_told():
    images = frames()
    images[6:, :, 190:] //= 8
    (text,) = brightness.warnings_of(measured(images))
    assert "a part of the image" in text and "first: 6)" in text


def test_a_saturated_near_field_is_told():
    images = frames()
    images[:, :110] = np.where(images[:, :110] > 0, 255, 0)
    (text,) = brightness.warnings_of(measured(images))
    assert "saturated" in text


def test_a_shadow_over_most_of_the_field_is_told():
    images = frames()
    images[:, 60:, :220] //= 16
    (text,) = brightness.warnings_of(measured(images))
    assert "dark" in text


def test_black_frames_change_nothing():
    found = measured(np.zeros_like(frames()))
    assert not found.change.any() and not found.saturated.any() and found.dark.all()
