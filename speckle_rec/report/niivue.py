"""NiiVue, the volume viewer of others, out of an installed `ipyniivue`, to be written into a page."""

import base64
import gzip
import re
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

PACKAGE = "ipyniivue"
BUNDLE = f"{PACKAGE}/static/widget.js"
# The bundle exports a widget for notebooks. The class of the viewer itself has a short name there, which this finds.
VIEWER = re.compile(r'"Creating new Niivue instance"\);.{0,200}?=new ([\w$]+)\(', re.S)
VERSION = re.compile(r'name:"@niivue/niivue",version:"([^"]*)"')


@dataclass(frozen=True)
class Bundle:
    """Attributes: the module as gzip in base64, exporting `Niivue`; version of NiiVue and of the package it comes from;
    the licence's name and its text."""

    code: str
    version: str
    package: str
    licence: str
    licence_text: str


def _licence(package: metadata.Distribution) -> str:
    """Name of a package's licence."""
    told = package.metadata.json
    return str(told.get("license_expression") or told.get("license") or "see its text")


def installed() -> Bundle | None:
    """The bundle of the installed package; None where there is none, or one that is made otherwise."""
    try:
        package = metadata.distribution(PACKAGE)
    except metadata.PackageNotFoundError:
        return None
    path = Path(str(package.locate_file(BUNDLE)))
    if not path.is_file():
        return None
    code = path.read_text(encoding="utf-8")
    viewer, version = VIEWER.search(code), VERSION.search(code)
    if viewer is None or version is None:
        return None
    code += f"\nexport {{ {viewer[1]} as Niivue }};\n"
    licence = next((str(file.read_text()) for file in package.files or () if file.name.startswith("LICENSE")), "")
    return Bundle(base64.b64encode(gzip.compress(code.encode("utf-8"), 9, mtime=0)).decode("ascii"), version[1],
                  f"{PACKAGE} {package.version}", _licence(package), licence)
