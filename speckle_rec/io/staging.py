"""Files and folders that appear whole or not at all: filled under another name, then renamed."""

import ctypes
import os
import shutil
import socket
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from ..compute import caches
from ..errors import InputError

_open: set[Path] = set()      # staged and not finished

POSES, SUMMARY = "poses.h5", "summary.json"
OLD = "-old"
_HERE, _RENAME_EXCHANGE = -100, 2     # AT_FDCWD and the flag of renameat2(2)


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
        if not (folder.exists() and any(folder.iterdir())):
            partial.rename(folder)
        elif not _exchange(partial, folder):
            old = partial.with_name(partial.name + OLD)
            folder.rename(old)
            partial.rename(folder)
            shutil.rmtree(old)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        _open.discard(partial)


def _exchange(a: Path, b: Path) -> bool:
    """Let two folders change names at once, so that there is no moment without either; False where that cannot be."""
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):      # not Linux
        return False
    return renameat2(_HERE, os.fsencode(a), _HERE, os.fsencode(b), _RENAME_EXCHANGE) == 0


def carry(old: Path, new: Path, leave: Collection[str] = ()) -> None:
    """Give the folder `new` what `old` has and it lacks, but for some names; by links where the file system has them.

    Nothing may write into a file that was carried: it is still that of `old`.
    """
    for path in sorted(old.rglob("*")):
        to = new / path.relative_to(old)
        if str(path.relative_to(old)) in leave:
            continue
        if path.is_dir() and not path.is_symlink():
            to.mkdir(exist_ok=True)
        elif not os.path.lexists(to):
            try:
                os.link(path, to, follow_symlinks=False)
            except OSError:
                shutil.copy2(path, to, follow_symlinks=False)


def is_finished(folder: Path) -> bool:
    """Whether a folder is a finished result, be it one that has to be put back first; what killed runs left goes."""
    _sweep(folder)
    return is_complete(folder)


def restore(folder: Path) -> None:
    """Put back a result whose replacement was killed between two renames, where a system cannot exchange names."""
    if folder.exists():
        return
    for old in folder.parent.glob(f".{_glob_escape(folder.name)}.partial-*{OLD}"):
        if _left_by_the_dead(old, folder) and is_complete(old):
            old.rename(folder)
            return


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
    restore(folder)
    for left in folder.parent.glob(f".{_glob_escape(folder.name)}.partial-*"):
        if _left_by_the_dead(left, folder):
            shutil.rmtree(left, ignore_errors=True) if left.is_dir() else left.unlink(missing_ok=True)


def _left_by_the_dead(left: Path, folder: Path) -> bool:
    prefix = _partial(folder).name.removesuffix(str(os.getpid()))
    owner = left.name.removeprefix(prefix).removesuffix(OLD).partition(".")[0]
    return left.name.startswith(prefix) and owner.isdigit() and not _alive(int(owner))


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
