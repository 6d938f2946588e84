"""``evaluate``: tables, what is resumed, what failed, several processes, a cluster."""

import csv
import json
import os
import sys

import h5py
import numpy as np
import pytest
from small_scans import dataset

from speckle_rec import geometry
from speckle_rec.cli import main
from speckle_rec.compute.workers import run_all
from speckle_rec.errors import InputError, SpeckleRecError
from speckle_rec.evaluation import outcome
from speckle_rec.evaluation.datasets import evaluate_dataset
from speckle_rec.result import Reconstruction
from speckle_rec.scan import Scan
from speckle_rec.scoring import score

NAMES = ("007/RH_rotation", "007/LH_rotation", "008/RH_rotation")


def read(path):
    with open(path, newline="") as file:
        return {row["scan"]: row for row in csv.DictReader(file)}


@pytest.mark.parametrize("layout", ["train", "val"])
def test_tables_hold_the_score_of_every_scan(tmp_path, fake_pipeline, layout, capsys):
    root = dataset(tmp_path / "data", NAMES, layout)
    assert main(["evaluate", str(root), "-o", str(tmp_path / "out"), "--no-progress"]) == 0
    out = tmp_path / "out"
    assert "ImFusion" in capsys.readouterr().out
    rows = read(out / "metrics.csv")
    assert tuple(next(iter(rows.values()))) == (
        "scan", "GPE", "GLE", "LPE", "LLE", "GPE_identity", "GLE_identity", "LPE_identity", "LLE_identity",
        "GPE_normalised", "GLE_normalised", "LPE_normalised", "LLE_normalised", "final", "global", "local", "pixel",
        "landmark", "final_mirror_given", "runtime_s")
    names = sorted("sub" + name.replace("/", "__") for name in NAMES)
    assert list(rows) == [*names, "mean"]
    folder = root / ("frames_transfs" if layout == "train" else "frames")
    for name in names:
        scan = Scan.open(folder / name[3:6] / f"{name[8:]}.h5")
        result = fake_pipeline(scan)
        true = scan.T_first_frame_tracked
        args = (result.T_first_frame, result.T_prev_frame, true, geometry.steps(true), scan.scale, scan.shape,
                scan.landmarks)
        wanted = score.evaluate(*args).as_dict()
        for key in (*score.ERRORS, *outcome.IDENTITY, *outcome.NORMALISED, *outcome.SCORES):
            assert float(rows[name][key]) == pytest.approx(wanted[key], rel=1e-6)
        assert float(rows[name]["final_mirror_given"]) == pytest.approx(score.with_mirror_given(*args)[0].final)
        assert {"poses.h5", "summary.json"} <= {p.name for p in (out / "scans" / name).iterdir()}
    assert float(rows["mean"]["final"]) == pytest.approx(np.mean([float(rows[n]["final"]) for n in names]), rel=1e-6)
    given = read(out / "metrics_mirror_given.csv")
    assert all(float(given[n]["final"]) >= float(rows[n]["final"]) for n in names)
    with h5py.File(out / "metrics.h5") as file:
        assert sorted(file) == ["GLE", "GPE", "LLE", "LPE", "time_elapsed"]
        np.testing.assert_allclose(file["GPE"], [float(rows[n]["GPE"]) for n in names])
        assert file["time_elapsed"].shape == (3,)
    assert float(read(out / "drift.csv")[names[0]]["path_length_mm"]) > 0


def test_finished_scans_are_not_done_again(tmp_path, fake_pipeline, capsys):
    root, out = dataset(tmp_path / "data", NAMES), tmp_path / "out"
    command = ["evaluate", str(root), "-o", str(out), "-q"]
    assert main(command) == 0
    first = (out / "metrics.csv").read_text()
    stamps = {p: p.stat().st_mtime_ns for p in out.glob("scans/*/poses.h5")}
    (out / "scans" / "sub008__RH_rotation" / "poses.h5").unlink()
    (out / "scans" / "sub008__RH_rotation" / "summary.json").unlink()
    for left in (out / "scans" / "sub008__RH_rotation").iterdir():
        left.unlink()
    assert main(command) == 0
    again = [p for p, stamp in stamps.items() if p.stat().st_mtime_ns != stamp]
    assert [p.parent.name for p in again] == ["sub008__RH_rotation"]
    without_time = [[line.rsplit(",", 1)[0] for line in text.splitlines()[:4]]
                    for text in (first, (out / "metrics.csv").read_text())]
    assert without_time[0] == without_time[1]
    assert main([*command, "--overwrite"]) == 0
    assert all(p.stat().st_mtime_ns != stamp for p, stamp in stamps.items())


def test_a_folder_is_not_shared_by_two_evaluations(tmp_path, capsys):
    root, out = dataset(tmp_path / "data"), tmp_path / "out"
    evaluate_dataset(root, out, engine="identity")
    with pytest.raises(InputError, match="another engine"):
        evaluate_dataset(root, out, engine="inplane")
    with pytest.raises(InputError, match="another speckle calibration"):
        evaluate_dataset(root, out, engine="identity", calibration_hash="abc")


