"""The cost of evaluations during training: how many, and over how many rows."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from ptspec.estimate.rowcount import RowCounts
from ptspec.estimate.steps import Steps
from ptspec.recipe.effective_config import EffectiveConfig
from ptspec.recipe.stage_evaluation import STEPS, StageEvaluation, evaluation_of


@dataclass(frozen=True)
class Measured:
    """`rows` per evaluation, and at most `times` evaluations. None if unknown."""

    evaluation: StageEvaluation
    rows: int | None
    times: int | None

    @property
    def words(self) -> str:
        """The evaluations in words: "on heldout (160 rows) each epoch; …; 3 evaluations, …"."""
        rows = "" if self.rows is None else f" ({self.rows:,} rows)"
        text = self.evaluation.words.replace(
            f"on {self.evaluation.data}", f"on {self.evaluation.data}{rows}", 1
        )
        if self.times is None:
            return text
        most = "at most " if self.evaluation.patience is not None else ""
        return f"{text}; {most}{self.times:,} evaluation{'s' if self.times != 1 else ''}"


def measured(settings: EffectiveConfig, counts: RowCounts, steps: Steps | None) -> Measured | None:
    """Return the evaluations of a stage during training; None if it has none."""
    evaluation = evaluation_of(settings.stage)
    if evaluation is None:
        return None
    held_out = replace(settings, stage=replace(settings.stage, data=evaluation.data))
    times = None if steps is None else _times(evaluation, steps)
    return Measured(evaluation, counts.of(held_out).rows, times)


def _times(evaluation: StageEvaluation, steps: Steps) -> int:
    """Return the number of evaluations as transformers counts.

    Per steps or epochs, and after the last step.
    """
    if evaluation.strategy == STEPS and evaluation.steps:
        given = evaluation.steps
        every = max(1, math.ceil(steps.total * given) if given < 1 else int(given))
        times, before = math.ceil(steps.total / every), (math.ceil(evaluation.delay) - 1) // every
    else:
        times, before = math.ceil(steps.epochs), math.ceil(evaluation.delay) - 1
    return max(0, times - max(0, before)) + evaluation.on_start
