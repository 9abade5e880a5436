"""What stands below the stages when a run is over: the table, the checks, where things are, what next."""

from __future__ import annotations

import shlex
from pathlib import PurePath

from rich.text import Text

from ptspec import methods
from ptspec.events import CheckEvaluated, RunFinished
from ptspec.methods.types import Yields
from ptspec.report import words
from ptspec.report.board import Board, Ending
from ptspec.report.clean import clean
from ptspec.report.done import GAP
from ptspec.report.rows import check_lines
from ptspec.report.tables import progress_table


def ending(board: Board, width: int) -> list[Text]:
    """The lines to show after the last event; none for a run that a fault or the user stopped."""
    if board.finished is None and board.ending is not Ending.CHECK:
        return []
    blocks = [
        progress_table(board.evaluations, board.parents, board.verdicts, board.accuracy).lines(width)
        if board.evaluations
        else [],
        _checks(board.checks, width),
        _finished(board, board.finished) if board.finished else [],
    ]
    return [line for block in blocks if block for line in (Text(), *block)]


def _checks(checks: list[CheckEvaluated], width: int) -> list[Text]:
    names = [clean(check.stage or "run") for check in checks]
    column = max(map(len, names), default=0)
    return [
        line
        for check, name in zip(checks, names, strict=True)
        for line in check_lines(check, width, after=name.ljust(column) + GAP)
    ]


def _finished(board: Board, finished: RunFinished) -> list[Text]:
    held = sum(check.held for check in board.checks)
    checks = f", {held} of {words.plural(len(board.checks), 'check')} held" if board.checks else ""
    return [
        Text(f"done in {words.duration(finished.seconds)}{checks}"),
        *([Text(f"report   {clean(finished.report)}")] if finished.report else []),
        Text(f"folder   {clean(_output(board, finished))}"),
        Text.assemble("next     ", (clean(next_command(board, finished)), "bold")),
    ]


def next_command(board: Board, finished: RunFinished) -> str:
    """The one command to try next: the last two policies side by side, else the one there is."""
    policies = [
        name for name in finished.stages if _is_policy(board.rows[name].method if name in board.rows else "")
    ]
    output = _output(board, finished)
    folders = [shlex.quote(str(PurePath(output, name))) for name in policies]
    if len(folders) < 2:
        return f"pt eval {shlex.quote(output)}"
    return f"pt eval --compare {folders[-2]} {folders[-1]} --show 5"


def _output(board: Board, finished: RunFinished) -> str:
    """The run's folder as the header shows it."""
    return board.run.output if board.run else finished.output


def _is_policy(method: str) -> bool:
    return method not in methods.METHODS or methods.get(method).yields is Yields.POLICY
