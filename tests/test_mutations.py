"""Whatever happens to a text or PLUS file on its way, reading it works or ends in `InputError`."""

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_scans import random_poses, speckle

from speckle_rec import config
from speckle_rec.errors import InputError
from speckle_rec.io import calib, plus, trajectory
from speckle_rec.scan import Scan

kinds = st.sampled_from(["flip", "cut", "double", "digit"])
mutations = st.lists(st.tuples(kinds, st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=4)
quick = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


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
