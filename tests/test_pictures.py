"""Pictures and arrays, and poses beside them: as PIL, OpenCV, tifffile and SimpleITK write them."""

import subprocess
import sys
from pathlib import Path

import cv2
import h5py
import numpy as np
import pytest
import SimpleITK
import tifffile
from PIL import Image
from scipy.spatial.transform import Rotation
from small_scans import random_poses, speckle

from speckle_rec import geometry
from speckle_rec.cli import main
from speckle_rec.errors import InputError
from speckle_rec.io import calib, kinds, trajectory
from speckle_rec.scan import Scan

ROOT = Path(__file__).resolve().parents[1]
N = 12
FRAMES = speckle(N)
POSES = random_poses(N)


def pictures(folder, ending=".png", frames=FRAMES, name="frame{}"):
    folder.mkdir(parents=True, exist_ok=True)
    for k, frame in enumerate(frames):
        Image.fromarray(frame).save(folder / (name.format(k) + ending))
    return folder


# -- pictures

@pytest.mark.parametrize("ending", [".png", ".bmp", ".tif", ".PNG"])
def test_a_folder_of_pictures_in_natural_order(tmp_path, ending):
    scan = Scan.open(pictures(tmp_path / "sweep", ending), pixel_mm=(0.1, 0.12))
    np.testing.assert_array_equal(scan.frames(), FRAMES)
    np.testing.assert_array_equal(scan.frames(9, 11), FRAMES[9:11])
    assert scan.name == "sweep" and scan.shape == FRAMES.shape[1:] and "20 Hz" in scan.warnings[0]


