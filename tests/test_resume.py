"""A result belongs to what it was made of: which finished folders are taken over, added to, or refused."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import h5py
import numpy as np
import pytest
from small_scans import dataset, random_poses, speckle

from speckle_rec.cli import main
from speckle_rec.evaluation.datasets import evaluate_dataset
from speckle_rec.io import calib, naming, plus, staging, tusrec
from speckle_rec.io.tusrec import CALIB_NAME
from speckle_rec.scan import Scan
from speckle_rec.speckle.calibration import Calibration
from speckle_rec.storage import folder as results
from speckle_rec.storage import made_of

ROOT = Path(__file__).resolve().parents[1]
QUICK = ["--no-volume", "--no-progress"]
ANOTHER = "made of another scan"


@pytest.fixture
def estimates(tmp_path, monkeypatch, fake_pipeline):
    """The shapes of the scans that were estimated, in a clean current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    built_in_calibration(tmp_path)
    done = []

    def counted(scan, **options):
        done.append(scan.path)
        return fake_pipeline(scan, **options)

    monkeypatch.setattr(sys.modules["speckle_rec.pipeline"], "reconstruct", counted)
    return done


def built_in_calibration(folder):
    known = calib.built_in()
    calib.write_challenge(folder / CALIB_NAME, known.scale, known.T_tool_image)


def write(path, seed=0, n=4, poses=False):
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.name.endswith(".mha"):
        plus.write(path, iter([(0, speckle(n, seed))]), (n, 48, 64), np.tile(np.eye(4), (n, 1, 1)),
                   image_to_probe=np.diag([0.2, 0.2, 0.2, 1]))
    else:
        built_in_calibration(path.parent)
        tusrec.write_scan(path, speckle(n, seed), random_poses(n, seed) if poses else None)
    return path


def run(*words, more=QUICK):
    return main(["reconstruct", *map(str, words), *more])


def refused(capsys, *words, more=QUICK):
    """The one line that a run is refused with."""
    capsys.readouterr()
    assert run(*words, more=more) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "--overwrite" in err, err
    return err


def made(folder):
    return json.loads((Path(folder) / "summary.json").read_text())["made_of"]


def shown_frames(folder):
    with h5py.File(Path(folder) / "poses.h5") as file:
        return len(file["T_first_frame"])


# -- names

@pytest.mark.parametrize("paths, names", [
    (["a/scan.h5", "b/scan.h5"], ["a__scan", "b__scan"]),
    (["a/scan.h5", "b/scan.h5", "b/other.h5"], ["a__scan", "b__scan", "other"]),
    (["p/a/x/scan.h5", "p/b/x/scan.h5"], ["a__scan", "b__scan"]),
    (["a/x/scan.h5", "a/y/scan.h5", "b/x/scan.h5"], ["a__x__scan", "a__y__scan", "b__x__scan"]),
    (["scan.h5", "scan.igs.mha"], ["scan_h5", "scan_igs_mha"]),
    (["scan.h5", "scan.hdf5", "scan.mha"], ["scan_h5", "scan_hdf5", "scan_mha"]),
    (["a/scan.h5", "a/scan.igs.mha", "b/scan.h5"], ["a__scan_h5", "a__scan_igs_mha", "b__scan_h5"]),
    (["Scan.h5", "scan.h5"], ["Scan_h5", "scan_h5-2"]),
    (["A/scan.h5", "b/SCAN.h5"], ["A__scan", "b__SCAN"]),
    (["a/frames/007/RH.h5", "b/frames/007/RH.h5"], ["a__sub007__RH", "b__sub007__RH"]),
    (["a/scan.h5", "b/scan.h5", "a__scan.h5"], ["a__scan", "b__scan", "a__scan-2"]),
    (["one/scan.h5", "two/deeper/scan.h5"], ["one__scan", "deeper__scan"]),
    (["caf\u00e9.h5", "cafe\u0301.h5"], None),
    ([".hidden/scan.h5", "b/scan.h5"], ["_hidden__scan", "b__scan"]),
])
def test_names_of_folders_are_all_different(tmp_path, monkeypatch, paths, names):
    monkeypatch.chdir(tmp_path)
    found = naming.distinct([Path(p) for p in paths])
    assert names is None or [found[Path(p)] for p in paths] == names
    assert len({name.casefold() for name in found.values()}) == len(paths)
    assert naming.distinct([Path(p) for p in reversed(paths)]) == found
    assert all(not name.startswith(".") and "/" not in name for name in found.values())


