"""Names of result folders: two scans of a run never share one."""

import hashlib
import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from .kinds import scan_name

LONGEST = 200


def each_once(paths: Iterable[Path]) -> tuple[list[Path], list[str]]:
    """Paths in order, each file once however it is spelled, and a line for each that another name leads to as well."""
    first: dict[Path, Path] = {}
    notes = []
    for path in paths:
        seen = first.setdefault(Path(os.path.realpath(path)), path)
        if _place(seen) != _place(path):
            notes.append(f"{path}: the same file as {seen}; done once")
    return list(first.values()), notes


def distinct(paths: Sequence[Path]) -> dict[Path, str]:
    """Names of folders for the results of scan files, all different where case is ignored as well.

    A scan's own name, where no other scan of the list has it. Else names tell the kind of the file or the folders in
    which they differ: ``a/scan.h5`` and ``b/scan.h5`` become a__scan and b__scan, ``scan.h5`` and ``scan.igs.mha``
    scan_h5 and scan_igs_mha.
    """
    alike: defaultdict[str, list[Path]] = defaultdict(list)
    for path in paths:
        alike[_key(scan_name(path))].append(path)
    names = {path: scan_name(path) for path in paths}
    for group in (group for group in alike.values() if len(group) > 1):
        names |= _told_apart(group)
    taken = {_key(name) for name in names.values()}
    used: set[str] = set()
    for path in sorted(paths, key=_place):      # by place: the same in every order of the list
        name, k = names[path], 1
        while _key(names[path]) in used or (k > 1 and _key(names[path]) in taken):
            k += 1
            names[path] = f"{name}-{k}"
        used.add(_key(names[path]))
    return names


def _told_apart(group: list[Path]) -> dict[Path, str]:
    """Names of scans called alike: with those of their folders that differ, and what the files end in if they do not.

    As many folders are compared as it takes, counted from the files.
    """
    places = [_place(path) for path in group]
    levels = [[_key(part) for part in reversed(place.parent.parts[1:])] for place in places]
    shown: list[int] = []
    for depth in range(max(map(len, levels)) + 1):
        seen = [tuple(level[:depth]) for level in levels]
        if len(set(seen)) == len({tuple(level) for level in levels}):
            shown = [k for k in range(depth) if len({level[k] if k < len(level) else None for level in levels}) > 1]
            break
    together = len({tuple(level) for level in levels}) < len(group)
    names = {}
    for path, place in zip(group, places, strict=True):
        parents = list(reversed(place.parent.parts[1:]))
        parts = [parents[k] for k in reversed(shown) if k < len(parents)]
        name = scan_name(path)
        ending = path.name[len(Path(name).name):] if path.name.startswith(name) else path.suffix
        name = "__".join([*parts, name]) + (ending.replace(".", "_") if together else "")
        names[path] = _plain(name)
    return names


def _place(path: Path) -> Path:
    """Where a file lies, whatever it is linked to."""
    return Path(os.path.realpath(path.parent)) / path.name


def _plain(name: str) -> str:
    """A name that a folder may have, see `source.check_name`."""
    name = re.sub(r"^\.+", "_", "".join(c if c.isprintable() else "_" for c in name))
    if len(name) > LONGEST:
        name = name[-LONGEST + 17:] + "-" + hashlib.sha256(name.encode(errors="replace")).hexdigest()[:16]
    return name


def _key(name: str) -> str:
    """What names have in common that a file system may take for one."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())
