"""Results for other programs: sequences, scenes and meshes, whose poses they hold, and those of the tracker."""

import xml.etree.ElementTree as ElementTree

import nrrd
import numpy as np
import pytest
from small_scans import random_poses, speckle

from speckle_rec import geometry
from speckle_rec.cli import main
from speckle_rec.io import calib, mrml, trajectory, tusrec
from speckle_rec.scan import Scan
from speckle_rec.storage import folder as results

N = 6


@pytest.fixture
def result(tmp_path, fake_pipeline, scan_file):
    assert main(["reconstruct", str(scan_file), "-o", str(tmp_path / "r"), "-q", "--no-progress"]) == 0
    return tmp_path / "r"


def export(result, *words):
    return main(["export", str(result), "--to", *words, "-q"])


def test_a_sequence_for_slicer_holds_the_estimated_poses(result, scan_file):
    assert export(result, "seq.nrrd") == 0
    scan, stored = Scan.open(result / "scan.seq.nrrd"), results.read(result)
    np.testing.assert_array_equal(scan.frames(), Scan.open(scan_file).frames())
    np.testing.assert_allclose(scan.T_first_frame_tracked, stored.T_first_frame, atol=1e-6)
    np.testing.assert_allclose(scan.scale, stored.scale, atol=1e-9)


def test_a_scene_refers_to_files_that_lie_where_it_says(result, tmp_path):
    out = tmp_path / "elsewhere" / "my.mrml"
    assert export(result, "mrml", "-o", str(out)) == 0
    scene = ElementTree.parse(out).getroot()
    files = {node.tag: node.get("fileName") for node in scene if node.get("fileName")}
    assert set(files) == {"VolumeArchetypeStorage", "VolumeSequenceStorage", "LinearTransformSequenceStorage",
                          "ModelStorage"}
    for name in files.values():
        assert (out.parent / name).is_file(), name
    ids = [node.get("id") for node in scene]
    assert len(set(ids)) == len(ids)
    for node in scene:
        for reference in filter(None, (node.get("references") or "").split(";")):
            assert reference.split(":")[1] in ids
    # What Slicer shows: pixels of the sequence, LPS to RAS, moved by the transform, against poses in image mm.
    data, head = nrrd.read(str(out.parent / files["VolumeSequenceStorage"]))
    transforms = (out.parent / files["LinearTransformSequenceStorage"]).read_text()
    row = transforms.split(f"Seq_Frame0004_{mrml.TRANSFORM} = ")[1].split("\n")[0]
    moved = np.reshape([float(word) for word in row.split()], (4, 4))
    to_lps = np.eye(4)
    to_lps[:3, :3] = np.asarray(head["space directions"], float)[:3].T
    to_lps[:3, 3] = head["space origin"]
    stored = results.read(result)
    shown = moved @ mrml.TO_RAS @ to_lps @ (7, 9, 0, 1)
    np.testing.assert_allclose(mrml.TO_RAS @ shown, stored.T_first_frame[4] @ stored.scale @ (8, 10, 0, 1), atol=1e-9)
    assert data.shape[3] == N


def test_vtk_reads_the_outlines(result):
    assert export(result, "vtp") == 0
    root = ElementTree.parse(result / "frames.vtp").getroot()
    assert root.get("type") == "PolyData" and int(root.find(".//Piece").get("NumberOfPolys")) == N
    vtk = pytest.importorskip("vtk", reason="NOT READ BY VTK: it is not installed")
    reader = vtk.vtkXMLPolyDataReader()
    reader.SetFileName(str(result / "frames.vtp"))
    reader.Update()
    mesh = reader.GetOutput()
    assert mesh.GetNumberOfPolys() == N and mesh.GetNumberOfLines() == 1
    from vtk.util.numpy_support import vtk_to_numpy
    frame = vtk_to_numpy(mesh.GetPointData().GetArray("frame"))
    assert frame.min() == 0 and frame.max() == N - 1
    z = vtk_to_numpy(mesh.GetPoints().GetData())[:, 2]
    np.testing.assert_allclose(z, 0.1 * frame, atol=1e-6)
    assert (vtk_to_numpy(mesh.GetPointData().GetArray("confidence")) == 1).all()


