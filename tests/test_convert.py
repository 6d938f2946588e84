"""Scans as files of another kind: what is written is read again, here and by pynrrd and SimpleITK."""

import json

import nrrd
import numpy as np
import pytest
import scenes
import SimpleITK
from small_scans import random_poses, speckle

from speckle_rec.cli import main
from speckle_rec.io import plus, tusrec
from speckle_rec.scan import Scan

N = 6
FRAMES, POSES = speckle(N), random_poses(N)
M = np.array([[0, 0.12, 0, 3.0], [-0.1, 0, 0, 5], [0, 0, 0.1, -2], [0, 0, 0, 1.0]])
ENDINGS = (".igs.mha", ".h5", ".seq.nrrd")


@pytest.fixture
def tracked(tmp_path):
    path = tmp_path / "in" / "sweep.igs.mha"
    path.parent.mkdir()
    ok = np.arange(N) != 3
    plus.write(path, iter([(0, FRAMES)]), FRAMES.shape, POSES, image_to_probe=M, tracked_ok=ok,
               timestamps_s=10 + np.arange(N) / 30)
    return path


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_tracked_scan(tmp_path, tracked, capsys, ending):
    out = tmp_path / f"sweep{ending}"
    assert main(["convert", str(tracked), str(out)]) == 0
    captured = capsys.readouterr()
    assert str(out) in captured.out
    before, after = Scan.open(tracked), Scan.open(out)
    np.testing.assert_array_equal(after.frames(), FRAMES)
    np.testing.assert_allclose(after.scale, before.scale, atol=1e-9)
    np.testing.assert_allclose(after.T_first_frame_tracked, before.T_first_frame_tracked, atol=1e-4)
    assert after.tracked_ok.tolist() == before.tracked_ok.tolist()
    if ending == ".h5":
        assert (tmp_path / "calib_matrix.csv").is_file() and "20 Hz" in captured.err
    else:
        np.testing.assert_allclose(after.timestamps_s, before.timestamps_s, atol=1e-5)


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_scan_without_poses(tmp_path, ending):
    np.save(tmp_path / "a.npy", FRAMES)
    out = tmp_path / f"b{ending}"
    assert main(["convert", str(tmp_path / "a.npy"), str(out), "--pixel-mm", ".1", ".12", "-q"]) == 0
    scan = Scan.open(out)
    np.testing.assert_array_equal(scan.frames(), FRAMES)
    assert tuple(np.diag(scan.scale)[:2]) == pytest.approx((0.1, 0.12)) and scan.T_world_tool is None
    assert scan.T_tool_image is None


def test_simpleitk_reads_what_is_written(tmp_path, tracked):
    for ending in (".igs.mha", ".seq.nrrd"):
        assert main(["convert", str(tracked), str(tmp_path / f"a{ending}"), "-q"]) == 0
        data = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(tmp_path / f"a{ending}")))
        # ITK takes an axis of kind list that comes last for the components of a vector.
        np.testing.assert_array_equal(data if data.ndim == 3 else data[0].transpose(2, 0, 1), FRAMES)


def test_the_header_that_slicer_looks_for(tmp_path, tracked):
    """The fields that vtkMRMLVolumeSequenceStorageNode and its reader of transforms read, by an outside parser."""
    assert main(["convert", str(tracked), str(tmp_path / "a.seq.nrrd"), "-q"]) == 0
    data, head = nrrd.read(str(tmp_path / "a.seq.nrrd"))
    assert data.shape == (64, 48, 1, N) and head["kinds"] == ["domain", "domain", "domain", "list"]
    np.testing.assert_array_equal(data[..., 0, 2].T, FRAMES[2])
    times = [float(word) for word in head["axis 3 index values"].split()]
    np.testing.assert_allclose(times, 10 + np.arange(N) / 30, atol=1e-6)
    assert head["DataNodeClassName"] == "vtkMRMLScalarVolumeNode" and head["axis 3 index type"] == "numeric"
    words = head["Seq_Frame0002_ImageToReferenceTransform"].split()
    M_found = np.reshape([float(word) for word in words], (4, 4))
    np.testing.assert_allclose(M_found[:, [0, 1, 3]], (POSES[2] @ M)[:, [0, 1, 3]], atol=1e-6)
    assert head["Seq_Frame0003_ImageToReferenceTransformStatus"] == "INVALID"


