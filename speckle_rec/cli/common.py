"""What the verbs share: options, the list of scans, progress, complaints."""

import glob
import math
import sys
from collections.abc import Iterable, Sequence
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
PixelMm = Annotated[str | None, typer.Option("--pixel-mm", metavar="X [Y]", help="Width and height of a pixel in mm, "
                                             "one number if they are equal, where no file tells.")]
Landmarks = Annotated[Path | None, typer.Option("--landmarks", metavar="FILE", help="landmark_SSS.h5 of the scan.")]
Dataset = Annotated[str | None, typer.Option("--dataset", metavar="NAME", help="What an .h5 or .npz calls the frames "
                                             "(default: frames).")]
Poses = Annotated[Path | None, typer.Option("--poses", metavar="FILE", help="Tracked poses in a file of their own: "
                                            "TUM, KITTI, 4x4 matrices, or a folder with one file a frame.")]
Anonymise = Annotated[bool, typer.Option("--anonymise", help="Let no name, date or path of the scan reach the "
                                         "result, and black out what stands outside the field of view.")]
Scans = Annotated[list[str], typer.Argument(metavar="SCAN...", help="TUS-REC .h5, PLUS .igs.mha, 3D Slicer .seq.nrrd, "
                                            "DICOM, .mp4, .avi, .npy, a TIFF stack, a folder of pictures or of a DICOM "
                                            "series, a folder or a glob of scans.")]


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
    from ..io import kinds
    found: list[Path] = []
    for word in words:
        path = Path(word)
        if path.is_dir():
            found += kinds.in_folder(path)
        elif path.exists() or not glob.has_magic(word):
            found.append(path)
        else:
            paths = [p for p in map(Path, sorted(glob.glob(word, recursive=True))) if kinds.is_scan(p)]
            if not paths:
                raise InputError(f"{word}: no scan matches; read are {kinds.READ}")
            found += paths
    return kinds.joined(dict.fromkeys(found))


def pixel_size(text: str | None) -> tuple[float, float] | None:
    """Width and height of ``--pixel-mm``: one number or two, with a space or a comma between."""
    if text is None:
        return None
    words = text.replace(",", " ").split()
    from ..io import pixels
    return pixels.checked([float(word) if _is_number(word) else math.nan for word in words], f"--pixel-mm {text}")


def joined_pixel_size(arguments: Sequence[str]) -> list[str]:
    """Arguments with the one or two numbers after ``--pixel-mm`` in one word: options take as many words every time."""
    out: list[str] = []
    for word in arguments:
        if len(out) > 1 and out[-2] == "--pixel-mm" and _is_number(out[-1]) and _is_number(word):
            out[-1] += f",{word}"
        else:
            out.append(word)
    return out


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def max_threads() -> int:
    """Threads that the kernels can use."""
    import numba
    return int(numba.config.NUMBA_NUM_THREADS)  # type: ignore[attr-defined]


def set_threads(jobs: int) -> None:
    """Let the kernels use `jobs` threads (0: all cores)."""
    from ..compute import workers
    workers.set_threads(jobs)


def check_device(device: str) -> None:
    """Raise `InputError` if a GPU is demanded and none works."""
    if device == "gpu":
        from ..compute.device import choose
        choose(device)
