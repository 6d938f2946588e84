"""What is seen of a run: tables that fit the terminal, words and units, lines and bars, help that is there at once."""

import io
import json
import os
import pty
import re
import struct
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import rich.console
from small_scans import dataset, random_poses, speckle, write_scan

import speckle_rec
from speckle_rec.cli import VERBS, benchmark, cost, evaluate, load, main, progress, tables
from speckle_rec.evaluation.engines import ENGINES
from speckle_rec.evaluation.outcome import Evaluation, Row
from speckle_rec.storage import folder as results
from speckle_rec.storage import outputs as output_files
from speckle_rec.synth import beam, scan
from speckle_rec.synth import dataset as synth

ROOT = Path(__file__).resolve().parents[1]
HEAVY = {"numpy", "numba", "cv2", "scipy", "matplotlib", "h5py", "skimage"}
SCAN = "sub050__RH_Par_C_DtP_second_visit_of_the_left_forearm"
VALUES = {"final": -0.02764, "global": 0.9411, "local": 0.87654, "GPE": 12.345, "GLE": 11.987, "LPE": 0.15345,
          "LLE": 0.12234, "runtime_s": 1612.3, "final_mirror_given": 0.94111}
SHOWN = {"final": "-0.0276", "global": "0.941", "local": "0.877", "GPE": "12.3", "GLE": "12.0", "LPE": "0.153",
         "LLE": "0.122", "s/scan": "1610"}


def screen(monkeypatch, width, terminal=True):
    """Whatever is printed from here on, on a terminal of that width."""
    drawn, real = io.StringIO(), rich.console.Console

    def console(**options):
        if terminal:
            options |= {"width": width, "force_terminal": True, "color_system": None}
        return real(**{**options, "file": drawn})

    monkeypatch.setattr(rich.console, "Console", console)
    return drawn


def rows(count=2):
    return tuple(Row(f"{SCAN}_{k}", VALUES, VALUES, n_frames=600) for k in range(count))


def drawn_tables(text):
    return [line for line in text.splitlines() if line.startswith(tuple("┏┃┡│├└"))]


def columns_of(text):
    """The columns of the first table by heading: lists of texts."""
    lines = [re.split("[│┃]", line)[1:-1] for line in text.splitlines() if line.startswith(("│", "┃"))]
    return {cells[0].strip(): [cell.strip() for cell in cells[1:]] for cells in zip(*lines, strict=True)}


@pytest.mark.parametrize("width, least", [(80, {"final", "global", "local", "GPE", "LPE"}),
                                          (100, {"final", "global", "local", "GPE", "LPE", "s/scan", "LLE"}),
                                          (200, set(SHOWN))])
def test_every_score_can_be_read(monkeypatch, tmp_path, width, least):
    drawn = screen(monkeypatch, width)
    evaluate.show(Evaluation(tmp_path, "speckle", rows()), verbose=True)
    text = drawn.getvalue()
    assert max(map(len, drawn_tables(text))) <= width
    assert least <= set(columns_of(text.split("└")[0]))
    for part in text.split("└")[:2]:
        for heading, cells in columns_of(part).items():
            if heading in SHOWN:
                assert cells[0] == SHOWN[heading], heading
    names = columns_of(text.split("└")[0])["scan"]
    assert len(set(names)) == 2 and all(name.startswith("sub050") and name[-2:] in ("_0", "_1") for name in names)
    assert all(("…" in name) == (width < 200) for name in names) and not re.search(r"[\d.]…", text.split("└")[1])
    left_out = set(SHOWN) - set(columns_of(text.split("└")[0]))
    assert all(heading in text.split("too narrow for")[-1] for heading in left_out)


@pytest.mark.parametrize("width", [80, 100, 200])
def test_every_engine_and_score_can_be_read(monkeypatch, tmp_path, width):
    drawn = screen(monkeypatch, width)
    names = ["speckle", "challenge-of-a-group-with-a-long-name-2024", "challenge-of-a-group-with-a-long-name-2025"]
    benchmark.show({name: Evaluation(tmp_path, name, rows()) for name in names})
    text = drawn.getvalue()
    assert max(map(len, drawn_tables(text))) <= width
    seen = columns_of(text)
    assert len(set(seen["engine"])) == 3 and "speckle" in seen["engine"]
    assert all(name[-4:] in ("2024", "2025") for name in seen["engine"][1:])
    assert seen["final"] == ["-0.0276"] * 3 and seen["mirror given"] == ["0.941"] * 3
    assert not any("…" in cell for heading, cells in seen.items() if heading != "engine" for cell in [heading, *cells])
    if width == 200:
        assert list(seen) == ["engine", "scans", "failed", "final", "mirror given", "global", "local", "GPE", "GLE",
                              "LPE", "LLE", "s/scan", "frames/s"]


