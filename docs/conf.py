"""The documentation as a site: ``sphinx-build -W docs build/site`` (``make docs``)."""

from importlib import metadata

project = "speckle-rec"
author = "The speckle-rec authors"
release = metadata.version("speckle-rec")
extensions = ["myst_parser"]
myst_heading_anchors = 4
html_theme = "furo"
html_title = f"speckle-rec {release}"
html_extra_path = ["img/LICENSE-PlusLibData.txt"]
