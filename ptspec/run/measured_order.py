"""The order in which the policies of a run are measured and shown."""

from __future__ import annotations

from ptspec.methods.types import Yields
from ptspec.recipe.plan import BASE, Plan, Stage


def measured_order(plan: Plan) -> list[str]:
    """Return the names in order: the base, then each stage, preceded by a start model from outside."""
    names = [BASE]
    for stage in plan.stages:
        outside = stage.parent != BASE and plan.stage(stage.parent) is None
        is_measured = outside and stage.method.yields is not Yields.REWARD_MODEL
        names += [stage.parent, stage.name] if is_measured else [stage.name]
    return list(dict.fromkeys(names))


def measured_before(plan: Plan, stage: Stage | None) -> list[str]:
    """Return what is measured before `stage` (None: the base)."""
    order = measured_order(plan)
    return [] if stage is None else order[: order.index(stage.name)]
