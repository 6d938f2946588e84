"""What befalls a run from outside: kill -9, Ctrl-C, a full disk, a folder that is not ours, scans and workers lost."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from small_scans import dataset, random_poses, speckle, write_scan

from speckle_rec.calibrating import training
from speckle_rec.cli import main
from speckle_rec.compute import workers
from speckle_rec.errors import SpeckleRecError
from speckle_rec.evaluation.datasets import evaluate_dataset
from tools.reliability import kill

ROOT = Path(__file__).resolve().parents[1]
NAMES = ("007/RH_rotation", "008/RH_rotation")
TOLD = "speckle-rec: "


def start(arguments, **options):
    return subprocess.Popen([sys.executable, str(ROOT / "cli.py"), *map(str, arguments)], stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True, **options)


@pytest.mark.parametrize("verb, name", [("reconstruct", "r"), ("evaluate", "e")])
def test_killed_while_writing(tmp_path, verb, name):
    data = dataset(tmp_path / "data", NAMES, n_frames=8)
    job = next(job for job in kill.jobs(data) if job.name == verb)
    reference = tmp_path / "reference" / "out"
    assert kill.finish(job, reference)[0] == 0 and (reference / name).is_dir()
    working, wrong = kill.trial(job, tmp_path / "trial", reference, 60, np.random.default_rng(0), at_partial=True)
    assert working and wrong == []


def test_the_kill_command_sees_half_results_and_differences(tmp_path):
    for side in ("a", "b"):
        folder = tmp_path / side / "r"
        folder.mkdir(parents=True)
        (folder / "poses.h5").write_bytes(b"poses")
        (folder / "summary.json").write_text(json.dumps({"run_times_s": side, "scan": "x"}))
    a, b = tmp_path / "a", tmp_path / "b"
    assert kill.compare(a, b) == [] and kill.half_written(a, b) == []
    (a / "r" / "poses.h5").write_bytes(b"pose")
    assert kill.compare(a, b) == ["r/poses.h5: differs"] and kill.half_written(a, b)
    (a / "r" / "summary.json").unlink()
    assert any("not whole" in line for line in kill.half_written(a, b))


def heard():
    """Ctrl-C, which a shell turns off for what it runs in the background, tests among them."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.parametrize("more", [[], ["-j", "2"]])
def test_interrupted(tmp_path, more):
    """Generous here; `python -m tools.reliability.interrupt` measures how long it takes."""
    data = dataset(tmp_path / "data", NAMES, n_frames=4000)
    process = start(["evaluate", data, "-o", tmp_path / "e", "--no-progress", *more], preexec_fn=heard)
    end = time.monotonic() + 60
    while not (tmp_path / "e" / "evaluation.json").exists():
        assert time.monotonic() < end and process.poll() is None, process.stderr.read()
        time.sleep(0.05)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130 and err == f"{TOLD}interrupted\n" and out == ""
    assert not [path for path in tmp_path.rglob("*") if kill.temporary(path)]


def small_files():
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))


@pytest.mark.parametrize("arguments", [["--no-volume"], ["--ddf"], ["--sequence"]])
def test_files_that_may_not_grow(tmp_path, arguments):
    write_scan(tmp_path / "a.h5", speckle(40), random_poses(40))
    process = start(["reconstruct", tmp_path / "a.h5", "-o", tmp_path / "r", "-q", *arguments], preexec_fn=small_files)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 1 and err.startswith(TOLD) and err.count("\n") == 1 and "defect" not in err, err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.h5"]


@pytest.fixture
def mounted(tmp_path):
    """Mounts a small file system in memory; skipped, and said so, where that is not permitted."""
    places = []

    def mount(options):
        place = tmp_path / f"disk{len(places)}"
        place.mkdir()
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)], capture_output=True,
                              text=True, check=False) if os.geteuid() == 0 else None
        if done is None or done.returncode:
            pytest.skip("NOT TESTED: a full disk and a read-only one, since no file system may be mounted here")
        places.append(place)
        return place

    yield mount
    for place in places:
        subprocess.run(["umount", "-l", str(place)], check=True)


