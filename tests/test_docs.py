"""The documentation does what it says: examples run, links lead somewhere, the site builds without a warning."""

import importlib.util
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

import speckle_rec as sr
from speckle_rec.cli import main

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])


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
