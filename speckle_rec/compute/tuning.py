"""What the command line does to its own process to be fast, and a Python program may: nothing of it happens unasked."""

from . import environment
from .memory import keep_freed


def tune() -> None:
    """Tune this process as the command line tunes its own; before anything is computed.

    The kernels' threads wait asleep for work. By default they turn in circles, and take the cores from the very threads
    that they wait for where other programs run beside them (docs/BENCHMARKS.md, rate). The C library keeps freed
    images for the next ones.
    """
    environment.default("OMP_WAIT_POLICY", "passive")
    keep_freed()
