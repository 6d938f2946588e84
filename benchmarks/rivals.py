"""What learned and classical rivals score on the scans that the engine is judged by.

    python benchmarks/rivals.py bench/worlds/judge-* liver.h5 leg.igs.mha --networks rivals/pair.pt,rivals/sequence.pt \
        --worlds-results bench/judge/results -o bench/rivals

A scan is a file with tracked poses, or the folder that benchmarks/worlds.py keeps a world in (of which the scan of
subject 0 is taken). Each rival's figures of each scan go to OUT/RIVAL/SCAN.json; a second run makes what is missing and
draws the tables anew. Of ours, default and calibrated, what benchmarks/worlds.py found is taken over where it is
(without slopes and drift); `--all-figures` runs them again. Networks need torch.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(1, str(Path(__file__).resolve().parent / "learned"))

from speckle_rec import geometry
from speckle_rec.config import Config
from speckle_rec.errors import SpeckleRecError
from speckle_rec.evaluation.engines import Setup, engine
from speckle_rec.scan import Scan
from speckle_rec.scoring import score

TRACKER_MM, TRACKER_DEG = 0.09, 0.05      # white jitter of poses, of the challenge's class of tracker
TIE = 0.002     # score by which two are told apart
LENGTHS_MM = (10.0, 30.0, 100.0)     # of true path, over which drift is told
# Rival: what it is, and what it needs to be shown before.
WHAT = {"identity": ("a probe held still", "nothing"), "flow": ("dense optical flow (DIS), nothing out of plane",
                                                            "nothing"),
        "inplane": ("our block matching, nothing out of plane", "nothing"),
        "prior": ("the same, and the protocol's usual turn", "the protocol"),
        "fixed-curve": ("Gaussian curve of a usual lens, neighbours only", "nothing"),
        "pair": ("EfficientNet-B1 on pairs of frames", "tracked scans"),
        "sequence": ("convolutions and GRU over 32 frames", "tracked scans"),
        "speckle-smooth": ("ours without revisits", "nothing"), "speckle": ("ours", "nothing"),
        "calibrated": ("ours, calibrated on two scans of the machine", "two tracked scans"),
        "tracker": (f"the true poses with jitter of {TRACKER_MM} mm and {TRACKER_DEG} deg", "a tracker")}
OURS = {"speckle": "default", "calibrated": "calibrated"}      # by the names of benchmarks/worlds.py
SLOW = ("speckle-smooth", "speckle", "calibrated", "fixed-curve")


@dataclass(frozen=True)
class Case:
    """A scan and the name its figures go by."""

    name: str
    path: Path

    @classmethod
    def of(cls, path: Path) -> "Case":
        if path.is_dir():
            found = sorted((path / "frames_transfs" / "000").glob("*.h5"))
            if not found:
                sys.exit(f"{path}: expected a folder of benchmarks/worlds.py, found no scan of subject 0")
            return cls(path.name, found[0])
        return cls(path.name.split(".")[0], path)


def network(path: Path) -> tuple[Callable[[Scan], np.ndarray], int]:
    """Steps [N, 4, 4] of a scan as a trained network gives them, and its parameters."""
    import torch
    from data import T_image_grid, small_frames
    from network import MODELS
    from train_small import BATCH, steps_of
    torch.set_num_threads(1)
    stored = torch.load(path, weights_only=True)
    net = MODELS[stored["model"]]().to(memory_format=torch.channels_last).eval()
    net.load_state_dict(stored["network"])
    length = max(BATCH[stored["model"]][1], 17)

    def steps(scan: Scan) -> np.ndarray:
        frames = torch.from_numpy(small_frames(scan.filled()))
        found = [np.eye(4)[None]]
        with torch.no_grad():
            for start in range(0, len(frames) - 1, length - 1):
                found.append(steps_of(net, frames[None, start:start + length])[0].double().numpy())
        T = T_image_grid(scan.scale, scan.shape)
        return T @ np.concatenate(found) @ geometry.inverse(T)

    return steps, int(stored["parameters"])


def jittered(scan: Scan) -> np.ndarray:
    """True poses as an optical tracker would tell them [N, 4, 4]."""
    noise = np.random.default_rng(0).normal(size=(scan.n_frames, 6))
    T = scan.T_first_frame_tracked @ geometry.exp(noise * ([TRACKER_MM] * 3 + [np.radians(TRACKER_DEG)] * 3))
    return geometry.inverse(T[:1]) @ T


def run(rival: str, scan: Scan, options: argparse.Namespace, case: Case) -> dict | None:
    """Figures of a rival on a scan; None where it lacks what it needs."""
    begun, parameters = time.perf_counter(), 0
    if rival in ("pair", "sequence"):
        if rival not in options.networks:
            return None
        steps, parameters = network(options.networks[rival])
        T_prev = steps(scan)
        T_first = geometry.chain(T_prev)
    elif rival == "tracker":
        T_first = jittered(scan)
        T_prev = geometry.steps(T_first)
    else:
        setup = Setup(config=Config(jobs=1, device="cpu"))
        if rival == "calibrated":
            from speckle_rec.speckle.calibration import Calibration
            path = options.worlds_results and options.worlds_results / f"{case.name}.calibration.h5"
            if not path or not path.is_file():
                return None
            setup = Setup(Calibration.load(path), setup.config)
        result = engine("speckle" if rival == "calibrated" else rival)(scan, setup)
        T_first, T_prev = result.T_first_frame, result.T_prev_frame
    seconds = time.perf_counter() - begun
    return {**figures(T_first, T_prev, scan), "seconds": seconds, "parameters": parameters, "frames": scan.n_frames}


def figures(T_first: np.ndarray, T_prev: np.ndarray, scan: Scan) -> dict:
    """Scores, path ratio, drift by length, bias and slope of steps; the mirror bit as decided and given."""
    true = scan.T_first_frame_tracked
    against = true, geometry.steps(true), scan.scale, scan.shape, scan.landmarks
    decided = score.evaluate(T_first, T_prev, *against)
    given, mirrored = score.with_mirror_given(T_first, T_prev, *against)
    if mirrored:
        T_first, T_prev = geometry.mirror(T_first), geometry.mirror(T_prev)
    steps = score.step_errors(T_prev, *against[1:4])
    return {"final": decided.final, "mirror_given": given.final, "global": given.global_, "local": given.local,
            "path": steps.path_est_mm / steps.path_true_mm, **of_steps(T_prev, against[1], scan),
            **{f"drift_{length:g}": drift(T_first, true, scan, length) for length in LENGTHS_MM}}


def of_steps(T_prev: np.ndarray, T_true: np.ndarray, scan: Scan) -> dict:
    """Bias (length of the mean error) and slope (of the estimate over the truth, about their means) of steps.

    Of the image's centre; three rotations (deg) in one regression, three translations (mm) in another.
    """
    centre = (scan.scale @ [(scan.shape[1] + 1) / 2, (scan.shape[0] + 1) / 2, 0, 1])[:3]
    T = geometry.translation(centre)
    est, truth = (geometry.log(geometry.inverse(T) @ steps[1:] @ T) for steps in (T_prev, T_true))
    out = {}
    for name, part, unit in (("translation", slice(0, 3), 1.0), ("rotation", slice(3, 6), 180 / np.pi)):
        x, y = truth[:, part], est[:, part]
        out[f"{name}_bias"] = float(np.linalg.norm((y - x).mean(0)) * unit)
        about = x - x.mean(0)
        out[f"{name}_slope"] = float((about * (y - y.mean(0))).sum() / (about**2).sum())
    return out


def drift(T_first: np.ndarray, T_true: np.ndarray, scan: Scan, length_mm: float) -> float | None:
    """Mean error of the image's centre after `length_mm` of true path, over that length, from every tenth frame on."""
    centre = scan.scale @ [(scan.shape[1] + 1) / 2, (scan.shape[0] + 1) / 2, 0, 1]
    at = (T_true @ centre)[:, :3]
    path = np.concatenate([[0], np.linalg.norm(np.diff(at, axis=0), axis=1).cumsum()])
    errors = []
    for start in range(0, len(path), 10):
        end = int(np.searchsorted(path, path[start] + length_mm))
        if end >= len(path):
            break
        relative = [np.linalg.solve(T[start], T[end]) @ centre for T in (T_first, T_true)]
        errors.append(np.linalg.norm((relative[0] - relative[1])[:3]) / length_mm)
    return float(np.mean(errors)) if errors else None


