"""The kinds of files that a scan is read from: told apart by their names, or by how they begin.

A scan is a file, a folder of pictures or of DICOM files, or a glob of pictures.
"""

import glob
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from ..errors import InputError
from . import images, plus, tusrec
from .hdf5 import check_file
from .natural import natural
from .poses_beside import attached
from .source import ScanContent


@dataclass(frozen=True)
class Kind:
    """A kind of files: what it is called, how their names end, how they begin, and the module that reads them.

    Attributes
    ----------
    bare : frames alone, whose poses may lie beside them.
    """

    told: str
    endings: tuple[str, ...]
    module: str
    begins: tuple[bytes, ...] = ()
    bare: bool = False


HDF5 = Kind("TUS-REC, DualTrack or other HDF5", (".h5", ".hdf5", ".mat"), "tusrec", (b"\x89HDF",))
DUALTRACK = Kind("DualTrack HDF5", (), "dualtrack")
SEQUENCE = Kind("PLUS or 3D Slicer sequence", (".mha", ".mhd", ".nrrd", ".nhdr"), "plus", (b"NRRD", b"ObjectType"))
DICOM = Kind("DICOM", (".dcm", ".dicom", ".ima"), "dicom", bare=True)
FILM = Kind("film", (".mp4", ".avi", ".mov", ".mkv", ".m4v", ".webm", ".wmv", ".mpg", ".mpeg", ".gif"), "video",
            (b"RIFF", b"\x1aE\xdf\xa3", b"GIF8"), bare=True)
PICTURES = Kind("TIFF stack, or a folder or a glob of pictures", images.ENDINGS, "images",
                (b"II*\0", b"MM\0*", b"\x89PNG", b"\xff\xd8\xff", b"BM"), bare=True)
ARRAYS = Kind("NumPy array", (".npy", ".npz"), "arrays", (b"\x93NUMPY",), bare=True)
KINDS = (HDF5, SEQUENCE, DICOM, FILM, PICTURES, ARRAYS)
ENDINGS = tuple(ending for kind in KINDS for ending in kind.endings)
IN_FOLDERS = tuple(ending for ending in ENDINGS if ending not in images.ENDINGS)     # what is a scan by itself there
READ = "HDF5 (.h5), PLUS and 3D Slicer (.igs.mha, .seq.nrrd), DICOM (.dcm), films (.mp4, .avi, .mov), pictures " \
       "(.png, .jpg, .tif, .bmp), NumPy (.npy, .npz)"
NOT_SCANS = ("landmark_", "dataset_keys", "metrics", "poses.h5", "ddf.h5", "accumulation.", "volume.")

# What to do with other files, by the end of their names.
WAYS = {
    (".zip", ".gz", ".tgz", ".tar", ".7z", ".rar", ".bz2", ".xz"): "unpack it first",
    (".mrb", ".mrml"): "unpack the scene, and give the .seq.nrrd or .seq.mha in it",
    (".nii", ".nii.gz"): "it is one for volumes; write the frames as .npy [N, rows, columns] and give --pixel-mm",
    (".raw", ".bin", ".b8", ".b32", ".bmode"): "write a .mhd header beside it that says its size, or save it as .npy",
    (".mat",): "save it with -v7.3 in MATLAB, and give --dataset NAME",
    (".txt", ".csv", ".json", ".xml", ".tum", ".kitti"): "give the file with the frames",
    (".vtk", ".vti", ".vtp", ".ply", ".stl"): "give the file with the frames",
    (".imf",): "save the sweep as DICOM or MetaImage in ImFusion",
}


def of(path: Path, dataset: str | None = None) -> Kind:
    """The kind of a scan.

    Raises
    ------
    InputError
        If it is of none; the message names those that are read, and what to do with this one.
    """
    if path.is_dir():
        return _of_folder(path)
    if glob.has_magic(str(path)) and not path.exists():
        return PICTURES
    name = path.name.lower()
    kind = next((kind for kind in KINDS if name.endswith(kind.endings)), None)
    if kind is None:
        check_file(path)
        kind = _by_start(path)
    if kind is HDF5 and path.is_file():
        if name.endswith(".mat") and not _is_hdf5(path):
            raise _unknown(path)
        from .dualtrack import is_dualtrack
        if dataset is None and is_dualtrack(path):
            return DUALTRACK
    return kind


def open_scan(path: Path, calib: Path | None = None, landmarks: Path | None = None,
              pixel_mm: float | Sequence[float] | None = None, *, dataset: str | None = None,
              poses: Path | None = None) -> ScanContent:
    """Open a scan of any kind.

    Parameters
    ----------
    dataset : the name of the frames in a file that holds several arrays.
    poses : tracked poses in a file of their own.

    Raises
    ------
    InputError
        If it is of no kind that is read, or as the reader of its kind says.
    """
    kind = of(path, dataset)
    more: dict[str, Any] = {}
    if dataset is not None:
        if kind not in (HDF5, ARRAYS):
            raise InputError(f"{path}: --dataset: expected a file that holds several arrays (.h5, .npz), found a "
                             f"{kind.told}; leave it out")
        more["dataset"] = dataset
    content: ScanContent = import_module(f".{kind.module}", __package__).open_scan(
        path, calib, landmarks, pixel_mm, **more)
    if poses is None and not kind.bare:
        return content
    frames = images.files_of(path) if kind is PICTURES and not path.is_file() else []
    return attached(content, poses, frames)


