"""``benchmark``: engines by name, other people's submissions, one table and one figure."""

import csv
import json
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from small_scans import dataset

from speckle_rec import geometry
from speckle_rec.cli import main
from speckle_rec.compute import environment
from speckle_rec.errors import InputError, SpeckleRecError
from speckle_rec.evaluation import engines
from speckle_rec.evaluation.challenge import Submission
from speckle_rec.evaluation.datasets import evaluate_dataset
from speckle_rec.io import tusrec
from speckle_rec.scan import Scan
from speckle_rec.trajectory import hand, phases

NAMES = ("007/RH_rotation", "008/LH_rotation")

# An entry that knows the truth: it reads the transforms of a scan whose first pixels it recognises.
CHEAT = """
import config            # a module of its own, whose name one of ours has too
import numpy as np

def predict_ddfs(frames, landmark, data_path_calib, device):
    T = np.load({truth!r})[str(frames[0, 0, :4].tolist())]
    lines = [line.split(",") for line in open(data_path_calib).read().splitlines()]
    scale = np.array(lines[1:5], float)
    n, rows, columns = frames.shape
    y, x = np.meshgrid(np.arange(1, rows + 1), np.arange(1, columns + 1), indexing="ij")
    p = np.stack([x.ravel(), y.ravel(), 0 * x.ravel(), 0 * x.ravel() + 1])
    out = []
    for poses in T:
        if {mirror}:
            M = np.diag([1, 1, -1, 1.0])
            poses = M @ poses @ M
        field = ((poses - np.eye(4)) @ scale @ p)[1:, :3].astype(np.float32)
        f, u, v = landmark.T
        out += [field, field.reshape(n - 1, 3, rows, columns)[f - 1, :, v - 1, u - 1].T]
    return out
"""


def cheat(folder, root, mirror):
    folder.mkdir()
    truth = {}
    for entry in tusrec.entries(root):
        scan = Scan.open(entry.path)
        T = scan.T_first_frame_tracked
        truth[str(scan.frames(0, 1)[0, 0, :4].tolist())] = np.stack([T, geometry.steps(T)])
    np.savez(folder / "truth.npz", **truth)
    (folder / "config.py").write_text("")
    (folder / "predict_ddfs.py").write_text(CHEAT.format(truth=str(folder / "truth.npz"), mirror=mirror))
    return folder


def test_one_table_and_one_figure(tmp_path, fake_pipeline, capsys, monkeypatch):
    root, out = dataset(tmp_path / "data", NAMES), tmp_path / "out"
    monkeypatch.setitem(engines.ENGINES, "inplane", engines.identity)
    words = f"identity,inplane,speckle,challenge:{cheat(tmp_path / 'truth', root, False)}"
    command = ["benchmark", str(root), "--engines", words, "-o", str(out), "--python", sys.executable]
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert "challenge:truth" in printed and "speckle" in printed
    with open(out / "benchmark.csv", newline="") as file:
        rows = {row["engine"]: row for row in csv.DictReader(file)}
    assert list(rows) == ["identity", "inplane", "speckle", "challenge:truth"]
    assert float(rows["identity"]["final"]) == 0
    assert float(rows["challenge:truth"]["final"]) == pytest.approx(1, abs=1e-5)
    assert float(rows["challenge:truth"]["runtime_s"]) > 0 and rows["speckle"]["scans"] == "2"
    assert "| challenge:truth | 2 | 0 | 1 |" in (out / "benchmark.md").read_text()
    assert (out / "benchmark.png").stat().st_size > 5000
    assert {p.name for p in out.iterdir() if p.is_dir()} == {"identity", "inplane", "speckle", "challenge_truth"}
    before = (out / "challenge_truth" / "scans" / "sub007__RH_rotation" / "summary.json").stat().st_mtime_ns
    assert main([*command, "-q"]) == 0
    assert (out / "challenge_truth" / "scans" / "sub007__RH_rotation" / "summary.json").stat().st_mtime_ns == before


def test_the_mirror_image_of_fields(tmp_path):
    root = dataset(tmp_path / "data")
    found = evaluate_dataset(root, tmp_path / "out", engine=Submission.of(
        f"challenge:{cheat(tmp_path / 'mirrored', root, True)}/predict_ddfs.py"))
    (row,) = found.rows
    assert row.score["mirrored"] and row.mirror_given["final"] == pytest.approx(1, abs=1e-5)
    assert row.score["final"] < 0.9 and row.score["final_mirror_given"] == row.mirror_given["final"]


