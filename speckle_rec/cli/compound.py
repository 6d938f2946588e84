"""``compound SCAN --poses FILE``: a volume from frames and any poses."""

from pathlib import Path
from typing import Annotated

import typer

from ..config import Config
from ..device import choose
from ..errors import InputError
from ..io import trajectory
from ..io.results import probe_geometry
from ..io.staging import staged_file
from ..scan import Scan
from . import common


def compound(
    scan: Annotated[Path, typer.Argument(metavar="SCAN", help="TUS-REC .h5 or PLUS .igs.mha.")],
    poses: Annotated[Path, typer.Option("--poses", metavar="FILE", help="A result folder, poses.h5, TUM or KITTI.")],
    out: Annotated[Path, typer.Option("-o", "--out", metavar="FILE.nrrd", help="The volume.")],
    calib: common.Calib = None,
    spacing_mm: Annotated[float | None, typer.Option("--spacing-mm", min=0.02, max=10, help="Voxel size.")] = None,
    device: common.Device = None,
    jobs: common.Jobs = None,
    overwrite: common.Overwrite = False,
    quiet: common.Quiet = False,
) -> int:
    """Compound a scan into a volume with the poses of a file: an estimate, a tracker, anyone's."""
    from .. import volume
    from ..io import nrrd
    common.set_threads(jobs or 0)
    chosen, warning = choose(Config(device=device or "auto").device)
    if warning:
        common.complain(f"warning: {warning}")
    opened = Scan.open(scan, calib=calib)
    T_first_frame = trajectory.read(poses)
    if len(T_first_frame) != opened.n_frames:
        raise InputError(f"{poses}: expected {opened.n_frames} poses, one a frame of {scan}, "
                         f"found {len(T_first_frame)}")
    with staged_file(out, overwrite) as partial:
        nrrd.write(partial, volume.compound_scan(opened, T_first_frame, probe_geometry(opened), spacing_mm,
                                                 device=chosen))
    if not quiet:
        print(out.absolute())
    return 0
