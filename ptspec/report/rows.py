"""Lay out the live screen: lines of text from a board, a width and a time.

Colour shows state only; every line is complete without it. No line is wider than the width: the least
important parts are left out first, and no number is truncated.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date

from rich.text import Text

from ptspec.diagnostics import cut
from ptspec.events import RunStarted
from ptspec.methods.types import Headline
from ptspec.report import done, words
from ptspec.report.board import BASE, RUNNING, Board, Row, State
from ptspec.report.clean import clean
from ptspec.report.done import GAP
from ptspec.report.lines import COLOURS, hanging, parts_in_lines
from ptspec.report.view.checks import CheckView, check_view
from ptspec.report.view.policies import held_out, logged

Headlines = Callable[[str], tuple[Headline, ...]]
Group = list[Text]

SPINNER = "◐◓◑◒"
INDENT = " " * 8
BAR = (12, 30)
MARKS = {
    State.PENDING: ("·", "dim"),
    State.DONE: ("✓", "green"),
    State.REUSED: ("=", "green"),
    State.CHECK_FAILED: ("✗", "red"),
    State.FAILED: ("✗", "red"),
    State.INTERRUPTED: ("‖", "yellow"),
    State.NOT_STARTED: ("·", "dim"),
}


@dataclass(frozen=True)
class View:
    """What a rendering depends on besides the board: width in cells, seconds of the timer, the day."""

    width: int
    timer: float
    today: date
    headlines: Headlines


def header(run: RunStarted, width: int) -> Text:
    """Return name, stages, model, setup, device and output on one line.

    What the rows below repeat is left out first.
    """
    path = clean(run.model).rstrip("/")
    size = "" if run.parameters is None else f" ({words.parameters(run.parameters)})"
    model, short = f"{path}{size}", f"{path.rsplit('/', 1)[-1]}{size}"
    stages = words.plural(len(run.stages), "stage")
    setup, device, output = clean(run.setup), clean(run.device), clean(run.output)
    choices = (
        (stages, model, setup, device, output),
        (model, setup, device, output),
        (model, setup, output),
        (short, setup, output),
        (short, output),
        (output,),
    )
    name = clean(run.name)
    room = width - len(name) - len(GAP)
    facts = next((text for text in map(" · ".join, choices) if Text(text).cell_len <= room), "")
    return Text.assemble((name, "bold"), GAP if facts else "", facts)


def groups(board: Board, view: View) -> list[Group]:
    """Return the lines of each stage: its own, and details while the run goes on."""
    rows = list(board.rows.values())
    names = _name_width(board, view.width)
    tails = tails_of(board, view).lines
    running = board.finished is None and board.ending is None
    result = []
    for row in rows:
        head = _head(row, names, view.timer)
        if row.state is State.TRAINING:
            lines = _training(row, head, view)
        else:
            lines = [head + (tails[row.name] if row.name in tails else _other(row))]
        if running:
            lines += _origin(row, view.width)
            failed = [check_view(check) for check in row.checks if not check.held]
            lines += [line for check in failed for line in _failed_check(check, view.width)]
        result.append([_fitted(line, view.width) for line in lines])
    return result


def tails_of(board: Board, view: View) -> done.Tails:
    """Return what follows the names of stages with finished work."""
    room = view.width - _name_width(board, view.width) - len(GAP) - 2
    return done.tails(list(board.rows.values()), room, view.timer, view.today, board.trained_for)


def _name_width(board: Board, width: int) -> int:
    return min(max((len(name) for name in board.rows), default=0), max(8, width // 4))


def window(stages: Sequence[Group], height: int) -> list[Text]:
    """Return all lines if they fit `height`; else those up to the active stage, and how many are hidden."""
    if sum(map(len, stages)) <= height:
        return [line for group in stages for line in group]
    first, last = 0, max((i for i, group in enumerate(stages) if len(group) > 1), default=len(stages) - 1) + 1
    while first < last - 1 and sum(map(len, stages[first:last])) + 2 > height:
        first += 1
    while last < len(stages) and sum(map(len, stages[first : last + 1])) + 2 <= height:
        last += 1
    shown = [line for group in stages[first:last] for line in group]
    return [*_hidden(first, "above"), *shown, *_hidden(len(stages) - last, "below")]


def _hidden(stages: int, where: str) -> list[Text]:
    return [Text(f"  {words.plural(stages, 'stage')} {where}", style="dim")] if stages else []


def _head(row: Row, names: int, timer: float) -> Text:
    spinner = (SPINNER[int(timer * 4) % len(SPINNER)], "")
    name = cut(row.name, names)
    quiet = row.state in (State.PENDING, State.NOT_STARTED)
    mark = spinner if row.state in RUNNING else MARKS[row.state]
    return Text.assemble(mark, " ", (name.ljust(names), "dim" if quiet else "bold"), GAP)


def _training(row: Row, head: Text, view: View) -> list[Text]:
    """Return progress and headline metrics on one line, or on two if too narrow."""
    total = row.total_steps or 0
    step, of = words.count(row.step), words.count(total)
    steps = f"{step.rjust(len(of))}/{of}  "
    metrics = [*logged(view.headlines(row.method), row.latest), *held_out(row.held_out)]
    timing = _timing(row)
    room = view.width - head.cell_len - len(steps) - len(timing)
    beside = room - len(GAP.join(["", *metrics]))
    least, most = BAR
    if beside >= least:
        progress = bar(row.step, total, min(beside, most))
        return [Text.assemble(head, steps, progress, timing, GAP.join(["", *metrics]))]
    progress = bar(row.step, total, max(min(room, most), 4))
    below = parts_in_lines(INDENT, metrics, view.width, GAP)
    return [Text.assemble(head, steps, progress, timing), *map(Text, below)]


def _timing(row: Row) -> str:
    """Return time left and rate, padded to a constant width."""
    left = "" if row.seconds_left is None else f"{words.remaining(row.seconds_left)} left"
    pace = "" if row.pace is None else words.rate(*row.pace)
    return f"  {left.ljust(10)}   {pace.ljust(10)}"


def bar(step: int, total: int, width: int) -> Text:
    """Return a progress bar in half cells: heavy for done, light for the rest, readable without colour."""
    halves = 0 if total <= 0 else min(max(2 * width * step // total, 0), 2 * width)
    filled = "━" * (halves // 2) + "╸" * (halves % 2)
    return Text.assemble((filled, "green"), ("─" * (width - len(filled)), "dim"))


def _origin(row: Row, width: int) -> list[Text]:
    """Return the lines below an active stage: its parent and its comparison."""
    if row.state not in RUNNING or row.name == BASE:
        return []
    facts = " · ".join(origin(row))
    checked = f"checked: {row.checked}" if row.checked else ""
    whole = f"{facts} ({checked})" if checked else facts
    texts = [whole] if len(INDENT) + Text(whole).cell_len <= width else [facts, checked]
    return [Text(line, style="dim") for text in texts for line in hanging(INDENT, text, width)]


def origin(row: Row) -> list[str]:
    """Return the known origin: "from sft by continue", "reference = sft, frozen"."""
    by = f" by {row.handover}" if row.handover else ""
    facts = (
        row.merged or (clean(f"from {row.parent}{by}") if row.parent else ""),
        clean(f"reference = {row.reference}") if row.reference else "",
        f"trained again: {row.reason}" if row.reason else "",
        f"resumed from step {words.count(row.resumed_from_step)}" if row.resumed_from_step else "",
    )
    return [fact for fact in facts if fact]


def _failed_check(check: CheckView, width: int) -> list[Text]:
    first, *rest = hanging(f"{INDENT}{check.state} ", check.text, width)
    head = Text(first)
    head.stylize(COLOURS[check.tone], len(INDENT), len(INDENT) + len(check.state))
    return [head, *map(Text, rest)]


def _other(row: Row) -> Text:
    """Return the rest of the line of a stage that has not started, or has stopped."""
    if row.state is State.PENDING:
        steps = words.plural(row.total_steps, "step") if row.total_steps else ""
        method = clean(row.method) if row.method != row.name else ""
        return Text(GAP.join(part for part in (method, steps) if part) or "waiting", style="dim")
    if row.state is State.NOT_STARTED:
        return Text(row.state.value, style="dim")
    at = f"step {words.count(row.step)} of {words.count(row.total_steps or 0)}{GAP}" if row.step else ""
    return Text(at + row.state.value)


def _fitted(line: Text, width: int) -> Text:
    """Truncate a line on a very narrow terminal, with an ellipsis."""
    line.truncate(width, overflow="ellipsis")
    return line