def test_a_pipe_gets_every_column_and_whole_names(monkeypatch, tmp_path):
    monkeypatch.setenv("COLUMNS", "80")
    drawn = screen(monkeypatch, 80, terminal=False)
    evaluate.show(Evaluation(tmp_path, "speckle", rows()), verbose=True)
    seen = columns_of(drawn.getvalue().split("└")[0])
    assert set(SHOWN) < set(seen) and seen["scan"] == [f"{SCAN}_0", f"{SCAN}_1"]


@pytest.mark.parametrize("value, text", [(0.94123, "0.941"), (-0.02764, "-0.0276"), (12.345, "12.3"), (123.45, "123"),
                                         (1612.3, "1610"), (0.0, "0.00"), (1, "1"), (16000, "16000"), (None, "-"),
                                         (float("nan"), "-"), (True, "yes"), ("text", "text"), (0.99951, "1.00")])
def test_three_digits_that_count(value, text):
    assert tables.number(value) == text


@pytest.mark.parametrize("width", range(1, 12))
def test_names_are_shortened_in_the_middle(width):
    short = tables.shortened("abcdefghij", width)
    assert len(short) == min(width, 10) and (width >= 10 or "…" in short)
    assert width < 3 or (short[0], short[-1]) == ("a", "j")


@pytest.mark.parametrize("name, told", [("roll_range_deg", "roll range [deg]"), ("path_mm", "path [mm]"),
                                        ("parts_exchanged", "parts exchanged"), ("steps", "steps"),
                                        ("inplane_rms_mm", "in-plane RMS [mm]"), ("mm", "mm")])
def test_words_with_units(name, told):
    assert tables.words(name) == told


SUMMARY = {
    "scan": "RH_[bold]rotation:o:", "n_frames": 1, "rows": 480, "columns": 640, "path_length_mm": 123.456,
    "confidence_mean": 0.876, "run_times_s": {"in-plane motion": 12.345}, "warnings": [],
    "numbers": {"elevational_path_mm": 98.7654, "elevational_path_sd_mm": 12.3456, "device": "cpu", "cells": 455,
                "parts_exchanged": 1, "mirrors_mended": 0, "roll_range_deg": 1.2249},
    "score": {"final": 0.77164, "global": 0.8, "local": 0.7, "GPE": 0.35731, "GPE_identity": 2.0157,
              "GPE_normalised": 0.82274, "final_mirror_given": 0.77164, "steps": {"elevational_rms_mm": 0.057771}}}
VERDICT = {"shape": "doubtful", "scale_percent": 16.04, "handedness": "assumed",
           "why": "the scale rests on a guess about the lens [shipped]"}


@pytest.mark.parametrize("width", [80, 100, 200])
def test_the_result_says_first_what_a_person_wants(monkeypatch, tmp_path, width):
    folder = tmp_path / "a [b] c"
    folder.mkdir()
    (folder / "poses.h5").touch()
    drawn = screen(monkeypatch, width)
    tables.show({**SUMMARY, "verdict": VERDICT}, folder)
    text = drawn.getvalue()
    assert text.startswith("RH_[bold]rotation:o:: 1 frame of 640 x 480\n")
    found = [text.index(word) for word in (
        "doubtful", "+- 16.0 %", "assumed", "why", "path of the image centre [mm]", "123 +- 9.9", "98.8 +- 12 ",
        "0.772", "error [mm]", str(folder / "poses.h5"))]
    assert found == sorted(found) and "[shipped]" in text
    assert text.splitlines()[-1] == str(folder)
    assert not any(word in text for word in ("confidence", "device", "cells", "exchanged", "mended", "roll", "time ",
                                             "path_length_mm", "RMS", "elevational_"))
    tables.show({**SUMMARY, "verdict": VERDICT}, folder, verbose=True)
    text = drawn.getvalue()
    for word in ("mean confidence", "device", "cells", "parts exchanged", "roll range [deg]", "RMS [mm]"):
        assert word in text
    assert re.search(r"time in-plane motion \[s\]\s*│\s*12\.3 ", text)


def test_results_of_earlier_versions_are_shown(monkeypatch, tmp_path):
    drawn = screen(monkeypatch, 80)
    tables.show({**SUMMARY, "score": None, "numbers": {}, "path_length_mm": None}, tmp_path)
    assert "path of the image centre [mm]" in drawn.getvalue() and "shape" not in drawn.getvalue()


