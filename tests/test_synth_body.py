"""The body moves under the probe by what its numbers say, and hands slide and go back."""

import dataclasses

import numpy as np
import pytest

from speckle_rec import geometry as se3
from speckle_rec.io.calib import built_in
from speckle_rec.probe.field import ultrasonix_4dc7
from speckle_rec.synth import ScanSettings, simulate_scan
from speckle_rec.synth.anatomy import Forearm, Phantom
from speckle_rec.synth.body import Movement, lagging, reach_mm
from speckle_rec.synth.settings import Body
from speckle_rec.synth.trajectory import SWEEPING_HAND, Hand, SweepProtocol, rotation, sweep

GEOMETRY = ultrasonix_4dc7(built_in().scale)
FACE = GEOMETRY.face_mm
STILL = Hand(drift_mm=((0, 0),) * 3, wobble_deg=0, tremor_mm=0, tremor_deg=0)
RESTING = np.broadcast_to(se3.translation(-np.array([*FACE, 0.0])), (80, 4, 4))


def moves(body: Body, T=RESTING, tissue=None, pushed=0.0) -> Movement:
    return Movement(body, T, GEOMETRY, np.full(len(T), pushed), tissue or Phantom(), np.random.default_rng(1))


def face_of(T):
    return (T @ np.array([*FACE, 0, 1]))[:, :3]


def test_a_body_at_rest_has_no_warp():
    assert moves(Body()).warp(3) is None and not Body().moves and reach_mm(Body(), 0.0) == 0


def test_tissue_goes_along_with_its_share_of_the_probe_and_comes_back():
    T = RESTING.copy()
    T[10:] = se3.translation(np.array([0, 0, 0.8])) @ T[10:]      # one step across
    body = moves(Body(follow=0.5, follow_frames=20.0), T)
    under = face_of(T)[10:11]
    deep = under + [0, 30.0, 0]
    went = [(body.warp(i)(p) - p)[0, 2] for i, p in ((10, under), (10, deep), (30, under), (79, under))]
    assert went[0] == pytest.approx(0.5 * 0.8 * 0.95, rel=0.05)
    assert went[1] / went[0] == pytest.approx(np.exp(-1), rel=0.05)
    assert went[2] / went[0] == pytest.approx(0.95**20, rel=0.05) and abs(went[3]) < 0.02
    assert body.warp(5)(under) == pytest.approx(under)


def test_tissue_follows_the_fan_and_never_farther_than_the_scatterers_that_were_drawn():
    fan = np.deg2rad(np.linspace(0, 25, 50))
    twist = np.zeros((50, 6))
    twist[:, 3] = fan
    T = se3.exp(twist) @ RESTING[:50]
    settings = Body(follow=0.8, follow_frames=200.0)
    p = np.stack([np.zeros(30), np.linspace(1, 80, 30), np.zeros(30)], 1)
    move = moves(settings, T).warp(49)(p) - p
    assert np.abs(move[:, 2]).max() > 1.0 and np.linalg.norm(move, axis=1).max() <= reach_mm(settings, 0.0)
    np.testing.assert_allclose(np.sign(move[2:, 2]), np.sign(np.sin(fan[-1])))


def test_lagging_poses_are_rigid_and_stay_behind():
    T = rotation(120, 3, FACE).T_world_image
    behind = lagging(T, 15.0)
    se3.check_rigid(behind, "lagging")
    np.testing.assert_allclose(behind[0], T[0])


def test_a_twitch_lasts_as_long_and_goes_as_far_as_it_says():
    T = np.broadcast_to(RESTING[0], (400, 4, 4))
    settings = Body(twitches=1, twitch_mm=1.0, twitch_frames=40.0)
    body = moves(settings, T)
    side = np.arange(-30, 31, 3.0)
    grid = np.stack(np.meshgrid(side, np.arange(5, 50, 3.0), side), -1).reshape(-1, 3)
    size = np.array([np.linalg.norm(body.warp(i)(grid) - grid, axis=1).max() for i in range(0, 400, 2)])
    assert 0.5 < size.max() < 1.5 <= reach_mm(settings, 0.0)
    assert 25 < 2 * np.sum(size > 1e-6) < 55


def test_the_artery_beats_at_its_pace_and_by_its_size():
    arm = Forearm(4, "LH")
    body = moves(Body(pulse_mm=0.2, pulse_frames=16.0), np.broadcast_to(RESTING[0], (320, 4, 4)), arm)
    y, z, _ = arm.artery(np.zeros(1))
    beside = np.array([[0.0, y[0] + 4.0, z[0]]])
    move = np.array([(body.warp(i)(beside) - beside)[0] for i in range(320)])
    assert move[:, 1].max() == pytest.approx(0.2, rel=0.1) and np.abs(move[:, ::2]).max() < 1e-6
    beats = np.sum((move[1:, 1] > 0.1) & (move[:-1, 1] <= 0.1))
    assert beats == pytest.approx(20, abs=1)


