"""Folders for what libraries keep from run to run: compiled kernels (numba, cupy), lists of fonts (matplotlib).

In a container without a home or with a read-only file system the usual folders cannot be written to: numba then ends
the import of any module with kernels, matplotlib complains on stderr. Here a private folder among the temporary files
takes their place. It is looked for before any of these libraries is loaded, and told to them and to child processes
by the environment, so that the command line, other programs and workers all find it.

Numba looks at the file of a kernel alone: where it calls one of another file, which has changed since, the old one
would go on being used, and say nothing. So compiled kernels are thrown away once any file of them is another.
"""

import contextlib
import hashlib
import os
import stat
import sys
from pathlib import Path

from . import environment

NUMBA, MATPLOTLIB, CUPY = "NUMBA_CACHE_DIR", "MPLCONFIGDIR", "CUPY_CACHE_DIR"
LEAST_BYTES = 1 << 25     # the kernels take 10 MB
SOURCES = "kernels-of.txt"     # beside compiled kernels: hash of the sources they are of
PACKAGE = Path(__file__).absolute().parents[1]

notes: list[str] = []     # what was settled otherwise than the libraries would have, one line each


def settle() -> None:
    """Give each library that finds no folder for its cache one that it can write to; run without where none is.
    Compiled kernels of other sources are thrown away."""
    _find_folders()
    _throw_away_old()


def _find_folders() -> None:
    usual = {NUMBA: _numba_can_write(), MATPLOTLIB: all(map(_can_write, _matplotlib_folders())),
             CUPY: _can_write(_set(CUPY) or _home(".cupy"))}
    wanting = [variable for variable, can_write in usual.items() if not can_write]
    if not wanting:
        return
    folder = private_folder()
    if folder is None:
        import logging  # here: whoever asks for help need not wait for it
        logging.getLogger("matplotlib").setLevel(logging.ERROR)     # of the folder it then makes for one run
        environment.put("CUPY_CACHE_IN_MEMORY", "1")
        if NUMBA in wanting:
            _compile_without_cache()
            notes.append("no folder for compiled kernels can be written to: they are compiled anew in every process; "
                         f"set {NUMBA} to a folder that can")
        return
    if NUMBA in wanting:
        _take_over(_set(NUMBA), folder / "numba")
    for variable in wanting:
        environment.put(variable, str(folder / variable.partition("_")[0].lower()))
    if NUMBA in wanting:
        if "numba" in sys.modules:      # it has read the environment already
            sys.modules["numba"].config.CACHE_DIR = os.environ[NUMBA]
        notes.append(f"compiled kernels are kept in {os.environ[NUMBA]}: neither the package's folder nor a home can "
                     "be written to")


def private_folder() -> Path | None:
    """A folder among the temporary files that this user alone may write to; None where there is none with room.

    What is kept there is code that will be run: a folder that somebody else made is not used.
    """
    for parent in dict.fromkeys(filter(None, (*map(_set, ("TMPDIR", "TEMP", "TMP")), *map(Path, (
            "/tmp", "/var/tmp", "/dev/shm"))))):
        try:
            folder = parent.absolute() / f"speckle-rec-{os.geteuid()}"
            with contextlib.suppress(FileExistsError):
                folder.mkdir(mode=0o700)
            found, disk = folder.lstat(), os.statvfs(folder)
        except OSError:
            continue
        ours = stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o022
        if ours and _can_write(folder) and disk.f_bavail * disk.f_frsize >= LEAST_BYTES:
            return folder
    return None


def _take_over(given: Path | None, folder: Path) -> None:
    """Copy the kernels of a read-only folder, such as an image's: numba reads only where it can write."""
    if given is None or not given.is_dir() or folder.exists():
        return
    import shutil
    import tempfile
    part = Path(tempfile.mkdtemp(prefix="numba.", dir=folder.parent))
    try:
        shutil.copytree(given, part, dirs_exist_ok=True, copy_function=shutil.copyfile)
        part.rename(folder)     # whole, or not at all: another process may do the same
    except OSError:             # shutil.Error is one: kernels are compiled anew
        shutil.rmtree(part, ignore_errors=True)


