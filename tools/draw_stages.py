"""Draw the stages of the method and what passes between them: docs/img/stages.png.

    python tools/draw_stages.py

Packages, products and steps are read from the code, so that the picture is that of this version.
"""

import dataclasses
import sys
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from speckle_rec.products import stages  # noqa: E402
from speckle_rec.trajectory.estimate import STEPS  # noqa: E402

OUT = ROOT / "docs" / "img" / "stages.png"
# Package, the function that enters it, and the product that it gives.
WAY = (("scan", "Scan.open", None), ("frames", "view.look", stages.View),
       ("pairs", "measure.measure", stages.Measurements), ("speckle", "model.model", stages.SpeckleModel),
       ("trajectory", "estimate.estimate", stages.Trajectory), ("trajectory", "conclude.conclude", None))
GIVES = {0: "Scan", 5: "Reconstruction"}


def fields(product: type | None) -> str:
    """What a product holds, three names a line."""
    if product is None:
        return ""
    names = [f.name for f in dataclasses.fields(product)]
    return "\n".join(", ".join(names[k:k + 3]) for k in range(0, len(names), 3))


def main() -> None:
    figure = Figure(figsize=(11, 7.2), dpi=110)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, 110), ylim=(0, 72))
    axes.axis("off")
    height, top = 9.0, 66.0
    for k, (package, entered, product) in enumerate(WAY):
        y = top - k * 11.5
        axes.add_patch(FancyBboxPatch((3, y - height / 2), 22, height - 2, boxstyle="round,pad=.4", fc="#dfe8f1",
                                      ec="#34506b"))
        axes.text(14, y + 1, package, ha="center", va="center", fontsize=12, weight="bold")
        axes.text(14, y - 2, entered, ha="center", va="center", fontsize=9, family="monospace")
        name = GIVES.get(k, product.__name__ if product else "")
        axes.text(30, y - 1, name, ha="left", va="center", fontsize=11, style="italic")
        axes.text(45, y - 1, fields(product), ha="left", va="center", fontsize=7.5)
        if k:
            begin, end = (14, y + 11.5 - height / 2 - 0.6), (14, y + height / 2 - 1.4)
            axes.add_patch(FancyArrowPatch(begin, end, arrowstyle="-|>", mutation_scale=12, color="#34506b"))
    axes.text(84, 68, "steps of the estimate", fontsize=10, weight="bold")
    for k, step in enumerate(STEPS):
        axes.text(84, 65 - 3.1 * k, f"{k + 1:2}  {step.name}{'' if step.needed else ' *'}", fontsize=8.5)
    axes.text(84, 65 - 3.1 * len(STEPS) - 1, "* can be left out (benchmarks/ablation.py)", fontsize=7.5)
    figure.savefig(OUT)
    print(OUT)


if __name__ == "__main__":
    main()
