"""A scan's frames on a device, and batches that fit its memory.

Memory on the device, H x W being the working image: N H W bytes of frames and at most 1200 H W bytes of work, with
batches of 64 pairs and lags up to 32 [test_gpu_scan]; at 480 x 640 that is .5 GB for 1600 frames and .4 GB. What an
array module keeps in reserve comes on top. Batches get smaller where that is too much.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ...errors import SpeckleRecError
from ...frames.working_images import BLOCK, WorkingImages

Part = TypeVar("Part")

AT_ONCE = 64        # frame pairs of a batch


class DeviceFrames:
    """Working images of a scan, uint8 [N, H, W] on the device, brought there once and block by block.

    Raises
    ------
    SpeckleRecError
        If the device's memory does not hold them.
    """

    def __init__(self, images: WorkingImages, xp: Any):
        self.images, self.xp = images, xp
        n, shape = images.scan.n_frames, images.geometry.shape
        try:
            self.data = xp.empty((n, *shape), np.uint8)
        except MemoryError:
            raise SpeckleRecError(f"{images.scan.name}: the GPU has no {n * shape[0] * shape[1] / 1e9:.1f} GB for "
                                  f"{n} frames; use --device cpu") from None
        self._there = False

    def pick(self, rows: NDArray[np.int64]) -> Any:
        """Frames `rows`, uint8 [n, H, W] on the device."""
        for _ in () if self._there else self.blocks():
            pass
        return self.data[self.xp.asarray(rows)]

    def blocks(self) -> Iterator[tuple[int, Any]]:
        """(start, uint8 [n, H, W] on the device) over the scan, the next block on its way while one is used."""
        if self._there:
            for start in range(0, len(self.data), BLOCK):
                yield start, self.data[start : start + BLOCK]
            return
        copy = _Copy(self.data) if self.xp is np else _PinnedCopy(self.xp, self.data)
        with ThreadPoolExecutor(1) as reader:
            source = self.images.blocks()
            ahead = reader.submit(copy.next_of, source)
            while (block := ahead.result()) is not None:
                ahead = reader.submit(copy.next_of, source)
                copy.wait(block)
                yield block[0], self.data[block[0] : block[1]]
        self._there = True


class _Copy:
    """Blocks of frames into an array of the same memory."""

    def __init__(self, data: Any):
        self.data = data

    def next_of(self, source: Iterator) -> tuple | None:
        """Bring the next block over: its first frame and the one after its last, or None after the scan's end."""
        block = next(source, None)
        if block is None:
            return None
        start, stop = block[0], block[0] + len(block[1])
        self.data[start:stop] = block[1]
        return start, stop

    def wait(self, block: tuple) -> None:
        """Nothing to wait for."""


class _PinnedCopy:
    """Blocks of frames into a GPU's memory, through two pinned buffers and on a stream of their own."""

    def __init__(self, xp: Any, data: Any):
        self.xp, self.data = xp, data
        self.stream = xp.cuda.Stream(non_blocking=True)
        size = min(BLOCK, len(data)) * data[0].size
        self.buffers = [np.frombuffer(xp.cuda.alloc_pinned_memory(size), np.uint8, size) for _ in range(2)]
        self.done: list[Any] = [None, None]
        self.turn = 0

    def next_of(self, source: Iterator) -> tuple | None:
        """Start to bring the next block over: first frame, the one after its last, and the event of its arrival."""
        block = next(source, None)
        if block is None:
            return None
        start, frames = block
        k, self.turn = self.turn, 1 - self.turn
        if self.done[k] is not None:
            self.done[k].synchronize()
        staged = self.buffers[k][: len(frames) * frames[0].size].reshape(len(frames), *frames[0].shape)
        np.stack(frames, out=staged)
        self.data[start : start + len(frames)].set(staged, stream=self.stream)
        self.done[k] = self.stream.record()
        return start, start + len(frames), self.done[k]

    def wait(self, block: tuple) -> None:
        """Let the work that follows wait for a block to arrive."""
        self.xp.cuda.get_current_stream().wait_event(block[2])


class Batches:
    """Work on many pairs, cut into batches that fit the device's memory.

    Attributes
    ----------
    at_once : pairs of a batch; halved for good where the memory does not hold so many.
    """

    def __init__(self, xp: Any, at_once: int = AT_ONCE):
        self.xp, self.at_once = xp, at_once

    def run(self, work: Callable[[slice], Part], count: int) -> list[Part]:
        """Results of ``work(rows)`` over the rows 0..count-1, batch by batch.

        Raises
        ------
        SpeckleRecError
            If the memory does not hold a single pair.
        """
        out: list[Part] = []
        start = 0
        while start < count:
            stop = min(start + self.at_once, count)
            try:
                out.append(work(slice(start, stop)))
                start = stop
                continue
            except MemoryError:      # cupy's is one; what the batch held is let go when this block ends
                pass
            if self.at_once == 1:
                raise SpeckleRecError("the GPU's memory does not hold the work on one frame pair; use --device cpu")
            self.at_once //= 2
            if self.xp is not np:
                self.xp.get_default_memory_pool().free_all_blocks()
        return out