def test_long_and_unprintable_folders_give_names_all_the_same(tmp_path):
    deep = ["x" * 190 + k for k in ("\n", "\t")]
    found = naming.distinct([tmp_path / k / "scan.h5" for k in deep])
    assert len(set(found.values())) == 2
    assert all(len(name) <= 203 and name.isprintable() for name in found.values())


def test_scans_of_one_name_do_not_share_a_folder(tmp_path, estimates, capsys):
    write("a/scan.h5", 1, n=3)
    write("b/scan.h5", 2, n=5)
    assert run("a/scan.h5", "a/../b/scan.h5", "-o", "out") == 0
    assert len(estimates) == 2 and "2 of 2 scans done" in capsys.readouterr().out
    assert shown_frames("out/a__scan") == 3 and shown_frames("out/b__scan") == 5
    assert run("a/scan.h5", "b/scan.h5", "-o", "out") == 0 and len(estimates) == 2
    assert capsys.readouterr().out.count("finished before") == 2


def test_two_formats_of_one_name_in_one_folder(tmp_path, estimates):
    write("d/scan.h5", 1, n=3)
    write("d/scan.igs.mha", 2, n=5)
    assert run("d", "-o", "out") == 0
    assert shown_frames("out/scan_h5") == 3 and shown_frames("out/scan_igs_mha") == 5


def test_a_file_given_twice_is_done_once(tmp_path, estimates, capsys):
    write("a/scan.h5")
    (tmp_path / "link").symlink_to("a")
    (tmp_path / "other.h5").symlink_to("a/scan.h5")
    assert run("a/scan.h5", "a/../a/scan.h5", tmp_path / "a" / "scan.h5", "link/scan.h5", "a", "-o", "out") == 0
    assert len(estimates) == 1 and capsys.readouterr().err == ""
    assert run("a/scan.h5", "other.h5", "-o", "out2") == 0
    assert len(estimates) == 2 and "other.h5: the same file as a/scan.h5" in capsys.readouterr().err


def test_links_are_named_by_where_they_lie(tmp_path, estimates):
    for k in (1, 2):
        write(f"store/{k}{k}{k}.h5", k, n=2 + k)
        (tmp_path / f"s{k}").mkdir()
        (tmp_path / f"s{k}" / "scan.h5").symlink_to(tmp_path / "store" / f"{k}{k}{k}.h5")
    assert run("s1/scan.h5", "s2/scan.h5", "-o", "out") == 0
    assert shown_frames("out/s1__scan") == 3 and shown_frames("out/s2__scan") == 4


# -- what differs

def test_the_default_folder_of_another_scan_is_refused(tmp_path, estimates, capsys):
    write("a/scan.h5", 1)
    write("b/scan.h5", 2)
    assert run("a/scan.h5") == 0
    err = refused(capsys, "b/scan.h5")
    assert ANOTHER in err and str(tmp_path / "a" / "scan.h5") in err
    assert run("b/scan.h5", "--overwrite") == 0 and len(estimates) == 2
    assert ANOTHER in refused(capsys, "a/scan.h5")


def test_the_same_place_with_other_frames_is_refused(tmp_path, estimates, capsys):
    write("scan.h5", 1)
    assert run("scan.h5", "-o", "out") == 0
    with h5py.File("scan.h5", "a") as file:
        file["frames"][-1, -1, -1] ^= 1
    assert ANOTHER in refused(capsys, "scan.h5", "-o", "out")


