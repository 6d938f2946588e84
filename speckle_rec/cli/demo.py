"""``demo``: synthesise a scan with known poses, reconstruct it, score it."""

from pathlib import Path
from typing import Annotated

import typer

from .. import config as config_file
from ..errors import SpeckleRecError
from . import common, tables


def demo(
    out: Annotated[Path, typer.Option("-o", "--out", metavar="DIR", help="Where scan and result go.")] = Path("demo"),
    frames: Annotated[int, typer.Option("--frames", min=20, help="Length of the scan.")] = 240,
    seed: Annotated[int, typer.Option("--seed", help="Of the tissue and the hand.")] = 0,
    jobs: common.Jobs = None,
    no_progress: common.NoProgress = False,
) -> int:
    """Reconstruct a scan that is synthesised on the spot (rotation protocol, known poses), and score it.

    The machine has a hard-edged lens, shows means of two frames, and writes text and a ruler over them.

    \b
    speckle-rec demo
    speckle-rec demo --frames 1600 --seed 3 -o long-demo
    """
    from ..io import tusrec
    from ..scan import Scan
    from ..storage import outputs as output_files
    from ..synth.dataset import scans_of, simulate_dataset
    from ..synth.machine import Machine
    from ..synth.picture import Picture
    from ..synth.world import World
    from .running import run_scan
    common.set_threads(jobs or 0)
    world = World(machine=Machine(filter="mean", filter_frames=2), picture=Picture(text=True, ruler=True))
    root = out / f"frames_{frames}_seed_{seed}"
    with common.progress_bar(not no_progress) as report:
        made = simulate_dataset(root / "data", scans_of(world, [0], seed=seed, n_frames=frames, pattern="RH*"),
                                jobs=common.max_threads(),
                                progress=lambda done, total, _: report("synthesising", done, total))
        if made.failed:
            raise SpeckleRecError(f"{root}: the scan could not be synthesised: {'; '.join(made.failed.values())}")
        scan = Scan.open(tusrec.entries(root / "data")[0].path)
        folder = root / scan.name
        summary = run_scan(scan, folder, config_file.load(jobs=jobs), outputs=output_files.Outputs(), overwrite=True,
                           progress=report)
    tables.show(summary, folder)
    assert scan.path is not None
    print(f"{'scan':<10}{scan.path.absolute()}")
    return 0
