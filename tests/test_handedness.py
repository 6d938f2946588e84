"""Which of two mirror images a scan is, by what its operator knows: known motions, both truths, every option."""

import dataclasses
import json
import xml.etree.ElementTree as ET
from functools import cache

import numpy as np
import pytest
import scenes
from scenes import trajectory
from small_scans import speckle, write_scan

import speckle_rec as sr
from speckle_rec import geometry as se3
from speckle_rec.cli import main, mirrors
from speckle_rec.config import Config, load
from speckle_rec.errors import InputError
from speckle_rec.io import tusrec
from speckle_rec.products.motion_priors import MirrorPrior
from speckle_rec.report import readings
from speckle_rec.speckle.calibration import Uncalibrated
from speckle_rec.trajectory.hand import SWEPT_MM
from speckle_rec.trajectory.handedness import Voice, decided
from speckle_rec.trajectory.motion_kind import (
    FAN,
    SWEEP,
    SWEPT_AS_TOLD,
    SWEPT_AS_TRAINED,
    before_measuring,
    by_trajectories,
)

RIGHT, DOWN = np.eye(3)[:2]
AWAY = np.cross(RIGHT, DOWN)        # for who sees the picture as the screen shows it: right x down is forward
T60 = np.linspace(0, 1, 60)
PRIOR = MirrorPrior()
OPPOSITE = {"away": "towards", "towards": "away", "clockwise": "anticlockwise", "anticlockwise": "clockwise"}

# Motions, each with all that can be told of it, in the operator's terms: where a point of the probe goes.
SWEPT = trajectory(shift_mm=20 * T60)                       # the face goes away
TURNED = trajectory(yaw_rad=0.9 * T60)                      # what was at the right comes towards the operator
TILTED = trajectory(tilt_rad=0.3 * np.sin(5 * T60))         # the far end goes away first, then comes back and on
MOTIONS = {"swept": (SWEPT, False, "away"), "turned": (TURNED, True, "clockwise"),
           "tilted_first": (TILTED, True, "away")}


def told_right(name, T, word):
    """Whether a trajectory is what a word says, by where points go: no angles, no signs of the code that is tested."""
    if name == "swept":
        moved = (T[-1, :3, 3] - T[0, :3, 3]) @ AWAY
    elif name == "turned":         # seen from the hand, away on top: clockwise, what is at the right goes down
        moved = -(T[-1, :3, :3] @ RIGHT) @ AWAY
    else:
        moved = (T[15, :3, :3] @ DOWN) @ AWAY
    return (moved > 0) == (word in ("away", "clockwise"))


def test_the_motions_are_what_their_words_say():
    for name, (T, _, word) in MOTIONS.items():
        assert told_right(name, T, word) and not told_right(name, se3.mirror(T), word)


@pytest.mark.parametrize("other_truth", [False, True])
@pytest.mark.parametrize("estimated_mirrored", [False, True])
@pytest.mark.parametrize("name", MOTIONS)
def test_each_option_decides_whatever_the_truth_and_the_estimate(name, estimated_mirrored, other_truth):
    T, pivot, word = MOTIONS[name]
    if other_truth:
        T, word = se3.mirror(T), OPPOSITE[word]
    found = decided(se3.mirror(T) if estimated_mirrored else T, pivot, Config(**{name: word}), PRIOR)
    np.testing.assert_allclose(found.T, T, atol=1e-12)
    assert told_right(name, found.T, word)
    assert found.known and not found.warnings and f"{word} says" in found.why
    assert word in found.reading and OPPOSITE[word] in found.other_reading


