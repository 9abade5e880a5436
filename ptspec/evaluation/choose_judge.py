"""`pt eval --judge`: the judge of responses, from a run's recipe or from the command line."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ptspec.diagnostics import Diagnostic, InputError, StageError
from ptspec.evaluation.judging import NamedJudge, counted, preferences, stamp_of
from ptspec.evaluation.measurement import Measurement
from ptspec.evaluation.paired.pairing import Judgement
from ptspec.evaluation.targets import Target
from ptspec.model.device import find_device
from ptspec.recipe.hints import did_you_mean, listed
from ptspec.recipe.plan import Plan
from ptspec.recipe.reward_parts import with_parts
from ptspec.recipe.signals import JudgeSpec, RewardSpec
from ptspec.rewards.build import judge as judge_named
from ptspec.rewards.checked import CheckedJudge, in_data_form
from ptspec.rewards.contract import Kind
from ptspec.rewards.judges import Judge
from ptspec.rewards.models import RewardModel, open_reward_model_of
from ptspec.rewards.time_limit import Warn
from ptspec.rewards.user import load_user_function
from ptspec.store.rerun import recorded_plan

JUDGE = "--judge"


@dataclass(frozen=True)
class Chosen:
    """A judge that exists; `make(strings)` returns it, for data in strings or in messages."""

    name: str
    make: Callable[[bool], Judge]


def choose(targets: Sequence[Target], asked: str, allow_code: bool, warn: Warn = warnings.warn) -> Chosen:
    """Return the judge `asked` in the recipes of `targets`, or the function "file.py:name".

    `warn` receives problems that do not prevent it. Raises `InputError` if it does not exist, its code is not
    allowed or fails, or its server cannot be reached.
    """
    recipes = [target for target in targets if target.recipe]
    named = [target for target in recipes if asked in (target.recipe.get("judges") or {})]
    if named:
        return _recorded(named[0], asked, allow_code, warn)
    if ":" in asked:
        return _function(asked, allow_code)
    known = dict.fromkeys(name for target in recipes for name in target.recipe.get("judges") or {})
    known.pop("$comment", None)
    hint = did_you_mean(asked, list(known)) or (
        f"judges of these runs: {listed(list(known))}" if known else "the runs' recipes have no judges"
    )
    raise InputError(
        Diagnostic("unknown-judge", f'{JUDGE}: there is no judge "{asked}"', hint=f"{hint}; or file.py:name")
    )


def _recorded(target: Target, name: str, allow_code: bool, warn: Warn) -> Chosen:
    """Return the judge `name` of the recipe stored in the run of `target`."""
    assert target.run is not None
    plan = recorded_plan(target.run)
    if name not in plan.judges:
        raise InputError(Diagnostic("unknown-judge", f'{JUDGE}: the judge "{name}" cannot be made any more'))
    spec = plan.judges[name]

    def make(strings: bool) -> Judge:
        def open_model(reward: RewardSpec) -> RewardModel:
            return open_reward_model_of(plan, reward, find_device())

        return judge_named(
            plan, name, strings=strings, allow_code=allow_code, open_model=open_model, warn=warn
        )

    if not _goes_by_a_model(plan, spec):
        made: Any = make(False)
        if spec.endpoint is not None:
            made.client.must_be_up()
    return Chosen(name, make)


def _goes_by_a_model(plan: Plan, spec: JudgeSpec) -> bool:
    named = with_parts([spec.reward] if spec.reward is not None else [], plan.rewards)
    return any(plan.rewards[name].model is not None for name in named)


def _function(text: str, allow_code: bool) -> Chosen:
    path, _, name = text.rpartition(":")
    function = load_user_function(
        f"{Path(path).absolute()}:{name}", Kind.JUDGE, allow_code=allow_code, at=JUDGE
    )

    def make(strings: bool) -> Judge:
        return CheckedJudge(in_data_form(function, strings), name, JUDGE)

    return Chosen(name, make)


def judgement(chosen: Chosen, measured: Sequence[Measurement]) -> Judgement:
    """Return the judge's verdicts on each later model against the first.

    Raises `InputError` if a judge fails or is unreachable; nothing has been written then.
    """
    first = measured[0]
    named_judge = NamedJudge(chosen.name, chosen.make(not first.settings.conversational))
    before = counted(named_judge.judge)
    try:
        wins = {b: preferences(named_judge, first, measured[b]) for b in range(1, len(measured))}
    except StageError as error:
        raise InputError(*error.diagnostics) from error
    everything = [p for won in wins.values() for p in won.values()]
    return Judgement(chosen.name, wins, stamp_of(named_judge, everything, before))
