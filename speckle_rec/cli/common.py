"""What the verbs share: options, the list of scans, progress, complaints."""

import glob
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from ..errors import InputError
from .progress import Report as Report
from .progress import progress_bar as progress_bar

Config = Annotated[Path | None, typer.Option("-c", "--config", metavar="FILE.toml", help="Parameters; see config.toml "
                                             "of any result.")]
Device = Annotated[str | None, typer.Option("--device", metavar="auto|cpu|gpu", help="Where to compute.")]
Jobs = Annotated[int | None, typer.Option("-j", "--jobs", help="Threads; 0 takes all cores.")]
Seed = Annotated[int | None, typer.Option("--seed", help="Of whatever draws random numbers.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Do finished work again (default: skip it).")]
NoProgress = Annotated[bool, typer.Option("--no-progress", help="No progress bar.")]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="Print errors only.")]
Verbose = Annotated[bool, typer.Option("-v", "--verbose", help="Print the method's own figures and run times too, "
                                       "a line as each stage ends where no bar is drawn, and tracebacks of defects.")]
Calib = Annotated[Path | None, typer.Option("--calib", metavar="calib_matrix.csv", help="Pixel scale and image-to-tool "
                                            "transform: the challenge's CSV, a 4x4 of PLUS, or a PLUS .xml.")]
Landmarks = Annotated[Path | None, typer.Option("--landmarks", metavar="FILE", help="landmark_SSS.h5 of the scan.")]
Scans = Annotated[list[str], typer.Argument(metavar="SCAN...", help="TUS-REC .h5, PLUS .igs.mha, a folder or a glob.")]

SUFFIXES = (".h5", ".hdf5", ".mha")
NOT_SCANS = ("landmark_", "dataset_keys", "metrics", "poses.h5", "ddf.h5")


def complain(text: str) -> None:
    """One line on stderr, whatever the text holds: file names may have control characters and worse."""
    line = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in " ".join(text.split()))
    print(f"speckle-rec: {line}", file=sys.stderr, flush=True)


def one_line_of(error: BaseException) -> str:
    """An error on one line, with the file it speaks of."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    if isinstance(error, MemoryError):
        return "not enough memory"
    return " ".join(str(error).split()) or type(error).__name__


def find_scans(words: Iterable[str]) -> list[Path]:
    """Scan files of files, folders, data sets and globs, in order, each once.

    Raises
    ------
    InputError
        If a word leads to no file.
    """
    found: dict[Path, None] = {}
    for word in words:
        path = Path(word)
        if path.is_dir():
            paths = _in_folder(path)
        elif path.exists() or not glob.has_magic(word):
            paths = [path]
        else:
            paths = [p for p in map(Path, sorted(glob.glob(word, recursive=True)))
                     if p.is_file() and p.suffix.lower() in SUFFIXES]
            if not paths:
                raise InputError(f"{word}: no scan (.h5, .mha) matches")
        found.update(dict.fromkeys(paths))
    return list(found)


def _in_folder(folder: Path) -> list[Path]:
    from ..io import tusrec
    if tusrec.is_dataset(folder):
        return [entry.path for entry in tusrec.entries(folder)]
    for pattern in ("*", "*/*"):
        paths = [p for p in sorted(folder.glob(pattern)) if p.is_file() and p.suffix.lower() in SUFFIXES
                 and not p.name.startswith((".", *NOT_SCANS))]
        if paths:
            return paths
    raise InputError(f"{folder}: expected a folder with scans (.h5, .mha), found none")


def max_threads() -> int:
    """Threads that the kernels can use."""
    import numba
    return int(numba.config.NUMBA_NUM_THREADS)  # type: ignore[attr-defined]


def set_threads(jobs: int) -> None:
    """Let the kernels use `jobs` threads (0: all cores)."""
    from .. import workers
    workers.set_threads(jobs)


def check_device(device: str) -> None:
    """Raise `InputError` if a GPU is demanded and none works."""
    if device == "gpu":
        from ..device import choose
        choose(device)
