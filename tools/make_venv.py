"""Make a virtual environment with pip, also where the system's Python comes without ensurepip (bare Debian)."""

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
        print("this Python has no ensurepip (python3-venv); fetching pip", file=sys.stderr)
    venv.create(folder, with_pip=False, symlinks=True, clear=True)
    python = folder / "bin" / "python"
    here = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "pip"]
    if subprocess.run(here, stderr=subprocess.DEVNULL, check=False).returncode == 0:
        return
    with tempfile.TemporaryDirectory() as temporary:
        script = Path(temporary) / "get-pip.py"
        try:
            urllib.request.urlretrieve(GET_PIP, script)
        except OSError as error:
            sys.exit(f"pip is missing and cannot be fetched from {GET_PIP} ({error}); apt install python3-venv")
        subprocess.run([str(python), str(script), "--quiet"], check=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
