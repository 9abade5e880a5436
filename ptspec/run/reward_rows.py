"""Check every row of a stage against rewards chosen by a column, before the first step.

Rows from the hub were only sampled before the run.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ptspec.data.dataset import places
from ptspec.diagnostics import InputError
from ptspec.recipe.plan import Plan, Stage
from ptspec.recipe.reward_parts import own_rewards
from ptspec.rewards.by_column import value_without_reward

if TYPE_CHECKING:
    from datasets import Dataset


def check_reward_rows(plan: Plan, stage: Stage, rows: Dataset) -> None:
    """Raise `InputError` for the first row whose value has no reward in the recipe."""
    for name in own_rewards(stage, plan.judges):
        spec = plan.rewards[name]
        if spec.by is None or spec.by.column not in rows.column_names:
            continue
        for number, value in enumerate(rows[spec.by.column], start=1):
            if not spec.by.is_told(value):
                (place,) = places(plan.data, stage.data, stage.method.rows, [rows[number - 1]])
                fault = value_without_reward(name, spec.by, value)
                raise InputError(replace(fault, pointer=spec.at, notes=(f"row {number}: {place}",)))
