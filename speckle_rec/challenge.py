"""Anyone's entry in the challenge's interface (``predict_ddfs.py``), run in an interpreter of its own and scored."""

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from . import challenge_worker
from .errors import InputError, SpeckleRecError
from .io.calib import write_challenge
from .scan import Scan

Array = NDArray[np.float64]

PREFIX = "challenge:"
FILE = "predict_ddfs.py"
TIMEOUT_S = 3600.0


@dataclass(frozen=True)
class Submission:
    """A ``predict_ddfs.py`` and the interpreter that has what it needs.

    Attributes
    ----------
    path : the file.
    python : its interpreter; it needs numpy beside the entry's own packages.
    device : "auto" hands over CUDA where its torch finds some, "cpu" does not.
    timeout_s : longest time for one scan.
    """

    path: Path
    python: str = sys.executable
    device: str = "auto"
    timeout_s: float = TIMEOUT_S

    @classmethod
    def of(cls, word: str, python: str | None = None, device: str = "auto") -> "Submission":
        """A submission from ``challenge:PATH/predict_ddfs.py`` (or its folder).

        Raises
        ------
        InputError
            If there is no such file.
        """
        path = Path(word.removeprefix(PREFIX)).expanduser()
        path = path / FILE if path.is_dir() else path
        if not path.is_file():
            raise InputError(f"{word}: expected challenge:PATH/{FILE}, found no file at {path}")
        return cls(path.resolve(), python or sys.executable, device)

    @property
    def label(self) -> str:
        """A short name: the folder the file lies in."""
        return f"{PREFIX}{self.path.parent.name}"

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
            np.savez(work / "truth.npz", G=T_first_true, L=T_prev_true, scale=scan.scale)
            self._call(work)
            found = json.loads((work / "found.json").read_text(encoding="utf-8"))
        if scan.landmarks is None:
            for errors in (found["errors"], found["mirrored"]):
                del errors["GLE"], errors["LLE"]
        return found["errors"], found["mirrored"], float(found["seconds"])

    def _call(self, work: Path) -> None:
        command = [self.python, challenge_worker.__file__, str(self.path), str(work), self.device]
        environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHONHOME")}
        try:
            done = subprocess.run(command, cwd=self.path.parent, env=environment, capture_output=True, text=True,
                                  errors="replace", timeout=self.timeout_s, check=False)
        except subprocess.TimeoutExpired as error:
            raise SpeckleRecError(f"{self.label}: took more than {self.timeout_s:.0f} s") from error
        except OSError as error:
            raise InputError(f"--python {self.python}: cannot be run ({error.strerror})") from error
        if done.returncode or not (work / "found.json").is_file():
            last = [line for line in (done.stderr or done.stdout).strip().splitlines() if line.strip()][-1:]
            raise SpeckleRecError(f"{self.label}: ended with status {done.returncode}: "
                                  f"{last[0].strip()[:300] if last else 'it said nothing'}")