@pytest.mark.parametrize("name", MOTIONS)
def test_an_option_that_cannot_decide_says_so_and_leaves_the_image_assumed(name):
    for T, pivot, word in (MOTIONS[other] for other in MOTIONS if other != name):
        word = "away" if name != "turned" else "clockwise"
        found = decided(T, pivot, Config(**{name: word}), PRIOR)
        assert not found.known and len(found.warnings) == 1
        assert f"--{name.replace('_', '-')} {word} decides nothing" in found.warnings[0]
        assert "at most" in found.warnings[0]
        np.testing.assert_array_equal(found.T, decided(T, pivot, Config(), PRIOR).T)


def both():
    """A fan that goes away first, then a clockwise turn."""
    still = np.zeros(60)
    return trajectory(tilt_rad=np.concatenate([0.3 * np.sin(6 * T60), still]),
                      yaw_rad=np.concatenate([still, 0.9 * T60]))


@pytest.mark.parametrize("estimated_mirrored", [False, True])
def test_two_that_agree_decide_and_two_that_do_not_are_refused_by_name(estimated_mirrored):
    T = both()
    estimate = se3.mirror(T) if estimated_mirrored else T
    np.testing.assert_allclose(decided(estimate, True, Config(turned="clockwise", tilted_first="away"), PRIOR).T, T)
    with pytest.raises(InputError) as caught:
        decided(estimate, True, Config(turned="clockwise", tilted_first="towards"), PRIOR)
    text = str(caught.value)
    assert "--turned clockwise" in text and "--tilted-first towards" in text and "\n" not in text
    with pytest.raises(InputError, match="the sensor"):
        decided(estimate, True, Config(turned="clockwise"), PRIOR, Voice("the sensor", not estimated_mirrored))


def test_mirrored_counts_as_one_who_knows():
    T = decided(both(), True, Config(), PRIOR).T           # the usual one: anticlockwise
    assert decided(T, True, Config(mirrored=True, turned="clockwise"), PRIOR).known
    with pytest.raises(InputError, match="--mirrored"):
        decided(T, True, Config(mirrored=True, turned="anticlockwise"), PRIOR)


@pytest.mark.parametrize("name", ["swept", "turned", "tilted_first", "motion"])
def test_settings_are_checked_and_read_from_a_file(tmp_path, name):
    good = {"turned": "clockwise", "motion": "sweep"}.get(name, "away")
    path = tmp_path / "c.toml"
    path.write_text(f'{name} = "{good}"\n')
    assert getattr(load(path), name) == good == load(path).resolved()[name]
    for wrong in ("sideways", 3, True):
        with pytest.raises(InputError, match=name):
            Config(**{name: wrong})
    with pytest.raises(InputError, match=f"did you mean '{good}'"):
        Config(**{name: good[:-1]})
    assert name == "motion" or name not in Config().resolved()


# -- whole scans: frames of known motion, the estimate, the flag

@cache
def frames_of(kind, sign):
    """Frames of a known motion in uniform speckle, its true poses in image mm; `sign` -1: of the mirror image."""
    if kind == "sweep":
        T = trajectory(shift_mm=np.linspace(0, 5, 40), x_mm=0.3 * np.sin(np.arange(40) / 5))
    else:
        t = np.arange(56)
        T = trajectory(tilt_rad=np.interp(t, [0, 16, 36, 55], [0, 0.08, -0.03, -0.03]),
                       yaw_rad=np.interp(t, [0, 30, 55], [0, 0, 0.2]), roll_rad=0.03 * np.sin(t / 8))
    T = T if sign > 0 else se3.mirror(T)
    A = se3.translation(np.array([*scenes.SECTOR.face_mm, 0.0]))
    T = A @ T @ se3.inverse(A)
    renderer = scenes.phantom()
    return np.stack([renderer(X, k) for k, X in enumerate(T)]), T


def reconstructed(kind, sign, **settings):
    frames, T = frames_of(kind, sign)
    scan = sr.Scan.from_arrays(frames, scale=scenes.SCALE)
    return sr.reconstruct(scan, calibration=scenes.matched_curves(), config=Config(jobs=1, fusion="smooth"),
                          **settings), T


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("kind, name, word, settings", [
    ("sweep", "swept", "away", {"motion": "sweep"}), ("sweep", "swept", "away", {}), ("fan", "turned", "clockwise", {}),
    ("fan", "tilted_first", "away", {})])