def test_poses_of_a_file(tmp_path):
    np.save(tmp_path / "a.npy", FRAMES)
    np.savetxt(tmp_path / "p.csv", POSES.reshape(N, 16), delimiter=",")
    assert main(["convert", str(tmp_path / "a.npy"), str(tmp_path / "b.igs.mha"), "--pixel-mm", ".1", "--poses",
                 str(tmp_path / "p.csv"), "-q"]) == 0
    np.testing.assert_allclose(Scan.open(tmp_path / "b.igs.mha").T_world_tool, POSES, atol=1e-9)


@pytest.mark.parametrize("words, told", [
    (["{t}", "{d}/a.mp4"], "*.igs.mha"), (["{t}", "{d}/a.nrrd"], "*.seq.nrrd"), (["{t}", "{t}"], "the scan itself"),
    (["{d}/none.h5", "{d}/a.h5"], "no such file"), (["{t}", "{d}/there.h5"], "--overwrite"),
    (["{t}", "{d}/other/a.h5"], "another folder")])
def test_wrong_conversions(tmp_path, tracked, capsys, words, told):
    (tmp_path / "there.h5").touch()
    (tmp_path / "other").mkdir()
    from speckle_rec.io import calib
    calib.write_challenge(tmp_path / "other" / "calib_matrix.csv", np.diag([0.2, 0.2, 1, 1]), np.eye(4))
    assert main(["convert", *(word.format(d=tmp_path, t=tracked) for word in words)]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and told in err, err


def test_check_says_what_is_missing_and_what_comes_next(tmp_path, capsys):
    np.save(tmp_path / "my sweep.npy", FRAMES)
    assert main(["check", str(tmp_path / "my sweep.npy"), "--pixel-mm", ".1", ".12"]) == 0
    out = capsys.readouterr().out
    assert "kind           NumPy array" in out and "missing        tracked poses" in out
    assert f"speckle-rec reconstruct '{tmp_path}/my sweep.npy' --pixel-mm .1 .12\n" in out


# -- names and dates

def test_nothing_of_a_patient_reaches_a_result(tmp_path, fake_pipeline, capfd):
    pydicom = pytest.importorskip("pydicom", reason="NOT RUN: pydicom is not installed (extra [dicom])")
    from test_dicom import head
    folder = tmp_path / "Doe_Jane_19700131"
    folder.mkdir()
    frames = np.random.default_rng(0).integers(20, 200, (12, *scenes.SECTOR.shape)) * scenes.SECTOR.mask()
    frames = frames.astype(np.uint8)
    frames[:, :12, :60] = 255      # a name, outside the field of view
    ds = head(frames, PixelSpacing=[float(scenes.SCALE[1, 1]), float(scenes.SCALE[0, 0])],
              AcquisitionDateTime="20250102101112", TransducerData="C5-2")
    ds.save_as(folder / "Doe_cine.dcm", enforce_file_format=True)
    assert pydicom.dcmread(folder / "Doe_cine.dcm").PatientName == "Doe^Jane"
    out = tmp_path / "r"
    assert main(["reconstruct", str(folder / "Doe_cine.dcm"), "-o", str(out), "--anonymise", "--sequence"]) == 0
    told = capfd.readouterr()
    for text in [told.out.replace(str(out), ""), told.err,
                 *(p.read_bytes().decode("latin-1") for p in out.rglob("*") if p.is_file())]:
        assert not any(word in text for word in ("Doe", "Jane", "1970", "20250102", "Elsewhere")), text[:400]
    written = Scan.open(out / "scan.igs.mha")
    assert not written.frames()[:, :12, :60].any() and written.frames().any()
    summary = json.loads((out / "summary.json").read_text())
    assert summary["path"] is None and summary["scan"].startswith("scan-")
    again = Scan.open(folder / "Doe_cine.dcm").anonymised()
    assert again.name == summary["scan"] and again.about == {}


def test_a_converted_scan_without_names(tmp_path):
    folder = tmp_path / "Doe"
    folder.mkdir()
    tusrec.write_scan(folder / "Doe.h5", FRAMES, pixel_mm=(0.1, 0.1))
    assert main(["convert", str(folder / "Doe.h5"), str(tmp_path / "a.igs.mha"), "--anonymise", "-q"]) == 0
    assert b"Doe" not in (tmp_path / "a.igs.mha").read_bytes()
