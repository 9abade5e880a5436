"""The content of a run's folder, as types."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from ptspec.evaluation.comparison import Comparison
from ptspec.evaluation.measurement import Measurement
from ptspec.evaluation.selection import Selection
from ptspec.recipe.plan import BASE
from ptspec.report.html.logged import NOTHING_LOGGED, Logged
from ptspec.report.view.checks import CheckView


class State(Enum):
    """The state of a stage in the last session of its run.

    `OUTDATED`: its folder is from an earlier version of the recipe, and is in no table.
    """

    DONE = "done"
    REUSED = "reused"
    EARLIER = "done in an earlier session"
    OUTDATED = "of another recipe"
    UNFINISHED = "not finished"
    NOT_RUN = "not run"


class Ending(Enum):
    """How the last session of a run ended."""

    FINISHED = "finished"
    CHECK = "stopped by a check"
    OPEN = "not finished"


@dataclass(frozen=True)
class StartChecks:
    """Mean |difference| of the probes' token log-probabilities, in nats. None: not measured."""

    handed_over: float | None
    reference: float | None
    saved: float | None

    @property
    def is_exact(self) -> bool:
        """Whether every difference is 0."""
        return not any((self.handed_over, self.reference, self.saved))


@dataclass(frozen=True)
class BestEvaluation:
    """The best step on held-out rows, and its metric; `stopped_at`: where the stage stopped early."""

    step: int
    metric: str
    handed_on: bool
    stopped_at: int | None


@dataclass(frozen=True)
class Training:
    """The content of a finished stage's `stage.json`. `config` is the recipe's, without TRL's defaults."""

    adapter: str
    steps: int
    trainable_parameters: int
    seconds: float
    peak_memory_bytes: int | None
    finished: str
    checks: StartChecks
    config: Mapping[str, Any]
    best: BestEvaluation | None = None


@dataclass(frozen=True)
class StageRecord:
    """The content of a stage's folder.

    `logged`: from `metrics.jsonl`; `signals`: its rewards or judge; `error`: why an evaluation could not be
    read; `comparison`: the stored one with its parent; `selection`: the variant it took over; `merged`: its
    sum.
    """

    name: str
    method: str
    parent: str | None
    handover: str | None
    reference: str | None
    data: str
    signals: str
    state: State
    rows: int | None = None
    resumed_from_step: int = 0
    reason: str | None = None
    checked: str | None = None
    training: Training | None = None
    logged: Logged = NOTHING_LOGGED
    measurement: Measurement | None = None
    error: str | None = None
    comparison: Comparison | None = None
    selection: Selection | None = None
    merged: str = ""

    @property
    def origin(self) -> str:
        """What it is made from, in words."""
        return self.merged or self.parent or BASE


@dataclass(frozen=True)
class CheckRecord:
    """A check's result for display; `stops`: it failed and ended the run."""

    view: CheckView
    held: bool
    stops: bool


@dataclass(frozen=True)
class Input:
    """A model or a data source in words, and the SHA-256 of its contents if known."""

    name: str
    what: str
    sha256: str | None


@dataclass(frozen=True)
class RunRecord:
    """The content of a run's folder. `seconds`: duration of the last session, if it finished."""

    name: str
    description: str
    output: str
    ending: Ending
    started: str | None
    written: str
    seconds: float | None
    sessions: int
    setup: str | None
    parameters: int | None
    seed: int | None
    model: str
    stages: tuple[StageRecord, ...]
    base: Measurement | None
    base_error: str | None
    checks: tuple[CheckRecord, ...]
    warnings: tuple[str, ...]
    inputs: tuple[Input, ...]
    versions: Mapping[str, str]
    environment: Mapping[str, str]
    recipe: Mapping[str, Any]
    recipe_file: str
    command: str | None
    working_directory: str | None

    @property
    def measured(self) -> list[Measurement]:
        """The evaluations of this recipe: of the base, then of the stages by name."""
        stages = [stage for stage in self.stages if stage.state is not State.OUTDATED]
        found = [self.base, *(stage.measurement for stage in stages)]
        return [measurement for measurement in found if measurement is not None]