def test_a_simulated_scan_is_decided_by_what_is_told_of_it(kind, name, word, settings, sign):
    word = word if sign > 0 else OPPOSITE[word]
    result, true = reconstructed(kind, sign, **{name: word}, **settings)
    assert result.verdict["handedness"] == "known" and f"{word} says" in result.verdict["why"]
    at = {"swept": (-1, 2, 3), "turned": (-1, 0, 2), "tilted_first": (16, 2, 1)}[name]
    assert result.T_first_frame[at] * true[at] > 0
    assert not any("images cannot tell" in line for line in result.warnings)
    if name == "swept":
        assert result.numbers["motion"] == SWEEP and "says" in result.numbers["motion_decided"]


def test_what_nobody_told_is_assumed_and_says_what_would_tell():
    result, _ = reconstructed("fan", 1)
    assert result.verdict["handedness"] == "assumed"
    note = next(line for line in result.warnings if "images cannot tell" in line)
    assert all(word in note for word in ("--swept", "--turned", "--tilted-first", result.numbers["reading"]))


def test_keywords_that_are_none_are_refused():
    with pytest.raises(InputError, match="'swept'"):
        reconstructed("fan", 1, swpt="away")


# -- the command line

@pytest.fixture
def fan_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    frames, _ = frames_of("fan", 1)
    tusrec.write_scan(tmp_path / "scan.h5", frames, pixel_mm=(0.23, 0.22))
    (tmp_path / "c.toml").write_text('fusion = "smooth"\n')
    return ["reconstruct", "scan.h5", "-o", "out", "--no-volume", "--no-progress", "-j", "1", "-c", "c.toml"]


def test_flags_that_disagree_write_nothing_and_end_with_two(fan_file, tmp_path, capsys):
    assert main([*fan_file, "--turned", "clockwise", "--tilted-first", "towards"]) == 2
    err = capsys.readouterr().err.strip().splitlines()[-1]
    assert "--turned clockwise" in err and "--tilted-first towards" in err and "Traceback" not in err
    assert not (tmp_path / "out").exists()


@pytest.mark.figures
def test_the_result_tells_and_draws_both_readings_and_is_resumed_by_what_was_told(fan_file, tmp_path, capsys):
    assert main([*fan_file, "--turned", "clockwise"]) == 0
    out = capsys.readouterr().out
    assert "turned clockwise" in out and FAN in out
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["verdict"]["handedness"] == "known" and summary["made_of"]["settings"]["turned"] == "clockwise"
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Which way round" in page and page.count(summary["numbers"]["reading"]) >= 2
    assert summary["numbers"]["other_reading"] in page
    assert main([*fan_file, "--turned", "clockwise"]) == 0
    assert main(fan_file) == 2
    assert "turned clockwise (now not given)" in capsys.readouterr().err
    assert main([*fan_file, "--turned", "clockwise", "--motion", "fan"]) == 2
    assert "motion auto (now fan)" in capsys.readouterr().err


def test_words_that_do_not_exist_end_with_two(fan_file, capsys):
    assert main([*fan_file, "--swept", "forwards"]) == 2
    assert "swept" in capsys.readouterr().err


def test_check_draws_both_readings_in_eighty_columns(tmp_path, capsys):
    write_scan(tmp_path / "a.h5", speckle(12))
    assert main(["check", str(tmp_path / "a.h5")]) == 0
    out = capsys.readouterr().out
    for option in ("--swept", "--turned", "--tilted-first", "--orientation"):
        assert option in out
    assert all(line in out for line in mirrors.lines()) and max(map(len, mirrors.lines())) <= 80


