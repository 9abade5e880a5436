"""What a run says to whoever listens: the terminal, `events.jsonl`, a test.

The interpreter and the trainers emit these; they never print.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Figure:
    """A measured number.

    `low` and `high` bound its 95 % interval where one is known. `is_share`: of a reward, that each row's
    value is 0 or 1, so that the mean is shown in percent."""

    value: float
    low: float | None = None
    high: float | None = None
    is_share: bool = field(default=False, compare=False)


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
    `parameters` None: not known before the model is loaded. `trained_for`: the metrics that the recipe's
    stages are rewarded by and its checks name, in order."""

    name: str
    model: str
    parameters: int | None
    setup: str
    device: str
    output: str
    stages: tuple[StageLine, ...]
    log: str
    trained_for: tuple[str, ...] = ()


@dataclass(frozen=True)
class StageStarted:
    """`rows` None: they are streamed.

    `reason` says why a stage that was finished before is trained again ("beta 0.1 → 0.2")."""

    stage: str
    method: str
    parent: str | None
    handover: str | None
    reference: str | None
    rows: int | None
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
class StageTuned:
    """What was chosen for the device before a stage trains: `text` in one line; `choices` with their fields,
    reasons and estimated gains."""

    stage: str
    text: str
    choices: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True)
class StageStep:
    """One optimizer step. `metrics` are TRL's logged numbers under TRL's names, empty between logs."""

    stage: str
    step: int
    total_steps: int
    seconds: float
    metrics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class StepEvaluated:
    """An evaluation on held-out rows within the training, after `step`.

    `metrics` are TRL's under the names that it logs them by ("eval_loss"), `metric` is the one to show."""

    stage: str
    step: int
    total_steps: int
    metric: str
    metrics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class BestStep:
    """Which step of a stage was the best by `metric`, of the `trained` steps: once it is trained.

    `patience`: after how many evaluations without improvement it stops; `stopped`: whether it did."""

    stage: str
    step: int
    metric: str
    value: float
    trained: int
    patience: int | None = None
    stopped: bool = False
    handed_on: bool = True

    @property
    def words(self) -> str:
        """ "stopped early at step 40: eval_loss has not improved for 3 evaluations; best step 25 is …"."""
        if self.stopped:
            times = "1 evaluation" if self.patience == 1 else f"{self.patience} evaluations"
            begin = f"stopped early at step {self.trained}: {self.metric} has not improved for {times}; "
            best = f"best step {self.step}"
            return begin + (
                f"{best} is handed on" if self.handed_on else f"the last step is handed on, not {best}"
            )
        best = f"best step {self.step} of {self.trained} ({self.metric} {self.value:.4g})"
        return f"{best} is handed on" if self.handed_on else f"{best}; the last step is handed on"


@dataclass(frozen=True)
class StageTrained:
    stage: str
    steps: int
    seconds: float
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class StageReused:
    """A finished stage whose fingerprint is unchanged; `when` is when it was finished (ISO 8601).

    `taken_from`: the folder of another run that it was taken over from.
    """

    stage: str
    when: str
    taken_from: str | None = None


@dataclass(frozen=True)
class StagePicked:
    """A stage has taken over one of the variants of its matrix; `selection`: all of them and why, as
    `comparison.json` has it under "variants"."""

    stage: str
    variant: str
    selection: Mapping[str, Any]


@dataclass(frozen=True)
class StageMerged:
    """A stage is made and saved that trains nothing; `words`: of what, "0.9 × a + 0.1 × b"."""

    stage: str
    words: str
    seconds: float


@dataclass(frozen=True)
class EvaluationStarted:
    """`stage` is "base" for the base model.

    `answers_by`: the server that generates the answers, in words; empty where the policy itself does."""

    stage: str
    rows: int
    answers_by: str = ""


@dataclass(frozen=True)
class EvaluationProgress:
    """The part of an evaluation that is under way: `what` it makes ("answers"), `done` of `total`; a `total`
    of 0 where they are not counted."""

    stage: str
    what: str
    done: int
    total: int


@dataclass(frozen=True)
class MetricChange:
    """A stage less its parent in one metric, paired.

    `difference` has the interval that decides, `verdict` is in the words of `comparison.json` ("better",
    "worse", "no difference shown", "described", …)."""

    difference: Figure
    verdict: str


@dataclass(frozen=True)
class StageComparison:
    """The comparison of a stage with its `parent`, as `comparison.json` has it: `changes` by metric, a win
    rate under its metric's name. `tests` is how many were corrected for, by `correction`."""

    parent: str
    prompts: int
    tests: int
    correction: str
    changes: Mapping[str, MetricChange]


@dataclass(frozen=True)
class StageEvaluated:
    """`comparison`: with the stage's parent, None where there is none.

    `preference_over`: the policy that the stage's preference for chosen answers is relative to. `accuracy`
    says by what a response counts as right, and why ("choice_letter: all 160 right answers are single
    letters"); None where nothing says it."""

    stage: str
    metrics: Mapping[str, Figure]
    seconds: float
    reused: bool = False
    comparison: StageComparison | None = None
    preference_over: str | None = None
    accuracy: str | None = None


@dataclass(frozen=True)
class StageFinished:
    stage: str
    folder: str


@dataclass(frozen=True)
class CheckedBound:
    """One bound of a check, in the metric's own unit: `value` `relation` ("≥", "≤") `bound`.

    `over`: the policy that `value` is the difference to; None where it is the metric itself. `end`: the end
    of the interval at `confidence` that the bound is asked of, in place of the value.
    """

    metric: str
    value: float
    relation: str
    bound: float
    held: bool
    over: str | None = None
    end: float | None = None
    confidence: float | None = None
    is_share: bool = False


@dataclass(frozen=True)
class CheckEvaluated:
    """A check of the recipe.

    `text` says why there is nothing to check; in the files of earlier versions it says the whole check, and
    there are no `bounds`."""

    stage: str | None
    text: str
    held: bool
    on_fail: str
    bounds: tuple[CheckedBound, ...] = ()


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


@dataclass(frozen=True)
class RunStopped:
    """A run that did not end by itself, of `code` and `text` of the error.

    Told to the log alone: what the error says is shown. `asked`: the user, the system or a time limit stopped
    it."""

    code: str
    text: str
    asked: bool


Event = (
    Preparing
    | RunStarted
    | StageStarted
    | StageChecked
    | StageDefault
    | StageTuned
    | StageStep
    | StepEvaluated
    | BestStep
    | StageTrained
    | StageReused
    | StagePicked
    | StageMerged
    | EvaluationStarted
    | EvaluationProgress
    | StageEvaluated
    | StageFinished
    | CheckEvaluated
    | Warned
    | RunFinished
    | RunStopped
)

Listener = Callable[[Event], None]
