"""DICOM as pydicom writes it: cine loops and series, regions, times, colours, compression; damaged files."""

from pathlib import Path

import numpy as np
import pytest
from small_scans import speckle

from speckle_rec.cli import main
from speckle_rec.errors import InputError
from speckle_rec.scan import Scan

pydicom = pytest.importorskip("pydicom", reason="NOT RUN: pydicom is not installed (extra [dicom])")
from pydicom import uid  # noqa: E402
from pydicom.dataset import Dataset, FileMetaDataset  # noqa: E402
from pydicom.encaps import encapsulate  # noqa: E402

N = 5
FRAMES = speckle(N)


def region(box, cm=(0.012, 0.013), kind=1, units=3, data=1):
    item = Dataset()
    item.RegionSpatialFormat, item.RegionDataType, item.RegionFlags = kind, data, 0
    r0, r1, c0, c1 = box
    item.RegionLocationMinX0, item.RegionLocationMinY0 = c0, r0
    item.RegionLocationMaxX1, item.RegionLocationMaxY1 = c1 - 1, r1 - 1
    item.PhysicalUnitsXDirection = item.PhysicalUnitsYDirection = units
    item.PhysicalDeltaX, item.PhysicalDeltaY = cm
    return item


def head(pixels, photometric="MONOCHROME2", syntax=uid.ExplicitVRLittleEndian, **more):
    """A data set of ultrasound with those pixels [N, rows, columns(, 3)], and a patient."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = syntax
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = uid.UltrasoundMultiFrameImageStorage
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID = uid.generate_uid()
    ds.SeriesInstanceUID, ds.Modality = more.pop("series", "1.2.3"), "US"
    ds.PatientName, ds.PatientBirthDate, ds.StudyDate = "Doe^Jane", "19700131", "20250102"
    ds.InstitutionName = "St Elsewhere"
    ds.Rows, ds.Columns = pixels.shape[1:3]
    ds.SamplesPerPixel = 3 if pixels.ndim == 4 else 1
    if pixels.ndim == 4:
        ds.PlanarConfiguration = 0
    ds.PhotometricInterpretation, ds.PixelRepresentation = photometric, 0
    ds.BitsAllocated = 8 * pixels.dtype.itemsize
    ds.BitsStored = more.pop("bits", ds.BitsAllocated)
    ds.HighBit = ds.BitsStored - 1
    if len(pixels) > 1:
        ds.NumberOfFrames = len(pixels)
    ds.PixelData = pixels.tobytes()
    for name, value in more.items():
        setattr(ds, name, value)
    return ds


def cine(path, pixels=FRAMES, **more):
    more = {"PixelSpacing": [0.13, 0.12], "FrameTime": 40} | more
    ds = head(pixels, **{name: value for name, value in more.items() if value is not None})
    ds.save_as(path, enforce_file_format=True)
    return path


# -- a cine loop

@pytest.mark.parametrize("name", ["a.dcm", "IM_0001", "a.ima", "A.DCM"])
def test_a_cine_loop(tmp_path, name):
    scan = Scan.open(cine(tmp_path / name, TransducerData=["C5-2", "X"], Manufacturer="Maker"))
    np.testing.assert_array_equal(scan.frames(), FRAMES)
    np.testing.assert_array_equal(scan.frames(2, 4), FRAMES[2:4])
    assert tuple(np.diag(scan.scale)[:2]) == (0.12, 0.13) and scan.frame_rate_hz == pytest.approx(25)
    assert scan.about == {"manufacturer": "Maker", "transducer": "C5-2 X"}
    assert scan.name == name.split(".")[0] and not scan.warnings


def test_the_region_of_the_image_and_its_deltas_in_cm(tmp_path):
    regions = [region((0, 48, 0, 60), kind=2), region((4, 40, 10, 60)), region((0, 20, 0, 20), kind=1, data=2)]
    scan = Scan.open(cine(tmp_path / "a.dcm", SequenceOfUltrasoundRegions=regions))
    np.testing.assert_array_equal(scan.frames(), FRAMES[:, 4:40, 10:60])
    assert tuple(np.diag(scan.scale)[:2]) == pytest.approx((0.12, 0.13))
    assert "SequenceOfUltrasoundRegions" in scan.calibration_source and "rows 4..39" in scan.warnings[0]


def test_two_regions_with_images(tmp_path):
    regions = [region((0, 48, 0, 30)), region((0, 48, 30, 64))]
    scan = Scan.open(cine(tmp_path / "a.dcm", SequenceOfUltrasoundRegions=regions))
    assert scan.shape == (48, 34) and "the largest" in scan.warnings[0]


def test_a_region_without_a_size_in_cm(tmp_path):
    path = cine(tmp_path / "a.dcm", PixelSpacing=None, SequenceOfUltrasoundRegions=[region((0, 40, 0, 60), units=4)])
    with pytest.raises(InputError, match="--pixel-mm"):
        Scan.open(path)
    assert Scan.open(path, pixel_mm=0.1).shape == (40, 60)


@pytest.mark.parametrize("more, times", [
    ({"FrameTime": 50}, np.arange(N) / 20), ({"FrameTime": None, "CineRate": 10}, np.arange(N) / 10),
    ({"FrameTime": None, "RecommendedDisplayFrameRate": 30}, np.arange(N) / 30),
    ({"FrameTimeVector": [0, 10, 20, 10, 30]}, np.array([0, 10, 30, 40, 70]) / 1000)])
def test_times(tmp_path, more, times):
    np.testing.assert_allclose(Scan.open(cine(tmp_path / "a.dcm", **more)).timestamps_s, times)


def test_no_times_and_wrong_ones(tmp_path):
    assert "20 Hz" in Scan.open(cine(tmp_path / "a.dcm", FrameTime=None)).warnings[0]
    scan = Scan.open(cine(tmp_path / "b.dcm", FrameTimeVector=[0, 10]))
    assert "found 2" in scan.warnings[0] and scan.frame_rate_hz == pytest.approx(25)


# -- colours, bits, compression

def coloured():
    return np.stack([FRAMES, FRAMES // 2, 255 - FRAMES], -1)


def luma(rgb):
    return rgb @ np.array([0.299, 0.587, 0.114])


def test_colours_become_luma(tmp_path):
    scan = Scan.open(cine(tmp_path / "a.dcm", coloured(), photometric="RGB"))
    assert np.abs(scan.frames() - luma(coloured())).max() <= 1
    ybr = np.stack([FRAMES, np.full_like(FRAMES, 128), np.full_like(FRAMES, 128)], -1)
    scan = Scan.open(cine(tmp_path / "b.dcm", ybr, photometric="YBR_FULL"))
    assert np.abs(scan.frames().astype(int) - FRAMES).max() <= 1
    np.testing.assert_array_equal(Scan.open(cine(tmp_path / "c.dcm", 255 - FRAMES, photometric="MONOCHROME1")).frames(),
                                  FRAMES)


def test_a_palette(tmp_path):
    table = (np.arange(256)[::-1] * 257).astype(np.uint16)
    more = {f"{c}PaletteColorLookupTable{k}": v for c in ("Red", "Green", "Blue")
            for k, v in (("Descriptor", [256, 0, 16]), ("Data", table.tobytes()))}
    scan = Scan.open(cine(tmp_path / "a.dcm", photometric="PALETTE COLOR", **more))
    np.testing.assert_array_equal(scan.frames(), 255 - FRAMES)


@pytest.mark.parametrize("bits", [10, 12, 16])
def test_more_bits_than_eight(tmp_path, bits):
    scan = Scan.open(cine(tmp_path / "a.dcm", (FRAMES.astype(np.uint16) << (bits - 8)), bits=bits))
    assert np.abs(scan.frames().astype(int) - FRAMES).max() <= 1


@pytest.mark.parametrize("syntax", ["RLELossless", "JPEG2000Lossless", "JPEGLSLossless",
                                    "DeflatedExplicitVRLittleEndian", "ImplicitVRLittleEndian", "ExplicitVRBigEndian"])
def test_transfer_syntaxes(tmp_path, syntax):
    ds = head(FRAMES, PixelSpacing=[0.13, 0.12], FrameTime=40)
    wanted = getattr(uid, syntax)
    if wanted.is_compressed and wanted.is_encapsulated:
        try:
            ds.compress(wanted)
        except (RuntimeError, NotImplementedError) as error:
            pytest.skip(f"NOT RUN: no encoder of {syntax}: {error}")
        ds.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    else:
        ds.file_meta.TransferSyntaxUID = wanted
        ds.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    np.testing.assert_array_equal(Scan.open(tmp_path / "a.dcm").frames(), FRAMES)


def test_jpeg_in_colour(tmp_path):
    cv2 = pytest.importorskip("cv2")
    smooth = np.stack([cv2.GaussianBlur(f, (0, 0), 3) for f in FRAMES])
    items = [cv2.imencode(".jpg", np.repeat(f[..., None], 3, 2), [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()
             for f in smooth]
    ds = head(np.repeat(smooth[..., None], 3, 3), "YBR_FULL_422", uid.JPEGBaseline8Bit, PixelSpacing=[0.1, 0.1])
    ds.PixelData = encapsulate(items)
    ds["PixelData"].is_undefined_length = True
    ds.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    assert np.abs(Scan.open(tmp_path / "a.dcm").frames().astype(int) - smooth).max() <= 4


def test_what_highdicom_writes(tmp_path):
    hd = pytest.importorskip("highdicom", reason="NOT RUN: highdicom is not installed")
    made = [hd.sc.SCImage(pixel_array=f, photometric_interpretation="MONOCHROME2", bits_allocated=8,
                          coordinate_system="PATIENT", study_instance_uid="1.2.3", series_instance_uid="1.2.4",
                          series_number=1, sop_instance_uid=uid.generate_uid(), instance_number=N - k,
                          manufacturer="Maker", patient_orientation=["A", "R"], pixel_spacing=[0.13, 0.12])
            for k, f in enumerate(FRAMES[::-1])]
    for k, image in enumerate(made):
        image.save_as(tmp_path / f"{k}.dcm")
    scan = Scan.open(tmp_path)
    np.testing.assert_array_equal(scan.frames(), FRAMES)
    assert tuple(np.diag(scan.scale)[:2]) == (0.12, 0.13)


def files_of_pydicom():
    return sorted((Path(pydicom.__file__).parent / "data" / "test_files").glob("*.dcm"))


def test_a_cine_loop_of_a_machine():
    """A loop of a SonoSite, JPEG in YBR_FULL_422, that comes with pydicom."""
    path = next((p for p in files_of_pydicom() if p.name == "examples_ybr_color.dcm"), None)
    if path is None:
        pytest.skip("NOT RUN: this pydicom comes without its example files")
    scan = Scan.open(path)
    assert (scan.n_frames, *scan.shape) == (30, 209, 236) and scan.about["model"] == "Turbo"
    assert "SequenceOfUltrasoundRegions" in scan.calibration_source and scan.timestamps_s is not None
    whole = pydicom.dcmread(path).pixel_array[3, 31:, 84:]      # as pydicom decodes it: RGB by default
    assert np.abs(scan.frames(3, 4)[0] - luma(whole)).max() <= 2


@pytest.mark.parametrize("path", files_of_pydicom(), ids=lambda path: path.name)
def test_files_of_pydicom_are_read_or_told_in_one_line(path, capfd):
    try:
        scan = Scan.open(path, pixel_mm=0.1)
        assert scan.frames(0, 2).shape[1:] == scan.shape
    except InputError as error:
        assert "\n" not in str(error) and str(path) in str(error)
    assert not capfd.readouterr().err


# -- series

def series(folder, numbers=range(N), **more):
    folder.mkdir(exist_ok=True)
    for k, number in enumerate(numbers):
        extra = {name: value[k] if isinstance(value, list) else value for name, value in more.items()}
        ds = head(FRAMES[k:k + 1], PixelSpacing=[0.13, 0.12], **extra)
        if number is not None:
            ds.InstanceNumber = number
        ds.save_as(folder / f"im{k}.dcm", enforce_file_format=True)
    return folder


def test_a_series_in_the_order_of_its_numbers(tmp_path):
    clock = [f"2025010223590{k // 10}.{k % 10}00000" for k in (2, 0, 1, 4, 3)]
    scan = Scan.open(series(tmp_path / "s", [3, 1, 2, 5, 4], AcquisitionDateTime=clock))
    np.testing.assert_array_equal(scan.frames(), FRAMES[[1, 2, 0, 4, 3]])
    np.testing.assert_allclose(scan.timestamps_s, np.arange(N) / 10, atol=1e-6)
    assert scan.name == "s" and scan.n_frames == N


def test_a_series_without_numbers_is_in_the_order_of_names(tmp_path):
    scan = Scan.open(series(tmp_path / "s", [None] * N))
    np.testing.assert_array_equal(scan.frames(), FRAMES)
    assert "InstanceNumber" in scan.warnings[0]


def test_two_series_in_a_folder(tmp_path):
    with pytest.raises(InputError, match=r"2 series of 3, 2 files"):
        Scan.open(series(tmp_path / "s", series=["1.1", "1.1", "1.2", "1.1", "1.2"]))


def test_folders_of_series_and_of_loops_are_found(tmp_path, capsys):
    (tmp_path / "all" / "loops").mkdir(parents=True)
    series(tmp_path / "all" / "s")
    cine(tmp_path / "all" / "loops" / "a.dcm")
    cine(tmp_path / "all" / "loops" / "b")
    assert main(["check", str(tmp_path / "all")]) == 0
    out = capsys.readouterr().out
    assert "3 scans usable" in out and "loops/b" in out and "all/s" in out


# -- damaged files, and what never reaches a result

def truncated(path):
    path.write_bytes(path.read_bytes()[:-5000])


@pytest.mark.parametrize("change, words", [
    ({"NumberOfFrames": 0}, ["NumberOfFrames 0"]), ({"NumberOfFrames": N + 3}, ["truncated"]),
    ({"Rows": 3}, ["16 to"]), ({"PixelSpacing": [120, 130]}, ["is the unit mm"]),
    ({"PixelSpacing": None}, ["--pixel-mm"]), ({"Rows": None}, ["without pixels"]),
    ({"PixelData": None}, ["pixels"]), ({"BitsAllocated": 13}, ["cannot be read"]),
    ({"PhotometricInterpretation": "NONSENSE"}, ["cannot be read"]), ({"SamplesPerPixel": 2}, ["cannot be read"])])
def test_wrong_elements(tmp_path, capsys, change, words):
    ds = head(FRAMES, PixelSpacing=[0.1, 0.1])
    for name, value in change.items():
        if value is None:
            delattr(ds, name)
        else:
            setattr(ds, name, value)
    ds.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    assert main(["check", str(tmp_path / "a.dcm")]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and all(word in err for word in words), err


@pytest.mark.parametrize("content", [b"", b"hello", b"\0" * 128 + b"DICM", b"\0" * 128 + b"DICM" + b"\xff" * 500,
                                     bytes(range(256)) * 20])
def test_other_content(tmp_path, capsys, content):
    (tmp_path / "a.dcm").write_bytes(content)
    assert main(["check", str(tmp_path / "a.dcm"), "--pixel-mm", ".1"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_file_cut_short(tmp_path, capsys):
    truncated(cine(tmp_path / "a.dcm"))
    assert main(["check", str(tmp_path / "a.dcm")]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "truncated" in err
