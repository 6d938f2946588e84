"""Persistence: blended pictures are given back, and the share that was blended is found where there is one."""

import dataclasses
from itertools import pairwise

import cv2
import numpy as np
import pytest
import scenes
from hypothesis import given, settings
from hypothesis import strategies as st

from speckle_rec import pipeline
from speckle_rec.config import Config
from speckle_rec.frames.working_images import WorkingImages
from speckle_rec.io.source import ArrayFrames
from speckle_rec.pairs import frame_averaging
from speckle_rec.pairs.block_matching import PlanarMotion, planar_motion
from speckle_rec.pairs.frame_averaging import Unblended
from speckle_rec.scan import Scan
from speckle_rec.speckle.calibration import Calibration
from speckle_rec.synth.image import Renderer
from speckle_rec.synth.measure import about_face

ROCK_RAD = 0.0105     # a frame: 1.2 mm of the image in four
quick = settings(max_examples=40)


def blended(frames, share):
    """What a scanner shows that keeps `share` of the picture before."""
    shown = [frames[0]]
    for frame in frames[1:]:
        shown.append(cv2.addWeighted(frame, 1 - share, shown[-1], share, 0))
    return np.stack(shown)


@quick
@given(st.floats(0, 0.6), st.integers(0, 2**31))
def test_pictures_are_those_before_blending(share, seed):
    frames = np.random.default_rng(seed).integers(0, 256, (6, 16, 20), dtype=np.uint8)
    found = Unblended(ArrayFrames(blended(frames, share), "test"), share).read(0, 6)
    rounding = (1 + share) / (1 - share) * 0.5 + 0.5
    assert np.abs(found.astype(float) - frames).max() <= rounding + 1e-3


@quick
@given(st.integers(0, 2**31), st.sets(st.integers(1, 11)), st.sets(st.integers(1, 11)))
def test_blocks_do_not_matter_and_a_repeated_picture_stays_repeated(seed, cuts, repeated):
    frames = np.random.default_rng(seed).integers(0, 256, (12, 16, 17), dtype=np.uint8)
    shown = blended(frames, 0.3)
    for k in sorted(repeated):
        shown[k] = shown[k - 1]
    source = Unblended(ArrayFrames(shown, "test"), 0.3)
    whole = source.read(0, 12)
    edges = [0, *sorted(cuts), 12]
    parts = np.concatenate([source.read(a, b) for a, b in pairwise(edges)])
    np.testing.assert_array_equal(parts, whole)
    for k in repeated:
        np.testing.assert_array_equal(whole[k], whole[k - 1])
    assert len(source.read(5, 5)) == 0


@pytest.fixture(scope="module")
def rocked():
    """Frames of a probe that is rocked about its face, with the noise of a usual machine."""
    beam = dataclasses.replace(scenes.SECTOR_BEAM, noise_db=2)
    medium = scenes.phantom()
    render = Renderer(medium.medium, medium.tissue, beam, scenes.SECTOR)
    k = np.arange(64)
    rock = ROCK_RAD * np.where(k < 32, k, 64 - k)      # there and back
    return np.stack([render(about_face(scenes.SECTOR, np.array([0, 0, 0.05 * n, 0, 0, roll])), n)
                     for n, roll in enumerate(rock)])


@pytest.mark.parametrize("share, least, most", [(0.0, 0, 0), (0.3, 0.15, 0.45), (0.5, 0.35, 0.6)])
def test_the_share_is_found(rocked, share, least, most):
    scan = Scan.from_arrays(blended(rocked, share), scale=scenes.SCALE)
    images = WorkingImages(scan, scenes.SECTOR, 1)
    motion, _ = planar_motion(images, jobs=2)
    assert least <= frame_averaging.share(images, motion, 2) <= most


def test_nothing_is_claimed_of_scans_that_do_not_move_in_the_plane():
    frames = np.zeros((40, *scenes.SECTOR.shape), np.uint8)
    images = WorkingImages(Scan.from_arrays(frames, scale=scenes.SCALE), scenes.SECTOR, 1)
    pairs = np.array([(k, k + lag) for lag in (1, 4) for k in range(40 - lag)])
    still = PlanarMotion(pairs[:, 0], pairs[:, 1], np.zeros((len(pairs), 3)), np.tile(np.eye(3), (len(pairs), 1, 1)),
                         np.ones(len(pairs)), np.ones(len(pairs)))
    assert frame_averaging.share(images, still) == 0
    assert frame_averaging.share(images, PlanarMotion(*(v[:0] for v in vars(still).values()))) == 0


@pytest.mark.parametrize("agree, blended", [(0.1, False), (0.9, True)])
def test_matches_over_lost_speckle_are_not_taken_for_persistence(agree, blended):
    """Half of the stretches see half of the motion: of no account where hardly a block agrees on it."""
    images = WorkingImages(Scan.from_arrays(np.zeros((120, *scenes.SECTOR.shape), np.uint8), scale=scenes.SCALE),
                           scenes.SECTOR, 1)
    i, j = np.array([(k, k + lag) for lag in (1, 4) for k in range(120 - lag)]).T
    far, late = j - i == 4, i >= 40
    twist = np.where(far & late, 2.0, 1.0)[:, None] * (j - i)[:, None] * [0.2, 0, 0]
    few = np.where(far & late, agree, 0.9)
    motion = PlanarMotion(i, j, twist, np.tile(np.eye(3), (len(i), 1, 1)), np.ones(len(i)), few)
    assert (frame_averaging.share(images, motion, 1) > 0) == blended


def test_a_reconstruction_measures_pictures_before_blending(rocked, monkeypatch):
    scan = Scan.from_arrays(rocked[:24], scale=scenes.SCALE)
    plain = pipeline.reconstruct(scan)
    monkeypatch.setattr(frame_averaging, "share", lambda *_: 0.3)
    told = pipeline.reconstruct(Scan.from_arrays(blended(rocked[:24], 0.3), scale=scenes.SCALE),
                                config=Config(undo_persistence=True))
    assert told.numbers["persistence"] == 0.3 and any("persistence" in line for line in told.warnings)
    assert plain.numbers["persistence"] == 0 and not any("persistence" in line for line in plain.warnings)
    np.testing.assert_allclose(told.T_first_frame[:, :2, 3], plain.T_first_frame[:, :2, 3], atol=0.15)


def test_cells_are_judged_by_pictures_before_blending(rocked, monkeypatch):
    judge, judged = Calibration.judge, []
    monkeypatch.setattr(frame_averaging, "share", lambda *_: 0.3)
    monkeypatch.setattr(Calibration, "judge", lambda self, speckle, images, *rest: (
        judged.append(images.scan.source), judge(self, speckle, images, *rest))[1])
    for undo in (False, True):
        pipeline.reconstruct(Scan.from_arrays(rocked[:12], scale=scenes.SCALE), config=Config(undo_persistence=undo))
    assert [isinstance(source, Unblended) for source in judged] == [False, True]