def found_before(rival: str, name: str, options: argparse.Namespace) -> Path | None:
    """Where a rival's figures of a scan are: here, or of ours where benchmarks/worlds.py keeps them."""
    paths = [options.out / rival / f"{name}.json"]
    if rival in OURS and options.worlds_results and not options.all_figures:
        paths.append(options.worlds_results / f"{name}-{OURS[rival]}.json")
    return next((path for path in paths if path.is_file()), None)


def collected(names: list[str], options: argparse.Namespace) -> dict[str, dict[str, dict]]:
    """Figures that are there, by rival and scan."""
    def read(path: Path) -> dict:
        stored = json.loads(path.read_text())
        return {"parameters": 0, **({"global": 0.0, "local": 0.0} if "failed" in stored else {}), **stored}
    return {rival: {name: read(path) for name in names
                    if (path := found_before(rival, name, options))} for rival in WHAT}


def cell(rows: list[dict], key: str, form: str = ".3f") -> str:
    values = [row[key] for row in rows if row.get(key) is not None]
    return format(float(np.mean(values)), form) if values else ""


def spread(rows: list[dict], key: str) -> str:
    """Mean +- standard error (standard deviation over the scans)."""
    values = np.array([row[key] for row in rows], float)
    if len(values) < 2:
        return f"{values.mean():.3f}"
    sd = values.std(ddof=1)
    return f"{values.mean():.3f} +- {sd / np.sqrt(len(values)):.3f} ({sd:.3f})"


