"""Figures and the report: complete, well-formed, without network (in a browser: test_report_browser.py)."""

import base64
import gzip
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import cv2
import h5py
import numpy as np
import pytest

from speckle_rec import geometry, volume
from speckle_rec.errors import InputError
from speckle_rec.io import nrrd
from speckle_rec.probe import field
from speckle_rec.products.volume import Volume
from speckle_rec.report import advice, film, html, niivue, plots, readings, scene, volumes, words
from speckle_rec.report.stored import Stored
from speckle_rec.scan import Scan
from speckle_rec.storage import folder as results

SCALE = np.diag([0.22447, 0.23554, 1.0, 1.0])
FAN = field.ultrasonix_4dc7(SCALE)


def rotation_scan(n=120, seed=0):
    """A tilt and a yaw about the probe face, with a little noise."""
    t = np.linspace(0, 1, n)
    twist = np.zeros((n, 6))
    twist[:, 3] = 0.4 * np.sin(2 * np.pi * np.clip(2 * t, 0, 1))
    twist[:, 4] = 1.5 * np.clip(2 * t - 1, 0, 1)
    twist += np.cumsum(np.random.default_rng(seed).normal(0, 1e-3, twist.shape), 0) * [9, 9, 9, 1, 1, 1]
    pivot = geometry.translation(np.array([*FAN.face_mm, 0.0]))
    T = pivot @ geometry.exp(twist) @ geometry.inverse(pivot)
    return geometry.inverse(T[0]) @ T


