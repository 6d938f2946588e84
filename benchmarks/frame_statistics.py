"""Numbers of real frames beside those of simulated ones: could one tell a world from a real scan by any of them?

    PYTHONPATH=. python benchmarks/frame_statistics.py FOLDER [FOLDER ...] [--real ../shared/data] [-o results]

Each FOLDER is searched for scans (.h5 with frames); liver and L14 are the real ones (left out, loudly, where missing).
Writes statistics.png, statistics.csv and a Markdown table of where the real ones lie among the simulated ones.
"""

import argparse
import csv
from itertools import pairwise
from pathlib import Path

import h5py
import matplotlib
import numpy as np
from scipy.ndimage import uniform_filter

from speckle_rec.scan import Scan

matplotlib.use("Agg")
import matplotlib.pyplot as plt

FRAMES = 24            # of a scan, from its middle
LAGS = (1, 2, 4, 8)
BLOCK = 24             # pixels
USABLE_SNR = (1.2, 2.6)   # of amplitudes in a block: speckle, not noise of compression nor structure
DEPTHS = 8
REAL = {"liver": "liver/liver.h5", "L14": "plus/BoneUltrasound_L14.igs.mha"}
GREY_PER_NEPER = 26.7     # nominal: the scans' own maps are not known


def frames_of(path: Path) -> np.ndarray:
    """Frames uint8 [N, rows, columns] from the middle of a scan."""
    if path.suffix == ".h5":
        with h5py.File(path) as file:
            first = max((len(file["frames"]) - FRAMES) // 2, 0)
            return file["frames"][first:first + FRAMES]
    scan = Scan.open(path)
    first = max((scan.n_frames - FRAMES) // 2, 0)
    return scan.frames(first, first + FRAMES)


def field(frames: np.ndarray) -> np.ndarray:
    """Mask of what changes over time and is smooth with its neighbours: the field of view without text."""
    varies = uniform_filter((frames.astype(float).std(0) > 1.0).astype(float), 15) > 0.5
    return varies


def autocorrelation(picture: np.ndarray, mask: np.ndarray, axis: int) -> float:
    """Pixels at which the autocorrelation of the fine texture has fallen to one half."""
    fine = picture - uniform_filter(picture, 25)
    fine = np.where(mask, fine, 0.0)
    power = np.mean(fine[mask] ** 2)
    before = 1.0
    for lag in range(1, 20):
        a, b = (np.moveaxis(v, axis, 0) for v in (fine, mask))
        both = b[lag:] & b[:-lag]
        now = float(np.mean((a[lag:] * a[:-lag])[both]) / power)
        if now < 0.5:
            return lag - 1 + (before - 0.5) / (before - now)
        before = now
    return 20.0


def blocks(stack: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Blocks [K, N, BLOCK, BLOCK] that lie in the mask."""
    rows, columns = mask.shape
    return np.stack([stack[:, r:r + BLOCK, c:c + BLOCK] for r in range(0, rows - BLOCK, BLOCK)
                     for c in range(0, columns - BLOCK, BLOCK) if mask[r:r + BLOCK, c:c + BLOCK].mean() > 0.95])


def measured(frames: np.ndarray) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """Numbers of a scan, and its curves."""
    mask = field(frames)
    inside = frames[:, mask]
    grey = np.bincount(inside.ravel(), minlength=256) / inside.size
    rows = np.nonzero(mask.any(1))[0]
    part = np.linspace(rows[0], rows[-1] + 1, DEPTHS + 1).astype(int)
    by_depth = np.array([frames[:, a:b][:, mask[a:b]].mean() if mask[a:b].any() else np.nan
                         for a, b in pairwise(part)])
    cut = blocks(frames.astype(np.float32), mask)
    amplitude = np.exp(cut / GREY_PER_NEPER)
    snr = amplitude.mean((2, 3)) / np.maximum(amplitude.std((2, 3)), 1e-6)
    lag_one = _correlation(cut[:, :-1], cut[:, 1:])
    # speckle of its own: as grainy as speckle, above the noise, and not the same when the probe has moved on
    bright = cut.mean((2, 3))
    usable = (snr > USABLE_SNR[0]) & (snr < USABLE_SNR[1]) & (bright > 15)
    alike = np.zeros_like(usable)
    alike[:, :-1] = lag_one > 0.3
    numbers = {"grey, mean": float(inside.mean()), "grey, sd": float(inside.std()),
               "black, share below 8": float(grey[:8].sum()), "glare, share above 200": float(grey[200:].sum()),
               "grey of the last third over the first": float(np.nanmean(by_depth[-3:]) / np.nanmean(by_depth[:3])),
               "usable speckle, share": float((usable & alike)[:, :-1].mean()),
               "block SNR of amplitude": float(np.median(snr[bright > 15])),
               **{f"{way} half width, px": float(np.mean([autocorrelation(f.astype(float), mask, axis)
                                                          for f in frames[::15]]))
                  for axis, way in enumerate(("axial", "lateral"))}}
    curves = {"grey": np.convolve(grey, np.ones(8) / 8, "same"), "by depth": by_depth}
    lags = [lag for lag in LAGS if lag < len(frames)]
    median = [float(np.median(_correlation(cut[:, :-lag], cut[:, lag:]))) for lag in lags]
    dark = bright.mean(1) < np.quantile(bright.mean(1), 0.1)
    numbers |= {f"blocks, lag {lag}": value for lag, value in zip(lags, median, strict=True)}
    numbers["darkest blocks, lag 1"] = float(np.median(lag_one[dark]))
    numbers["blocks after in-plane match, lag 4"] = matched(frames, mask, 4)
    curves["lags"] = np.array(median)
    return numbers, curves


def _correlation(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Correlation of blocks over their last two axes."""
    a, b = (v - v.mean((-2, -1), keepdims=True) for v in (a, b))
    return (a * b).sum((-2, -1)) / np.sqrt((a**2).sum((-2, -1)) * (b**2).sum((-2, -1)) + 1e-9)


def matched(frames: np.ndarray, mask: np.ndarray, lag: int, reach: int = 4) -> float:
    """Median over blocks of the best correlation at a lag within `reach` pixels in plane."""
    found = []
    rows, columns = mask.shape
    inner = np.zeros_like(mask)
    inner[reach:rows - reach, reach:columns - reach] = mask[reach:rows - reach, reach:columns - reach]
    for i in range(0, len(frames) - lag, 12):
        still = blocks(frames[i:i + 1].astype(np.float32), inner)
        best = np.full(still.shape[:2], -1.0)
        for dy in range(-reach, reach + 1, 2):
            for dx in range(-reach, reach + 1, 2):
                moved = np.roll(frames[i + lag:i + lag + 1], (dy, dx), (1, 2)).astype(np.float32)
                best = np.maximum(best, _correlation(still, blocks(moved, inner)))
        found.append(np.median(best))
    return float(np.mean(found))


def figure(rows: dict[str, tuple[dict, dict]], real: set[str], path: Path) -> None:
    """Curves and every number of all scans; real ones in colour."""
    names = list(next(iter(rows.values()))[0])
    fig, axes = plt.subplots(4, 5, figsize=(18, 13))
    axes = axes.ravel()
    for k, (curve, title) in enumerate((("grey", "grey levels"), ("by depth", "mean grey over depth"),
                                        ("lags", "block correlation over lags"))):
        for name, (_, curves) in rows.items():
            y = curves[curve]
            x = LAGS[:len(y)] if curve == "lags" else np.arange(len(y))
            axes[k].plot(x, y, **_style(name, real))
        axes[k].set_title(title)
    axes[0].set_yscale("log")
    axes[0].set_ylim(1e-5, 0.1)
    axes[0].legend([plt.Line2D([], [], color=_style(n, real)["color"]) for n in sorted(real)] or [], sorted(real))
    for axis, number in zip(axes[3:], names, strict=False):
        simulated = [v[0][number] for n, v in rows.items() if n not in real]
        axis.hist(simulated, 12, color="0.7")
        for name in sorted(real):
            axis.axvline(rows[name][0][number], color=_style(name, real)["color"], lw=2)
        axis.set_title(number, fontsize="small")
    for axis in axes[3 + len(names):]:
        axis.axis("off")
    fig.tight_layout()
    fig.savefig(path, dpi=80)


def _style(name: str, real: set[str]) -> dict:
    if name in real:
        return {"color": f"C{sorted(real).index(name)}", "lw": 2, "zorder": 3}
    return {"color": "0.7", "lw": 0.8}


def table(rows: dict[str, tuple[dict, dict]], real: set[str]) -> str:
    """Where each number of the real scans lies in the spread of the simulated ones."""
    out = ["| number | simulated: least, median, most | " + " | ".join(sorted(real)) + " |",
           "|---|---|" + "---|" * len(real)]
    for number in next(iter(rows.values()))[0]:
        simulated = [v[0][number] for n, v in rows.items() if n not in real]
        low, middle, high = np.nanquantile(simulated, (0, 0.5, 1)) if simulated else (np.nan,) * 3
        cells = [f"{(v := rows[n][0].get(number, np.nan)):.3g}{'' if low <= v <= high else ' (outside)'}"
                 for n in sorted(real)]
        out.append(f"| {number} | {low:.3g}, {middle:.3g}, {high:.3g} | " + " | ".join(cells) + " |")
    return "\n".join(out)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--real", type=Path, default=Path(__file__).resolve().parents[2] / "shared" / "data")
    parser.add_argument("-o", "--out", type=Path, default=Path("results"))
    arguments = parser.parse_args()
    rows, real = {}, set()
    for name, relative in REAL.items():
        if (path := arguments.real / relative).is_file():
            rows[name] = measured(frames_of(path))
            real.add(name)
        else:
            print(f"NOT SHOWN: {name}, there is no {path}")
    for folder in arguments.folders:
        for path in sorted(folder.rglob("*.h5")):
            with h5py.File(path) as file:
                if "frames" not in file or len(file["frames"]) < 2 * LAGS[-1]:
                    continue
            rows[str(path.relative_to(folder.parent))] = measured(frames_of(path))
            print(path, flush=True)
    arguments.out.mkdir(parents=True, exist_ok=True)
    figure(rows, real, arguments.out / "statistics.png")
    with open(arguments.out / "statistics.csv", "w", newline="") as file:
        writer = csv.writer(file)
        names = list(next(iter(rows.values()))[0])
        writer.writerow(["scan", *names])
        writer.writerows([name, *(numbers[n] for n in names)] for name, (numbers, _) in rows.items())
    print(table(rows, real))


if __name__ == "__main__":
    main()
