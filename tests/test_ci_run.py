""".ci/run: lint counts as much as the tests, and pytest's closing line is printed last."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

RUN = Path(__file__).resolve().parents[1] / ".ci" / "run"
MAKE = """#!/bin/sh
case $1 in
  test) echo "3 passed in 0.10s"; exit %d ;;
  lint) echo "All checks passed!"; exit %d ;;
esac
"""


@pytest.mark.parametrize(("test", "lint", "status"), [(0, 0, 0), (0, 2, 2), (1, 0, 1), (1, 2, 1)])
def test_status_and_last_line(tmp_path, test, lint, status):
    if not RUN.is_file() or os.name != "posix":
        pytest.skip(f"NOT TESTED: {RUN} is not here, or there is no sh")
    (tmp_path / ".ci").mkdir()
    shutil.copy(RUN, tmp_path / ".ci" / "run")
    make = tmp_path / "make"
    make.write_text(MAKE % (test, lint))
    make.chmod(0o755)
    ran = subprocess.run(["sh", str(tmp_path / ".ci" / "run")], capture_output=True, text=True,
                         env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"})
    assert ran.returncode == status
    assert ran.stdout.splitlines()[-1] == "3 passed in 0.10s"
    assert "All checks passed!" in ran.stdout
    assert (f"make lint failed with status {lint}" in ran.stdout) == (lint != 0)