def test_compression_is_one_of_the_parts():
    body = moves(Body(pulse_mm=0.1), pushed=2.0)
    under = face_of(RESTING)[:1]
    assert (body.warp(3)(under) - under)[0, 1] == pytest.approx(2.0, abs=0.15)


def test_a_body_that_moves_changes_the_frames_of_a_probe_at_rest_only_where_it_is_asked_to():
    small = {"n_frames": 12, "density_per_mm3": 1.0, "tissue": "phantom", "seed": 2, "hand": STILL}
    plain = simulate_scan(threads=1, **small)
    beating = simulate_scan(threads=2, body=Body(pulse_mm=0.3), **small)
    np.testing.assert_array_equal(plain.tforms, beating.tforms)
    assert (plain.frames != beating.frames).any()
    with_none = simulate_scan(threads=1, body=Body(twitch_frames=10.0), **small)
    np.testing.assert_array_equal(plain.frames, with_none.frames)


# Hands

@pytest.mark.parametrize("slides", [1, 3])
def test_slides_move_the_contact_over_the_skin_and_stay(slides):
    hand = dataclasses.replace(STILL, slides=slides, slide_mm=(4.0, 4.0), slide_frames=10.0)
    for seed in range(5):
        contact = face_of(rotation(600, seed, FACE, hand=hand).T_world_image)
        speed = np.linalg.norm(np.diff(contact, axis=0), axis=1)
        assert speed.sum() <= 4.0 * slides + 1e-6 and speed.sum() > 2.0
        assert 0.5 < speed.max() < 1.3 * slides
        assert np.abs(contact[:, 1]).max() < 1e-9          # along the skin
    once = face_of(rotation(600, 0, FACE, hand=dataclasses.replace(hand, slides=1)).T_world_image)
    assert np.linalg.norm(once[-1] - once[0]) == pytest.approx(4.0)


@pytest.mark.parametrize("step_mm", [0.1, 0.6, 1.5])
def test_a_sweep_has_the_speed_that_was_asked_for(step_mm):
    T = sweep("RH_Per_L_PtD", 60, 3, FACE, protocol=SweepProtocol(step_mm=step_mm)).T_world_image
    x = face_of(T)[:, 0]
    assert (x[-1] - x[0]) / 60 == pytest.approx(step_mm, rel=0.2)


@pytest.mark.parametrize("name", ["RH_Per_L_PtD", "LH_Par_S_DtP"])
def test_a_sweep_with_revisits_goes_back_part_of_the_way(name):
    hand = dataclasses.replace(SWEEPING_HAND, drift_mm=((0, 0),) * 3, tremor_mm=0.0)
    for seed in range(6):
        protocol = SweepProtocol(revisits=2, revisit_share=(0.3, 0.4))
        x = face_of(sweep(name, 300, seed, FACE, hand=hand, protocol=protocol).T_world_image)[:, 0]
        x = x if name.endswith("PtD") else -x
        x = (x - x[0]) / (x[-1] - x[0])
        turned = np.flatnonzero(np.diff(np.sign(np.diff(x))))
        assert len(turned) == 4 and x.max() == pytest.approx(1.0, abs=0.02)
        back = [1 - x[turned[k + 1] + 1] / x[turned[k] + 1] for k in (0, 2)]
        assert all(0.15 < b < 0.42 for b in back)  # rounded


def test_revisits_cost_no_speed_where_the_arm_is_long_enough():
    for revisits in (0, 2):
        T = sweep("RH_Per_L_PtD", 200, 1, FACE, protocol=SweepProtocol(step_mm=0.4, revisits=revisits)).T_world_image
        assert np.mean(np.linalg.norm(np.diff(face_of(T), axis=0), axis=1)) == pytest.approx(0.4, rel=0.15)


def test_settings_of_the_body_and_the_sweep_reach_the_scan():
    from speckle_rec.synth.scan import plan
    usual, swept = (plan(ScanSettings(name="RH_Per_L_PtD", n_frames=60, sweep=s)).T_world_image
                    for s in (SweepProtocol(), SweepProtocol(step_mm=1.2)))
    assert np.ptp(swept[:, 0, 3]) > 2 * np.ptp(usual[:, 0, 3])
