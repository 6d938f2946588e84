"""``sr.simulate``: scans with known poses."""

from os import PathLike
from pathlib import Path
from typing import Any

from ..cli import simulate as verb
from ..io import tusrec
from . import as_verb


def simulate(out: str | PathLike[str], **options: Any) -> list[Path]:
    """Simulate scans with known poses, as ``speckle-rec simulate`` does.

    Parameters
    ----------
    out : folder of the data set; made if missing, completed if there.
    options : those of the verb by name, with its defaults: ``layout="train"``, ``subjects=1``, ``frames=1600``,
        ``protocol="rotation"``, ``scans="*"``, ``seed=0``, ``jobs=1``, ``overwrite=False``, ``tissue="forearm"``, ...

    Returns
    -------
    list of Path
        The scans' files.

    Raises
    ------
    InputError
        If an option is unknown or no value of it.
    SpeckleRecError
        If some scans failed.
    """
    folder = Path(as_verb.path(out, "simulate: out"))
    as_verb.run(verb.simulate, folder, **options)
    return [entry.path for entry in tusrec.entries(folder)]
