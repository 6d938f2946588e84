"""An inertial sensor on the probe: its file, which mirror image it tells, and the orientations that it gives."""

import json

import numpy as np
import pytest
import scenes
from scenes import trajectory
from scipy.spatial.transform import Rotation
from test_handedness import frames_of

import speckle_rec as sr
from speckle_rec import geometry as se3
from speckle_rec.cli import main
from speckle_rec.config import Config
from speckle_rec.errors import InputError
from speckle_rec.io import tusrec
from speckle_rec.io.orientation import Orientation
from speckle_rec.synth import inertial as sensors
from speckle_rec.synth.inertial import Sensor
from speckle_rec.trajectory import inertial

N, RATE_HZ = 240, 20.0
TIMES = np.arange(N) / RATE_HZ
S = np.linspace(0, 1, N)
# A protocol in short: fan, rock, turn by 50 degrees, fan again.
TRUE = trajectory(tilt_rad=0.25 * np.sin(20 * S) * (np.abs(S - 0.5) > 0.2), roll_rad=0.1 * np.sin(25 * S),
                  yaw_rad=np.interp(S, [0, 0.35, 0.7, 1], [0, 0, 0.9, 0.9]), x_mm=np.sin(7 * S), shift_mm=np.sin(5 * S))
BEAM_LEVEL = np.eye(3)                                          # how the first image stands in a world with z up
BEAM_UP = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])


def estimate(seed=0, share=0.85):
    """An estimate of `TRUE` as speckle makes it: turns and tilts too small, and noise."""
    step = se3.log(se3.steps(TRUE)) * [1, 1, 1, share, share, 1]
    step[1:] += np.random.default_rng(seed).normal(size=(N - 1, 6)) * [.02, .02, .03, 1e-3, 1e-3, 3e-4]
    return se3.chain(se3.exp(step))


def fitted(T, sensor, seed=0, axes=()):
    recording = Orientation.of(sensors.record(TRUE, TIMES, sensor, seed))
    return inertial.fit(T, TIMES, recording, axes)


def worst_deg(R, T):
    return np.degrees(Rotation.from_matrix(np.swapaxes(R, 1, 2) @ T[:, :3, :3]).magnitude().max())


# -- the file

ROWS = np.column_stack([np.arange(12) / 100, np.tile([0.5, 0.5, -0.5, 0.5], (12, 1))])


def lines(separator=",", rows=ROWS, columns=(0, 1, 2, 3, 4)):
    return [separator.join(f"{row[c]:.6g}" for c in columns) for row in rows]


@pytest.mark.parametrize("text", [
    ["time_s,qw,qx,qy,qz", *lines()], lines(), lines(" "), ["# BNO055, port 2", "", "t;w;x;y;z", *lines(";")],
    ["\ufeffTimestamp (s),Quat W,Quat X,Quat Y,Quat Z", *lines()],
    ["qx\tqy\tqz\tqw\ttime", *lines("\t", columns=(2, 3, 4, 1, 0))],
    ["time_ms,qw,qx,qy,qz,temp", *(line + ",21" for line in lines(rows=ROWS * [1000, 1, 1, 1, 1]))],
    ["time_s,x,y,z,q0,q1,q2,q3", *lines(columns=(0, 0, 0, 0, 1, 2, 3, 4))],
    lines(rows=ROWS * [1, 16384, 16384, 16384, 16384]),
    [*lines()[:5], "0.045,0,0,0,0", "0.046,nan,0,0,0", *lines()[5:]][:13] + lines()[11:],
    [*lines()[:5], lines()[4], *lines()[5:]]])
def test_tables_of_many_kinds_are_read(tmp_path, text):
    path = tmp_path / "imu.csv"
    path.write_text("\n".join(text) + "\n", encoding="utf-8")
    if any("nan" in line for line in text):
        with pytest.raises(InputError, match="2 of"):       # more than a tenth of so few rows
            Orientation.of(path)
        return
    found = Orientation.of(path)
    np.testing.assert_allclose(found.times_s, ROWS[:, 0], atol=1e-9)
    np.testing.assert_allclose(found.quaternions, ROWS[:, 1:], atol=1e-6)


def test_what_a_simulated_sensor_writes_is_read_back(tmp_path):
    table = sensors.record(TRUE, TIMES, Sensor(), 1)
    sensors.write(tmp_path / "imu.csv", table)
    found = Orientation.of(tmp_path / "imu.csv")
    np.testing.assert_allclose(found.times_s, table[:, 0], atol=1e-6)
    np.testing.assert_allclose(found.quaternions, table[:, 1:], atol=1e-5)


