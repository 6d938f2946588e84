import itertools
import pickle

import numpy as np
import pytest
import SimpleITK
from hypothesis import given, settings
from hypothesis import strategies as st
from small_scans import random_poses, speckle

from speckle_rec import geometry
from speckle_rec.errors import InputError
from speckle_rec.io import calib, plus
from speckle_rec.scan import Scan


def write(path, frames, T, **options):
    plus.write(path, iter([(0, frames[:2]), (2, frames[2:])]), frames.shape, T, **options)


@pytest.mark.parametrize("compress", [True, False])
def test_round_trip_and_simpleitk(tmp_path, compress):
    path, frames, T = tmp_path / "a.igs.mha", speckle(5), random_poses(5)
    scale, T_tool_image = np.diag([0.1, 0.12, 1, 1]), random_poses(1, seed=3)[0]
    ok = np.array([True, True, True, False, True])
    write(path, frames, T, image_to_probe=calib.to_plus(scale, T_tool_image), compress=compress, tracked_ok=ok,
          timestamps_s=np.arange(5) / 10)
    scan = Scan.open(path)
    assert (scan.name, scan.n_frames, scan.shape) == ("a", 5, (48, 64))
    assert scan.frame_rate_hz == pytest.approx(10)
    np.testing.assert_array_equal(scan.frames(), frames)
    np.testing.assert_allclose(scan.scale, scale, atol=1e-9)
    np.testing.assert_allclose(scan.T_tool_image, T_tool_image, atol=1e-9)
    np.testing.assert_array_equal(scan.tracked_ok, ok)
    np.testing.assert_allclose(scan.T_world_tool[ok], T[ok], atol=1e-9)
    image = SimpleITK.ReadImage(str(path))
    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(image), frames)
    assert image.GetMetaData("Seq_Frame0001_ProbeToReferenceTransformStatus") == "OK"
    clone = pickle.loads(pickle.dumps(scan))
    np.testing.assert_array_equal(clone.frames(3, 5), frames[3:])


def test_probe_to_reference_where_a_reference_is_tracked(tmp_path):
    path, probe, reference = tmp_path / "a.mha", random_poses(3), random_poses(3, seed=1)
    write(path, speckle(3), probe, compress=False)
    head, _, pixels = path.read_bytes().partition(b"ElementDataFile = LOCAL\n")
    text = head.decode().replace("ProbeToReference", "ProbeToTracker")
    for i, T in enumerate(reference):
        numbers = " ".join(f"{v:.12g}" for v in T.ravel())
        text += f"Seq_Frame{i:04d}_ReferenceToTrackerTransform = {numbers}\n"
        text += f"Seq_Frame{i:04d}_ReferenceToTrackerTransformStatus = {'OK' if i != 1 else 'INVALID'}\n"
    path.write_bytes(text.encode() + b"ElementDataFile = LOCAL\n" + pixels)
    scan = Scan.open(path, pixel_mm=0.2)
    assert scan.tracked_ok.tolist() == [True, False, True]
    for i in (0, 2):
        np.testing.assert_allclose(scan.T_world_tool[i], np.linalg.inv(reference[i]) @ probe[i], atol=1e-9)
    assert scan.T_tool_image is None and scan.scale[0, 0] == scan.scale[1, 1] == 0.2


@pytest.mark.parametrize("lateral, depth", list(itertools.product("MU", "NF")))
@pytest.mark.parametrize("transposed", [False, True])
def test_every_orientation_is_turned_to_MF(tmp_path, lateral, depth, transposed):
    frames = speckle(2)
    stored = frames[:, ::-1 if depth == "N" else 1, ::-1 if lateral == "U" else 1]
    code = depth + lateral if transposed else lateral + depth
    stored = stored.transpose(0, 2, 1) if transposed else stored
    path = tmp_path / "a.mha"
    write(path, np.ascontiguousarray(stored), random_poses(2), compress=False)
    path.write_bytes(path.read_bytes().replace(b"Orientation = MF\n", f"Orientation = {code}\n".encode()))
    scan = Scan.open(path, pixel_mm=(0.2, 0.3))
    assert scan.shape == (48, 64)
    np.testing.assert_array_equal(scan.frames(), frames)


@settings(max_examples=40)
@given(st.integers(0, 10_000), st.floats(0.02, 1), st.floats(0.02, 1))
def test_image_to_probe_splits_exactly(seed, sx, sy):
    T = random_poses(1, seed, size=2.0)[0]
    M = T @ np.diag([sx, sy, 1, 1])
    found = calib.from_plus(M, (480, 640), "test")
    for column, row in ((0, 0), (639, 479), (10, 300)):
        ours = found.T_tool_image @ found.scale @ (column + 1, row + 1, 0, 1)
        np.testing.assert_allclose(ours, M @ (column, row, 0, 1), atol=1e-9)
    np.testing.assert_allclose((calib.to_plus(found.scale, found.T_tool_image) - M)[:, [0, 1, 3]], 0, atol=1e-9)
    geometry.check_rigid(found.T_tool_image, "T_tool_image")


def test_calibration_layouts(tmp_path):
    M = random_poses(1)[0] @ np.diag([0.1, 0.2, 0.1, 1])
    rows = [" ".join(f"{v:.17g}" for v in row) for row in M]
    (tmp_path / "m.txt").write_text("\n".join(rows))
    (tmp_path / "m.csv").write_text("\n".join(row.replace(" ", ",") for row in rows))
    (tmp_path / "m.xml").write_text('<PlusConfiguration><CoordinateDefinitions><Transform From="Image" To="Probe" '
                                    f'Matrix="{" ".join(rows)}" /></CoordinateDefinitions></PlusConfiguration>')
    expected = calib.from_plus(M, (48, 64), "test")
    for name in ("m.txt", "m.csv", "m.xml"):
        found = calib.read(tmp_path / name, (48, 64))
        np.testing.assert_allclose(found.T_tool_image, expected.T_tool_image, atol=1e-12)
        np.testing.assert_allclose(found.scale, expected.scale, atol=1e-12)
    calib.write_challenge(tmp_path / "c.csv", expected.scale, expected.T_tool_image)
    found = calib.read(tmp_path / "c.csv", (48, 64))
    np.testing.assert_array_equal(found.scale, expected.scale)
    np.testing.assert_allclose(found.T_tool_image, expected.T_tool_image, atol=1e-12)


@pytest.mark.parametrize("name, step_mm", [("BoneUltrasound_L14", 0.49), ("SpinePhantomFreehand", 1.6)])
def test_published_sequences(shared_data, name, step_mm):
    path = shared_data / "plus" / f"{name}.igs.mha"
    scan = Scan.open(path)
    assert (scan.n_frames, scan.shape) == (21, (616, 820)) and scan.tracked_ok.all()
    assert scan.scale[0, 0] == pytest.approx(0.0854, abs=1e-4)
    np.testing.assert_array_equal(scan.frames(5, 8), SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path)))[5:8])
    steps = geometry.steps(scan.T_first_frame_tracked)[1:, :3, 3]
    assert np.linalg.norm(steps, axis=1).mean() == pytest.approx(step_mm, rel=0.05)


def test_damaged_pixels(tmp_path):
    path = tmp_path / "a.mha"
    write(path, speckle(4), random_poses(4))
    whole = path.read_bytes()
    path.write_bytes(whole[:-500])
    with pytest.raises(InputError, match="truncated"):
        Scan.open(path)
    path.write_bytes(whole[:-3000] + bytes(3000))
    with pytest.raises(InputError, match=r"damaged|truncated"):
        Scan.open(path, pixel_mm=0.2).frames()
