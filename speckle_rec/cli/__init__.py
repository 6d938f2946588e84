"""The command line: one file a verb, exit status 0 (done), 1 (something failed) or 2 (usage or bad input).

A verb's file is imported when the verb is asked for, and what computes (numpy, numba, OpenCV, scipy) when it runs:
help is there at once.
"""

import sys
import traceback
from collections.abc import Sequence
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.main import get_command

from .. import __version__
from ..compute import caches
from ..errors import InputError, SpeckleRecError
from . import common, interrupt

# click.ClickException, wherever this version of typer keeps it.
CommandLineError: type[Exception] = typer.BadParameter.__mro__[2]

HELP = """Trackerless freehand 3D ultrasound from images alone.

\b
speckle-rec demo                     # a scan with known poses, reconstructed and scored
speckle-rec check scan.h5            # what is in it, what it will cost
speckle-rec reconstruct scan.h5      # poses, volume and report in results/
"""

# A verb is the function of its name in the file of its name; the first sentence of its help.
VERBS = {
    "reconstruct": "Poses of a scan's frames from the images alone; scored where the scan carries tracker poses.",
    "evaluate": "Reconstruct every scan of a data set, score it, and set the means beside the published leaderboard.",
    "benchmark": "Run the same scans through several engines; accuracy and run time in one table and one figure.",
    "check": "Say what is in a scan or a data set, what is missing, and what a reconstruction will cost; writes "
             "nothing.",
    "convert": "Write a scan of any kind as a PLUS sequence (.igs.mha), a TUS-REC file (.h5) or a 3D Slicer sequence "
               "(.seq.nrrd).",
    "live": "Frames in and poses out by OpenIGTLink while the probe moves; at the end the result of reconstruct.",
    "calibrate": "Curves and priors of a machine from tracked scans, for reconstruct --calibration.",
    "export": "Poses, frames or the volume of a result, in the format of other programs.",
    "compound": "Compound a scan into a volume with the poses of a file: an estimate, a tracker, anyone's.",
    "report": "Write report.html of a result again.",
    "simulate": "Simulate scans with known poses, in the layout of the TUS-REC challenge.",
    "demo": "Reconstruct a scan that is synthesised on the spot (rotation protocol, known poses), and score it.",
    "doctor": "Versions, CPU threads, and whether the GPU is used and why.",
}
SETTINGS = {"help_option_names": ["-h", "--help"]}


class Verbs(TyperGroup):
    """Lists the verbs without importing them; the one that is named on the command line is."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """As the base class; the placeholder that stands in the list gives way to the command itself."""
        name, found, rest = super().resolve_command(ctx, args)
        return name, found and load(str(found.name)), rest


def load(verb: str) -> Any:
    """The command of a verb."""
    app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    app.command(verb, context_settings=SETTINGS)(getattr(import_module(f".{verb}", __name__), verb))
    return get_command(app)


def build() -> typer.Typer:
    """The application with its verbs."""
    app = typer.Typer(name="speckle-rec", cls=Verbs, add_completion=True, rich_markup_mode=None,
                      pretty_exceptions_enable=False, context_settings=SETTINGS)

    @app.callback(help=HELP)
    def options(version: Annotated[bool, typer.Option("--version", help="Print the version and exit.", is_eager=True,
                                                      callback=_print_version)] = False) -> None:
        pass

    for verb, told in VERBS.items():
        app.command(verb, help=told)(lambda: None)
    return app


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"speckle-rec {__version__}")
        raise typer.Exit


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit status; known errors are one line on stderr."""
    arguments = common.joined_pixel_size(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    for note in caches.notes if {"-v", "--verbose"} & set(arguments) else ():
        common.complain(note)
    with interrupt.prompt() as heard:
        try:
            status = int(build()(args=arguments, prog_name="speckle-rec", standalone_mode=False) or 0)
        except (typer.Abort, KeyboardInterrupt):
            status = interrupt.STATUS
        except Exception as error:
            status = 0 if heard.is_set() else _told(error, bool({"-v", "--verbose"} & set(arguments)))
    # Whoever is first to hear of Ctrl-C may make something else of it: typer, or a package that is being imported.
    if heard.is_set() or status == interrupt.STATUS:
        common.complain("interrupted")
        return interrupt.STATUS
    return status


def _told(error: Exception, verbose: bool) -> int:
    """Say on stderr what went wrong; the exit status."""
    if isinstance(error, CommandLineError):
        common.complain(f"{error.format_message()} (see --help)")  # type: ignore[attr-defined]
        return 2
    if isinstance(error, InputError):
        common.complain(str(error))
        return 2
    if isinstance(error, BrokenPipeError):
        sys.stderr.close()
        return 1
    if isinstance(error, SpeckleRecError | OSError | MemoryError):
        common.complain(common.one_line_of(error))
        return 1
    if verbose:
        traceback.print_exception(error)
    common.complain(f"unexpected {type(error).__name__}: {common.one_line_of(error)}; "
                    "a defect: please report it with the output of the same command and --verbose")
    return 1