def ahead(ours: dict[str, dict], others: dict[str, dict]) -> str:
    """Difference of the scores, mirror bit given, scan by scan: mean +- standard error (how often ours is better, worse
    by .002 or more)."""
    difference = np.array([ours[name]["mirror_given"] - row["mirror_given"] for name, row in others.items()
                           if name in ours])
    if len(difference) < 2:
        return ""
    return (f"{difference.mean():.3f} +- {difference.std(ddof=1) / np.sqrt(len(difference)):.3f} "
            f"({(difference >= TIE).sum()}, {(difference <= -TIE).sum()})")


def tables(results: dict[str, dict[str, dict]], judged: list[str], others: list[str]) -> str:
    """Markdown: scores over the judged scans, steps and drift, and each other scan for itself."""
    first = ["| rival | scans | final +- se (sd) | mirror given +- se (sd) | ours less it +- se (better, worse) | "
             "global | local | path | s a scan | parameters | needs |",
             "|---|" + "---:|" * 9 + "---|"]
    second = ["| rival | rotation slope | bias deg | translation slope | bias mm | "
              + " | ".join(f"drift {length:g} mm" for length in LENGTHS_MM) + " |",
              "|---|" + "---:|" * (4 + len(LENGTHS_MM))]
    third = ["| rival | " + " | ".join(f"{name}: final, mirror given, path" for name in others) + " |",
             "|---|" + "---:|" * len(others)]
    for rival, scans in results.items():
        rows = [scans[name] for name in judged if name in scans]
        if rows:
            many = int(rows[0]["parameters"])
            first.append(f"| {rival} | {len(rows)} | {spread(rows, 'final')} | {spread(rows, 'mirror_given')} | "
                         f"{ahead(results.get('speckle', {}), {n: scans[n] for n in judged if n in scans})} | "
                         f"{cell(rows, 'global')} | {cell(rows, 'local')} | {cell(rows, 'path', '.2f')} | "
                         f"{cell(rows, 'seconds', '.1f')} | {f'{many:,}' if many else '-'} | {WHAT[rival][1]} |")
            second.append(f"| {rival} | " + " | ".join(cell(rows, key) for key in (
                "rotation_slope", "rotation_bias", "translation_slope", "translation_bias",
                *(f"drift_{length:g}" for length in LENGTHS_MM))) + " |")
        if any(name in scans for name in others):
            third.append(f"| {rival} | " + " | ".join(
                f"{scans[name]['final']:.3f}, {scans[name]['mirror_given']:.3f}, {scans[name]['path']:.2f}"
                if name in scans else "" for name in others) + " |")
    return "\n\n".join("\n".join(lines) for lines in (first, second, third) if len(lines) > 2) + "\n"


