"""The picture of the directions that tell a scan from its mirror image.

python tools/draw_handedness.py [-o docs/figures/handedness.png]
"""

import argparse
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Polygon, Rectangle

GREY = "0.45"


def arrow(axes, start, end, text, shift=(0, 0), style="-|>", curve=0.0):
    axes.annotate("", end, start, arrowprops={"arrowstyle": style, "lw": 2, "connectionstyle": f"arc3,rad={curve}"})
    axes.text(end[0] + shift[0], end[1] + shift[1], text, ha="center", va="center", fontsize=10)


def you(axes, x, y):
    axes.add_patch(Circle((x, y), 0.32, facecolor="0.85", edgecolor="black"))
    axes.text(x, y, "you", ha="center", va="center", fontsize=8)


def probe_from_above(axes, y=0.0):
    axes.add_patch(Rectangle((-1.2, y - 0.22), 2.4, 0.44, facecolor="0.85", edgecolor="black"))
    axes.text(0, y, "probe", ha="center", va="center", fontsize=9)
    axes.text(1.3, y, "right of\nthe screen", ha="left", va="center", fontsize=8, color=GREY)


def swept(axes):
    probe_from_above(axes)
    arrow(axes, (0, 0.3), (0, 1.6), "--swept away", (0, 0.25))
    arrow(axes, (0, -0.3), (0, -1.4), "--swept towards", (0, -0.25))
    you(axes, 0, -2.4)
    axes.set_title("from above", fontsize=10)


def tilted(axes):
    axes.plot([-2.2, 2.2], [0, 0], color=GREY, lw=1)
    axes.text(-2.2, 0.12, "skin", fontsize=8, color=GREY)
    for slant, style, name in ((0.6, "-", "away"), (-0.6, "--", "towards")):
        top, far = np.array([-slant, 1.6]), np.array([slant, -1.6])
        across = np.array([0.16, 0.0])
        axes.add_patch(Polygon([top - across, top + across, across, -across], facecolor="0.85", edgecolor="black",
                               ls=style))
        axes.plot(*np.stack([(0, 0), far], 1), color="black", lw=1.5, ls=style)
        arrow(axes, (0.1 * np.sign(slant), -1.75), (slant + 0.45 * np.sign(slant), -1.75), f"--tilted-first\n{name}",
              (0.1 * np.sign(slant), -0.42))
    axes.text(0, 1.95, "hand", ha="center", fontsize=8, color=GREY)
    axes.text(0, -1.4, "far end", ha="center", fontsize=8, color=GREY)
    you(axes, -2.1, 1.2)
    axes.set_title("from your left hand", fontsize=10)


def turned(axes):
    probe_from_above(axes)
    arrow(axes, (0.9, 0.75), (1.0, -0.75), "--turned clockwise", (0.2, -0.35), curve=-0.7)
    arrow(axes, (-0.9, 0.75), (-1.0, -0.75), "anticlockwise", (-0.3, -0.75), curve=0.7)
    you(axes, 0, -2.4)
    axes.set_title("from above: from the hand down the probe", fontsize=10)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--out", type=Path, default=Path("docs/figures/handedness.png"))
    out = parser.parse_args().out
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    for k, draw in enumerate((swept, tilted, turned)):
        axes = figure.add_subplot(1, 3, k + 1)
        draw(axes)
        axes.set(xlim=(-2.6, 2.6), ylim=(-2.9, 2.3), aspect="equal")
        axes.axis("off")
    figure.savefig(out, dpi=90)
    print(f"{out}: {out.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
