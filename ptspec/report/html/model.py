"""What a run's folder tells, as types. Reads nothing, renders nothing."""

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
    """What became of a stage in the last session of its run.

    `OUTDATED`: what lies in its folder was left by a recipe that has changed since, and is told of in no
    table."""

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
    """Mean |difference| of token log-probabilities of the probes, in nats. None: not measured."""

    handed_over: float | None
    reference: float | None
    saved: float | None

    @property
    def is_exact(self) -> bool:
        return not any((self.handed_over, self.reference, self.saved))


@dataclass(frozen=True)
class BestEvaluation:
    """The best step by held-out rows, and by which metric; `stopped_at`: where the stage stopped early."""

    step: int
    metric: str
    handed_on: bool
    stopped_at: int | None


@dataclass(frozen=True)
class Training:
    """What `stage.json` keeps of a finished stage. `config` is that of the recipe, not TRL's defaults."""

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
class StageStory:
    """`logged` is what `metrics.jsonl` holds, `signals` the rewards or the judge that it learns from;
    `error` says why an evaluation could not be read; `comparison` is the stored one with its
    parent; `selection`: which of its variants it took over; `merged`: the sum that it is."""

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
class CheckStory:
    """A check of the recipe, as every screen says it; `stops`: it failed and ended the run."""

    view: CheckView
    held: bool
    stops: bool


@dataclass(frozen=True)
class Input:
    """A model or a data source: what it is in words, and the SHA-256 of its contents where one was taken."""

    name: str
    what: str
    sha256: str | None


@dataclass(frozen=True)
class RunStory:
    """A run's folder. `seconds` is the time of the last session, if it came to its end."""

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
    stages: tuple[StageStory, ...]
    base: Measurement | None
    base_error: str | None
    checks: tuple[CheckStory, ...]
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
        """The evaluations of this recipe: of the base, then of the stages, each under its stage's name."""
        stages = [stage for stage in self.stages if stage.state is not State.OUTDATED]
        found = [self.base, *(stage.measurement for stage in stages)]
        return [measurement for measurement in found if measurement is not None]
