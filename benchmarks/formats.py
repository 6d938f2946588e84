"""What a file format costs: a tracked scan written as DICOM, films, pictures and sequences, read again and scored.

    python benchmarks/formats.py SCAN.h5 [ANOTHER.h5]

The score is that with the mirror bit given. Formats that give back the same pixels and times give the same result, and
are not reconstructed again.
"""

import argparse
import tempfile
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from speckle_rec import geometry
from speckle_rec.pipeline import reconstruct
from speckle_rec.scan import Scan
from speckle_rec.scoring import score as scoring
from speckle_rec.storage import conversion
from speckle_rec.storage.made_of import frames_hash


def dicom(scan: Scan, folder: Path) -> Path:
    """A cine loop without compression."""
    from pydicom import uid
    from pydicom.dataset import Dataset, FileMetaDataset
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = uid.UltrasoundMultiFrameImageStorage
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID = uid.generate_uid()
    ds.NumberOfFrames, ds.Rows, ds.Columns = scan.n_frames, *scan.shape
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PixelRepresentation = 1, "MONOCHROME2", 0
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 8, 8, 7
    ds.FrameTime = 1000 / scan.frame_rate_hz
    ds.PixelData = scan.frames().tobytes()
    ds.save_as(folder / "scan.dcm", enforce_file_format=True)
    return folder / "scan.dcm"


def film(crf: int) -> Callable[[Scan, Path], Path]:
    """An MP4 (H.264) of that quality."""
    def write(scan: Scan, folder: Path) -> Path:
        import av
        with av.open(str(folder / "scan.mp4"), "w") as container:
            stream = container.add_stream("libx264", rate=Fraction(scan.frame_rate_hz).limit_denominator(1000),
                                          options={"crf": str(crf)})
            stream.height, stream.width = scan.shape
            stream.pix_fmt = "yuv420p"
            for frame in scan.frames():
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, "gray")))
            container.mux(stream.encode(None))
        return folder / "scan.mp4"
    return write


def pictures(scan: Scan, folder: Path) -> Path:
    """A folder of PNG."""
    (folder / "scan").mkdir()
    for k, frame in enumerate(scan.frames()):
        cv2.imwrite(str(folder / "scan" / f"{k}.png"), frame)
    return folder / "scan"


def jpegs(quality: int) -> Callable[[Scan, Path], Path]:
    """A folder of JPEG of that quality."""
    def write(scan: Scan, folder: Path) -> Path:
        (folder / "scan").mkdir()
        for k, frame in enumerate(scan.frames()):
            cv2.imwrite(str(folder / "scan" / f"{k}.jpg"), frame, [cv2.IMWRITE_JPEG_QUALITY, quality])
        return folder / "scan"
    return write


def sequence(ending: str) -> Callable[[Scan, Path], Path]:
    """A sequence of PLUS or 3D Slicer."""
    def write(scan: Scan, folder: Path) -> Path:
        conversion.convert(scan, folder / f"scan{ending}", ending)
        return folder / f"scan{ending}"
    return write


FORMATS = {"DICOM": dicom, ".seq.nrrd": sequence(".seq.nrrd"), ".igs.mha": sequence(".igs.mha"), "PNG": pictures,
           "JPEG, quality 90": jpegs(90), "JPEG, quality 75": jpegs(75), "MP4, crf 18": film(18),
           "MP4, crf 28": film(28), "MP4, crf 34": film(34)}


def size_mb(path: Path) -> float:
    """Bytes of a file or of the files of a folder."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files) / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scans", type=Path, nargs="+", help="tracked scans")
    for path in parser.parse_args().scans:
        print(f"\n{path}\n\n| format | MB | largest change of a pixel | RMS | mirror given | path over true |")
        print("|---|---|---|---|---|---|")
        table(Scan.open(path))


def table(scan: Scan) -> None:
    """The rows of a scan."""
    known = {frames_hash(scan): score(scan)}
    tell("HDF5, as it is", size_mb(scan.path or Path()), scan, scan, known)
    for name, write in FORMATS.items():
        with tempfile.TemporaryDirectory() as folder:
            path = write(scan, Path(folder))
            read = Scan.open(path, pixel_mm=tuple(np.diag(scan.scale)[:2]))
            if abs(read.frame_rate_hz - scan.frame_rate_hz) > 1e-3 * scan.frame_rate_hz:
                raise SystemExit(f"{name}: {read.frame_rate_hz} Hz, not {scan.frame_rate_hz}")
            same = replace(scan, source=read.source, name=scan.name)
            if frames_hash(same) not in known:
                known[frames_hash(same)] = score(same)
            tell(name, size_mb(path), scan, same, known)


def score(scan: Scan) -> tuple[float, float]:
    """Final score of a scan's reconstruction with the mirror bit given, and its path over the true one."""
    found, true = reconstruct(scan), scan.T_first_frame_tracked
    against = true, geometry.steps(true), scan.scale, scan.shape
    given, _ = scoring.with_mirror_given(found.T_first_frame, found.T_prev_frame, *against, scan.landmarks)
    steps = scoring.step_errors(found.T_prev_frame, *against[1:])
    return given.final, steps.path_est_mm / steps.path_true_mm


def tell(name: str, mb: float, scan: Scan, read: Scan, known: dict[str, tuple[float, float]]) -> None:
    """A row of the table."""
    difference = read.frames().astype(int) - scan.frames()
    found = known[frames_hash(read)]
    print(f"| {name} | {mb:.1f} | {np.abs(difference).max()} | {np.sqrt((difference ** 2).mean()):.2f} | "
          f"{found[0]:.3f} | {found[1]:.2f} |", flush=True)


if __name__ == "__main__":
    main()
