"""The challenge's validation archive, as downloaded, to a score beside the leaderboard.

    python tools/challenge.py Freehand_US_data_val_2025.zip -o challenge
    python tools/challenge.py Freehand_US_data_val_2025.zip --train Freehand_US_data_train_2025.zip --calibrate 12

Archives are unpacked into OUT/data once (a folder that is unpacked already is taken as it is). With --calibrate K,
K scans of --train, evenly spread over its subjects, make OUT/calibration_K.h5. A second run goes on where the first
one ended. The training layout of 2025, the validation layout, and the flat one of 2024 (SSS/NAME.h5, with landmark.zip
and calib_matrix.csv beside the archive) are known.
"""

import argparse
import re
import shutil
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from speckle_rec.errors import InputError
from speckle_rec.io import tusrec
from speckle_rec.io.wording import counted

ROOT = Path(__file__).resolve().parents[1]
LICENCE = "CC BY-NC-SA 4.0"
LICENCE_WORDS = re.compile(r"by-nc-sa|attribution[\s-]+non-?commercial[\s-]+share-?alike", re.IGNORECASE)
NOTE = re.compile(r"(licen[cs]e|copying|readme)[^/]*", re.IGNORECASE)
SPARE = 1 << 30     # bytes of the disk that are left free
LAYOUTS = "frames_transfs/SSS/NAME.h5, frames/SSS/NAME.h5 or SSS/NAME.h5"
# What zipfile and zlib raise over a damaged archive, one with a password, or one packed in a way Python does not know.
DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError, ValueError)


@contextmanager
def opened(archive: Path) -> Iterator[zipfile.ZipFile]:
    """An archive; whatever is wrong with it, up to the last byte that is read, is an InputError."""
    if not archive.is_file():
        raise InputError(f"{archive}: expected a zip archive or a folder, found none")
    try:
        with zipfile.ZipFile(archive) as file:
            yield file
    except DAMAGED as error:
        raise InputError(f"{archive}: expected a whole zip archive, found one that is damaged, cut short or of another "
                         f"kind ({' '.join(str(error).split())}); nothing of it is kept: fetch it again") from error


def licence_note(data: Path) -> str:
    """What is told of the terms: by a note in the archive (or folder) or around it, else where they are to be read.

    Raises
    ------
    InputError
        If the data themselves hold a note called a licence that tells of other terms than those this program knows.
        A file around them may speak of anything: it stops nothing.
    """
    if data.is_dir():
        inside, around = _notes(data_set(data)), _notes(data)
    else:
        with opened(data) as file:
            inside = [(name, file.open(name).read(1 << 16).decode(errors="replace")) for name in file.namelist()
                      if NOTE.fullmatch(PurePosixPath(name).name) and not name.endswith("/")]
        around = _notes(data.parent)
    for name, text in [*inside, *around]:
        if LICENCE_WORDS.search(text):
            return (f"{name}:\n  {LICENCE}, for research that is not commercial; share results alike,\n"
                    "  name the source")
    if others := [name for name, _ in inside if not Path(name).name.lower().startswith("readme")]:
        raise InputError(f"{data}: {others[0]}: expected the terms of the challenge ({LICENCE}), found others: read "
                         "them, and give the unpacked folder with no such file if they allow this")
    return (f"{data}: no note of a licence in it or beside it\n  the challenge's data are under {LICENCE}, for "
            "research that is\n  not commercial; docs/CHALLENGE.md has the records")


def _notes(folder: Path) -> list[tuple[str, str]]:
    """(name, text) of the notes in a folder; not of this checkout, which tell of the program."""
    if folder.resolve() == ROOT:
        return []
    found = []
    for path in sorted(folder.glob("*")):
        if path.is_file() and NOTE.fullmatch(path.name):
            with path.open(errors="replace") as file:
                found.append((str(path), file.read(1 << 16)))
    return found


def unpacked(archive: Path, into: Path) -> Path:
    """The folder of the data set: of an archive, unpacked below `into`; a folder as it is.

    Raises
    ------
    InputError
        If there is none, it is no zip archive or a damaged one, the disk lacks room, no data set is in it, or another
        archive of that name was unpacked before.
    """
    if archive.is_dir():
        return data_set(archive)
    folder = into / archive.stem
    with opened(archive) as file:
        members = [info for info in file.infolist() if not info.is_dir() and "__MACOSX" not in info.filename]
        _look_over(archive, [info.filename for info in members])
        if folder.is_dir():
            for info in members:
                there = folder.joinpath(*_parts(info.filename))
                if not there.is_file() or there.stat().st_size != info.file_size:
                    raise InputError(f"{folder}: expected what {archive} holds, found another {info.filename} or none: "
                                     "remove the folder, or choose another OUT")
            return data_set(folder)
        into.mkdir(parents=True, exist_ok=True)
        needed, free = sum(info.file_size for info in members), shutil.disk_usage(into).free
        if needed + SPARE > free:
            raise InputError(f"{into}: unpacked, {archive.name} takes {needed / 1e9:.1f} GB, and "
                             f"{free / 1e9:.1f} GB are free")
        print(f"unpacking {archive.name}, {needed / 1e6:,.0f} MB, into {folder}", flush=True)
        part = into / f"{archive.stem}.part"
        shutil.rmtree(part, ignore_errors=True)
        try:
            file.extractall(part, members)
            if not data_sets(part):
                raise InputError(f"{archive}: expected {LAYOUTS}, found none")
            _complete(data_set(part), archive.parent)
            part.rename(folder)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    return data_set(folder)


