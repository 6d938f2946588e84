"""The documentation as a site: ``sphinx-build -W docs build/site`` (``make docs``)."""

from importlib import metadata

project = "speckle-rec"
author = "The speckle-rec authors"
release = metadata.version("speckle-rec")
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_heading_anchors = 4
myst_enable_extensions = ["dollarmath"]     # equations keep their own numbers, \tag{3.7}: the code cites them
autodoc_member_order = "bysource"
autodoc_typehints = "description"
napoleon_google_docstring = False
napoleon_use_ivar = True
html_theme = "furo"
html_title = f"speckle-rec {release}"
html_extra_path = ["img/LICENSE-PlusLibData.txt"]
