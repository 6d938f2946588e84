"""Containers without a home, with a read-only file system, or without any folder for temporary files."""

import os
import shutil
import stat
import subprocess
import sys
import tempfile
import types
from pathlib import Path

import pytest
from small_scans import random_poses, speckle

from speckle_rec.compute import caches, environment
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
    """A folder that anybody may reach, with a copy of the package that only its owner may write to, without kernels."""
    with tempfile.TemporaryDirectory(prefix="world_") as name:
        folder = Path(name)
        folder.chmod(0o755)
        shutil.copytree(ROOT / "speckle_rec", folder / "app" / "speckle_rec",
                        ignore=shutil.ignore_patterns("*.nbi", "*.nbc"))
        shutil.copy(ROOT / "cli.py", folder / "app")
        for free in ("tmp", "out"):
            (folder / free).mkdir()
            (folder / free).chmod(0o1777)
        tusrec.write_scan(folder / "scan.h5", speckle(3), random_poses(3), pixel_mm=(0.23, 0.22))
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


# Compiles a kernel, draws a figure into a result, and runs the kernel in as many processes as asked for.
WORK = """
import sys
import numpy as np
from pathlib import Path
from speckle_rec import geometry
from speckle_rec.compute import workers
from speckle_rec.io import staging
from speckle_rec.report import plots

T = geometry.chain(np.tile(np.eye(4), (3, 1, 1)))
if __name__ == "__main__":
    with staging.staged(Path(sys.argv[1])) as folder:
        plots.trajectory(folder / "trajectory.png", T)
    for _, made in workers.run_all(geometry.chain, [T, T], jobs=int(sys.argv[2])):
        assert (made == T).all(), made
"""


def works(world, jobs, **how):
    """Whether `WORK` does its work without a word."""
    (world / "app" / "work.py").write_text(WORK)
    done = run(world, "work.py", world / "out" / "result", jobs, **how)
    return done.returncode == 0 and done.stderr == "" and (world / "out" / "result" / "trajectory.png").is_file(), done


@as_root
@pytest.mark.parametrize("user", [NOBODY, 54321])      # with a line in passwd, and without
def test_a_user_without_a_home(world, user):
    shown = run(world, "cli.py", "--help", before=as_user(user), TMPDIR=str(world / "tmp"))
    assert shown.returncode == 0 and "reconstruct" in shown.stdout and shown.stderr == ""
    (kept,) = (world / "tmp").iterdir()
    assert kept.name == f"speckle-rec-{user}" and stat.S_IMODE(kept.stat().st_mode) == 0o700
    assert kept.stat().st_uid == user and not (world / "app" / "~").exists()
    if user != NOBODY:
        return
    told = run(world, "cli.py", "doctor", before=as_user(user), TMPDIR=str(world / "tmp"))
    assert told.returncode == 0 and f"kernels are kept in {kept}/numba" in " ".join(told.stdout.split())
    # One line with -v, also where the work itself cannot begin.
    said = run(world, "cli.py", "reconstruct", "nowhere.h5", "-v", before=as_user(user), TMPDIR=str(world / "tmp"))
    assert said.returncode == 2 and [f"kept in {kept}" in line for line in said.stderr.splitlines()] == [True, False]


@as_root
def test_kernels_of_a_folder_that_cannot_be_written_to_are_taken_over(world):
    """As in an image whose root is read-only: what was compiled while it was built is not compiled again."""
    made = world / "image"
    assert works(world, 1, NUMBA_CACHE_DIR=str(made))[0]
    (made / "marker").write_text("")
    shutil.rmtree(world / "out" / "result")
    well, done = works(world, 1, before=as_user(NOBODY), TMPDIR=str(world / "tmp"), NUMBA_CACHE_DIR=str(made))
    assert well, done
    kept = world / "tmp" / f"speckle-rec-{NOBODY}" / "numba"
    kernels = sorted(path.relative_to(made) for path in made.rglob("*.nbc"))
    assert kernels and sorted(path.relative_to(kept) for path in kept.rglob("*.nbc")) == kernels
    assert all((kept / name).read_bytes() == (made / name).read_bytes() for name in kernels)
    assert (kept / "marker").exists() and not list(kept.parent.glob("numba.*"))


