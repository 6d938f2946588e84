"""``live``: frames in and poses out while the probe moves, then the result of ``reconstruct``."""

import math
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .. import config as config_file
from ..errors import InputError
from . import common, interrupt, tables

if TYPE_CHECKING:
    from ..live.link import Link
    from ..live.session import Session
    from ..scan import Scan

DEFAULT_OUT = Path("results")
PORT = 18944            # of OpenIGTLink
LOOPBACK = "127.0.0.1"
SEND_S = 2.0            # for what waits to be sent when the frames end
SHAPE = (480, 640)      # of frames, where none has come yet
PAGE_S = 0.3            # for the page to hear of the end


def live(
    replay: Annotated[str | None, typer.Option(
        "--replay", metavar="SCAN", help="Play a scan at its own frame rate instead of waiting for frames.")] = None,
    camera: Annotated[int | None, typer.Option(
        "--camera", metavar="N", help="Frames of the camera or frame grabber of this number.")] = None,
    connect: Annotated[str | None, typer.Option(
        "--connect", metavar="HOST[:PORT]", help="Frames of an OpenIGTLink server, such as that of PLUS.")] = None,
    port: Annotated[int | None, typer.Option(
        "--port", metavar="N", help=f"Where to wait for OpenIGTLink clients, who send frames or hear poses (default "
        f"{PORT}, with --connect {PORT + 1}; 0 takes a free one).")] = None,
    host: Annotated[str, typer.Option(
        "--host", metavar="ADDRESS", help="Where to listen; others than this machine hear what is sent there.")
        ] = LOOPBACK,
    image: Annotated[str | None, typer.Option(
        "--image", metavar="NAME", help="The name of the images that are frames (default: the first that come).")
        ] = None,
    idle: Annotated[float, typer.Option(
        "--idle", metavar="S", help="Seconds without a frame after which the probe has stopped.")] = 5.0,
    speed: Annotated[float, typer.Option("--speed", metavar="X", help="Play a scan so many times as fast.")] = 1.0,
    page: Annotated[bool, typer.Option("--page/--no-page", help="Serve a page for the one who scans, on this machine "
                                       "alone.")] = True,
    page_port: Annotated[int, typer.Option("--page-port", metavar="N", help="Where (default: a free port).")] = 0,
    out: Annotated[Path | None, typer.Option(
        "-o", "--out", metavar="DIR", help="The result folder (default results/live-TIME, of a replay results/SCAN); "
        "the frames are recorded beside it, as DIR.igs.mha.")] = None,
    calib: common.Calib = None,
    pixel_mm: common.PixelMm = None,
    calibration: Annotated[Path | None, typer.Option(
        "--calibration", metavar="FILE", help="Speckle calibration (default: the one shipped).")] = None,
    volume: Annotated[bool, typer.Option("--volume/--no-volume", help="Compound the frames into a volume at the end.")
                      ] = True,
    mirrored: Annotated[bool, typer.Option("--mirrored", help="As for reconstruct.")] = False,
    swept: Annotated[str | None, typer.Option("--swept", metavar="towards|away", help="As for reconstruct.")] = None,
    turned: Annotated[str | None, typer.Option("--turned", metavar="clockwise|anticlockwise",
                                               help="As for reconstruct.")] = None,
    tilted_first: Annotated[str | None, typer.Option("--tilted-first", metavar="towards|away",
                                                     help="As for reconstruct.")] = None,
    motion: Annotated[str | None, typer.Option("--motion", metavar="fan|sweep|auto", help="As for reconstruct.")
                      ] = None,
    sequence: Annotated[bool, typer.Option("--sequence", help="Write frames with poses as scan.igs.mha.")] = False,
    config: common.Config = None,
    device: common.Device = None,
    jobs: common.Jobs = None,
    seed: common.Seed = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a result and a recording that are there.")
                         ] = False,
    no_progress: common.NoProgress = False,
    quiet: common.Quiet = False,
    verbose: common.Verbose = False,
) -> int:
    """Frames in and poses out by OpenIGTLink while the probe moves; at the end the result of reconstruct.

    Ctrl-C, or the page's button, says that the probe has stopped. No guidance of needles: poses are a first estimate.

    \b
    speckle-rec live --pixel-mm .12
    speckle-rec live --connect localhost:18944 --port 18945
    speckle-rec live --replay scan.h5
    speckle-rec live --camera 0 --pixel-mm .2
    """
    if sum(source is not None for source in (replay, camera, connect)) > 1:
        raise InputError("live: expected one source of frames, found several of --replay, --camera and --connect")
    _check(idle=idle, speed=speed, camera=camera, port=port, page_port=page_port)
    if not host.strip():
        raise InputError("--host: expected an address of this machine, found none")
    call = None if connect is None else _address(connect)
    settings = config_file.load(config, device=device, jobs=jobs, seed=seed, mirrored=mirrored or None, swept=swept,
                                turned=turned, tilted_first=tilted_first, motion=motion)
    from ..io import calib as calib_files
    from ..io.staging import check_free
    from ..live import sources
    from ..live.frames import Inbox
    from ..live.link import Link, OverLink
    from ..live.page import Page
    from ..live.session import Session, Wanted
    from ..live.warm_up import warm_up
    from ..scan import Scan
    from ..storage.outputs import Outputs
    from .running import load_calibration, run_scan
    common.check_device(settings.device)
    common.set_threads(settings.jobs)
    size = common.pixel_size(pixel_mm)
    if calib is not None:
        calib_files.read(calib, SHAPE)      # or it would be refused when the probe is on the skin
    played = None if replay is None else Scan.open(replay, calib=calib, pixel_mm=size)
    folder = out or DEFAULT_OUT / (played.name if played is not None else time.strftime("live-%Y%m%d-%H%M%S"))
    check_free(folder, overwrite)
    recording = folder.with_name(f"{folder.name}.igs.mha")
    _check_recording(recording, played, overwrite)
    wanted = Wanted(recording, idle, load_calibration(calibration)[0], settings, size, calib)
    if played is not None:      # which has pauses of its own
        told = calib_files.ImageCalibration(played.scale, None, "the scan that is replayed")
        wanted = replace(wanted, idle_s=math.inf, pixel_mm=None, calib=None, image_calibration=told)

    def say(text: str) -> None:
        if not quiet:
            common.complain(text)

    def report(text: str) -> None:
        if not quiet:
            print(text, flush=True)

    inbox = Inbox()
    _until_warm(warm_up, quiet)     # first: frames that came meanwhile would be late
    with ExitStack() as stack:
        link = Link(inbox, say, image)
        stack.callback(link.close)
        if _has_link(needed=(played is None and camera is None) or port is not None):
            link.listen(host, port if port is not None else PORT + (connect is not None))
        elif not quiet:
            say("warning: pyigtl is not installed: no poses are sent")
        source: Any = sources.Camera(camera, inbox) if camera is not None else \
            sources.Replay(played, inbox, speed) if played is not None else None
        session = Session(inbox, wanted, OverLink(link), say)
        if link.port is not None:
            report(f"listening    {host}:{link.port}")
        if page:
            shown = Page(session, page_port)
            stack.callback(shown.close)
            report(f"page         {shown.url}")
        report(f"recording    {recording}")
        with interrupt.asking(session.stop):
            if call is not None:
                link.call(*call)
            if source is not None:
                source.start()
            session.run()
        if source is not None:
            source.close()
            if source.error is not None:
                say(str(source.error))
        counts = session.counts.told(inbox.lost) | {"unsent": link.unsent}
        report("live         " + ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in counts.items()))
        if not session.counts.kept:
            common.complain("no frame came: there is nothing to reconstruct")
            return 1
        session.board.update(phase="estimating", counts=counts)
        try:
            scan = _kept(session, played, calib, size)
            with common.progress_bar(not (no_progress or quiet), lines=scan.name if verbose else None) as progress:
                summary = run_scan(scan, folder, settings, calibration=calibration,
                                   outputs=Outputs(volume=volume, sequence=sequence), overwrite=overwrite,
                                   progress=progress)
        except BaseException as error:
            session.board.update(phase="failed", note=f"no result: {common.one_line_of(error)}")
            common.complain(f"the frames are kept in {recording}")
            time.sleep(PAGE_S if page else 0)
            raise
        session.board.update(phase="done", note=str(folder.absolute()))
        _wait_until_sent(link)
        time.sleep(PAGE_S if page else 0)
    if not quiet:
        tables.show(summary, folder, finished_before=False, verbose=verbose)
    return 0


