"""``calibrate DATASET -o FILE``: decorrelation curves and protocol priors from tracked training scans."""

import math
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .. import __version__
from .. import config as config_file
from ..errors import InputError, SpeckleRecError
from ..io.staging import staged_file
from ..io.wording import counted
from . import common

if TYPE_CHECKING:
    from ..calibrating.training import Record
    from ..speckle.calibration import Calibration

Image = tuple[Path | None, tuple[float, float] | None]      # image calibration and pixel size that are given


def calibrate(
    sources: Annotated[list[str], typer.Argument(metavar="DATASET", help="Tracked scans: a data set in the challenge's "
                                                 "layout (train or val), files, a folder or a glob; with --merge, "
                                                 "files of --shard.")],
    out: Annotated[Path, typer.Option("-o", "--out", metavar="FILE", help="Calibration to write, .h5; with --shard the "
                                      "statistics of the shard.")],
    shard: Annotated[str | None, typer.Option("--shard", metavar="i/n", help="Collect the statistics of every n-th "
                                              "scan from the i-th (from 1), and fit nothing.")] = None,
    merge: Annotated[bool, typer.Option("--merge", help="Fit the statistics of several --shard files.")] = False,
    name: Annotated[str, typer.Option("--name", help="What results call this calibration.")] = "",
    lens: Annotated[tuple[float, float] | None, typer.Option("--lens", metavar="APERTURE FOCUS", help="Elevational "
                                                             "aperture and focus of the probe in mm, if known "
                                                             "(speckle tells them poorly).")] = None,
    tracked_plane: Annotated[bool, typer.Option("--tracked-plane", help="Align in plane by the tracker, not by block "
                                                "matching: how good the curves could be.")] = False,
    compare: Annotated[bool, typer.Option("--compare", help="Fit other curve models too and keep the table of held-out "
                                          "errors.")] = False,
    gain: Annotated[int, typer.Option("--gain", metavar="K", min=0, help="Then reconstruct K of the scans, and make up "
                                      "for the share of their motion that is missed.")] = 0,
    scheduler: Annotated[str | None, typer.Option("--scheduler", metavar="ADDRESS", help="Measure the scans on a "
                                                  "dask.distributed cluster (extra [cluster]).")] = None,
    report: Annotated[bool, typer.Option("--report/--no-report", help="Plots beside FILE, as .png.")] = True,
    calib: common.Calib = None,
    pixel_mm: common.PixelMm = None,
    config: common.Config = None,
    jobs: common.Jobs = None,
    seed: common.Seed = None,
    overwrite: common.Overwrite = False,
    no_progress: common.NoProgress = False,
    quiet: common.Quiet = False,
    verbose: common.Verbose = False,
) -> int:
    """Curves and priors of a machine from tracked scans, for reconstruct --calibration.

    What each scan gave is kept in FILE.statistics.h5: an interrupted run goes on where it was.

    \b
    speckle-rec calibrate Freehand_US_data_train_2025 -o calibration.h5 --gain 6
    speckle-rec calibrate train -o part1.h5 --shard 1/2
    speckle-rec calibrate --merge part1.h5 part2.h5 -o calibration.h5
    """
    import numpy as np

    from ..calibrating import training
    from ..calibrating.gain import measured
    from ..calibrating.machine import calibrate as fit
    from ..scan import Scan
    from ..speckle.calibration import Calibration
    settings = config_file.load(config, jobs=jobs, seed=seed)
    common.set_threads(settings.jobs)
    size = common.pixel_size(pixel_mm)
    if shard and lens:
        raise InputError("--lens: expected where statistics are fitted, not with --shard")
    if merge and shard:
        raise InputError("--merge and --shard: expected one of them")
    if gain and (merge or shard):
        raise InputError("--gain: expected the scans themselves, not with --merge or --shard")
    if out.exists() and not overwrite:
        what = "statistics" if shard else "calibration"
        (training.read if shard else Calibration.load)(out)
        if not quiet:
            print(f"{out}: {what} finished before; add --overwrite to make it anew")
        return 0
    failed: list[str] = []
    if merge:
        records = training.merge([training.read(Path(s)) for s in sources])
    else:
        kept = out if shard else out.with_name(out.stem + ".statistics.h5")
        paths = _of_shard(common.find_scans(sources), shard)
        records, failed = _collect(paths, kept, (calib, size), settings, "tracked" if tracked_plane else "estimated",
                                   overwrite, scheduler, not (no_progress or quiet))
        if shard:
            training.write(out, records)
            if not quiet:
                print(f"{out}: statistics of {counted(len(records), 'scan')}")
            return 1 if failed else 0
    with common.progress_bar(not (no_progress or quiet), lines="" if verbose else None) as progress:
        calibration = fit(records, lens=lens, seed=settings.seed, name=name, compare=compare, progress=progress,
                          provenance={"version": __version__, "planar": "tracked" if tracked_plane else "estimated"})
    if gain:
        few = [paths[k] for k in np.unique(np.linspace(0, len(paths) - 1, gain).round().astype(int))]
        with common.progress_bar(not (no_progress or quiet)) as progress:
            done = count(1)
            opened = (Scan.open(path, calib=calib, pixel_mm=size) for path in few)
            scans = [scan for scan in opened if scan.T_first_frame_tracked is not None]
            calibration = measured(calibration, scans, settings,
                                   lambda name, value: progress("gain", next(done), 2 * len(scans)))
    if report:
        from ..report import calibration as plots
        with staged_file(out.with_suffix(".png"), overwrite=True) as partial:
            plots.write(partial, calibration, records)
    saved = calibration.save(out)      # last: a calibration that is there is a run that ended
    if not quiet:
        _show(out, saved)
    return 1 if failed else 0


