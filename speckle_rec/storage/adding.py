"""Outputs that a finished result lacks, made from its stored poses."""

import tomllib
from typing import Any

from ..errors import InputError
from ..io.staging import POSES, carry, staged
from ..result import Reconstruction
from ..scan import Scan
from . import folder
from . import outputs as output_files
from .folder import CONFIG, Progress, Stored
from .made_of import ANEW
from .outputs import FILES, Outputs

REPORT = "report.html"
NOTHING = Outputs(ddf=False, volume=False, sequence=False, report=False)


def missing(stored: Stored, scan: Scan, wanted: Outputs) -> Outputs:
    """Which of the outputs that are wanted the result of a scan lacks.

    Raises
    ------
    InputError
        If the stored poses cannot be those of the scan, or an output that is wanted is not as long as it was written.
    """
    if len(stored.T_first_frame) != scan.n_frames or stored.shape != scan.shape:
        raise InputError(f"{stored.folder / POSES}: expected {scan.n_frames} poses of images of {scan.shape}, found "
                         f"{len(stored.T_first_frame)} of {stored.shape}; the result is damaged: {ANEW}")
    sizes = stored.summary["made_of"].get("outputs")
    sizes = sizes if isinstance(sizes, dict) else {}
    lacks = {}
    for name, file in FILES.items():
        path = stored.folder / file
        lacks[name] = getattr(wanted, name) and not path.is_file()
        if getattr(wanted, name) and path.is_file() and sizes.get(file, path.stat().st_size) != path.stat().st_size:
            raise InputError(f"{path}: expected the {sizes[file]} bytes that were written, found "
                             f"{path.stat().st_size}: damaged or replaced; move it away to have it made again")
    return Outputs(**lacks, report=False)


def add(stored: Stored, scan: Scan, outputs: Outputs, *, device: str = "cpu",
        progress: Progress | None = None) -> dict[str, Any]:
    """Add outputs to a result folder, whose place is taken by the whole new one at once; returns its summary.

    Parameters
    ----------
    scan : the scan that the result was made of.
    device : "cpu" or "gpu", where volumes are compounded.

    Raises
    ------
    InputError
        If the folder is damaged.
    """
    result = Reconstruction(stored.T_first_frame, stored.T_prev_frame, stored.covariance, stored.confidence,
                            numbers=stored.summary["numbers"] | {"device": device})
    geometry = folder.field_of_view(stored)
    config = _config(stored)
    with staged(stored.folder, overwrite=True) as out:
        told, times = output_files.write_outputs(out, scan, result, geometry, outputs,
                                            progress or (lambda stage, done, total: None))
        carry(stored.folder, out, leave=(folder.SUMMARY, CONFIG, REPORT))
        folder.write_config(out, config | {"outputs": _listed(config, outputs)})
        summary = stored.summary | output_files.plain(told, none=True)
        summary["run_times_s"] = stored.summary["run_times_s"] | times
        summary["made_of"] = stored.summary["made_of"] | {"outputs": output_files.sizes(out)}
        folder.write_summary(out, summary)
        if (stored.folder / REPORT).is_file():
            output_files.write_report(out, stored.folder)
    return summary


def _config(stored: Stored) -> dict[str, Any]:
    path = stored.folder / CONFIG
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: expected the parameters of the result as TOML ({type(error).__name__}); the result "
                         f"is damaged: {ANEW}") from error


def _listed(config: dict[str, Any], added: Outputs) -> dict[str, bool]:
    listed = config.get("outputs")
    return (listed if isinstance(listed, dict) else {}) | {name: True for name in FILES if getattr(added, name)}