def test_a_submission_is_scored_as_our_own_poses_are(tmp_path, fake_pipeline):
    """The same poses as fields from another interpreter and as poses from an engine."""
    root = dataset(tmp_path / "data")
    folder = tmp_path / "entry"
    folder.mkdir()
    (folder / "predict_ddfs.py").write_text(CHEAT.replace("import config", "#").replace(
        "np.load({truth!r})[str(frames[0, 0, :4].tolist())]", "steady(len(frames))").format(mirror=False) + """
def steady(n):
    T = np.tile(np.eye(4), (2, n, 1, 1))
    T[0, :, 2, 3] = 0.1 * np.arange(n)
    T[1, 1:, 2, 3] = 0.1
    return T
""")
    (ours,) = evaluate_dataset(root, tmp_path / "a", engine="speckle").rows
    (theirs,) = evaluate_dataset(root, tmp_path / "b", engine=Submission.of(f"challenge:{folder}")).rows
    for key, value in ours.score.items():
        if key != "runtime_s":
            assert theirs.score[key] == pytest.approx(value, abs=2e-6), key


@pytest.mark.parametrize("body, told", [
    ("raise ValueError('no weights')", "no weights"),
    ("return [frames] * 4", "expected (5, 3, 3072) as GP, found uint8 (6, 48, 64)"),
    ("import os; os._exit(3)", "status 3"),
    ("import os; print('last words'); os._exit(0)", "status 0 and no fields: last words"),
    ("raise RuntimeError('two\\nlines')", "RuntimeError: two lines"),
    ("raise SystemExit('no GPU')", "sys.exit('no GPU')"),
    ("raise KeyboardInterrupt", "KeyboardInterrupt"),
    ("return None", "expected four arrays GP, GL, LP, LL, found a NoneType"),
    ("return [frames] * 3", "found a list of 3"),
    ("import numpy as np; return [np.full((5, 3, 3072), None)] * 4", "found object (5, 3, 3072)"),
    ("input()", "EOFError"),
    ("import numpy as np; return [np.full((5, 3, 3072), np.nan), np.zeros((3, 20))] * 2", "not finite"),
])
def test_what_a_submission_can_do_wrong(tmp_path, body, told):
    root, folder = dataset(tmp_path / "data"), tmp_path / "entry"
    folder.mkdir()
    (folder / "predict_ddfs.py").write_text(f"def predict_ddfs(frames, landmark, calib, device):\n    {body}\n")
    found = evaluate_dataset(root, tmp_path / "out", engine=Submission.of(f"challenge:{folder}"))
    assert told in found.failed["sub007__RH_rotation"] and found.mean()["final"] == 0


@pytest.mark.parametrize("whole, told", [
    ("import sys\nsys.exit(0)\n", "sys.exit(0)"), ("def predict_ddfs(:\n", "SyntaxError"), ("", "predict_ddfs"),
    ("import no_such_module\n", "no_such_module"), ("predict_ddfs = 3\n", "expected a function"),
])
def test_a_module_that_cannot_be_used(tmp_path, whole, told):
    root, file = dataset(tmp_path / "data"), tmp_path / "entry.py"
    file.write_text(whole)
    found = evaluate_dataset(root, tmp_path / "out", engine=Submission.of(f"challenge:{file}"))
    assert told in found.failed["sub007__RH_rotation"]


SEEN = """
import argparse, json, os, sys, threading, time
import numpy as np
import beside

parser = argparse.ArgumentParser()
parser.add_argument("--weights", default="w")
OPTIONS = parser.parse_args()

def predict_ddfs(frames, landmark, data_path_calib, device):
    print("epoch 1 of 100")
    seen = dict(argv=sys.argv, path=sys.path[0], cwd=os.getcwd(), name=__name__, stdin=sys.stdin.read(),
                environ=dict(os.environ), near=sorted(os.listdir(os.path.dirname(data_path_calib))),
                again=sys.modules[__name__].__file__)
    open({out!r}, "w").write(json.dumps(seen))
    n, rows, columns = frames.shape
    x, y = np.meshgrid(np.arange(columns), np.arange(rows))
    field, marks = np.zeros((n - 1, 3, rows * columns)), np.zeros((3, len(landmark)))
    landmark[:] = 1
    threading.Thread(target=time.sleep, args=(600,)).start()
    return field, marks, field, marks
"""


