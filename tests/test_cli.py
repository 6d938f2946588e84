import io
import json
import os
import re
import subprocess
import sys
import time
import types
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from small_scans import random_poses, speckle, write_scan

from speckle_rec.cli import main

QUICK = ["--no-volume", "--no-progress"]


@pytest.fixture(autouse=True)
def _in_a_clean_folder(tmp_path, monkeypatch, fake_pipeline):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")


def test_reconstruct_to_the_default_place(tmp_path, scan_file, capsys):
    assert main(["reconstruct", str(scan_file), *QUICK]) == 0
    folder = tmp_path / "results" / "sub007__RH_rotation"
    out = capsys.readouterr().out
    assert str(folder) in out.splitlines() and "path of the image centre [mm]" in out
    assert {"poses.h5", "summary.json", "config.toml", "poses_tum.txt", "poses_kitti.txt"} <= {
        p.name for p in folder.iterdir()}
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["path_length_mm"] == pytest.approx(0.5)


@pytest.mark.figures
def test_volume_and_figures(tmp_path, scan_file, capsys):
    pytest.importorskip("speckle_rec.volume")
    pytest.importorskip("speckle_rec.report.html")
    assert main(["reconstruct", str(scan_file), "-o", "out", "-q", "--ddf"]) == 0
    assert {"volume.nrrd", "accumulation.nrrd", "trajectory.png", "report.html", "ddf.h5"} <= {
        p.name for p in (tmp_path / "out").iterdir()}
    assert main(["compound", str(scan_file), "--poses", "out/poses_tum.txt", "-o", "v.nrrd", "-q"]) == 0
    assert main(["compound", str(scan_file), "--poses", "out", "-o", "v.nrrd", "-q"]) == 2
    assert main(["compound", str(scan_file), "--poses", "out", "-o", "v.stl", "-q"]) == 2
    assert main(["compound", str(scan_file), "--poses", "out", "-o", "w.nrrd", "--roi", "0,0,5", "-q"]) == 2
    box = ["--roi", "2,2,-1,8,6,2", "--spacing-mm", "0.5", "--accumulation", "a.nrrd", "--compounding", "maximum"]
    assert main(["compound", str(scan_file), "--poses", "out", "-o", "w.nrrd", *box]) == 0
    assert "14 x 10 x 8 voxels of 0.5 mm" in capsys.readouterr().out and (tmp_path / "a.nrrd").is_file()
    for to, name in (("mha", "volume.mha"), ("nii.gz", "volume.nii.gz"), ("nrrd", "volume.nrrd")):
        pytest.importorskip("SimpleITK")
        assert main(["export", "out", "--to", to, "-q"]) == 0
        assert (tmp_path / "out" / name).stat().st_size > 100
    agreed = json.loads((tmp_path / "out" / "summary.json").read_text())["volume"]["against_tracked"]
    assert 0 <= agreed["overlap"] <= 1
    assert main(["report", "out", "-q"]) == 0


def test_score_stands_in_table_and_summary(tmp_path, scan_file, capsys):
    pytest.importorskip("speckle_rec.scoring.score")
    assert main(["reconstruct", str(scan_file), "-o", "out", *QUICK]) == 0
    out = capsys.readouterr().out
    score = json.loads((tmp_path / "out" / "summary.json").read_text())["score"]
    for name in ("GPE", "LPE", "GPE_identity", "LPE_identity", "final", "final_mirror_given"):
        assert np.isfinite(score[name])
    assert all(word in out for word in ("GPE", "LPE", "identity", "final"))


def test_a_finished_result_is_not_passed_off_as_the_mirror_image(tmp_path, scan_file, capsys):
    command = ["reconstruct", str(scan_file), "-o", "out", *QUICK]
    assert main(command) == 0
    assert main([*command, "--mirrored"]) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert main([*command, "--mirrored", "--overwrite"]) == 0 and main([*command, "--mirrored"]) == 0
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["numbers"]["mirrored"]
    assert main(command) == 2


def test_finished_work_is_skipped(tmp_path, scan_file, capsys):
    command = ["reconstruct", str(scan_file), "-o", "out", *QUICK]
    assert main(command) == 0
    before = (tmp_path / "out" / "poses.h5").stat().st_mtime_ns
    assert main(command) == 0
    assert "finished before" in capsys.readouterr().out
    assert (tmp_path / "out" / "poses.h5").stat().st_mtime_ns == before
    assert main([*command, "--overwrite"]) == 0
    assert (tmp_path / "out" / "poses.h5").stat().st_mtime_ns > before


def test_a_result_of_another_scan_is_not_taken_for_ours(tmp_path, scan_file, capsys):
    write_scan(tmp_path / "b.h5", speckle(3))
    assert main(["reconstruct", str(scan_file), "-o", "out", "-q", *QUICK]) == 0
    assert main(["reconstruct", "b.h5", "-o", "out", "-q", *QUICK]) == 2
    assert "another scan" in capsys.readouterr().err


def test_several_scans_keep_what_succeeded(tmp_path, capsys):
    for name in ("a", "c"):
        write_scan(tmp_path / f"{name}.h5", speckle(3))
    (tmp_path / "b.h5").write_text("damaged")
    assert main(["reconstruct", "*.h5", "-o", "out", *QUICK]) == 1
    out, err = capsys.readouterr()
    assert "2 of 3 scans done, 1 failed" in out and "b.h5" in err and err.count("\n") == 1
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["a", "c"]


def test_a_data_set_is_a_folder_of_scans(tmp_path, scan_file):
    assert main(["reconstruct", str(tmp_path), "-o", "out", "-q", *QUICK]) == 0
    assert (tmp_path / "out" / "sub007__RH_rotation" / "poses.h5").is_file()


