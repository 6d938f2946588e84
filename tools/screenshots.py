"""Pictures of reports in headless Chromium, checked to be those of their results.

python tools/screenshots.py RESULT PICTURE.png [--width 1400] [--height 900] [--section frames] [--frame 120] [--dark]
python tools/screenshots.py RESULT PICTURE.png --figure "Decorrelation curves used"
python tools/screenshots.py --docs RESULT_OF_THE_DEMO [RESULT_OF_THE_LIMB]

The page is written anew, and has to show the figures of ``summary.json``, made by this version; these are kept in the
PNG. --section scrolls to a part of the page (frames, volume, readings), --whole takes all of it, --figure one of its
figures as it is. --docs makes the pictures in docs/img.
"""

import argparse
import base64
import io
import json
import re
import sys
from pathlib import Path

from PIL import Image, PngImagePlugin

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT)]

from speckle_rec import __version__  # noqa: E402
from speckle_rec.report import html  # noqa: E402
from speckle_rec.report.words import number  # noqa: E402
from tools.browser import Browser  # noqa: E402

KEPT = "speckle-rec"        # name of the text in the PNG


def told(result: Path) -> dict[str, str]:
    """The figures of ``summary.json`` that a page shows first, as it writes them."""
    summary = json.loads((result / "summary.json").read_text(encoding="utf-8"))
    if summary["version"] != __version__:
        raise SystemExit(f"{result}: made by version {summary['version']}, this is {__version__}")
    found, verdict, score = summary["found"], summary["verdict"], summary.get("score") or {}
    out = {"version": __version__, "scan": summary["scan"], "found": f"{found[:1].upper()}{found[1:]}.",
           "shape": verdict["shape"], "scale": f"± {number(float(verdict['scale_percent']))} %"}
    return out | ({"score": number(score["final"])} if score.get("final") is not None else {})


def check(browser: Browser, figures: dict[str, str]) -> None:
    """Stop unless the page shows them."""
    text = " ".join(str(browser.run("document.body.textContent")).split())
    missing = [f"{name}: {value}" for name, value in figures.items() if value not in text]
    if missing or browser.errors or browser.requests:
        raise SystemExit(f"the page lacks {missing}; errors {browser.errors}; requests {browser.requests}")


def picture(result: Path, out: Path, *, width: int = 1400, height: int = 900, section: str = "", frame: int = 0,
            dark: bool = False, whole: bool = False) -> None:
    """Take a picture of the page of a result."""
    page = result / "report.html"
    html.write(page, result)
    with Browser(width, height) as browser:
        browser.dark(dark)
        browser.open(page, "document.documentElement.dataset.slices === 'yes' || !document.getElementById('slices')")
        figures = told(result)
        check(browser, figures)
        browser.run(f"(e => {{ e.value = {frame}; e.dispatchEvent(new Event('input')); }})"
                    "(document.getElementById('frame'))")
        if section:
            browser.run(f"document.getElementById('{section}').scrollIntoView()")
        browser.run("new Promise(done => setTimeout(done, 800))")
        browser.settle()
        save(browser.picture(whole), out, figures)


def figure(result: Path, out: Path, title: str) -> None:
    """Take a figure out of the page of a result by its title."""
    page = result / "report.html"
    html.write(page, result)
    text = page.read_text(encoding="utf-8")
    found = re.search(rf'alt="{re.escape(title)}" src="data:image/png;base64,([^"]*)"', text)
    if found is None:
        raise SystemExit(f"{page}: no figure called '{title}'")
    save(base64.b64decode(found[1]), out, told(result))


def save(png: bytes, out: Path, figures: dict[str, str]) -> None:
    """Write a picture with what it shows."""
    info = PngImagePlugin.PngInfo()
    info.add_itxt(KEPT, json.dumps(figures, ensure_ascii=False))
    image = Image.open(io.BytesIO(png)).convert("RGB")
    image.save(out, pnginfo=info, optimize=True)
    print(f"{out}: {image.width} x {image.height}, {out.stat().st_size / 1e3:.0f} kB: {figures['found']}")


def docs(demo: Path, limb: Path | None) -> None:
    """The pictures of docs/REPORT.md. That of a scan whose licence forbids it is made by hand and stays outside."""
    img = ROOT / "docs" / "img"
    picture(demo, img / "report_demo.png")
    picture(demo, img / "report_demo_frames.png", section="frames", frame=60, height=860)
    picture(demo, img / "report_demo_volume.png", section="volume", frame=60, height=640)
    figure(demo, img / "curves_demo.png", "Decorrelation curves used")
    if limb is not None:
        picture(limb, img / "report_limb.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("result", type=Path)
    parser.add_argument("out", type=Path, nargs="?")
    parser.add_argument("--docs", action="store_true")
    parser.add_argument("--width", type=int, default=1400)
    parser.add_argument("--height", type=int, default=900)
    parser.add_argument("--section", default="")
    parser.add_argument("--frame", type=int, default=0)
    parser.add_argument("--dark", action="store_true")
    parser.add_argument("--whole", action="store_true")
    parser.add_argument("--figure", metavar="TITLE")
    a = parser.parse_args()
    if a.docs:
        docs(a.result, a.out)
    elif a.out is None:
        parser.error("expected where the picture goes")
    elif a.figure:
        figure(a.result, a.out, a.figure)
    else:
        picture(a.result, a.out, width=a.width, height=a.height, section=a.section, frame=a.frame, dark=a.dark,
                whole=a.whole)


if __name__ == "__main__":
    main()
