"""Train the pair or the sequence network on the small metric frames of data.py, for a given time of one core.

    python benchmarks/learned/train_small.py rivals/scans --model pair -o rivals/pair.pt --minutes 25
    python benchmarks/learned/train_small.py rivals/scans --model sequence -o rivals/sequence.pt --minutes 25

The loss is the mean distance (mm) between where estimated and true steps put the corners of the grid; of the sequence
network also that of the steps chained over its window, for each frame from the window's first. The checkpoint that is
kept is the one that is best on the held-out worlds: the mean over them of the corners' distance over that of no motion
(1: no better than a probe held still). The curve goes to a CSV file beside it. One thread; minutes are those of the
processor, so that the curve is the same on a busy machine.
"""

import argparse
import csv
import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parent))

from data import GRID, PIXEL_MM
from network import MODELS, poses

# Windows and their frames a step; of the pair network a window is one pair.
BATCH = {"pair": (16, 2), "sequence": (4, 32)}
RATE = {"pair": 3e-4, "sequence": 1e-3}
UNIT = torch.tensor([0.02] * 3 + [0.4] * 3)     # rad, mm: the size of a step, so that outputs are of order one
CORNERS = torch.tensor([[x, y, 0.0, 1.0] for x in (-0.5, 0.5) for y in (0.0, 1.0)]).T * torch.tensor(
    [[GRID[1] * PIXEL_MM], [GRID[0] * PIXEL_MM], [1.0], [1.0]])
HELD_PAIRS = 32     # of each held-out scan, in one window from its middle on


def steps_of(network: nn.Module, frames: torch.Tensor) -> torch.Tensor:
    """T_prev_frame [B, L - 1, 4, 4] of uint8 frames [B, L, rows, columns]."""
    out = network(frames.float() / 255) * UNIT
    return poses(out.flatten(0, 1)).unflatten(0, out.shape[:2])


def chained(steps: torch.Tensor) -> torch.Tensor:
    """T_first_frame [B, L, 4, 4] of the frames after the first."""
    T, out = steps[:, 0], [steps[:, 0]]
    for k in range(1, steps.shape[1]):
        T = T @ steps[:, k]
        out.append(T)
    return torch.stack(out, 1)


def distance(T: torch.Tensor, T_true: torch.Tensor) -> torch.Tensor:
    """Mean distance of the corners in mm."""
    return ((T - T_true) @ CORNERS)[..., :3, :].norm(dim=-2).mean()


def loss_of(network: nn.Module, frames: torch.Tensor, true: torch.Tensor) -> torch.Tensor:
    """Of the steps; of windows of several steps, also of their chain (weighed as one step)."""
    steps = steps_of(network, frames)
    loss = distance(steps, true)
    if true.shape[1] > 1:
        loss = loss + distance(chained(steps), chained(true)) / true.shape[1]
    return loss


def held_out(network: nn.Module, scans: list[dict]) -> float:
    """Corner distance of steps over that of no motion, mean over the scans."""
    network.eval()
    ratios = []
    with torch.no_grad():
        for scan in scans:
            begin = max(0, (len(scan["frames"]) - HELD_PAIRS - 1) // 2)
            frames, true = (scan["frames"][None, begin:begin + HELD_PAIRS + 1],
                            scan["steps"][None, begin + 1:begin + HELD_PAIRS + 1])
            ratios.append(float(distance(steps_of(network, frames), true) / distance(torch.eye(4), true)))
    network.train()
    return float(np.mean(ratios))


def load(folder: Path) -> list[dict]:
    """Frames uint8 [N, rows, columns] and steps [N, 4, 4] of every scan in a folder."""
    scans = []
    for path in sorted(folder.glob("*.npz")):
        with np.load(path) as file:
            scans.append({"frames": torch.from_numpy(file["frames"]), "steps": torch.from_numpy(file["steps"]).float()})
    if not scans:
        sys.exit(f"{folder}: expected scans that data.py has made, found none")
    return scans


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("scans", type=Path, help="folder that data.py has made")
    options.add_argument("--model", choices=MODELS, required=True)
    options.add_argument("-o", "--out", type=Path, required=True)
    options.add_argument("--minutes", type=float, default=25.0)
    options.add_argument("--steps", type=int, default=10**9, help="at most so many")
    options.add_argument("--every-s", type=float, default=60.0, help="from one look at the held-out worlds to the next")
    options.add_argument("--patience", type=int, default=12, help="end after so many looks without a better one")
    options.add_argument("--seed", type=int, default=0)
    o = options.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(o.seed)
    rng = np.random.default_rng(o.seed)
    training, held = load(o.scans / "training"), load(o.scans / "held-out")
    network = MODELS[o.model]().to(memory_format=torch.channels_last)     # half the time on a CPU
    optimiser = torch.optim.Adam(network.parameters(), lr=RATE[o.model])
    many, length = BATCH[o.model]
    weights = np.array([len(scan["frames"]) - length for scan in training], float)
    weights /= weights.sum()
    parameters = sum(p.numel() for p in network.parameters())
    print(f"{o.model}: {parameters} parameters; {sum(len(s['frames']) - 1 for s in training)} pairs of {len(training)} "
          f"scans, {len(held)} held-out scans", flush=True)
    begun, last, step, looks_since, best, sums = time.process_time(), 0.0, 0, 0, held_out(network, held), []
    rows = [(0, 0.0, "", best)]
    while True:
        frames, true = [], []
        for k in rng.choice(len(training), many, p=weights):
            start = int(rng.integers(0, len(training[k]["frames"]) - length + 1))
            frames.append(training[k]["frames"][start:start + length])
            true.append(training[k]["steps"][start + 1:start + length])
        loss = loss_of(network, torch.stack(frames), torch.stack(true))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        sums.append(float(loss.detach()))
        step += 1
        seconds = time.process_time() - begun
        ends = seconds > 60 * o.minutes or step >= o.steps
        if seconds - last < o.every_s and not ends:
            continue
        last, ratio = seconds, held_out(network, held)
        rows.append((step, round(seconds, 1), float(np.mean(sums)), ratio))
        print(f"step {step}, {seconds:.0f} s: training loss {np.mean(sums):.4f} mm, held-out ratio {ratio:.4f}",
              flush=True)
        sums, looks_since = [], looks_since + 1
        if ratio < best or not o.out.is_file():
            best, looks_since = ratio, 0
            o.out.parent.mkdir(parents=True, exist_ok=True)
            torch.save({"model": o.model, "network": network.state_dict(), "step": step, "parameters": parameters,
                        "held_out": ratio, "scans": len(training)}, o.out)
        with o.out.with_suffix(".csv").open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("step", "seconds", "training_loss_mm", "held_out_ratio"), *rows])
        if ends or looks_since >= o.patience:
            return


if __name__ == "__main__":
    main()