def run(*arguments, **options):
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, timeout=120, cwd=ROOT,
                          check=True, **options)


@pytest.mark.parametrize("words", [["--help"], ["--version"], *([verb, "--help"] for verb in VERBS)],
                         ids=" ".join)
def test_help_computes_nothing(words):
    code = (f"import sys; from speckle_rec.__main__ import main; sys.argv[1:] = {words}; status = main(); "
            f"print(status, *sorted({HEAVY} & set(sys.modules)), file=sys.stderr)")
    assert run("-c", code).stderr.split() == ["0"]


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"speckle-rec {speckle_rec.__version__}\n" == f"speckle-rec {results.version()}\n"
    assert f'\nversion = "{speckle_rec.__version__}"\n' in (ROOT / "pyproject.toml").read_text()


@pytest.mark.parametrize("verb", VERBS)
def test_the_list_of_verbs_says_what_they_say_themselves(verb):
    assert " ".join(load(verb).help.split("\n\n")[0].split()) == VERBS[verb]


def test_help_that_is_written_out_is_that_of_the_code(capsys):
    told = {}
    for verb in ("benchmark", "simulate", "compound"):
        assert main([verb, "--help"]) == 0
        told[verb] = " ".join(capsys.readouterr().out.split())
    assert f"Of {', '.join(ENGINES)}, and challenge:PATH" in told["benchmark"]
    usual = beam.Beam()
    for text in (f"aperture, mm (default {usual.aperture_mm:g})", f"focus, mm (default {usual.focus_mm:g})",
                 f"depth, dB (default {usual.noise_db:g})", " or ".join(synth.LAYOUTS), ", ".join(synth.PROTOCOLS),
                 " or ".join(scan.TISSUES)):
        assert text in told["simulate"]
    assert "[default: 2; " in told["compound"]


def test_a_line_a_stage_with_its_time(capsys):
    with progress.progress_bar(False, lines="RH") as report:
        report("matching", 0, 1)
        report("matching", 400, 800)
        assert capsys.readouterr().err == ""
        report("matching", 800, 800)
        report("matching", 1, 1)
        assert re.fullmatch(r"speckle-rec: RH: matching: \d+\.\d s, \d+\.\d s in all\n", capsys.readouterr().err)
        report("fusion", 0, 1)
        report("fusion", 1, 1)
        for done in (1, 2, 3):
            report("scans", done, 3)
    assert [line.split(": ")[2] for line in capsys.readouterr().err.splitlines()] == ["fusion", "scans"]
    with progress.progress_bar(True) as report:
        report("matching", 1, 1)
    assert capsys.readouterr().err == ""


def test_verbose_reconstruct_without_a_terminal(tmp_path, monkeypatch, capsys, fake_pipeline):
    write_scan(tmp_path / "a[b].h5", speckle(3), random_poses(3))
    monkeypatch.chdir(tmp_path)
    assert main(["reconstruct", "a[b].h5", "-o", "out [1]", "-v"]) == 0
    out, err = capsys.readouterr()
    assert re.search(r"^speckle-rec: a\[b\]: matching: .* s in all$", err, re.M)
    assert re.search(r"^speckle-rec: a\[b\]: writing volume: ", err, re.M)
    assert out.startswith("a[b]: 3 frames of") and out.splitlines()[-1] == str(tmp_path / "out [1]")
    assert main(["reconstruct", "a[b].h5", "-o", "out [1]", "--overwrite"]) == 0
    assert "matching" not in capsys.readouterr().err


def test_the_time_left_follows_what_the_stages_took():
    now = [0.0]
    overall = progress.Overall({"a": 10.0, "b": 10.0, "left out": 5.0, "c": 20.0}, lambda: now[0])
    assert overall.left_s() == 45 and overall.share() == 0
    overall("a", 0, 1)
    now[0] = 20.0           # half as fast as usual
    overall("a", 1, 1)
    overall("b", 0, 1)
    assert overall.left_s() == pytest.approx(2 * (10 + 5 + 20))
    overall("b", 50, 100)
    now[0] = 30.0
    assert overall.left_s() == pytest.approx(10 + 2 * 25)
    overall("c", 0, 1)      # what came between was left out
    now[0] = 50.0
    assert 0 < overall.left_s() < 40 and overall.share() == pytest.approx(50 / (50 + overall.left_s()))
    overall("something else", 1, 2)
    overall("c", 1, 1)
    assert overall.left_s() == 0 and overall.share() == 1


