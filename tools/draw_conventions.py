"""The picture of the conventions: axes, units, directions, and what a pose maps.

python tools/draw_conventions.py [-o docs/figures/conventions.png]
"""

import argparse
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, Rectangle

from speckle_rec import geometry
from speckle_rec.probe import field

SCALE = np.diag([0.22447, 0.23554, 1.0, 1.0])
AWAY = np.array([0.55, 0.38])       # where a millimetre along z, away from the reader, lands on the page


def page(points: np.ndarray) -> np.ndarray:
    """Image mm [..., 3] on the page."""
    points = np.asarray(points, float)
    return np.stack([points[..., 0], -points[..., 1]], -1) + points[..., 2:] * AWAY


def arrow(axes, start, end, text, shift=(3, 3)):
    start, end = page(start), page(end)
    axes.add_patch(FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=14, lw=1.8, shrinkA=0, shrinkB=0))
    axes.annotate(text, end, xytext=shift, textcoords="offset points", fontsize=10)


def turn(axes, axis, radius, centre, text, shift):
    """An arrow of positive rotation about one of the axes."""
    angles = np.linspace(-0.6, 2.2, 40)
    first, second = np.eye(3)[(axis + 1) % 3], np.eye(3)[(axis + 2) % 3]
    circle = page(centre + radius * (np.cos(angles)[:, None] * first + np.sin(angles)[:, None] * second))
    axes.plot(*circle.T, color="0.25", lw=1.2)
    axes.annotate("", circle[-1], circle[-3], arrowprops={"arrowstyle": "-|>", "color": "0.25", "lw": 1.2})
    axes.annotate(text, circle[len(circle) // 2], xytext=shift, textcoords="offset points", fontsize=9, color="0.25")


def frame(axes, T, fan, style, name, at, shift):
    outline = np.column_stack([fan.outline(40), np.zeros(80 + 1), np.ones(80 + 1)])
    axes.plot(*page((outline @ T.T)[:, :3]).T, **style)
    corner = page((T @ [*fan.outline(40)[at], 0, 1])[:3])
    axes.annotate(name, corner, xytext=shift, textcoords="offset points", fontsize=10, color=style["color"])


def space(axes, fan):
    """Frame 0, a later frame, the axes, and positive rotations."""
    about = geometry.translation(np.array([*fan.face_mm, 0.0]))
    T = about @ geometry.exp(np.array([4, 0, 14, 0.3, -0.12, 0.0])) @ geometry.inverse(about)
    frame(axes, T, fan, {"color": "0.45", "lw": 1.4, "ls": (0, (4, 2))}, "frame i", 40, (-6, -16))
    frame(axes, np.eye(4), fan, {"color": "black", "lw": 1.8}, "frame 0", 40, (4, -6))
    o = np.array([-52.0, 0, 0])     # aside, for room; the origin is the corner of the image
    arrow(axes, o, o + [42, 0, 0], "x: right (lateral), mm", shift=(6, -4))
    arrow(axes, o, o + [0, 42, 0], "y: down\n(axial), mm", shift=(-58, -6))
    arrow(axes, o, o + [0, 0, 42], "z = x × y: elevation,\naway from the reader, mm", shift=(4, -3))
    turn(axes, 0, 7, o + [30, 0, 0], "tilt", (8, -17))
    turn(axes, 1, 7, o + [0, 30, 0], "yaw", (10, 2))
    turn(axes, 2, 7, o + [0, 0, 26], "roll", (9, 4))
    face = np.array([*fan.face_mm, 0.0])
    axes.plot(*page(face), "ko", ms=5)
    axes.annotate("centre of the probe face:\ncovariances are twists about it", page(face), xytext=(26, 42),
                  textcoords="offset points", fontsize=9, arrowprops={"arrowstyle": "-", "lw": 0.7})
    point = np.array([55.0, 48, 0, 1])
    axes.plot(*page((T @ point)[:3]), "o", color="0.25", ms=5)
    axes.annotate("a point of frame i:\np in image mm of frame i,\nT_first_frame[i] @ p in image mm of frame 0",
                  page((T @ point)[:3]), xytext=(-75, -58), textcoords="offset points", fontsize=9, color="0.25",
                  arrowprops={"arrowstyle": "-", "lw": 0.7, "color": "0.25"})
    axes.set_title("poses, in mm; rotations in rad, right-handed", fontsize=11, pad=26)
    axes.set(aspect="equal")
    axes.axis("off")


def pixels(axes):
    """Pixels, counted from 1, and where they lie."""
    for column in range(4):
        for row in range(3):
            axes.add_patch(Rectangle((column, -row - 1), 1, 1, facecolor=str(0.55 + 0.1 * ((column + row) % 2)),
                                     edgecolor="white"))
            axes.text(column + 0.5, -row - 0.5, f"({column + 1}, {row + 1})", ha="center", va="center", fontsize=10)
    axes.annotate("", (4.4, 0.25), (0, 0.25), arrowprops={"arrowstyle": "-|>", "lw": 1.6})
    axes.text(2.2, 0.35, "column x, from 1", ha="center", fontsize=10)
    axes.annotate("", (-0.25, -3.4), (-0.25, 0), arrowprops={"arrowstyle": "-|>", "lw": 1.6})
    axes.text(-0.45, -1.5, "row y, from 1", rotation=90, ha="center", va="center", fontsize=10)
    axes.text(2, -4.3, "image mm = scale @ (x, y, 0, 1)\nthe centre of the pixel; in numpy frames[i, y − 1, x − 1]",
              ha="center", fontsize=10)
    axes.set(xlim=(-0.9, 4.6), ylim=(-5.0, 0.9), aspect="equal")
    axes.set_title("pixels", fontsize=11)
    axes.axis("off")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--out", type=Path, default=Path("docs/figures/conventions.png"))
    out = parser.parse_args().out
    figure = Figure(figsize=(12, 6.2), layout="constrained")
    grid = figure.add_gridspec(1, 3)
    space(figure.add_subplot(grid[0, :2]), field.ultrasonix_4dc7(SCALE))
    pixels(figure.add_subplot(grid[0, 2]))
    figure.savefig(out, dpi=100)
    print(f"{out}: {out.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
