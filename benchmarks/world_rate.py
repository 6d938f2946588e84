"""What a frame of a world costs: processor time over that of the simulator's plain world (a Gaussian lens, nothing on).

Worlds differ in the size of their pictures, so the ratio is told for a frame and for as many pixels.

    python benchmarks/world_rate.py                       # the default world and all thirty shipped ones
    python benchmarks/world_rate.py judge-03 my.toml -n 40

One process; the plain world is measured anew beside each other one, as machines are not steady.
"""

import argparse
import time
from pathlib import Path

import numpy as np

from speckle_rec.synth import scan as scans
from speckle_rec.synth import shipped, world
from speckle_rec.synth.dataset import scans_of

PLAIN = Path(__file__).parent / "gaussian.toml"


class Rendering:
    """A scan of a world, rendered frame by frame."""

    def __init__(self, of: world.World, n: int):
        settings = scans_of(of, [0], n_frames=n, pattern="RH*")[0]
        plan = scans.plan(settings)
        self.frames = scans.frames(plan, scans.renderer_of(plan))
        self.pixels = plan.geometry.shape[0] * plan.geometry.shape[1]
        self.left = n
        self.seconds()                  # compiles, fills caches

    def seconds(self, n: int = 2) -> float:
        """Processor time of n frames, each."""
        started = time.process_time()
        for _ in range(n):
            next(self.frames)
        self.left -= n
        return (time.process_time() - started) / n


def of_name(name: str) -> world.World:
    """A shipped world, a TOML file, or what `simulate` makes without `--world`."""
    return world.World() if name == "default" else shipped.chosen(name, 0)


def ratios(name: str, n: int) -> tuple[float, float, float]:
    """(seconds a frame, its ratio to the plain world, that of a pixel), medians over frames rendered in turn."""
    plain, other = Rendering(world.read(PLAIN), n), Rendering(of_name(name), n)
    both = np.array([(plain.seconds(), other.seconds()) for _ in range(min(plain.left, other.left) // 2)])
    times = float(np.median(both[:, 1] / both[:, 0]))
    return float(np.median(both[:, 1])), times, times * plain.pixels / other.pixels


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("worlds", nargs="*", default=["default", *shipped.names()])
    parser.add_argument("-n", "--frames", type=int, default=16)
    o = parser.parse_args()
    found = []
    for name in o.worlds:
        seconds, *times = ratios(name, o.frames)
        found.append(times)
        print(f"{name:12s} {1e3 * seconds:4.0f} ms a frame: {times[0]:.2f} times plain, {times[1]:.2f} a pixel",
              flush=True)
    for what, values in zip(("a frame", "a pixel"), np.array(found).T, strict=True):
        print(f"{what}: median {np.median(values):.2f}, worst {values.max():.2f}")


if __name__ == "__main__":
    main()
