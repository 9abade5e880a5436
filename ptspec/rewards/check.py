"""Check a plan's rewards and judges without running user code or loading models.

The schemas check the rest (`schemas/rewards.schema.json`, `schemas/judges.schema.json`), and the recipe
reader checks that files exist.
"""

from __future__ import annotations

from collections.abc import Iterator

from ptspec.diagnostics import Diagnostic
from ptspec.recipe.json_pointer import join
from ptspec.recipe.paths import Places
from ptspec.recipe.plan import Plan
from ptspec.recipe.signals import JudgeSpec, RewardSpec
from ptspec.rewards.builtin import BUILTIN, option_faults
from ptspec.rewards.contract import Kind
from ptspec.rewards.source import check_user_function, is_user_function


def check_functions(plan: Plan) -> Iterator[Diagnostic]:
    """Yield errors of the plan's rewards and judges, located by pointer or file."""
    for reward in plan.rewards.values():
        if reward.function is not None and reward.model is None:
            yield from _check_reward(reward.function, reward)
    right = plan.evaluation.accuracy if plan.evaluation is not None else None
    if right is not None and right.function is not None:
        yield from _check_reward(right.function, right)
    for judge in plan.judges.values():
        if _is_one(judge.function, judge.reward, judge.endpoint):
            yield from _check_judge(judge, plan.places)


def _is_one(*kinds: str | None) -> bool:
    """Return whether exactly one kind of reward is given: several are reported by the recipe reader."""
    return sum(kind is not None for kind in kinds) == 1


def no_builtin_judge(judge: JudgeSpec) -> Diagnostic | None:
    """Return the error for a judge's function that is not the user's own, else None."""
    if judge.function is None or is_user_function(judge.function):
        return None
    reward = (
        f'; for the reward of that name: "reward": "{judge.function}"' if judge.function in BUILTIN else ""
    )
    hint = f'"file.py:name", def name(prompts, a, b) -> list[float]{reward}'
    message = f'there is no built-in judge "{judge.function}"'
    return Diagnostic("wrong-judge", message, pointer=join(judge.at, "function"), hint=hint)


def _check_reward(function: str, reward: RewardSpec) -> Iterator[Diagnostic]:
    if is_user_function(function):
        yield from _user_function(function, Kind.REWARD, reward.at)
    else:
        yield from option_faults(function, reward.options, reward.at)


def _check_judge(judge: JudgeSpec, places: Places) -> Iterator[Diagnostic]:
    if judge.endpoint is not None:
        from ptspec.rewards.endpoint_checks import endpoint_faults

        yield from endpoint_faults(judge, places)
    elif missing := no_builtin_judge(judge):
        yield missing
    elif judge.function is not None:
        yield from _user_function(judge.function, Kind.JUDGE, judge.at)


def _user_function(text: str, kind: Kind, at: str) -> Iterator[Diagnostic]:
    fault = check_user_function(text, kind, at)
    if fault is not None and fault.code != "no-such-file":
        yield fault
