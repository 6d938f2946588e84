"""speckle-rec simulate: a data set with known poses in the challenge's layout."""

import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from ..errors import InputError, SpeckleRecError
from ..synth.beam import Beam
from ..synth.dataset import LAYOUTS, PROTOCOLS, scan_names, simulate_dataset
from ..synth.machine import JITTER_DEG_PER_MM, Machine
from ..synth.scan import TISSUES, ScanSettings
from . import common

_BEAM = Beam()
_EFFECTS = "Machine effects"


def simulate(
    out: Annotated[Path, typer.Argument(help="Folder of the data set; made if missing, completed if there.")],
    layout: Annotated[str, typer.Option(help=f"Layout of the challenge: {' or '.join(LAYOUTS)}.")] = "train",
    subjects: Annotated[int, typer.Option(help="Number of subjects.", min=1, max=1000)] = 1,
    first_subject: Annotated[int, typer.Option(help="Number of the first subject.", min=0, max=999)] = 0,
    frames: Annotated[int, typer.Option(help="Frames a scan.", min=10)] = 1600,
    protocol: Annotated[str, typer.Option(help=f"Motion: {', '.join(PROTOCOLS)}.")] = "rotation",
    scans: Annotated[str, typer.Option(help="Only the scans whose names fit, such as 'RH_*'.")] = "*",
    seed: Annotated[int, typer.Option(help="Draws subjects, motions and speckle.", min=0)] = 0,
    jobs: Annotated[int, typer.Option("-j", "--jobs", help="Processes; 0 takes all cores.", min=0)] = 1,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Make finished scans anew.")] = False,
    no_progress: Annotated[bool, typer.Option("--no-progress", help="No progress bar.")] = False,
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="Name the scans and the time taken.")] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Print errors only.")] = False,
    tissue: Annotated[str, typer.Option(help=f"What is scanned: {' or '.join(TISSUES)}.")] = "forearm",
    lens_aperture: Annotated[float, typer.Option(help="Elevational aperture, mm.", min=1.0)] = _BEAM.aperture_mm,
    lens_focus: Annotated[float, typer.Option(help="Elevational focus, mm.", min=5.0)] = _BEAM.focus_mm,
    noise_db: Annotated[float, typer.Option(help="Thermal noise over speckle at full depth, dB.")] = _BEAM.noise_db,
    realistic: Annotated[bool, typer.Option("--realistic", rich_help_panel=_EFFECTS,
                                            help="All effects below at a usual size.")] = False,
    persistence: Annotated[float | None, typer.Option(rich_help_panel=_EFFECTS, min=0, max=0.9,
                                                      help="Part of the last picture that stays.")] = None,
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
    """
    usual = Machine.realistic() if realistic else Machine()
    jitter_deg = None if jitter is None else JITTER_DEG_PER_MM * jitter
    chosen: dict[str, Any] = {
        "persistence": persistence, "duplicates": duplicates, "drops": drops, "gain_change_db": gain_change,
        "lift_offs": lift_offs, "compression": compression, "tracker_jitter_mm": jitter,
        "tracker_jitter_deg": jitter_deg, "overlay": overlay}
    machine = replace(usual, **{name: value for name, value in chosen.items() if value is not None})
    if first_subject + subjects > 1000:
        raise InputError(f"--subjects {subjects}: expected subject numbers up to 999")
    beam = Beam(aperture_mm=lens_aperture, focus_mm=lens_focus, noise_db=noise_db)
    settings = [ScanSettings(name=name, subject=subject, seed=seed, n_frames=frames, tissue=tissue, beam=beam,
                             machine=machine)
                for subject in range(first_subject, first_subject + subjects)
                for name in scan_names(protocol, scans)]
    start = time.perf_counter()
    with common.progress_bar(not (no_progress or quiet)) as bar:
        report = simulate_dataset(out, settings, layout=layout, jobs=jobs or os.cpu_count() or 1, overwrite=overwrite,
                                  progress=lambda done, total, _: bar("frames", done, total))
    if verbose:
        print("\n".join([*(f"made {name}" for name in report.made), *(f"kept {name}" for name in report.skipped)]))
        print(f"{time.perf_counter() - start:.1f} s")
    if not quiet:
        print(f"{out.absolute()}: {len(report.made)} scans made, {len(report.skipped)} were there")
    if report.failed:
        raise SpeckleRecError(f"{len(report.failed)} scans failed: "
                              + "; ".join(f"{name} ({why})" for name, why in report.failed.items()))
