"""Pixel sizes that nothing tells, and scans that other tools wrote: used as they are meant, or told in one line."""

import json

import h5py
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from small_scans import random_poses, speckle, write_scan

from speckle_rec.cli import main
from speckle_rec.errors import InputError
from speckle_rec.io import calib, tusrec
from speckle_rec.probe import field as probe
from speckle_rec.scan import Scan

QUICK = ["--no-volume", "--no-progress"]


def sector(radius_mm=40.0, n=6):
    """Frames [n, 480, 640] of noise in the field of view of the built-in probe, or of one of another radius."""
    scale = calib.built_in().scale
    known = probe.ultrasonix_4dc7(scale)
    field = probe.ProbeGeometry(known.kind, known.shape, scale, (known.apex_mm[0], 9.0 - radius_mm), radius_mm,
                                known.depth_mm, known.lateral)
    return (np.random.default_rng(0).integers(20, 255, (n, 480, 640)) * field.mask()).astype(np.uint8)


def stored(path, frames, attributes=(), of_file=(), **datasets):
    with h5py.File(path, "w") as file:
        file["frames"] = frames
        for key, value in datasets.items():
            file[key] = value
        file["frames"].attrs.update(dict(attributes))
        file.attrs.update(dict(of_file))
    return path


def told_in_one_line(capsys, *words):
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and all(word in err for word in words), err


# -- pixel size

@pytest.mark.parametrize("verb", [["reconstruct"], ["check"], ["compound", "--poses", "p.txt", "-o", "v.nrrd"],
                                  ["calibrate", "-o", "c.h5"]])
def test_a_size_that_nothing_tells_is_asked_for(tmp_path, monkeypatch, capsys, fake_pipeline, verb):
    monkeypatch.chdir(tmp_path)
    stored(tmp_path / "a.h5", speckle(3))
    assert main([verb[0], "a.h5", *verb[1:]]) == 2
    told_in_one_line(capsys, "a.h5", "48 rows x 64 columns", "--pixel-mm X [Y]")
    assert [path.name for path in tmp_path.iterdir()] == ["a.h5"]
    with pytest.raises(InputError, match="pixel_mm="):
        Scan.from_arrays(speckle(3))


@pytest.mark.parametrize("words, size", [
    (["--pixel-mm", ".12"], (0.12, 0.12)), (["--pixel-mm", ".12", ".13"], (0.12, 0.13)),
    (["--pixel-mm", ".12,.13"], (0.12, 0.13)), (["--pixel-mm=.12"], (0.12, 0.12)),
    (["--pixel-mm=.12,.13"], (0.12, 0.13)), (["--pixel-mm", ".12 .13"], (0.12, 0.13))])
@pytest.mark.parametrize("first", [True, False])
def test_spellings_of_the_size(tmp_path, capsys, words, size, first):
    path = str(stored(tmp_path / "a.h5", speckle(3)))
    assert main(["check", *words, path] if first else ["check", path, *words]) == 0
    assert f"{size[0]:.5f} x {size[1]:.5f} mm a pixel" in capsys.readouterr().out


@pytest.mark.parametrize("size", ["0", "-1", "nan", "x", "85", ".1,.2,.3", ""])
def test_no_size_of_a_pixel(tmp_path, capsys, size):
    path = str(stored(tmp_path / "a.h5", speckle(3)))
    assert main(["check", path, f"--pixel-mm={size}"]) == 2
    told_in_one_line(capsys, "--pixel-mm", "in mm")


def test_every_verb_takes_the_size(tmp_path, monkeypatch, fake_pipeline):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "data" / "frames_transfs" / "007"
    folder.mkdir(parents=True)
    path = str(stored(folder / "RH_rotation.h5", speckle(3), tforms=random_poses(3).astype(np.float32)))
    assert main(["reconstruct", path, "--pixel-mm", ".12", ".13", "-o", "r", *QUICK]) == 0
    assert json.loads((tmp_path / "r" / "summary.json").read_text())["pixel_mm"] == [0.12, 0.13]
    assert main(["compound", path, "--poses", "r", "-o", "v.nrrd", "--pixel-mm", ".12", ".13", "-q"]) == 0
    assert main(["export", "r", "--to", "igs.mha", "-q"]) == 0
    np.testing.assert_allclose(np.diag(Scan.open(tmp_path / "r" / "scan.igs.mha").scale)[:2], (0.12, 0.13))
    # No image-to-tool transform is known, so that there is nothing to score; but the scan is opened.
    assert main(["evaluate", "data", "-o", "e", "--pixel-mm", ".12", "-q"]) == 1
    assert "pixel size" not in (tmp_path / "e" / "summary.json").read_text()


@pytest.mark.parametrize("name, value, expected", [
    ("pixel_mm", (0.1, 0.2), (0.1, 0.2)), ("spacing", 0.1, (0.1, 0.1)), ("spacing_mm", [0.1], (0.1, 0.1)),
    ("PixelSpacing", (0.2, 0.1), (0.1, 0.2)), ("pixel-size", (0.1, 0.1), (0.1, 0.1)),
    ("spacing", (1.0, 0.1, 0.1), (0.1, 0.1)), ("ElementSpacing", (0.1, 0.2, 1.0), None)])
