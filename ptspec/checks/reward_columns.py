"""Columns that rewards compare with or ask for, against those of the data; told before anything starts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ptspec.data.checks.source_pass import Seen
from ptspec.data.layouts.table import WITHHELD
from ptspec.data.readers.placed import PlacedRow
from ptspec.diagnostics import Diagnostic, Severity
from ptspec.recipe.hints import did_you_mean, listed
from ptspec.recipe.json_pointer import join
from ptspec.recipe.plan import Plan, RewardSpec, parts_of, rewards_of
from ptspec.rewards.builtin import BUILTIN, compared_columns, not_compared_with
from ptspec.rewards.columns import columns_needed
from ptspec.rewards.right_answers import right_answers


def check_reward_columns(plan: Plan, seen: Mapping[str, Seen]) -> Iterator[Diagnostic]:
    """Rewards of stages and of the evaluation whose columns the data that was looked at does not have."""
    asked = [
        (f'stage "{stage.name}"', data, name)
        for stage in plan.stages
        for data in (stage.data, stage.eval_data)
        if data is not None
        for name in rewards_of(stage, plan.judges)
    ]
    if plan.evaluation is not None:
        measured = [name for name, spec in plan.rewards.items() if spec.function is not None]
        asked += [("eval", plan.evaluation.data, name) for name in measured]
    for who, data, name in dict.fromkeys(asked):
        if name in plan.rewards and data in plan.data:
            yield from _missing(who, data, plan.rewards[name], _columns(plan, data, seen))


def check_right_answers(plan: Plan, seen: Mapping[str, Seen]) -> Iterator[Diagnostic]:
    """Right answers of the data that stages train on, of which a built-in reward has no say."""
    asked = {(stage.data, name): None for stage in plan.stages for name in stage.rewards}
    for data, name in asked:
        spec = plan.rewards.get(name)
        reward = BUILTIN.get(spec.function or "") if spec is not None else None
        if spec is None or reward is None or data not in plan.data:
            continue
        rows = [item.values for item in _first(plan, data, seen)]
        columns = compared_columns(reward.name, spec.options)
        column = next((one for one in columns if any(one in row for row in rows)), None)
        golds = [right_answers(row.get(column), reward.takes_json) for row in rows] if column else []
        if words := not_compared_with(reward, spec.options, golds):
            message = f'the reward "{name}" has no say on {words}, in "{data}"'
            yield Diagnostic("not-compared", message, None, spec.at, None, (), Severity.WARNING)


def _first(plan: Plan, data: str, seen: Mapping[str, Seen]) -> list[PlacedRow]:
    names = [name for name in parts_of(plan.data, data) if name in seen]
    return [item for name in names for item in seen[name].first if isinstance(item, PlacedRow)]


def _columns(plan: Plan, data: str, seen: Mapping[str, Seen]) -> frozenset[str] | None:
    """The columns of the first rows of every source of `data`; None where one was not looked at."""
    names = parts_of(plan.data, data)
    if any(name not in seen or not seen[name].rows for name in names):
        return None
    items = (item for name in names for item in seen[name].first if isinstance(item, PlacedRow))
    return frozenset(column for item in items for column in item.values)


def _missing(who: str, data: str, spec: RewardSpec, there: frozenset[str] | None) -> Iterator[Diagnostic]:
    if there is None:
        return
    handed_on = there.difference(WITHHELD)
    for group in columns_needed(spec) or ():
        if not handed_on.isdisjoint(group):
            continue
        wanted = " or ".join(f'"{name}"' for name in group)
        why = "which TRL withholds from rewards" if there.issuperset(group) else f'which "{data}" has not'
        message = f'{who}: the reward "{spec.name}" asks for the column {wanted}, {why}'
        where = join(spec.at, "column") if "column" in spec.options else spec.at
        yield Diagnostic("missing-column", message, None, where, _hint(group, there))


def _hint(group: tuple[str, ...], there: frozenset[str]) -> str:
    """How to get there: a renaming, a name that is near, or what there is."""
    if "completion" in there and ("completion" in group or not there.difference(WITHHELD)):
        wanted = "answer" if "completion" in group else group[-1]
        return f'give it another name: "columns": {{"{wanted}": "completion"}}'
    near = did_you_mean(group[0], there)
    return near or f"columns: {listed(sorted(there.difference(WITHHELD))) or 'none beside the prompt'}"
