"""The first verdict: what can be measured, what was checked, and what was guessed."""

import dataclasses
import json

import numpy as np
import pytest
import small_scans
from hypothesis import given
from hypothesis import strategies as st

from speckle_rec.config import Config, load
from speckle_rec.errors import InputError
from speckle_rec.pairs import time_filter
from speckle_rec.pipeline import reconstruct
from speckle_rec.products.stages import TimeFilter
from speckle_rec.result import Reconstruction, still
from speckle_rec.scan import Scan
from speckle_rec.speckle.calibration import PHYSICAL, Calibration, Uncalibrated
from speckle_rec.speckle.curves import GUESSED, Curves
from speckle_rec.storage import folder
from speckle_rec.storage import outputs as output_files
from speckle_rec.trajectory.crossing_planes import SCALE_SD, Calibrated
from speckle_rec.trajectory.factors import Crossings
from speckle_rec.verdict import ALIKE, MEASURABLE, verdict

KEYS = {"shape", "scale_percent", "handedness", "why"}


@given(st.integers(0, 60), st.floats(0, 1), st.none() | st.floats(0, 1), st.floats(0, 2), st.booleans(),
       st.floats(0, 1))
def test_a_verdict_is_whole_and_reliable_only_where_planes_cross_and_agree(n, level, similarity, scale, handed, share):
    told = verdict(np.full(n, level), similarity, scale, handed=handed, speckled=share)
    assert set(told) == KEYS and "\n" not in told["why"] and told["why"]
    assert json.loads(json.dumps(told)) == told
    assert told["handedness"] == ("known" if handed else "assumed")
    if told["shape"] == "reliable":
        assert similarity is not None and similarity >= ALIKE and level >= 0.5 and n >= 10
    if level < MEASURABLE - 1e-6 and (similarity is None or similarity < ALIKE):
        assert told["shape"] == "not measurable"
    assert told["scale_percent"] >= 0


@pytest.mark.parametrize("n, level, similarity, shape, why", [
    (60, 0.9, 0.6, "reliable", "cross"), (60, 0.9, 0.2, "doubtful", "0.20"), (60, 0.9, None, "doubtful", "no planes"),
    (60, 0.4, 0.6, "doubtful", "0.40"), (60, 0.1, 0.6, "doubtful", "0.10"),
    (60, 0.1, 0.2, "not measurable", "0.10"), (60, 0.1, None, "not measurable", "0.10"),
    (5, 0.9, 0.6, "not measurable", "5")])
def test_what_is_said_of_each_kind(n, level, similarity, shape, why):
    told = verdict(np.full(n, level), similarity, 0.16, handed=False)
    assert told["shape"] == shape and why in told["why"]


def some_scan(n=12):
    return Scan.from_arrays(small_scans.speckle(n), pixel_mm=0.2)


@pytest.fixture(scope="module")
def guessed():
    return reconstruct(some_scan(), calibration=Calibration.shipped(), config=Config(jobs=1))


def test_a_result_says_that_it_rests_on_a_guess(guessed):
    assert guessed.numbers["calibration_hash"] == Calibration.shipped().hash
    assert any("no calibration of this machine was given" in line and f"{GUESSED:.0%}" in line
               for line in guessed.warnings)


def test_a_calibration_file_is_trusted_and_poses_do_not_depend_on_what_is_told(guessed, tmp_path):
    """The same numbers under another hash: the file of somebody who calibrated the machine."""
    file = dataclasses.replace(Calibration.shipped(), provenance={"by": "its owner"})
    file.save(tmp_path / "own.h5")
    own = Calibration.load(tmp_path / "own.h5")
    assert own.of_this_machine and not Calibration.shipped().of_this_machine
    trusted = reconstruct(some_scan(), calibration=own, config=Config(jobs=1))
    assert not any("no calibration of this machine" in line for line in trusted.warnings)
    np.testing.assert_array_equal(trusted.T_first_frame, guessed.T_first_frame)
    np.testing.assert_array_equal(trusted.T_prev_frame, guessed.T_prev_frame)
    assert trusted.covariance[-1].trace() < guessed.covariance[-1].trace()


def test_bare_curves_are_a_guess_too():
    assert not Uncalibrated.of(Curves()).of_this_machine and Uncalibrated.of(Curves()).hash == PHYSICAL
    assert Curves().guessed().scale_uncertainty == GUESSED
    assert Curves(scale_uncertainty=0.8).guessed().scale_uncertainty == 0.8


@pytest.mark.parametrize("similarity", [0.6, 0.1])
def test_crossing_planes_tell_the_scale_only_where_they_agree(similarity):
    none = np.zeros((0, 6))
    crossings = Crossings(*[none] * len(Crossings.__dataclass_fields__))
    found = Calibrated(np.eye(4)[None], crossings=crossings, similarity=(0.0, similarity))
    told = found.scale_uncertainty(GUESSED)
    assert SCALE_SD < told < GUESSED / 2 if similarity > 0.5 else told == GUESSED
    assert found.scale_uncertainty(0.01) == 0.01


def test_the_summary_holds_the_verdict_and_folders_without_one_can_be_read(guessed, tmp_path):
    scan = some_scan()
    summary = folder.write(tmp_path / "out", scan, guessed, config={}, outputs=output_files.Outputs(volume=False))
    assert summary["verdict"] == guessed.verdict and set(summary["verdict"]) == KEYS
    path = tmp_path / "out" / "summary.json"
    old = json.loads(path.read_text())
    del old["verdict"]
    path.write_text(json.dumps(old))
    assert "verdict" not in folder.read(tmp_path / "out").summary
    output_files.write_report(tmp_path / "out")


def test_results_without_evidence_have_a_verdict():
    eye = np.eye(4)[None]
    assert Reconstruction(eye, eye, np.zeros((1, 6, 6)), np.zeros(1, np.float32)).verdict["shape"] == "doubtful"
    assert still().verdict["shape"] == "not measurable"


def test_the_mirror_image_that_was_asked_for_is_known():
    assert reconstruct(some_scan(), config=Config(jobs=1, mirrored=True)).verdict["handedness"] == "known"


# -- a filter over time: told, and reckoned with

def test_a_filter_over_time_is_told_and_can_be_switched_off(monkeypatch):
    monkeypatch.setattr(time_filter, "find", lambda *_: TimeFilter((0.6, 0.3), 0.02))
    found = reconstruct(some_scan(), config=Config(jobs=1))
    assert found.numbers["time_filter"] == "0.60 0.30"
    told = [line for line in found.warnings if "averages frames" in line]
    assert len(told) == 1 and "0.60 0.30" in told[0]
    left = reconstruct(some_scan(), config=Config(jobs=1, time_filter="none"))
    assert left.numbers["time_filter"] == "none" and not any("averages frames" in line for line in left.warnings)
    assert not np.allclose(found.T_first_frame, left.T_first_frame)


def test_the_setting_is_read_from_a_file(tmp_path):
    path = tmp_path / "a.toml"
    path.write_text('time_filter = "none"\n')
    assert load(path).time_filter == "none" and Config().time_filter == "auto"
    path.write_text('time_filter = "no"\n')
    with pytest.raises(InputError, match="time_filter"):
        load(path)
