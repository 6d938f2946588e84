"""``sr.calibrate``: curves and priors of a machine from tracked scans."""

from collections.abc import Sequence
from os import PathLike, fspath
from pathlib import Path
from typing import Any

from ..cli import calibrate as verb
from ..speckle.calibration import Calibration
from . import as_verb


def calibrate(sources: str | PathLike[str] | Sequence[str | PathLike[str]], out: str | PathLike[str],
              **options: Any) -> Calibration | None:
    """Curves and priors of a machine from tracked scans, as ``speckle-rec calibrate`` makes them.

    Parameters
    ----------
    sources : tracked scans: a data set, files, a folder or a glob; with ``merge=True`` the files of shards.
    out : the calibration to write, ``.h5``; with `shard` the statistics of the shard.
    options : those of the verb by name, with its defaults: ``shard="1/4"``, ``merge=True``, ``name=``,
        ``lens=(aperture_mm, focus_mm)``, ``tracked_plane=``, ``compare=``, ``gain=``, ``scheduler=``, ``report=``,
        ``calib=``, ``pixel_mm=``, ``config=``, ``jobs=``, ``seed=``, ``overwrite=``.

    Returns
    -------
    Calibration
        None for a shard, whose statistics are to be merged.

    Raises
    ------
    InputError
        If an option is unknown, or none of the scans can be used.
    SpeckleRecError
        If some scans failed; the calibration of the others is written.
    """
    words = [sources] if isinstance(sources, str | PathLike) else list(sources)
    as_verb.run(verb.calibrate, [fspath(as_verb.path(word, "calibrate: sources")) for word in words],
                Path(as_verb.path(out, "calibrate: out")), **options)
    return None if options.get("shard") else Calibration.load(Path(out))