def _kept(session: "Session", played: "Scan | None", calib: Path | None, size: tuple[float, float] | None) -> "Scan":
    """The scan of what was kept: of a replay the scan itself, as far as it was played."""
    from ..live.recorder import RecordedFrames
    from ..scan import Scan
    recorder = session.recorder
    assert recorder is not None
    n = recorder.n_frames
    if played is None:
        return Scan.open(recorder.path, calib=calib, pixel_mm=size)
    if n == played.n_frames:
        return played
    first: dict[str, Any] = {
        name: None if (value := getattr(played, name)) is None else value[:n]
        for name in ("T_world_tool", "tracked_ok", "image_ok", "timestamps_s")}
    marks = played.landmarks
    return replace(played, source=RecordedFrames(recorder.path, n), **first,
                   landmarks=None if marks is None or (marks[:, 0] >= n).any() else marks)


def _check(*, idle: float, speed: float, camera: int | None, port: int | None, page_port: int) -> None:
    """Raise `InputError` for a number that cannot be."""
    from ..io import checks
    checks.number(idle, "--idle", 0.1, 86400, " s")
    checks.number(speed, "--speed", 0.01, 1000)
    if camera is not None:
        checks.whole(camera, "--camera", 0, 1000)
    for name, value in (("--port", port), ("--page-port", page_port)):
        if value is not None:
            checks.whole(value, name, 0, 65535)


