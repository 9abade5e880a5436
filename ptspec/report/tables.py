"""Tables of figures: how a run's evaluations went from stage to stage.

A metric is a row and a stage a column where that fits, in one line a metric or in two; else the other way
round, in as many blocks of metrics as the width asks for. Made of lines, so that a pipe gets the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from ptspec.evaluation.comparison import Verdict
from ptspec.evaluation.measurement import is_drawn
from ptspec.events import Figure
from ptspec.report import words
from ptspec.report.clean import clean
from ptspec.report.lines import as_text, columns, hanging
from ptspec.report.measures import (
    Measure,
    Metrics,
    before,
    is_zero_throughout,
    measures,
    parent_indices,
)

GAP = "   "
WORSE = "! worse than the stage it came from: paired, corrected for the number of tests"

Evaluations = Sequence[tuple[str, Metrics]]
Verdicts = Mapping[str, Mapping[str, str]]
"""By policy and metric, what the comparison with the policy's parent says."""


@dataclass(frozen=True)
class Cell:
    """One figure of one stage, in words; a dash where it was not measured."""

    value: str = words.NOTHING
    change: str = ""
    interval: str = ""
    worse: bool = False


@dataclass(frozen=True)
class Grid:
    """What a layout needs: stage names, and for every measure one cell a stage."""

    names: list[str]
    shown: list[Measure]
    cells: list[list[Cell]]

    def note(self, index: int) -> str:
        """Unit and direction of a measure, or that no stage has it."""
        measured = any(cell != Cell() for cell in self.cells[index])
        return self.shown[index].note if measured else "not measured"

    def of_stage(self, index: int) -> list[Cell]:
        return [row[index] for row in self.cells]


@dataclass(frozen=True)
class ProgressTable:
    """The table base → stage → stage: a rich renderable, and plain text by `plain`. Changes are against each
    one's parent (`parents`, by name; None: the one before), and marked where `verdicts` says so. `accuracy`
    says by what a response is right."""

    evaluations: Evaluations
    parents: Mapping[str, str | None] | None = None
    verdicts: Verdicts = field(default_factory=dict)
    accuracy: str | None = None

    def lines(self, width: int) -> list[Text]:
        """The table in lines of at most `width` cells (a single metric may still be wider)."""
        metrics = [of_stage for _, of_stage in self.evaluations]
        shown = [shown for shown in measures(metrics) if not is_drawn(shown.name)]  # the report has them
        zero = [m.label for m in shown if is_zero_throughout(m, metrics)]
        rows = [m for m in shown if m.label not in zero]
        parents = parent_indices([name for name, _ in self.evaluations], self.parents)
        verdicts = [self.verdicts.get(name, {}) for name, _ in self.evaluations]
        cells = [_cells(measure, metrics, parents, verdicts) for measure in rows]
        grid = Grid(self._heads(parents), rows, cells)
        by = hanging("", f"accuracy by {clean(self.accuracy)}", width) if self.accuracy else []
        return [*_laid_out(grid, width), *_footnotes(grid, zero), *(Text(line, style="dim") for line in by)]

    def _heads(self, parents: Sequence[int | None]) -> list[str]:
        """The names, with the parent where that is not the one before."""
        names = [clean(name) for name, _ in self.evaluations]
        return [
            name if above is None or above == i - 1 else f"{name} ← {names[above]}"
            for i, (name, above) in enumerate(zip(names, parents, strict=True))
        ]

    def plain(self, width: int | None = None) -> str:
        return as_text(self.lines(width or columns()))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield from self.lines(options.max_width)


def progress_table(
    evaluations: Evaluations,
    parents: Mapping[str, str | None] | None = None,
    verdicts: Verdicts | None = None,
    accuracy: str | None = None,
) -> ProgressTable:
    """The evaluations of the base model and the stages, in order, with intervals and changes."""
    return ProgressTable(evaluations, parents, verdicts or {}, accuracy)


def progress_text(
    evaluations: Evaluations,
    width: int | None = None,
    parents: Mapping[str, str | None] | None = None,
    verdicts: Verdicts | None = None,
    accuracy: str | None = None,
) -> str:
    """The same table as plain text, as wide as the terminal on stdout where no width is given."""
    return ProgressTable(evaluations, parents, verdicts or {}, accuracy).plain(width)


def _cells(
    shown: Measure,
    evaluations: Sequence[Metrics],
    parents: Sequence[int | None],
    verdicts: Sequence[Mapping[str, str]],
) -> list[Cell]:
    return [
        _cell(
            shown,
            metrics.get(shown.name),
            before(evaluations, index, shown.name, parents),
            verdicts[index].get(shown.name),
        )
        for index, metrics in enumerate(evaluations)
    ]


def _cell(shown: Measure, figure: Figure | None, earlier: Figure | None, verdict: str | None) -> Cell:
    if figure is None:
        return Cell()
    value, interval = shown.number(figure.value, shown.decimals), shown.interval(figure)
    if earlier is None:
        return Cell(value, interval=interval)
    change = shown.delta(figure.value - earlier.value, shown.decimals)
    return Cell(value, change, interval, verdict == Verdict.WORSE.value)


def _footnotes(grid: Grid, zero: Sequence[str]) -> list[Text]:
    notes = [Text(f"none at any stage: {', '.join(zero)}", style="dim")] if zero else []
    if any(cell.worse for row in grid.cells for cell in row):
        notes.append(Text(WORSE, style="yellow"))
    return notes


def _laid_out(grid: Grid, width: int) -> list[Text]:
    """The first layout that fits."""
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
    """Value and change, and below them the interval, below the label unit and direction."""
    labels = [Text()]
    for i, shown in enumerate(grid.shown):
        labels += [Text(shown.label), Text(grid.note(i), style="dim")]
    columns = []
    for i, name in enumerate(grid.names):
        cells = grid.of_stage(i)
        column = [_bold(name)]
        for cell, text in zip(cells, _aligned(cells, intervals=False), strict=True):
            column += [text, Text(cell.interval, style="dim")]
        columns.append(column)
    return _table(labels, columns)


def _one_line_a_stage(grid: Grid, width: int) -> list[Text]:
    """Blocks of as many metrics as fit beside the names of the stages."""
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
    """The columns in blocks that fit; preference accuracy takes accuracy, which stands before it, along."""
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
    """Value, change and interval of each cell, each right-aligned over all of them."""
    value, change = _width(c.value for c in cells), _width(c.change for c in cells)
    marked = any(c.worse for c in cells)
    interval = _width(c.interval for c in cells) if intervals else 0
    texts = []
    for cell in cells:
        text = Text(cell.value.rjust(value))
        if change:
            mark = "!" if cell.worse else " " * marked
            text.append(f" {cell.change.rjust(change)}{mark}", style="yellow" if cell.worse else "")
        if interval:
            text.append("  " + cell.interval.rjust(interval), style="dim")
        texts.append(text)
    return texts


def _table(labels: Sequence[Text], columns: Sequence[Sequence[Text]]) -> list[Text]:
    """Left-aligned labels and right-aligned columns, each as wide as its widest text."""
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
