"""Common style of the plots: fonts, colours, and reproducible bytes.

matplotlib is imported on first use, without pyplot: no global state, no open figures.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ptspec.store.files import whole_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 110
INK, QUIET, FAINT = "#222222", "#666666", "#d9d9d9"
BASE_COLOUR = "#7f7f7f"
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Okabe and Ito's colour-blind safe palette; the base is grey."""

STYLE: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.titlecolor": INK,
    "axes.labelcolor": QUIET,
    "axes.edgecolor": "#999999",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": "#ececec",
    "grid.linewidth": 0.8,
    "xtick.color": "#999999",
    "ytick.color": "#999999",
    "xtick.labelcolor": QUIET,
    "ytick.labelcolor": QUIET,
    "lines.solid_capstyle": "round",
    "text.parse_math": False,
}


@contextmanager
def picture(path: Path, title: str, note: str, width: float, height: float) -> Iterator[Figure]:
    """Yield a figure of `width` × `height` inches, saved atomically to `path` at the end of the block.

    `title` is at the top left, `note` below it in a lighter tone. The block draws below both.
    """
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(width, height), dpi=DPI, facecolor="white")
        FigureCanvasAgg(figure)
        left = 0.14 / width
        figure.text(left, 1 - 0.12 / height, title, fontsize=12, weight="bold", color=INK, va="top")
        figure.text(left, 1 - 0.38 / height, note, fontsize=9, color=QUIET, va="top")
        yield figure
        with whole_file(path, "wb") as file:
            figure.savefig(file, format="png", metadata={"Software": None})


def grid(
    figure: Figure,
    rows: int,
    columns: int,
    *,
    left: float,
    top: float = 0.95,
    bottom: float = 0.5,
    gap: float = 0.5,
    **more: Any,
) -> list[list[Axes]]:
    """Return `rows` × `columns` axes; margins are in inches, so that labels fit at any figure size."""
    width, height = figure.get_size_inches()
    axes = figure.subplots(
        rows,
        columns,
        squeeze=False,
        gridspec_kw={
            "left": left / width,
            "right": 1 - 0.2 / width,
            "top": 1 - top / height,
            "bottom": bottom / height,
            "hspace": gap,
            **more,
        },
    )
    return [list(row) for row in axes]


def say(figure: Figure, text: str) -> None:
    """Write `text` in place of an empty plot."""
    figure.text(0.5, 0.4, text, ha="center", va="center", color=QUIET, fontsize=10)


def colour(index: int, name: str) -> str:
    """Return the colour of the model at `index`, the same in every plot of a run."""
    return BASE_COLOUR if name == "base" else COLOURS[(index - 1) % len(COLOURS)]


def short(name: str, most: int = 22) -> str:
    """Return `name`, shortened in the middle to fit a label."""
    half = (most - 1) // 2
    return name if len(name) <= most else f"{name[:half]}…{name[-half:]}"


def label_width(names: Sequence[str]) -> float:
    """Return the width in inches of the longest of `names` as labels."""
    return 0.3 + 0.078 * max(len(short(name)) for name in names)
