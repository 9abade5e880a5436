"""Check the columns that rewards need against the data, before the run starts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TypeVar

from ptspec.data.checks.source_pass import Seen
from ptspec.data.layouts.table import WITHHELD
from ptspec.data.readers.placed import PlacedRow
from ptspec.diagnostics import Diagnostic, Severity
from ptspec.recipe.by_column import ByColumn
from ptspec.recipe.hints import did_you_mean, listed
from ptspec.recipe.json_pointer import join
from ptspec.recipe.plan import Plan
from ptspec.recipe.reward_parts import measured_rewards, own_rewards
from ptspec.recipe.signals import RewardSpec
from ptspec.recipe.sources import parts_of
from ptspec.rewards.builtin import BUILTIN, compared_columns, not_compared_with
from ptspec.rewards.columns import columns_needed
from ptspec.rewards.right_answers import right_answers

Found = TypeVar("Found")
Paying = tuple[RewardSpec, ByColumn | None]
"""A reward, and what chooses it if it scores only some rows."""


def check_reward_columns(plan: Plan, seen: Mapping[str, Seen]) -> Iterator[Diagnostic]:
    """Yield rewards of stages and of the evaluation whose columns the data lacks."""
    asked = [
        (f'stage "{stage.name}"', data, one)
        for stage in plan.trained
        for data in (stage.data, stage.eval_data)
        if data is not None
        for one in _paying(plan, _named(plan, own_rewards(stage, plan.judges)))
    ]
    if plan.evaluation is not None:
        asked += [
            ("eval", plan.evaluation.data, one) for one in _paying(plan, measured_rewards(plan).values())
        ]
    told = (
        fault
        for who, data, (spec, by) in _once(asked)
        if data in plan.data
        for fault in _missing(who, data, spec, _columns(plan, data, spec, seen, by))
    )
    yield from _once(told)  # a part is measured separately and in the reward that chooses it


def check_right_answers(plan: Plan, seen: Mapping[str, Seen]) -> Iterator[Diagnostic]:
    """Yield right answers of training data that a built-in reward cannot compare with."""
    asked = [
        (stage.data, one) for stage in plan.trained for one in _paying(plan, _named(plan, stage.rewards))
    ]
    for data, (spec, by) in _once(asked):
        reward = BUILTIN.get(spec.function or "")
        if reward is None or data not in plan.data:
            continue
        rows = [item.values for item in _first(plan, data, seen) if _is_paid(item, spec, by)]
        columns = compared_columns(reward.name, spec.options)
        column = next((one for one in columns if any(one in row for row in rows)), None)
        golds = [right_answers(row.get(column), reward.takes_json) for row in rows] if column else []
        if words := not_compared_with(reward, spec.options, golds):
            message = f'the reward "{spec.name}" cannot score {words}, in "{data}"'
            yield Diagnostic("not-compared", message, None, spec.at, None, (), Severity.WARNING)


def _once(found: Iterable[Found]) -> list[Found]:
    """Return each of `found` once; a reward's options are not hashable."""
    once: list[Found] = []
    for one in found:
        if one not in once:
            once.append(one)
    return once


def _paying(plan: Plan, specs: Iterable[RewardSpec]) -> Iterator[Paying]:
    """Return `specs` and the rewards they choose by a column, with what chooses them."""
    for spec in specs:
        if spec.by is None or spec.by.only is None:
            yield spec, None
        if spec.by is not None:
            yield from ((plan.rewards[part], spec.by) for part in spec.by.parts if part in plan.rewards)


def _named(plan: Plan, names: Iterable[str]) -> Iterator[RewardSpec]:
    return (plan.rewards[name] for name in names if name in plan.rewards)


def _is_paid(item: PlacedRow, spec: RewardSpec, by: ByColumn | None) -> bool:
    return by is None or by.part_of(item.values.get(by.column)) == spec.name


def _first(plan: Plan, data: str, seen: Mapping[str, Seen]) -> list[PlacedRow]:
    names = [name for name in parts_of(plan.data, data) if name in seen]
    return [item for name in names for item in seen[name].first if isinstance(item, PlacedRow)]


def _columns(
    plan: Plan, data: str, spec: RewardSpec, seen: Mapping[str, Seen], by: ByColumn | None
) -> frozenset[str] | None:
    """Return the columns of the first rows that `spec` scores; None if a source of `data` was not read."""
    names = parts_of(plan.data, data)
    if any(name not in seen or not seen[name].rows for name in names):
        return None
    items = [item for item in _first(plan, data, seen) if _is_paid(item, spec, by)]
    return frozenset(column for item in items for column in item.values) if items else None


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
        option = "by" if spec.by is not None else "column" if "column" in spec.options else None
        where = spec.at if option is None else join(spec.at, option)
        yield Diagnostic("missing-column", message, None, where, _hint(group, there))


def _hint(group: tuple[str, ...], there: frozenset[str]) -> str:
    """Return a hint: a rename, a similar name, or the existing columns."""
    if "completion" in there and ("completion" in group or not there.difference(WITHHELD)):
        wanted = "answer" if "completion" in group else group[-1]
        return f'give it another name: "columns": {{"{wanted}": "completion"}}'
    near = did_you_mean(group[0], there)
    return near or f"columns: {listed(sorted(there.difference(WITHHELD))) or 'none beside the prompt'}"