def lend(folder: Path) -> None:
    """Let temporary files lie in `folder`, which results are written to, where the system has no place for them."""
    import tempfile
    try:
        tempfile.gettempdir()
    except OSError:
        tempfile.tempdir = str(folder)


def _numba_can_write() -> bool:
    """Whether numba finds a folder for the kernels of every folder of this package."""
    return all(any(map(_can_write, places)) for places in _numba_folders().values())


def _numba_folders() -> dict[Path, tuple[Path | None, ...]]:
    """Where numba looks for the kernels of each folder of this package: one that is given, beside them, in the home."""
    given, home = _set(NUMBA), _set("XDG_CACHE_HOME") or _home(".cache")
    inner = [Path(entry.path) for entry in os.scandir(PACKAGE) if entry.is_dir() and entry.name != "__pycache__"]
    places: dict[Path, tuple[Path | None, ...]] = {}
    for folder in (PACKAGE, *inner):
        name = f"{folder.name}_{hashlib.sha1(str(folder).encode(), usedforsecurity=False).hexdigest()}"
        places[folder] = given and given / name, folder / "__pycache__", home and home / "numba" / name
    return places


def _throw_away_old() -> None:
    """Remove the compiled kernels of each place whose note of the sources they were made of is not that of today, and
    leave one where numba will put new ones."""
    with contextlib.suppress(OSError):
        folders, kernels = _numba_folders(), {}
        for folder in folders:
            texts = [text for path in sorted(folder.glob("*.py")) if b"njit" in (text := path.read_bytes())]
            if texts:
                kernels[folder] = b"".join(texts)
        today = hashlib.sha256(b"".join(kernels.values())).hexdigest()
        for folder in kernels:
            first = next(filter(_can_write, folders[folder]), None)
            for place in filter(None, folders[folder]):
                if place.is_dir() or place == first:
                    _keep_if_of(today, place)


def _keep_if_of(sources: str, place: Path) -> None:
    note = place / SOURCES
    with contextlib.suppress(OSError):      # what cannot be written to is kept: an image's kernels are of its sources
        if note.is_file() and note.read_text(encoding="ascii", errors="replace") == sources:
            return
        place.mkdir(parents=True, exist_ok=True)
        for old in (*place.glob("*.nbi"), *place.glob("*.nbc")):
            old.unlink(missing_ok=True)
        note.write_text(sources, encoding="ascii")


def _matplotlib_folders() -> list[Path | None]:
    if given := _set(MATPLOTLIB):
        return [given]
    usual = ("XDG_CONFIG_HOME", ".config"), ("XDG_CACHE_HOME", ".cache")
    parents = [_set(variable) or _home(name) for variable, name in usual]
    return [parent and parent / "matplotlib" for parent in parents]


def _set(variable: str) -> Path | None:
    value = os.environ.get(variable)
    return Path(value) if value else None


def _home(name: str) -> Path | None:
    """A folder of the user's home; None for users without: numba would make a folder called ~."""
    try:
        return Path.home() / name
    except RuntimeError:
        return None


def _can_write(folder: Path | None) -> bool:
    """Whether `folder` can be written to, or made."""
    if folder is None:
        return False
    while not os.path.lexists(folder) and folder != folder.parent:
        folder = folder.parent
    return os.path.isdir(folder) and os.access(folder, os.W_OK | os.X_OK)


def _compile_without_cache() -> None:
    """Let kernels that ask for a cache do without: numba has no setting for that, and raises where it finds none."""
    from numba.core.dispatcher import Dispatcher
    Dispatcher.enable_caching = lambda self: None  # type: ignore[method-assign]
