"""Events at the start of a stage's training."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ptspec.events import StageChecked, StageDefault, StageStarted, StageTuned
from ptspec.performance.decide import Decision
from ptspec.performance.record import choice_json
from ptspec.recipe.effective_config import own_defaults
from ptspec.recipe.plan import Stage
from ptspec.recipe.stage_evaluation import evaluation_of
from ptspec.training.job import Job
from ptspec.training.start_checks import Beginning

if TYPE_CHECKING:
    from ptspec.training.vllm.start import PolicyServer


def started(job: Job) -> StageStarted:
    """Return the start event, before the trainer has counted its steps."""
    return StageStarted(
        stage=job.stage.name,
        method=job.stage.method.name,
        parent=job.stage.parent,
        handover=job.stage.handover.value if job.stage.handover else None,
        reference=job.reference,
        rows=job.rows,
        total_steps=0,
        reason=job.reason,
    )


def about(
    job: Job, beginning: Beginning, server: PolicyServer | None
) -> tuple[StageDefault | StageTuned | StageChecked, ...]:
    """Return the events on non-TRL defaults, settings chosen for the device, and start checks."""
    stage = job.stage
    defaults = [StageDefault(stage.name, own.words) for own in own_defaults(stage.method, stage.config)]
    words = beginning.words if server is None else f"{beginning.words}, {server.words}"
    tuned = [] if job.decision is None else _tuned(stage, job.decision)
    return (*defaults, *_measured(job), *tuned, StageChecked(stage.name, words))


def _measured(job: Job) -> Iterator[StageDefault]:
    """Return when the stage is evaluated during training, and to what effect."""
    evaluation = evaluation_of(job.stage)
    if evaluation is not None and job.eval_dataset is not None:
        rows = f"{len(job.eval_dataset):,} rows"
        yield StageDefault(job.stage.name, f"eval_data: {rows}, {evaluation.words}")


def _tuned(stage: Stage, decision: Decision) -> list[StageTuned]:
    choices = tuple(choice_json(choice) for choice in decision.taken)
    return [StageTuned(stage.name, decision.words, choices)] if choices else []
