"""GPU: each kernel against what the device can do, a scan by stage, and beside the CPU and a pair network.

    python benchmarks/gpu.py [SCAN.h5] [--frames 1600] [--pairs 64] [--no-scan]

Without SCAN the frames are noise, which is as much work. Bytes and operations are what a kernel has to move and to
do, not what it does; shares are of the bandwidth of a copy and of the rate of a float32 matrix product, measured
here. Host-device transfer is a row of its own. Ends with 2, and one line, where no GPU works.
"""

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from speckle_rec import geometry as se3
from speckle_rec.compute import device
from speckle_rec.config import Config
from speckle_rec.frames.working_images import WorkingImages, sample_frames
from speckle_rec.io import calib
from speckle_rec.kernels import cpu_volume, gpu, gpu_fields, gpu_images, gpu_volume
from speckle_rec.pairs import backends
from speckle_rec.pairs.batched.correlation import BatchCorrelator
from speckle_rec.pairs.batched.matching import BatchMatcher
from speckle_rec.pairs.planar_chain import planar_chain
from speckle_rec.pairs.planar_motions import se2_exps
from speckle_rec.pipeline import reconstruct
from speckle_rec.probe import field
from speckle_rec.result import Reconstruction
from speckle_rec.scan import Scan
from speckle_rec.scoring.score import with_mirror_given
from speckle_rec.synth.anatomy import Phantom
from speckle_rec.synth.beam import Beam
from speckle_rec.synth.image import Renderer
from speckle_rec.synth.scatterers import STANDARD_DENSITY, Medium, visible

REPEATS = 5
FIELDS = 512         # frames whose displacement fields are made: 2 GB, so that the launch is nothing beside them
EDGE = 160           # voxels of the volume to each side
LIMIT_GIB, LIMIT_S, LIMIT_SHARE = 8.0, 1.0, 0.8         # asked for: peak memory, 1600 frames to poses, fields


@dataclass(frozen=True)
class Row:
    """A kernel, what it has to move and to do, and how to run it."""

    name: str
    bytes: float
    operations: float
    run: Callable[[], Any]


def best(run: Callable[[], Any], wait: Callable[[], None], repeats: int = REPEATS) -> float:
    """Seconds of the fastest of some runs after a first one that compiles."""
    run()
    times = []
    for _ in range(repeats):
        wait()
        started = time.perf_counter()
        run()
        wait()
        times.append(time.perf_counter() - started)
    return min(times)


