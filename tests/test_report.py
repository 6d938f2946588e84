"""Figures and the report: complete, well-formed, without network, drawn by a browser if there is one."""

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import h5py
import numpy as np
import pytest

from speckle_rec import geometry, volume
from speckle_rec.errors import InputError
from speckle_rec.io import nrrd
from speckle_rec.probe import field
from speckle_rec.report import html, plots, scene
from speckle_rec.scan import Scan
from speckle_rec.storage import folder as results

SCALE = np.diag([0.22447, 0.23554, 1.0, 1.0])
FAN = field.ultrasonix_4dc7(SCALE)
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


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
               "numbers": {"elevational_path_mm": 10.25}, "confidence_mean": None,
               "warnings": ["1 < 2 & </script>"] if rich else [],
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
        plots.sheet(path / "frames.jpg", Scan.from_arrays(frames, scale=FAN.scale))
        plots.montage(path / "montage.png", Scan.from_arrays(frames, scale=FAN.scale), FAN, np.arange(n) / 20)
    return path


def evidence(n):
    """What a result of n frames rests on: three phases, two reversals, one revisit, curves."""
    level = np.linspace(0.9, 0.2, 5)
    return {"phase": np.repeat(["rock", "fan", "turn"], n // 3), "reversals": np.array([15, 45]),
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
                assert value.startswith("data:"), value

    def handle_endtag(self, tag):
        assert self.stack.pop() == tag


@pytest.fixture(scope="module")
def rich(tmp_path_factory):
    folder = result_folder(tmp_path_factory.mktemp("report") / "result")
    html.write(folder / "report.html", folder)
    return folder


@pytest.mark.parametrize("options", [{}, {"tracked": False, "rich": False}, {"n": 2, "rich": False}])
def test_report_is_one_well_formed_file(tmp_path, rich, options):
    folder = result_folder(tmp_path / "result", **options) if options else rich
    html.write(tmp_path / "report.html", folder)
    text = (tmp_path / "report.html").read_text()
    checker = Checker()
    checker.feed(text)
    assert not checker.stack
    assert checker.seen.count("img") == (0 if options else 7)
    assert not re.search(r"https?://", text)
    scene = json.loads(re.search(r'id="scene">(.*?)</script>', text, re.S)[1])
    n = options.get("n", 120)
    assert len(scene["estimated"]["path"]) == n
    assert (scene["tracked"] is not None) == options.get("tracked", True)
    if options.get("rich", True):
        assert "1 &lt; 2 &amp; &lt;/script&gt;" in text and "{{SCENE}} &lt;b&gt;" in text
        assert "elevational path (mm)" in text and "0.929" in text
        assert scene["tracked"]["path"][60] is None
        assert "0.9012" in text and "0.8034" in text
        assert [scene["phases"][k] for k in scene["phase"]] == evidence(120)["phase"].tolist()
        assert scene["reversals"] == [15, 45] and scene["loops"] == [[3, 100], [10, 110]]
        assert len(scene["ellipsoids"]) == len(scene["estimated"]["outlines"])


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


PROBE_SCRIPT = """<script>
const errors = [];
window.addEventListener("error", e => errors.push(e.message));
console.error = console.warn = (...words) => errors.push(words.join(" "));
window.addEventListener("load", () => {
  const c = document.getElementById("view");
  const data = c.getContext("2d").getImageData(0, 0, c.width, c.height).data;
  let inked = 0;
  for (let i = 3; i < data.length; i += 4) inked += data[i] > 0;
  const picture = () => c.toDataURL(), change = {};
  const tried = (name, act) => { const before = picture(); act(); change[name] = picture() !== before; };
  tried("key", () => c.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowLeft" })));
  tried("wheel", () => c.dispatchEvent(new WheelEvent("wheel", { deltaY: 120 })));
  for (const box of document.querySelectorAll(".controls input[type=checkbox]")) {
    tried(box.id, () => box.click());
    box.click();
  }
  const slider = document.getElementById("frame");
  tried("slider", () => { slider.value = 50; slider.dispatchEvent(new Event("input")); });
  document.body.dataset.found = JSON.stringify({ errors, inked, wide: document.documentElement.scrollWidth,
    width: innerWidth, change, told: document.getElementById("told").textContent,
    drawn: document.documentElement.dataset.drawn });
});
</script>"""


@pytest.mark.skipif(BROWSER is None, reason="NOT TESTED: the report in a browser (install chromium)")
@pytest.mark.parametrize("width", [500, 1200])  # 500 is the narrowest window of headless Chromium
def test_browser_draws_the_view_without_errors(tmp_path, rich, width):
    page = tmp_path / "probed.html"
    page.write_text((rich / "report.html").read_text().replace("<head>", "<head>" + PROBE_SCRIPT, 1))
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--dump-dom"]
    run = subprocess.run([BROWSER, *options, f"--window-size={width},900", page.as_uri()],
                         capture_output=True, text=True, timeout=60)
    found = json.loads(re.search(r'data-found="([^"]*)"', run.stdout)[1].replace("&quot;", '"'))
    assert found["errors"] == [] and "CONSOLE" not in run.stderr
    assert found["drawn"] == "yes" and found["inked"] > 1000
    assert found["wide"] <= found["width"]
    unchanged = {name for name, changed in found["change"].items() if not changed}
    assert unchanged == set() and len(found["change"]) == 11
    assert found["told"].startswith("frame 50 · 2.50 s · fan · confidence 0.5")


@pytest.mark.skipif(BROWSER is None, reason="NOT TESTED: the report on a phone's width (install chromium)")
def test_page_fits_a_phone(tmp_path, rich):
    """In a frame of 360 px, since headless windows are wider: nothing sticks out of the page."""
    inner, outer = tmp_path / "inner.html", tmp_path / "outer.html"
    inner.write_text((rich / "report.html").read_text())
    outer.write_text(f"""<!DOCTYPE html><iframe src="{inner.name}" style="border:0;width:360px;height:800px"></iframe>
<script>addEventListener("load", () => {{
  const page = document.querySelector("iframe").contentDocument.documentElement;
  document.body.dataset.found = [page.scrollWidth, page.clientWidth, page.dataset.drawn];
}})</script>""")
    run = subprocess.run([BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files",
                          "--hide-scrollbars", "--dump-dom", outer.as_uri()],
                         capture_output=True, text=True, timeout=60)
    wide, screen, drawn = re.search(r'data-found="([^"]*)"', run.stdout)[1].split(",")
    assert drawn == "yes" and int(wide) <= int(screen) == 360
