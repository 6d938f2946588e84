"""Draw the thirty worlds that are shipped: three groups of ten, alike in what they hold and in nothing else.

    python tools/draw_worlds.py

Within a group every setting is drawn by Latin hypercube, one world from each tenth of its range, so that two thirds are
rotations, three have linear probes, and every lens, filter and grey map is met. The groups' seeds are fixed.
"""

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from speckle_rec.synth.draw import DRAWN, world_at
from speckle_rec.synth.shipped import GROUPS

PLACE = Path(__file__).resolve().parents[1] / "speckle_rec" / "synth" / "worlds"
SIZE = 10
DRAWN_BEFORE = 3     # groups whose seeds are used up: results in their worlds have been looked at


def main() -> None:
    PLACE.mkdir(exist_ok=True)
    for number, group in enumerate(GROUPS):
        seed = DRAWN_BEFORE + number
        u = {key: (np.random.default_rng([seed, *key.encode()]).permutation(SIZE)
                   + np.random.default_rng([seed, 1, *key.encode()]).random(SIZE)) / SIZE for key in DRAWN}
        for k in range(SIZE):
            world = world_at({key: float(values[k]) for key, values in u.items()}, seed * SIZE + k)
            name = f"{group}-{k + 1:02d}"
            world.write(PLACE / f"{name}.toml")
            print(f"{name}  {world.summary}")


if __name__ == "__main__":
    main()