def test_a_moved_scan_is_the_same(tmp_path, estimates, capsys):
    write("a/scan.h5", 1, poses=True)
    assert run("a/scan.h5", "-o", "out") == 0
    (tmp_path / "b").mkdir()
    shutil.move("a/scan.h5", "b/renamed.h5")
    capsys.readouterr()
    assert run("b/renamed.h5", "-o", "out") == 0
    assert "finished before" in capsys.readouterr().out and len(estimates) == 1


def test_content_counts_not_how_it_is_stored(tmp_path, estimates, capsys):
    write("scan.h5", 1)
    assert run("scan.h5", "-o", "out") == 0
    with h5py.File("again.h5", "w") as file:
        file.create_dataset("frames", data=speckle(4, 1), chunks=(1, 48, 64), compression=3)
    assert run("again.h5", "-o", "out") == 0 and len(estimates) == 1


def another_calibration(tmp_path):
    Calibration.shipped().save(tmp_path / "other.h5")
    return ["--calibration", "other.h5"]


def a_config(tmp_path):
    (tmp_path / "c.toml").write_text('fusion = "smooth"\n')
    return ["-c", "c.toml"]


def a_csv(tmp_path):
    calib.write_challenge(tmp_path / "other.csv", np.diag([0.3, 0.3, 1, 1]), calib.built_in().T_tool_image)
    return ["--calib", "other.csv"]


def another_tool(tmp_path):
    calib.write_challenge(tmp_path / "other.csv", calib.built_in().scale, np.eye(4))
    return ["--calib", "other.csv"]


@pytest.mark.parametrize("change, told", [
    (another_calibration, "another speckle calibration"),
    (a_config, "with other settings: fusion revisits (now smooth)"),
    (lambda _: ["--seed", "7"], "with other settings: seed 0 (now 7)"),
    (lambda _: ["--mirrored"], "without --mirrored"),
    (a_csv, "another image calibration: pixels of 0.229389 x 0.22098 mm, now 0.3 x 0.3 mm"),
    (another_tool, "another image-to-tool transform"),
])
def test_other_makings_are_refused_by_name(tmp_path, estimates, capsys, change, told):
    write("scan.h5")
    more = change(tmp_path)
    assert run("scan.h5", "-o", "out") == 0
    err = refused(capsys, "scan.h5", "-o", "out", *more)
    assert told in err and ANOTHER not in err
    assert run("scan.h5", "-o", "out", *more, "--overwrite") == 0
    assert run("scan.h5", "-o", "out", *more) == 0 and len(estimates) == 2
    refused(capsys, "scan.h5", "-o", "out")


@pytest.mark.parametrize("more", [["-j", "1"], ["--device", "cpu"], ["-q"], ["-v"]])
def test_what_does_not_change_a_result_does_not_refuse_it(tmp_path, estimates, capsys, more):
    write("scan.h5")
    assert run("scan.h5", "-o", "out") == 0
    assert run("scan.h5", "-o", "out", *more) == 0 and len(estimates) == 1


def test_the_same_calibration_under_another_name_is_the_same(tmp_path, estimates):
    write("scan.h5")
    more = another_calibration(tmp_path)
    shutil.copy("other.h5", "copy.h5")
    assert run("scan.h5", "-o", "out", *more) == 0
    assert run("scan.h5", "-o", "out", "--calibration", "copy.h5") == 0 and len(estimates) == 1