def test_a_submission_of_any_name_sees_a_process_of_its_own(tmp_path, monkeypatch):
    """The file that is named is loaded, though there is a predict_ddfs.py; nothing of this package's is to be seen."""
    root, folder = dataset(tmp_path / "data"), tmp_path / "entry"
    folder.mkdir()
    (folder / "predict_ddfs.py").write_text("raise AssertionError('not this one')")
    (folder / "beside.py").write_text("")
    (folder / "my best-try.py").write_text(SEEN.format(out=str(tmp_path / "seen.json")))
    monkeypatch.setattr(sys, "argv", ["speckle-rec", "benchmark", "--secret"])
    monkeypatch.setenv("PYTHONPATH", "/ours")
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    monkeypatch.setenv("SPECKLE_REC_HAS_SET", "")
    environment.default("OPENBLAS_NUM_THREADS", "1")
    monkeypatch.setenv("THEIRS", "1")
    engine = Submission.of(f"challenge:{folder / 'my best-try.py'}")
    (row,) = evaluate_dataset(root, tmp_path / "out", engine=engine).rows
    assert row.error is None and row.score["final"] == pytest.approx(0, abs=1e-6), row.error
    assert engine.label == "challenge:entry/my best-try.py"
    seen = json.loads((tmp_path / "seen.json").read_text())
    assert seen["argv"] == [str(folder / "my best-try.py")] and seen["stdin"] == ""
    assert seen["path"] == seen["cwd"] == str(folder) and seen["again"] == str(folder / "my best-try.py")
    assert seen["near"] == ["calib_matrix.csv", "frames.npy", "landmark.npy", "log"]      # and not the truth
    assert seen["environ"]["THEIRS"] == "1"
    assert not {"PYTHONPATH", "OPENBLAS_NUM_THREADS", "SPECKLE_REC_HAS_SET"} & set(seen["environ"])


def _state(stat):
    """The letter for the state of a process, X for one that is gone."""
    try:
        return stat.read_text().split()[2]
    except OSError:
        return "X"


def test_a_submission_that_hangs(tmp_path):
    """It ends, and so does what it has started, which holds its output open."""
    root, folder = dataset(tmp_path / "data"), tmp_path / "entry"
    folder.mkdir()
    (folder / "predict_ddfs.py").write_text(
        "import subprocess, time\nprocess = subprocess.Popen(['sleep', '60'])\n"
        f"open({str(tmp_path / 'pid')!r}, 'w').write(str(process.pid))\ntime.sleep(60)\n")
    scan = Scan.open(tusrec.entries(root)[0].path)
    T = scan.T_first_frame_tracked
    started = time.monotonic()
    with pytest.raises(SpeckleRecError, match="more than 5 s"):
        Submission(folder / "predict_ddfs.py", timeout_s=5).run(scan, T, T)
    assert time.monotonic() - started < 40
    left = Path("/proc") / (tmp_path / "pid").read_text() / "stat"
    end = time.monotonic() + 20         # killed, but on a busy machine not dead at once
    while (state := _state(left)) not in "ZX" and time.monotonic() < end:
        time.sleep(0.02)
    assert state in "ZX"
    with pytest.raises(InputError, match="cannot be run"):
        Submission(folder / "predict_ddfs.py", python="/no/python").run(scan, T, T)


def test_a_plot_of_nothing_is_not_drawn(tmp_path, capsys, recwarn, monkeypatch):
    """Where every scan failed there is no figure, nor one left of an earlier run; names of any letters are shown."""
    root, out = dataset(tmp_path / "data"), tmp_path / "out"
    folder = tmp_path / "$\\wrong{$ 試"
    folder.mkdir()
    (folder / "predict_ddfs.py").write_text("raise ValueError('no weights')")
    out.mkdir()
    (out / "benchmark.png").write_text("of an earlier run")
    assert main(["benchmark", str(root), "--engines", f"challenge:{folder}", "-o", str(out)]) == 1
    printed = capsys.readouterr()
    assert not (out / "benchmark.png").exists() and printed.out.split()[-1].endswith("benchmark.csv")
    assert printed.err.count("\n") == 1 and "no weights" in printed.err
    assert main(["benchmark", str(root), "--engines", f"identity,challenge:{folder}", "-o", str(out)]) == 1
    assert (out / "benchmark.png").stat().st_size > 5000
    assert not [str(warning.message) for warning in recwarn]
    assert capsys.readouterr().err.count("\n") == 1


