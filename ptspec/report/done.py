"""The lines of stages with something done: work, time, rate and key figures, in columns that fit.

Columns are aligned over all such stages. Where the width is short, the rate goes first, then the figures
after the third, then the time; a figure is shown whole or not at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime

from ptspec.report import words
from ptspec.report.board import BASE, Row, State
from ptspec.report.measures import Measure, Metrics, before, key_measures, parent_indices

GAP = "   "
ROOMY = 90
SHOWN = (State.DONE, State.REUSED, State.CHECK_FAILED, State.TRAINED, State.EVALUATING)

Figures = list[list[str]]


def tails(rows: Sequence[Row], room: int, timer: float, today: date) -> dict[str, str]:
    """What follows the name on each line, at most `room` characters; `timer` is the time now."""
    done = [row for row in rows if row.state in SHOWN]
    figures = _figures(done)
    gap = GAP if room >= ROOMY else "  "
    lines = [""] * len(done)
    for detail, metrics in _choices(len(figures)):
        work = _work(done, detail, today)
        lines = [
            _line(row, timer, gap.join([work[i], *(f[i] for f in figures[:metrics])]))
            for i, row in enumerate(done)
        ]
        if all(len(line) <= room for line in lines):
            break
    return {row.name: line for row, line in zip(done, lines, strict=True)}


def _choices(figures: int) -> list[tuple[int, int]]:
    """How much of the work and how many figures to show, the fullest first."""
    wide = [(detail, n) for n in range(figures, 3, -1) for detail in (3, 2)]
    return wide + [(detail, n) for n in range(min(figures, 3), -1, -1) for detail in (3, 2, 1)]


def _line(row: Row, timer: float, text: str) -> str:
    """`text`, and behind it what goes on."""
    if row.state is not State.EVALUATING:
        return text.rstrip()
    since = words.remaining(timer - row.evaluating_since)
    doing = f"evaluating {words.plural(row.evaluating, 'row')}, {since}"
    return doing if row.trained_seconds is None else f"{text.rstrip()}{GAP}{doing}"


def _work(rows: Sequence[Row], detail: int, today: date) -> list[str]:
    """Steps, time and rate (the first `detail` of them), each right-aligned; else why nothing was trained."""
    cells = [_trained(row)[:detail] for row in rows]
    widths = [max((len(cell[i]) for cell in cells if cell), default=0) for i in range(detail)]
    trained = [
        GAP.join(part.rjust(width) for part, width in zip(cell, widths, strict=False)) for cell in cells
    ]
    texts = [text or _untrained(row, detail, today) for row, text in zip(rows, trained, strict=True)]
    width = max(map(len, texts), default=0)
    return [text.ljust(width) for text in texts]


def _trained(row: Row) -> list[str]:
    if row.trained_seconds is None:
        return []
    pace = words.rate(row.own_steps, row.trained_seconds)
    return [words.plural(row.trained_steps, "step"), words.duration(row.trained_seconds), pace]


def _untrained(row: Row, detail: int, today: date) -> str:
    if row.state is State.EVALUATING:
        return ""
    if row.name == BASE:
        return "evaluated before, reused" if row.reused else "evaluated"
    if not row.reused:
        return ""
    return f"unchanged since {moment(row.reused_from, today)}, reused" if detail == 3 else "reused"


def moment(when: str, today: date) -> str:
    """An ISO 8601 moment in local time: "14:02" of `today`, the date of another day."""
    try:
        then = datetime.fromisoformat(when.replace("Z", "+00:00")).astimezone()
    except ValueError:
        return when
    return f"{then:%H:%M}" if then.date() == today else f"{then:%Y-%m-%d}"


def _figures(rows: Sequence[Row]) -> Figures:
    """One column a key metric, one text a row."""
    evaluations: list[Metrics] = [row.evaluation or {} for row in rows]
    parents = parent_indices([row.name for row in rows], {row.name: row.parent for row in rows})
    return [_figure(shown, evaluations, parents) for shown in key_measures(evaluations)]


def _figure(shown: Measure, evaluations: Sequence[Metrics], parents: Sequence[int | None]) -> list[str]:
    """Label, value and change against the parent, aligned over the stages."""
    cells = [value_and_change(shown, evaluations, index, parents) for index in range(len(evaluations))]
    value, change = (max(len(cell[part]) for cell in cells) for part in (0, 1))
    room = change + 1 if change else 0
    texts = [f"{shown.label} {v.rjust(value)}{c.rjust(room)}" if v else "" for v, c in cells]
    width = max(map(len, texts))
    return [text.ljust(width) for text in texts]


def value_and_change(
    shown: Measure, evaluations: Sequence[Metrics], index: int, parents: Sequence[int | None]
) -> tuple[str, str]:
    """ "95 %" and "+89" for one stage; empty where it was not measured or nothing stands before it."""
    figure = evaluations[index].get(shown.name)
    if figure is None:
        return "", ""
    earlier = before(evaluations, index, shown.name, parents)
    if earlier is None:
        return shown.value(figure.value), ""
    return shown.value(figure.value), shown.delta(figure.value - earlier.value, shown.brief)
