"""Events of a run, received by the terminal, `events.jsonl` and API listeners.

The interpreter and the trainers emit events; they never print.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Figure:
    """A measured number with its 95 % interval (`low`, `high`) if one is known.

    `is_share`: for a reward, each row's value is 0 or 1, so that the mean is shown in percent.
    """

    value: float
    low: float | None = None
    high: float | None = None
    is_share: bool = field(default=False, compare=False)


@dataclass(frozen=True)
class StageLine:
    """A planned stage, for the header of the screen."""

    name: str
    method: str
    parent: str | None
    handover: str | None
    reference: str | None
    total_steps: int | None = None


@dataclass(frozen=True)
class Preparing:
    """Work before the first stage is known: "loading torch, transformers, trl"."""

    what: str


@dataclass(frozen=True)
class RunStarted:
    """The run starts.

    `setup` is the adapter setup in words ("LoRA r16"), `device` the hardware ("cpu, 2 threads"); `parameters`
    is None before the model is loaded. `trained_for`: the metrics that the stages are rewarded by and the
    checks name, in order.
    """

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
    """A stage starts; `rows` is None for a stream; `reason`: why a finished one is trained again."""

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
    """Checks at the start of a stage: the policy equals the reference and the model handed over."""

    stage: str
    summary: str


@dataclass(frozen=True)
class StageDefault:
    """A setting whose default is the method's own, not TRL's: both values and the reason."""

    stage: str
    text: str


@dataclass(frozen=True)
class StageTuned:
    """Performance settings chosen for the device: a one-line `text`, and `choices` with reasons and gains."""

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
    """An evaluation on held-out rows after `step`: TRL's logged `metrics`, and the `metric` to show."""

    stage: str
    step: int
    total_steps: int
    metric: str
    metrics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class BestStep:
    """The best step of a stage by `metric`, out of `trained` steps; emitted after training.

    `patience`: evaluations without improvement before stopping; `stopped`: whether training stopped early.
    """

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
        """Return the event as a sentence, "stopped early at step 40: eval_loss has not improved for …"."""
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
    """A stage has trained: `steps` made and `seconds` of wall time since the stage started."""

    stage: str
    steps: int
    seconds: float
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class StageReused:
    """A finished stage is reused; `when`: its finish time (ISO 8601); `taken_from`: another run's folder."""

    stage: str
    when: str
    taken_from: str | None = None


@dataclass(frozen=True)
class StagePicked:
    """A stage has taken over a variant; `selection` is "variants" of `comparison.json`."""

    stage: str
    variant: str
    selection: Mapping[str, Any]


@dataclass(frozen=True)
class StageMerged:
    """A merge stage is saved; `words` is its formula: "0.9 × a + 0.1 × b"."""

    stage: str
    words: str
    seconds: float


@dataclass(frozen=True)
class EvaluationStarted:
    """An evaluation of `stage` ("base": the base model) starts; `answers_by`: the server, "" for none."""

    stage: str
    rows: int
    answers_by: str = ""


@dataclass(frozen=True)
class EvaluationProgress:
    """Progress of an evaluation: `done` of `total` items of `what` ("answers"); `total` 0 if not counted."""

    stage: str
    what: str
    done: int
    total: int


@dataclass(frozen=True)
class MetricChange:
    """A stage minus its parent in one metric, paired; `verdict` uses the words of `comparison.json`."""

    difference: Figure
    verdict: str


@dataclass(frozen=True)
class StageComparison:
    """The comparison of a stage with its `parent`, as in `comparison.json`, after `tests` tests."""

    parent: str
    prompts: int
    tests: int
    correction: str
    changes: Mapping[str, MetricChange]


@dataclass(frozen=True)
class StageEvaluated:
    """A stage was measured.

    `comparison`: with the stage's parent; None if it has none. `preference_over`: the reference policy of the
    stage's implicit preference. `accuracy`: the scorer of correct responses and why it was chosen
    ("choice_letter: all 160 right answers are single letters"); None if there is none.
    """

    stage: str
    metrics: Mapping[str, Figure]
    seconds: float
    reused: bool = False
    comparison: StageComparison | None = None
    preference_over: str | None = None
    accuracy: str | None = None


@dataclass(frozen=True)
class StageFinished:
    """A stage is finished: its folder is complete, and it was measured if the recipe has `eval`."""

    stage: str
    folder: str


@dataclass(frozen=True)
class CheckedBound:
    """One bound of a check in the metric's own unit: `value` `relation` ("≥", "≤") `bound`.

    `over`: the policy that `value` is the difference to; None for the metric itself. `end`: the interval end
    at `confidence` that is compared with the bound instead of the value.
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
    """The result of a check; `text`: why there are no `bounds`, or in older files the whole check."""

    stage: str | None
    text: str
    held: bool
    on_fail: str
    bounds: tuple[CheckedBound, ...] = ()


@dataclass(frozen=True)
class Warned:
    """A warning during the run."""

    text: str
    stage: str | None = None


@dataclass(frozen=True)
class RunFinished:
    """All stages of the run are finished."""

    output: str
    seconds: float
    stages: tuple[str, ...]
    report: str | None = None


@dataclass(frozen=True)
class RunStopped:
    """A run that ended with an error: exit `code` and `text` of the error.

    Written to the log alone, since the error itself is shown. `asked`: the user, the system or a time limit
    stopped the run.
    """

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
