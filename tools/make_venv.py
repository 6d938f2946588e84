"""Make a virtual environment with pip, also where the system's Python comes without ensurepip (bare Debian)."""

import os
import subprocess
import sys
import tempfile
import urllib.request
import venv
from pathlib import Path

GET_PIP = "https://bootstrap.pypa.io/get-pip.py"


def main(folder: Path) -> None:
    if sys.version_info < (3, 11):  # noqa: UP036 - this runs on whatever `python3` is
        sys.exit(f"Python 3.11 or later is needed, this is {sys.version.split()[0]}: make PYTHON=python3.11 ...")
    try:
        venv.create(folder, with_pip=True, symlinks=True, clear=True)
        return
    except (subprocess.CalledProcessError, ImportError, OSError):
        print("this Python has no ensurepip (python3-venv); getting pip by other means", file=sys.stderr)
    venv.create(folder, with_pip=False, symlinks=True, clear=True)
    python = str(folder / "bin" / "python")
    if not (by_system_pip(python) or by_local_wheel(python)):
        by_get_pip(python)


def by_system_pip(python: str) -> bool:
    """Let the system's pip, if there is one, install into the environment."""
    command = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "pip"]
    return subprocess.run(command, stderr=subprocess.DEVNULL, check=False).returncode == 0


def by_local_wheel(python: str) -> bool:
    """Install from a wheel of pip in the folders of PIP_FIND_LINKS; a wheel of pip can run itself."""
    folders = (Path(word) for word in os.environ.get("PIP_FIND_LINKS", "").split())
    wheels = sorted(wheel for folder in folders if folder.is_dir() for wheel in folder.glob("pip-*.whl"))
    return any(subprocess.run([python, f"{wheel}/pip", "install", "--quiet", "--no-index", str(wheel)],
                              check=False).returncode == 0 for wheel in reversed(wheels))


def by_get_pip(python: str) -> None:
    """Install with the bootstrap script of PyPA."""
    with tempfile.TemporaryDirectory() as temporary:
        script = Path(temporary) / "get-pip.py"
        try:
            urllib.request.urlretrieve(GET_PIP, script)
        except OSError as error:
            sys.exit(f"pip is missing and cannot be fetched from {GET_PIP} ({error}); apt install python3-venv")
        subprocess.run([python, str(script), "--quiet"], check=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