def draw(path: Path, results: dict[str, dict[str, dict]], judged: list[str]) -> None:
    """Scores of every rival over the judged scans: each a dot, the mean a line with its standard error."""
    from matplotlib.figure import Figure
    canvas = Figure(figsize=(7, 4), layout="constrained")
    axes = canvas.subplots()
    shown = {rival: [scans[name]["mirror_given"] for name in judged if name in scans]
             for rival, scans in results.items()}
    shown = {rival: np.array(values) for rival, values in shown.items() if values}
    for k, values in enumerate(shown.values()):
        axes.plot(np.full(len(values), k), np.maximum(values, -1), "o", color="0.6", ms=4)
        error = values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else 0.0
        axes.errorbar(k, max(values.mean(), -1), error, fmt="_", color="C0", ms=18, mew=2, capsize=4)
    axes.axhline(0, color="0.8", lw=0.8)
    axes.set_xticks(range(len(shown)), list(shown), rotation=35, ha="right")
    axes.set(ylabel="score, mirror bit given (below -1 at -1)", ylim=(-1.05, 1.02))
    canvas.savefig(path, dpi=130)


def draw_curves(path: Path, curves: list[Path]) -> None:
    """Held-out ratio over the training time, of the CSV files that train_small.py writes."""
    from matplotlib.figure import Figure
    canvas = Figure(figsize=(6, 3.2), layout="constrained")
    axes = canvas.subplots()
    for file in curves:
        table = np.genfromtxt(file, delimiter=",", names=True)
        axes.plot(table["seconds"] / 60, table["held_out_ratio"], "o-", ms=3, label=file.stem)
    axes.axhline(1, color="0.8", lw=0.8)
    axes.set(xlabel="minutes of one core", ylabel="error of steps / no motion,\nworlds not trained on")
    axes.legend()
    canvas.savefig(path, dpi=130)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scans", type=Path, nargs="+")
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--networks", default="", help="checkpoints of train_small.py, with commas between")
    parser.add_argument("--worlds-results", type=Path, help="results of benchmarks/worlds.py, with its calibrations")
    parser.add_argument("--all-figures", action="store_true", help="run ours again for slopes and drift")
    parser.add_argument("--rivals", default=",".join(WHAT))
    o = parser.parse_args()
    files = [Path(word) for word in o.networks.split(",") if word]
    o.networks = {path.stem: path for path in files}
    if unknown := set(o.rivals.split(",")) - set(WHAT) | set(o.networks) - {"pair", "sequence"}:
        parser.error(f"expected {', '.join(WHAT)} and pair.pt, sequence.pt, found {', '.join(sorted(unknown))}")
    from speckle_rec.cli.common import set_threads
    set_threads(1)
    cases = [Case.of(path) for path in o.scans]
    judged = [case.name for case, path in zip(cases, o.scans, strict=True) if path.is_dir()]
    for rival in sorted(o.rivals.split(","), key=lambda name: name in SLOW):
        for case in cases:
            if found_before(rival, case.name, o):
                continue
            path = o.out / rival / f"{case.name}.json"
            try:
                found = run(rival, Scan.open(case.path), o, case)
            except SpeckleRecError as error:
                print(f"{rival}, {case.name}: {error}", file=sys.stderr)
                continue
            if found is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(json.dumps(found, indent=1))
                print(f"{rival}, {case.name}: {found['final']:.3f}, {found['seconds']:.1f} s", file=sys.stderr,
                      flush=True)
    results = collected([case.name for case in cases], o)
    text = tables(results, judged, [case.name for case in cases if case.name not in judged])
    (o.out / "rivals.md").write_text(text)
    draw(o.out / "rivals.png", results, judged or [case.name for case in cases])
    curves = [curve for path in files if (curve := path.with_suffix(".csv")).is_file()]
    if curves:
        draw_curves(o.out / "learning_curves.png", curves)
    print(text)


if __name__ == "__main__":
    main()
