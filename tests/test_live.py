"""Live: frames placed one by one, written down as they come, and the same result as `reconstruct` at the end."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
import scenes
from small_scans import random_poses, speckle, write_scan

from speckle_rec import geometry as se3
from speckle_rec.cli import main
from speckle_rec.errors import InputError
from speckle_rec.io import calib, mha, tusrec
from speckle_rec.live import meters, session, sources
from speckle_rec.live.estimator import WARM, Estimator, Placed
from speckle_rec.live.frames import WAITING_BYTES, WAITING_FRAMES, Inbox, LiveFrame
from speckle_rec.live.growing import GrowingVolume
from speckle_rec.live.recorder import RecordedFrames, Recorder
from speckle_rec.live.session import Session, Wanted
from speckle_rec.live.track import LAG
from speckle_rec.scan import Scan
from speckle_rec.speckle.calibration import Uncalibrated

ROOT = Path(__file__).resolve().parents[1]
FACE = np.array([*scenes.SECTOR.face_mm, 0])
PIXEL_MM = float(scenes.SCALE[0, 0]), float(scenes.SCALE[1, 1])


def fanned(tilts_rad):
    """Frames of a probe that is tilted about its face, and its poses in image mm of the first."""
    T = se3.exp(np.array([[0, 0, 0, tilt, 0, 0] for tilt in tilts_rad]))
    image = se3.translation(FACE) @ T @ se3.translation(-FACE)
    frames = np.stack([scenes.phantom()(pose, 100 + k) for k, pose in enumerate(image)])
    return frames, se3.inverse(image[0]) @ image


@pytest.fixture(scope="module")
def swung():
    """A fan there and most of the way back: frames, poses, and the frame of the turn."""
    there = np.linspace(0, 0.15, 31)
    tilts = np.concatenate([there, there[-2:-26:-1]])
    return *fanned(tilts), 30


@pytest.fixture
def noise_file(tmp_path):
    """A scan of 40 frames of noise that tells its pixel size."""
    write_scan(tmp_path / "noise.h5", speckle(40))
    return tmp_path / "noise.h5"


# -- the estimate


def test_a_fan_is_followed_and_its_turn_is_seen(swung):
    frames, true, turn = swung
    estimator = Estimator(scenes.SCALE, Uncalibrated.of(scenes.matched_curves()))
    placed = [estimator.add(frame) for frame in frames]
    assert [len(some) for some in placed[:WARM + 1]] == [0] * (WARM - 1) + [WARM, 1]
    assert [one.index for some in placed for one in some] == list(range(len(frames)))
    far = np.array([35.0, 50, 0, 1])
    z, wanted = ((poses @ far)[:, 2] for poses in (estimator.poses, true))
    z = z * np.sign(z[turn] * wanted[turn])
    assert np.abs(z - wanted).max() < 0.25 * np.abs(wanted).max()
    assert np.abs(z[-1]) < 0.7 * np.abs(z[turn])        # it came back
    sent = np.array([one.T for some in placed for one in some])
    assert np.abs(np.abs((sent @ far)[:, 2]) - np.abs(wanted)).max() < 0.35 * np.abs(wanted).max()
    assert meters.turns_back(np.concatenate([np.reshape(estimator.track.increments, (-1, 6)), estimator.track.tail]),
                             estimator.geometry) == pytest.approx([turn], abs=3)


def test_old_poses_stand_and_recent_ones_may_change(swung):
    frames = swung[0]
    estimator = Estimator(scenes.SCALE)
    for frame in frames[:-5]:
        estimator.add(frame)
    before = np.array(estimator.track.settled)
    for frame in frames[-5:]:
        estimator.add(frame)
    track = estimator.track
    assert len(before) == len(frames) - 5 - LAG - 1 > 0 and len(track.recent) == LAG + 1
    np.testing.assert_array_equal(np.array(track.settled)[:len(before)], before)
    assert track.n_frames == len(frames) == len(estimator.poses)
    np.testing.assert_allclose(se3.log(se3.steps(np.concatenate([track.settled, track.recent])))[1:],
                               np.concatenate([np.reshape(track.increments, (-1, 6)), track.tail])[1:], atol=1e-9)


def test_a_picture_that_is_sent_twice_stays_where_it_was(swung):
    frames = swung[0][:12]
    estimator = Estimator(scenes.SCALE)
    placed = [one for frame in np.repeat(frames, 2, axis=0) for one in estimator.add(frame)]
    assert len(placed) == 24 and [one.repeated for one in placed] == [False, True] * 12
    np.testing.assert_array_equal([one.T for one in placed[::2]], [one.T for one in placed[1::2]])


def test_a_side_that_lifts_off_shows_no_contact(swung):
    frames = swung[0][:30].copy()
    frames[24:, :, 150:] = frames[24:, :, 150:] // 8
    estimator = Estimator(scenes.SCALE)
    placed = [one for frame in frames for one in estimator.add(frame)]
    assert all(meters.contact_of(one) == {"left": True, "right": True} for one in placed[:24])
    assert all(meters.contact_of(one) == {"left": True, "right": False} for one in placed[24:])


@pytest.mark.parametrize("clear, step_mm, word", [(0.2, 1.0, meters.TOO_FAST), (0.9, 0.001, meters.STILL),
                                                  (0.7, 0.3, meters.IDEAL)])
def test_the_speedometer(clear, step_mm, word):
    gauge = meters.Speedometer()
    for k in range(12):
        told = gauge(k / 20, Placed(k, np.eye(4), clear, step_mm, (1.0, 1.0)))
    assert told["speed"] == word and told["mm_s"] == pytest.approx(20 * step_mm, rel=0.2, abs=0.1)
    assert (told["needle"] > 0.7) == (word == meters.TOO_FAST)


def test_a_place_that_is_seen_again_is_told(swung):
    frames = swung[0]
    again = meters.SeenAgain(scenes.SECTOR)
    order = [*frames[:25], *scenes_elsewhere(40), *frames[:25]]
    found = {k: seen for k, frame in enumerate(order) if (seen := again(k, frame)) is not None}
    assert found and all(k >= 65 and abs(seen - (k - 65)) <= meters.EVERY for k, seen in found.items())


def scenes_elsewhere(n):
    return np.random.default_rng(1).integers(0, 255, (n, *scenes.SECTOR.shape), dtype=np.uint8)


def test_the_volume_grows_and_holds_what_was_pasted():
    geometry = scenes.SECTOR
    bright = np.full(geometry.shape, 200, np.uint8)
    growing = GrowingVolume(geometry)
    small = growing.thumbnail(bright)
    poses = se3.translation(np.array([[0, 0, z] for z in np.arange(0, 40, 0.5)]))
    growing.paste([small] * 20, poses[:20])
    first = growing.snapshot([small] * 5, poses[20:25])
    growing.paste([small] * 60, poses[20:])
    last = growing.snapshot([small], poses[-1:])
    assert last.seen_ml > 2.5 * first.seen_ml > 0 and last.covered > 0.99
    area_ml = geometry.mask().sum() * PIXEL_MM[0] * PIXEL_MM[1] / 1000
    assert last.seen_ml == pytest.approx(area_ml * 40, rel=0.15)
    assert set(np.unique(last.grey)) <= {0, 199, 200, 201}
    at = np.round((np.array([35, 30, 20]) - last.origin_mm) / last.spacing_mm).astype(int)
    assert last.grey[tuple(at[::-1])] == 200
    fewer = GrowingVolume(geometry)
    fewer.paste([small] * 2, se3.translation(np.array([[0, 0, 0.0], [0, 0, 10]])))
    assert fewer.snapshot([small], poses[:1]).covered < 0.5


def test_a_volume_that_would_be_too_large_gets_coarser(monkeypatch):
    from speckle_rec.live import growing as module
    monkeypatch.setattr(module, "MOST_VOXELS", 400_000)
    growing = GrowingVolume(scenes.SECTOR)
    small = growing.thumbnail(np.full(scenes.SECTOR.shape, 200, np.uint8))
    for z in range(0, 200, 10):
        growing.paste([small] * 20, se3.translation(np.array([[0, 0, z + k / 2] for k in range(20)])))
    last = growing.snapshot([small], np.eye(4)[None])
    assert last.grey.size <= 400_000 and last.spacing_mm > 1 and set(np.unique(last.grey)) <= {0, 199, 200, 201}
    area_ml = scenes.SECTOR.mask().sum() * PIXEL_MM[0] * PIXEL_MM[1] / 1000
    assert area_ml * 200 < last.seen_ml < 2 * area_ml * 200        # voxels at the rim are seen in part


# -- the recording


def recorded(path, frames, most=100):
    recorder = Recorder(path, PIXEL_MM, most)
    for k, image in enumerate(frames):
        recorder.add(LiveFrame(image, 1e9 + k / 20))
    return recorder


def test_a_recording_is_a_scan_at_every_moment(tmp_path):
    frames = speckle(7)
    recorder = recorded(tmp_path / "a.igs.mha", frames[:3])
    for k in range(3, 7):
        scan = Scan.open(tmp_path / "a.igs.mha")        # while it is written
        np.testing.assert_array_equal(scan.frames(), frames[:k])
        np.testing.assert_allclose(scan.timestamps_s, 1e9 + np.arange(k) / 20, atol=1e-6)
        assert tuple(np.diag(scan.scale)[:2]) == PIXEL_MM and not scan.warnings
        recorder.add(LiveFrame(frames[k], 1e9 + k / 20))
    recorder.close()
    np.testing.assert_array_equal(RecordedFrames(tmp_path / "a.igs.mha", 5).read(2, 9), frames[2:5])
    with pytest.raises(InputError, match="expected 8 frames, found 7"):
        RecordedFrames(tmp_path / "a.igs.mha", 8)


@pytest.mark.parametrize("cut", [1, 500, 3000])
def test_a_frame_that_is_half_written_does_not_count(tmp_path, cut):
    recorder = recorded(tmp_path / "a.igs.mha", speckle(3))
    os.pwrite(recorder._file, b"x" * cut, recorder._pixels + 3 * speckle(1).size)      # the process ends here
    scan = Scan.open(tmp_path / "a.igs.mha")
    assert scan.n_frames == 3 and not scan.warnings


def test_a_recording_is_read_by_the_tool_of_its_format(tmp_path):
    SimpleITK = pytest.importorskip("SimpleITK", reason="NOT READ BY ITK: SimpleITK is not installed")
    recorded(tmp_path / "a.igs.mha", speckle(5), most=5000).close()
    (tmp_path / "a.igs.mha").rename(tmp_path / "a.mha")
    image = SimpleITK.ReadImage(str(tmp_path / "a.mha"))
    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(image), speckle(5))
    assert image.GetSpacing()[:2] == pytest.approx(PIXEL_MM)


def test_a_full_recording_ends_the_session(tmp_path, monkeypatch):
    monkeypatch.setattr(session, "Recorder", lambda path, pixel_mm: Recorder(path, pixel_mm, most=4))
    said: list[str] = []
    inbox = Inbox()
    for k, image in enumerate(speckle(9)):
        inbox.put(LiveFrame(image, k / 20))
    run = Session(inbox, Wanted(tmp_path / "a.igs.mha", pixel_mm=(0.2, 0.2)), say=said.append)
    thread = threading.Thread(target=run.run)
    thread.start()
    thread.join(60)
    assert not thread.is_alive() and run.counts.kept == 4 and any("4 frames, for which" in text for text in said)
    assert Scan.open(tmp_path / "a.igs.mha").n_frames == 4


# -- frames that come too fast


def test_the_inbox_has_an_end():
    inbox = Inbox()
    frame = LiveFrame(np.zeros((16, 16), np.uint8), 0.0)
    for _ in range(WAITING_FRAMES + 9):
        inbox.put(frame)
    assert len(inbox) == WAITING_FRAMES and inbox.lost == 9
    large = Inbox()
    for _ in range(10):
        large.put(LiveFrame(np.broadcast_to(np.uint8(0), (8000, 4000)), 0.0))
    assert len(large) * 8000 * 4000 <= WAITING_BYTES and large.lost == 10 - len(large) > 0
    inbox.end()
    inbox.put(frame)
    assert inbox.lost == 9 and inbox.take(0) is frame


def test_a_slow_estimate_drops_frames_and_keeps_them_all(tmp_path, monkeypatch):
    """Frames at 100 a second, of which the estimate takes 20: all are written down, each pose is of a fresh one."""
    class Slow(Estimator):
        def add(self, image):
            time.sleep(0.05)
            index, self._n = self._n, self._n + 1
            return [Placed(index, np.eye(4), 0.9, 0.1, (1.0, 1.0))]

    monkeypatch.setattr(session, "Estimator", Slow)
    monkeypatch.setattr(session, "_Shown", lambda estimator, board: type("Shown", (), {
        "show": lambda self, *a: None, "each_second": lambda self, *a: None})())
    inbox, told = Inbox(), []

    class Heard(session.Nobody):
        def pose(self, T, frame):
            told.append(frame.time_s)

    run = Session(inbox, Wanted(tmp_path / "a.igs.mha", pixel_mm=(0.2, 0.2)), Heard())
    thread = threading.Thread(target=run.run)
    thread.start()
    most = 0
    for k, image in enumerate(speckle(200)):
        inbox.put(LiveFrame(image, float(k)))
        most = max(most, len(inbox))
        time.sleep(0.01)
    inbox.end()
    thread.join(60)
    counts = run.counts
    assert not thread.is_alive() and most <= WAITING_FRAMES
    assert counts.kept + inbox.lost == 200 and counts.dropped > 50 and counts.placed + counts.dropped == counts.kept
    assert len(told) == counts.placed and told == sorted(told)
    assert np.median(counts.latency_s) < 2
    np.testing.assert_array_equal(Scan.open(tmp_path / "a.igs.mha").frames(), speckle(200)[:counts.kept])


def test_frames_give_way_one_at_a_time_before_they_do_in_a_row(tmp_path):
    run = Session(Inbox(), Wanted(tmp_path / "a.igs.mha"))

    def late(waited_s, behind):
        while len(run.inbox) > behind:
            run.inbox.take(0)
        while len(run.inbox) < behind:
            run.inbox.put(LiveFrame(speckle(1)[0], 0.0))
        return run._is_late(LiveFrame(speckle(1)[0], 0.0, arrived_s=time.monotonic() - waited_s))

    assert [late(0.01, 3), late(0.15, 0)] == [False, False]
    assert [late(0.15, 2) for _ in range(6)] == [True, False] * 3
    assert [late(1.0, 3), late(0.2, 2), late(0.1, 1), late(0.05, 0), late(0.01, 2)] == [True, True, True, False, False]


def test_frames_of_another_size_and_an_estimate_that_fails_do_not_end_a_session(tmp_path, monkeypatch):
    def broken(self, image):
        raise np.linalg.LinAlgError("singular")

    monkeypatch.setattr(Estimator, "add", broken)
    said: list[str] = []
    inbox = Inbox()
    for k, image in enumerate(speckle(6)):
        inbox.put(LiveFrame(image if k != 3 else image[:20], k / 20))
        inbox.put(LiveFrame(image[:, :30], k / 20))
    inbox.end()
    run = Session(inbox, Wanted(tmp_path / "a.igs.mha", pixel_mm=(0.2, 0.2)), say=said.append)
    counts = run.run()
    assert (counts.kept, counts.refused, counts.placed) == (5, 7, 0) and len(said) == 2
    assert ("no live poses" in said[0] and "left out" in said[1]) or "left out" in said[0]
    assert Scan.open(tmp_path / "a.igs.mha").n_frames == 5


def test_a_full_disk_ends_the_session_and_leaves_what_is_written(tmp_path, monkeypatch):
    written = Recorder.add

    def full(self, frame):
        if self.n_frames == 3:
            raise OSError(28, "No space left on device")
        written(self, frame)

    monkeypatch.setattr(Recorder, "add", full)
    said: list[str] = []
    inbox = Inbox()
    for k, image in enumerate(speckle(8)):
        inbox.put(LiveFrame(image, k / 20))
    counts = Session(inbox, Wanted(tmp_path / "a.igs.mha", pixel_mm=(0.2, 0.2)), say=said.append).run()
    assert counts.kept == 3 and any("No space left" in text for text in said)
    assert Scan.open(tmp_path / "a.igs.mha").n_frames == 3


def test_without_a_pixel_size_frames_are_recorded(tmp_path):
    said: list[str] = []
    inbox = Inbox()
    for k, image in enumerate(speckle(12)):
        inbox.put(LiveFrame(image, k / 20))
    inbox.end()
    counts = Session(inbox, Wanted(tmp_path / "a.igs.mha"), say=said.append).run()
    assert counts.kept == 12 and counts.placed == 0 and "--pixel-mm" in said[0]
    assert Scan.open(tmp_path / "a.igs.mha", pixel_mm=0.2).n_frames == 12


def test_a_calibration_file_tells_the_pixel_size_of_recorded_frames(tmp_path):
    known = calib.built_in()
    calib.write_challenge(tmp_path / "c.csv", known.scale, known.T_tool_image)
    inbox = Inbox()
    for k, image in enumerate(speckle(3)):
        inbox.put(LiveFrame(image, k / 20))
    inbox.end()
    run = Session(inbox, Wanted(tmp_path / "a.igs.mha", calib=tmp_path / "c.csv"))
    assert run.run().kept == 3 and run.estimator is not None
    np.testing.assert_allclose(run.estimator.scale, known.scale)
    np.testing.assert_array_equal(np.diag(Scan.open(tmp_path / "a.igs.mha").scale), np.diag(known.scale))


# -- the verb


def poses_of(folder):
    with h5py.File(folder / "poses.h5") as file:
        return {name: data[()] for name, data in file.items() if isinstance(data, h5py.Dataset)}


def test_a_replay_ends_in_the_bytes_of_reconstruct(tmp_path, swung, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    frames, true, _ = swung
    tusrec.write_scan(tmp_path / "fan.h5", frames, true, pixel_mm=PIXEL_MM)
    quick = ["--no-volume", "--no-progress"]
    assert main(["live", "--replay", "fan.h5", "--port", "0", "--speed", "20", "-o", "live", *quick]) == 0
    out = capsys.readouterr().out
    assert "listening    127.0.0.1:" in out and "page         http://127.0.0.1:" in out
    assert f"frames {len(frames)}" in out
    for source, folder in (("fan.h5", "a"), ("live.igs.mha", "b")):
        assert main(["reconstruct", source, "-o", folder, "-q", *quick]) == 0
    live, same, again = (poses_of(tmp_path / name) for name in ("live", "a", "b"))
    assert set(live) == set(same) and all(np.array_equal(live[name], same[name]) for name in same)
    assert all(np.array_equal(live[name], again[name]) for name in again)
    told = [json.loads((tmp_path / name / "summary.json").read_text()) for name in ("live", "a")]
    assert told[0]["made_of"] == told[1]["made_of"] and told[0]["score"] == told[1]["score"]
    assert {p.name for p in (tmp_path / "live").iterdir()} == {p.name for p in (tmp_path / "a").iterdir()}
    assert main(["reconstruct", "fan.h5", "-o", "live", *quick]) == 0       # finished before: taken over
    assert "finished before" in capsys.readouterr().out


def test_part_of_a_replay_is_what_was_played(tmp_path, monkeypatch, fake_pipeline):
    monkeypatch.chdir(tmp_path)
    tusrec.write_scan(tmp_path / "a.h5", speckle(60), random_poses(60))
    known = calib.built_in()
    calib.write_challenge(tmp_path / "calib_matrix.csv", known.scale, known.T_tool_image)
    play = sources.Replay._play

    def half(self):
        threading.Timer(1.0, self.inbox.end).start()
        play(self)

    monkeypatch.setattr(sources.Replay, "_play", half)
    assert main(["live", "--replay", "a.h5", "--port", "0", "-o", "r", "-q", "--no-volume", "--no-page"]) == 0
    n = len(poses_of(tmp_path / "r")["T_first_frame"])
    assert 5 < n < 55 and Scan.open(tmp_path / "r.igs.mha").n_frames == n
    assert json.loads((tmp_path / "r" / "summary.json").read_text())["score"]["GPE"] > 0


@pytest.mark.parametrize("words, says", [
    (["--replay", "noise.h5", "--camera", "0"], "one source of frames"),
    (["--replay", "none.h5"], "no such file"),
    (["--port", "70000"], "--port"), (["--port", "-1"], "--port"), (["--page-port", "99999"], "--page-port"),
    (["--idle", "0"], "--idle"), (["--idle", "nan"], "--idle"), (["--speed", "-2"], "--speed"),
    (["--connect", "host:port"], "--connect host:port"), (["--connect", ""], "--connect"),
    (["--connect", "a:0"], "--connect"), (["--camera", "-3"], "--camera"), (["--camera", "77"], "--camera 77"),
    (["--host", "203.0.113.7"], "cannot listen"), (["--host", " "], "--host"),
    (["--pixel-mm", "0"], "--pixel-mm"), (["--swept", "up"], "swept"), (["--config", "no.toml"], "no.toml"),
    (["--calibration", "no.h5"], "no.h5"),
    (["--calib", "no.csv"], "no.csv"), (["--calib", "noise.h5"], "noise.h5"), (["-o", "noise.h5"], "noise.h5"),
    (["--port", "x"], "--port")])
def test_bad_input_is_one_line(tmp_path, noise_file, monkeypatch, capsys, words, says):
    monkeypatch.chdir(tmp_path)
    assert main(["live", *words]) == 2
    err = capsys.readouterr().err
    assert says in err and err.count("\n") == 1 and "Traceback" not in err


def test_what_is_there_is_not_written_over(tmp_path, noise_file, monkeypatch, capsys, fake_pipeline):
    monkeypatch.chdir(tmp_path)
    command = ["live", "--replay", "noise.h5", "--port", "0", "--speed", "50", "-o", "r", "-q", "--no-volume"]
    assert main(command) == 0 and main(command) == 2
    assert "--overwrite" in capsys.readouterr().err and main([*command, "--overwrite"]) == 0
    (tmp_path / "s.igs.mha").write_text("precious")
    assert main([*command[:-4], "-o", "s", "-q"]) == 2 and (tmp_path / "s.igs.mha").read_text() == "precious"
    assert main(["live", "--replay", "r.igs.mha", "-o", "r", "--overwrite"]) == 2
    assert "is the scan that is replayed" in capsys.readouterr().err


def test_a_camera_is_a_source(tmp_path, monkeypatch, capsys, fake_pipeline):
    monkeypatch.chdir(tmp_path)

    class Film:
        def __init__(self, number):
            self.left = list(speckle(30))

        def isOpened(self):
            return True

        def set(self, *_):
            return True

        def read(self):
            time.sleep(0.005)
            return (True, np.repeat(self.left.pop()[..., None], 3, axis=2)) if self.left else (False, None)

        def release(self):
            pass

    monkeypatch.setattr(sources.cv2, "VideoCapture", Film)
    assert main(["live", "--camera", "0", "--pixel-mm", ".2", "--port", "0", "-o", "r", "-q", "--no-volume"]) == 0
    assert Scan.open(tmp_path / "r.igs.mha").n_frames == 30


# -- a process that ends


def started(folder, *words):
    """`live` as a process, once it records; its address."""
    process = subprocess.Popen([sys.executable, str(ROOT / "cli.py"), "live", "--port", "0", *words], cwd=folder,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    told = []
    for line in process.stdout:
        told.append(line)
        if line.startswith("recording"):
            break
    found = re.search(r"listening\s+127.0.0.1:(\d+)", "".join(told))
    assert found, (told, process.stderr.read())
    return process, int(found[1])


def frames_in(path):
    try:
        return mha.read_header(path).size[0]
    except InputError:
        return 0


def wait_for(condition, timeout_s=120.0):
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.02)


def test_kill_9_loses_less_than_a_second(tmp_path, swung):
    frames = np.concatenate([swung[0], swung[0][::-1]])
    write_scan(tmp_path / "fan.h5", frames)
    process, _ = started(tmp_path, "--replay", "fan.h5", "-o", "r", "--no-page")
    wait_for(lambda: frames_in(tmp_path / "r.igs.mha") >= 5)
    began, before = time.monotonic(), frames_in(tmp_path / "r.igs.mha")
    time.sleep(1.2)
    process.send_signal(signal.SIGKILL)
    process.wait(30)
    played = before + 20 * (time.monotonic() - began)
    assert process.returncode == -signal.SIGKILL and not (tmp_path / "r").exists()
    scan = Scan.open(tmp_path / "r.igs.mha")
    assert scan.n_frames > before and scan.n_frames >= min(played - 20, len(frames)) - 5
    np.testing.assert_array_equal(scan.frames(), frames[:scan.n_frames])
    assert main(["reconstruct", str(tmp_path / "r.igs.mha"), "-o", str(tmp_path / "r"), "-q", "--no-volume"]) == 0
    assert len(poses_of(tmp_path / "r")["T_first_frame"]) == scan.n_frames


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_says_that_the_probe_has_stopped(tmp_path, swung, number):
    write_scan(tmp_path / "fan.h5", np.concatenate([swung[0], swung[0][::-1]] * 4))
    process, _ = started(tmp_path, "--replay", "fan.h5", "-o", "r", "--no-volume", "--no-page", "--no-progress")
    wait_for(lambda: frames_in(tmp_path / "r.igs.mha") >= 20)
    process.send_signal(number)
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    n = frames_in(tmp_path / "r.igs.mha")
    assert 20 <= n < 300 and len(poses_of(tmp_path / "r")["T_first_frame"]) == n and f"frames {n}" in out
