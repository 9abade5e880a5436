"""The rewards and judges that a plan uses, and which of them are user code."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ptspec.recipe.plan import Plan
from ptspec.recipe.reward_parts import with_parts
from ptspec.recipe.signals import JudgeSpec, RewardSpec
from ptspec.rewards.source import is_user_function


def user_functions(plan: Plan) -> Iterator[str]:
    """Yield the "file.py:name" of each user reward and judge that stages and the evaluation use."""
    rewards, judges = used_functions(plan), used_judges(plan)
    for function in (*(spec.function for spec in rewards), *(spec.function for spec in judges)):
        if function is not None and is_user_function(function):
            yield function


def used_judges(plan: Plan) -> Sequence[JudgeSpec]:
    """Return the judges that stages and the evaluation use."""
    named = {stage.judge for stage in plan.stages} | {plan.evaluation.judge if plan.evaluation else None}
    return [spec for name, spec in plan.judges.items() if name in named]


def used_functions(plan: Plan) -> Sequence[RewardSpec]:
    """Return the rewards that stages, judges and the evaluation use."""
    used = {name for stage in plan.stages for name in stage.rewards}
    used |= {spec.reward for spec in used_judges(plan) if spec.reward is not None}
    if plan.evaluation is not None:
        used |= set(plan.rewards)
    used = set(with_parts(used, plan.rewards))
    return [spec for spec in plan.rewards.values() if spec.name in used and spec.function is not None]
