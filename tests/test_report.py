"""Figures and the report: complete, well-formed, without network, drawn by a browser if there is one."""

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser

import h5py
import numpy as np
import pytest

from speckle_rec import geometry, probe, volume
from speckle_rec.errors import InputError
from speckle_rec.io import nrrd
from speckle_rec.report import html, plots

SCALE = np.diag([0.22447, 0.23554, 1.0, 1.0])
FAN = probe.ultrasonix_4dc7(SCALE)
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
        if tracked:
            T_tracked = rotation_scan(n, 1)
            T_tracked[n // 2] = np.nan
            file["T_first_frame_tracked"] = T_tracked
    summary = {"scan": "RH_<rotation>", "n_frames": n, "rows": 480, "columns": 640, "path_length_mm": 42.0,
               "numbers": {"elevational_path_mm": 10.25}, "confidence_mean": None,
               "warnings": ["1 < 2 & </script>"] if rich else [],
               "score": {"GPE": 1.67, "final": 0.929} if rich else None, "run_times_s": {"in-plane": 3.5}}
    (path / "summary.json").write_text(json.dumps(summary))
    if rich:
        (path / "config.toml").write_text('[fusion]\nnote = "{{SCENE}} <b>"\n')
        phase = np.repeat(["rock", "fan", "yaw"], n // 3)
        plots.trajectory(path / "trajectory.png", T, rotation_scan(n, 1), confidence, geometry=FAN,
                         covariance=np.tile(np.eye(6) * 1e-4, (n, 1, 1)), timestamps_s=np.arange(n) / 20,
                         evidence={"phase": phase, "reversals": np.array([15, 45])})
        rng = np.random.default_rng(0)
        frames = np.where(FAN.mask(), rng.integers(20, 200, (n, 480, 640)), 0).astype(np.uint8)
        probe.plot(FAN, frames[0], path / "probe.png")
        made = volume.compound_scan([(0, frames)], T, FAN, 1.5, interpolation="NEAREST")
        nrrd.write(path / "volume.nrrd", made)
    return path


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
    assert checker.seen.count("img") == (3 if options.get("rich", True) else 0)
    assert not re.search(r"https?://", text)
    scene = json.loads(re.search(r'id="scene">(.*?)</script>', text, re.S)[1])
    n = options.get("n", 120)
    assert len(scene["estimated"]["path"]) == n
    assert (scene["tracked"] is not None) == options.get("tracked", True)
    if options.get("rich", True):
        assert "1 &lt; 2 &amp; &lt;/script&gt;" in text and "{{SCENE}} &lt;b&gt;" in text
        assert "elevational path (mm)" in text and "0.929" in text
        assert scene["tracked"]["path"][60] is None


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
window.addEventListener("load", () => {
  const c = document.getElementById("view");
  const data = c.getContext("2d").getImageData(0, 0, c.width, c.height).data;
  let inked = 0;
  for (let i = 3; i < data.length; i += 4) inked += data[i] > 0;
  c.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowLeft" }));
  document.body.dataset.found = JSON.stringify({ errors, inked, wide: document.documentElement.scrollWidth,
    width: innerWidth, drawn: document.documentElement.dataset.drawn });
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
