"""Files and folders that appear whole or not at all: filled under another name, then renamed."""

import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .. import caches
from ..errors import InputError

_open: set[Path] = set()      # staged and not finished

POSES, SUMMARY = "poses.h5", "summary.json"


def is_complete(folder: Path) -> bool:
    """Whether a folder is a finished result."""
    return (folder / POSES).is_file() and (folder / SUMMARY).is_file()


@contextmanager
def staged(folder: Path, overwrite: bool = False) -> Iterator[Path]:
    """A new folder to fill, which takes the name `folder` if the block ends well and vanishes if it does not.

    Raises
    ------
    InputError
        If `folder` is something else than a result or an empty folder, or is there and not to be overwritten.
    """
    folder = folder.absolute()
    check_free(folder, overwrite)
    folder.parent.mkdir(parents=True, exist_ok=True)
    _sweep(folder)
    partial = _partial(folder)
    partial.mkdir()
    caches.lend(folder.parent)
    _open.add(partial)
    try:
        yield partial
        if folder.exists() and any(folder.iterdir()):
            old = partial.with_name(partial.name + "-old")
            folder.rename(old)
            partial.rename(folder)
            shutil.rmtree(old)
        else:
            partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        _open.discard(partial)


def abandon() -> None:
    """Remove what is staged: for a process that ends without unwinding."""
    for partial in list(_open):
        if partial.is_dir():
            shutil.rmtree(partial, ignore_errors=True)
        else:
            partial.unlink(missing_ok=True)


def check_free(folder: Path, overwrite: bool) -> None:
    """Raise `InputError` unless a result may be put at `folder`."""
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise InputError(f"{folder}: expected a folder or nothing there; choose another --out")
    if folder.is_dir() and any(folder.iterdir()):
        if not is_complete(folder):
            raise InputError(f"{folder}: there is a folder that is not a result; choose another --out")
        if not overwrite:
            raise InputError(f"{folder}: the result is there; give --overwrite to replace it")
    above = next(parent for parent in folder.absolute().parents if parent.exists())
    if not above.is_dir() or not os.access(above, os.W_OK | os.X_OK):
        raise InputError(f"{folder}: {above} is not a folder that may be written to; choose another --out")


def _sweep(folder: Path) -> None:
    """Remove what earlier runs on this machine left behind when they were killed."""
    prefix = _partial(folder).name.removesuffix(str(os.getpid()))
    for left in folder.parent.glob(f".{_glob_escape(folder.name)}.partial-*"):
        owner = left.name.removeprefix(prefix).removesuffix("-old").partition(".")[0]
        if left.name.startswith(prefix) and owner.isdigit() and not _alive(int(owner)):
            shutil.rmtree(left, ignore_errors=True) if left.is_dir() else left.unlink(missing_ok=True)


def _partial(path: Path) -> Path:
    return path.with_name(f".{path.name}.partial-{socket.gethostname()}-{os.getpid()}")


def _glob_escape(name: str) -> str:
    return "".join(f"[{c}]" if c in "*?[" else c for c in name)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        pass
    return True


@contextmanager
def staged_file(path: Path, overwrite: bool = False) -> Iterator[Path]:
    """A new file to write, which takes the name `path` if the block ends well and vanishes if it does not.

    Raises
    ------
    InputError
        If `path` is a folder, or is there and not to be overwritten.
    """
    path = path.absolute()
    if path.is_dir():
        raise InputError(f"{path}: expected the name of a file, found a folder")
    if path.exists() and not overwrite:
        raise InputError(f"{path}: the file is there; give --overwrite to replace it")
    path.parent.mkdir(parents=True, exist_ok=True)
    _sweep(path)
    partial = _partial(path)
    ending = "".join(path.suffixes[-2:]) if path.suffix == ".gz" else path.suffix
    partial = partial.with_name(partial.name + ending)     # by which some writers know the format
    _open.add(partial)
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
        _open.discard(partial)
