"""Whether reconstructions come out with the same bytes as before: for changes of the code that must not change results.

python tools/bit_equal.py save before.npz SCAN... [--simulated 240]
python tools/bit_equal.py compare before.npz SCAN... [--simulated 240]

Scans are reconstructed on the CPU and their poses, covariance and confidence kept in one file, or held against those
that it holds; with ``--simulated`` also a scan that is synthesised on the spot, its frames included. Exit status 1 if
an array differs.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from speckle_rec.config import Config
from speckle_rec.pipeline import reconstruct
from speckle_rec.scan import Scan

KEPT = ("T_first_frame", "T_prev_frame", "covariance", "confidence")
Arrays = dict[str, np.ndarray]


def scans(paths: list[str], simulated: int) -> Iterator[tuple[str, Scan, Arrays]]:
    """Name of each scan, the scan, and what is to be kept of the scan itself."""
    for path in paths:
        yield path, Scan.open(path), {}
    if simulated:
        from speckle_rec.synth.scan import simulate_scan
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "scan.h5"
            simulate_scan(path, n_frames=simulated)
            scan = Scan.open(path)
            yield f"simulated, {simulated} frames", scan, {"frames": np.concatenate([b for _, b in scan.blocks(64)])}


def made(paths: list[str], simulated: int, config: Config) -> Arrays:
    """Arrays of all scans by "scan: name"."""
    out: Arrays = {}
    for name, scan, own in scans(paths, simulated):
        found = reconstruct(scan, config=config, device="cpu")
        out |= {f"{name}: {part}": array for part, array in own.items()}
        out |= {f"{name}: {part}": getattr(found, part) for part in KEPT}
    return out


def difference(old: np.ndarray | None, new: np.ndarray | None) -> str:
    """"equal", or how two arrays differ."""
    if old is None or new is None:
        return "only before" if new is None else "only now"
    if old.dtype != new.dtype or old.shape != new.shape:
        return f"{old.dtype} {list(old.shape)} before, {new.dtype} {list(new.shape)} now"
    if old.tobytes() == new.tobytes():
        return "equal"
    apart = np.abs(old.astype(float) - new.astype(float))
    return f"differs in {np.mean(apart != 0):.1%} of its numbers, at most by {np.nanmax(apart):.3g}"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=("save", "compare"))
    parser.add_argument("file", type=Path, metavar="FILE.npz")
    parser.add_argument("scan", nargs="*", metavar="SCAN", help="scan files, named as they were when saved")
    parser.add_argument("--simulated", type=int, default=0, metavar="N", help="and a simulated scan of N frames")
    parser.add_argument("--fusion", default=Config().fusion, help="the setting of that name")
    parser.add_argument("--jobs", type=int, default=0, help="threads (default: all cores)")
    a = parser.parse_args(arguments)
    if not a.scan and not a.simulated:
        parser.error("name a scan, or --simulated N")
    if a.action == "compare" and not a.file.is_file():
        parser.error(f"{a.file}: no such file; make it with save")
    now = made(a.scan, a.simulated, Config(fusion=a.fusion, jobs=a.jobs))
    if a.action == "save":
        np.savez(a.file, **now)
        return 0
    with np.load(a.file) as file:
        before = {name: file[name] for name in file.files}
    told = {name: difference(before.get(name), now.get(name)) for name in {**before, **now}}
    for name, said in told.items():
        print(f"{said:<12} {name}")
    return int(any(said != "equal" for said in told.values()))


if __name__ == "__main__":
    sys.exit(main())
