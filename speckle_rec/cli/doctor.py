"""``doctor``: versions, threads, GPU."""

import os
import platform
from importlib import metadata

from .. import __version__
from ..compute import caches
from .common import max_threads
from .tables import console

PACKAGES = ("numpy", "scipy", "numba", "opencv-python-headless", "scikit-image", "h5py", "matplotlib", "typer", "rich",
            "pynrrd", "tomli-w")


def doctor() -> int:
    """Versions, CPU threads, and whether the GPU is used and why.

    \b
    speckle-rec doctor
    """
    lines = [f"speckle-rec {__version__}", f"python {platform.python_version()} on {platform.platform()}"]
    missing = []
    for name in PACKAGES:
        try:
            lines.append(f"  {name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            missing.append(name)
            lines.append(f"  {name} is missing")
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    lines.append(f"CPU: {os.cpu_count()} threads, {usable} usable, the kernels take {max_threads()}")
    lines.append(f"GPU: {gpu()}")
    lines += caches.notes
    screen = console()
    for line in lines:
        screen.print(line, soft_wrap=True)
    return 1 if missing else 0


def gpu() -> str:
    """Whether the GPU is used, and why not."""
    from ..compute import device
    reason = device.why_not()
    return f"used: {device.name()}" if reason is None else f"not used: {reason}"
