"""The documentation does what it says: examples run, links lead somewhere, the site builds without a warning."""

import importlib.util
import re
import shlex
import shutil
import subprocess
import sys
import tokenize
import tomllib
from pathlib import Path

import numpy as np
import pytest

import speckle_rec as sr
from speckle_rec.cli import main

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
SOURCES = sorted(path for folder in ("speckle_rec", "tests", "benchmarks", "tools")
                 for path in (ROOT / folder).rglob("*.py"))
METHOD = ROOT / "docs" / "METHOD.md"


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.S | re.M)


@pytest.fixture(scope="module")
def tutorial(tmp_path_factory):
    """The tutorial, run in an empty folder: (folder, its variables, what it printed)."""
    import contextlib
    import io
    folder, names, printed = tmp_path_factory.mktemp("tutorial"), {}, io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(printed):
        patch.chdir(folder)
        for number, block in enumerate(blocks(ROOT / "docs" / "TUTORIAL.md", "python"), 1):
            exec(compile(block, f"TUTORIAL.md, block {number}", "exec"), names)
    return folder, names, printed.getvalue()


def test_the_tutorial_runs_and_its_results_hold(tutorial, monkeypatch):
    folder, names, printed = tutorial
    monkeypatch.chdir(folder)
    result, scan = names["result"], names["scan"]
    assert result.T_first_frame.shape == (24, 4, 4) and np.isfinite(result.T_first_frame).all()
    assert (folder / "volume.nrrd").is_file() and (names["volume"].accumulation > 0).any()
    assert np.array_equal(names["same"].frames(2, 4), scan.frames(2, 4))
    assert names["judged"].GPE_identity > 0 and 0 < names["agreed"].overlap <= 1
    assert "GPE" in printed and "warning:" in printed


def test_a_cine_loop_becomes_a_volume_in_ten_lines(tmp_path, monkeypatch, capsys):
    """DICOM-TO-VOLUME.md as it stands, in an empty folder."""
    pytest.importorskip("pydicom", reason="NOT RUN: pydicom is not installed (extra [dicom])")
    monkeypatch.chdir(tmp_path)
    making, ten = blocks(ROOT / "docs" / "DICOM-TO-VOLUME.md", "python")
    assert len([line for line in ten.splitlines() if line.strip()]) <= 10
    names: dict = {}
    for block in (making, ten):
        exec(compile(block, "DICOM-TO-VOLUME.md", "exec"), names)
    assert names["volume"].data.any() and (tmp_path / "motion.png").is_file() and names["again"].scan.name == "cine"
    np.testing.assert_allclose(names["again"].T_first_frame, names["result"].T_first_frame, atol=1e-12)
    assert "Reconstruction of cine: 24 frames" in capsys.readouterr().out
    assert {path.name for path in (tmp_path / "cine").iterdir()} >= {"poses.h5", "volume.nrrd", "report.html"}


def test_the_five_lines_of_the_contract(tutorial, tmp_path, monkeypatch):
    """README's example, as it stands, on a scan called scan.h5; and what the contract promises of its values."""
    folder, names, _ = tutorial
    shutil.copy(folder / "data" / "frames_transfs" / "000" / "RH_rotation.h5", tmp_path / "scan.h5")
    shutil.copy(folder / "data" / "calib_matrix.csv", tmp_path)
    monkeypatch.chdir(tmp_path)
    (example,) = blocks(ROOT / "README.md", "python")
    found: dict = {}
    exec(compile(example, "README.md", "exec"), found)
    result, scan = found["result"], found["scan"]
    N = scan.n_frames
    assert [a.shape for a in (result.T_first_frame, result.T_prev_frame, result.covariance, result.confidence)] == [
        (N, 4, 4), (N, 4, 4), (N, 6, 6), (N,)]
    assert result.confidence.dtype == np.float32 and result.T_first_frame.dtype == np.float64
    assert np.array_equal(result.T_first_frame[0], np.eye(4)) and np.array_equal(result.T_prev_frame[0], np.eye(4))
    np.testing.assert_allclose(result.T_first_frame, names["result"].T_first_frame, atol=1e-9)
    fields = sr.ddf.fields(result.T_first_frame, scan.scale)
    assert fields.shape == (N - 1, 3, 307200) and fields.dtype == np.float32
    np.testing.assert_allclose(fields[4], list(sr.ddf.blocks(result.T_first_frame, scan.scale))[4], atol=1e-5)
    at = sr.ddf.landmarks(result.T_first_frame, scan.scale, np.array([[5, 10, 20]]))
    np.testing.assert_allclose(at[:, 0], fields[4].reshape(3, 480, 640)[:, 19, 9], atol=1e-4)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_pictures_are_there(page):
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.S)
    for target in re.findall(r"\]\(([^)#\s]+)", text):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def commands() -> list[tuple[str, str]]:
    """(page, command) of every call of this program in the documentation."""
    found = []
    for page in PAGES:
        for block in blocks(page, "(?:sh|)"):
            for line in block.replace("\\\n", " ").splitlines():
                if match := re.search(r"(?:cli\.py|speckle-rec) ([a-z]+ .*)", line.split("&&")[0].split(" #")[0]):
                    found.append((page.name, match[1]))
    return found


