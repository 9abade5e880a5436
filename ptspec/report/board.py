"""The state of a run: the events so far, folded into one row per stage. Independent of display and clock."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from ptspec.evaluation.comparison_store import read_selection
from ptspec.evaluation.selection import Selection
from ptspec.events import (
    BestStep,
    CheckEvaluated,
    EvaluationProgress,
    EvaluationStarted,
    Event,
    Figure,
    Preparing,
    RunFinished,
    RunStarted,
    StageChecked,
    StageComparison,
    StageDefault,
    StageEvaluated,
    StageFinished,
    StageLine,
    StageMerged,
    StagePicked,
    StageReused,
    StageStarted,
    StageStep,
    StageTrained,
    StepEvaluated,
    Warned,
)
from ptspec.report.clean import clean
from ptspec.report.view.policies import Policy

BASE = "base"


class State(Enum):
    """The state of a stage."""

    PENDING = "pending"
    TRAINING = "training"
    EVALUATING = "evaluating"
    TRAINED = "trained"
    DONE = "done"
    REUSED = "reused"
    CHECK_FAILED = "failed its check"
    FAILED = "stopped by an error"
    INTERRUPTED = "interrupted"
    NOT_STARTED = "not started"


RUNNING = (State.TRAINING, State.EVALUATING, State.TRAINED)


class Ending(Enum):
    """How an unfinished run ended."""

    CHECK = "check"
    ERROR = "error"
    INTERRUPT = "interrupt"


@dataclass
class Row:
    """The state of one stage.

    Times are the caller's, in seconds; `latest`: TRL's logged numbers; `held_out`: the last evaluation on
    held-out rows, or the best step's if that is the result: ("eval_loss", 0.43).
    """

    name: str
    method: str = ""
    parent: str | None = None
    handover: str | None = None
    reference: str | None = None
    state: State = State.PENDING
    rows: int | None = 0
    step: int = 0
    total_steps: int | None = None
    checked: str = ""
    first_step: tuple[int, float] | None = None
    last_step_at: float = 0.0
    trained_seconds: float | None = None
    trained_steps: int = 0
    latest: dict[str, float] = field(default_factory=dict)
    held_out: tuple[str, float] | None = None
    evaluating: int = 0
    evaluating_since: float = 0.0
    evaluating_part: EvaluationProgress | None = None
    evaluation: Mapping[str, Figure] | None = None
    comparison: StageComparison | None = None
    preference_over: str | None = None
    accuracy: str | None = None
    finished: bool = False
    reused: bool = False
    reused_from: str = ""
    taken_from: str | None = None
    resumed_from_step: int = 0
    reason: str = ""
    merged: str = ""
    picked: Selection | None = None
    checks: list[CheckEvaluated] = field(default_factory=list)

    @property
    def pace(self) -> tuple[int, float] | None:
        """Steps and seconds between the first and the last step seen; None before there are two."""
        if self.first_step is None or self.step <= self.first_step[0]:
            return None
        return self.step - self.first_step[0], self.last_step_at - self.first_step[1]

    @property
    def own_steps(self) -> int:
        """Steps trained in `trained_seconds`: without those before it was resumed."""
        return self.trained_steps - self.resumed_from_step

    @property
    def policy(self) -> Policy:
        """Its evaluation for display."""
        return Policy(
            self.name,
            self.evaluation or {},
            self.comparison,
            self.preference_over,
            self.method,
            self.accuracy,
        )

    @property
    def seconds_left(self) -> float | None:
        """Estimated seconds until the last step; None if unknown."""
        if self.pace is None or not self.total_steps:
            return None
        steps, seconds = self.pace
        return seconds / steps * max(self.total_steps - self.step, 0)


@dataclass
class Board:
    """The state of a run.

    `run_checks`: checks of the run; `preparing`: what is under way before the next event.
    """

    run: RunStarted | None = None
    rows: dict[str, Row] = field(default_factory=dict)
    run_checks: list[CheckEvaluated] = field(default_factory=list)
    finished: RunFinished | None = None
    ending: Ending | None = None
    preparing: str = ""
    _outside: str = ""

    def apply(self, event: Event, at: float) -> None:
        """Update the state by an event at time `at`. Events without state (a warning) are ignored."""
        if not isinstance(event, Warned | StageDefault):
            self.preparing = event.what if isinstance(event, Preparing) else ""
        match event:
            case StageStep():
                self._step(event, at)
            case RunStarted():
                self.run = event
                self.rows = {line.name: _row(line) for line in event.stages}
            case StageStarted():
                self._started(event)
            case StageChecked():
                self.row(event.stage).checked = clean(event.summary)
            case StageTrained():
                self._trained(event)
            case StepEvaluated():
                if event.metric in event.metrics:
                    self.row(event.stage).held_out = (event.metric, event.metrics[event.metric])
            case BestStep():
                if event.handed_on:
                    self.row(event.stage).held_out = (event.metric, event.value)
            case StageReused():
                row = self.row(event.stage)
                row.reused, row.reused_from = True, clean(event.when)
                row.taken_from = None if event.taken_from is None else clean(event.taken_from)
                _settle(row)
            case StageMerged():
                row = self.row(event.stage)
                row.state, row.merged = State.TRAINED, clean(event.words)
            case StagePicked():
                self.row(event.stage).picked = read_selection(event.selection)
            case EvaluationStarted():
                self._evaluating(event, at)
            case EvaluationProgress():
                self.row(event.stage).evaluating_part = event
            case StageEvaluated():
                self._evaluated(event)
            case StageFinished():
                row = self.row(event.stage)
                row.finished = True
                _settle(row)
            case CheckEvaluated():
                self._check(event)
            case RunFinished():
                self.finished = event

    def row(self, name: str) -> Row:
        """Return the row called `name`, created at its first event; the base model is the first."""
        if name not in self.rows:
            new = {name: Row(clean(name))}
            self.rows = new | self.rows if name == BASE else self.rows | new
        return self.rows[name]

    @property
    def policies(self) -> list[Policy]:
        """Return the evaluated base model and stages, in order."""
        return [row.policy for row in self.rows.values() if row.evaluation]

    @property
    def trained_for(self) -> tuple[str, ...]:
        """The metrics that the recipe trains and checks for."""
        return self.run.trained_for if self.run else ()

    @property
    def picked(self) -> list[Selection]:
        """The selections among variants."""
        return [row.picked for row in self.rows.values() if row.picked is not None]

    @property
    def checks(self) -> list[CheckEvaluated]:
        """The results of all checks, of the stages and the run."""
        return [check for row in self.rows.values() for check in row.checks] + self.run_checks

    def end(self, ending: Ending | None) -> None:
        """Mark stages under way and stages that will not start when the run ends."""
        self.ending = ending
        if ending is None:
            return
        stopped = State.INTERRUPTED if ending is Ending.INTERRUPT else State.FAILED
        for row in self.rows.values():
            if row.state in RUNNING and ending is not Ending.CHECK:
                row.state = stopped
            elif row.state is State.PENDING:
                row.state = State.NOT_STARTED

    def _started(self, event: StageStarted) -> None:
        row = self.row(event.stage)
        row.state, row.method, row.rows = State.TRAINING, event.method, event.rows
        row.parent, row.handover, row.reference = event.parent, event.handover, event.reference
        row.step, row.total_steps = event.resumed_from_step, event.total_steps
        row.first_step = None  # a stage that restarts in the same run has another pace
        row.resumed_from_step, row.reason = event.resumed_from_step, clean(event.reason or "")

    def _step(self, event: StageStep, at: float) -> None:
        row = self.row(event.stage)
        row.state = State.TRAINING
        row.step, row.total_steps, row.last_step_at = event.step, event.total_steps, at
        if row.first_step is None:
            row.first_step = (event.step, at)
        if event.metrics:
            row.latest = {**row.latest, **event.metrics}

    def _trained(self, event: StageTrained) -> None:
        row = self.row(event.stage)
        row.state, row.step = State.TRAINED, event.steps
        row.trained_steps, row.trained_seconds = event.steps, event.seconds
        row.latest = {**row.latest, **event.metrics}

    def _evaluating(self, event: EvaluationStarted, at: float) -> None:
        """Add a row for a policy from outside the run while it is measured."""
        if self._outside:
            self.rows = {name: row for name, row in self.rows.items() if name != self._outside}
        self._outside = "" if event.stage in self.rows or event.stage == BASE else event.stage
        row = self.row(event.stage)
        row.state, row.evaluating, row.evaluating_since = State.EVALUATING, event.rows, at
        row.evaluating_part = None

    def _evaluated(self, event: StageEvaluated) -> None:
        row = self.row(event.stage)
        row.evaluation, row.comparison = dict(event.metrics), event.comparison
        row.preference_over, row.accuracy = event.preference_over, event.accuracy
        row.finished = row.finished or event.stage == BASE
        row.reused = row.reused or (event.reused and event.stage == BASE)
        _settle(row)

    def _check(self, event: CheckEvaluated) -> None:
        if event.stage is None:
            self.run_checks = [*self.run_checks, event]
            return
        row = self.row(event.stage)
        row.checks = [*row.checks, event]
        _settle(row)


def _settle(row: Row) -> None:
    """Return the state of a row that is neither training nor being evaluated."""
    if any(not check.held and check.on_fail == "stop" for check in row.checks):
        row.state = State.CHECK_FAILED
    elif row.reused:
        row.state = State.REUSED
    else:
        row.state = State.DONE if row.finished else State.TRAINED


def _row(line: StageLine) -> Row:
    return Row(
        clean(line.name),
        line.method,
        line.parent,
        line.handover,
        line.reference,
        total_steps=line.total_steps,
    )
