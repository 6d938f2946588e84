"""The command line: one file a verb, exit status 0 (done), 1 (something failed) or 2 (usage or bad input)."""

import sys
import traceback
from collections.abc import Sequence

import typer

from .. import caches
from ..errors import InputError, SpeckleRecError
from ..io.results import available
from . import (
    benchmark,
    calibrate,
    check,
    common,
    compound,
    demo,
    doctor,
    evaluate,
    export,
    interrupt,
    reconstruct,
    report,
)

# click.ClickException, wherever this version of typer keeps it.
CommandLineError: type[Exception] = typer.BadParameter.__mro__[2]


HELP = """Trackerless freehand 3D ultrasound from images alone.

\b
speckle-rec demo                     # a scan with known poses, reconstructed and scored
speckle-rec check scan.h5            # what is in it, what it will cost
speckle-rec reconstruct scan.h5      # poses, volume and report in results/
"""


def build() -> typer.Typer:
    """The application with the verbs of this installation."""
    app = typer.Typer(name="speckle-rec", add_completion=True, rich_markup_mode=None, pretty_exceptions_enable=False,
                      help=HELP,
                      context_settings={"help_option_names": ["-h", "--help"]})
    app.command("reconstruct")(reconstruct.reconstruct)
    app.command("evaluate")(evaluate.evaluate)
    app.command("benchmark")(benchmark.benchmark)
    app.command("check")(check.check)
    app.command("calibrate")(calibrate.calibrate)
    app.command("export")(export.export)
    if available("volume") and available("io.nrrd"):
        app.command("compound")(compound.compound)
    if available("report.html"):
        app.command("report")(report.report)
    if simulate := available("cli.simulate"):
        app.command("simulate")(simulate.simulate)
    if available("synth.dataset"):
        app.command("demo")(demo.demo)
    app.command("doctor")(doctor.doctor)
    return app


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit status; known errors are one line on stderr."""
    arguments = common.joined_pixel_size(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    for note in caches.notes if {"-v", "--verbose"} & set(arguments) else ():
        common.complain(note)
    try:
        with interrupt.prompt():
            status = int(build()(args=arguments, prog_name="speckle-rec", standalone_mode=False) or 0)
            if status == interrupt.STATUS:      # typer may have heard it first
                common.complain("interrupted")
            return status
    except CommandLineError as error:
        common.complain(f"{error.format_message()} (see --help)")  # type: ignore[attr-defined]
        return 2
    except (typer.Abort, KeyboardInterrupt):
        common.complain("interrupted")
        return interrupt.STATUS
    except InputError as error:
        common.complain(str(error))
        return 2
    except BrokenPipeError:
        sys.stderr.close()
        return 1
    except (SpeckleRecError, OSError, MemoryError) as error:
        common.complain(common.one_line_of(error))
        return 1
    except Exception as error:
        if {"-v", "--verbose"} & set(arguments):
            traceback.print_exc()
        common.complain(f"unexpected {type(error).__name__}: {common.one_line_of(error)}; "
                        "a defect: please report it with the output of the same command and --verbose")
        return 1
