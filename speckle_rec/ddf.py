"""Dense displacement fields of the TUS-REC challenges, from poses.

With p = (x, y, 0, 1) the pixels (from 1, rows outer, columns inner) and S the scale, the field of frame j is
``(T_j S p - S p)[0:3]`` in mm: global with T_first_frame, local with T_prev_frame. It is affine in x and y,
so that a value costs one multiply-add.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .errors import InputError
from .io import checks
from .io.h5write import H5Writer
from .io.source import MAX_SIDE_PX
from .kernels import cpu_fields, gpu_fields
from .kernels.launch import xp_of

Array = NDArray[np.float64]
Fields = NDArray[np.float32]

SHAPE = (480, 640)


def fields(T: Array, scale: Array, shape: tuple[int, int] = SHAPE, *, out: Fields | None = None) -> Fields:
    """Displacement fields of all frames after the first.

    Parameters
    ----------
    T : [N, 4, 4] T_first_frame for global fields, T_prev_frame for local ones.
    scale : [4, 4] pixel (from 1) -> image mm.
    shape : rows and columns of the image.
    out : float32 [N-1, 3, rows * columns] to write into; memory in use already is three times as fast. A cupy array
        is filled on its GPU.

    Returns
    -------
    float32 [N-1, 3, rows * columns], mm. A scan of 1600 frames of 480 x 640 takes 5.9 GB: see `blocks`.
    """
    A = _affine(T, scale)[1:]
    shape = _image(shape)
    size = (len(A), 3, shape[0] * shape[1])
    if out is not None and not hasattr(out, "flags"):
        raise InputError(f"fields: expected contiguous float32 {size} to write into, found {checks.described(out)}")
    if out is None:
        out = np.empty(size, np.float32)
    elif out.shape != size or out.dtype != np.float32 or not out.flags.c_contiguous:
        raise InputError(f"fields: expected contiguous float32 {size} to write into, "
                         f"found {out.dtype} {out.shape}")
    xp = xp_of(out)
    (cpu_fields if xp is np else gpu_fields).affine_fields(xp.asarray(A), *shape, out)
    return out


def blocks(T: Array, scale: Array, shape: tuple[int, int] = SHAPE) -> Iterator[Fields]:
    """The same as `fields`, frame by frame: yields float32 [3, rows * columns] for the frames 1..N-1."""
    A, (rows, columns) = _affine(T, scale), _image(shape)      # checked at once, not when the first is asked for

    def one_by_one() -> Iterator[Fields]:
        for j in range(1, len(A)):
            out = np.empty((1, 3, rows * columns), np.float32)
            cpu_fields.affine_fields(A[j : j + 1], rows, columns, out)
            yield out[0]

    return one_by_one()


def landmarks(T: Array, scale: Array, landmarks: NDArray[np.integer]) -> Fields:
    """Displacements float32 [3, L] of landmarks [L, 3]: frame (from 0), x and y pixel (from 1).

    A landmark on frame 0 takes the field of the last frame, as the challenge's indexing [frame - 1] does.
    """
    A = _affine(T, scale)
    given = checks.numbers(landmarks, "landmarks", ("L", 3))
    if not (given == np.rint(given)).all() or np.abs(given).max(initial=0) > 1 << 31:
        raise InputError("landmarks: expected whole numbers [L, 3]: frame (from 0), x and y pixel (from 1), found "
                         "others")
    at = given.astype(np.int64)
    if at.size and (at[:, 0].min() < 0 or at[:, 0].max() >= len(A)):
        raise InputError(f"landmarks: expected frames 0..{len(A) - 1}, found {at[:, 0].min()}..{at[:, 0].max()}")
    frame = np.where(at[:, 0] == 0, len(A) - 1, at[:, 0])
    p = np.stack([at[:, 1], at[:, 2], np.ones(len(at))], -1)
    return np.einsum("lij,lj->il", A[frame], p).astype(np.float32)


def write(path: str | Path, T_first_frame: Array, T_prev_frame: Array, scale: Array,
          shape: tuple[int, int] = SHAPE, marks: NDArray[np.integer] | None = None, *,
          frames_per_block: int = 16, progress: Callable[[int], None] | None = None) -> None:
    """Write `GP` and `LP` float32 [N-1, 3, rows * columns], chunked by frame, and `GL` and `LL` [3, L].

    Memory stays at `frames_per_block` fields whatever the length of the scan. `progress` is called with
    the number of fields written since the last call, 2 (N-1) in all.
    """
    n, values = len(T_first_frame) - 1, shape[0] * shape[1]
    buffer = np.empty((max(1, min(frames_per_block, n)), 3, values), np.float32)
    with H5Writer(Path(path)) as writer:
        file = writer.file
        for scope, T in (("G", T_first_frame), ("L", T_prev_frame)):
            A = _affine(T, scale)[1:]
            dataset = file.create_dataset(f"{scope}P", (n, 3, values), np.float32,
                                          chunks=(1, 3, values) if n else None)
            dataset.attrs["units"] = "mm"
            for start in range(0, n, len(buffer)):
                part = buffer[: min(len(buffer), n - start)]
                cpu_fields.affine_fields(A[start : start + len(part)], *shape, part)
                dataset.write_direct(part, dest_sel=np.s_[start : start + len(part)])
                writer.check()
                if progress is not None:
                    progress(len(part))
            if marks is not None and len(marks):
                file[f"{scope}L"] = landmarks(T, scale, marks)


def _affine(T: Array, scale: Array) -> Array:
    """A [N, 3, 3] with ``A (x, y, 1) = ((T - 1) S p)[0:3]``."""
    poses = checks.numbers(T, "poses", ("N", 4, 4))
    A = (poses - np.eye(4)) @ checks.numbers(scale, "scale (pixel to mm)", (4, 4))
    return np.ascontiguousarray(A[:, :3][:, :, [0, 1, 3]])


def _image(shape: tuple[int, int]) -> tuple[int, int]:
    if not isinstance(shape, tuple | list) or len(shape) != 2:
        raise InputError(f"shape: expected (rows, columns) of the image, found {checks.described(shape)}")
    rows, columns = (checks.whole(size, "shape (rows, columns)", 1, MAX_SIDE_PX) for size in shape)
    return rows, columns
