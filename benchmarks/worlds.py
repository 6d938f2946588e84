"""The engine in worlds that it was not made for: one scan of up to 600 frames in each world of a group.

    python benchmarks/worlds.py --group judge -o bench/judge
    python benchmarks/worlds.py --group choose --calibrated -j 2 -o bench/choose
    python benchmarks/worlds.py --worlds judge-03,my.toml --simulate-only

Scans are simulated once, into a folder of DATA named after the content of their world; results are kept in OUT
and taken over by a second run (the engine's version is not looked at: choose another OUT, or --overwrite).
`--calibrated` adds a run with a calibration on two other scans of the same world, of other subjects.
"""

import argparse
import hashlib
import json
import multiprocessing
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")      # as the command line does

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from speckle_rec import geometry
from speckle_rec.errors import SpeckleRecError
from speckle_rec.synth import shipped
from speckle_rec.synth.dataset import ScanFiles, scans_of, simulate_dataset
from speckle_rec.synth.world import World
from speckle_rec.trajectory.confidence import TOLERATED, TOLERATED_MM

PACKAGE = Path(__file__).resolve().parents[1] / "speckle_rec"
Array = NDArray[np.float64]

SWEPT_MM, SHORTEST_SWEEP = 150.0, 100     # a fast sweep has fewer frames: an arm is not longer
HANDS = ("RH", "LH", "RH")      # of the scan that is scored and of the two that are calibrated on
DEFAULT, CALIBRATED = "default", "calibrated"
# Column, its name in a result, format, and what the worst of all is.
COLUMNS = (("final", "final", ".3f", min), ("mirror given", "mirror_given", ".3f", min),
           ("path", "path", ".2f", lambda v: max(v, key=lambda x: abs(np.log(max(x, 1e-3))))),
           ("along z", "along_z", ".2f", lambda v: max(v, key=lambda x: abs(np.log(max(x, 1e-3))))),
           ("error/claimed", "error_over_claimed", ".1f", max), ("angle/claimed", "angle_over_claimed", ".1f", max),
           ("confidence", "confidence", ".2f", None),
           ("follows error", "confidence_follows_error", ".2f", min), ("verdict", "verdict", "", None),
           ("s", "seconds", ".0f", max))


@dataclass(frozen=True)
class Job:
    """One world, and what is to be done in it."""

    name: str
    world: World
    data: Path
    out: Path
    frames: int
    seed: int
    variants: tuple[str, ...]
    threads: int
    overwrite: bool

    @property
    def key(self) -> str:
        """Content of the world and of the scan."""
        text = f"{self.world.text()}{self.frames} {self.seed}"
        return f"{self.name}-{hashlib.sha256(text.encode()).hexdigest()[:10]}"

    def result(self, variant: str) -> Path:
        return self.out / "results" / f"{self.key}-{variant}.json"


def frames_in(world: World, most: int) -> int:
    """Frames of a scan in a world: `most`, or fewer where a sweep is fast."""
    if world.motion == "rotation":
        return most
    return min(most, max(SHORTEST_SWEEP, round(SWEPT_MM / world.sweep.step_mm)))


def simulator() -> str:
    """Hash of the simulator's code: data of another are told."""
    sources = [*sorted((PACKAGE / "synth").glob("*.py")),
               *(PACKAGE / "kernels" / f"{name}.py" for name in ("scatter", "bmode", "polar"))]
    return hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:12]


def simulated(job: Job, subject: int) -> Path:
    """The file of a scan of a world, which is made if it is not there."""
    root = job.data / job.key
    settings = scans_of(job.world, [subject], seed=job.seed, n_frames=job.frames, pattern=f"{HANDS[subject]}*")[:1]
    report = simulate_dataset(root, settings, jobs=job.threads)
    if report.failed:
        raise SpeckleRecError("; ".join(report.failed.values()))
    stamp = root / "simulator.txt"
    if report.made or not stamp.is_file():
        stamp.write_text(simulator() + "\n")
    return ScanFiles.of(root, "train", settings[0]).frames


def calibration(job: Job):
    """Fitted to two other scans of the world; kept beside the results."""
    from speckle_rec.calibrating import training
    from speckle_rec.calibrating.machine import calibrate
    from speckle_rec.scan import Scan
    from speckle_rec.speckle.calibration import Calibration
    path = job.out / "results" / f"{job.key}.calibration.h5"
    if path.is_file() and not job.overwrite:
        return Calibration.load(path)
    records = training.merge([[training.collect(Scan.open(simulated(job, subject)), seed=job.seed, jobs=job.threads)
                               for subject in (1, 2)]])
    return calibrate(records, seed=job.seed, name=job.name, compare=False).save(path)


