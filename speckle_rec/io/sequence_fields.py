"""Fields of a PLUS or Slicer sequence that place its frames: (name, value) of each, whatever file they go into."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def row(T: Array) -> str:
    """The entries of a matrix, row by row."""
    return " ".join(f"{value:.12g}" for value in np.asarray(T).ravel())


def of_frames(times_s: Array, images_ok: NDArray[np.bool_], poses: tuple[Array, NDArray[np.bool_]] | None,
              image_to_probe: Array | None) -> Iterator[tuple[str, str]]:
    """Fields of N frames.

    Parameters
    ----------
    times_s, images_ok : [N].   poses : [N, 4, 4] of the probe in the reference, mm, and where they are valid [N].
    image_to_probe : PLUS's M (pixels from 0); with it each frame carries ``ImageToReferenceTransform`` too.
    """
    def status(good: bool) -> str:
        return "OK" if good else "INVALID"

    if poses is not None and image_to_probe is not None:
        yield "ImageToProbeTransform", row(image_to_probe)
    for i, (time, shown) in enumerate(zip(times_s, images_ok, strict=True)):
        frame = f"Seq_Frame{i:04d}"
        yield f"{frame}_Timestamp", f"{time:.6f}"
        yield f"{frame}_ImageStatus", status(shown)
        if poses is None:
            continue
        ok = bool(poses[1][i])
        T = poses[0][i] if ok else np.eye(4)
        placed = [("ProbeToReference", T)]
        if image_to_probe is not None:
            placed.append(("ImageToReference", T @ image_to_probe if ok else T))
        for name, M in placed:
            yield f"{frame}_{name}Transform", row(M)
            yield f"{frame}_{name}TransformStatus", status(ok)
