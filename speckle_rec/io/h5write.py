"""HDF5 files that survive a full disk: the library itself crashes the process after a write that failed."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

import h5py


class H5Writer:
    """A new HDF5 file, written through Python so that errors of the disk can be told.

    The first error is kept and later writes are dropped: HDF5 sees success, the caller the error, at `check` or
    `close`.

    Attributes
    ----------
    file : h5py.File to fill.
    """

    def __init__(self, path: Path):
        self.path = path
        self._sink = _Sink(path)
        self.file = h5py.File(self._sink, "w")

    def check(self) -> None:
        """Raise the OSError that a write met."""
        if self._sink.error is not None:
            raise self._sink.error

    def close(self) -> None:
        """Finish the file, and `check`."""
        try:
            self.file.close()
        finally:
            self._sink.close()
        self.check()

    def __enter__(self) -> "H5Writer":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if kind is None:
            self.close()
            return
        try:
            self.close()
        except (OSError, RuntimeError, ValueError) as second:
            if self._sink.error is not None and not isinstance(error, OSError | KeyboardInterrupt):
                raise self._sink.error from second


@contextmanager
def create(path: Path | str) -> Iterator[h5py.File]:
    """A new HDF5 file for the length of a block.

    Raises
    ------
    OSError
        If the disk is full, or writing fails otherwise.
    """
    with H5Writer(Path(path)) as writer:
        yield writer.file


class _Sink:
    """What h5py needs of a file object."""

    def __init__(self, path: Path):
        self.path = path
        self._raw = open(path, "w+b", buffering=0)
        self.error: OSError | None = None

    def write(self, data) -> int:
        view = memoryview(data).cast("B")
        done = 0
        while done < len(view) and self.error is None:
            try:
                done += self._raw.write(view[done:]) or 0
            except OSError as error:
                self.error = OSError(error.errno, error.strerror, str(self.path))
        if done < len(view):
            self._raw.seek(len(view) - done, 1)
        return len(view)

    def readinto(self, buffer) -> int:
        view = memoryview(buffer).cast("B")
        done = 0
        while done < len(view) and (some := self._raw.readinto(view[done:])):
            done += some
        view[done:] = bytes(len(view) - done)
        return len(view)

    def read(self, size: int) -> bytes:
        data = bytearray(size)
        self.readinto(data)
        return bytes(data)

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._raw.seek(offset, whence)

    def tell(self) -> int:
        return self._raw.tell()

    def truncate(self, size: int | None = None) -> int:
        try:
            return self._raw.truncate(size)
        except OSError as error:
            self.error = self.error or OSError(error.errno, error.strerror, str(self.path))
            return size or 0

    def flush(self) -> None:
        self._raw.flush()

    def close(self) -> None:
        self._raw.close()