def judged(job: Job, variant: str) -> dict:
    """One reconstruction of the scan, in numbers."""
    import speckle_rec as sr
    from speckle_rec.calibrating.gain import about_face, spread_of
    from speckle_rec.scoring import score
    scan = sr.Scan.open(simulated(job, 0))
    model = calibration(job) if variant == CALIBRATED else None
    started = time.perf_counter()
    result = sr.reconstruct(scan, calibration=model, config=sr.Config(jobs=job.threads))
    seconds = time.perf_counter() - started
    truth = scan.T_first_frame_tracked
    against = truth, geometry.steps(truth), scan.scale, scan.shape, scan.landmarks
    decided = score.evaluate(result.T_first_frame, result.T_prev_frame, *against)
    given, mirrored = score.with_mirror_given(result.T_first_frame, result.T_prev_frame, *against)
    T_first, T_prev, covariance = result.T_first_frame, result.T_prev_frame, result.covariance
    if mirrored:
        sign = np.array([1, 1, -1, -1, -1, 1])
        T_first, T_prev, covariance = (geometry.mirror(T_first), geometry.mirror(T_prev),
                                       covariance * np.outer(sign, sign))
    steps = score.step_errors(T_prev, *against[1:4])
    return {"final": decided.final, "mirror_given": given.final, "global": decided.global_, "local": decided.local,
            "path": steps.path_est_mm / steps.path_true_mm,
            "along_z": steps.elevational_path_est_mm / max(steps.elevational_path_true_mm, 1e-6),
            **errors_over_claimed(T_first, truth, covariance, result.geometry),
            "confidence": float(np.mean(result.confidence[1:])),
            "confidence_bins": reliability(result.confidence, T_prev, against[1], result.geometry),
            "confidence_follows_error": follows(result.confidence, T_prev, against[1], scan),
            "spread": spread_of(*about_face(result, truth), result).round(3).tolist(),
            "curves": result.numbers["curves"], "scale_percent": result.verdict["scale_percent"],
            "seconds": seconds, "verdict": result.verdict["shape"], "warnings": result.warnings}


def errors_over_claimed(T_est, T_true, covariance, field) -> dict[str, float]:
    """Errors of the face's centre and of the angle over the deviations claimed of them: median and .95 quantile."""
    face = np.array([*field.face_mm, 0.0, 1.0])
    at = (T_est @ face)[:, :3]
    moved = np.linalg.norm(at - (T_true @ face)[:, :3], axis=1)
    turned = np.linalg.norm(geometry.log(geometry.inverse(T_true) @ T_est)[:, 3:], axis=1)
    lever = np.zeros((len(at), 3, 6))
    lever[:, :, :3] = np.eye(3)
    lever[:, :, 3:] = -np.array([geometry.hat(arm) for arm in at - face[:3]])      # of a twist about frame 0's face
    spread = np.einsum("nij,njk,nik->n", lever, covariance, lever), np.einsum("nii->n", covariance[:, 3:, 3:])
    found = {}
    for name, error, variance in (("error", moved, spread[0]), ("angle", turned, spread[1])):
        ratio = error[1:] / np.maximum(np.sqrt(variance[1:]), 1e-9)
        found[f"{name}_over_claimed"] = float(np.median(ratio))
        found[f"{name}_over_claimed_95"] = float(np.quantile(ratio, 0.95))
    return found


def reliability(confidence, T_prev, T_prev_true, field) -> list[list[float]]:
    """Steps by confidence, in tenths: their number, the sum of their confidences, and how many are about right.

    A step is about right where the middle of the field is off by less than a quarter of its way, or .1 mm.
    """
    middle = np.array([field.face_mm[0], field.face_mm[1] + np.mean(field.depth_mm), 0, 1])
    way = (T_prev @ middle - middle)[1:, :3]
    error = np.linalg.norm(way - (T_prev_true @ middle - middle)[1:, :3], axis=1)
    right = error < np.maximum(TOLERATED * np.linalg.norm(way, axis=1), TOLERATED_MM)
    sure = np.asarray(confidence[1:], float)
    bins = np.minimum((10 * sure).astype(int), 9)
    return [[int((bins == b).sum()), float(sure[bins == b].sum()), int(right[bins == b].sum())] for b in range(10)]