def test_landmarks_and_tracked_poses(tmp_path, estimates, capsys):
    root = dataset(tmp_path / "data", ["007/RH"], "val")
    scan = root / "frames" / "007" / "RH.h5"
    poses, marks = root / "transfs" / "007" / "RH.h5", root / "landmarks" / "landmark_007.h5"
    shutil.move(marks, "marks.h5")
    assert run(scan, "-o", "out") == 0
    assert "without the landmarks" in refused(capsys, scan, "-o", "out", "--landmarks", "marks.h5")
    assert run(scan, "-o", "out", "--landmarks", "marks.h5", "--overwrite") == 0
    assert run(scan, "-o", "out") == 0 and len(estimates) == 2      # the result knows more than is there now
    with h5py.File("marks.h5", "a") as file:
        file["RH"][3] = 2, 5, 5
    assert "with other landmarks" in refused(capsys, scan, "-o", "out", "--landmarks", "marks.h5")
    with h5py.File(poses, "a") as file:
        file["tforms"][2, 0, 3] += 1
    assert "with other tracked poses" in refused(capsys, scan, "-o", "out")


def test_another_version(tmp_path, estimates, capsys, monkeypatch):
    write("scan.h5")
    assert run("scan.h5", "-o", "out") == 0
    monkeypatch.setattr(made_of, "version", lambda: "99.1")
    assert f"by version {results.version()} (this is 99.1)" in refused(capsys, "scan.h5", "-o", "out")


def test_a_result_that_does_not_say_what_of_is_refused(tmp_path, estimates, capsys):
    write("scan.h5")
    assert run("scan.h5", "-o", "out") == 0
    for value in (None, 3, "x", {}, {"frames": 1, "scale": "x", "settings": [1]}):
        summary = json.loads(Path("out/summary.json").read_text())
        summary["made_of"] = value
        if value is None:
            del summary["made_of"]
        Path("out/summary.json").write_text(json.dumps(summary))
        err = refused(capsys, "scan.h5", "-o", "out")
        assert "did not note what of" in err if not isinstance(value, dict) else ANOTHER in err
    assert run("scan.h5", "-o", "out", "--overwrite") == 0 and run("scan.h5", "-o", "out") == 0


@pytest.mark.parametrize("file, size", [("poses.h5", 0), ("poses.h5", 900), ("poses.h5", -40), ("summary.json", 0),
                                        ("summary.json", 100)])
def test_a_damaged_result_is_told_in_one_line(tmp_path, estimates, capsys, file, size):
    write("scan.h5")
    assert run("scan.h5", "-o", "out") == 0
    path = Path("out") / file
    path.write_bytes(path.read_bytes()[:size])
    assert file in refused(capsys, "scan.h5", "-o", "out")
    assert run("scan.h5", "-o", "out", "--overwrite") == 0 and run("scan.h5", "-o", "out") == 0


def test_poses_of_another_scan_in_the_folder_are_told(tmp_path, estimates, capsys):
    for name, n in (("a", 3), ("b", 5)):
        write(f"{name}.h5", n, n)
        assert run(f"{name}.h5", "-o", name) == 0
    shutil.copy("b/poses.h5", "a/poses.h5")
    assert "poses.h5: expected 3 poses" in refused(capsys, "a.h5", "-o", "a")


def test_one_of_several_that_is_refused_does_not_stop_the_others(tmp_path, estimates, capsys):
    for k, name in enumerate("abc"):
        write(f"{name}.h5", k)
    assert run("a.h5", "b.h5", "-o", "out") == 0
    write("a.h5", 9)
    assert run("a.h5", "b.h5", "c.h5", "-o", "out") == 1
    out, err = capsys.readouterr()
    assert "2 of 3 scans done" in out and ANOTHER in err and err.count("\n") == 1 and len(estimates) == 3


# -- what is missing

def content(folder):
    return {path.name: path.read_bytes() for path in Path(folder).iterdir()
            if path.suffix not in (".json", ".toml", ".html")}


