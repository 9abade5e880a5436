"""What a run says to whoever listens: the terminal, `events.jsonl`, a test.

The interpreter and the trainers emit these; they never print.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Figure:
    """A measured number. `low` and `high` bound its 95 % interval where one is known."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class StageLine:
    """A stage as it will run, for the header of the screen."""

    name: str
    method: str
    parent: str | None
    handover: str | None
    reference: str | None
    total_steps: int | None = None


@dataclass(frozen=True)
class Preparing:
    """What is going on before the run can say anything of itself: "loading torch, transformers, trl"."""

    what: str


@dataclass(frozen=True)
class RunStarted:
    """`setup` is the adapter setup in words ("LoRA r16"), `device` the hardware ("cpu, 2 threads");
    `parameters` None: not known before the model is loaded."""

    name: str
    model: str
    parameters: int | None
    setup: str
    device: str
    output: str
    stages: tuple[StageLine, ...]
    log: str


@dataclass(frozen=True)
class StageStarted:
    """`reason` says why a stage that was finished before is trained again ("beta 0.1 → 0.2")."""

    stage: str
    method: str
    parent: str | None
    handover: str | None
    reference: str | None
    rows: int
    total_steps: int
    resumed_from_step: int = 0
    reason: str | None = None


@dataclass(frozen=True)
class StageChecked:
    """The checks at the start of a stage: the policy is the reference, and is the one handed over."""

    stage: str
    summary: str


@dataclass(frozen=True)
class StageDefault:
    """A setting of a stage whose default is the method's own, not TRL's: both values and why, in words."""

    stage: str
    text: str


@dataclass(frozen=True)
class StageStep:
    """One optimizer step. `metrics` are TRL's logged numbers under TRL's names, empty between logs."""

    stage: str
    step: int
    total_steps: int
    seconds: float
    metrics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class StageTrained:
    stage: str
    steps: int
    seconds: float
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class StageReused:
    """A finished stage whose fingerprint is unchanged; `when` is when it was finished (ISO 8601)."""

    stage: str
    when: str
    reason: str


@dataclass(frozen=True)
class EvaluationStarted:
    """`stage` is "base" for the base model."""

    stage: str
    rows: int


@dataclass(frozen=True)
class StageEvaluated:
    """`verdicts`: by metric, what the paired comparison with the stage's parent says ("better", "worse",
    "no difference shown", "described", "too few prompts"); empty where there is none. `accuracy` says by what
    a response counts as right, and why ("choice_letter: all 160 right answers are single letters"); None
    where nothing says what is right."""

    stage: str
    metrics: Mapping[str, Figure]
    seconds: float
    reused: bool = False
    verdicts: Mapping[str, str] = field(default_factory=dict)
    accuracy: str | None = None


@dataclass(frozen=True)
class StageFinished:
    stage: str
    folder: str


@dataclass(frozen=True)
class CheckEvaluated:
    """A check of the recipe: `text` says it in words with the numbers."""

    stage: str | None
    text: str
    held: bool
    on_fail: str


@dataclass(frozen=True)
class Warned:
    text: str
    stage: str | None = None


@dataclass(frozen=True)
class RunFinished:
    output: str
    seconds: float
    stages: tuple[str, ...]
    report: str | None = None


Event = (
    Preparing
    | RunStarted
    | StageStarted
    | StageChecked
    | StageDefault
    | StageStep
    | StageTrained
    | StageReused
    | EvaluationStarted
    | StageEvaluated
    | StageFinished
    | CheckEvaluated
    | Warned
    | RunFinished
)

Listener = Callable[[Event], None]
