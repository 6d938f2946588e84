"""Anyone's entry in the challenge's interface (``predict_ddfs.py``), run in an interpreter of its own and scored."""

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..compute import environment
from ..errors import InputError, SpeckleRecError
from ..io.calib import write_challenge
from ..scan import Scan
from . import challenge_worker

Array = NDArray[np.float64]

PREFIX = "challenge:"
FILE = "predict_ddfs.py"
TIMEOUT_S = 3600.0
LAST_BYTES = 1 << 14     # of what an entry prints, to tell why it ended
NOT_FOR_ENTRIES = ("PYTHONPATH", "PYTHONHOME")      # of this interpreter, not of theirs


@dataclass(frozen=True)
class Submission:
    """A file with a function ``predict_ddfs`` and the interpreter that has what it needs.

    Attributes
    ----------
    path : the file, whatever its name.
    python : its interpreter; it needs numpy beside the entry's own packages.
    device : "auto" hands over CUDA where its torch finds some, "cpu" does not.
    timeout_s : longest time for one scan.
    """

    path: Path
    python: str = sys.executable
    device: str = "auto"
    timeout_s: float = TIMEOUT_S

    @classmethod
    def of(cls, word: str, python: str | None = None, device: str = "auto",
           timeout_s: float = TIMEOUT_S) -> "Submission":
        """A submission from ``challenge:PATH/name.py``, or from the folder of a ``predict_ddfs.py``.

        Raises
        ------
        InputError
            If there is no such file.
        """
        path = Path(word.removeprefix(PREFIX)).expanduser()
        path = path / FILE if path.is_dir() else path
        if not path.is_file():
            raise InputError(f"{word}: expected challenge:PATH/{FILE}, found no file at {path}")
        return cls(path.absolute(), python or sys.executable, device, timeout_s)

    @property
    def label(self) -> str:
        """A short name: the folder the file lies in, and the file where it is not called as the challenge's is."""
        return f"{PREFIX}{self.path.parent.name}" + ("" if self.path.name == FILE else f"/{self.path.name}")

    def __str__(self) -> str:
        return f"{PREFIX}{self.path}"

    def run(self, scan: Scan, T_first_true: Array,
            T_prev_true: Array) -> tuple[dict[str, float], dict[str, float], float]:
        """Let it predict the fields of a scan; measure them as the challenge does.

        Returns
        -------
        errors : GPE, LPE (and GLE, LLE where landmarks are known) in mm.
        mirrored : the same of the mirror image of the fields.
        seconds : that ``predict_ddfs`` took.

        Raises
        ------
        SpeckleRecError
            If it fails, takes too long, or returns arrays of other shapes.
        """
        marks = np.array([[1, 1, 1]]) if scan.landmarks is None else scan.landmarks
        with tempfile.TemporaryDirectory(prefix="speckle_rec_") as name:
            work = Path(name)
            frames = np.lib.format.open_memmap(work / "frames.npy", "w+", np.uint8, (scan.n_frames, *scan.shape))
            with open(work / "frames.npy", "r+b") as file:     # a mapped page without room would end the process
                os.posix_fallocate(file.fileno(), 0, os.fstat(file.fileno()).st_size)
            for start, block in scan.blocks():
                frames[start:start + len(block)] = block
            frames.flush()
            del frames
            np.save(work / "landmark.npy", marks)
            tool = np.eye(4) if scan.T_tool_image is None else scan.T_tool_image
            write_challenge(work / "calib_matrix.csv", scan.scale, tool)
            truth = io.BytesIO()
            np.savez(truth, G=T_first_true, L=T_prev_true, scale=scan.scale)
            found = self._call(work, truth.getvalue())
        if scan.landmarks is None:
            for errors in (found["errors"], found["mirrored"]):
                del errors["GLE"], errors["LLE"]
        return found["errors"], found["mirrored"], float(found["seconds"])

    def _call(self, work: Path, truth: bytes) -> dict[str, Any]:
        """What the worker found; whatever the entry has started has ended by then."""
        command = [self.python, challenge_worker.__file__, str(self.path), str(work), self.device]
        variables = {name: value for name, value in environment.for_others().items() if name not in NOT_FOR_ENTRIES}
        with open(work / "log", "w+b") as log:      # a pipe would stay open as long as anything it has started lives
            try:
                process = subprocess.Popen(command, cwd=self.path.parent, env=variables, stdin=subprocess.PIPE,
                                           stdout=log, stderr=log, start_new_session=True)
            except OSError as error:
                raise InputError(f"--python {self.python}: cannot be run ({error.strerror})") from error
            try:
                process.communicate(truth, self.timeout_s)
            except subprocess.TimeoutExpired as error:
                raise SpeckleRecError(f"{self.label}: took more than {self.timeout_s:.3g} s") from error
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            log.seek(max(0, log.tell() - LAST_BYTES))
            said = log.read().decode(errors="replace").split("\n")
        try:
            found = json.loads((work / "found.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            last = [line.strip() for line in said if line.strip()][-1:] or ["it said nothing"]
            found = {"error": f"ended with status {process.returncode} and no fields: {last[0]}"}
        if "error" in found:
            raise SpeckleRecError(f"{self.label}: {' '.join(found['error'].split())[:300]}")
        return found
