"""The challenge's validation archive, as downloaded, to a score beside the leaderboard.

    python tools/challenge.py Freehand_US_data_val_2025.zip -o challenge
    python tools/challenge.py Freehand_US_data_val_2025.zip --train Freehand_US_data_train_2025.zip --calibrate 12

Archives are unpacked into OUT/data once (a folder that is unpacked already is taken as it is). With --calibrate K,
K scans of --train, evenly spread over its subjects, make OUT/calibration.h5. A second run goes on where the first one
ended. The training layout of 2025, the validation layout, and the flat one of 2024 (SSS/NAME.h5) are known.
"""

import argparse
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from speckle_rec.errors import InputError
from speckle_rec.io import tusrec

LICENCE = "CC BY-NC-SA 4.0"
LICENCE_WORDS = re.compile(r"by-nc-sa|attribution[\s-]+non-?commercial[\s-]+share-?alike", re.IGNORECASE)
NOTE = re.compile(r"(licen[cs]e|copying|readme)[^/]*", re.IGNORECASE)
SPARE = 1 << 30     # bytes of the disk that are left free


def licence_note(archive: Path) -> str:
    """What is told of the terms: by a note in the archive or beside it, else where they are to be read.

    Raises
    ------
    InputError
        If a note called a licence tells of other terms than those that this program knows.
    """
    notes: list[tuple[str, str]] = []
    if archive.is_file():
        with zipfile.ZipFile(archive) as file:
            notes = [(name, file.read(name)[:1 << 16].decode(errors="replace")) for name in file.namelist()
                     if NOTE.fullmatch(Path(name).name)]
    beside = archive.parent if archive.is_file() else archive
    notes += [(str(path), path.read_text(errors="replace")[:1 << 16]) for path in sorted(beside.glob("*"))
              if path.is_file() and NOTE.fullmatch(path.name)]
    for name, text in notes:
        if LICENCE_WORDS.search(text):
            return f"{name}: {LICENCE}, for research that is not commercial; share results alike and name the source"
    if others := [name for name, _ in notes if not Path(name).name.lower().startswith("readme")]:
        raise InputError(f"{others[0]}: expected the terms of the challenge ({LICENCE}), found others: read them, and "
                         "give the unpacked folder with no such file if they allow this")
    return (f"{archive}: no note of a licence in it or beside it; the challenge's data are under {LICENCE} (docs/"
            "CHALLENGE.md has the records): research that is not commercial")


def unpacked(archive: Path, into: Path) -> Path:
    """The folder of the data set: of an archive, unpacked below `into`; a folder as it is.

    Raises
    ------
    InputError
        If there is none, it is no zip archive, the disk lacks room, or no data set is in it.
    """
    if archive.is_dir():
        return data_set(archive)
    if not zipfile.is_zipfile(archive):
        found = "neither" if archive.exists() else "none"
        raise InputError(f"{archive}: expected a zip archive or a folder, found {found}")
    folder = into / archive.stem
    if not folder.is_dir():
        into.mkdir(parents=True, exist_ok=True)
        part = into / f"{archive.stem}.part"
        shutil.rmtree(part, ignore_errors=True)
        with zipfile.ZipFile(archive) as file:
            needed, free = sum(info.file_size for info in file.infolist()), shutil.disk_usage(into).free
            if needed + SPARE > free:
                raise InputError(f"{into}: unpacked, {archive.name} takes {needed / 1e9:.1f} GB, and "
                                 f"{free / 1e9:.1f} GB are free")
            file.extractall(part)
        part.rename(folder)
    return data_set(folder)


def data_set(folder: Path) -> Path:
    """The data set in a folder, or in one or two folders down."""
    for depth in ("", "*", "*/*"):
        for found in sorted(folder.glob(depth)) if depth else [folder]:
            if found.is_dir() and tusrec.is_dataset(found):
                return found
    raise InputError(f"{folder}: expected frames_transfs/SSS/NAME.h5, frames/SSS/NAME.h5 or SSS/NAME.h5, found none")


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


def commands(validation: Path, out: Path, training: list[Path], jobs: str) -> list[list[str]]:
    """The commands to be run, one after the other, without the interpreter."""
    calibration = out / "calibration.h5"
    first = [["calibrate", *map(str, training), "-o", str(calibration)]] if training else []
    given = ["--calibration", str(calibration)] if training else []
    results = out / ("evaluation_calibrated" if training else "evaluation")
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
        parser.error("--train and --calibrate: expected both or none")
    try:
        for archive in filter(None, (o.data, o.train)):
            print(licence_note(archive), flush=True)
        training = evenly(tusrec.entries(unpacked(o.train, o.out / "data")), o.calibrate) if o.calibrate else []
        validation = unpacked(o.data, o.out / "data")
    except InputError as error:
        print(f"challenge: {error}", file=sys.stderr)
        return 2
    print(f"{validation}: {len(tusrec.entries(validation))} scans, calibrated on {len(training) or 'none'}", flush=True)
    cli = Path(__file__).resolve().parents[1] / "cli.py"
    for words in commands(validation, o.out, training, o.jobs):
        if status := subprocess.run([sys.executable, cli, *words], check=False).returncode:
            return status
    return 0


if __name__ == "__main__":
    sys.exit(main())
