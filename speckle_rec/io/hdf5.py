"""HDF5 files that may be damaged: opened, looked into and read without following where they lead."""

import contextlib
import math
import stat
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from ..errors import InputError

MAX_ATTRIBUTE_BYTES = 1 << 20
MAX_WITH_TEXTS_BYTES = 1 << 29     # calibrations and training statistics
# What h5py raises for damaged files; TypeError for types that numpy lacks.
H5_ERRORS = (KeyError, OSError, RuntimeError, ValueError, TypeError, OverflowError, SystemError)


def one_line(error: BaseException, limit: int = 160) -> str:
    """The text of an error on one line."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= limit else text[: limit - 1] + "…"


def check_file(path: Path, what: str = "file") -> None:
    """Raise `InputError` unless `path` is a regular file: to open a pipe or a device may wait for ever."""
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InputError(f"{path}: no such {what}") from error
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be opened ({getattr(error, 'strerror', None) or one_line(error)})") from error
    if not stat.S_ISREG(mode):
        found = "a folder" if stat.S_ISDIR(mode) else "a pipe, a socket or a device"
        raise InputError(f"{path}: expected a file, found {found}")


def open_h5(path: Path) -> h5py.File:
    """Open an HDF5 file to read.

    Raises
    ------
    InputError
        If there is no such file, or it is not HDF5.
    """
    check_file(path)
    try:
        return h5py.File(path, "r")
    except (OSError, RuntimeError, ValueError) as error:
        if isinstance(error, PermissionError):
            raise InputError(f"{path}: not allowed to read it") from error
        raise InputError(f"{path}: expected an HDF5 file, found something else or a truncated one "
                         f"({one_line(error)})") from error


def h5_dataset(file: h5py.Group, key: str, path: Path) -> h5py.Dataset:
    """The dataset `key` that lies in this very file.

    Links that lead elsewhere are refused without a look at where: that may be a pipe, or not for us to read.

    Raises
    ------
    InputError
        If it is missing, not a dataset, or stored in another file.
    """
    try:
        for part in key.strip("/").split("/")[:-1]:
            file = _group(file, part, path)
        key = key.strip("/").rpartition("/")[2]
        names = list(file.keys())
        if key not in names:
            raise InputError(f"{path}: expected a dataset '{key}', found {', '.join(names[:8]) or 'nothing'}"
                             f"{way_to_frames(file) if key == 'frames' else ''}")
        link = file.get(key, getlink=True)
        if not isinstance(link, h5py.HardLink):
            raise InputError(f"{path}: dataset '{key}' is a link to another place; copy the data into the file")
        data = file[key]
        if not isinstance(data, h5py.Dataset):
            raise InputError(f"{path}: '{key}' is a group, expected a dataset")
        if data.external or data.is_virtual:
            raise InputError(f"{path}: dataset '{key}' lies in another file; copy the data into this one")
        return data
    except H5_ERRORS as error:
        raise InputError(f"{path}: dataset '{key}' cannot be opened ({one_line(error)})") from error


def way_to_frames(file: h5py.Group) -> str:
    """Which datasets may hold frames, as the end of a message; nothing where none may."""
    found: list[str] = []

    def look(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and item.ndim == 3 and min(item.shape) > 0 and len(found) < 4:
            found.append(name)
    with contextlib.suppress(*H5_ERRORS):
        file.visititems(look)
    return f"; --dataset {found[0]} takes its frames from {' or '.join(found)}" if found else ""


def _group(file: h5py.Group, name: str, path: Path) -> h5py.Group:
    """A group that lies in this very file."""
    if name not in file or not isinstance(file.get(name, getlink=True), h5py.HardLink) \
            or not isinstance(file[name], h5py.Group):
        raise InputError(f"{path}: expected a group '{name}', found {', '.join(list(file.keys())[:8]) or 'nothing'}")
    return file[name]


def read_dataset(path: Path, key: str, max_bytes: int = 1 << 28) -> NDArray[Any]:
    """A small dataset of numbers whole.

    Raises
    ------
    InputError
        If it is missing, damaged, too large, stored in another file, or holds something else than numbers.
    """
    with open_h5(path) as file:
        return read_array(file, key, path, max_bytes)


def read_array(group: h5py.Group, key: str, path: Path, max_bytes: int = 1 << 28) -> NDArray[Any]:
    """The same as `read_dataset`, of a file or a group of it that is open."""
    data = h5_dataset(group, key, path)
    try:
        if data.size is None or data.size * data.dtype.itemsize > max_bytes:
            raise InputError(f"{path}: dataset '{key}' is too large or empty: shape {data.shape}")
        if data.dtype.kind not in "fiub":
            raise InputError(f"{path}: dataset '{key}': expected numbers, found {data.dtype}")
        return np.asarray(data[()])
    except H5_ERRORS as error:
        raise InputError(f"{path}: dataset '{key}' cannot be read ({one_line(error)})") from error


def attributes(item: h5py.HLObject, path: Path) -> dict[str, Any]:
    """Attributes of a file, a group or a dataset; ask for those of the file first.

    Raises
    ------
    InputError
        If one is damaged or as large as data.
    """
    if isinstance(item, h5py.File):
        _check_heaps(path)
    try:
        for name in item.attrs:
            stored = item.attrs.get_id(name)
            size = math.prod(stored.shape or ()) * stored.dtype.itemsize
            if size > MAX_ATTRIBUTE_BYTES:
                raise InputError(f"{path}: attribute '{name}' has {size} bytes, which no attribute of ours has")
        return dict(item.attrs)
    except H5_ERRORS as error:
        raise InputError(f"{path}: the attributes cannot be read ({one_line(error)})") from error


def _check_heaps(path: Path) -> None:
    """Raise `InputError` if HDF5 would walk one of the file's global heaps, where texts lie, for ever.

    The library strides by the sizes it finds, without a look at whether they are zero or so large that they wrap.
    """
    if path.stat().st_size > MAX_WITH_TEXTS_BYTES:
        raise InputError(f"{path}: expected a file of up to {MAX_WITH_TEXTS_BYTES >> 20} MiB, found one of "
                         f"{path.stat().st_size >> 20} MiB")
    data = path.read_bytes()
    heap = data.find(b"GCOL")
    while heap >= 0:
        end = min(heap + int.from_bytes(data[heap + 8:heap + 16], "little"), len(data))
        at = heap + 16
        while at + 16 <= end:
            size = int.from_bytes(data[at + 8:at + 16], "little")
            stride = size if data[at:at + 2] == b"\0\0" else 16 + -(-size // 8) * 8
            if not 0 < stride <= end - at:
                raise InputError(f"{path}: the HDF5 file is damaged (a heap of no end)")
            at += stride
        heap = data.find(b"GCOL", heap + 4)
