"""Containers without a home, with a read-only file system, or without any folder for temporary files."""

import os
import shutil
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from small_scans import random_poses, speckle

from speckle_rec import caches, environment
from speckle_rec.io import tusrec

ROOT = Path(__file__).resolve().parents[1]
NOBODY = 65534
PLAIN = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8"}      # neither HOME nor any cache's folder
SETTLED = ("NUMBA_CACHE_DIR", "MPLCONFIGDIR", "CUPY_CACHE_DIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "TMPDIR", "TEMP",
           "TMP", "HOME")

as_root = pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("setpriv"),
                             reason="NOT RUN: only root can become another user, with setpriv")


@pytest.fixture(scope="module")
def mounts():
    """Skip, with the reason, where mounts cannot be made private to a process."""
    tried = subprocess.run(["unshare", "--mount", "sh", "-c", "mount -o bind,ro / /mnt"], capture_output=True,
                           text=True, check=False) if shutil.which("unshare") else None
    if tried is None or tried.returncode:
        pytest.skip(f"NOT RUN: no mounts of its own ({'no unshare' if tried is None else tried.stderr.strip()})")


@pytest.fixture
def world():
    """A folder that anybody may reach, with a copy of the package that only its owner may write to, without caches."""
    with tempfile.TemporaryDirectory(prefix="world_") as name:
        folder = Path(name)
        folder.chmod(0o755)
        shutil.copytree(ROOT / "speckle_rec", folder / "app" / "speckle_rec",
                        ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "cli.py", folder / "app")
        for free in ("tmp", "out"):
            (folder / free).mkdir()
            (folder / free).chmod(0o1777)
        tusrec.write_scan(folder / "scan.h5", speckle(3), random_poses(3))
        yield folder


def run(world, *arguments, before=(), **variables):
    """What a process of the copy did; `before` are words before the interpreter's."""
    done = subprocess.run([*before, sys.executable, *map(str, arguments)], cwd=world / "app", capture_output=True,
                          text=True, check=False, timeout=600, env={**PLAIN, **variables})
    assert "Traceback" not in done.stderr, done.stderr
    return done


def as_user(user):
    """Words that make a command another user's, who may read all that root may: this Python may lie in root's home."""
    return ("setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", "--inh-caps=+dac_read_search",
            "--ambient-caps=+dac_read_search")


def volume(world):
    """The words of a command with kernels and their threads, and a figure; it compiles in a second or two."""
    return ("cli.py", "compound", world / "scan.h5", "--poses", world / "poses.txt", "--spacing-mm", "5",
            "--hole-radius", "0", "-o", world / "out" / "v.nrrd")


@as_root
@pytest.mark.parametrize("user", [NOBODY, 54321])      # with a line in passwd, and without
def test_a_user_without_a_home(world, user):
    shown = run(world, "cli.py", "--help", before=as_user(user), TMPDIR=str(world / "tmp"))
    assert shown.returncode == 0 and "reconstruct" in shown.stdout and shown.stderr == ""
    (kept,) = (world / "tmp").iterdir()
    assert kept.name == f"speckle-rec-{user}" and stat.S_IMODE(kept.stat().st_mode) == 0o700
    assert kept.stat().st_uid == user and not (world / "app" / "~").exists()
    told = run(world, "cli.py", "doctor", before=as_user(user), TMPDIR=str(world / "tmp"))
    assert told.returncode == 0 and f"kernels are kept in {kept}/numba" in " ".join(told.stdout.split())
    # One line with -v, also where the work itself cannot begin.
    said = run(world, "cli.py", "reconstruct", "nowhere.h5", "-v", before=as_user(user), TMPDIR=str(world / "tmp"))
    assert said.returncode == 2 and [f"kept in {kept}" in line for line in said.stderr.splitlines()] == [True, False]


@as_root
def test_kernels_figures_and_workers_of_a_user_without_a_home(world):
    code = f"""
import sys
sys.path.insert(0, {str(ROOT / "tests")!r})
import speckle_rec as sr, numpy as np
from speckle_rec import geometry, workers
from speckle_rec.report import plots
T = geometry.chain(np.tile(np.eye(4), (3, 1, 1)))
plots.trajectory({str(world / "out" / "t.png")!r}, T)
if __name__ == "__main__":
    for _, made in workers.run_all(geometry.chain, [T, T], jobs=2):
        assert (made == T).all(), made
"""
    script = world / "out" / "script.py"
    script.write_text(code)
    done = run(world, script, before=as_user(NOBODY), TMPDIR=str(world / "tmp"), PYTHONPATH=str(world / "app"))
    assert done.returncode == 0 and done.stderr == ""
    assert (world / "out" / "t.png").stat().st_size > 1000
    kept = world / "tmp" / f"speckle-rec-{NOBODY}"
    assert list((kept / "numba").glob("kernels_*/twists.along-*.nbc")) and list((kept / "mplconfigdir").iterdir())


READ_ONLY = """
for folder in / /tmp /var/tmp /dev /dev/shm; do mount -o bind "$folder" "$folder" 2>/dev/null; done
mount -o bind,rw {out} {out} || exit 9
for folder in / /tmp /var/tmp /dev /dev/shm; do mount -o remount,bind,ro "$folder" 2>/dev/null; done
touch {world}/written 2>/dev/null && exit 9
exec "$@"
"""


@as_root
def test_a_read_only_file_system(world, mounts):
    (world / "poses.txt").write_text("1 0 0 0 0 1 0 0 0 0 1 0\n" * 3)
    before = ("unshare", "--mount", "sh", "-c", READ_ONLY.format(world=world, out=world / "out"), "sh")
    for words in (["cli.py", "--help"], ["cli.py", "doctor"], ["-c", "import speckle_rec; speckle_rec.reconstruct"]):
        done = run(world, *words, before=before)
        assert done.returncode == 0 and done.stderr == "", done
    assert not any((world / "tmp").iterdir())
    # The one place that may be written to is enough for kernels and figures.
    done = run(world, *volume(world), before=before)
    assert done.returncode == 0 and (world / "out" / "v.nrrd").is_file(), done
    done = run(world, "cli.py", "reconstruct", "nowhere.h5", "-v", before=before)
    assert done.returncode == 2 and "compiled anew" in done.stderr.splitlines()[0]