def test_full_disk(tmp_path, mounted):
    disk = mounted("size=256k")
    root = dataset(tmp_path / "data", NAMES, n_frames=30)
    for verb, name in (("reconstruct", "r"), ("evaluate", "e"), ("calibrate", "c.h5")):
        (disk / "filler").write_bytes(bytes(210_000))
        process = start([verb, root, "-o", disk / name, "-q"])
        _, err = process.communicate(timeout=120)
        assert process.returncode == 1 and all(line.startswith(TOLD) for line in err.splitlines()), err
        assert "No space left" in err and "defect" not in err, err
        assert not list(disk.rglob("poses.h5")) and not list(disk.rglob("c.h5"))
        (disk / "filler").unlink()
        subprocess.run(["rm", "-rf", str(disk / name)], check=True)
    assert [path for path in disk.iterdir() if not path.name.startswith("c.statistics")] == []


def test_read_only_folder(tmp_path, mounted, capsys, fake_pipeline):
    disk = mounted("size=1m,ro")
    write_scan(tmp_path / "a.h5", speckle(3))
    data = dataset(tmp_path / "data", n_frames=12)
    for arguments in (["reconstruct", tmp_path / "a.h5", "-o", disk / "r"], ["evaluate", data, "-o", disk / "e"],
                      ["calibrate", data, "-o", disk / "c.h5"], ["simulate", disk / "d"]):
        assert main([*map(str, arguments), "-q"]) in (1, 2)
        err = capsys.readouterr().err
        assert err.count("\n") == 1 and str(disk) in err and "defect" not in err, err


def test_a_scan_that_vanishes(tmp_path, capsys, monkeypatch, fake_pipeline):
    for name in "abc":
        write_scan(tmp_path / f"{name}.h5", speckle(3))

    def lose_the_next(scan, **options):
        (tmp_path / "b.h5").unlink(missing_ok=True)
        return fake_pipeline(scan, **options)

    monkeypatch.setattr(sys.modules["speckle_rec.pipeline"], "reconstruct", lose_the_next)
    arguments = ["reconstruct", *(str(tmp_path / f"{name}.h5") for name in "abc"), "-o", str(tmp_path / "out")]
    assert main([*arguments, "--no-volume", "--no-progress"]) == 1
    out, err = capsys.readouterr()
    assert "2 of 3 scans done, 1 failed" in out and err.count("\n") == 1 and "b.h5: no such file" in err
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a", "c"]


@pytest.mark.parametrize("after_s", [0, 0.3])
def test_interrupted_while_python_imports(tmp_path, after_s):
    process = start(["demo", "--frames", "1600", "-o", tmp_path], preexec_fn=heard)
    end = time.monotonic() + 60
    while "_multiarray_umath" not in Path(f"/proc/{process.pid}/maps").read_text():      # numpy, the first of all
        assert time.monotonic() < end and process.poll() is None
        time.sleep(0.01)
    time.sleep(after_s)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130 and err == f"{TOLD}interrupted\n"


