"""Small scans and poses for tests."""

from functools import partial

import h5py
import numpy as np

from speckle_rec import geometry
from speckle_rec.io import calib, tusrec

ROWS, COLUMNS = 48, 64
PIXEL_MM = (0.23, 0.22)

write_scan = partial(tusrec.write_scan, pixel_mm=PIXEL_MM)     # a scan that tells its pixel size


def speckle(n_frames: int, seed: int = 0) -> np.ndarray:
    """uint8 [n, 48, 64] of noise."""
    return np.random.default_rng(seed).integers(1, 255, (n_frames, ROWS, COLUMNS), dtype=np.uint8)


def random_poses(n: int, seed: int = 0, size: float = 0.2) -> np.ndarray:
    """Poses [n, 4, 4] in mm and rad."""
    return geometry.exp(np.random.default_rng(seed).normal(size=(n, 6)) * size)


def dataset(root, names=("007/RH_rotation",), layout="train", n_frames=6):
    """A tracked data set of noise in the challenge's train or val layout; returns its folder."""
    keys = {}
    for k, name in enumerate(names):
        subject, scan = name.split("/")
        both = root / ("frames_transfs" if layout == "train" else "frames") / f"{name}.h5"
        both.parent.mkdir(parents=True, exist_ok=True)
        poses = random_poses(n_frames, k)
        tusrec.write_scan(both, speckle(n_frames, k), poses if layout == "train" else None)
        if layout == "val":
            (root / "transfs" / subject).mkdir(parents=True, exist_ok=True)
            with h5py.File(root / "transfs" / f"{name}.h5", "w") as file:
                file["tforms"] = poses.astype(np.float32)
        (root / "landmarks").mkdir(exist_ok=True)
        with h5py.File(root / "landmarks" / f"landmark_{subject}.h5", "a") as file:
            marks = np.random.default_rng(k).integers([0, 1, 1], [n_frames, COLUMNS + 1, ROWS + 1], (20, 3))
            marks[0] = 0, 1, 1
            file[scan] = marks
        keys[f"sub{subject}__{scan}"] = 0
    with h5py.File(root / "dataset_keys.h5", "w") as file:
        for key in keys:
            file[key] = 0
    built_in = calib.built_in()
    calib.write_challenge(root / "calib_matrix.csv", built_in.scale, built_in.T_tool_image)
    return root