def test_failed_scans_count_zero_and_are_listed(tmp_path, fake_pipeline, monkeypatch, capsys):
    root, out = dataset(tmp_path / "data", NAMES, "val"), tmp_path / "out"

    def sometimes(scan, **options):
        if scan.name == "sub007__RH_rotation":
            raise RuntimeError("no\nspeckle")
        return fake_pipeline(scan, **options)

    monkeypatch.setattr(sys.modules["speckle_rec.pipeline"], "reconstruct", sometimes)
    (root / "frames" / "008" / "RH_rotation.h5").unlink()
    assert main(["evaluate", str(root), "-o", str(out), "--no-progress"]) == 1
    printed = capsys.readouterr()
    assert "unexpected RuntimeError: no speckle" in printed.out and "sub008__RH_rotation" in printed.err
    rows = read(out / "metrics.csv")
    failed = rows["sub007__RH_rotation"]
    assert failed["final"] == "0" and failed["GPE"] == "" and float(failed["GPE_identity"]) > 0
    assert rows["sub008__RH_rotation"]["final"] == ""       # no frames, nothing to judge: listed, not in the mean
    assert float(rows["mean"]["final"]) == pytest.approx(float(rows["sub007__LH_rotation"]["final"]) / 2)
    assert list(json.loads((out / "summary.json").read_text())["failed"]) == [
        "sub007__RH_rotation", "sub008__RH_rotation"]
    with h5py.File(out / "metrics.h5") as file:
        assert np.isnan(file["GPE"][1]) and np.isfinite(file["GPE"][0])
    monkeypatch.setattr(sys.modules["speckle_rec.pipeline"], "reconstruct", fake_pipeline)
    assert main(["evaluate", str(root), "-o", str(out), "-q"]) == 1      # what failed is tried again
    assert list(json.loads((out / "summary.json").read_text())["failed"]) == ["sub008__RH_rotation"]


def test_poses_that_are_not_finite_are_a_failure(tmp_path, fake_pipeline, monkeypatch):
    def broken(scan, **options):
        T = np.full((scan.n_frames, 4, 4), np.nan)
        return Reconstruction(T, T, np.zeros((scan.n_frames, 6, 6)), np.zeros(scan.n_frames, np.float32))

    monkeypatch.setattr(sys.modules["speckle_rec.pipeline"], "reconstruct", broken)
    found = evaluate_dataset(dataset(tmp_path / "data"), tmp_path / "out")
    assert "not finite" in found.failed["sub007__RH_rotation"] and found.mean()["final"] == 0


def test_bad_usage_is_one_line(tmp_path, capsys):
    assert main(["evaluate", str(tmp_path), "-o", str(tmp_path / "out")]) == 2
    root = dataset(tmp_path / "data")
    assert main(["evaluate", str(root), "-o", str(tmp_path / "out"), "--scans", "sub9*"]) == 2
    assert main(["evaluate", str(root), "-o", str(tmp_path / "out"), "--calibration", "none.json"]) == 2
    assert capsys.readouterr().err.count("\n") == 3


def same_but_time(a, b):
    for x, y in zip(a.rows, b.rows, strict=True):
        found, expected = ({k: v for k, v in z.score.items() if k != "runtime_s"} for z in (x, y))
        assert found == pytest.approx(expected, rel=1e-12, abs=1e-12)     # sums over threads differ in the last bit


def test_two_processes_give_the_same(tmp_path):
    root = dataset(tmp_path / "data", NAMES)
    serial = evaluate_dataset(root, tmp_path / "one", engine="identity")
    assert serial.mean()["final"] == 0
    same_but_time(serial, evaluate_dataset(root, tmp_path / "two", engine="identity", jobs=2))


def die_or_square(x):
    if x == 3:
        os._exit(9)
    return x * x


def test_a_process_that_dies_takes_only_its_own_task_along():
    found = dict(run_all(die_or_square, range(5), jobs=2))
    assert {i: v for i, v in found.items() if i != 3} == {i: i * i for i in range(5) if i != 3}
    assert isinstance(found[3], SpeckleRecError) and "died" in str(found[3])


def process_id(_):
    import time
    time.sleep(0.2)
    return os.getpid()


def test_a_cluster_of_two_workers(tmp_path):
    distributed = pytest.importorskip("distributed", reason="dask is not installed: --scheduler is NOT tested; "
                                                            "pip install 'speckle-rec[cluster]'")
    root = dataset(tmp_path / "data", NAMES)
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=True, host="127.0.0.1",
                                  dashboard_address=None) as cluster:
        pids = {pid for _, pid in run_all(process_id, range(6), scheduler=cluster.scheduler_address)}
        assert len(pids) == 2 and os.getpid() not in pids
        found = evaluate_dataset(root, tmp_path / "far", engine="identity", scheduler=cluster.scheduler_address)
    same_but_time(found, evaluate_dataset(root, tmp_path / "near", engine="identity"))


def test_no_scheduler_there(tmp_path, monkeypatch):
    pytest.importorskip("distributed", reason="dask is not installed: --scheduler is NOT tested")
    monkeypatch.setattr("speckle_rec.compute.workers.CONNECT_S", 0.5)
    with pytest.raises(InputError, match="no dask scheduler answers"):
        list(run_all(process_id, [1], scheduler="tcp://127.0.0.1:9"))