def _of_shard(paths: list[Path], shard: str | None) -> list[Path]:
    if shard is None:
        return paths
    try:
        i, n = (int(v) for v in shard.split("/"))
    except ValueError:
        i, n = 0, 0
    if not 1 <= i <= n:
        raise InputError(f"--shard {shard}: expected i/n with 1 <= i <= n, such as 2/4")
    return paths[i - 1::n]


def _collect(paths: list[Path], kept: Path, image: Image, settings: config_file.Config, planar: str,
             overwrite: bool, scheduler: str | None, shown: bool) -> "tuple[list[Record], list[str]]":
    from ..calibrating import training
    from ..compute.workers import run_all
    from ..scan import Scan
    done = [] if overwrite or not kept.exists() else training.read(kept)
    records = {r.name: r for r in done}
    wanted, failed, tasks = set(), [], []

    def fails(path: Path, error: BaseException) -> None:
        if not isinstance(error, SpeckleRecError | OSError | MemoryError):
            raise error
        if len(paths) == 1:
            raise error
        text = common.one_line_of(error)
        failed.append(text if str(path) in text else f"{path}: {text}")
        common.complain(failed[-1])

    for path in paths:
        try:
            name = Scan.open(path, calib=image[0], pixel_mm=image[1]).name
        except (SpeckleRecError, OSError, MemoryError) as error:
            fails(path, error)
            continue
        wanted.add(name)
        if name not in records:
            tasks.append((path.absolute(), image, settings.seed, settings.jobs, planar, settings.time_filter))
    with common.progress_bar(shown) as progress:
        for number, (task, outcome) in enumerate(run_all(measure, tasks, scheduler=scheduler), 1):
            if isinstance(outcome, BaseException):
                fails(tasks[task][0], outcome)
            else:
                records[outcome.name] = outcome
                training.write(kept, training.merge([list(records.values())]))
            progress("scans", number, len(tasks))
    chosen = [r for r in records.values() if r.name in wanted]
    if not chosen:
        raise InputError("none of the scans can be used" if failed else "no scan in this shard: choose a smaller n")
    return training.merge([chosen]), failed


def measure(task: tuple[Path, Image, int, int, str, str]) -> "Record":
    """Statistics of one scan; runs wherever its file can be read."""
    from ..calibrating import training
    from ..scan import Scan
    path, (calib, size), seed, jobs, planar, filtered = task
    return training.collect(Scan.open(path, calib=calib, pixel_mm=size), seed=seed, jobs=jobs, planar=planar,
                            filtered=filtered)


def _show(out: Path, c: "Calibration") -> None:
    from ..calibrating.held_out import NAMES
    k = c.curves
    print(f"{out}: {k.source}")
    print(f"  lens           waist {k.waist_mm:.2f} mm at {k.focus_mm:.1f} mm")
    print(f"  kernel         b {k.tail_b:.3g}, beta {k.tail_beta:.3g}; slow share {k.slow_share:.2f}, "
          f"kappa {k.kappa:.2g}; floor {k.floor:.2f}")
    print(f"  scale          uncertain by {k.scale_uncertainty:.0%}; gain of the engine {c.gain:.3f}, "
          f"of fans over turns {c.fan:.3f}, where planes cross {c.crossed_fans.share:.3f}")
    for form, row in c.figures.get("held_out", {}).items():
        told = ", ".join(f"{n} {row[n]['gain_mean']:.3f} +- {row[n]['gain_sd']:.3f} "
                         f"(error {row[n]['error_median']:.3f})" for n in NAMES if n in row)
        print(f"  held out       {form}: rms {row['rho_rms']:.3f}; estimate over truth: {told}")
    print(f"  usual signs    {c.mirror.source}")
    print(f"  hash           {c.hash[:16]}")


def of_lens(calibration: "Calibration", uncertainty: float) -> "Calibration":
    """The same calibration with the uncertainty of an assumed lens added."""
    joint = math.hypot(calibration.curves.scale_uncertainty, uncertainty)
    return replace(calibration, curves=replace(calibration.curves, scale_uncertainty=joint))
