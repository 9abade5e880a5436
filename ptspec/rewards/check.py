"""Rewards and judges of a plan, checked while no code of the user's runs and no model is loaded.

Of built-in rewards `ptspec.rewards.builtin.option_faults` tells; here is the rest. That files and functions
exist is found where the recipe is read.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ptspec.diagnostics import Diagnostic
from ptspec.recipe.hints import listed
from ptspec.recipe.places import Places
from ptspec.recipe.plan import JudgeSpec, Plan, RewardSpec
from ptspec.recipe.text import join
from ptspec.rewards.builtin import BUILTIN
from ptspec.rewards.endpoint_options import endpoint_faults
from ptspec.rewards.user import Kind, check_user_function, is_user_function

MODEL_OPTIONS = ("revision",)
_FOUND_BEFORE = ("no-such-file", "no-such-function", "not-python")


def check_functions(plan: Plan) -> Iterator[Diagnostic]:
    """Faults of the plan's user functions, reward models' options and judges; located by pointer or file."""
    places = places_of(plan)
    for reward in plan.rewards.values():
        if _is_one(reward.function, reward.model):
            yield from _check_reward(reward)
    for judge in plan.judges.values():
        if _is_one(judge.function, judge.reward, judge.endpoint):
            yield from _check_judge(judge, places)


def _is_one(*kinds: str | None) -> bool:
    """Several at once are told where the recipe is read, and it is not known which was meant."""
    return sum(kind is not None for kind in kinds) == 1


def places_of(plan: Plan) -> Places:
    """Where relative paths of the plan's options count from."""
    return Places(Path.cwd(), plan.recipe.absolute().parent)


def no_builtin_judge(judge: JudgeSpec) -> Diagnostic | None:
    """A judge's function is always the user's own."""
    if judge.function is None or is_user_function(judge.function):
        return None
    reward = (
        f'; for the reward of that name: "reward": "{judge.function}"' if judge.function in BUILTIN else ""
    )
    hint = f'"file.py:name", def name(prompts, a, b) -> list[float]{reward}'
    message = f'there is no built-in judge "{judge.function}"'
    return Diagnostic("wrong-judge", message, pointer=join(judge.at, "function"), hint=hint)


def _check_reward(reward: RewardSpec) -> Iterator[Diagnostic]:
    if reward.model is not None:
        yield from _unused("wrong-reward", reward, MODEL_OPTIONS, "a reward model")
    elif reward.function is not None and is_user_function(reward.function):
        yield from _unused("wrong-reward", reward, (), "a function of your own")
        yield from _user_function(reward.function, Kind.REWARD, reward.at)


def _check_judge(judge: JudgeSpec, places: Places) -> Iterator[Diagnostic]:
    if judge.endpoint is not None:
        for fault in endpoint_faults(judge, places):
            pointer = join(judge.at, fault.option) if fault.option else judge.at
            yield Diagnostic("wrong-judge", fault.message, None, pointer, fault.hint)
        return
    what = "a judge by a reward" if judge.reward is not None else "a function of your own"
    yield from _unused("wrong-judge", judge, (), what)
    if missing := no_builtin_judge(judge):
        yield missing
    elif judge.function is not None:
        yield from _user_function(judge.function, Kind.JUDGE, judge.at)


def _unused(
    code: str, spec: RewardSpec | JudgeSpec, known: tuple[str, ...], what: str
) -> Iterator[Diagnostic]:
    for key in spec.options:
        if key not in known:
            hint = f"options: {listed(known) or 'none'}"
            yield Diagnostic(code, f'"{key}" is no option of {what}', None, join(spec.at, key), hint)


def _user_function(text: str, kind: Kind, at: str) -> Iterator[Diagnostic]:
    fault = check_user_function(text, kind, at)
    if fault is not None and fault.code not in _FOUND_BEFORE:
        yield fault