def test_unknown_engines_are_told_before_any_work(tmp_path, capsys):
    root = dataset(tmp_path / "data")
    for words in ("identity,nonsense", "challenge:/nowhere", " , "):
        assert main(["benchmark", str(root), "--engines", words, "-o", str(tmp_path / "out")]) == 2
    assert not (tmp_path / "out").exists() and capsys.readouterr().err.count("\n") == 3


def protocol_roll(n=1000):
    """Roll a frame of a rotation scan: rocks in 300..450 and 800..950, stillness and tremor elsewhere."""
    rng = np.random.default_rng(0)
    roll = rng.normal(0, 2e-4, n)
    for start in (300, 800):
        t = np.arange(150)
        roll[start:start + 150] += 0.007 * np.sign(np.sin(2 * np.pi * t / 100))
    return roll


def test_prior_turns_between_the_rocks():
    step = np.zeros((1000, 3))
    step[:, 2] = protocol_roll()
    step[0] = 0
    (a, b), (c, d) = phases.two_rocks(step[:, 2])
    assert abs(a - 300) < 30 and abs(b - 450) < 30 and abs(c - 800) < 30 and abs(d - 950) < 30
    T = engines.ProtocolPrior().poses(step)
    yaw = geometry.log(T)[:, 4]
    assert np.abs(yaw[:400]).max() < 0.05 and yaw[-1] == pytest.approx(-np.radians(91), abs=0.1)
    assert yaw[550] == pytest.approx(-np.radians(91) * 100 / (0.45 * 350), abs=0.2)


def test_prior_of_sweeps():
    still, along = np.zeros((100, 3)), np.zeros((100, 3))
    along[1:, 0] = 0.4
    assert engines.ProtocolPrior().poses(still)[-1, 2, 3] == pytest.approx(99 * 0.39)
    assert engines.ProtocolPrior().poses(along)[-1, :3, 3] == pytest.approx([99 * 0.4, 0, 0])


def test_a_probe_that_is_carried_is_told_from_one_that_is_turned():
    twist = np.zeros((400, 6))
    twist[:, 3] = 0.4 * np.sin(np.linspace(0, 20, 400))
    turned = geometry.exp(twist)
    twist[:, 2] = np.linspace(0, 150, 400)
    assert hand.is_swept(geometry.exp(twist)) and not hand.is_swept(turned)


def test_flow_finds_a_known_motion_in_plane():
    """An image is shifted and turned, frame by frame; the steps are those that bring tissue back."""
    import cv2
    picture = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 255, (240, 320)).astype(np.uint8), (0, 0), 2.5)
    picture = cv2.normalize(picture, None, 40, 255, cv2.NORM_MINMAX)
    mm, angle, shift = 0.25, np.radians(0.5), np.array([0.4, -0.3])
    back = np.eye(4)      # of a point in frame i to frame i - 1
    back[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    back[:2, 3] = shift
    frames = [picture]
    for k in (1, 2):      # warpAffine with the inverse map takes a frame's pixel to where it is seen in the first
        T = np.linalg.matrix_power(back, k)
        origin = np.array([1.0, 1.0]) * mm      # of OpenCV's pixels, in mm of ours
        map_px = np.column_stack([T[:2, :2], (T[:2, :2] @ origin + T[:2, 3] - origin) / mm])
        frames.append(cv2.warpAffine(picture, map_px, (320, 240), flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP,
                                     borderMode=cv2.BORDER_REFLECT))
    scan = Scan.from_arrays(np.stack(frames), scale=np.diag([mm, mm, 1, 1.0]))
    steps = engines.engine("flow")(scan, engines.Setup()).T_prev_frame
    for step in steps[1:]:
        assert np.arctan2(step[1, 0], step[0, 0]) == pytest.approx(angle, rel=0.1)
        centre = np.array([40, 30, 0, 1])
        np.testing.assert_allclose((step @ centre)[:2], (back @ centre)[:2], atol=0.04)
