"""A run as events with their times: base, SFT (120 steps), DPO (30 steps). Figures are made up."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from ptspec.events import (
    CheckedBound,
    CheckEvaluated,
    EvaluationProgress,
    EvaluationStarted,
    Event,
    Figure,
    MetricChange,
    RunFinished,
    RunStarted,
    StageChecked,
    StageComparison,
    StageEvaluated,
    StageFinished,
    StageLine,
    StageStarted,
    StageStep,
    StageTrained,
    Warned,
)

FOLDER = Path(__file__).parents[1] / "unit/report/expected"
"""The expected screens."""

STARTED = RunStarted(
    "sft_dpo",
    "data/base_model",
    1_020_000,
    "LoRA r16",
    "cpu, 2 threads",
    "outputs/sft_dpo",
    (
        StageLine("sft", "sft", "base", None, None, 120),
        StageLine("dpo", "dpo", "sft", "continue", "sft, frozen", 30),
    ),
    "outputs/sft_dpo/run.log",
    ("preference_accuracy", "accuracy"),
)

BASE = {
    "loss": Figure(1.851, 1.793, 1.912),
    "accuracy": Figure(0.06, 0.034, 0.103),
    "raw_preference": Figure(0.51, 0.44, 0.58),
    "style": Figure(0.0, 0.0, 0.019, is_share=True),
    "response_length": Figure(41.2, 39.0, 43.0),
    "empty": Figure(0.0, 0.0, 0.02),
}
SFT = {
    "loss": Figure(0.412, 0.38, 0.447),
    "accuracy": Figure(0.95, 0.91, 0.973),
    "preference_accuracy": Figure(0.55, 0.48, 0.62),
    "style": Figure(0.35, 0.287, 0.418, is_share=True),
    "response_length": Figure(14.2, 13.0, 15.3),
    "empty": Figure(0.0, 0.0, 0.02),
}
DPO = {
    "loss": Figure(0.398, 0.37, 0.43),
    "accuracy": Figure(0.6, 0.531, 0.665),
    "preference_accuracy": Figure(0.91, 0.86, 0.943),
    "style": Figure(0.875, 0.822, 0.914, is_share=True),
    "response_length": Figure(9.8, 9.0, 10.5),
    "empty": Figure(0.0, 0.0, 0.02),
}


def compared(parent, before, after, **verdicts):
    """The comparison of a stage with its parent: differences of the figures, with the verdicts given."""
    differences = {name: after[name].value - before[name].value for name in after if name in before}
    changes = {
        name: MetricChange(Figure(d, d - 0.02, d + 0.02), verdicts.get(name, "described"))
        for name, d in differences.items()
        if name != "preference_accuracy"
    }
    return StageComparison(parent, 200, 3, "Holm", changes)


SFT_TO_BASE = compared("base", BASE, SFT, accuracy="better", style="better", loss="better")
DPO_TO_SFT = compared("sft", SFT, DPO, accuracy="worse", style="better")
PREFERENCE = CheckedBound("preference_accuracy", 0.91, "≥", 0.7, True)
ACCURACY = CheckedBound("accuracy", -0.35, "≥", -0.05, False, over="sft")


@dataclass
class Clock:
    """A clock that stands still until it is moved."""

    seconds: float = 0.0

    def timer(self) -> float:
        return self.seconds

    def now(self) -> datetime:
        return datetime(2026, 11, 24, 14, 2, 0) + timedelta(seconds=self.seconds)


def run() -> Iterator[tuple[float, Event]]:
    """Every event of the run with the second at which it comes."""
    yield 0.0, STARTED
    yield 1.0, EvaluationStarted("base", 200)
    yield 4.0, StageEvaluated("base", BASE, 2.9)
    yield 5.0, StageStarted("sft", "sft", "base", None, None, 1600, 120)
    yield 5.1, StageChecked("sft", "the new adapter changes nothing, probes agree to 0.0000")
    for step in range(1, 121):
        logged = {"loss": 1.9 - step / 80, "mean_token_accuracy": step / 125} if step % 10 == 0 else {}
        yield 6.0 + step / 10, StageStep("sft", step, 120, step / 10, logged)
        if step == 60:
            yield 12.0, Warned("3 of 1,600 rows are longer than max_length 64", "sft")
    yield 18.4, StageTrained("sft", 120, 12.4, {})
    yield 18.5, EvaluationStarted("sft", 200)
    yield 19.5, EvaluationProgress("sft", "answers", 80, 200)
    yield 21.4, StageEvaluated("sft", SFT, 2.9, False, SFT_TO_BASE, "base")
    yield 21.5, StageFinished("sft", "outputs/sft_dpo/sft")
    yield 22.0, StageStarted("dpo", "dpo", "sft", "continue", "sft, frozen", 1600, 30)
    yield 22.1, StageChecked("dpo", "margin 0.0000, probes agree to 2e-7")
    for step in range(1, 31):
        logged = {
            "loss": 0.6931 - step / 100,
            "rewards/margins": step / 9,
            "rewards/accuracies": 0.5 + step / 75,
        }
        yield 23.0 + step * 0.3, StageStep("dpo", step, 30, step * 0.3, logged if step % 2 == 0 else {})
    yield 32.1, StageTrained("dpo", 30, 8.9, {})
    yield 32.2, EvaluationStarted("dpo", 200)
    yield 34.9, StageEvaluated("dpo", DPO, 2.7, False, DPO_TO_SFT, "sft")
    yield 35.0, StageFinished("dpo", "outputs/sft_dpo/dpo")
    yield 35.1, CheckEvaluated("dpo", "", True, "stop", (PREFERENCE,))
    yield 35.1, CheckEvaluated("dpo", "", False, "warn", (ACCURACY,))
    yield 35.2, RunFinished("outputs/sft_dpo", 35.2, ("sft", "dpo"), "outputs/sft_dpo/report.html")


def before(seconds: float) -> list[tuple[float, Event]]:
    """The events that have come by then."""
    return [(at, event) for at, event in run() if at <= seconds]