def test_jpeg_and_colours(tmp_path):
    smooth = np.stack([cv2.GaussianBlur(f, (0, 0), 3) for f in FRAMES])
    (tmp_path / "j").mkdir()
    for k, frame in enumerate(smooth):
        cv2.imwrite(str(tmp_path / "j" / f"{k}.jpg"), frame)
    assert np.abs(Scan.open(tmp_path / "j", pixel_mm=0.1).frames().astype(int) - smooth).max() <= 4
    rgb = np.stack([FRAMES, FRAMES // 2, 255 - FRAMES], -1)
    pictures(tmp_path / "c", frames=rgb)
    assert np.abs(Scan.open(tmp_path / "c", pixel_mm=0.1).frames() - rgb @ np.array([0.299, 0.587, 0.114])).max() <= 1
    (tmp_path / "p").mkdir()
    for k, frame in enumerate(FRAMES):
        picture = Image.fromarray(frame, "P")
        picture.putpalette(np.repeat(np.arange(256)[::-1], 3).astype(np.uint8).tobytes())
        picture.save(tmp_path / "p" / f"{k}.png")
    np.testing.assert_array_equal(Scan.open(tmp_path / "p", pixel_mm=0.1).frames(), 255 - FRAMES)


def test_a_glob_and_what_a_shell_makes_of_it(tmp_path, capsys, monkeypatch):
    folder = pictures(tmp_path / "s", name="a_{}")
    pictures(folder, name="b_{}", frames=FRAMES[:4])
    monkeypatch.chdir(folder)
    scan = Scan.open("a_*.png", pixel_mm=0.1)
    assert scan.name == "a" and scan.n_frames == N
    for words in (["a_*.png"], [f"a_{k}.png" for k in range(N)]):
        assert main(["check", *words, "--pixel-mm", ".1"]) == 0
        out = capsys.readouterr().out
        assert f"{N} of 48 rows" in out and "usable" not in out
    assert main(["check", str(folder), "--pixel-mm", ".1"]) == 0
    assert f"{N + 4} of 48 rows" in capsys.readouterr().out
    assert main(["check", "a_1.png", "a_2.png", "b_3.png", "--pixel-mm", ".1"]) == 2
    assert "folder of their own" in capsys.readouterr().err


def test_folders_of_pictures_below_one(tmp_path, capsys):
    pictures(tmp_path / "all" / "s2")
    pictures(tmp_path / "all" / "s10")
    assert kinds.in_folder(tmp_path / "all") == [tmp_path / "all" / "s2", tmp_path / "all" / "s10"]
    assert main(["check", str(tmp_path / "all"), "--pixel-mm", ".1"]) == 0
    assert "2 scans usable" in capsys.readouterr().out


@pytest.mark.parametrize("options", [{}, {"imagej": True}, {"compression": "zlib"}, {"photometric": "minisblack"}])
def test_tiff_stacks(tmp_path, options):
    tifffile.imwrite(tmp_path / "a.tif", FRAMES, **options)
    scan = Scan.open(tmp_path / "a.tif", pixel_mm=0.1)
    np.testing.assert_array_equal(scan.frames(), FRAMES)
    np.testing.assert_array_equal(scan.frames(3, 5), FRAMES[3:5])
    assert kinds.in_folder(tmp_path) == [tmp_path / "a.tif"]


def test_a_tiff_of_simpleitk_and_the_size_that_imagej_tells(tmp_path):
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(FRAMES), str(tmp_path / "a.tiff"))
    np.testing.assert_array_equal(Scan.open(tmp_path / "a.tiff", pixel_mm=0.1).frames(), FRAMES)
    tifffile.imwrite(tmp_path / "b.tif", FRAMES, imagej=True, resolution=(10, 8), metadata={"unit": "mm"})
    assert tuple(np.diag(Scan.open(tmp_path / "b.tif").scale)[:2]) == pytest.approx((0.1, 0.125))


def test_a_tiff_stack_in_colour(tmp_path):
    rgb = np.stack([FRAMES] * 3, -1)
    tifffile.imwrite(tmp_path / "a.tif", rgb, photometric="rgb")
    np.testing.assert_array_equal(Scan.open(tmp_path / "a.tif", pixel_mm=0.1).frames(), FRAMES)


# -- arrays and other HDF5

@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.int16])
def test_arrays(tmp_path, dtype):
    np.save(tmp_path / "a.npy", FRAMES.astype(dtype))
    np.savez(tmp_path / "b.npz", frames=FRAMES.astype(dtype), pixel_mm=[0.1, 0.12], tforms=POSES)
    np.savez_compressed(tmp_path / "c.npz", sweep=FRAMES.astype(dtype), other=np.zeros(3))
    np.testing.assert_array_equal(Scan.open(tmp_path / "a.npy", pixel_mm=0.1).frames(2, 5), FRAMES[2:5])
    scan = Scan.open(tmp_path / "b.npz")
    assert tuple(np.diag(scan.scale)[:2]) == (0.1, 0.12) and scan.tracked_ok.all()
    np.testing.assert_array_equal(Scan.open(tmp_path / "c.npz", pixel_mm=0.1).frames(), FRAMES)


def test_datasets_by_name(tmp_path, capsys):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["group/sweep"] = FRAMES
        file["group/sweep"].attrs["pixel_mm"] = (0.1, 0.1)
    assert main(["check", str(tmp_path / "a.h5")]) == 2
    assert "--dataset group/sweep" in capsys.readouterr().err
    assert main(["check", str(tmp_path / "a.h5"), "--dataset", "group/sweep"]) == 0
    np.testing.assert_array_equal(Scan.open(tmp_path / "a.h5", dataset="group/sweep").frames(), FRAMES)
    np.savez(tmp_path / "b.npz", a=FRAMES, b=FRAMES[::-1])
    with pytest.raises(InputError, match="--dataset NAME"):
        Scan.open(tmp_path / "b.npz", pixel_mm=0.1)
    np.testing.assert_array_equal(Scan.open(tmp_path / "b.npz", dataset="b", pixel_mm=0.1).frames(), FRAMES[::-1])