@pytest.mark.parametrize("where", ["attributes", "of_file", "dataset"])
def test_sizes_that_an_h5_tells(tmp_path, name, value, expected, where):
    more = {name: value} if where == "dataset" else {where: {name: value}}
    path = stored(tmp_path / "a.h5", speckle(3), **more)
    if expected is None:
        with pytest.raises(InputError, match=f"{name}.*--pixel-mm"):
            Scan.open(path)
        return
    scan = Scan.open(path)
    assert tuple(np.diag(scan.scale)[:2]) == expected and name in scan.calibration_source and not scan.warnings


def test_sizes_that_may_be_either_way_round_are_told(tmp_path):
    scan = Scan.open(stored(tmp_path / "a.h5", speckle(3), {"spacing": (0.1, 0.2)}))
    assert tuple(np.diag(scan.scale)[:2]) == (0.1, 0.2) and "which is which" in scan.warnings[0]


@pytest.mark.parametrize("value", [85.4, 8.54e-5, 0.0, -0.1, np.nan])
def test_sizes_in_another_unit_are_refused(tmp_path, value):
    path = stored(tmp_path / "a.h5", speckle(3), {"spacing": value})
    with pytest.raises(InputError, match="is the unit mm"):
        Scan.open(path)
    assert Scan.open(path, pixel_mm=0.0854).scale[0, 0] == 0.0854


def test_attributes_that_tell_nothing(tmp_path):
    path = stored(tmp_path / "a.h5", speckle(3), {"spacing": (1.0, 1.0), "pixel_size": "large"}, {"spacing": np.eye(4)})
    with pytest.raises(InputError, match="nothing tells"):
        Scan.open(path)


def test_the_file_itself_is_believed_before_what_lies_beside_it(tmp_path):
    T = random_poses(1)[0]
    calib.write_challenge(tmp_path / "calib_matrix.csv", np.diag([0.2, 0.25, 1, 1]), T)
    scan = Scan.open(stored(tmp_path / "a.h5", speckle(3), {"pixel_mm": (0.1, 0.1)}))
    assert scan.scale[0, 0] == 0.1 and "0.2 x 0.25 mm" in scan.warnings[0]
    np.testing.assert_allclose(scan.T_tool_image, T, atol=1e-12)
    assert Scan.open(stored(tmp_path / "b.h5", speckle(3), {"pixel_mm": (0.2, 0.25)})).warnings == []


def test_what_is_given_wins_over_what_is_found_and_must_agree_with_itself(tmp_path, capsys):
    path, T = stored(tmp_path / "a.h5", speckle(3)), random_poses(1)[0]
    calib.write_challenge(tmp_path / "calib_matrix.csv", np.diag([0.2, 0.25, 1, 1]), T)
    scan = Scan.open(path, pixel_mm=(0.1, 0.1))
    assert scan.scale[0, 0] == 0.1 and "calib_matrix.csv" in scan.warnings[0]
    both = ["check", str(path), "--calib", str(tmp_path / "calib_matrix.csv"), "--pixel-mm"]
    assert main([*both, ".2", ".25"]) == 0
    capsys.readouterr()
    assert main([*both, ".1"]) == 2
    told_in_one_line(capsys, "0.1 x 0.1 mm", "0.2 x 0.25 mm")
    with pytest.raises(InputError, match="leave one out"):
        Scan.from_arrays(speckle(3), scale=np.diag([0.2, 0.2, 1, 1]), pixel_mm=0.1)


def test_the_built_in_probe_is_taken_where_it_is_seen_and_said(tmp_path, capsys, fake_pipeline):
    path = stored(tmp_path / "a.h5", sector())
    assert main(["reconstruct", str(path), "-o", str(tmp_path / "r"), *QUICK]) == 0
    told = [w for w in json.loads((tmp_path / "r" / "summary.json").read_text())["warnings"] if "built-in probe" in w]
    assert len(told) == 1 and "--pixel-mm" in told[0] and "built-in probe" in capsys.readouterr().err
    scan = Scan.from_arrays(sector())
    np.testing.assert_array_equal(scan.scale, calib.built_in().scale)
    assert "built-in probe" in scan.warnings[0]


@pytest.mark.parametrize("frames", [sector(50.0), sector(30.0), sector()[:, ::-1], sector()[:, :400],
                                    np.random.default_rng(0).integers(0, 255, (4, 480, 640), dtype=np.uint8)],
                         ids=["50 mm", "30 mm", "upside down", "cropped", "all over"])
def test_frames_of_the_same_size_of_another_probe(tmp_path, frames):
    with pytest.raises(InputError, match="--pixel-mm"):
        Scan.open(stored(tmp_path / "a.h5", frames))


# -- axes

def test_frames_on_their_side_are_turned(tmp_path):
    scan = Scan.open(stored(tmp_path / "a.h5", sector().transpose(0, 2, 1)))
    np.testing.assert_array_equal(scan.frames(1, 3), sector()[1:3])
    assert any("rows and columns were exchanged" in warning for warning in scan.warnings)