def result_folder(path, n=120, *, tracked=True, rich=True):
    path.mkdir()
    T = rotation_scan(n)
    confidence = np.linspace(0.2, 1, n).astype(np.float32)
    with h5py.File(path / "poses.h5", "w") as file:
        file["T_first_frame"], file["scale"], file["confidence"] = T, SCALE, confidence
        if rich:
            file["outline_mm"] = FAN.outline(12)
            file["timestamps_s"] = np.arange(n) / 20
            file["covariance"] = np.tile(np.diag([1, 1, 4, 1e-4, 1e-4, 1e-4]), (n, 1, 1))
            file["covariance"].attrs["about_mm"] = (*FAN.face_mm, 0.0)
            for name, values in evidence(n).items():
                file[f"evidence/{name}"] = values.astype("S") if values.dtype.kind == "U" else values
        if tracked:
            T_tracked = rotation_scan(n, 1)
            T_tracked[n // 2] = np.nan
            file["T_first_frame_tracked"] = T_tracked
    summary = {"scan": "RH_<rotation>", "n_frames": n, "rows": 480, "columns": 640, "path_length_mm": 42.0,
               "numbers": {"elevational_path_mm": 10.25, "other_reading": "turned clockwise"}, "confidence_mean": None,
               "path": "/scans/my scan.h5", "warnings": ["1 < 2 & </script>"] if rich else [],
               "verdict": {"shape": "doubtful", "scale_percent": 50.0, "handedness": "assumed",
                           "why": "no planes cross", "drift_percent": 2.5, "checks": ["one <b>", "two"]}
               if rich else None,
               "score": {"GPE": 1.67, "final": 0.929} if rich else None, "run_times_s": {"in-plane": 3.5},
               "version": "0.1.0", "calibration_hash": "abc123",
               "volume": {"against_tracked": {"ncc": 0.9012, "overlap": 0.8034, "spacing_mm": 0.5}} if rich else None}
    (path / "summary.json").write_text(json.dumps(summary))
    if rich:
        (path / "config.toml").write_text('[fusion]\nnote = "{{SCENE}} <b>"\n')
        plots.trajectory(path / "trajectory.png", T, rotation_scan(n, 1), confidence, geometry=FAN,
                         covariance=np.tile(np.eye(6) * 1e-4, (n, 1, 1)), timestamps_s=np.arange(n) / 20,
                         evidence=evidence(n))
        rng = np.random.default_rng(0)
        frames = np.where(FAN.mask(), rng.integers(20, 200, (n, 480, 640)), 0).astype(np.uint8)
        field.plot(FAN, frames[0], path / "probe.png")
        made = volume.compound_scan([(0, frames)], T, FAN, 1.5, interpolation="NEAREST")
        nrrd.write(path / "volume.nrrd", made)
        nrrd.write(path / "volume_tracked.nrrd", volume.compound_scan([(0, frames)], rotation_scan(n, 1), FAN, 1.5,
                                                                      interpolation="NEAREST"))
        film.write(path / film.NAME, Scan.from_arrays(frames, scale=FAN.scale))
        plots.montage(path / "montage.png", Scan.from_arrays(frames, scale=FAN.scale), FAN, np.arange(n) / 20)
    return path


def evidence(n):
    """What a result of n frames rests on: three phases, two reversals, one revisit, curves."""
    level = np.linspace(0.9, 0.2, 5)
    places = np.array([[50.0, 40], [70, 40], [90, 60], [70, 80]])
    return {"phase": np.repeat(["rock", "fan", "turn"], n // 3), "reversals": np.array([15, 45]),
            "cell_mm": places, "cell_coherence": np.tile(np.array([20, 90, 255, 60], np.uint8), (n, 1)),
            "revisit_pairs": np.array([[3, 100], [10, 110]]), "curve_at": np.linspace(0, 3, 5), "curve_shift": level,
            "curve_tilt": level, "curve_yaw": level, "measured_shift_mm": np.array([0.5, 1.0]),
            "measured_correlation": np.array([[0.5, 0.6, 0.7], [0.3, 0.4, 0.5]])}


class Checker(HTMLParser):
    """Every element that opens is closed in order, and nothing is loaded from elsewhere."""

    VOID = ("meta", "link", "img", "input", "br")

    def __init__(self):
        super().__init__()
        self.stack, self.seen = [], []

    def handle_starttag(self, tag, attrs):
        self.seen.append(tag)
        if tag not in self.VOID:
            self.stack.append(tag)
        for name, value in attrs:
            if name in ("src", "href"):
                assert value.startswith(("data:", "#")), value

    def handle_endtag(self, tag):
        assert self.stack.pop() == tag


@pytest.fixture(scope="module")
def rich(tmp_path_factory):
    return result_folder(tmp_path_factory.mktemp("report") / "result")


@pytest.mark.parametrize("options", [{}, {"tracked": False, "rich": False}, {"n": 2, "rich": False}])
def test_report_is_one_well_formed_file(tmp_path, rich, options):
    folder = result_folder(tmp_path / "result", **options) if options else rich
    html.write(tmp_path / "report.html", folder)
    text = (tmp_path / "report.html").read_text()
    checker = Checker()
    checker.feed(text)
    assert not checker.stack
    assert checker.seen.count("img") == (7 if not options else 1)
    assert not re.search(r"https?://", text)
    scene = json.loads(re.search(r'id="scene">(.*?)</script>', text, re.S)[1])
    n = options.get("n", 120)
    assert len(scene["estimated"]["path"]) == n
    assert (scene["tracked"] is not None) == options.get("tracked", True)
    if options.get("rich", True):
        assert "1 &lt; 2 &amp; &lt;/script&gt;" in text and "{{SCENE}} &lt;b&gt;" in text
        assert "Path out of the image plane" in text and "0.929" in text
        assert scene["tracked"]["path"][60] is None
        assert "0.901" in text and "80.3 %" in text
        assert "one &lt;b&gt;; two." in text and "2.50 %" in text       # whatever else a verdict carries
        assert "fan of " in text and "of the frames usable." in text
        assert [scene["phases"][k] for k in scene["phase"]] == evidence(120)["phase"].tolist()
        assert scene["reversals"] == [15, 45] and scene["loops"] == [[3, 100], [10, 110]]
        assert len(scene["sigma"]) == len(scene["film"]) == 120 and len(scene["estimated"]["outlines"]) == 12
        assert scene["volume"]["size"] == list(nrrd.read(rich / "volume.nrrd").data.shape[::-1])
    assert len(text) < 25e6


def test_uncertainty_of_a_place_is_that_of_drawn_poses():
    """First order against poses drawn from the covariance: a twist in frame 0 about the probe face."""
    T, face = rotation_scan(3)[2:], np.array([*FAN.face_mm, 0.0])
    point = np.array([70.0, 60, 0])
    mixed = np.random.default_rng(1).normal(size=(6, 6)) * [0.1, 0.1, 0.2, 0.002, 0.003, 0.002]
    twists = np.random.default_rng(2).normal(size=(40000, 6)) @ mixed
    about = geometry.translation(face)
    drawn = about @ geometry.exp(twists) @ geometry.inverse(about) @ T[0]
    places = drawn[:, :3, :3] @ point + drawn[:, :3, 3]
    told = scene.place_covariance(T, np.cov(twists.T)[None], face, point)[0]
    np.testing.assert_allclose(told, np.cov(places.T), atol=0.02 * np.trace(told))


def test_estimated_poses_place_the_slider_frame_as_its_outline():
    T = rotation_scan(30)
    made = scene.scene(T, None, np.ones(30), FAN.outline(12))
    pose, corner = np.array(made["poses"][20]), np.array(made["corners"][7])
    placed = pose[:3] * corner[0] + pose[3:6] * corner[1] + pose[6:]
    np.testing.assert_allclose(placed, (T[20] @ [*corner, 1])[:3], atol=0.02)


def test_citation_is_that_of_the_file():
    cff = (Path(__file__).resolve().parents[1] / "CITATION.cff").read_text()
    for line in ("title", "version"):
        value = re.search(rf'^{line}: "?([^"\n]*)', cff, re.M)[1]
        assert value in html.CITATION.format(version=results.version(), calibration="")


def test_folder_that_is_no_result_is_told(tmp_path):
    with pytest.raises(InputError, match="expected a result folder"):
        html.write(tmp_path / "report.html", tmp_path)


@pytest.mark.parametrize("n", [1, 2, 50])
def test_trajectory_figure_of_any_length(tmp_path, n):
    plots.trajectory(tmp_path / "trajectory.png", rotation_scan(n) if n > 1 else np.eye(4)[None])
    assert (tmp_path / "trajectory.png").read_bytes().startswith(b"\x89PNG")


def test_the_film_holds_every_frame_in_as_many_bytes_as_it_may(tmp_path, monkeypatch):
    """Each picture is that of its frame, at any size that fits."""
    levels = np.arange(40, 240, 5, dtype=np.uint8)
    frames = np.broadcast_to(levels[:, None, None], (40, 120, 400)).copy()
    frames[:, ::2, ::3] //= 2
    scan = Scan.from_arrays(frames, scale=FAN.scale)
    sizes = []
    for most in (film.MOST_BYTES, 60_000):
        monkeypatch.setattr(film, "MOST_BYTES", most)
        film.write(tmp_path / film.NAME, scan)
        shown = [cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_GRAYSCALE)
                 for picture in film.pictures(tmp_path / film.NAME)]
        assert len(shown) == 40 and np.all(np.diff([picture.mean() for picture in shown]) > 0)
        sizes.append((shown[0].shape[1], (tmp_path / film.NAME).stat().st_size))
    assert sizes[0][0] == film.WIDEST_PX and sizes[1][0] < sizes[0][0] and sizes[1][1] < 75_000
    monkeypatch.setattr(film, "MOST_FRAMES", 7)
    film.write(tmp_path / film.NAME, scan)
    assert len(film.pictures(tmp_path / film.NAME)) == 7 == len(film.shown(40))
    assert film.pictures(tmp_path / "none.mjpeg") == []


def test_a_volume_that_is_too_large_is_made_coarser_and_keeps_its_place(tmp_path, monkeypatch):
    """A bright ball lies where it was, in mm; and so does the tracked volume's, which has a grid of its own."""
    def ball(shape, spacing, origin, centre):
        z, y, x = (np.arange(n) * spacing + origin[a] for a, n in zip((2, 1, 0), shape, strict=True))
        off = (z[:, None, None] - centre[2])**2 + (y[:, None] - centre[1])**2 + (x - centre[0])**2
        return Volume(np.where(off < 36, 200, 0).astype(np.uint8), np.zeros((0, 0, 0), np.float32), origin, spacing,
                      np.eye(3))

    estimated = ball((90, 100, 120), 0.5, (-10.0, 5.0, -20.0), (20.0, 25.0, 3.0))
    nrrd.write(tmp_path / volumes.TRACKED, ball((60, 60, 70), 0.8, (-12.0, 1.0, -22.0), (18.0, 27.0, 1.0)))
    monkeypatch.setattr(volumes, "MOST_VOXELS", 50_000)
    made = volumes.embed(estimated, tmp_path)
    assert np.prod(made.grid["size"]) < 60_000
    nx, ny, nz = made.grid["size"]
    assert made.grid["tracked_layers"] > nz       # as far as the mirror image reaches
    for text, centre, layers, before in ((made.estimated, (20.0, 25.0, 3.0), nz, 0),
                                         (made.tracked, (18.0, 27.0, 1.0), made.grid["tracked_layers"],
                                          made.grid["below"])):
        data = np.frombuffer(gzip.decompress(base64.b64decode(text)), np.uint8).reshape(layers, ny, nx)
        weight = data / data.sum()
        for a, axis in ((0, 2), (1, 1), (2, 0)):
            first = made.grid["origin"][a] - (before if a == 2 else 0) * made.grid["spacing"][a]
            at = first + made.grid["spacing"][a] * np.arange(data.shape[axis])
            assert abs((weight.sum(tuple({0, 1, 2} - {axis})) * at).sum() - centre[a]) < 0.15
    for first, n in ((-20.0, 90), (3.0, 10), (-50.0, 10), (0.0, 1)):       # in layers of 0.5 mm
        below, layers = volumes._layers(first, 0.5, n)
        low, high = first - 0.5 * below, first + 0.5 * (layers - below - 1)
        assert low <= min(first, -first - 0.5 * (n - 1)) and high >= max(-first, first + 0.5 * (n - 1))
    monkeypatch.setattr(volumes, "MOST_BYTES", 400)
    assert len(base64.b64decode(volumes.embed(estimated, tmp_path).estimated)) <= 400


def test_noise_that_does_not_pack_keeps_the_page_below_its_size(tmp_path):
    """The worst a volume and a film can be; the film is as long as to fill what it may."""
    folder = result_folder(tmp_path / "result", 240, rich=False)
    rng = np.random.default_rng(0)
    noise = rng.integers(1, 255, (150, 150, 150), np.uint8)
    for name in (volumes.ESTIMATED, volumes.TRACKED):
        nrrd.write(folder / name, Volume(noise, np.zeros((0, 0, 0), np.float32), (0.0, 0.0, 0.0), 0.5, np.eye(3)))
    film.write(folder / film.NAME, Scan.from_arrays(rng.integers(0, 255, (240, 240, 320), np.uint8), scale=FAN.scale))
    assert (folder / film.NAME).stat().st_size < 1.15 * film.MOST_BYTES
    html.write(folder / "report.html", folder)
    assert 12e6 < (folder / "report.html").stat().st_size < 23e6      # room for the figures of a real one


@pytest.mark.parametrize("config, handedness, ends", [
    ("", "assumed", "--overwrite --mirrored"), ("mirrored = true", "known", "--overwrite"),
    ('swept = "away"\nmotion = "sweep"', "known", "--swept towards --motion sweep"),
    ('turned = "anticlockwise"\ntilted_first = "towards"', "known", "--turned clockwise --tilted-first away"),
    ("", "known", None)])
def test_the_command_that_takes_the_other_reading(tmp_path, config, handedness, ends):
    folder = result_folder(tmp_path / "result", 12, rich=False)
    told = json.loads((folder / "summary.json").read_text()) | {"verdict": {"handedness": handedness}}
    (folder / "summary.json").write_text(json.dumps(told))
    (folder / "config.toml").write_text(config)
    command = readings.command(Stored(folder), Path("results/it"))
    if ends is None:
        assert command == ""        # a sensor told
    else:
        assert command.startswith("speckle-rec reconstruct '/scans/my scan.h5' -o it ")
        assert command.endswith(ends)


def test_advice_names_where_speckle_was_lost(tmp_path):
    folder = result_folder(tmp_path / "result", 120, rich=False)
    with h5py.File(folder / "poses.h5", "a") as file:
        confidence = np.ones(120, np.float32)
        confidence[[40, 41, 42, 44, 45, 80, 99, 100, 101]] = 0.1
        confidence[0] = 0       # of no step
        file["confidence"][...] = confidence
        file["timestamps_s"] = np.arange(120) / 10 + 7
    told = json.loads((folder / "summary.json").read_text())
    told["warnings"] = ["speckle is decorrelated or missing in 8% of the steps", "something nobody foresaw"]
    (folder / "summary.json").write_text(json.dumps(told))
    lines = advice.next_time(Stored(folder))
    assert [line.do for line in lines] == ["Scan slower between 4.0 and 4.5 s, with the probe held to the skin.",
                                           "Scan slower between 9.9 and 10.1 s, with the probe held to the skin.", ""]
    assert lines[-1].why == "something nobody foresaw"


@pytest.mark.parametrize(("name", "value", "told"), [
    ("drift_hausdorff_mm", 1.2345, ("Largest distance between the two paths (Hausdorff)", "1.23 mm")),
    ("static_share", 0.0412, ("Field of view that never changes (text, grids, haze)", "4.12 %")),
    ("scale_percent", 50.0, ("Uncertainty of the scale out of the plane", "50.0 %")),
    ("some_new_thing_deg", 3.14159, ("Some new thing", "3.14 deg")), ("pixel_mm", [0.2294, 0.2210],
     ("Width and height of a pixel", "0.229, 0.221 mm")), ("plain", "text", ("Plain", "text"))])
def test_words_instead_of_names(name, value, told):
    assert words.labelled(name, value) == told


def test_a_package_without_the_bundle_is_no_viewer(monkeypatch):
    monkeypatch.setattr(niivue, "PACKAGE", "no-such-package-anywhere")
    assert niivue.installed() is None
    monkeypatch.setattr(niivue, "PACKAGE", "numpy")
    monkeypatch.setattr(niivue, "BUNDLE", "numpy/no/such/file.js")
    assert niivue.installed() is None


def test_the_bundle_exports_the_viewer():
    pytest.importorskip("ipyniivue", reason="NOT TESTED: the rendering (pip install ipyniivue)")
    bundle = niivue.installed()
    assert bundle is not None, "the bundle of ipyniivue is made otherwise than niivue.py knows"
    code = gzip.decompress(base64.b64decode(bundle.code)).decode()
    assert re.search(r"export \{ [\w$]+ as Niivue \};\s*$", code) and "BSD" in bundle.licence
    assert "Redistribution" in bundle.licence_text and re.match(r"\d+\.\d+", bundle.version)
