"""What results hold for the pages, and the pages of many scans."""

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import h5py
import numpy as np
import pytest
from PIL import Image
from small_scans import dataset

from speckle_rec import __version__
from speckle_rec.cli import main
from speckle_rec.evaluation import figure, pages
from speckle_rec.evaluation.outcome import Evaluation, Row
from speckle_rec.pairs.correlation import Correlations
from speckle_rec.report import dataset as page
from speckle_rec.report import film
from speckle_rec.trajectory import evidence

ROOT = Path(__file__).resolve().parents[1]
NAMES = ("007/RH_rotation", "008/LH_rotation of 100%")


class Links(HTMLParser):
    """Where a page leads, but for places within it."""

    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found += [unquote(value) for name, value in attrs
                       if name == "href" and not value.startswith(("#", "data:"))]


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.figures
def test_a_result_holds_what_its_page_needs(tmp_path, scan_file, fake_pipeline, capsys):
    assert main(["reconstruct", str(scan_file), "-o", "out"]) == 0
    out = tmp_path / "out"
    summary = json.loads((out / "summary.json").read_text())
    assert summary["found"] == "hardly any motion; 100% of the frames usable"
    printed = " ".join(capsys.readouterr().out.split())
    assert "found │ hardly any motion; 100% of the frames usable" in printed
    assert len(film.pictures(out / film.NAME)) == 6
    assert (out / "volume_tracked.nrrd").is_file()
    text = (out / "report.html").read_text()
    # the command names the folder as it is called when it is whole
    assert re.search(r"speckle-rec reconstruct \S+RH_rotation.h5 -o out --overwrite --mirrored", text)
    assert ".partial" not in text
    (out / "report.html").unlink()
    for name in ("volume.nrrd", film.NAME, "config.toml"):      # what is damaged costs its part, not the page
        (out / name).write_bytes((out / name).read_bytes()[:100] + b"\0[")
    assert main(["report", "out", "-q"]) == 0
    assert 'id="slices"' not in (out / "report.html").read_text()


def test_coherence_is_that_of_neighbours_alone():
    i, j = np.array([0, 0, 1, 3]), np.array([1, 2, 2, 4])
    rho = np.array([[0.5, -0.2], [0.9, 0.9], [1.0, np.nan], [0.256, 0.1]], np.float32)
    found = evidence.coherence(Correlations(i, j, rho), 5)
    none = evidence.UNKNOWN
    assert found.tolist() == [[none, none], [50, 0], [100, none], [none, none], [26, 10]]


@pytest.mark.figures
def test_pages_of_an_evaluation_and_a_benchmark_lead_to_reports(tmp_path, fake_pipeline, monkeypatch, capsys):
    root = dataset(tmp_path / "data", NAMES)
    assert main(["evaluate", str(root), "-o", "e", "-q"]) == 0
    out = tmp_path / "e"
    text = (out / "report.html").read_text()
    links = Links(text).found
    assert len(set(links)) == 2 and all((out / link).is_file() for link in links)
    assert not re.search(r"https?://", text)
    with h5py.File(out / "scans" / "sub007__RH_rotation" / "poses.h5", "a") as file:
        del file["scale"]       # a damaged one costs its link
    (out / "scans" / "sub007__RH_rotation" / "report.html").unlink()
    rows = tuple(Row(name.name, {"final": 0.1}) for name in sorted((out / "scans").iterdir()))
    pages.write(Evaluation(out, "speckle", rows))
    assert ["007" in link for link in Links((out / "report.html").read_text()).found] == [False, False]
    assert main(["benchmark", str(root), "--engines", "identity,speckle", "-o", "b"]) == 0
    assert "b/report.html" in capsys.readouterr().out
    links = Links((tmp_path / "b" / "report.html").read_text()).found
    assert {"identity/report.html", "speckle/report.html"} < set(links)
    assert all((tmp_path / "b" / link).is_file() for link in links)


def test_reports_of_the_worst_are_written_and_of_the_rest_only_linked(tmp_path, monkeypatch):
    wanted = []

    def write(folder, called=None):
        wanted.append(folder.name)
        (folder / "report.html").write_text("a report")

    monkeypatch.setattr(pages.output_files, "write_report", write)
    rows = []
    for k in range(12):
        folder = tmp_path / "scans" / f"scan{k:02d}"
        folder.mkdir(parents=True)
        (folder / "poses.h5").write_text("")
        rows.append(Row(folder.name, {"final": 0.5 - 0.3 * (k % 4)}))
    (tmp_path / "scans" / "scan00" / "report.html").write_text("of an earlier run")
    rows[0] = Row("scan00", {"final": 0.5}, resumed=True)
    pages.write(Evaluation(tmp_path, "speckle", tuple(rows)))
    assert sorted(wanted) == ["scan02", "scan03", "scan06", "scan07", "scan11"]
    linked = set(Links((tmp_path / "report.html").read_text()).found)
    assert linked == {f"scans/{name}/report.html" for name in [*wanted, "scan00"]}
    shutil.rmtree(tmp_path / "scans")


def test_a_page_without_any_score_and_of_none(tmp_path):
    for lines in ([page.Line("a", {}, "no tracked poses")], []):
        page.write(tmp_path / "report.html", "Nothing", {"speckle": lines}, version="1")
        text = (tmp_path / "report.html").read_text()
        assert f"speckle: {len(lines)} scan" in text and "How the final scores spread" not in text


def test_the_figure_shows_scores_however_low(tmp_path, monkeypatch):
    """No dot lies outside the axes."""
    from matplotlib.figure import Figure
    seen = {}
    save = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda self, *a, **k: (seen.update(axes=self.axes), save(self, *a, **k))[1])
    for low in (-4.2, 0.3):
        rows = [Row(f"s{k}", {"final": f, "runtime_s": 3.0}, {"final": f}) for k, f in enumerate((low, 0.8))]
        figure.figure(tmp_path / "f.png", {"speckle": Evaluation(tmp_path, "speckle", tuple(rows))})
        bottom, top = seen["axes"][0].get_ylim()
        assert bottom < low and top > 0.8


def test_axis_of_the_spread_reaches_as_far_as_the_scores():
    for low in (0.4, -0.4, -2.2, -17.0):
        made = page._strips({"a": [page.Line("x", {"final": low, "final_mirror_given": 0.9}),
                                   page.Line("y", {"final": 0.9})]})
        places = [dot["at"] for row in made["rows"] for dot in row["dots"]]
        ticks = dict((text, at) for at, text in made["ticks"])
        assert all(0 < at < made["wide"] for at in places) and {"0", "1"} <= set(ticks) and len(ticks) <= 12
        assert (min(places) < ticks["0"]) == (low < 0)


@pytest.mark.parametrize("path", sorted((ROOT / "docs" / "img").glob("report_*.png")), ids=lambda path: path.name)
def test_pictures_of_pages_in_the_documentation_are_of_this_version(path):
    """What `tools/screenshots.py` has checked against the result and kept in the picture."""
    kept = json.loads(Image.open(path).text["speckle-rec"])
    assert kept["version"] == __version__ and kept["found"].endswith("of the frames usable.") and kept["scale"]