def test_the_drawing_shows_the_way_up_and_its_mirror_image_down():
    svg = readings.svg(SWEPT, np.array([[0.0, 0], [40, 0], [40, 50], [0, 50]]), "swept <away>", "swept towards", True)
    root = ET.fromstring(svg.replace("<svg", '<svg xmlns="x"', 1))
    assert "swept <away>" in [text.text for text in root.iter("{x}text")]
    ends = [[float(p.split(",")[1]) for p in line.get("points").split()][::59]
            for line in root.iter("{x}polyline") if line.get("marker-end")]
    assert ends[0][0] > ends[0][-1] and ends[1][0] < ends[1][-1]      # y of a page counts down


# -- the kind of motion

def test_the_kind_of_motion_is_what_was_told_or_what_speaks_for_it():
    assert before_measuring("sweep", "curvilinear", True).swept and not before_measuring("fan", "linear", False).swept
    assert before_measuring("auto", "linear", False).swept and not before_measuring("auto", "linear", True).swept
    assert not before_measuring("auto", "curvilinear", False).swept
    short, far, still = (trajectory(shift_mm=mm * T60) for mm in (0.3 * SWEPT_MM, 3 * SWEPT_MM, 1.0))
    fan = trajectory(tilt_rad=0.3 * np.sin(T60 * 6))
    assert by_trajectories((far, 1.0), (fan, 1.0)).swept
    assert not by_trajectories((short, 1.0), (fan, 1.0)).swept
    assert by_trajectories((short, 1.0), (fan, 1.0), SWEPT_AS_TOLD).swept
    assert not by_trajectories((both(), 1.0), (both(), 1.0), SWEPT_AS_TOLD).swept  # it turns, whoever says so
    assert by_trajectories((both(), 1.0), (both(), 1.0), SWEPT_AS_TRAINED).swept        # which limbs do
    assert not by_trajectories((still, 1.0), (fan, 1.0)).warnings


def test_small_odds_are_told():
    near = trajectory(shift_mm=0.8 * SWEPT_MM * T60)
    told = by_trajectories((near, 10.0), (TILTED, 12.0))
    assert len(told.warnings) == 1 and "odds are small" in told.warnings[0] and "--motion sweep" in told.warnings[0]
    assert {"motion", "motion_decided", "motion_carried_mm", "motion_cost_fan"} <= set(told.numbers)


def test_a_probe_that_would_have_lain_down_was_carried_along():
    lying, carried = trajectory(tilt_rad=1.5 * T60), trajectory(shift_mm=0.8 * SWEPT_MM * T60)
    told = by_trajectories((carried, 10.0), (lying, 12.0))
    assert told.swept and "leaned by 86 deg" in told.decided


@pytest.mark.parametrize("motion, told", [("fan", FAN), ("sweep", SWEEP)])
def test_the_kind_of_motion_can_be_forced(motion, told):
    result, _ = reconstructed("sweep", 1, motion=motion)
    assert result.numbers["motion"] == told and f"--motion {motion}" in result.numbers["motion_decided"]


@pytest.mark.parametrize("carried, kind, decided", [(0.6, SWEEP, SWEPT_AS_TRAINED), (0.1, FAN, "below")])
def test_a_calibration_says_whether_scans_of_its_machine_are_swept(carried, kind, decided):
    """In five millimetres a convex probe is hardly carried anywhere: nothing else tells a sweep."""
    frames, _ = frames_of("sweep", 1)
    made = dataclasses.replace(Uncalibrated.of(scenes.matched_curves()), priors={"carried": {"mean": carried}})
    result = sr.reconstruct(sr.Scan.from_arrays(frames, scale=scenes.SCALE), calibration=made,
                            config=Config(jobs=1, fusion="smooth"))
    assert result.numbers["motion"] == kind and decided in result.numbers["motion_decided"]


def test_a_config_with_flags_can_be_copied():
    assert dataclasses.replace(Config(swept="away"), motion="sweep").swept == "away"