def test_dualtrack(tmp_path):
    place = np.eye(4)
    place[0, 0], place[1, 1], place[:2, 3] = 0.1, 0.12, (-3.15, -2.82)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["images"], file["tracking"] = FRAMES, POSES.astype(np.float32)
        file["dimensions"], file["spacing"], file["pixel_to_image"] = [64, 48, 1], [0.1, 0.12, 1], place
    scan = Scan.open(tmp_path / "a.h5")
    np.testing.assert_array_equal(scan.frames(), FRAMES)
    assert tuple(np.diag(scan.scale)[:2]) == pytest.approx((0.1, 0.12)) and scan.tracked_ok.all()
    pixel = np.array([10.0, 20, 0, 1])
    one_based = pixel + (1, 1, 0, 0)
    np.testing.assert_allclose(scan.T_world_tool[3] @ scan.T_tool_image @ scan.scale @ one_based,
                               POSES[3] @ place @ pixel, atol=1e-4)


def test_subjects_as_the_archive_of_2024_unzips(tmp_path, capsys):
    from speckle_rec.io import tusrec
    known = calib.built_in()
    calib.write_challenge(tmp_path / "calib_matrix.csv", known.scale, known.T_tool_image)
    for subject in ("000", "001"):
        (tmp_path / subject).mkdir()
        tusrec.write_scan(tmp_path / subject / "LH_Par_C_DtP.h5", FRAMES, POSES)
    assert [e.name for e in tusrec.entries(tmp_path)] == ["sub000__LH_Par_C_DtP", "sub001__LH_Par_C_DtP"]
    assert main(["check", str(tmp_path)]) == 0
    assert "2 scans usable" in capsys.readouterr().out


@pytest.mark.parametrize("ending", [".mp4", ".avi", ".mov"])
@pytest.mark.parametrize("content", [b"", bytes(3000), b"hello"])
def test_films_without_pyav_are_told_in_one_line(tmp_path, ending, content):
    (tmp_path / f"a{ending}").write_bytes(content)
    code = ("import sys; sys.modules['av'] = None; from speckle_rec.__main__ import main; "
            f"sys.argv[1:] = ['check', {str(tmp_path / f'a{ending}')!r}, '--pixel-mm', '.1']; sys.exit(main())")
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert run.returncode == 2 and run.stderr.count("\n") == 1 and "expected a film" in run.stderr, run.stderr


# -- poses beside

def tum(path):
    trajectory.write_tum(path, POSES, np.arange(N) / 20)


def kitti(path):
    trajectory.write_kitti(path, POSES)


def csv(path, header="", columns=None, sep=","):
    rows = POSES.reshape(N, 16) if columns is None else columns
    np.savetxt(path, rows, delimiter=sep, header=header, comments="")


NAMES = ",".join(f"m{i}{j}" for i in range(4) for j in range(4))


@pytest.mark.parametrize("name, write", [
    ("poses.txt", tum), ("poses_kitti.txt", kitti), ("poses.csv", csv), ("poses.csv", lambda p: csv(p, "frame," + NAMES,
     np.column_stack([np.arange(N), POSES.reshape(N, 16)]))), ("poses.csv", lambda p: csv(p, sep=";")),
    ("poses.txt", lambda p: csv(p, sep=" ")), ("poses.csv", lambda p: csv(p, columns=POSES.reshape(-1, 4)))])
@pytest.mark.parametrize("where", ["folder", "file", "given"])
def test_poses_beside(tmp_path, name, write, where):
    folder = pictures(tmp_path / "s")
    path, options = folder, {}
    if where == "folder":
        write(folder / name)
    elif where == "file":
        np.save(tmp_path / "sweep.npy", FRAMES)
        path = tmp_path / "sweep.npy"
        write(tmp_path / f"sweep_{name}")
    else:
        write(tmp_path / "elsewhere.txt")
        options = {"poses": tmp_path / "elsewhere.txt"}
    if where == "file" and name == "poses_kitti.txt":
        (tmp_path / "sweep_poses_kitti.txt").rename(tmp_path / "sweep_kitti.txt")
    scan = Scan.open(path, pixel_mm=0.1, **options)
    assert scan.tracked_ok.all(), scan.warnings
    np.testing.assert_allclose(scan.T_first_frame_tracked, geometry.inverse(POSES[0]) @ POSES, atol=1e-5)
    assert any("poses of the image" in warning for warning in scan.warnings)


