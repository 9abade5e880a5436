"""The output of a run without a terminal: one plain line per event, with the time of day."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from types import TracebackType
from typing import TextIO

from rich.text import Text

from ptspec.evaluation.comparison_store import read_selection
from ptspec.events import (
    BestStep,
    CheckEvaluated,
    EvaluationStarted,
    Event,
    Preparing,
    RunFinished,
    RunStarted,
    StageChecked,
    StageDefault,
    StageEvaluated,
    StageFinished,
    StageMerged,
    StagePicked,
    StageReused,
    StageStarted,
    StageStep,
    StageTrained,
    StageTuned,
    StepEvaluated,
    Warned,
)
from ptspec.report import words
from ptspec.report.board import Board, Ending
from ptspec.report.clean import clean
from ptspec.report.done import moment
from ptspec.report.ending import ending
from ptspec.report.lines import PIPE
from ptspec.report.rows import Headlines, View, groups, origin, tails_of
from ptspec.report.screen import how_it_ended
from ptspec.report.view.checks import check_view
from ptspec.report.view.measure import Measure
from ptspec.report.view.policies import Cell, held_out, logged, stage_lines
from ptspec.report.view.selection import selection_view

SECONDS_BETWEEN_STEPS = 5.0


class Plain:
    """A listener that writes lines. Steps: when TRL logs, at most one per five seconds, and the last."""

    def __init__(
        self, stream: TextIO, headlines: Headlines, timer: Callable[[], float], now: Callable[[], datetime]
    ) -> None:
        self._stream = stream
        self._headlines = headlines
        self._timer = timer
        self._now = now
        self._board = Board()
        # By stage: several may train at once.
        self._told_at: dict[str, float] = {}
        self._untold: dict[str, str] = {}

    def __call__(self, event: Event) -> None:
        """Write the line of an event, if it has one."""
        at = self._timer()
        self._board.apply(event, at)
        if isinstance(event, StageStep):
            self._step(event, at)
        elif isinstance(event, StepEvaluated):
            self._step_evaluated(event, at)
        elif text := self._text(event):
            self._tell_steps()
            self._line(text)
        if isinstance(event, RunFinished):
            self._end()

    def __enter__(self) -> Plain:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._tell_steps()
        if self._board.finished is None:
            self._board.end(how_it_ended(error))
            self._end()

    def _step(self, event: StageStep, at: float) -> None:
        row = self._board.row(event.stage)
        shown = logged(self._headlines(row.method), event.metrics) if event.metrics else []
        if not shown:
            return
        left = "" if row.seconds_left is None else f", {words.remaining(row.seconds_left)} left"
        progress = f"step {words.count(event.step)} of {words.count(event.total_steps)}"
        self._tell(row.name, f"{row.name}: {progress}{left}: {', '.join(shown)}", at)

    def _step_evaluated(self, event: StepEvaluated, at: float) -> None:
        row = self._board.row(event.stage)
        progress = f"step {words.count(event.step)} of {words.count(event.total_steps)}"
        shown = held_out(row.held_out)
        if shown:
            self._tell(f"{row.name} evaluated", f"{row.name}: {progress}: {', '.join(shown)}", at)

    def _tell(self, about: str, text: str, at: float) -> None:
        """Write `text`, or keep it if the last line `about` the same is recent."""
        self._untold[about] = text
        if at - self._told_at.get(about, float("-inf")) >= SECONDS_BETWEEN_STEPS:
            self._told_at[about] = at
            self._line(self._untold.pop(about))

    def _tell_steps(self) -> None:
        for text in self._untold.values():
            self._line(text)
        self._untold.clear()

    def _text(self, event: Event) -> str:
        """Return one event in words."""
        match event:
            case Preparing():
                return event.what
            case RunStarted():
                return _run_started(event)
            case StageStarted():
                rows = "streamed rows" if event.rows is None else words.plural(event.rows, "row")
                facts = [rows, words.plural(event.total_steps, "step")]
                facts += origin(self._board.row(event.stage))
                return f"{event.stage}: training ({event.method}): {', '.join(facts)}"
            case StageChecked():
                return f"{event.stage}: checked: {event.summary}"
            case StageDefault():
                return f"{event.stage}: {event.text}"
            case StageTuned():
                return f"{event.stage}: performance: {event.text}"
            case BestStep():
                return f"{event.stage}: {event.words}"
            case StageTrained():
                pace = words.rate(self._board.row(event.stage).own_steps, event.seconds)
                took = f"in {words.duration(event.seconds)} ({pace})"
                return f"{event.stage}: trained {words.plural(event.steps, 'step')} {took}"
            case StageReused():
                since = moment(event.when, self._now().date())
                if event.taken_from is not None:
                    return f"{event.stage}: finished {since}, taken over from {event.taken_from}"
                return f"{event.stage}: unchanged since {since}, reused"
            case StageMerged():
                return f"{event.stage}: {event.words}, merged in {words.duration(event.seconds)}"
            case StagePicked():
                found = read_selection(event.selection)
                told = selection_view(found).sentences[:2] if found is not None else (event.variant,)
                return f"{event.stage}: picked {'; '.join(told)}"
            case EvaluationStarted():
                by = f", answers by {event.answers_by}" if event.answers_by else ""
                return f"{event.stage}: evaluating {words.plural(event.rows, 'row')}{by}"
            case StageEvaluated():
                took = "reused" if event.reused else f"in {words.duration(event.seconds)}"
                return f"{event.stage}: evaluated, {took}: {self._figures(event.stage)}"
            case StageFinished():
                return f"{event.stage}: done, in {event.folder}"
            case CheckEvaluated():
                return _check(event)
            case Warned():
                return "warning: " + (f"{event.stage}: " if event.stage else "") + event.text
            case _:
                return ""

    def _figures(self, stage: str) -> str:
        """Return key figures of a stage, each with the change from its parent and the verdict."""
        policies = self._board.policies
        names = [policy.name for policy in policies]
        if stage not in names:
            return "nothing measured"
        found = stage_lines(policies, self._board.trained_for)
        at = names.index(stage)
        cells = [(shown, column[at]) for shown, column in zip(found.shown, found.columns, strict=True)]
        return ", ".join(_figure(shown, cell) for shown, cell in cells if cell)

    def _end(self) -> None:
        """Write the final state of the stages, and the lines below them."""
        board = self._board
        if board.finished is None and board.ending is not Ending.CHECK:
            return
        view = View(PIPE, self._timer(), self._now().date(), self._headlines)
        tails = tails_of(board, view)
        below = ending(board, PIPE, tails.left_out, is_marked=tails.is_marked)
        stages = [line for group in groups(board, view) for line in group]
        for line in [Text(), *stages, *below]:
            self._write(line.plain.rstrip())

    def _line(self, text: str) -> None:
        self._write(f"{self._now():%H:%M:%S} {clean(text)}")

    def _write(self, text: str) -> None:
        self._stream.write(text + "\n")
        self._stream.flush()


def _run_started(event: RunStarted) -> str:
    size = "" if event.parameters is None else f" ({words.parameters(event.parameters)} parameters)"
    facts = (
        words.plural(len(event.stages), "stage"),
        f"{event.model}{size}",
        event.setup,
        event.device,
        event.output,
    )
    return f"{event.name}: " + " · ".join(facts)


def _check(event: CheckEvaluated) -> str:
    check = check_view(event)
    return f"{check.where}: {check.state} {check.text}"


def _figure(shown: Measure, cell: Cell) -> str:
    unit = " %" if shown.share else ""
    change = ", ".join(part for part in (cell.change, cell.word if cell.mark else "") if part)
    parts = (f"{shown.brief} {cell.value}{unit}", cell.note, f"({change})" if change else "")
    return " ".join(part for part in parts if part)