def test_a_few_glitches_are_left_out():
    table = sensors.record(TRUE, TIMES, Sensor())
    table[7, 1:] = 0
    table[9, 2] = np.nan
    found = Orientation.of(table)
    assert found.left_out == 2 and len(found.times_s) == len(table) - 2


@pytest.mark.parametrize("text, words", [
    ("", "no numbers"), ("time_s,qw,qx,qy\n0,1,0,0\n", "qz"), ("0,1,0,0\n", "4 columns"), ("a,b\n1,2\n", "time_s, qw"),
    ("\n".join(lines()[:3]), "10 rows"), ("\n".join([*lines(), "0.5,0.5,ab,1,2"]), "line 13"),
    ("\n".join([*lines(), "0.5,0.5"]), "line 13"), ("\n".join([*lines(), *lines()]), "ascending"),
    ("\n".join(lines(rows=ROWS * [1, 0, 0, 0, 0])), "unit quaternions")])
def test_what_is_no_such_table_is_told_in_a_line(tmp_path, text, words):
    path = tmp_path / "imu.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=words) as caught:
        Orientation.of(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_files_that_are_none_are_told(tmp_path):
    (tmp_path / "b.csv").write_bytes(b"\xff\xfe\x00\x01")
    for path in (tmp_path / "none.csv", tmp_path, tmp_path / "b.csv"):
        with pytest.raises(InputError):
            Orientation.of(path)
    for wrong in (3, np.zeros((4, 4)), "none.csv"):
        with pytest.raises(InputError):
            Orientation.of(wrong)


# -- how it sits, and which mirror image

@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("estimated_mirrored", [False, True])
@pytest.mark.parametrize("noise_deg, drift", [(0.1, 2.0), (0.5, 5.0)])
def test_a_sensor_that_sits_anyhow_tells_the_mirror_image_and_the_turn(seed, estimated_mirrored, noise_deg, drift):
    T = se3.mirror(estimate()) if estimated_mirrored else estimate()
    found = fitted(T, Sensor(noise_deg, drift, offset_s=(0.0, 0.7, 1.7e9)[seed]), seed)
    assert found.mirrored is estimated_mirrored and found.usable and found.likeness > 0.9
    assert abs(found.offset_s - (0.0, 0.7, 1.7e9)[seed]) < 0.05
    truth = se3.mirror(TRUE) if estimated_mirrored else TRUE
    better = inertial.corrected(T, found, TIMES, 45.0)
    assert worst_deg(T[:, :3, :3], truth) > 6
    assert worst_deg(better[:, :3, :3], truth) < 3


def test_a_long_drift_is_told_from_the_errors_of_the_trajectory():
    """80 s at 5 degrees a minute: what is made of both is nearer than either alone."""
    slow_s = np.arange(N) / 3
    T = estimate(share=0.97)
    recording = Orientation.of(sensors.record(TRUE, slow_s, Sensor(drift_deg_per_min=5.0), 2))
    found = inertial.fit(T, slow_s, recording)
    alone = worst_deg(found.R_first_frame, TRUE), worst_deg(T[:, :3, :3], TRUE)
    better = worst_deg(inertial.corrected(T, found, slow_s, 45.0, 0.07)[:, :3, :3], TRUE)
    assert alone[0] > 5 and better < alone[0] - 2 and better < alone[1]


def test_the_path_of_what_speckle_sees_is_kept():
    T = estimate()
    found = fitted(T, Sensor())
    lever = np.array([0, 0, 1, 45.0, 0, 0])
    paths = [np.cumsum(se3.log(se3.steps(X)) @ lever)[-1] for X in (T, inertial.corrected(T, found, TIMES, 45.0))]
    assert paths[1] == pytest.approx(paths[0], abs=0.3)
    step = [se3.steps(X)[:, :3, 3] for X in (T, inertial.corrected(T, found, TIMES, 0.0))]
    np.testing.assert_allclose(step[1], step[0], atol=1e-9)


def test_turns_alone_do_not_tell_the_mirror_where_gravity_does_not():
    """The beam level: a sensor that sits anyhow may as well sit the other way round."""
    level = Sensor(R_world=BEAM_LEVEL)
    found = fitted(estimate(), level)
    assert found.mirrored is None and found.usable and "gravity" in inertial.warnings_of(found)[0]


@pytest.mark.parametrize("estimated_mirrored", [False, True])
@pytest.mark.parametrize("mount", [np.eye(3), Rotation.from_rotvec([0.4, -1.0, 0.3]).as_matrix()])
def test_known_axes_tell_it_wherever_up_is(mount, estimated_mirrored):
    T = se3.mirror(estimate()) if estimated_mirrored else estimate()
    for world in (BEAM_LEVEL, BEAM_UP):
        found = fitted(T, Sensor(R_sensor_image=mount, R_world=world), axes=[np.eye(3), mount])
        assert found.mirrored is estimated_mirrored and "axes" in found.why


def test_another_recording_is_left_out():
    other = trajectory(tilt_rad=0.5 * np.sin(33 * S**2), yaw_rad=np.sin(11 * S), roll_rad=0.4 * np.cos(17 * S))
    found = inertial.fit(estimate(), TIMES, Orientation.of(sensors.record(other, TIMES, Sensor(more_s=0))))
    assert found.mirrored is None and not found.usable and "recording of this scan" in inertial.warnings_of(found)[-1]


def test_a_recording_shorter_than_the_scan_is_refused():
    table = sensors.record(TRUE[:150], TIMES[:150], Sensor())
    with pytest.raises(InputError, match="over the whole scan"):
        inertial.fit(estimate(), TIMES, Orientation.of(table))


def test_a_sweep_that_was_read_as_a_fan_becomes_one():
    """The probe only shakes; speckle has its shift as a tilt."""
    true = trajectory(shift_mm=40 * S, roll_rad=0.03 * np.sin(30 * S), tilt_rad=0.02 * np.sin(21 * S))
    fan = trajectory(tilt_rad=40 / 45 * S, roll_rad=0.03 * np.sin(30 * S))
    found = inertial.fit(fan, TIMES, Orientation.of(sensors.record(true, TIMES, Sensor())))
    better = inertial.corrected(fan, found, TIMES, 45.0)
    assert found.usable
    assert worst_deg(better[:, :3, :3], true) < 3
    np.testing.assert_allclose(better[-1, :3, 3], true[-1, :3, 3], atol=2.5)


# -- whole scans

def recorded(sign, **sensor):
    _, T = frames_of("fan", sign)
    return sensors.record(T, np.arange(len(T)) / RATE_HZ, Sensor(**sensor), 3)


def reconstructed(sign, **settings):
    frames, T = frames_of("fan", sign)
    scan = sr.Scan.from_arrays(frames, scale=scenes.SCALE, frame_rate_hz=RATE_HZ)
    return sr.reconstruct(scan, calibration=scenes.matched_curves(), config=Config(jobs=1, fusion="smooth"),
                          **settings), T


@pytest.mark.parametrize("sign", [1, -1])
def test_a_scan_with_a_sensor_is_known_and_keeps_to_its_orientations(sign):
    found, T = reconstructed(sign, orientation=recorded(sign))
    assert found.verdict["handedness"] == "known" and "the sensor" in found.verdict["why"]
    assert found.numbers["sensor"] == "tilt and turn taken over" and found.numbers["sensor_likeness"] > 0.5
    assert worst_deg(found.T_first_frame[:, :3, :3], T) < 1.5
    assert (np.linalg.eigvalsh(found.covariance[1:]) > -1e-12).all()


def test_who_disagrees_with_the_sensor_is_refused():
    with pytest.raises(InputError, match="--turned anticlockwise"):
        reconstructed(1, orientation=recorded(1), turned="anticlockwise")


def test_the_command_line_takes_it_and_a_resumed_run_compares_it(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    frames, _ = frames_of("fan", 1)
    for name in ("scan.h5", "other.h5"):
        tusrec.write_scan(tmp_path / name, frames, pixel_mm=(0.23, 0.22))
    sensors.write(tmp_path / "imu.csv", recorded(1))
    sensors.write(tmp_path / "imu2.csv", recorded(1, noise_deg=0.1))
    (tmp_path / "c.toml").write_text('fusion = "smooth"\n')
    command = ["reconstruct", "scan.h5", "-o", "out", "--no-volume", "--no-progress", "-j", "1", "-c", "c.toml"]
    assert main([*command, "--orientation", "imu.csv"]) == 0
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["verdict"]["handedness"] == "known" and summary["numbers"]["orientation"] == "imu.csv"
    assert main([*command, "--orientation", "imu.csv"]) == 0
    for other in ([], ["--orientation", "imu2.csv"]):
        assert main([*command, *other]) == 2
        assert "orientation" in capsys.readouterr().err
    assert main([*command, "other.h5", "--orientation", "imu.csv"]) == 2
    assert "one scan" in capsys.readouterr().err
    assert main([*command, "--orientation", "none.csv"]) == 2
    assert "none.csv" in capsys.readouterr().err
