"""Tables of a run's evaluations by stage.

One row per metric and one column per stage if that fits, in one or two lines per metric; else one row per
stage, in blocks of metrics. Made of text lines, so that a pipe gets the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from ptspec.report import words
from ptspec.report.clean import clean
from ptspec.report.lines import COLOURS, as_text, columns, hanging
from ptspec.report.view.measure import Measure
from ptspec.report.view.order import measures
from ptspec.report.view.policies import LEGEND, Cell, Policy, accuracy_by, cell, is_zero, relative_to

GAP = "   "
EMPTY = Cell("", words.NOTHING)


@dataclass(frozen=True)
class Grid:
    """Input of a layout: stage names, and one cell per measure and stage."""

    names: list[str]
    shown: list[Measure]
    cells: list[list[Cell]]

    def note(self, index: int) -> str:
        """Return unit and direction of a measure, or that no stage has it."""
        measured = any(one is not EMPTY for one in self.cells[index])
        return self.shown[index].note if measured else "not measured"

    def of_stage(self, index: int) -> list[Cell]:
        """Return the cells of a stage."""
        return [row[index] for row in self.cells]


@dataclass(frozen=True)
class ProgressTable:
    """Every metric of the base model and the stages: a rich renderable, and plain text by `plain`.

    A change is the paired difference from the policy's parent, marked by its verdict.
    """

    policies: Sequence[Policy]

    def lines(self, width: int) -> list[Text]:
        """Return the table in lines of at most `width` cells (a single metric may be wider)."""
        metrics = [policy.metrics for policy in self.policies]
        shown = measures(metrics)
        zero = [one for one in shown if is_zero(one, self.policies)]
        rows = [one for one in shown if one not in zero]
        cells = [[cell(one, policy) or EMPTY for policy in self.policies] for one in rows]
        grid = Grid(self._heads(), rows, cells)
        notes = [*_footnotes(grid, zero), *relative_to(self.policies)]
        notes += accuracy_by(policy.accuracy for policy in self.policies)
        below = [Text(line, style="dim") for note in notes for line in hanging("", note, width)]
        return [*_laid_out(grid, width), *below]

    def _heads(self) -> list[str]:
        """Return the names, with the parent if it is not the previous one."""
        names = [clean(policy.name) for policy in self.policies]
        heads = []
        for index, (name, policy) in enumerate(zip(names, self.policies, strict=True)):
            parent = clean(policy.comparison.parent) if policy.comparison else None
            is_next = parent is None or (index > 0 and names[index - 1] == parent)
            heads.append(name if is_next else f"{name} ← {parent}")
        return heads

    def plain(self, width: int | None = None) -> str:
        """Return plain text, by default in the terminal's width."""
        return as_text(self.lines(width or columns()))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield from self.lines(options.max_width)


def _footnotes(grid: Grid, zero: Sequence[Measure]) -> list[str]:
    notes = [f"0 % throughout: {', '.join(shown.label for shown in zero)}"] if zero else []
    return [*notes, LEGEND] if any(one.mark for row in grid.cells for one in row) else notes


def _laid_out(grid: Grid, width: int) -> list[Text]:
    """Return the first layout that fits."""
    for layout in (_one_line_a_metric, _two_lines_a_metric):
        lines = layout(grid)
        if _widest(lines) <= width:
            return lines
    return _one_line_a_stage(grid, width)


def _one_line_a_metric(grid: Grid) -> list[Text]:
    labels = [
        Text.assemble(shown.label.ljust(_width(m.label for m in grid.shown)), "  ", (grid.note(i), "dim"))
        for i, shown in enumerate(grid.shown)
    ]
    columns = [_aligned(grid.of_stage(i)) for i in range(len(grid.names))]
    return _table([Text(), *labels], [[_bold(n), *c] for n, c in zip(grid.names, columns, strict=True)])


def _two_lines_a_metric(grid: Grid) -> list[Text]:
    """Return value and change above the interval, and the label above unit and direction."""
    labels = [Text()]
    for i, shown in enumerate(grid.shown):
        labels += [Text(shown.label), Text(grid.note(i), style="dim")]
    columns = []
    for i, name in enumerate(grid.names):
        cells = grid.of_stage(i)
        column = [_bold(name)]
        for one, text in zip(cells, _aligned(cells, intervals=False), strict=True):
            column += [text, Text(one.interval, style="dim")]
        columns.append(column)
    return _table(labels, columns)


def _one_line_a_stage(grid: Grid, width: int) -> list[Text]:
    """Return blocks of as many metrics as fit beside the names of the stages."""
    heads = [Text(), Text(), *map(_bold, grid.names)]
    columns = [
        [Text(shown.label), Text(grid.note(i), style="dim"), *_aligned(grid.cells[i])]
        for i, shown in enumerate(grid.shown)
    ]
    lines: list[Text] = []
    for block in _blocks(columns, width - _width(grid.names)):
        lines += ([Text()] if lines else []) + _table(heads, block)
    return lines


def _blocks(columns: Sequence[list[Text]], room: int) -> list[list[list[Text]]]:
    """Return columns in blocks that fit; preference accuracy stays with accuracy, which precedes it."""
    blocks: list[list[list[Text]]] = []
    for column in columns:
        if blocks and sum(len(GAP) + _widest(c) for c in [*blocks[-1], column]) <= room:
            blocks[-1].append(column)
        elif column[0].plain == "preference accuracy" and len(blocks[-1]) > 1:
            blocks.append([blocks[-1].pop(), column])
        else:
            blocks.append([column])
    return blocks


def _aligned(cells: Sequence[Cell], *, intervals: bool = True) -> list[Text]:
    """Return value, mark, change and interval of each cell, right-aligned over all cells."""
    value, change = _width(c.value for c in cells), _width(c.change for c in cells)
    marked = 2 if any(c.mark for c in cells) else 0
    interval = _width(c.interval for c in cells) if intervals else 0
    texts = []
    for one in cells:
        text = Text(one.value.rjust(value))
        if marked:
            text.append(f" {one.mark or ' '}", style=COLOURS.get(one.tone, ""))
        if change:
            text.append(f" {one.change.rjust(change)}", style=COLOURS.get(one.tone, ""))
        if interval:
            text.append("  " + one.interval.rjust(interval), style="dim")
        texts.append(text)
    return texts


def _table(labels: Sequence[Text], columns: Sequence[Sequence[Text]]) -> list[Text]:
    """Return left-aligned labels and right-aligned columns, each as wide as its widest text."""
    lines = []
    left = _widest(labels)
    widths = [_widest(column) for column in columns]
    for i, label in enumerate(labels):
        line = Text.assemble(label, " " * (left - label.cell_len))
        for column, width in zip(columns, widths, strict=True):
            line = Text.assemble(line, GAP + " " * (width - column[i].cell_len), column[i])
        lines.append(line)
    return lines


def _bold(text: str) -> Text:
    return Text(text, style="bold")


def _width(texts: Iterable[str]) -> int:
    return max(map(len, texts), default=0)


def _widest(texts: Iterable[Text]) -> int:
    return max((text.cell_len for text in texts), default=0)