def follows(confidence, T_prev, T_prev_true, scan) -> float:
    """Rank correlation of the confidence of steps with their accuracy: 1 where the worst steps are the least sure."""
    from scipy.stats import spearmanr
    rows, columns = scan.shape
    corners = geometry.pixel_points(scan.scale, np.array([1, columns, 1, columns]), np.array([1, 1, rows, rows]))
    corners = np.column_stack([corners[:, :3], np.ones(4)])
    error = np.linalg.norm(((T_prev - T_prev_true) @ corners.T)[1:, :3], axis=1).mean(1)
    if np.ptp(confidence[1:]) == 0 or np.ptp(error) == 0:
        return 0.0
    return float(-spearmanr(confidence[1:], error).statistic)


def work(job: Job) -> str:
    """All that is asked for in one world; results go to files. Returns what went wrong."""
    from speckle_rec.cli.common import set_threads
    set_threads(job.threads)
    problems = []
    try:
        for subject in range(3 if CALIBRATED in job.variants else 1):
            simulated(job, subject)
    except SpeckleRecError as error:
        return str(error)
    for variant in job.variants:
        path = job.result(variant)
        if path.is_file() and not job.overwrite:
            continue
        try:
            found = judged(job, variant)
        except SpeckleRecError as error:
            found = {"failed": str(error), "final": 0.0, "mirror_given": 0.0}
            problems.append(f"{variant}: {error}")
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        part.write_text(json.dumps({"world": job.name, "summary": job.world.summary, **found}, indent=1))
        part.replace(path)
    return "; ".join(problems)


def collected(jobs: list[Job], variant: str) -> dict[str, dict]:
    """Results that are there, by world."""
    return {job.name: json.loads(job.result(variant).read_text()) for job in jobs if job.result(variant).is_file()}


def table(results: dict[str, dict]) -> str:
    """Markdown: a row a world; mean, median and worst."""
    lines = ["| world | " + " | ".join(c[0] for c in COLUMNS) + " | what it is |",
             "|---|" + "---:|" * len(COLUMNS) + "---|"]
    for name, row in results.items():
        cells = [format(row[key], form) if key in row else "-" for _, key, form, _ in COLUMNS]
        lines.append(f"| {name} | {' | '.join(cells)} | {row.get('failed') or row['summary']} |")
    for title, of in (("mean", np.mean), ("median", np.median), ("worst", None)):
        cells = []
        for _, key, form, worst in COLUMNS:
            values = [row[key] for row in results.values() if isinstance(row.get(key), int | float)]
            how = of or worst
            cells.append(format(float(how(values)), form) if values and how else "-")
        lines.append(f"| **{title}** | {' | '.join(cells)} | |")
    return "\n".join(lines)


def about_right(results: dict[str, dict]) -> tuple[Array, Array, Array]:
    """Of tenths of confidence that a hundredth of the steps fall into (every world counts the same): mean confidence,
    share of steps that are about right, and its standard error from world to world, each [B]."""
    bins = np.array([row["confidence_bins"] for row in results.values() if "confidence_bins" in row], float)
    if not len(bins):
        return (np.zeros(0),) * 3
    share = bins / bins[:, :, 0].sum(1)[:, None, None]
    n, sure, right = share.sum(0).T
    kept = n > 0.01 * len(bins)
    level = right / np.maximum(n, 1e-12)
    apart = np.sqrt(np.square(share[:, :, 2] - level * share[:, :, 0]).sum(0)) / np.maximum(n, 1e-12)
    return sure[kept] / n[kept], level[kept], apart[kept]


def trust(results: dict[str, dict]) -> str:
    """Markdown: how right steps of each confidence are, errors beside what is claimed, and what verdicts are worth."""
    lines = ["| confidence | about right | +- |", "|---:|---:|---:|",
             *(f"| {c:.2f} | {r:.2f} | {e:.2f} |" for c, r, e in zip(*about_right(results), strict=True)), ""]
    good = [row for row in results.values() if "error_over_claimed" in row]
    for name in ("error", "angle") if good else ():
        median, far = (np.array([row[f"{name}_over_claimed{end}"] for row in good]) for end in ("", "_95"))
        lines.append(f"{name} over claimed: median over the worlds {np.median(median):.2f}, .95 quantile of the poses "
                     f"under 3 in {(far < 3).sum()} of {len(far)}")
    for shape in ("reliable", "doubtful", "not measurable"):
        scores = sorted(row["mirror_given"] for row in good if row["verdict"] == shape)
        if scores:
            lines.append(f"{shape}: {len(scores)}, mirror given {', '.join(f'{v:.2f}' for v in scores)}")
    return "\n".join(lines)