@pytest.mark.figures
@pytest.mark.parametrize("first, then", [([], ["--ddf", "--sequence"]), (["--no-volume", "--ddf"], [])])
def test_missing_outputs_come_from_the_stored_poses(tmp_path, estimates, capsys, first, then):
    scan = dataset(tmp_path / "data", ["007/RH"]) / "frames_transfs" / "007" / "RH.h5"
    both = [*(word for word in first if word != "--no-volume"), *then]
    assert run(scan, "-o", "out", more=["-q", *first]) == 0
    kept = {name: os.stat(f"out/{name}").st_ino for name in ("poses.h5", "trajectory.png", "poses_tum.txt")}
    Path("out/mine.txt").write_text("a user's own file")
    assert run(scan, "-o", "out", more=["-q", *then]) == 0 and len(estimates) == 1
    assert run(scan, "-o", "at_once", more=["-q", *both]) == 0
    added, at_once = content("out"), content("at_once")
    assert added.pop("mine.txt") == b"a user's own file"
    assert added.keys() == at_once.keys()
    for name in ("ddf.h5", "volume.nrrd", "accumulation.nrrd", "scan.igs.mha", "slices.png"):
        assert added.get(name) == at_once.get(name), name
    assert {name: os.stat(f"out/{name}").st_ino for name in kept} == kept
    summaries = [json.loads(Path(f, "summary.json").read_text()) for f in ("out", "at_once")]
    assert set(summaries[0]) == set(summaries[1]) and set(summaries[0]["run_times_s"]) == set(
        summaries[1]["run_times_s"])
    for key in ("made_of", "score", "numbers", "volume"):
        assert summaries[0][key] == summaries[1][key], key
    configs = [tomllib.loads(Path(f, "config.toml").read_text()) for f in ("out", "at_once")]
    assert configs[0]["outputs"] == configs[1]["outputs"] and configs[0] == configs[1]
    assert Path("out/report.html").stat().st_size > 1000
    assert {p.name for p in tmp_path.iterdir()} - {CALIB_NAME} == {"at_once", "data", "out"}
    assert run(scan, "-o", "out", more=["-q", *both]) == 0
    assert content("out") == {**added, "mine.txt": b"a user's own file"}


def test_fewer_outputs_are_finished(tmp_path, estimates, capsys):
    write("scan.h5")
    assert run("scan.h5", "-o", "out", "--ddf", "--sequence") == 0
    before = content("out")
    assert run("scan.h5", "-o", "out") == 0 and len(estimates) == 1
    assert "finished before" in capsys.readouterr().out and content("out") == before


def test_an_output_that_was_deleted_is_made_again_and_one_cut_short_is_told(tmp_path, estimates, capsys):
    write("scan.h5")
    assert run("scan.h5", "-o", "out", "--ddf") == 0
    whole = Path("out/ddf.h5").read_bytes()
    Path("out/ddf.h5").unlink()
    assert run("scan.h5", "-o", "out", "--ddf") == 0 and len(estimates) == 1
    assert Path("out/ddf.h5").read_bytes() == whole
    Path("out/ddf.h5").write_bytes(whole[:1000])
    capsys.readouterr()
    assert run("scan.h5", "-o", "out", "--ddf") == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "ddf.h5" in err and "1000" in err
    assert run("scan.h5", "-o", "out") == 0


def test_a_config_that_is_no_toml_is_told(tmp_path, estimates, capsys):
    write("scan.h5")
    assert run("scan.h5", "-o", "out") == 0
    Path("out/config.toml").write_text("= 3")
    assert "config.toml" in refused(capsys, "scan.h5", "-o", "out", "--ddf")
    assert not Path("out/ddf.h5").exists()


def test_what_fails_while_outputs_are_added_leaves_the_old_result(tmp_path, estimates, capsys, monkeypatch):
    write("scan.h5")
    assert run("scan.h5", "-o", "out") == 0
    before = {path.name: path.read_bytes() for path in Path("out").iterdir()}

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(results, "write_summary", full)
    assert run("scan.h5", "-o", "out", "--ddf") == 1
    assert {path.name: path.read_bytes() for path in Path("out").iterdir()} == before
    assert {p.name for p in tmp_path.iterdir()} - {CALIB_NAME} == {"out", "scan.h5"}


