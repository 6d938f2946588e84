"""Train the pair network on a data set in the challenge's train layout.

    python benchmarks/learned/train.py DATASET -o weights.pt [--steps 20000] [--shrink 1]

Pairs of neighbouring frames; the loss is the mean squared distance (mm^2) between where the estimated and the
true motion put the four corners of the image, as in the challenge's published baseline. A run that is started
again with --resume goes on where its last checkpoint was, to the same weights. Needs the extra [bench].
"""

import argparse
import random
import time
from pathlib import Path

import numpy as np
import torch
from network import corners, pair_network, poses, prepared

from speckle_rec import geometry
from speckle_rec.io import tusrec
from speckle_rec.scan import Scan

LEARNING_RATE, BATCH = 1e-4, 32     # of the published baseline


class Pairs:
    """Random pairs of neighbouring frames of several scans."""

    def __init__(self, scans: list[Scan]):
        self.scans = scans
        self.steps = [geometry.steps(scan.T_first_frame_tracked) for scan in scans]
        self.starts = np.cumsum([0] + [scan.n_frames - 1 for scan in scans])

    def __len__(self) -> int:
        return int(self.starts[-1])

    def batch(self, picks: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """(frames uint8 [B, 2, rows, columns], T_prev_frame [B, 4, 4])."""
        of = np.searchsorted(self.starts, picks, "right") - 1
        at = [(int(k), int(pick - self.starts[k])) for k, pick in zip(of, picks, strict=True)]
        return (torch.from_numpy(np.stack([self.scans[k].frames(i, i + 2) for k, i in at])),
                torch.from_numpy(np.stack([self.steps[k][i + 1] for k, i in at])).float())


def split(scans: list[Scan], share: float, seed: int) -> tuple[list[Scan], list[Scan]]:
    """Scans to train on and to validate with; all scans of a subject on one side."""
    subjects = sorted({scan.name.split("__")[0] for scan in scans})
    random.Random(seed).shuffle(subjects)
    held = set(subjects[:round(share * len(subjects))])
    return ([scan for scan in scans if scan.name.split("__")[0] not in held],
            [scan for scan in scans if scan.name.split("__")[0] in held])


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("dataset", type=Path)
    options.add_argument("-o", "--out", type=Path, default=Path("weights.pt"))
    options.add_argument("--steps", type=int, default=20000)
    options.add_argument("--batch", type=int, default=BATCH)
    options.add_argument("--lr", type=float, default=LEARNING_RATE)
    options.add_argument("--shrink", type=int, default=1, help="average squares of so many pixels")
    options.add_argument("--held-out", type=float, default=0.2, help="share of the subjects to validate with")
    options.add_argument("--every", type=int, default=500, help="steps from one validation and checkpoint to the next")
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--resume", action="store_true")
    options.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    o = options.parse_args()
    scans = [scan for scan in (Scan.open(entry.path) for entry in tusrec.entries(o.dataset))
             if (truth := scan.T_first_frame_tracked) is not None and np.isfinite(truth).all()]
    training, validation = (Pairs(part) for part in split(scans, o.held_out, o.seed))
    print(f"{len(training)} pairs of {len(training.scans)} scans to train, {len(validation)} of "
          f"{len(validation.scans)} to validate, on {o.device}")
    torch.manual_seed(o.seed)
    network = pair_network().to(o.device)
    optimiser = torch.optim.Adam(network.parameters(), lr=o.lr)
    scaler = torch.amp.GradScaler(enabled=o.device.startswith("cuda"))
    done, best = 0, float("inf")
    state_file = o.out.with_name(o.out.name + ".state")
    if o.resume and state_file.is_file():
        state = torch.load(state_file, map_location=o.device, weights_only=True)
        network.load_state_dict(state["network"])
        optimiser.load_state_dict(state["optimiser"])
        scaler.load_state_dict(state["scaler"])
        torch.set_rng_state(state["rng"].cpu())
        done, best = state["step"], state["best"]
        print(f"goes on after step {done}")
    first = scans[0]
    points = corners(torch.tensor(first.scale, dtype=torch.float32), *first.shape).to(o.device)
    mixed = {"device_type": o.device.split(":")[0], "enabled": o.device.startswith("cuda")}

    def errors(pairs: Pairs, picks: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """Offsets [B, 3, 4] of the corners in mm, of the estimate and of no motion."""
        frames, motion = pairs.batch(picks)
        with torch.autocast(**mixed):
            out = network(prepared(frames.to(o.device), o.shrink))
        truth = motion.to(o.device)
        return tuple(((T - truth) @ points)[:, :3] for T in (poses(out.float()), torch.eye(4, device=o.device)))

    def save(step: int) -> None:
        kept = {"network": network.state_dict(), "optimiser": optimiser.state_dict(), "scaler": scaler.state_dict(),
                "rng": torch.get_rng_state(), "step": step, "best": best}
        torch.save(kept, state_file)

    if o.steps == 0:
        torch.save({"network": network.state_dict(), "shrink": o.shrink, "step": 0}, o.out)
    started, loss_sum = time.perf_counter(), 0.0
    for step in range(done + 1, o.steps + 1):
        network.train()
        picks = np.random.default_rng([o.seed, step]).integers(0, len(training), o.batch)
        loss = errors(training, picks)[0].square().sum(1).mean()
        optimiser.zero_grad(set_to_none=True)
        scaler.scale(loss).backward()
        scaler.step(optimiser)
        scaler.update()
        loss_sum += float(loss.detach())
        if step % o.every == 0 or step == o.steps:
            held = mean_distance(network, errors, validation if len(validation) else training, o.batch)
            print(f"step {step}: training loss {loss_sum / ((step - 1) % o.every + 1):.4f} mm^2, held-out corner "
                  f"distance {held[0]:.4f} mm (no motion: {held[1]:.4f}), {time.perf_counter() - started:.0f} s",
                  flush=True)
            loss_sum = 0.0
            if held[0] < best:
                best = held[0]
                torch.save({"network": network.state_dict(), "shrink": o.shrink, "step": step}, o.out)
            save(step)


def mean_distance(network, errors, pairs: Pairs, batch: int, most: int = 512) -> tuple[float, float]:
    """Mean distance of the corners in mm over evenly spread pairs, and that of no motion at all."""
    network.eval()
    picks = np.unique(np.linspace(0, len(pairs) - 1, most).astype(int))
    with torch.no_grad():
        both = [errors(pairs, picks[start:start + batch]) for start in range(0, len(picks), batch)]
    distances = [torch.cat(part).norm(dim=1).mean() for part in zip(*both, strict=True)]
    return float(distances[0]), float(distances[1])


if __name__ == "__main__":
    main()