def test_one_file_with_a_pose_a_frame(tmp_path):
    folder = pictures(tmp_path / "s")
    for k, T in enumerate(POSES):
        if k != 3:
            np.savetxt(folder / f"frame{k}.txt", T)
    scan = Scan.open(folder, pixel_mm=0.1)
    assert scan.tracked_ok.tolist() == [k != 3 for k in range(N)]
    np.testing.assert_allclose(scan.T_world_tool[7], POSES[7], atol=1e-9)


def test_our_own_csv(tmp_path):
    T = geometry.inverse(POSES[0]) @ POSES
    trajectory.write_csv(tmp_path / "p.csv", T, geometry.steps(T), np.arange(N) / 20, np.diag([0.1, 0.1, 1, 1]),
                         (48, 64))
    scan = Scan.open(pictures(tmp_path / "s"), pixel_mm=0.1, poses=tmp_path / "p.csv")
    np.testing.assert_allclose(scan.T_first_frame_tracked, T, atol=1e-6)


@pytest.mark.parametrize("text, words", [
    ("", "none"), ("hello", "numbers"), ("1 2 3\n", "3 a line"), ("1 2 3\n4 5\n", "equally many"),
    ("nan " * 16 + "\n", "found 1"), ("1,0,0,0,0,1,0,0,0,0,1,0,0,0,0,1\n" * (N - 1), f"found {N - 1}"),
    ("2,0,0,0,0,2,0,0,0,0,2,0,0,0,0,1\n" * N, "rigid"), (("nan," * 16).strip(",") + "\n", "found 1"),
    ((("nan," * 16).strip(",") + "\n") * N, ""), ("1 0 0 0 1 0 0 x\n", "numbers")])
def test_wrong_poses(tmp_path, capsys, text, words):
    folder = pictures(tmp_path / "s")
    (tmp_path / "p.txt").write_text(text)
    with pytest.raises(InputError) as caught:
        Scan.open(folder, pixel_mm=0.1, poses=tmp_path / "p.txt")
    assert "\n" not in str(caught.value) and words in str(caught.value), caught.value
    (tmp_path / "p.txt").rename(folder / "poses.txt")       # found, not given: a warning
    scan = Scan.open(folder, pixel_mm=0.1)
    assert scan.T_world_tool is None and any("poses not used" in w for w in scan.warnings)


def test_quaternions_that_are_none(tmp_path):
    rows = np.column_stack([np.arange(N), POSES[:, :3, 3] / 1000, 3 * Rotation.random(N, 0).as_quat()])
    np.savetxt(tmp_path / "p.txt", rows)
    with pytest.raises(InputError, match="quaternion"):
        Scan.open(pictures(tmp_path / "s"), pixel_mm=0.1, poses=tmp_path / "p.txt")


# -- damaged and other files