ADDING = """
import sys
from speckle_rec.cli import main
sys.exit(main(["reconstruct", "scan.h5", "-o", "out", "--no-volume", "--ddf", "--sequence", "-q"]))
"""


SLOWLY = """
import time
from speckle_rec.io import staging
staging._exchange = lambda a, b: time.sleep(0.3)
rename = staging.Path.rename
def slow(a, b):
    done = rename(a, b)
    time.sleep(0.5)
    return done
staging.Path.rename = slow
"""


@pytest.mark.parametrize("exchange", [True, False])
def test_killed_while_outputs_are_added(tmp_path, estimates, monkeypatch, exchange):
    """At whatever moment: the folder is the old one or the new one, whole, and the next run ends well."""
    write("scan.h5", n=6)
    assert run("scan.h5", "-o", "out", more=["--no-volume", "-q"]) == 0
    shutil.copytree("out", "before")
    assert run("scan.h5", "-o", "out", more=["--no-volume", "--ddf", "--sequence", "-q"]) == 0
    shutil.copytree("out", "after")
    whole = {frozenset(content(folder).items()) for folder in ("before", "after")}
    code = ADDING if exchange else SLOWLY + ADDING
    rng = np.random.default_rng(0)

    def filling():
        return list(tmp_path.glob(".out.partial-*"))

    def set_aside():
        return list(tmp_path.glob(".out.partial-*-old"))

    moments = (filling, filling) if exchange else (
        filling, lambda: set_aside() and not Path("out").exists(), lambda: set_aside() and Path("out").exists())
    for reached in moments:
        shutil.rmtree("out")
        shutil.copytree("before", "out")
        process = subprocess.Popen([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(ROOT)})
        end = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < end and not reached():
            time.sleep(0.002)
        if reached is filling:
            time.sleep(rng.exponential(0.02))
        assert process.poll() is None or exchange
        process.send_signal(signal.SIGKILL)
        process.wait()
        if not exchange:
            staging.restore(tmp_path / "out")
        assert frozenset(content("out").items()) in whole
        assert run("scan.h5", "-o", "out", more=["--no-volume", "--ddf", "--sequence", "-q"]) == 0
        assert frozenset(content("out").items()) == frozenset(content("after").items())
        assert not set_aside() and len(estimates) == 1


# -- the same mechanism elsewhere

def test_evaluate_refuses_what_reconstruct_refuses(tmp_path, estimates, capsys):
    root = dataset(tmp_path / "data", ["007/RH", "008/RH"])
    command = ["evaluate", str(root), "-o", "e", "-q"]
    assert main(command) == 0 and len(estimates) == 2
    assert made("e/scans/sub007__RH")["frames"] == made_of.frames_hash(Scan.open(
        root / "frames_transfs" / "007" / "RH.h5"))
    for more, told in ((another_calibration(tmp_path), "another speckle calibration"),
                       (a_config(tmp_path), "with other settings: fusion"), (["--seed", "3"], "seed 0 (now 3)")):
        capsys.readouterr()
        assert main([*command, *more]) == 2
        err = capsys.readouterr().err
        assert err.count("\n") == 1 and told in err and "--overwrite" in err
    with h5py.File(root / "frames_transfs" / "008" / "RH.h5", "a") as file:
        file["frames"][0, 0, 0] ^= 1
    assert main(command) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and ANOTHER in err and "sub008__RH" in err
    assert main([*command, "--overwrite"]) == 0 and len(estimates) == 4


def test_evaluate_goes_on_with_a_data_set_that_has_moved(tmp_path, estimates, capsys):
    root = dataset(tmp_path / "data", ["007/RH"])
    assert main(["evaluate", str(root), "-o", "e", "-q"]) == 0
    shutil.move(root, tmp_path / "moved")
    assert main(["evaluate", "moved", "-o", "e", "-q"]) == 0 and len(estimates) == 1
    dataset(tmp_path / "other", ["009/RH"])
    assert main(["evaluate", "other", "-o", "e", "-q"]) == 2
    assert "another data set" in capsys.readouterr().err


