"""Pages from the templates beside this module."""

import json
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from .words import number, shown


def render(template: str, **content: Any) -> str:
    """A page as text; what stands in `content` is escaped."""
    return _environment().get_template(template).render(**content)


@cache
def _environment() -> Environment:
    made = Environment(loader=PackageLoader("speckle_rec.report"), autoescape=True, undefined=StrictUndefined,
                       trim_blocks=True, lstrip_blocks=True)
    made.filters.update(script_json=_script_json, number=number, shown=shown)
    return made


def _script_json(value: Any) -> Markup:
    """JSON for a script element, which nothing in it can close."""
    return Markup(json.dumps(value, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c"))
