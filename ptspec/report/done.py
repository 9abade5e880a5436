"""Lines of finished work of stages: steps, time and key figures, aligned in columns.

If the width is short, the last figures are left out first, then the time; a figure is never truncated.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime

from rich.text import Text

from ptspec.report import words
from ptspec.report.board import BASE, Row, State
from ptspec.report.clean import clean
from ptspec.report.lines import COLOURS
from ptspec.report.view.measure import Measure
from ptspec.report.view.policies import (
    Cell,
    Policy,
    StageLines,
    held_out,
    stage_lines,
    training_figures,
)

GAP = "   "
ROOMY = 90
SHOWN = (State.DONE, State.REUSED, State.CHECK_FAILED, State.TRAINED, State.EVALUATING)
FEWEST = 3
"""Number of figures that stay while the time can be left out."""

Fitting = tuple[list[Text], tuple[Measure, ...], bool]
"""Lines that fit, the measures left out, and whether any has a mark."""


@dataclass(frozen=True)
class Tails:
    """The part after the name on each line, and the measures left out."""

    lines: dict[str, Text]
    left_out: tuple[Measure, ...]
    is_marked: bool


def tails(
    rows: Sequence[Row], room: int, timer: float, today: date, trained_for: Sequence[str] = ()
) -> Tails:
    """Return the lines of `rows`, at most `room` cells each; `timer` is the time now."""
    done = [row for row in rows if row.state in SHOWN]
    found = stage_lines([row.policy for row in done], trained_for)
    columns = figure_columns(found)
    gap = GAP if room >= ROOMY else "  "

    def lines(detail: int, shown: int) -> list[Text]:
        work = _work(done, detail, today)
        return [
            _line(row, timer, joined([Text(work[i]), *(c[i] for c in columns[:shown])], gap))
            for i, row in enumerate(done)
        ]

    choices = ((shown, lines(detail, shown)) for detail, shown in _choices(len(columns)))
    fitting, left_out, is_marked = _fitting(found, choices, room)
    return Tails({row.name: line for row, line in zip(done, fitting, strict=True)}, left_out, is_marked)


def policy_lines(policies: Sequence[Policy], room: int) -> Fitting:
    """Return only the figures, one line per policy."""
    found = stage_lines(policies)
    columns = figure_columns(found)
    gap = GAP if room >= ROOMY else "  "
    choices = (
        (shown, [joined([column[i] for column in columns[:shown]], gap) for i in range(len(policies))])
        for shown in range(len(columns), -1, -1)
    )
    return _fitting(found, choices, room)


def _fitting(found: StageLines, choices: Iterable[tuple[int, list[Text]]], room: int) -> Fitting:
    """Return the first of `choices` (number of figures, lines) that fits, else the last."""
    fitting: Fitting = ([], (), False)
    for shown, lines in choices:
        kept = StageLines(found.shown[:shown], found.columns[:shown])
        fitting = (lines, found.shown[shown:], kept.is_marked)
        if all(line.cell_len <= room for line in lines):
            break
    return fitting


def _choices(figures: int) -> list[tuple[int, int]]:
    """Yield how much of the work and how many figures to show, the fullest first."""
    wide = [(2, n) for n in range(figures, FEWEST, -1)]
    return wide + [(detail, n) for n in range(min(figures, FEWEST), -1, -1) for detail in (2, 1)]


def joined(parts: Sequence[Text], gap: str) -> Text:
    """Return the parts joined by `gap`, without trailing blanks."""
    line = Text(gap).join(parts)
    line.rstrip()
    return line


def _line(row: Row, timer: float, text: Text) -> Text:
    """Return `text` with the work under way, or the training's own figures without an evaluation."""
    if row.state is State.EVALUATING:
        since = words.remaining(timer - row.evaluating_since)
        doing = Text(f"evaluating {words.plural(row.evaluating, 'row')}{_part(row)} for {since}")
        return doing if row.trained_seconds is None else joined([text, doing], GAP)
    if row.evaluation or not row.latest:
        return text
    figures = [*training_figures(row.latest, row.method), *held_out(row.held_out)]
    return joined([text, *map(Text, figures)], GAP)


def _part(row: Row) -> str:
    """Return ": answers 80/200": progress of the evaluation under way."""
    if (part := row.evaluating_part) is None:
        return ""
    counted = f" {words.count(part.done)}/{words.count(part.total)}" if part.total else ""
    return f": {clean(part.what)}{counted}"


def _work(rows: Sequence[Row], detail: int, today: date) -> list[str]:
    """Return steps and time (the first `detail` of them), right-aligned; else why nothing was trained."""
    cells = [_trained(row)[:detail] for row in rows]
    widths = [max((len(cell[i]) for cell in cells if cell), default=0) for i in range(detail)]
    trained = [
        "  ".join(part.rjust(width) for part, width in zip(cell, widths, strict=False)) for cell in cells
    ]
    texts = [text or _untrained(row, detail, today) for row, text in zip(rows, trained, strict=True)]
    width = max(map(len, texts), default=0)
    return [text.ljust(width) for text in texts]


def _trained(row: Row) -> list[str]:
    if row.trained_seconds is None:
        return []
    return [words.plural(row.trained_steps, "step"), words.duration(row.trained_seconds)]


def _untrained(row: Row, detail: int, today: date) -> str:
    if row.picked is not None:
        return f"= {clean(row.picked.picked)}"
    if row.state is State.EVALUATING or not row.reused:
        return ""
    if row.name == BASE or detail < 2:
        return "reused"
    if row.taken_from is not None:
        return f"finished {moment(row.reused_from, today)}, taken over from {row.taken_from}"
    return f"unchanged since {moment(row.reused_from, today)}, reused"


def moment(when: str, today: date) -> str:
    """Return an ISO 8601 moment in local time: "14:02" for `today`, else the date."""
    try:
        then = datetime.fromisoformat(when.replace("Z", "+00:00")).astimezone()
    except ValueError:
        return when
    return f"{then:%H:%M}" if then.date() == today else f"{then:%Y-%m-%d}"


def figure_columns(found: StageLines) -> list[list[Text]]:
    """Return a column per key metric with a text per policy: label, value, mark and change, aligned."""
    return [_column(shown, cells) for shown, cells in zip(found.shown, found.columns, strict=True)]


def _column(shown: Measure, cells: Sequence[Cell | None]) -> list[Text]:
    there = [cell for cell in cells if cell]
    value, change, note = (max(len(getattr(c, part)) for c in there) for part in ("value", "change", "note"))
    marked = 2 if any(cell.mark for cell in there) else 0
    texts = []
    for cell in cells:
        if cell is None:
            texts.append(Text())
            continue
        text = Text(f"{shown.brief} {cell.value.rjust(value)}")
        if marked:
            text.append(f" {cell.mark or ' '}", style=COLOURS.get(cell.tone, ""))
        if change:
            text.append(f" {cell.change.rjust(change)}", style=COLOURS.get(cell.tone, ""))
        if note:
            text.append(f" {cell.note}", style="dim")
        texts.append(text)
    width = max(text.cell_len for text in texts)
    for text in texts:
        text.pad_right(width - text.cell_len)
    return texts
