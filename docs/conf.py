"""The documentation as a site: ``sphinx-build -W docs build/site`` (``make docs``)."""

import re
from importlib import metadata

project = "speckle-rec"
author = "The speckle-rec authors"
release = metadata.version("speckle-rec")
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_heading_anchors = 4
myst_enable_extensions = ["dollarmath"]     # equations keep their own numbers, \tag{3.7}: the code cites them
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
napoleon_google_docstring = False
napoleon_use_ivar = True
html_theme = "furo"
html_title = f"speckle-rec {release}"
html_extra_path = ["img/LICENSE-PlusLibData.txt"]

SECTIONS, ENTRY = ("Parameters", "Attributes"), re.compile(r"(\w+(?:, \w+)*) : (.*)")


def one_line_entries(app, what, name, obj, options, lines: list[str]) -> None:
    """``name : what it is`` of our docstrings, as numpydoc has it: the name, and what it is on lines of its own."""
    section, out = "", []
    for n, line in enumerate(lines):
        if n + 1 < len(lines) and re.fullmatch(r"-{3,}", lines[n + 1].strip()):
            section = line.strip()
        entries = re.split(r"\s{2,}(?=\w+ : )", line) if section in SECTIONS and line[:1].strip() else [line]
        for entry in entries:
            told = ENTRY.fullmatch(entry) if section in SECTIONS else None
            if told:
                first, *others = told[1].split(", ")
                others = f"(and {', '.join(others)}) " if others else ""
                out += [first, f"    {others}{told[2]}"]
            else:
                out.append(entry)
    lines[:] = out


def setup(app) -> None:
    """Hooks of Sphinx; before napoleon's own."""
    app.connect("autodoc-process-docstring", one_line_entries, priority=400)
