"""Build callables from the rewards and judges of a plan. Opens no model itself."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, NoReturn

from ptspec.diagnostics import Diagnostic, InputError
from ptspec.recipe.by_column import ByColumn
from ptspec.recipe.plan import Plan
from ptspec.recipe.reward_parts import measured, measured_rewards
from ptspec.recipe.signals import JudgeSpec, RewardSpec
from ptspec.rewards.builtin import RewardFunction, builtin
from ptspec.rewards.by_column import RewardByColumn
from ptspec.rewards.check import no_builtin_judge
from ptspec.rewards.checked import CheckedJudge, CheckedReward, in_data_form
from ptspec.rewards.contract import Kind
from ptspec.rewards.endpoint import endpoint_judge
from ptspec.rewards.judges import BradleyTerry, Judge
from ptspec.rewards.source import is_user_function
from ptspec.rewards.time_limit import Warn
from ptspec.rewards.used import used_functions, used_judges
from ptspec.rewards.user import load_user_function

if TYPE_CHECKING:
    from ptspec.rewards.models import RewardModel

OpenModel = Callable[[RewardSpec], "RewardModel"]
"""Opens a spec's reward model: `ptspec.rewards.models.open_reward_model` of its path, or of the folder of the
reward stage of that name."""


def reward_functions(
    plan: Plan,
    names: Iterable[str],
    *,
    strings: bool,
    allow_code: bool,
    open_model: OpenModel,
    warn: Warn = warnings.warn,
) -> list[RewardFunction]:
    """Return the rewards `names`, each in TRL's signature and under its name in the recipe.

    `strings`: the data holds plain strings, which the loader made into chats. Functions receive the strings;
    reward models the chats that they were trained on. `warn` receives problems that do not stop the run.
    Raises `InputError` if user code is not allowed or fails, or a model cannot be opened.
    """
    make = _Maker(plan.rewards, strings, allow_code, open_model, warn)
    return [make.reward(plan.rewards[name]) for name in names]


def measured_functions(
    plan: Plan, *, allow_code: bool, warn: Warn = warnings.warn
) -> dict[str, RewardFunction]:
    """Return the rewards that an evaluation of `plan` measures, by name.

    Raises `InputError` as `reward_functions` does.
    """
    make = _Maker(plan.rewards, False, allow_code, no_model, warn)
    return {name: make.reward(spec) for name, spec in measured_rewards(plan).items()}


def measured_builtins(rewards: Mapping[str, RewardSpec], named: Iterable[str]) -> dict[str, RewardFunction]:
    """Return those of `rewards` that an evaluation measures without running user code.

    `named`: those that stages name.
    """
    make = _Maker(rewards, False, False, no_model, warnings.warn)
    found = measured({name: spec for name, spec in rewards.items() if not _is_users(spec)}, named)
    return {name: make.reward(spec) for name, spec in found.items()}


def _is_users(spec: RewardSpec) -> bool:
    return spec.function is not None and is_user_function(spec.function)


def reward_weights(plan: Plan, names: Iterable[str]) -> list[float]:
    """Return the weights of the rewards `names`, in order: TRL's `reward_weights`."""
    return [plan.rewards[name].weight for name in names]


def judge(
    plan: Plan,
    name: str,
    *,
    strings: bool,
    allow_code: bool,
    open_model: OpenModel,
    warn: Warn = warnings.warn,
) -> Judge:
    """Return the judge `name`. Raises `InputError` as `reward_functions` does, and for invalid options."""
    spec = plan.judges[name]
    if spec.endpoint is not None:
        return endpoint_judge(spec, plan.places, warn)
    if spec.reward is not None:
        rewards = reward_functions(
            plan,
            [spec.reward],
            strings=strings,
            allow_code=allow_code,
            open_model=open_model,
            warn=warn,
        )
        return BradleyTerry(tuple(rewards), tuple(reward_weights(plan, [spec.reward])))
    return _user_judge(spec, strings, allow_code)


def check_ready(plan: Plan, *, allow_code: bool) -> None:
    """Report before the first stage what would stop a later one.

    Code that is not allowed or fails to import, a missing API key, httpx not installed. Opens no model and
    sends no request. Raises `InputError` with every such error of the rewards and judges in use.
    """
    faults: list[Diagnostic] = []
    for make in _preparations(plan, allow_code):
        try:
            make()
        except InputError as error:
            faults += error.diagnostics
    if faults:
        raise InputError(*faults)


def check_judge_is_up(plan: Plan) -> None:
    """Raise `InputError` before the first stage if the evaluation's judge cannot be reached."""
    name = plan.evaluation.judge if plan.evaluation else None
    if name is not None and plan.judges[name].endpoint is not None:
        endpoint_judge(plan.judges[name], plan.places).client.must_be_up()


def _preparations(plan: Plan, allow_code: bool) -> Iterator[Callable[[], object]]:
    for reward in used_functions(plan):
        make = _Maker(plan.rewards, False, allow_code, no_model, warnings.warn)
        yield partial(make.reward, reward)
    for spec in used_judges(plan):
        if spec.endpoint is not None:
            yield partial(endpoint_judge, spec, plan.places)
        elif spec.function is not None:
            yield partial(_user_judge, spec, False, allow_code)


def no_model(spec: RewardSpec) -> NoReturn:
    """Raise `AssertionError`: for callers that request functions only."""
    raise AssertionError(f"reward {spec.name} is a model, and only functions were asked for")


@dataclass(frozen=True)
class _Maker:
    """Builds functions from the specs of `rewards`; other fields as in `reward_functions`."""

    rewards: Mapping[str, RewardSpec]
    strings: bool
    allow_code: bool
    open_model: OpenModel
    warn: Warn

    def reward(self, spec: RewardSpec) -> RewardFunction:
        if spec.by is not None:
            return CheckedReward(self._by_column(spec, spec.by), spec.name, spec.at)
        if spec.model is not None:
            model = replace(self.open_model(spec), chat=self.strings)
            return CheckedReward(model, spec.name, spec.at)
        assert spec.function is not None
        if is_user_function(spec.function):
            function = load_user_function(spec.function, Kind.REWARD, allow_code=self.allow_code, at=spec.at)
        else:
            function = builtin(spec.function, spec.options, warn=self.warn)
        return CheckedReward(in_data_form(function, self.strings), spec.name, spec.at)

    def _by_column(self, spec: RewardSpec, by: ByColumn) -> RewardByColumn:
        parts = {name: self.reward(self.rewards[name]) for name in by.parts}
        weights = {name: 1.0 if by.only else self.rewards[name].weight for name in parts}
        return RewardByColumn(spec.name, by, parts, weights)


def _user_judge(spec: JudgeSpec, strings: bool, allow_code: bool) -> Judge:
    if fault := no_builtin_judge(spec):
        raise InputError(fault)
    assert spec.function is not None
    function = load_user_function(spec.function, Kind.JUDGE, allow_code=allow_code, at=spec.at)
    return CheckedJudge(in_data_form(function, strings), spec.name, spec.at)
