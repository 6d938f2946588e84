"""``demo``: synthesise a scan with known poses, reconstruct it, score it."""

from pathlib import Path
from typing import Annotated

import typer

from .. import config as config_file
from ..io import results
from ..scan import Scan
from . import common, tables
from .reconstruct import run_scan


def demo(
    out: Annotated[Path, typer.Option("-o", "--out", metavar="DIR", help="Where scan and result go.")] = Path("demo"),
    frames: Annotated[int, typer.Option("--frames", min=20, help="Length of the scan.")] = 300,
    seed: Annotated[int, typer.Option("--seed", help="Of the tissue and the hand.")] = 0,
    jobs: common.Jobs = None,
    no_progress: common.NoProgress = False,
) -> int:
    """Reconstruct a scan that is synthesised on the spot (rotation protocol, known poses), and score it."""
    from ..synth import simulate_scan
    common.set_threads(jobs or 0)
    scan_path, folder = out / f"rotation_{frames}_{seed}.h5", out / f"rotation_{frames}_{seed}"
    with common.progress_bar(not no_progress) as report:
        if not scan_path.is_file():
            out.mkdir(parents=True, exist_ok=True)
            partial = out / f".{scan_path.name}.partial"
            simulate_scan(partial, n_frames=frames, seed=seed)
            partial.replace(scan_path)
        scan = Scan.open(scan_path)
        summary = run_scan(scan, folder, config_file.load(jobs=jobs), outputs=results.Outputs(), overwrite=True,
                           progress=report)
    tables.show(summary, folder)
    for name in ("poses.h5", "report.html", "volume.nrrd"):
        if (folder / name).is_file():
            print((folder / name).absolute())
    print(scan_path.absolute())
    return 0