def _parts(name: str) -> list[str]:
    """The folders and the file that a member of an archive is unpacked to, as zipfile does it."""
    return [part for part in name.split("/") if part not in ("", ".", "..")]


def _look_over(archive: Path, names: list[str]) -> None:
    """Refuse, before anything is unpacked, what holds no scan."""
    if any(name.endswith(".h5") for name in names):
        return
    if inner := [name for name in names if name.endswith(".zip")]:
        raise InputError(f"{archive}: expected {LAYOUTS}, found archives: unpack it, and give {inner[0]} as DATA")
    raise InputError(f"{archive}: expected {LAYOUTS}, found none")


def _complete(root: Path, around: Path) -> None:
    """Lay into a data set what TUS-REC2024 hands out beside its archive: landmark.zip and calib_matrix.csv."""
    if not (root / tusrec.CALIB_NAME).is_file() and (around / tusrec.CALIB_NAME).is_file():
        shutil.copyfile(around / tusrec.CALIB_NAME, root / tusrec.CALIB_NAME)
    if any(root.glob("landmark*")):
        return
    for beside in (around / "landmark.zip", around / "landmarks.zip"):
        if beside.is_file():
            print(f"unpacking {beside.name} beside it", flush=True)
            with opened(beside) as file:
                for info in file.infolist():
                    if re.fullmatch(r"landmark_\d+\.h5", name := PurePosixPath(info.filename).name):
                        (root / "landmarks").mkdir(exist_ok=True)
                        (root / "landmarks" / name).write_bytes(file.read(info))
            return


def data_sets(folder: Path) -> list[Path]:
    """The data sets in a folder: itself, else those one folder down, else those two folders down."""
    for depth in ("", "*", "*/*"):
        found = [path for path in (sorted(folder.glob(depth)) if depth else [folder])
                 if path.is_dir() and tusrec.is_dataset(path)]
        if found:
            return found
    return []


def data_set(folder: Path) -> Path:
    """The one data set in a folder, or in one or two folders down.

    Raises
    ------
    InputError
        If there is none, or more than one.
    """
    found = data_sets(folder)
    if not found:
        raise InputError(f"{folder}: expected {LAYOUTS}, found none")
    if len(found) > 1:
        raise InputError(f"{folder}: expected one data set, found {len(found)}: give one of them, such as {found[0]}")
    return found[0]


def evenly(entries: list[tusrec.Entry], many: int) -> list[Path]:
    """`many` of the scans, evenly spread over the sorted list.

    Raises
    ------
    InputError
        If there are fewer.
    """
    if many > len(entries):
        raise InputError(f"--calibrate {many}: expected at most {len(entries)}, the scans of --train")
    return [entries[k * len(entries) // many].path for k in range(many)]


def calibration_of(out: Path, training: list[Path]) -> Path:
    """Where the calibration goes; one on more or fewer scans is another file."""
    return out / f"calibration_{len(training)}.h5"


def commands(validation: Path, out: Path, training: list[Path], jobs: str) -> list[list[str]]:
    """The commands to be run, one after the other, without the interpreter."""
    calibration = calibration_of(out, training)
    first = [["calibrate", *map(str, training), "-o", str(calibration)]] if training else []
    given = ["--calibration", str(calibration)] if training else []
    results = out / (f"evaluation_{calibration.stem}" if training else "evaluation")
    return [*first, ["evaluate", str(validation), *given, "-o", str(results), "-j", jobs]]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="validation archive (.zip), or the folder it was unpacked to")
    parser.add_argument("--train", type=Path, help="training archive or folder")
    parser.add_argument("--calibrate", type=int, default=0, metavar="K", help="scans of --train to calibrate on")
    parser.add_argument("-o", "--out", type=Path, default=Path("challenge"))
    parser.add_argument("-j", "--jobs", default="1", help="scans at a time")
    o = parser.parse_args()
    if (o.calibrate > 0) != (o.train is not None):
        parser.error("--train and --calibrate (make: TRAIN and CALIBRATE): expected both or none")
    try:
        for archive in filter(None, (o.data, o.train)):
            print(licence_note(archive), flush=True)
        training = evenly(tusrec.entries(unpacked(o.train, o.out / "data")), o.calibrate) if o.calibrate else []
        validation = unpacked(o.data, o.out / "data")
        scans = tusrec.entries(validation)
    except (InputError, OSError) as error:
        print(f"challenge: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    print(f"{validation}: {counted(len(scans), 'scan')}\ncalibration: " + (
        f"{calibration_of(o.out, training)}, of {counted(len(training), 'training scan')}" if training
        else "the one shipped"), flush=True)
    for words in commands(validation, o.out, training, o.jobs):
        if status := subprocess.run([sys.executable, ROOT / "cli.py", *words], check=False).returncode:
            return status
    return 0


if __name__ == "__main__":
    sys.exit(main())