def kernels(xp: Any, frames: Any, fan: field.ProbeGeometry, pairs: int) -> list[Row]:
    """Rows of all kernels for uint8 frames [n, H, W] on the device and a batch of so many pairs."""
    n, (rows, columns) = len(frames), frames.shape[1:]
    px, rng = rows * columns, np.random.default_rng(0)
    matcher, grid = BatchMatcher(fan, xp), field.cells(fan)
    correlator = BatchCorrelator(fan, grid, xp)
    fine = matcher.fine(frames)
    i = xp.asarray(rng.integers(0, n, pairs))
    maps = np.ascontiguousarray((correlator.correlator.px_mm @ se2_exps(rng.normal(0, 0.1, (pairs, 3)))
                                 @ correlator.correlator.mm_px)[:, :2])
    maps = xp.asarray(maps)
    warped = gpu_images.warp(fine, i, maps, True)
    other = gpu_images.warp(fine, i, maps[::-1].copy(), True)
    out = []
    taps = [3 * sum(mean.widths) for mean in (matcher.fine.mean, correlator.features.mean)]
    out.append(Row("grey features", 5 * px * n, (taps[0] + 6) * px * n, lambda: matcher.fine(frames)))
    out.append(Row("amplitude features", 5 * px * n, (taps[1] + 6) * px * n, lambda: correlator.features(frames)))
    out.append(Row("half-shift warp, cubic", 8 * px * pairs, 48 * px * pairs,
                   lambda: gpu_images.warp(fine, i, maps, True, warped)))
    for level in matcher.levels[1:]:
        size, side = level.level.size, 2 * level.level.radius + 1
        surfaces = xp.empty((pairs, len(level.tops), side, side), np.float32)
        out.append(Row(f"block NCC, {side} x {side} shifts", 8 * px * pairs, 6 * size**2 * surfaces.size,
                       lambda level=level, size=size, surfaces=surfaces: gpu.block_ncc(
                           warped, other, level.tops, level.lefts, size, level.level.radius, surfaces)))
    out.append(Row("sub-pixel peaks", 4 * surfaces.size, surfaces.size, lambda: gpu.subpixel_peak(surfaces)))
    sums = xp.empty((pairs, len(grid), 6))
    out.append(Row("cell sums", 8 * px * pairs, 8 * px * pairs,
                   lambda: gpu.cell_sums(warped, other, correlator.labels, sums)))
    thumbs = xp.asarray(rng.normal(size=(400, 1, px // 9)).astype(np.float32))
    whole = (slice(None),) * 3
    out.append(Row("recurrence Gram matrix, 400, one shift", 4 * (thumbs.size + 400**2), 2 * 400 * thumbs.size,
                   lambda: gpu.similarity(thumbs, [(whole, whole)])))
    A = xp.asarray(rng.normal(size=(FIELDS, 3, 3)))
    fields = xp.empty((FIELDS, 3, px), np.float32)
    out.append(Row("displacement fields", 4 * fields.size, 2 * fields.size,
                   lambda: gpu_fields.affine_fields(A, rows, columns, fields)))
    out.append(Row("mean lengths", 0, 10 * px * len(A), lambda: gpu_fields.mean_lengths(A, rows, columns)))
    out += [*compounding(xp, frames, fan), simulator(fan, "cpu" if xp is np else "gpu")]
    return out


def compounding(xp: Any, frames: Any, fan: field.ProbeGeometry) -> list[Row]:
    """Pasting with MEAN and LINEAR, and the filling of holes, in a grid of `EDGE` cubed that a fan crosses."""
    (n, rows, columns), edge = frames.shape, EDGE
    total, weight = xp.zeros((2, edge, edge, edge), np.float32)
    angle = np.linspace(-0.5, 0.5, n)
    A = np.zeros((n, 3, 3))
    A[:, 0, 0], A[:, 1, 1], A[:, 2, 1] = edge / columns, edge / rows * np.cos(angle), edge / rows * np.sin(angle)
    A[:, 2, 2] = edge / 2
    mask = fan.mask()
    inside = int(mask.sum()) * n
    there = [xp.asarray(part) for part in (A, mask, np.zeros(rows, np.int64), np.full(rows, columns))]
    block = cpu_volume.Frames(frames, *there)
    data = xp.asarray(np.random.default_rng(0).integers(0, 255, total.shape, dtype=np.uint8))
    seen = xp.asarray((np.random.default_rng(1).random(total.shape) < 0.5).astype(np.float32))
    filled = xp.empty_like(data)
    return [Row("compounding, linear mean", inside * (1 + 8 * 16), inside * 40, lambda: gpu_volume.splat(
                block, total, weight, gpu_volume.MEAN, True, 1)),
            Row("filling holes", 6 * data.size, 125 * data.size / 2,
                lambda: gpu_volume.fill_holes(data, seen, 2, 1 / 3, filled))]


def simulator(fan: field.ProbeGeometry, where: str) -> Row:
    """One frame of a phantom, from its scatterers to grey levels, noise from the CPU included."""
    beam, tissue = Beam(), Phantom()
    plane = np.eye(4)[None]
    medium = Medium.draw(tissue, 0, STANDARD_DENSITY, visible(plane, fan, beam, 0.0))
    renderer = Renderer(medium, tissue, beam, fan, where)
    return Row("simulated frame", 16 * len(medium.points), 80 * len(medium.points), lambda: renderer(plane[0], 0))


def ceilings(xp: Any, wait: Callable[[], None], size: int = 2**28, edge: int = 4096) -> tuple[float, float, float]:
    """Bandwidth of a copy and of a fill (bytes/s), and rate of a float32 matrix product (operations/s)."""
    a, b = xp.zeros(size, np.float32), xp.empty(size, np.float32)
    matrix = xp.ones((edge, edge), np.float32)
    copy = best(lambda: xp.copyto(b, a), wait)
    fill = best(lambda: b.fill(0.0), wait)
    return 8 * size / copy, 4 * size / fill, 2 * edge**3 / best(lambda: matrix @ matrix, wait)


def table(rows: list[Row], copy: float, write: float, gemm: float, wait: Callable[[], None]) -> list[str]:
    """Lines of the table of kernels; the fields are set against a fill, since they read nothing."""
    lines = [f"{'kernel':28s} {'MB':>9s} {'Mop':>10s} {'ms':>9s} {'GB/s':>8s} {'Gop/s':>9s}  of copy  of GEMM"]
    for row in rows:
        seconds = best(row.run, wait)
        lines.append(f"{row.name:28s} {row.bytes / 1e6:9.1f} {row.operations / 1e6:10.1f} {1e3 * seconds:9.3f} "
                     f"{row.bytes / seconds / 1e9:8.1f} {row.operations / seconds / 1e9:9.1f} "
                     f"{row.bytes / seconds / copy:8.2f} {row.operations / seconds / gemm:8.2f}")
        if row.name == "displacement fields":
            lines.append(f"  of the write bandwidth: {row.bytes / seconds / write:.2f} (asked: {LIMIT_SHARE})")
    return lines


def stages(pairs: backends.Backend, images: WorkingImages, wait: Callable[[], None]) -> dict[str, float]:
    """Seconds of the three measurements of a scan."""
    times: dict[str, float] = {}

    def timed(name: str, run: Callable[[], Any]) -> Any:
        wait()
        started = time.perf_counter()
        out = run()
        wait()
        times[name] = time.perf_counter() - started
        return out

    grid = field.cells(images.geometry)
    planar, repeated = timed("in-plane motion", pairs.planar_motion)
    step, _ = planar_chain(planar, images.scan.n_frames)
    timed("speckle correlation", lambda: pairs.correlate(grid, step, repeated))
    timed("revisits", lambda: pairs.find_loops(grid, step, repeated))
    return times


def network_rate(scan: Scan, batch: int = 16, batches: int = 8) -> float | None:
    """Frames/s of the pair network of benchmarks/learned, frames on the GPU; None without a torch that sees it."""
    try:
        import torch
    except ImportError:
        return None
    if not torch.cuda.is_available():
        return None
    sys.path.insert(0, str(Path(__file__).resolve().parent / "learned"))
    from network import pair_network, poses, prepared
    model = pair_network().cuda().eval()
    frames = torch.from_numpy(scan.frames(0, batch + 1)).cuda()
    pairs = torch.stack([frames[:-1], frames[1:]], 1)

    def run() -> None:
        with torch.no_grad(), torch.autocast("cuda"):
            for _ in range(batches):
                poses(model(prepared(pairs, 1)).float())

    return batch * batches / best(run, torch.cuda.synchronize)


def transfer(xp: Any, frames: np.ndarray, wait: Callable[[], None]) -> float:
    """Bytes/s from pinned host memory to the device."""
    pinned = np.frombuffer(xp.cuda.alloc_pinned_memory(frames.nbytes), np.uint8, frames.nbytes).reshape(frames.shape)
    pinned[...] = frames
    there = xp.empty(frames.shape, np.uint8)
    return frames.nbytes / best(lambda: there.set(pinned), wait)


def parity(scan: Scan, one: Reconstruction, other: Reconstruction) -> str:
    """How far the corners of the same frames lie apart in two results, and both scores where poses are tracked."""
    rows, columns = scan.shape
    corners = se3.pixel_points(scan.scale, np.array([1, columns, 1, columns]), np.array([1, 1, rows, rows]))
    apart = np.linalg.norm((one.T_first_frame - other.T_first_frame)[:, None, :3]
                           @ np.concatenate([corners, np.ones((4, 1))], 1)[None, :, :, None], axis=2)
    said = f"corners apart: {apart.max():.2g} mm at most, {np.median(apart):.2g} in the median (asked: .01)"
    true = scan.T_first_frame_tracked
    if true is None or not np.isfinite(true).all():
        return said
    scores = [with_mirror_given(found.T_first_frame, found.T_prev_frame, true, se3.steps(true), scan.scale,
                                scan.shape, scan.landmarks)[0].final for found in (one, other)]
    return f"{said}; scores {scores[0]:.4f}, {scores[1]:.4f} (asked: .001 apart), mirror bit given"


def compare(images: WorkingImages, xp: Any, wait: Callable[[], None]) -> None:
    """Print the stages of a scan on the GPU and on the CPU, peak memory, and the rates of whole engines."""
    scan = images.scan
    stages(backends.OnGpu(images, xp), images, wait)                    # compiles
    xp.get_default_memory_pool().free_all_blocks()
    on_gpu = backends.OnGpu(images, xp)
    started = time.perf_counter()
    for _ in on_gpu.frames.blocks():
        pass
    wait()
    upload = time.perf_counter() - started
    there = stages(on_gpu, images, wait)
    peak = xp.get_default_memory_pool().total_bytes() / 2**30
    here = stages(backends.OnCpu(images, 0, []), images, wait)
    print(f"\n{scan.n_frames} frames: stage, s on the GPU, s on the CPU\n  reading and upload {upload:8.3f}")
    for name in there:
        print(f"  {name:18s} {there[name]:8.3f} {here[name]:8.3f}")
    print(f"peak memory {peak:.2f} GiB (asked: under {LIMIT_GIB:g})")
    found = []
    for where in ("gpu", "cpu"):
        started = time.perf_counter()
        found.append(reconstruct(scan, config=Config(device=where), device=where))
        seconds = time.perf_counter() - started
        print(f"frames to poses, {where}: {seconds:.2f} s, {scan.n_frames / seconds:.1f} frames/s; "
              + ", ".join(f"{name} {spent:.2f}" for name, spent in found[-1].run_times_s.items()), flush=True)
    print(parity(scan, *found))
    print(f"asked: 1600 frames in under {LIMIT_S:g} s once they are on the device")
    rate = network_rate(scan)
    print("pair network: left out, no torch that sees the GPU" if rate is None else
          f"pair network on the same GPU: {rate:.1f} frames/s")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scan", nargs="?", type=Path)
    parser.add_argument("--frames", type=int, default=1600, help="frames of noise, where there is no SCAN")
    parser.add_argument("--pairs", type=int, default=64, help="frame pairs of a batch")
    parser.add_argument("--no-scan", action="store_true", help="kernels only")
    args = parser.parse_args()
    if (reason := device.why_not()) is not None:
        print(f"benchmarks/gpu.py: no GPU to measure: {reason}", file=sys.stderr)
        return 2
    xp = device.arrays("gpu")
    wait = xp.cuda.Device().synchronize
    if args.scan:
        scan = Scan.open(args.scan)
    else:
        noise = np.random.default_rng(0).integers(0, 255, (args.frames, 480, 640), dtype=np.uint8)
        scan = Scan.from_arrays(noise, scale=calib.built_in().scale)
    copy, write, gemm = ceilings(xp, wait)
    images = WorkingImages.of(scan, field.find(sample_frames(scan), scan.scale).geometry)
    host = np.concatenate([block for _, block in islice(images.blocks(), 2)])
    print(f"{device.name()}\ncopy {copy / 1e9:.0f} GB/s, fill {write / 1e9:.0f} GB/s, float32 GEMM {gemm / 1e12:.1f} "
          f"Top/s, host to device {transfer(xp, host, wait) / 1e9:.1f} GB/s")
    print("\n".join(table(kernels(xp, xp.asarray(host), images.geometry, args.pairs), copy, write, gemm, wait)))
    if not args.no_scan:
        compare(images, xp, wait)
    return 0


if __name__ == "__main__":
    sys.exit(main())
