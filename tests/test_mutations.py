"""Whatever happens to a file on its way, reading it works or ends in one line and status 2."""

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_scans import random_poses, speckle, write_scan

from speckle_rec import config
from speckle_rec.errors import InputError
from speckle_rec.io import calib, plus, trajectory
from speckle_rec.scan import Scan
from tools.reliability import fuzz
from tools.reliability.mutations import cases, catalogue
from tools.reliability.sandbox import Outcome, Sandbox

kinds = st.sampled_from(["flip", "cut", "double", "digit"])
mutations = st.lists(st.tuples(kinds, st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=4)
quick = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


def mutate(data: bytes, changes) -> bytes:
    for kind, where, value in changes:
        at = int(where * max(len(data) - 1, 0))
        if kind == "flip":
            data = data[:at] + bytes([value]) + data[at + 1:]
        elif kind == "cut":
            data = data[:at]
        elif kind == "double":
            data = data[:at] + data[at:at + value] * 2 + data[at + value:]
        else:
            data = data[:at] + b"999999" + data[at + 1:]
    return data


@quick
@given(mutations, st.booleans(), st.booleans())
def test_sequences(tmp_path, changes, compress, in_header):
    path = tmp_path / "a.mha"
    plus.write(path, iter([(0, speckle(3))]), (3, 48, 64), random_poses(3), compress=compress,
               image_to_probe=np.diag([0.1, 0.1, 0.1, 1]))
    head, mark, pixels = path.read_bytes().partition(b"ElementDataFile = LOCAL\n")
    path.write_bytes(mutate(head, changes) + mark + pixels if in_header else mutate(head + mark + pixels, changes))
    try:
        scan = Scan.open(path)
        for _, block in scan.blocks():
            assert block.dtype == np.uint8
    except InputError as error:
        assert "\n" not in str(error)


@quick
@given(mutations)
def test_text_files(tmp_path, changes):
    path = tmp_path / "file"
    calib.write_challenge(path, np.diag([0.2, 0.2, 1, 1]), np.eye(4))
    trajectory.write_tum(tmp_path / "tum", random_poses(3), np.arange(3))
    files = [(path.read_bytes(), lambda: calib.read(path, (48, 64))),
             ((tmp_path / "tum").read_bytes(), lambda: trajectory.read(path)),
             (b"device = 'cpu'\njobs = 2\nseed = 3\n", lambda: config.load(path))]
    for data, read in files:
        path.write_bytes(mutate(data, changes))
        try:
            read()
        except InputError as error:
            assert "\n" not in str(error)


def test_damaged_files_of_every_kind_through_the_command_line(tmp_path):
    rows = fuzz.run(cases(200, seed=1), tmp_path)
    assert len(rows) == 200 and {row["status"] for row in rows} == {0, 1, 2}
    assert not [row for row in rows if row["wrong"]]


@pytest.mark.parametrize("outcome, expected", [
    (Outcome(None, seconds=10.1), "hangs"), (Outcome(-11), "signal 11"), (Outcome(2, peak_mib=3000), "takes 3000 MiB"),
    (Outcome(2, stderr="speckle-rec: no\n", changed=("/etc/x",)), "writes outside"),
    (Outcome(2, stderr="speckle-rec: no\n", alarms=("socket.connect",)), "reaches out"),
    (Outcome(1, stderr="speckle-rec: unexpected KeyError: 3; a defect: please report it\n"), "not told plainly"),
    (Outcome(2, stderr="Traceback\n"), "not told plainly"), (Outcome(2, stderr="oh no\n"), "something else"),
    (Outcome(2, stderr="speckle-rec: a\nspeckle-rec: b\n"), "2 lines"), (Outcome(2), "0 lines"),
    (Outcome(1, stderr="speckle-rec: no\n"), "status 1"), (Outcome(2, stderr="speckle-rec: no\n"), None)])
def test_the_verdict_sees_what_is_wrong(tmp_path, outcome, expected):
    found = fuzz.verdict(next(catalogue()), outcome, tmp_path)
    assert found is None if expected is None else expected in found


def test_the_sandbox_sees_writes_and_poses_that_are_not_rigid(tmp_path):
    (tmp_path / "out").mkdir()
    write_scan(tmp_path / "a.h5", speckle(3))
    with Sandbox(60) as sandbox:
        elsewhere = sandbox.run(["reconstruct", "a.h5", "-o", "elsewhere", "--no-volume"], tmp_path, tmp_path / "out")
        inside = sandbox.run(["reconstruct", "a.h5", "-o", "out/r", "--no-volume"], tmp_path, tmp_path / "out")
    assert any("elsewhere" in path for path in elsewhere.changed) and inside.changed == ()
    assert fuzz.verdict(next(catalogue()), inside, tmp_path / "out") is None
    with h5py.File(tmp_path / "out" / "r" / "poses.h5", "a") as file:
        file["T_first_frame"][1] = np.nan
    assert "not finite" in fuzz.verdict(next(catalogue()), inside, tmp_path / "out")
