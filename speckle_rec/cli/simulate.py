"""speckle-rec simulate: a data set with known poses in the challenge's layout."""

import dataclasses
import os
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from ..errors import InputError, SpeckleRecError
from ..io.wording import counted
from . import common

_EFFECTS = "Machine effects"


def simulate(
    out: Annotated[Path, typer.Argument(help="Folder of the data set; made if missing, completed if there.")],
    layout: Annotated[str, typer.Option(help="Layout of the challenge: train or val.")] = "train",
    subjects: Annotated[int, typer.Option(help="Number of subjects.", min=1, max=1000)] = 1,
    first_subject: Annotated[int | None, typer.Option(help="Number of the first subject (default 0).", min=0, max=999
                                                      )] = None,
    frames: Annotated[int | None, typer.Option(help="Frames a scan (default 1600).", min=10)] = None,
    protocol: Annotated[str | None, typer.Option(help="Motion: rotation, L, C, S; default: that of the world, rotation."
                                                 )] = None,
    scans: Annotated[str, typer.Option(help="Only the scans whose names fit, such as 'RH_*'.")] = "*",
    seed: Annotated[int | None, typer.Option(help="Draws subjects, motions, speckle, and a random world (default 0).",
                                             min=0)] = None,
    world: Annotated[str | None, typer.Option(help="Machine, hand and tissue: a name such as fit-01, a TOML file, or "
                                              "random. Options below change it.")] = None,
    world_of: Annotated[Path | None, typer.Option(metavar="DATASET", help="The world of a simulated data set, with "
                                                  "further subjects.")] = None,
    jobs: Annotated[int, typer.Option("-j", "--jobs", help="Processes; 0 takes all cores.", min=0)] = 1,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Make finished scans anew.")] = False,
    no_progress: Annotated[bool, typer.Option("--no-progress", help="No progress bar.")] = False,
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="Name the scans and the time taken.")] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Print errors only.")] = False,
    tissue: Annotated[str | None, typer.Option(help="What is scanned: forearm or phantom.")] = None,
    lens_aperture: Annotated[float | None, typer.Option(help="Elevational aperture, mm (default 10).", min=1.0)] = None,
    lens_focus: Annotated[float | None, typer.Option(help="Elevational focus, mm (default 60).", min=5.0)] = None,
    noise_db: Annotated[float | None, typer.Option(help="Thermal noise over speckle at full depth, dB (default -8)."
                                                   )] = None,
    realistic: Annotated[bool, typer.Option("--realistic", rich_help_panel=_EFFECTS,
                                            help="All effects below at a usual size.")] = False,
    persistence: Annotated[float | None, typer.Option(rich_help_panel=_EFFECTS, min=0, max=0.9, help=(
        "Part of the last picture that stays (a recursion on grey levels)."))] = None,
    duplicates: Annotated[float | None, typer.Option(rich_help_panel=_EFFECTS, min=0, max=0.5,
                                                     help="Part of frames shown twice.")] = None,
    drops: Annotated[float | None, typer.Option(rich_help_panel=_EFFECTS, min=0, max=0.5,
                                                help="Part of frames lost.")] = None,
    gain_change: Annotated[float | None, typer.Option(rich_help_panel=_EFFECTS, min=0,
                                                      help="Turns of the gain knob, dB.")] = None,
    lift_offs: Annotated[int | None, typer.Option(rich_help_panel=_EFFECTS, min=0,
                                                  help="Times that a side of the face loses contact.")] = None,
    compression: Annotated[float | None, typer.Option(rich_help_panel=_EFFECTS, min=0, max=1,
                                                      help="Part of the push that tissue follows.")] = None,
    jitter: Annotated[float | None, typer.Option(rich_help_panel=_EFFECTS, min=0,
                                                 help="Tracker jitter of the written tforms, mm.")] = None,
    overlay: Annotated[bool | None, typer.Option("--overlay/--no-overlay", rich_help_panel=_EFFECTS,
                                                 help="Text and marks on the screen.")] = None,
) -> None:
    """Simulate scans with known poses, in the layout of the TUS-REC challenge.

    \b
    speckle-rec simulate train --subjects 3
    speckle-rec simulate small --frames 240 --scans 'RH_*' --seed 7
    speckle-rec simulate val --layout val --first-subject 50 --realistic -j 0
    speckle-rec simulate hard --world judge-03 --frames 600
    speckle-rec simulate more --world-of hard --subjects 2
    """
    from ..synth import shipped
    from ..synth.dataset import of_dataset, scans_of, simulate_dataset
    from ..synth.machine import JITTER_DEG_PER_MM, Machine
    from ..synth.world import World
    if world and world_of:
        raise InputError("--world and --world-of: expected one of them")
    goes_on = {"seed": 0, "n_frames": 1600, "first_subject": 0}
    if world_of:
        usual, goes_on = of_dataset(world_of)
    else:
        usual = shipped.chosen(world, seed or 0) if world else World(motion=protocol or "rotation")
    given = {"seed": seed, "n_frames": frames, "first_subject": first_subject}
    goes_on.update({name: value for name, value in given.items() if value is not None})
    first = goes_on.pop("first_subject")
    if first + subjects > 1000:
        raise InputError(f"--subjects {subjects}: expected subject numbers up to 999")
    filtered = {} if persistence is None else {"filter": "recursion" if persistence else "none",
                                               "filter_share": persistence, "filter_on": "grey"}
    machine = _with(Machine.realistic() if realistic else usual.machine, {
        **filtered, "duplicates": duplicates, "drops": drops, "gain_change_db": gain_change, "lift_offs": lift_offs,
        "compression": compression, "tracker_jitter_mm": jitter,
        "tracker_jitter_deg": None if jitter is None else JITTER_DEG_PER_MM * jitter})
    drawn = overlay if overlay is not None else True if realistic else None
    settings = scans_of(_with(usual, {
        "machine": machine, "motion": protocol, "tissue": tissue,
        "picture": _with(usual.picture, {"text": drawn, "ruler": drawn}),
        "beam": _with(usual.beam, {
            "aperture_mm": lens_aperture, "receive_elevation_aperture_mm": lens_aperture, "focus_mm": lens_focus,
            "receive_elevation_focus_mm": lens_focus, "noise_db": noise_db})}),
        range(first, first + subjects), pattern=scans, **goes_on)
    start = time.perf_counter()
    with common.progress_bar(not (no_progress or quiet)) as bar:
        report = simulate_dataset(out, settings, layout=layout, jobs=jobs or os.cpu_count() or 1, overwrite=overwrite,
                                  progress=lambda done, total, _: bar("frames", done, total))
    if verbose:
        print("\n".join([*(f"made {name}" for name in report.made), *(f"kept {name}" for name in report.skipped)]))
        print(f"{time.perf_counter() - start:.1f} s")
    if not quiet:
        print(f"{out.absolute()}: {counted(len(report.made), 'scan')} made, {len(report.skipped)} already there")
    if report.failed:
        raise SpeckleRecError(f"{counted(len(report.failed), 'scan')} failed: "
                              + "; ".join(f"{name} ({why})" for name, why in report.failed.items()))


def _with(usual: Any, chosen: dict[str, Any]) -> Any:
    """The usual settings with those that were chosen."""
    return dataclasses.replace(usual, **{name: value for name, value in chosen.items() if value is not None})