def test_evaluate_makes_damaged_results_again(tmp_path, estimates):
    root = dataset(tmp_path / "data", ["007/RH"])
    assert main(["evaluate", str(root), "-o", "e", "-q"]) == 0
    poses = tmp_path / "e" / "scans" / "sub007__RH" / "poses.h5"
    poses.write_bytes(poses.read_bytes()[:500])
    assert main(["evaluate", str(root), "-o", "e", "-q"]) == 0 and len(estimates) == 2
    assert results.read(poses.parent)


def test_evaluations_that_did_not_note_what_of(tmp_path, estimates, capsys):
    root = dataset(tmp_path / "data", ["007/RH"])
    assert main(["evaluate", str(root), "-o", "e", "-q"]) == 0
    (tmp_path / "e" / "evaluation.json").write_text(json.dumps({"dataset": str(root), "engine": "speckle"}))
    assert main(["evaluate", str(root), "-o", "e", "-q"]) == 2
    assert "did not note what of" in capsys.readouterr().err


def test_a_submission_that_was_changed_is_another_engine(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    root = dataset(tmp_path / "data", ["007/RH"])
    entry = tmp_path / "entry" / "predict_ddfs.py"
    entry.parent.mkdir()
    entry.write_text("import numpy as np\n\ndef predict_ddfs(frames, landmark, data_path_calib, device):\n"
                     "    n, k = len(frames) - 1, frames[0].size\n    z, m = np.zeros((n, 3, k)), "
                     "np.zeros((3, len(landmark)))\n    return z, m, z, m\n")
    command = ["benchmark", str(root), "--engines", f"challenge:{entry}", "-o", "b", "-q"]
    assert main(command) == 0 and main(command) == 0
    entry.write_text(entry.read_text() + "# changed\n")
    assert main(command) == 2 and "another engine" in capsys.readouterr().err


def test_scans_of_a_data_set_that_are_called_alike_are_all_there(tmp_path):
    for k, place in enumerate(("left/RH", "right/RH")):
        write(tmp_path / "data" / "frames_transfs" / f"{place}.h5", k, poses=True)
    found = evaluate_dataset(tmp_path / "data", tmp_path / "e", engine="identity")
    assert [row.name for row in found.rows] == ["left__RH", "right__RH"]


def test_a_sequence_is_exported_with_the_frames_of_the_result_only(tmp_path, estimates, capsys):
    write("scan.h5", 1)
    assert run("scan.h5", "-o", "out") == 0
    write("scan.h5", 2)
    capsys.readouterr()
    assert main(["export", "out", "--to", "igs.mha"]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "other frames" in err
    write("moved.h5", 1)
    assert main(["export", "out", "--to", "igs.mha", "--scan", "moved.h5"]) == 0
    for scan, told in (("scan.h5", True), ("moved.h5", False)):
        for poses in ("out", "out/poses.h5", "out/poses_tum.txt"):
            capsys.readouterr()
            assert main(["compound", scan, "--poses", poses, "-o", "v.nrrd", "-q", "--overwrite"]) == 0
            assert ("other frames" in capsys.readouterr().err) == told


def test_a_finished_folder_notes_what_it_was_made_of(tmp_path, estimates):
    write("scan.h5")
    assert run("scan.h5", "-o", "out", "--ddf") == 0
    found = made("out")
    assert found["path"] == str(tmp_path / "scan.h5") and found["outputs"] == {"ddf.h5": os.stat("out/ddf.h5").st_size}
    assert found["version"] == results.version() and found["settings"]["fusion"] == "revisits"
    assert not {"jobs", "device"} & set(found["settings"])
    np.testing.assert_allclose(found["scale"], Scan.open("scan.h5").scale)
