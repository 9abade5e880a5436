"""The event at the start of a run."""

from __future__ import annotations

from pathlib import Path

from ptspec.data.readers.placed import shown
from ptspec.estimate.forecast import parameters
from ptspec.estimate.planned_steps import planned_steps
from ptspec.events import RunStarted, StageLine
from ptspec.recipe.plan import Plan, Stage
from ptspec.run.options import LOG
from ptspec.run.stage_words import describe_adapter, handover_of, reference_of


def run_started(plan: Plan, stages: tuple[Stage, ...], device: str) -> RunStarted:
    """Return the start event of `stages` of `plan`; `device` in words."""
    steps = planned_steps(plan)
    setups = dict.fromkeys(describe_adapter(stage.adapter) for stage in stages if stage.trains)
    return RunStarted(
        name=plan.name,
        model=shown(Path(plan.model.path)),
        parameters=parameters(plan),
        setup=", ".join(setups) or "nothing is trained",
        device=device,
        output=shown(plan.output),
        stages=tuple(_line(stage, steps.get(stage.name)) for stage in stages),
        log=shown(plan.output / LOG),
        trained_for=_trained_for(plan, stages),
    )


def _line(stage: Stage, steps: int | None) -> StageLine:
    handover, reference = handover_of(stage), reference_of(stage)
    return StageLine(stage.name, stage.method.name, stage.parent, handover, reference, steps)


def _trained_for(plan: Plan, stages: tuple[Stage, ...]) -> tuple[str, ...]:
    """Return the rewards of the stages, and the metrics of their picks and all checks."""
    rewards = [name for stage in stages for name in stage.rewards]
    picks = [stage.pick for stage in stages if stage.pick is not None]
    rewards += [metric for p in picks for metric in (p.metric, *(check.metric for check in p.keep))]
    checks = [check.metric for stage in stages for check in stage.checks]
    return tuple(dict.fromkeys([*rewards, *checks, *(check.metric for check in plan.checks)]))
