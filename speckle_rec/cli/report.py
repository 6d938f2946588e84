"""``report RESULT``: the HTML again from a result folder."""

from pathlib import Path
from typing import Annotated

import typer

from . import common


def report(result: Annotated[Path, typer.Argument(metavar="RESULT", help="A result folder of reconstruct.")],
           quiet: common.Quiet = False) -> int:
    """Write report.html of a result again.

    \b
    speckle-rec report results/scan
    """
    from ..storage import folder
    from ..storage import outputs as output_files
    folder.read(result)
    output_files.write_report(result)
    if not quiet:
        print((result / "report.html").absolute())
    return 0