def test_poses_of_the_face_and_of_the_corner(result, tmp_path):
    """A turn about the middle of the face moves the corner, and not the face."""
    stored = results.read(result)
    face = np.array([*results.field_of_view(stored).face_mm, 0.0])
    turn = geometry.translation(face) @ geometry.exp(np.array([0, 0, 0, 0.1, 0.2, 0.3])) @ geometry.translation(-face)
    about = trajectory.about(turn[None], face)[0]
    np.testing.assert_allclose(about[:3, 3], 0, atol=1e-12)
    np.testing.assert_allclose(about[:3, :3], turn[:3, :3])
    assert np.linalg.norm(turn[:3, 3]) > 1
    assert export(result, "tum", "--of", "face") == 0
    text = (result / "face_poses_tum.txt").read_text()
    assert text.startswith("# poses of the middle of the probe face")
    np.testing.assert_allclose(trajectory.read_tum(result / "face_poses_tum.txt")[0],
                               trajectory.about(stored.T_first_frame, face), atol=1e-6)
    for to in ("kitti", "csv"):
        assert export(result, to, "--of", "face") == 0
    T = trajectory.read_kitti(result / "face_poses_kitti.txt")
    np.testing.assert_allclose(T, trajectory.about(stored.T_first_frame, face), atol=1e-6)


def test_the_tracked_path(result):
    tracked = results.tracked(results.read(result))
    for to in ("tum", "kitti", "csv", "ply", "vtp"):
        assert export(result, to, "--tracked") == 0
    np.testing.assert_allclose(trajectory.read_tum(result / "tracked_poses_tum.txt")[0], tracked, atol=1e-5)
    np.testing.assert_allclose(trajectory.read_kitti(result / "tracked_poses_kitti.txt"), tracked, atol=1e-5)
    evo = pytest.importorskip("evo.tools.file_interface", reason="NOT RUN: evo is not installed")
    assert evo.read_tum_trajectory_file(str(result / "tracked_poses_tum.txt")).num_poses == N


@pytest.mark.parametrize("words, told", [
    (["tum", "--of", "middle"], "corner, face"), (["nrrd", "--of", "face"], "--of face"),
    (["igs.mha", "--tracked"], "--tracked")])
def test_wrong_exports(result, capsys, words, told):
    assert export(result, *words) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and told in err


def test_a_scan_without_tracking_has_no_tracked_path(tmp_path, fake_pipeline, capsys):
    tusrec.write_scan(tmp_path / "a.h5", speckle(4), pixel_mm=(0.2, 0.2))
    assert main(["reconstruct", str(tmp_path / "a.h5"), "-o", str(tmp_path / "r"), "-q", "--no-volume"]) == 0
    assert export(tmp_path / "r", "tum", "--tracked") == 2
    assert "expected tracked poses" in capsys.readouterr().err
    assert export(tmp_path / "r", "mrml") == 0      # without a volume
    assert "VolumeArchetype" not in (tmp_path / "r" / "scene.mrml").read_text()


def test_frames_without_tracking_are_left_out(tmp_path, fake_pipeline, capsys):
    T = random_poses(N).astype(np.float32)
    T[2] = np.nan
    folder = tmp_path / "frames_transfs" / "007"
    folder.mkdir(parents=True)
    tusrec.write_scan(folder / "a.h5", speckle(N), T)
    known = calib.built_in()
    calib.write_challenge(tmp_path / "calib_matrix.csv", known.scale, known.T_tool_image)
    assert main(["reconstruct", str(folder / "a.h5"), "-o", str(tmp_path / "r"), "-q", "--no-volume"]) == 0
    assert export(tmp_path / "r", "tum", "--tracked") == 0
    assert len(trajectory.read_tum(tmp_path / "r" / "tracked_poses_tum.txt")[0]) == N - 1
    assert export(tmp_path / "r", "kitti", "--tracked") == 2
    assert "--to tum" in capsys.readouterr().err