def test_unknown_errors_are_one_line_and_do_not_stop_the_others(tmp_path, monkeypatch, capsys):
    def broken(scan, **options):
        raise np.linalg.LinAlgError("singular\nmatrix")

    module = types.ModuleType("speckle_rec.pipeline")
    module.reconstruct = broken
    monkeypatch.setitem(sys.modules, "speckle_rec.pipeline", module)
    write_scan(tmp_path / "a.h5", speckle(3))
    assert main(["reconstruct", "a.h5", *QUICK]) == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "LinAlgError: singular matrix" in err and "Traceback" not in err


@pytest.mark.parametrize("to, name", [("tum", "poses_tum.txt"), ("kitti", "poses_kitti.txt"), ("csv", "poses.csv"),
                                      ("igs.mha", "scan.igs.mha"), ("ply", "frames.ply")])
def test_export(tmp_path, scan_file, capsys, to, name):
    assert main(["reconstruct", str(scan_file), "-o", "out", "-q", *QUICK]) == 0
    capsys.readouterr()
    assert main(["export", "out", "--to", to]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "out" / name)
    assert main(["export", "out", "--to", to, "-o", f"other/{name}"]) == 0
    assert (tmp_path / "other" / name).stat().st_size > 100
    assert main(["export", "out", "--to", to, "-o", f"other/{name}"]) == 2


def test_check_writes_nothing(tmp_path, scan_file, capsys):
    before = sorted(tmp_path.rglob("*"))
    assert main(["check", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "6 of 48 rows x 64 columns" in out and "6 of 6 frames" in out and "memory" in out
    assert sorted(tmp_path.rglob("*")) == before


def test_doctor(capsys):
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert "numpy" in out and "CPU" in out and "GPU" in out


def test_help_names_every_verb(capsys):
    assert main([]) == 0
    out = capsys.readouterr().out
    assert all(verb in out for verb in ("reconstruct", "check", "export", "doctor"))
    assert main(["reconstruct", "--help"]) == 0
    out = capsys.readouterr().out
    assert all(option in out for option in (
        "--out", "--config", "--device", "--jobs", "--overwrite", "--no-progress", "--quiet", "--verbose", "--seed",
        "--calib", "--calibration", "--landmarks", "--ddf", "--volume", "--no-volume", "--sequence"))


def test_sequence(tmp_path):
    write_scan(tmp_path / "a.h5", speckle(3), random_poses(3))
    assert main(["reconstruct", "a.h5", "-o", "out", "--sequence", "-q", *QUICK]) == 0
    assert (tmp_path / "out" / "scan.igs.mha").is_file()


VERBS = ("reconstruct", "evaluate", "benchmark", "check", "calibrate", "export", "compound", "report", "simulate",
         "demo", "doctor")


@pytest.mark.parametrize("verb", VERBS)
def test_help_shows_commands_that_can_be_copied(capsys, verb):
    """Every example is a command of that verb, on a line of its own, whose options exist."""
    assert main([verb, "--help"]) == 0
    told = capsys.readouterr().out
    examples = [line.split("#")[0].split() for line in told.splitlines() if line.startswith("  speckle-rec ")]
    assert examples and all(words[1] == verb for words in examples)
    known = set(told[told.index("Options:"):].replace(",", " ").split())
    used = {word for words in examples for word in words if word.startswith("-")}
    assert used <= known, used - known


@pytest.mark.parametrize("words, meant", [(["reconstuct", "a.h5"], "reconstruct"),
                                          (["reconstruct", "a.h5", "--overwite"], "--overwrite"),
                                          (["export", "out", "--to", "kiti"], "kitti"),
                                          (["reconstruct", "a.h5", "--device", "gpuu"], "gpu")])
def test_did_you_mean(tmp_path, capsys, words, meant):
    write_scan(tmp_path / "a.h5", speckle(3))
    assert main(["reconstruct", "a.h5", "-o", "out", "-q", *QUICK]) == 0
    assert main(words) == 2
    assert meant in capsys.readouterr().err


def test_shell_completion_knows_the_verbs():
    shell = {"_SPECKLE_REC_COMPLETE": "complete_bash", "COMP_WORDS": "speckle-rec re", "COMP_CWORD": "1"}
    command = [sys.executable, str(Path(__file__).resolve().parents[1] / "cli.py")]
    run = subprocess.run(command, env={**os.environ, **shell}, capture_output=True, text=True, timeout=60)
    assert run.stdout.split() == ["reconstruct", "report"]


def test_progress_tells_rate_and_time_left_on_a_terminal_only(monkeypatch, capsys):
    import rich.console

    from speckle_rec.cli import common
    with common.progress_bar(True) as report:
        report("matching", 5, 10)
    assert capsys.readouterr().err == ""
    screen = io.StringIO()
    monkeypatch.setattr(rich.console, "Console", partial(rich.console.Console, file=screen, force_terminal=True,
                                                         width=120))
    with common.progress_bar(True) as report:
        report("mirror tests", 0, 1)
        for done in (0, 400, 800):
            time.sleep(0.02)
            report("matching", done, 1600)
    shown = screen.getvalue()
    assert "mirror tests" in shown and not re.search(r"\b0/1\b", shown)
    assert re.search(r"800/1600  \d+/s", shown) and re.search(r"left .{0,12}\d:\d\d:\d\d", shown)


def test_the_table_ends_in_absolute_paths(tmp_path, scan_file, capsys):
    assert main(["reconstruct", str(scan_file), "-o", "out", *QUICK]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert f"poses     {tmp_path / 'out' / 'poses.h5'}" in lines and lines[-1] == str(tmp_path / "out")
