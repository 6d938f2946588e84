"""Films as FFmpeg writes them: luma, times, levels; damaged ones."""

import math
import sys
from fractions import Fraction

import cv2
import numpy as np
import pytest
from small_scans import speckle

from speckle_rec.cli import main
from speckle_rec.errors import InputError
from speckle_rec.io import video
from speckle_rec.scan import Scan

av = pytest.importorskip("av", reason="NOT RUN: PyAV is not installed (extra [video])")

N = 8
SMOOTH = np.stack([cv2.GaussianBlur(f, (0, 0), 3) for f in speckle(N)])


def film(path, frames=SMOOTH, codec="libx264", pixels="yuv420p", times=None, rate=25, **options):
    """A film of grey frames [N, rows, columns] or ones in colour [N, rows, columns, 3]."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, options={k: str(v) for k, v in options.items()})
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = pixels
        if times is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        for k, image in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), "rgb24" if image.ndim == 3 else "gray")
            if times is not None:
                frame.pts, frame.time_base = round(1000 * times[k]), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("name, codec, pixels, error", [
    ("a.mp4", "libx264", "yuv420p", 1), ("a.mov", "mjpeg", "yuvj420p", 2), ("a.avi", "mjpeg", "yuvj422p", 2),
    ("a.mkv", "ffv1", "gray", 0), ("a.avi", "rawvideo", "gray", 0), ("a.mov", "png", "rgb24", 1),
    ("a.avi", "rawvideo", "bgr24", 1), ("A.MP4", "mpeg4", "yuv420p", 3)])
def test_kinds_of_films(tmp_path, name, codec, pixels, error):
    options = {"crf": 1} if codec == "libx264" else {}
    scan = Scan.open(film(tmp_path / name, codec=codec, pixels=pixels, **options), pixel_mm=0.1)
    assert (scan.n_frames, *scan.shape) == SMOOTH.shape and scan.name == name[0]
    assert np.abs(scan.frames().astype(int) - SMOOTH).mean() <= error
    assert scan.frame_rate_hz == pytest.approx(25, rel=0.01) and len(scan.timestamps_s) == N
    np.testing.assert_array_equal(scan.frames(5, 7), scan.frames()[5:7])


@pytest.mark.parametrize("by", ["av", "opencv"])
def test_levels_of_films_are_spread(tmp_path, monkeypatch, by):
    if by == "opencv":
        monkeypatch.setitem(sys.modules, "av", None)
    ramp = np.tile(np.linspace(0, 255, 64).astype(np.uint8), (N, 48, 1))
    path = tmp_path / "a.mp4"
    with monkeypatch.context() as whole:
        whole.setitem(sys.modules, "av", av)
        film(path, ramp, crf=1)
    got = Scan.open(path, pixel_mm=0.1).frames().astype(int)
    assert np.abs(got - ramp).max() <= 4 and got.min() <= 1 and got.max() >= 254


def test_colours_become_luma(tmp_path):
    rgb = np.stack([SMOOTH, SMOOTH // 2, 255 - SMOOTH], -1)
    got = Scan.open(film(tmp_path / "a.avi", rgb, codec="rawvideo", pixels="bgr24"), pixel_mm=0.1).frames()
    assert np.abs(got - rgb @ np.array([0.299, 0.587, 0.114])).max() <= 1


def test_times_of_the_container(tmp_path):
    times = np.array([0, 0.04, 0.08, 0.2, 0.24, 0.28, 0.32, 0.36])
    scan = Scan.open(film(tmp_path / "a.mkv", times=times, codec="ffv1", pixels="gray"), pixel_mm=0.1)
    np.testing.assert_allclose(scan.timestamps_s, times, atol=2e-3)
    assert scan.frame_rate_hz == pytest.approx(25, rel=0.05)


def test_decoders_agree(tmp_path):
    path = film(tmp_path / "a.mp4", crf=10)
    ours, theirs = list(video._by_av(path)), list(video._by_opencv(path))
    assert len(ours) == len(theirs) == N
    for (t, a), (u, b) in zip(ours, theirs, strict=True):
        assert math.isclose(t, u, abs_tol=2e-3) and np.abs(a.astype(int) - b).max() <= 2


def test_the_size_of_a_pixel_is_asked_for(tmp_path, capsys):
    assert main(["check", str(film(tmp_path / "a.mp4"))]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "--pixel-mm X [Y]" in err


def test_a_scan_can_be_pickled(tmp_path):
    import pickle
    scan = Scan.open(film(tmp_path / "a.mp4"), pixel_mm=0.1)
    again = pickle.loads(pickle.dumps(scan))
    np.testing.assert_array_equal(again.frames(), scan.frames())


def test_ten_bits_are_refused(tmp_path):
    path = film(tmp_path / "a.mkv", codec="ffv1", pixels="gray10le")
    with pytest.raises(InputError, match="8 bits"):
        Scan.open(path, pixel_mm=0.1)


@pytest.mark.parametrize("name", ["a.mp4", "a.avi", "a.mov", "a.gif"])
@pytest.mark.parametrize("content", [b"", b"hello", bytes(3000), b"RIFF\0\0\0\0AVI LIST", b"#EXTM3U\n/etc/passwd\n"])
def test_other_content(tmp_path, capfd, name, content):
    (tmp_path / name).write_bytes(content)
    assert main(["check", str(tmp_path / name), "--pixel-mm", ".1"]) == 2
    err = capfd.readouterr().err
    assert err.count("\n") == 1 and name in err, err


def test_a_film_cut_short(tmp_path, capfd):
    path = film(tmp_path / "a.mp4")
    path.write_bytes(path.read_bytes()[:-900])      # without its index
    assert main(["check", str(path), "--pixel-mm", ".1"]) == 2
    assert capfd.readouterr().err.count("\n") == 1


def test_a_sound_track_is_no_film(tmp_path):
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with pytest.raises(InputError, match="no pictures"):
        Scan.open(tmp_path / "a.mp4", pixel_mm=0.1)