@pytest.mark.parametrize("page, command", commands())
def test_commands_of_the_pages_exist(page, command, capsys):
    words = shlex.split(command)
    assert main([words[0], "--help"]) == 0
    told = capsys.readouterr().out
    known = set(re.findall(r"(?<![\w-])--?[a-z][\w-]*", told[told.index("Options:"):]))
    assert {word for word in words[1:] if word.startswith("-")} <= known


def cited(text: str) -> set[str]:
    """Numbers of equations in a text, such as the (5.4b) of a comment; (4.5) after a name is a call."""
    return set(re.findall(r"(?<![\w\])}])\(([1-9]\.\d{1,2}[a-z]?)\)", text))


def remarks(source: Path) -> str:
    """Comments and strings of a source file."""
    with tokenize.open(source) as file:
        return "\n".join(token.string for token in tokenize.generate_tokens(file.readline)
                         if token.type in (tokenize.COMMENT, tokenize.STRING))


def test_numbers_of_equations_are_recognised():
    assert cited("METHOD.md (3.4), (5.4b); held  # (8.3)") == {"3.4", "5.4b", "8.3"}
    assert not cited("np.float32(4.5) + f(x)(1.5), (0.5), (12.3), [k](1.2)")


def test_every_equation_that_is_cited_stands_in_the_method():
    method = METHOD.read_text(encoding="utf-8")
    tags = re.findall(r"\\tag\{([^}]*)\}", method)
    assert len(tags) == len(set(tags)) > 50
    assert cited(method) <= set(tags)
    of_page = re.compile(r"METHOD(?:\.md)?\]?(?:\([^)]*\))?,? \((\d\.\d+[a-z]?)\)")
    package = ROOT / "speckle_rec"      # where a number in brackets is an equation; elsewhere the page is named
    found = {path.relative_to(ROOT).as_posix():
             cited(remarks(path)) if path.is_relative_to(package) else set(of_page.findall(remarks(path)))
             for path in SOURCES}
    found |= {path.relative_to(ROOT).as_posix(): set(of_page.findall(path.read_text(encoding="utf-8")))
              for path in PAGES}
    assert sum(map(len, found.values())) > 60       # or they are not recognised any more
    assert {path: sorted(numbers - set(tags)) for path, numbers in found.items() if numbers - set(tags)} == {}


def test_every_section_that_is_cited_stands_in_the_method():
    sections = set(re.findall(r"^## (\d+)\.", METHOD.read_text(encoding="utf-8"), re.M))
    for path in SOURCES:
        assert set(re.findall(r"METHOD\.md,? sections? (\d+)", remarks(path))) <= sections, path


def test_the_method_can_be_read():
    text = METHOD.read_text(encoding="utf-8")
    assert len(text.split()) <= 5000
    assert text.count("$$") % 2 == 0 and all(equation.count("{") == equation.count("}")
                                             for equation in re.findall(r"\$\$(.*?)\$\$", text, re.S))


def test_names_of_the_method_are_those_of_the_code():
    names = re.findall(r"`([A-Za-z_.]+)`", METHOD.read_text(encoding="utf-8"))
    words = set(re.findall(r"\w+", "\n".join(path.read_text(encoding="utf-8") for path in SOURCES
                                             if path.is_relative_to(ROOT / "speckle_rec"))))
    assert len(names) > 50 and {name for name in names if not set(name.split(".")) <= words} == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_page_rests_on_a_script_that_is_gone(page):
    assert not re.search(r"throw-?away", page.read_text(encoding="utf-8"))


def only(pattern: str, page: str) -> tuple[str, ...]:
    """The groups of the one place of a page that matches."""
    (found,) = re.findall(pattern, (ROOT / page).read_text(encoding="utf-8"))
    return found if isinstance(found, tuple) else (found,)


NUMBER = r"(-?\d*\.\d+)"
TWICE = {       # a number that stands in two places: the same digits in both
    "demo": ((rf"the demo: .*? \| 240 \| {NUMBER} \| {NUMBER} \|", "README.md"),
             (rf"\| speckle \| {NUMBER} \| [.\d]+ \| [.\d]+ \| {NUMBER} \|", "docs/BENCHMARK-engines.md")),
    "ten scans": ((rf"\| ten scans .*?\| 1600 \| {NUMBER} \({NUMBER}\)", "README.md"),
                  (rf"\| \*\*mean\*\* \| \*\*{NUMBER}\*\*[^$]*?a mean of {NUMBER}\.", "docs/BENCHMARKS.md")),
    "another lens": ((rf"another lens than calibrated.*?\| 1600 \| {NUMBER}", "README.md"),
                     (rf"as `evaluate` prints them, {NUMBER} and", "docs/BENCHMARKS.md")),
    "all effects": ((rf"with persistence, dropped frames.*?\| 1600 \| {NUMBER}", "README.md"),
                    (rf"as `evaluate` prints them, [.\d]+ and {NUMBER}\)", "docs/BENCHMARKS.md")),
    "worked example": ((rf"calibrated on three others \| 300 \| {NUMBER}", "README.md"),
                       (rf"\| mean, mirror bit given \| {NUMBER}", "docs/WORKED-EXAMPLE.md")),
    "real limb": ((rf"real limb.*?\| 21 \| {NUMBER}", "README.md"),
                  (rf"\| BoneUltrasound_L14 \| {NUMBER}", "docs/BENCHMARKS.md")),
    "GPU": ((rf"is measured {NUMBER} times as fast", "docs/GPU.md"),
            (rf"\| all measurements .*\| +{NUMBER} \|", "docs/BENCHMARKS.md")),
    "poses on a GPU": ((rf"Poses of the tests' scan.*within {NUMBER} mm", "docs/BENCHMARKS.md"),
                        (rf"\| poses of a scan \| {NUMBER} mm", "docs/GPU.md")),
}


