"""The challenge's archive to a score: `tools/challenge.py` on archives of noise."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from small_scans import dataset

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tools"))

import challenge

from speckle_rec.errors import InputError
from speckle_rec.io import tusrec
from speckle_rec.scan import Scan


def zipped(folder, inner, note=None):
    """A data set as the challenge's archives hold it: within a folder of its own."""
    if note:
        (folder / "LICENSE.txt").write_text(note)
    shutil.copytree(folder, folder.parent / "whole" / inner)
    return Path(shutil.make_archive(str(folder.parent / inner), "zip", folder.parent / "whole"))


def test_an_archive_to_a_table(tmp_path):
    archive = zipped(dataset(tmp_path / "val", ("050/RH_rotation",), "val"), "Freehand_US_data_val_2025",
                     "Licence: Creative Commons Attribution-NonCommercial-ShareAlike 4.0")
    command = [sys.executable, challenge.__file__, archive, "-o", tmp_path / "out"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "LICENSE.txt: CC BY-NC-SA 4.0" in done.stdout and "1 scans, calibrated on none" in done.stdout
    assert "this run" in done.stdout and "challenge baseline" in done.stdout
    assert (tmp_path / "out" / "evaluation" / "metrics.csv").is_file()


def test_the_flat_layout_of_2024(tmp_path):
    root = dataset(tmp_path / "flat", ("000/a", "000/b", "001/a", "001/b"))
    for subject in list((root / "frames_transfs").iterdir()):
        subject.rename(root / subject.name)
    (root / "frames_transfs").rmdir()
    archive = zipped(root, "Freehand_US_data")
    assert "no note of a licence" in challenge.licence_note(archive)
    found = challenge.unpacked(archive, tmp_path / "data")
    entries = tusrec.entries(found)
    assert [entry.name for entry in entries] == ["sub000__a", "sub000__b", "sub001__a", "sub001__b"]
    scan = Scan.open(entries[2].path)
    assert scan.landmarks is not None and scan.T_first_frame_tracked is not None
    chosen = challenge.evenly(entries, 2)
    assert [path.parent.name for path in chosen] == ["000", "001"]
    calibrate, evaluate = challenge.commands(found, tmp_path, chosen, "1")
    assert calibrate[:3] == ["calibrate", *map(str, chosen)]
    assert evaluate[2:4] == ["--calibration", calibrate[-1]]
    with pytest.raises(InputError, match="at most 4"):
        challenge.evenly(entries, 5)


def test_other_terms_and_other_files_are_refused(tmp_path):
    archive = zipped(dataset(tmp_path / "val", layout="val"), "theirs", "All rights reserved.")
    with pytest.raises(InputError, match="found others"):
        challenge.licence_note(archive)
    with pytest.raises(InputError, match="expected a zip archive"):
        challenge.unpacked(tmp_path / "none.zip", tmp_path)
    with zipfile.ZipFile(tmp_path / "empty.zip", "w") as file:
        file.writestr("a.txt", "nothing")
    with pytest.raises(InputError, match="found none"):
        challenge.unpacked(tmp_path / "empty.zip", tmp_path)