@as_root
def test_kernels_figures_and_workers_of_a_user_without_a_home(world):
    well, done = works(world, 2, before=as_user(NOBODY), TMPDIR=str(world / "tmp"))
    assert well, done
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
    """Only the folder of the results can be written to: nothing is kept, and all works."""
    before = ("unshare", "--mount", "sh", "-c", READ_ONLY.format(world=world, out=world / "out"), "sh")
    for words in (["cli.py", "--help"], ["cli.py", "doctor"]):
        done = run(world, *words, before=before)
        assert done.returncode == 0 and done.stderr == "", done
    assert "they are compiled anew in every process" in " ".join(done.stdout.split())
    well, done = works(world, 1, before=before)      # several processes need /dev/shm
    assert well, done
    assert [path.name for path in (world / "out").iterdir()] == ["result"] and not any((world / "tmp").iterdir())


@pytest.fixture
def bare(monkeypatch, tmp_path):
    """A process without a home, beside a package that cannot be written to; its folder for temporary files."""
    for name in SETTLED:
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HOME", str(tmp_path / "file"))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(environment.os, "environ", dict(os.environ))      # what is settled stays in this test
    monkeypatch.setattr(caches, "PACKAGE", tmp_path / "file" / "none")
    monkeypatch.setattr(caches, "_numba_can_write", lambda: False)
    monkeypatch.setattr(caches, "notes", [])
    monkeypatch.setitem(sys.modules, "numba", types.SimpleNamespace(config=types.SimpleNamespace(CACHE_DIR="")))
    return tmp_path


def test_what_is_set_is_private_known_to_a_loaded_numba_and_not_passed_on(bare):
    caches.settle()
    folder = bare / f"speckle-rec-{os.geteuid()}"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert os.environ["NUMBA_CACHE_DIR"] == sys.modules["numba"].config.CACHE_DIR == str(folder / "numba")
    assert os.environ["MPLCONFIGDIR"].startswith(str(folder)) and len(caches.notes) == 1
    assert not {"NUMBA_CACHE_DIR", "MPLCONFIGDIR", "CUPY_CACHE_DIR"} & set(environment.for_others())
    (folder / "numba").mkdir()
    assert caches.private_folder() == folder


@pytest.mark.parametrize("spoilt", ["link", "file", "open to all", "of another"])
def test_a_folder_of_somebody_else_is_not_used(bare, monkeypatch, spoilt):
    folder = bare / f"speckle-rec-{os.geteuid()}"
    (bare / "theirs").mkdir(mode=0o700)
    if spoilt == "link":
        folder.symlink_to(bare / "theirs")
    elif spoilt == "file":
        folder.write_text("")
    else:
        folder.mkdir()
        folder.chmod(0o777 if spoilt == "open to all" else 0o700)
    if spoilt == "of another":
        another = os.geteuid() + 1
        folder.rename(bare / f"speckle-rec-{another}")
        monkeypatch.setattr(caches.os, "geteuid", lambda: another)
    found = caches.private_folder()
    assert found is None or found.parent != bare


def test_folders_that_work_are_left_alone(bare, monkeypatch):
    monkeypatch.setattr(caches, "_numba_can_write", lambda: True)
    monkeypatch.setenv("HOME", str(bare / "home"))
    before = dict(os.environ)
    caches.settle()
    assert dict(os.environ) == before and not caches.notes and not (bare / "home").exists()


def test_compiled_kernels_of_other_sources_are_thrown_away(monkeypatch, tmp_path):
    """A kernel that calls one of another file is stale once that file changes, which numba does not see."""
    for name in SETTLED:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(caches, "PACKAGE", tmp_path / "package")
    inner = tmp_path / "package" / "kernels"
    inner.mkdir(parents=True)
    (inner / "called.py").write_text("@njit\ndef f(x): return x")
    (inner / "calls.py").write_text("@njit\ndef g(x): return f(x)")
    (inner / "other.py").write_text("no kernel")
    compiled = inner / "__pycache__" / "calls.g-2.py311.nbi"

    def runs() -> bool:
        caches._throw_away_old()
        return compiled.exists()

    assert not runs()
    compiled.write_text("")         # as numba does, in the folder that stands ready
    assert runs()
    (inner / "other.py").write_text("still none")
    assert runs()
    (inner / "called.py").write_text("@njit\ndef f(x): return 2 * x")
    assert not runs()
    compiled.write_text("")
    assert runs()