def wrong(tmp_path, case):
    s = tmp_path / "s"
    s.mkdir()
    path = s
    if case == "sixteen bits":
        pictures(s, frames=FRAMES.astype(np.uint16) * 200)
    elif case == "two sizes":
        pictures(s)
        Image.fromarray(FRAMES[0, :30]).save(s / "frame11.png")
    elif case == "one damaged":
        pictures(s)
        (s / "frame11.png").write_bytes((s / "frame11.png").read_bytes()[:200])
    elif case == "no picture":
        pictures(s)
        (s / "frame0.png").write_text("hello")
    elif case == "empty folder":
        pass
    elif case == "empty picture":
        (s / "a.png").touch()
        (s / "b.png").touch()
    elif case == "small":
        pictures(s, frames=FRAMES[:, :4])
    elif case == "stack cut short":
        path = s / "a.tif"
        tifffile.imwrite(path, FRAMES, compression="zlib")
        path.write_bytes(path.read_bytes()[:9000])
    elif case == "stack of sixteen bits":
        path = s / "a.tif"
        tifffile.imwrite(path, FRAMES.astype(np.uint16) * 3)
    elif case == "no stack":
        path = s / "a.tif"
        path.write_bytes(b"II*\0hello")
    elif case == "empty stack":
        path = s / "a.tif"
        path.touch()
    elif case == "array of text":
        path = s / "a.npy"
        np.save(path, np.array(["a", "b"]))
    elif case == "array of objects":
        path = s / "a.npy"
        np.save(path, np.array([{}, []], object), allow_pickle=True)
    elif case == "array cut short":
        path = s / "a.npy"
        np.save(path, FRAMES)
        path.write_bytes(path.read_bytes()[:3000])
    elif case == "array of NaN":
        path = s / "a.npy"
        np.save(path, np.full(FRAMES.shape, np.nan))
    elif case == "array in colour":
        path = s / "a.npy"
        np.save(path, np.stack([FRAMES] * 3, -1))
    elif case == "one picture in an array":
        path = s / "a.npy"
        np.save(path, FRAMES[0])
    elif case == "archive cut short":
        path = s / "a.npz"
        np.savez(path, frames=FRAMES)
        path.write_bytes(path.read_bytes()[:3000])
    elif case == "archive of nothing":
        path = s / "a.npz"
        np.savez(path)
    elif case == "archive of text":
        path = s / "a.npz"
        np.savez(path, frames=np.array(["a"]))
    elif case == "dualtrack of one picture":
        path = s / "a.h5"
        with h5py.File(path, "w") as file:
            file["images"], file["tracking"] = FRAMES[0], POSES
    elif case == "dataset that is none":
        path = s / "a.h5"
        with h5py.File(path, "w") as file:
            file["x/y"] = FRAMES
    elif case.startswith("."):
        path = s / f"a{case}"
        path.write_bytes(b"\1\2\3\4 something else")
    return path


@pytest.mark.parametrize("case", [
    "sixteen bits", "two sizes", "one damaged", "no picture", "empty folder", "empty picture", "small",
    "stack cut short", "stack of sixteen bits", "no stack", "empty stack", "array of text", "array of objects",
    "array cut short", "array of NaN", "array in colour", "one picture in an array", "archive cut short",
    "archive of nothing", "archive of text", "dualtrack of one picture", "dataset that is none", ".xyz", ".zip",
    ".mrb", ".nii.gz", ".mat", ".raw", ".txt", ".vtk", ".h5", ".png", ".bin"])
def test_malformed(tmp_path, capfd, case):
    path = wrong(tmp_path, case)
    frames_of_wrong = []
    status = main(["check", str(path), "--pixel-mm", ".1"])
    if status == 0:     # what lies in the middle is told when it is read
        with pytest.raises(InputError) as caught:
            frames_of_wrong = Scan.open(path, pixel_mm=0.1).frames()
        assert "\n" not in str(caught.value)
        return
    err = capfd.readouterr().err
    assert status == 2 and err.count("\n") == 1 and "Traceback" not in err, (err, frames_of_wrong)


@pytest.mark.parametrize("name, way", [("a.zip", "unpack"), ("a.mrb", "unpack the scene"), ("a.nii.gz", "unpack it"),
                                       ("a.mat", "-v7.3"), ("a.raw", ".mhd"), ("a.foo", "from_arrays")])
def test_an_unknown_file_tells_what_is_read(tmp_path, capsys, name, way):
    (tmp_path / name).write_bytes(b"\1\2\3\4 something else")
    assert main(["check", str(tmp_path / name)]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and way in err and "DICOM (.dcm)" in err and ".seq.nrrd" in err


def test_files_are_known_by_how_they_begin(tmp_path):
    np.save(tmp_path / "a.npy", FRAMES)
    (tmp_path / "a.npy").rename(tmp_path / "array")
    tifffile.imwrite(tmp_path / "b.tif", FRAMES)
    (tmp_path / "b.tif").rename(tmp_path / "stack")
    assert kinds.of(tmp_path / "array") is kinds.ARRAYS and kinds.of(tmp_path / "stack") is kinds.PICTURES
