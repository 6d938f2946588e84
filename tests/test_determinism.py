"""The same bytes whatever the number of threads and processes."""

import numba
import pytest
from small_scans import dataset, write_scan

from speckle_rec.cli import main
from speckle_rec.compute.workers import set_threads
from speckle_rec.evaluation.datasets import evaluate_dataset
from tools.reliability import kill
from tools.reliability.world import frames, poses


@pytest.fixture
def threads():
    before = numba.get_num_threads()
    yield
    set_threads(before)


def test_any_number_of_threads_gives_the_same_files(tmp_path, threads):
    if numba.config.NUMBA_NUM_THREADS < 2:
        pytest.skip("NOT TESTED: one thread against several, on a machine of one core")
    write_scan(tmp_path / "a.h5", frames(60, (120, 160)), poses(60))
    for jobs in "12":
        assert main(["reconstruct", str(tmp_path / "a.h5"), "-o", str(tmp_path / jobs / "r"), "-j", jobs, "-q"]) == 0
    assert kill.compare(tmp_path / "1", tmp_path / "2") == ["r/config.toml: differs"]      # it says how many


def test_any_number_of_processes_gives_the_same_files(tmp_path, threads):
    root = dataset(tmp_path / "data", ("007/RH_rotation", "008/RH_rotation"), n_frames=20)
    for jobs in (1, 2):
        evaluate_dataset(root, tmp_path / str(jobs), jobs=jobs)
    assert kill.compare(tmp_path / "1", tmp_path / "2") == []
