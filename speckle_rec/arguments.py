"""What `reconstruct` is called with from Python, checked before any work is done."""

from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from .config import DEVICES, Config, did_you_mean
from .errors import InputError
from .io.calib import check_scale
from .io.checks import described
from .scan import Scan
from .speckle.calibration import Calibration, Uncalibrated
from .speckle.curves import Curves

Progress = Callable[[str, int, int], None]


def settled(scan: Any, calibration: Any, config: Any, device: Any, progress: Any) -> tuple[Config, str]:
    """The parameters of a run and its device: that of the parameters, where the argument says "auto".

    Raises
    ------
    InputError
        If an argument of `pipeline.reconstruct` is not what it should be.
    """
    if not isinstance(scan, Scan):
        raise InputError(f"reconstruct: expected a Scan, found {described(scan)}; {_way_to_a_scan(scan)}")
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


def _way_to_a_scan(value: Any) -> str:
    if isinstance(value, str | Path):
        return "open the file first: Scan.open(path)"
    return "Scan.open(path) reads a file, Scan.from_arrays(frames, scale=...) takes frames [N, rows, columns]"


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