def _check_recording(recording: Path, played: "Scan | None", overwrite: bool) -> None:
    if played is not None and played.path is not None and recording.exists() \
            and played.path.resolve() == recording.resolve():
        raise InputError(f"{recording}: is the scan that is replayed; choose another --out")
    if recording.is_dir() or (recording.exists() and not overwrite):
        raise InputError(f"{recording}: a recording is there; choose another --out, or give --overwrite to replace it")


def _address(text: str) -> tuple[str, int]:
    """Host and port of ``HOST[:PORT]``; an IPv6 address stands in brackets."""
    name, colon, number = text.rpartition(":")
    if not colon or text.endswith("]"):
        name, number = text, str(PORT)
    name = name.removeprefix("[").removesuffix("]")
    if not name or not number.isascii() or not number.isdigit() or not 0 < int(number) < 65536:
        raise InputError(f"--connect {text}: expected HOST or HOST:PORT, such as localhost:{PORT}")
    return name, int(number)


def _has_link(needed: bool) -> bool:
    """Whether OpenIGTLink can be spoken; raises `InputError` where it has to be."""
    from ..live import wire
    try:
        wire.pyigtl()
    except InputError:
        if needed:
            raise
        return False
    return True


def _until_warm(warm_up: Any, quiet: bool) -> None:
    began = time.monotonic()
    warm_up()
    if not quiet and time.monotonic() - began > 10:
        common.complain("the kernels were compiled first, which is done once")


def _wait_until_sent(link: "Link") -> None:
    """Let the last messages out, for a while."""
    end = time.monotonic() + SEND_S
    while not link.drained and time.monotonic() < end:
        time.sleep(0.02)
