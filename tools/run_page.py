"""Run the shell commands of a page of the documentation in an empty folder, as a reader would type them.

python tools/run_page.py docs/GETTING-STARTED.md [--folder DIR]

Every ``sh`` block is run in order in one shell that stops at the first failure. REPO names this checkout, for pages
that begin with a clone; where a page does not clone, `python` is this one and the folder links to the checkout.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]


def commands(page: Path) -> str:
    """The shell blocks of a page."""
    return "\n".join(re.findall(r"^```sh\n(.*?)^```", page.read_text(encoding="utf-8"), re.S | re.M))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("page", type=Path)
    parser.add_argument("--folder", type=Path, help="where to run (default: a temporary folder)")
    a = parser.parse_args()
    script = commands(a.page)
    with tempfile.TemporaryDirectory() as scratch:
        folder = a.folder or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        if "git clone" not in script and not (folder / "cli.py").exists():
            (folder / "cli.py").symlink_to(CHECKOUT / "cli.py")
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        environment = {**os.environ, "REPO": str(CHECKOUT), "PATH": path, "PYTHONPATH": str(CHECKOUT)}
        if "git clone" in script:
            del environment["PYTHONPATH"]
        return subprocess.run(["bash", "-euxc", script], cwd=folder, env=environment).returncode


if __name__ == "__main__":
    sys.exit(main())