def scan_name(path: Path) -> str:
    """The name a scan goes by, from the name of its file or folder."""
    if path.is_dir() or (glob.has_magic(str(path)) and not path.exists()):
        return images.scan_name(path)
    if plus.is_sequence(path):
        return plus.scan_name(path)
    name = path.name.lower()
    for kind in KINDS[1:]:
        for ending in kind.endings:
            if name.endswith(ending):
                return path.name[:-len(ending)]
    return tusrec.scan_name(path)


def in_folder(folder: Path) -> list[Path]:
    """The scans of a folder or of the folders in it: a data set's, files, or folders of pictures or DICOM files.

    Raises
    ------
    InputError
        If there are none.
    """
    if tusrec.is_dataset(folder):
        return [entry.path for entry in tusrec.entries(folder)]
    if found := list(_here(folder)):
        return found
    inner = sorted((p for p in folder.iterdir() if p.is_dir() and not p.name.startswith(".")), key=natural)
    if found := [scan for below in inner for scan in _here(below)]:
        return found
    raise InputError(f"{folder}: expected a folder with scans, found none; read are {READ}")


def is_scan(path: Path) -> bool:
    """Whether a file is a scan by its name; macOS puts a ._ file beside each real one where the disk is another's."""
    return path.is_file() and path.name.lower().endswith(ENDINGS) and not path.name.startswith(".")


def joined(paths: Iterable[Path]) -> list[Path]:
    """Files, where pictures of a folder are one scan: what a shell makes of ``frames/*.png``.

    Raises
    ------
    InputError
        If they are some of a folder's, which no glob with one * names.
    """
    out: dict[Path, None] = {}
    pictures: dict[Path, list[Path]] = {}
    for path in paths:
        if images.is_image(path) and path.is_file() and not images.is_stack(path):
            pictures.setdefault(path.parent, []).append(path)
            out[path.parent] = None
        else:
            out[path] = None
    for folder, some in pictures.items():
        if set(some) != set(images.files_of(folder)):
            out = {_pattern(some) if path == folder else path: None for path in out}
    return list(out)


def _pattern(paths: list[Path]) -> Path:
    """A glob that names these pictures of a folder and no others."""
    if len(paths) == 1:
        return paths[0]
    names = [path.name for path in paths]
    shortest = min(map(len, names))
    head = next((k for k in range(shortest) if len({name[k] for name in names}) > 1), shortest)
    tail = next((k for k in range(shortest - head) if len({name[-1 - k] for name in names}) > 1), shortest - head)
    pattern = paths[0].parent / f"{glob.escape(names[0][:head])}*{glob.escape(names[0][len(names[0]) - tail:])}"
    if set(images.files_of(pattern)) != set(paths):
        raise InputError(f"{paths[0].parent}: {len(paths)} of its pictures are given, and no pattern with one * names "
                         "just these; put them into a folder of their own")
    return pattern


def _here(folder: Path) -> Iterator[Path]:
    from . import dicom
    files = [p for p in sorted(folder.iterdir()) if p.is_file() and not p.name.startswith((".", *NOT_SCANS))]
    own = [p for p in files if p.name.lower().endswith(IN_FOLDERS) and not p.name.lower().endswith(DICOM.endings)]
    yield from own
    stacks = [] if own else [p for p in files if images.is_stack(p)]
    yield from stacks
    cine = dicom.files_in(folder)
    if cine:
        loops = [p for p in cine if _declares_many(p)]
        if loops:
            yield from loops
            return
        yield folder
        return
    if not own and not stacks and len([p for p in files if images.is_image(p)]) > 1:
        yield folder


def _declares_many(path: Path) -> bool:
    from . import dicom
    try:
        return dicom.n_frames_of(path) > 1
    except InputError as error:
        if "pip install" in str(error):
            raise
        return False


def _of_folder(folder: Path) -> Kind:
    from . import dicom
    if dicom.files_in(folder):
        return DICOM
    if images.files_of(folder):
        return PICTURES
    raise InputError(f"{folder}: expected a folder with the pictures or DICOM files of a scan, found none; read are "
                     f"{READ}")


def _by_start(path: Path) -> Kind:
    from . import dicom
    try:
        with open(path, "rb") as file:
            start = file.read(16)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    if dicom.is_dicom(path):
        return DICOM
    if start[4:8] == b"ftyp":
        return FILM
    for kind in KINDS:
        if start.startswith(kind.begins or (b"\0" * 17,)):
            return kind
    raise _unknown(path)


def _is_hdf5(path: Path) -> bool:
    import h5py
    return bool(h5py.is_hdf5(path))


def _unknown(path: Path) -> InputError:
    name = path.name.lower()
    way = next((way for ends, way in WAYS.items() if name.endswith(ends)),
               "save it as one of these, or give the frames to Scan.from_arrays in Python")
    found = re.sub(r"^[^.]*", "", name)[-12:] or "no ending"
    return InputError(f"{path}: expected a scan, found a file of another kind ({found}): {way}; read are {READ}")