def test_linear_frames_on_their_side_are_turned(tmp_path):
    layers = 127 + 200 * gaussian_filter(np.random.default_rng(0).normal(size=(4, 616, 820)), (0, 0.8, 2.5))
    frames = np.clip(layers, 0, 255).astype(np.uint8)
    assert Scan.open(stored(tmp_path / "b.h5", frames), pixel_mm=0.1).warnings == []
    scan = Scan.open(stored(tmp_path / "a.h5", frames.transpose(0, 2, 1)), pixel_mm=0.1)
    assert scan.shape == (616, 820) and "rows and columns were exchanged" in scan.warnings[0]


@pytest.mark.parametrize("order, axis", [((1, 2, 0), 2), ((2, 1, 0), 2), ((1, 0, 2), 1)])
@pytest.mark.parametrize("rows", [480, 430])
def test_frames_along_another_axis_are_refused(tmp_path, capsys, order, axis, rows):
    path = stored(tmp_path / "a.h5", sector(n=20)[:, :rows].transpose(order))
    assert main(["check", str(path), "--pixel-mm", ".2"]) == 2
    told_in_one_line(capsys, "a.h5", f"moveaxis(frames, {axis}, 0)")


def test_poses_and_blocks_tell_the_axis_of_frames(tmp_path):
    frames = np.moveaxis(np.random.default_rng(0).integers(0, 255, (20, 90, 100), dtype=np.uint8), 0, 2)
    with pytest.raises(InputError, match="20 poses"):
        Scan.open(stored(tmp_path / "a.h5", frames, tforms=random_poses(20)), pixel_mm=0.2)
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file.create_dataset("frames", data=frames, chunks=(90, 100, 1))
    with pytest.raises(InputError, match="in blocks of"):
        Scan.open(tmp_path / "b.h5", pixel_mm=0.2)
    with pytest.raises(InputError, match="last axis"):
        Scan.open(stored(tmp_path / "c.h5", frames[..., :5]), pixel_mm=0.2)


# -- tracked poses of another number or order

@pytest.mark.parametrize("n, tracked", [(5, [True] * 3), (3, [True] * 3), (2, [True, True, False])])
def test_any_number_of_tforms(tmp_path, capsys, fake_pipeline, n, tracked):
    write_scan(tmp_path / "a.h5", speckle(3), random_poses(n))
    scan = Scan.open(tmp_path / "a.h5")
    assert scan.tracked_ok.tolist() == tracked
    np.testing.assert_allclose(scan.T_world_tool[tracked], random_poses(n)[:sum(tracked)], atol=1e-6)
    assert any("one pose a frame" in warning for warning in scan.warnings) == (n != 3)
    assert main(["reconstruct", str(tmp_path / "a.h5"), "-o", str(tmp_path / "r"), *QUICK]) == 0


@pytest.mark.parametrize("order", ["numpy", "by column", "MATLAB"])
def test_tforms_in_another_order(tmp_path, order):
    T = random_poses(6)
    turned = {"numpy": np.moveaxis(T, 0, 2), "by column": T.transpose(0, 2, 1), "MATLAB": T.transpose(2, 1, 0)}[order]
    scan = Scan.open(stored(tmp_path / "a.h5", speckle(6), tforms=turned), pixel_mm=0.2)
    np.testing.assert_allclose(scan.T_world_tool, T, atol=1e-9)
    assert scan.warnings


def test_tforms_that_are_no_poses_stop_nothing(tmp_path):
    for k, bad in enumerate((np.zeros((3, 3, 4)), np.zeros(3), np.zeros((0, 4, 4)))):
        scan = Scan.open(stored(tmp_path / f"{k}.h5", speckle(3), tforms=bad), pixel_mm=0.2)
        assert scan.T_world_tool is None and "not used" in scan.warnings[0]


# -- files that are no scans

def test_hidden_files_are_no_scans(tmp_path, capsys, fake_pipeline):
    folder = tmp_path / "data" / "frames_transfs" / "007"
    folder.mkdir(parents=True)
    plain = tmp_path / "plain"
    (plain / ".cache").mkdir(parents=True)
    for place in (folder, plain, plain / ".cache"):
        write_scan(place / "a.h5", speckle(3))
        (place / "._a.h5").write_bytes(bytes(4096))
        (place / ".DS_Store.h5").write_bytes(b"Bud1")
    assert [entry.path.name for entry in tusrec.entries(tmp_path / "data")] == ["a.h5"]
    for word in (plain, plain / "*.h5", plain / ".*.h5", plain / "**" / "*.h5", folder.parents[1]):
        out = tmp_path / f"out{len(list(tmp_path.iterdir()))}"
        status = main(["reconstruct", str(word), "-o", str(out), *QUICK, "-q"])
        assert status == (2 if word.name == ".*.h5" else 0), word
    capsys.readouterr()
    assert main(["check", str(folder / "._a.h5")]) == 2
    told_in_one_line(capsys, "._a.h5", "hidden files are no scans")
