"""docs/images/handovers.png: what each hand-over trains, what its reference is and what it saves."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch

IMAGE = Path(__file__).parent.parent / "docs" / "images" / "handovers.png"
FROZEN, TRAINED = ("#eaeef2", "#57606a"), ("#dafbe1", "#1a7f37")

# Of each hand-over: the parts of the policy that is trained, of the reference, of what is saved.
# A part: its words, and whether it is trained. The base lies below.
KINDS = {
    "continue": (
        [("base", False), ("adapter that came in", True)],
        [("base", False), ("a frozen copy of it", False)],
        [("that adapter", True)],
    ),
    "merge": (
        [("base + adapter that came in", False), ("new adapter", True)],
        [("base + adapter that came in", False)],
        [("one adapter: the sum of both", True)],
    ),
    "stack": (
        [("base", False), ("ranks that came in", False), ("new ranks", True)],
        [("base", False), ("adapter as it came in", False)],
        [("one adapter of both ranks", True)],
    ),
    "full": (
        [("all weights", True)],
        [("the weights as they came in", False)],
        [("all weights", True)],
    ),
}
HEADS = ("trained", "its reference", "saved")


def stack(axis: Axes, left: float, parts: list[tuple[str, bool]]) -> None:
    for level, (words, trained) in enumerate(parts):
        face, edge = TRAINED if trained else FROZEN
        box = FancyBboxPatch(
            (left, level * 0.42), 2.5, 0.32, boxstyle="round,pad=0.02", facecolor=face, edgecolor=edge
        )
        axis.add_patch(box)
        axis.text(left + 1.25, level * 0.42 + 0.16, words, ha="center", va="center", fontsize=8)


def main() -> None:
    heights = [max(map(len, columns)) * 0.42 + 0.15 for columns in KINDS.values()]
    figure, axes = plt.subplots(len(KINDS), 1, figsize=(8, 4.6), height_ratios=heights)
    for axis, height, (kind, columns) in zip(axes, heights, KINDS.items(), strict=True):
        for number, parts in enumerate(columns):
            stack(axis, 1 + 2.8 * number, parts)
        axis.text(-0.15, 0.16, kind, fontsize=11, fontweight="bold", va="center")
        axis.set(xlim=(-0.2, 9.3), ylim=(-0.1, height))
        axis.axis("off")
    for number, head in enumerate(HEADS):
        axes[0].text(1 + 2.8 * number + 1.25, 1.05, head, ha="center", fontsize=10, color="#57606a")
    figure.text(0.13, 0.01, "green: trained, and what comes of it; grey: frozen", fontsize=8, color="#57606a")
    figure.tight_layout(rect=(0, 0.02, 1, 1))
    figure.savefig(IMAGE, dpi=110, pil_kwargs={"optimize": True})
    print(IMAGE)


if __name__ == "__main__":
    main()