@pytest.mark.parametrize("width", [60, 80, 120])
def test_bars_fit_the_terminal(monkeypatch, width):
    drawn = screen(monkeypatch, width)
    usual_s = cost.usual_s(scan_of(1600), output_files.Outputs(sequence=True))
    with progress.progress_bar(True, usual_s=usual_s) as report:
        for stage in usual_s:
            report(stage, 0, 1)
            report(stage, 1234, 1600)
            report(stage, 1, 1)
    lines = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "\n", drawn.getvalue()).splitlines()
    assert max(map(len, lines)) <= width
    assert any(re.match(r"all .*\d+%.* left \d:\d\d:\d\d", line) for line in lines)
    assert any("speckle correlation" in line for line in lines)


def scan_of(n_frames, tracked=None, shape=(480, 640)):
    return SimpleNamespace(n_frames=n_frames, shape=shape, scale=np.diag([0.229, 0.221, 1, 1]), tracked_ok=tracked)


def test_the_prediction_grows_with_what_there_is_to_do():
    def all_s(what, machine=None, **wanted):
        return sum(cost.usual_s(what, output_files.Outputs(**wanted), machine).values())

    few, many = all_s(scan_of(100)), all_s(scan_of(1600))
    assert 4 < few < 30 and 80 < many < 200     # docs/BENCHMARKS.md: 72 to 99 s for the poses of 1600 frames
    assert all_s(scan_of(1600), cost.Machine(one=0.5, all=1.0)) == pytest.approx(2 * many)
    assert all_s(scan_of(100), cost.Machine(to_compile=1.0)) > few + 30
    assert all_s(scan_of(100, tracked=np.ones(100, bool))) > few > all_s(scan_of(100), volume=False)
    assert all_s(scan_of(100, shape=(240, 320))) < few < all_s(scan_of(100), ddf=True, sequence=True)


def test_check_looks_whether_kernels_are_compiled(tmp_path, capsys):
    """A new cache, in a process of its own: the kernels of this one have been found already."""
    write_scan(tmp_path / "a.h5", speckle(3))
    cold = run("cli.py", "check", str(tmp_path / "a.h5"),
               env={**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "cache"), "COLUMNS": "200"}).stdout
    assert re.search(r"estimate .*\(\d+ \w+ of it compiles kernels, once\)", cold)


def test_evaluate_tells_each_scan_as_it_ends(tmp_path, capsys):
    root = dataset(tmp_path / "data", ["007/RH_rotation"])
    assert main(["evaluate", str(root), "-o", str(tmp_path / "e"), "-v"]) == 0
    out, err = capsys.readouterr()
    assert re.search(r"^speckle-rec: sub007__RH_rotation: final \S+, \S+ s \(1 of 1\)$", err, re.M)
    assert "1 scan scored, 0 failed" in out


@pytest.mark.parametrize("count, scans", [(1, "1 scan usable"), (2, "2 scans usable")])
def test_one_is_not_many(tmp_path, capsys, count, scans):
    root = dataset(tmp_path / "data", [f"{k:03d}/RH_rotation" for k in range(2)])
    if count == 1:
        next(root.rglob("001/RH_rotation.h5")).write_text("damaged")
    main(["check", str(root)])
    assert scans in capsys.readouterr().out


def in_terminal(columns, *arguments):
    """What a command draws on a real terminal."""
    import fcntl
    import termios
    parent, child = pty.openpty()
    fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    environment = {key: value for key, value in os.environ.items() if key not in ("COLUMNS", "LINES", "NO_COLOR")}
    process = subprocess.Popen([sys.executable, "cli.py", *arguments], stdin=child, stdout=child, stderr=child,
                               cwd=ROOT, env={**environment, "TERM": "xterm"})
    os.close(child)
    drawn = b""
    try:
        while part := os.read(parent, 65536):
            drawn += part
    except OSError:         # its other end is closed
        pass
    os.close(parent)
    return process.wait(60), re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", drawn.decode())


@pytest.mark.parametrize("columns", [80, 100])
def test_on_a_real_terminal(tmp_path, columns):
    root = dataset(tmp_path / "data", ("007/RH_rotation_of_the_first_visit", "008/LH_rotation_of_the_second_visit"))
    status, drawn = in_terminal(columns, "benchmark", str(root), "--engines", "identity", "-o", str(tmp_path / "b"))
    assert status == 0
    assert max(map(len, drawn_tables(drawn))) <= columns
    seen = columns_of(drawn)
    assert seen["engine"] == ["identity"] and seen["final"] == ["0.00"]
    assert json.loads((tmp_path / "b" / "identity" / "summary.json").read_text())["scored"] == 2
