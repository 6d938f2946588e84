"""Pictures of a report in headless Chromium, at the width of a desk and of a phone.

python tools/screenshots.py RESULT/report.html PICTURE.png [--width 1100] [--height 1500]
python tools/screenshots.py RESULT/report.html PICTURE.png --figure Volume

Without --height the whole page is taken; --figure takes one of the figures in it as it is. Chromium's windows are at
least 500 px wide: a phone is a frame in one.
"""

import argparse
import base64
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import cv2

NARROWEST = 500
PHONE = """<!DOCTYPE html><body style="margin:0"><iframe id="page" src="{page}" style="border:0;width:{width}px;
height:{height}px"></iframe>"""
MEASURE = ('<script>addEventListener("load", () => {'
           "document.body.dataset.tall = document.documentElement.scrollHeight})</script>")


def chromium(*options: str) -> str:
    """Standard output of a headless browser."""
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        raise SystemExit("no Chromium found: apt-get install chromium")
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
               "--allow-file-access-from-files", "--virtual-time-budget=3000", *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout


def picture(report: Path, out: Path, width: int, height: int | None) -> None:
    """Take a picture of a report `width` px wide; of its whole height if none is given."""
    with tempfile.TemporaryDirectory() as folder:
        page, frame = Path(folder) / "page.html", Path(folder) / "frame.html"
        page.write_text(report.read_text(encoding="utf-8").replace("<head>", "<head>" + MEASURE, 1), encoding="utf-8")
        shown = page
        if width < NARROWEST:
            frame.write_text(PHONE.format(page=page.as_uri(), width=width, height=height or 9000), encoding="utf-8")
            shown = frame
        if height is None:
            tall = re.search(r'data-tall="(\d+)"', chromium(f"--window-size={max(width, NARROWEST)},900", "--dump-dom",
                                                            page.as_uri()))
            height = int(tall[1]) if tall else 4000
        chromium(f"--window-size={max(width, NARROWEST)},{height}", f"--screenshot={out.absolute()}", shown.as_uri())
    image = cv2.imread(str(out))[:, :width]
    cv2.imwrite(str(out), image, [cv2.IMWRITE_PNG_COMPRESSION, 9])
    print(f"{out}: {image.shape[1]} x {image.shape[0]}, {out.stat().st_size / 1e3:.0f} kB")


def figure(report: Path, out: Path, title: str) -> None:
    """Take a figure out of a report by its title."""
    found = re.search(rf'alt="{re.escape(title)}" src="data:image/png;base64,([^"]*)"',
                      report.read_text(encoding="utf-8"))
    if found is None:
        raise SystemExit(f"{report}: no figure called '{title}'")
    out.write_bytes(base64.b64decode(found[1]))
    print(f"{out}: {out.stat().st_size / 1e3:.0f} kB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("report", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--width", type=int, default=1100)
    parser.add_argument("--height", type=int)
    parser.add_argument("--figure", metavar="TITLE")
    a = parser.parse_args()
    if a.figure:
        figure(a.report, a.out, a.figure)
    else:
        picture(a.report, a.out, a.width, a.height)


if __name__ == "__main__":
    main()
