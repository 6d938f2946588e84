"""What `reconstruct` is called with from Python, checked before any work is done."""

from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from .config import DEVICES, Config, did_you_mean
from .errors import InputError
from .io import checks
from .io.calib import check_scale
from .io.checks import described
from .scan import Scan
from .speckle.calibration import Calibration, Uncalibrated
from .speckle.curves import Curves

Progress = Callable[[str, int, int], None]


def as_scan(scan: Any, pixel_mm: Any = None, frame_rate_hz: Any = None) -> Scan:
    """The scan that a caller hands over as such, as the path of one, or as frames [N, rows, columns].

    Raises
    ------
    InputError
        If it is none of these, or nothing tells the size of a pixel.
    """
    if isinstance(scan, Scan):
        if pixel_mm is not None or frame_rate_hz is not None:
            raise InputError("reconstruct: pixel_mm and frame_rate_hz: expected with frames or a path; a Scan has its "
                             "own, see Scan.open and Scan.from_arrays")
        return scan
    if isinstance(scan, str | PathLike):
        opened = Scan.open(scan, pixel_mm=pixel_mm)
        if frame_rate_hz is None:
            return opened
        rate = checks.number(frame_rate_hz, "reconstruct: frame_rate_hz", 1e-3, 1e6, " Hz")
        return replace(opened, frame_rate_hz=rate, timestamps_s=None)
    if isinstance(scan, list | tuple) or (hasattr(scan, "shape") and hasattr(scan, "dtype")
                                          and not isinstance(scan, type)):
        return Scan.from_arrays(scan, pixel_mm=pixel_mm, frame_rate_hz=frame_rate_hz)
    raise InputError(f"reconstruct: expected a Scan, the path of one, or frames [N, rows, columns], found "
                     f"{described(scan)}; Scan.open(path) and Scan.from_arrays(frames, pixel_mm=...) make a Scan")


def settled(scan: Scan, calibration: Any, config: Any, device: Any, progress: Any) -> tuple[Config, str]:
    """The parameters of a run and its device: that of the parameters, where the argument says "auto".

    Raises
    ------
    InputError
        If an argument of `pipeline.reconstruct` is not what it should be.
    """
    check_scale(np.asarray(scan.scale), f"{scan.name}: scale")
    _check_calibration(calibration)
    config = Config() if config is None else config
    if not isinstance(config, Config):
        raise InputError(f"reconstruct: config: expected a Config or None, found {described(config)}; "
                         "Config(fusion=..., jobs=...) makes one, speckle_rec.config.load reads a TOML file")
    if not isinstance(device, str) or device not in DEVICES:
        raise InputError(f"reconstruct: device: expected one of {', '.join(DEVICES)}, found {described(device)}"
                         f"{_likely(device)}")
    if progress is not None and not callable(progress):
        raise InputError("reconstruct: progress: expected a function of (stage, done, total) or None, found "
                         f"{described(progress)}")
    return config, config.device if device == "auto" else device


def with_settings(config: Any, settings: Mapping[str, Any]) -> Any:
    """A `Config` with some parameters set by name.

    Raises
    ------
    InputError
        If there is no such parameter, or its value is not what it should be.
    """
    names = [field.name for field in fields(Config)]
    for name in settings:
        if name not in names:
            raise InputError(f"reconstruct: unknown argument '{name}'{did_you_mean(name, names)}")
    if not settings or not isinstance(config, Config | None):
        return config
    return replace(config or Config(), **settings)


def _likely(device: Any) -> str:
    if not isinstance(device, str):
        return ""
    return "; did you mean 'gpu'?" if device.lower().startswith("cuda") else did_you_mean(device.lower(), DEVICES)


def _check_calibration(calibration: Any) -> None:
    if calibration is None:
        return
    if not isinstance(calibration, Calibration | Curves):
        raise InputError(f"reconstruct: calibration: expected a Calibration, Curves or None, found "
                         f"{described(calibration)}; Calibration.load(path) reads a file of `calibrate`")
    made = Uncalibrated.of(calibration) if isinstance(calibration, Curves) else calibration
    try:
        made.check(Path("calibration"))
    except (TypeError, ValueError, AttributeError) as error:
        raise InputError("reconstruct: calibration: expected numbers, found "
                         f"{' '.join(str(error).split())[:120]}") from error