@pytest.mark.parametrize("name", TWICE)
def test_a_number_that_stands_twice_is_the_same(name):
    here, there = TWICE[name]
    assert only(*here) == only(*there)


def test_means_of_tables_are_those_of_their_rows():
    text = (ROOT / "docs" / "BENCHMARKS.md").read_text(encoding="utf-8")
    rows = np.array([[float(cell) for cell in re.findall(r"\| ([.\d]+)(?=%? \|)", row)][:6]
                     for row in re.findall(r"^\| 70\d [LR]H(.*)$", text, re.M)])
    means = re.findall(r"[\d]*\.[\d]+", *re.findall(r"^\| \*\*mean\*\*(.*)$", text, re.M)[:1])
    assert rows.shape == (10, 6)
    np.testing.assert_allclose([float(mean) for mean in means[:6]], rows.mean(0), atol=0.006)
    np.testing.assert_allclose(float(means[0]), rows[:, 0].mean(), atol=0.00051)
    sweeps = re.findall(r"^\| 72\d (.*)\|$", text, re.M)
    mean = np.mean([float(value) for row in sweeps for value in re.findall(r"\.\d{3}", row)])
    assert only(r"Mean (\.\d{3})\. Along the plane", "docs/BENCHMARKS.md") == (f"{mean:.3f}"[1:],)
    left, right = (float(value) for value in only(
        rf"LH_rotation \| {NUMBER}(?:[^$]*?)RH_rotation, as decided \| {NUMBER}", "docs/WORKED-EXAMPLE.md"))
    assert float(only(rf"300 \| [.\d]+ \({NUMBER}\)", "README.md")[0]) == pytest.approx((left + right) / 2, abs=0.005)


def test_the_page_of_the_shipped_calibration_is_of_its_file():
    page, made = "docs/BENCHMARKS-calibration.md", sr.Calibration.default("curvilinear")
    curves, figures = made.curves, made.figures
    held_out = figures["held_out"]["mixture, signs, tissue factor"]
    for pattern, values in [
            (r"the six, subjects left out" + rf" \| {NUMBER} \+- {NUMBER} \({NUMBER}\)" * 3,
             [held_out[name][key] for name in ("focus", "yaw", "tilt")
              for key in ("gain_mean", "gain_sd", "error_median")]),
            (rf"rms missed \| {NUMBER}", [held_out["rho_rms"]]),
            (rf"lens: waist at depth \| {NUMBER} mm at {NUMBER} mm", [curves.waist_mm, curves.focus_mm]),
            (rf"a free lens would be \| {NUMBER} mm at {NUMBER} mm",
             [figures["free_lens"][key] for key in ("waist_mm", "focus_mm")]),
            (r"steering \(3.9\) \| (\d+) per", [curves.steering]),
            (rf"rows \(3.11\) \| {NUMBER}", [curves.rows]),
            (rf"gain of the engine \(7.9\) \| {NUMBER}", [made.gain]),
            (rf"gain of fans over that of turns \| {NUMBER}", [made.fan]),
            (rf"fans where planes cross \(7.9b\) \| {NUMBER} and {NUMBER} mm",
             [made.crossed_fans.share, made.crossed_fans.slide_mm]),
            (rf"scale uncertainty, .*? \| {NUMBER}", [curves.scale_uncertainty])]:
        told = only(pattern, page)
        digits = [len(number.partition(".")[2]) for number in told]
        assert [float(number) for number in told] == [round(value, n) for value, n in zip(values, digits, strict=True)]


def test_citation_and_changelog_are_of_this_version():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text()
    assert f"\n## {version}\n" in (ROOT / "CHANGELOG.md").read_text()


@pytest.mark.skipif(importlib.util.find_spec("myst_parser") is None or importlib.util.find_spec("furo") is None,
                    reason="NOT TESTED: the documentation's site (pip install -e '.[docs]')")
def test_the_site_builds_without_a_warning(tmp_path):
    run = subprocess.run([sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", str(ROOT / "docs"),
                          str(tmp_path)], capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr
    assert (tmp_path / "index.html").is_file() and (tmp_path / "TUTORIAL.html").is_file()