def draw_trust(path: Path, all_results: dict[str, dict[str, dict]]) -> None:
    """Reliability diagram: share of steps that are about right over their confidence."""
    from matplotlib.figure import Figure
    figure = Figure(figsize=(4.5, 4.5), layout="constrained")
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], color="0.6", lw=0.8)
    axes.fill_between([0, 1], [-0.1, 0.9], [0.1, 1.1], color="0.93")
    for variant, results in all_results.items():
        sure, right, apart = about_right(results)
        axes.errorbar(sure, right, apart, fmt="o-", capsize=2, label=variant)
    axes.set(xlabel="confidence of a step", ylabel="share that is about right", xlim=(0, 1), ylim=(0, 1))
    axes.legend()
    figure.savefig(path, dpi=130)


def draw(path: Path, all_results: dict[str, dict[str, dict]]) -> None:
    """Score over worlds, from the worst to the best."""
    from matplotlib.figure import Figure
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot()
    for colour, (variant, results) in zip(("C0", "C1"), all_results.items(), strict=False):
        for key, style, note in (("final", "o-", ""), ("mirror_given", "x:", ", mirror given")):
            values = sorted(row[key] for row in results.values())
            axes.plot(range(1, len(values) + 1), np.maximum(values, -1), style, color=colour, label=variant + note)
    axes.axhline(0, color="0.7", lw=0.8)
    axes.set(xlabel="worlds, sorted by score", ylabel="final score (below -1 drawn at -1)", ylim=(-1.05, 1.02))
    axes.legend()
    figure.savefig(path, dpi=130)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--group", choices=shipped.GROUPS, default="judge")
    parser.add_argument("--worlds", help="names or TOML files, with commas between; in place of a group")
    parser.add_argument("--data", type=Path, default=Path("bench/worlds"), help="where scans are kept")
    parser.add_argument("-o", "--out", type=Path, default=Path("bench/results"), help="where results are kept")
    parser.add_argument("--calibrated", action="store_true", help="also with a calibration on two scans of each world")
    parser.add_argument("--frames", type=int, default=600)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-j", "--jobs", type=int, default=1, help="worlds at a time")
    parser.add_argument("--threads", type=int, default=1, help="threads a world")
    parser.add_argument("--overwrite", action="store_true", help="reconstruct anew; scans are kept")
    parser.add_argument("--simulate-only", action="store_true")
    o = parser.parse_args()
    names = o.worlds.split(",") if o.worlds else list(shipped.group(o.group))
    variants = () if o.simulate_only else (DEFAULT, CALIBRATED) if o.calibrated else (DEFAULT,)
    worlds = {Path(name).stem: shipped.chosen(name, o.seed) for name in names}
    jobs = [Job(name, world, o.data, o.out, frames_in(world, o.frames), o.seed, variants, o.threads, o.overwrite)
            for name, world in worlds.items()]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(o.jobs, context) as pool:
        running = {pool.submit(work, job): job for job in jobs}
        for number, future in enumerate(as_completed(running), 1):
            job = running[future]
            print(f"{time.strftime('%H:%M:%S')} {number}/{len(jobs)} {job.key} {future.result()}", file=sys.stderr,
                  flush=True)
    stale = [job.name for job in jobs if (stamp := job.data / job.key / "simulator.txt").is_file()
             and stamp.read_text().strip() != simulator()]
    if stale:
        print(f"simulated by another version of the simulator: {', '.join(stale)} (remove their folders in {o.data} to "
              "make them anew)", file=sys.stderr)
    if variants:
        found = {variant: collected(jobs, variant) for variant in variants}
        text = "\n\n".join(f"{variant.capitalize()}:\n\n{table(results)}\n\n{trust(results)}"
                           for variant, results in found.items())
        (o.out / f"{o.group}.md").write_text(text + "\n")
        draw(o.out / f"{o.group}.png", found)
        draw_trust(o.out / f"{o.group}-confidence.png", found)
        print(text)


if __name__ == "__main__":
    main()