def test_a_scan_that_vanishes_while_it_is_read(tmp_path, capsys, monkeypatch, fake_pipeline):
    write_scan(tmp_path / "a.h5", speckle(3))

    def lose_it(scan, **options):
        (tmp_path / "a.h5").unlink()
        scan.frames(0, 1)

    monkeypatch.setattr(sys.modules["speckle_rec.pipeline"], "reconstruct", lose_it)
    assert main(["reconstruct", str(tmp_path / "a.h5"), "-o", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err.count("\n") == 1 and not (tmp_path / "out").exists()


@pytest.fixture
def two_machines(tmp_path):
    """A dask scheduler and two workers without nannies, each a process of its own; yields address and workers."""
    distributed = pytest.importorskip("distributed", reason="dask is not installed: --scheduler is NOT tested")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])}
    cluster = distributed.LocalCluster(n_workers=0, host="127.0.0.1", dashboard_address=None, processes=True)
    workers = [subprocess.Popen([sys.executable, "-m", "distributed.cli.dask_worker", cluster.scheduler_address,
                                 "--no-nanny", "--nthreads", "1", "--no-dashboard", "--name", name],
                                cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
               for name in ("one", "two")]
    with distributed.Client(cluster) as client:
        client.wait_for_workers(2, timeout=60)
    yield cluster.scheduler_address, workers
    for worker in workers:
        worker.kill()
        worker.wait()
    cluster.close()


def test_a_machine_lost_in_the_middle(tmp_path, two_machines):
    address, workers = two_machines
    root = dataset(tmp_path / "data", [f"{k:03d}/RH_rotation" for k in range(4)], n_frames=40)
    lost = []

    def lose_one(row, done, total):
        if not lost:
            lost.append(workers[0])
            workers[0].kill()

    far = evaluate_dataset(root, tmp_path / "far", engine="speckle", scheduler=address, progress=lose_one)
    near = evaluate_dataset(root, tmp_path / "near", engine="speckle")
    assert workers[0].wait(10) < 0 and workers[1].poll() is None and not far.failed
    for name in (row.name for row in near.rows):
        poses = [(tmp_path / where / "scans" / name / "poses.h5").read_bytes() for where in ("far", "near")]
        assert poses[0] == poses[1]
    assert kill.content(tmp_path / "far" / "metrics.csv") == kill.content(tmp_path / "near" / "metrics.csv")


def test_calibrate_on_two_machines_of_which_one_is_lost(tmp_path, two_machines, monkeypatch):
    address, workers = two_machines
    root = dataset(tmp_path / "data", [f"{k:03d}/RH_rotation" for k in range(4)], n_frames=40)
    write = training.write

    def lose_one(*arguments):
        workers[0].kill()
        write(*arguments)

    monkeypatch.setattr(training, "write", lose_one)
    collect = ["calibrate", str(root), "--shard", "1/1", "-q"]
    assert main([*collect, "-o", str(tmp_path / "far.h5"), "--scheduler", address]) == 0
    monkeypatch.setattr(training, "write", write)
    assert main([*collect, "-o", str(tmp_path / "near.h5")]) == 0
    assert workers[0].wait(10) < 0
    assert (tmp_path / "far.h5").read_bytes() == (tmp_path / "near.h5").read_bytes()


def test_a_cluster_that_has_lost_all_its_machines(tmp_path, two_machines, monkeypatch):
    address, machines = two_machines
    monkeypatch.setattr(workers, "POLL_S", 1)
    monkeypatch.setattr(workers, "WORKERS_BACK_S", 3)
    root = dataset(tmp_path / "data", [f"{k:03d}/RH_rotation" for k in range(4)], n_frames=40)

    def lose_both(*_):
        for machine in machines:
            machine.kill()

    with pytest.raises(SpeckleRecError, match=r"no workers for \d+ s, . of 4 tasks are not done"):
        evaluate_dataset(root, tmp_path / "far", engine="speckle", scheduler=address, progress=lose_both)


@pytest.mark.timeout(120)
def test_results_that_are_lost_with_their_machines_are_not_waited_for(two_machines, monkeypatch):
    import distributed
    address, machines = two_machines
    monkeypatch.setattr(workers, "POLL_S", 1)
    monkeypatch.setattr(workers, "WORKERS_BACK_S", 3)
    wait = distributed.wait

    def wait_for_all(futures, timeout, return_when):
        return wait(futures, timeout=timeout, return_when="ALL_COMPLETED" if len(futures) == 4 else return_when)

    monkeypatch.setattr(distributed, "wait", wait_for_all)
    ended = workers.run_all(abs, [-1, -2, -3, -4], scheduler=address)
    _, first = next(ended)
    assert first in (1, 2, 3, 4)
    for machine in machines:
        machine.kill()
    with pytest.raises(SpeckleRecError, match=r"no workers for \d+ s, 3 of 4 tasks are not done"):
        list(ended)


CARELESS = """
import os, sys, time
from speckle_rec.compute.workers import run_all

def work(path):
    with open(path, "w") as file:
        file.write(str(os.getpid()))
    time.sleep(120)

if __name__ == "__main__":
    list(run_all(work, sys.argv[1:], jobs=2))
"""


def test_no_worker_outlives_a_run_that_is_killed(tmp_path):
    script = tmp_path / "careless.py"
    script.write_text(CARELESS)
    marks = [tmp_path / "a", tmp_path / "b"]
    run = subprocess.Popen([sys.executable, str(script), *map(str, marks)])
    try:
        end = time.monotonic() + 60
        while not all(m.is_file() and m.read_text() for m in marks) and time.monotonic() < end:
            time.sleep(0.1)
        workers = [int(m.read_text()) for m in marks]
    finally:
        run.kill()
        run.wait()
    end = time.monotonic() + 10
    while any(alive(w) for w in workers) and time.monotonic() < end:
        time.sleep(0.1)
    assert not any(alive(w) for w in workers)


def alive(process: int) -> bool:
    """Whether a process runs: one that has ended and that nobody has asked after does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False
