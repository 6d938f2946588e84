"""A small world of every file that the program reads, and the commands that read them."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from speckle_rec import geometry
from speckle_rec.calibrating import training
from speckle_rec.io import calib, plus, tusrec
from speckle_rec.scan import Scan
from speckle_rec.speckle.calibration import DEFAULT_FILE

N, ROWS, COLUMNS = 10, 48, 64
SCAN = "data/frames_transfs/007/RH_rotation.h5"
VAL_SCAN = "val/frames/007/RH_rotation.h5"
M = np.diag([0.23, 0.22, 0.22, 1.0])


@dataclass(frozen=True)
class Target:
    """A file to be damaged, and the command that reads it; ``{out}`` is where it may write."""

    file: str
    arguments: tuple[str, ...]

    @property
    def label(self) -> str:
        return f"{self.arguments[0]} {self.file}"


def _reconstruct(scan: str, *more: str) -> tuple[str, ...]:
    return ("reconstruct", scan, "-o", "{out}/r", "--no-volume", "--no-progress", *more)


TARGETS = {target.label: target for target in (
    Target(SCAN, _reconstruct(SCAN)),
    Target("plain.igs.mha", _reconstruct("plain.igs.mha")),
    Target("packed.igs.mha", _reconstruct("packed.igs.mha")),
    Target("data/calib_matrix.csv", _reconstruct(SCAN)),
    Target("plus.txt", _reconstruct(SCAN, "--calib", "plus.txt")),
    Target("plus.xml", _reconstruct(SCAN, "--calib", "plus.xml")),
    Target("data/landmarks/landmark_007.h5", _reconstruct(SCAN, "--landmarks", "data/landmarks/landmark_007.h5")),
    Target("calibration.h5", _reconstruct("curved.h5", "--calibration", "calibration.h5")),
    Target("config.toml", _reconstruct(SCAN, "-c", "config.toml")),
    Target("tum.txt", ("compound", SCAN, "--poses", "tum.txt", "-o", "{out}/v.nrrd")),
    Target("kitti.txt", ("compound", SCAN, "--poses", "kitti.txt", "-o", "{out}/v.nrrd")),
    Target("poses.h5", ("compound", SCAN, "--poses", "poses.h5", "-o", "{out}/v.nrrd")),
    Target("result/poses.h5", ("export", "result", "--to", "csv", "-o", "{out}/p.csv")),
    Target("result/summary.json", ("export", "result", "--to", "igs.mha", "-o", "{out}/p.igs.mha")),
    Target("data/dataset_keys.h5", ("evaluate", "data", "-o", "{out}/e", "--no-progress")),
    Target("val/transfs/007/RH_rotation.h5", ("evaluate", "val", "-o", "{out}/e", "--no-progress")),
    Target("statistics.h5", ("calibrate", "--merge", "statistics.h5", "-o", "{out}/c.h5", "--no-report")),
    Target(VAL_SCAN, ("check", VAL_SCAN)),
)}


def frames(n: int = N, shape: tuple[int, int] = (ROWS, COLUMNS), seed: int = 0) -> NDArray[np.uint8]:
    """uint8 [n, rows, columns]: a texture that slides and changes slowly, as speckle does."""
    noise = np.random.default_rng(seed).normal(size=(n, shape[0], shape[1] + n))
    smooth = gaussian_filter(noise, (2, 1, 1.5))
    moved = np.stack([image[:, k:k + shape[1]] for k, image in enumerate(smooth)])
    return np.clip(110 + 40 * moved / moved.std(), 1, 255).astype(np.uint8)


def poses(n: int = N, seed: int = 0) -> NDArray[np.float64]:
    """Poses [n, 4, 4] of a slow sweep."""
    twist = np.cumsum(np.random.default_rng(seed).normal(0.1, 0.02, (n, 6)) * [1, 1, 1, .02, .02, .02], axis=0)
    return geometry.exp(twist)


def data_set(root: Path, n_scans: int = 4, n_frames: int = 20, shape: tuple[int, int] = (96, 128)) -> Path:
    """A tracked data set in the train layout, small enough that every verb takes seconds; returns its folder."""
    for k in range(n_scans):
        path = root / "frames_transfs" / f"{k:03d}" / "RH_rotation.h5"
        path.parent.mkdir(parents=True, exist_ok=True)
        tusrec.write_scan(path, frames(n_frames, shape, seed=k), poses(n_frames, seed=k))
    with h5py.File(root / "dataset_keys.h5", "w") as file:
        for k in range(n_scans):
            file[f"sub{k:03d}__RH_rotation"] = 0
    built_in = calib.built_in()
    assert built_in.T_tool_image is not None
    calib.write_challenge(root / "calib_matrix.csv", built_in.scale, built_in.T_tool_image)
    return root


def build(root: Path) -> Path:
    """Write the whole files under `root`; results and statistics come from `run`s of the program itself."""
    T = poses()
    built_in = calib.built_in()
    assert built_in.T_tool_image is not None
    for layout, folder in (("data", "frames_transfs"), ("val", "frames")):
        scan = root / layout / folder / "007" / "RH_rotation.h5"
        scan.parent.mkdir(parents=True)
        tusrec.write_scan(scan, frames(), T if layout == "data" else None)
        (root / layout / "landmarks").mkdir()
        marks = np.random.default_rng(1).integers([0, 1, 1], [N, COLUMNS + 1, ROWS + 1], (20, 3))
        with h5py.File(root / layout / "landmarks" / "landmark_007.h5", "w") as file:
            file["RH_rotation"] = marks
        with h5py.File(root / layout / "dataset_keys.h5", "w") as file:
            file["sub007__RH_rotation"] = 0
        calib.write_challenge(root / layout / "calib_matrix.csv", built_in.scale, built_in.T_tool_image)
    (root / "val" / "transfs" / "007").mkdir(parents=True)
    with h5py.File(root / "val" / "transfs" / "007" / "RH_rotation.h5", "w") as file:
        file["tforms"] = T.astype(np.float32)
    for name, compress in (("plain", False), ("packed", True)):
        plus.write(root / f"{name}.igs.mha", iter([(0, frames())]), (N, ROWS, COLUMNS), T, compress=compress,
                   image_to_probe=M)
    np.savetxt(root / "plus.txt", M)
    text = " ".join(f"{value:g}" for value in M.ravel())
    (root / "plus.xml").write_text(f'<PlusConfiguration><CoordinateDefinitions><Transform From="Image" To="Probe" '
                                   f'Matrix="{text}"/></CoordinateDefinitions></PlusConfiguration>\n')
    shutil.copy(DEFAULT_FILE, root / "calibration.h5")
    tusrec.write_scan(root / "curved.h5", _in_a_fan(frames()), pixel_mm=(0.23, 0.22))
    (root / "config.toml").write_text('device = "cpu"\njobs = 1\nseed = 3\nfusion = "revisits"\n')
    _write_result(root, T)
    training.write(root / "statistics.h5", [training.collect(Scan.open(root / SCAN), jobs=1)])
    return root


def _in_a_fan(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    y, x = np.mgrid[:images.shape[1], :images.shape[2]]
    return images * ((np.hypot(x - images.shape[2] / 2, y + 20) < 62) & (np.abs(x - images.shape[2] / 2) < y / 2 + 14))


def _write_result(root: Path, T: NDArray[np.float64]) -> None:
    from speckle_rec.config import Config
    from speckle_rec.io import trajectory
    from speckle_rec.result import Reconstruction
    from speckle_rec.speckle.calibration import Calibration
    from speckle_rec.storage import folder as results
    from speckle_rec.storage import made_of
    from speckle_rec.storage import outputs as output_files
    scan = Scan.open(root / SCAN)
    result = Reconstruction(T, geometry.steps(T), np.zeros((N, 6, 6)), np.ones(N, np.float32))
    run = made_of.of_run(Calibration.shipped().hash, Config(), given=False)
    results.write(root / "result", scan, result, config={}, made_of=made_of.of_scan(scan, run),
                  outputs=output_files.Outputs(volume=False, report=False))
    summary = root / "result" / "summary.json"
    summary.write_text(json.dumps({**json.loads(summary.read_text()), "path": SCAN}, indent=1))
    shutil.copy(root / "result" / "poses.h5", root / "poses.h5")
    trajectory.write_tum(root / "tum.txt", T, np.arange(N) / 20)
    trajectory.write_kitti(root / "kitti.txt", T)
