"""The lines below the stages of a finished run: legend, checks, paths, next command."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import PurePath

from rich.text import Text

from ptspec import methods
from ptspec.evaluation.selection import Selection
from ptspec.events import RunFinished
from ptspec.methods.types import Yields
from ptspec.report import words
from ptspec.report.board import BASE, Board, Ending
from ptspec.report.clean import clean
from ptspec.report.done import GAP
from ptspec.report.lines import COLOURS, hanging, parts_in_lines
from ptspec.report.view.checks import CheckView, check_view, passed
from ptspec.report.view.measure import Measure
from ptspec.report.view.policies import LEGEND, Policy, accuracy_by, also
from ptspec.report.view.selection import selection_view


def ending(
    board: Board, width: int, left_out: Sequence[Measure] = (), *, is_marked: bool = True
) -> list[Text]:
    """Return the lines after the last event; none for a run that an error or the user stopped.

    `left_out`: measures without room on the stages' lines; `is_marked`: those have marks to explain.
    """
    if board.finished is None and board.ending is not Ending.CHECK:
        return []
    checks = list(map(check_view, board.checks))
    blocks = [
        [Text(), *picked_lines(board.picked, width)] if board.picked else [],
        [Text(), *check_lines(checks, width)] if checks else [],
        [Text(), *_finished(board, board.finished)] if board.finished else [],
    ]
    below = below_stages(board.policies, width, left_out, is_marked=is_marked)
    return [*below, *(line for block in blocks for line in block)]


def below_stages(
    policies: Sequence[Policy], width: int, left_out: Sequence[Measure] = (), *, is_marked: bool
) -> list[Text]:
    """Return the legend, and what the stages' lines omit of the last policy."""
    lines = hanging("  ", LEGEND, width) if is_marked else []
    parts = also(policies, left_out)
    lines += parts_in_lines("  also: ", parts, width) if parts else []
    by = accuracy_by(policy.accuracy for policy in policies)
    lines += [line for text in by for line in hanging("  ", text, width)]
    return [Text(line, style="dim") for line in lines]


def check_lines(checks: Sequence[CheckView], width: int) -> list[Text]:
    """Return "PASS dpo   preference accuracy 95.6 % ≥ 75 %", with aligned stage names."""
    column = max((len(check.where) for check in checks), default=0)
    lines = []
    for check in checks:
        first, *rest = hanging(f"{check.state} {check.where.ljust(column)}{GAP}", check.text, width)
        text = Text(first)
        text.stylize(f"bold {COLOURS[check.tone]}", 0, len(check.state))
        lines += [text, *map(Text, rest)]
    return lines


def picked_lines(picked: Sequence[Selection], width: int) -> list[Text]:
    """Return "PICK dpo   dpo.3 (beta 0.5): best style of 6 variants, 88.1 %", then details."""
    views = [selection_view(one) for one in picked]
    column = max(len(view.stage) for view in views)
    lines = []
    for view in views:
        head = f"PICK {view.stage.ljust(column)}{GAP}"
        first, *more = hanging(head, view.head, width)
        text = Text(first)
        text.stylize("bold", 0, 4)
        below = [line for one in view.rest for line in hanging(" " * len(head), one, width)]
        lines += [text, *map(Text, [*more, *below])]
    return lines


def _finished(board: Board, finished: RunFinished) -> list[Text]:
    held = sum(check.held for check in board.checks)
    checks = f", {passed(held, len(board.checks))}" if board.checks else ""
    where = f"report   {finished.report}" if finished.report else f"folder   {_output(board, finished)}"
    return [
        Text(f"{words.plural(len(finished.stages), 'stage')} in {words.duration(finished.seconds)}{checks}"),
        Text(clean(where)),
        Text.assemble("next     ", (clean(next_command(board, finished)), "bold")),
    ]


def next_command(board: Board, finished: RunFinished) -> str:
    """Return the command to try next: a comparison of the last two policies, else a chat.

    The base is one of the policies, if it was evaluated.
    """
    policies = [
        name for name in finished.stages if _is_policy(board.rows[name].method if name in board.rows else "")
    ]
    output = _output(board, finished)
    folders = [shlex.quote(str(PurePath(output, name))) for name in policies]
    if not board.policies:
        return f"pt chat {shlex.quote(output)}" if policies else f"pt report {shlex.quote(output)}"
    if len(folders) == 1 and board.policies[0].name == BASE:
        base = shlex.quote(str(PurePath(output, BASE)))
        return f"pt eval --compare {base} {folders[0]} --show 5"
    if len(folders) < 2:
        return f"pt eval {shlex.quote(output)} --all"
    if (last := board.rows.get(policies[-1])) is not None and last.picked is not None:
        # The one before it is another variant.
        parent = shlex.quote(str(PurePath(output, last.parent or BASE)))
        return f"pt eval --compare {parent} {folders[-1]} --show 5"
    return f"pt eval --compare {folders[-2]} {folders[-1]} --show 5"


def _output(board: Board, finished: RunFinished) -> str:
    """Return the run's folder as shown in the header."""
    return board.run.output if board.run else finished.output


def _is_policy(name: str) -> bool:
    method = methods.find(name)
    return method is None or method.yields is Yields.POLICY
