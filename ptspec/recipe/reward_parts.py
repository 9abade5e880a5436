"""Which rewards of a recipe a stage trains with, and which an evaluation measures.

A reward that chooses by a column consists of others of the recipe, its parts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from ptspec.recipe.plan import Plan, Stage
from ptspec.recipe.signals import JudgeSpec, RewardSpec


def with_parts(names: Iterable[str], rewards: Mapping[str, RewardSpec]) -> tuple[str, ...]:
    """Return `names`, each once, followed by the parts of those that choose by a column."""
    found = dict.fromkeys(names)
    for name in tuple(found):
        spec = rewards.get(name)
        found |= dict.fromkeys(spec.by.parts if spec is not None and spec.by is not None else ())
    return tuple(found)


def rewards_of(
    stage: Stage, judges: Mapping[str, JudgeSpec], rewards: Mapping[str, RewardSpec]
) -> tuple[str, ...]:
    """Return the names of a stage's rewards: its own, its judge's, and their parts."""
    return with_parts(own_rewards(stage, judges), rewards)


def own_rewards(stage: Stage, judges: Mapping[str, JudgeSpec]) -> tuple[str, ...]:
    """Return the names of a stage's rewards, and of its judge's."""
    judge = judges.get(stage.judge or "")
    by = () if judge is None or judge.reward is None else (judge.reward,)
    return (*stage.rewards, *by)


def measured_rewards(plan: Plan) -> dict[str, RewardSpec]:
    """Return the rewards that an evaluation of `plan` measures, by name."""
    named = {name for stage in plan.stages for name in stage.rewards}
    named |= {judge.reward for judge in plan.judges.values() if judge.reward is not None}
    return measured(plan.rewards, named)


def measured(rewards: Mapping[str, RewardSpec], named: Iterable[str] = ()) -> dict[str, RewardSpec]:
    """Return those of `rewards` that are measured. `named`: those used directly.

    Functions, and what chooses among functions only (a policy is not measured by the model it was trained to
    please). A function that only one reward chooses is measured on the rows that it is chosen for; held-out
    rows of other values have no score.
    """
    choosers: dict[str, list[RewardSpec]] = {}
    alone = frozenset(named)
    for spec in rewards.values():
        for part in spec.by.parts if spec.by is not None else ():
            choosers.setdefault(part, []).append(spec)
    found = {}
    for name, spec in rewards.items():
        by = choosers.get(name, [])
        if spec.function is not None and (len(by) != 1 or name in alone):
            found[name] = spec
        elif spec.function is not None:
            found[name] = _of_its_rows(name, by[0])
        elif spec.by is not None and all(_is_function(rewards.get(part)) for part in spec.by.parts):
            found[name] = replace(spec, by=replace(spec.by, takes_others=True))
    return found


def _is_function(spec: RewardSpec | None) -> bool:
    return spec is not None and spec.function is not None


def _of_its_rows(part: str, chooser: RewardSpec) -> RewardSpec:
    """Return a choice of `part` or none, on the rows that `chooser` assigns to it."""
    assert chooser.by is not None
    by = replace(chooser.by, only=part, takes_others=True)
    return replace(chooser, name=part, weight=1.0, by=by)
