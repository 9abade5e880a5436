"""The right answer of a held-out row. Torch is not needed to know it."""

from __future__ import annotations

from typing import Any

from ptspec.data.layouts.evaluation import EvaluationRow
from ptspec.recipe.signals import RewardSpec
from ptspec.rewards.builtin import known_reward
from ptspec.rewards.matching import completion_text
from ptspec.rewards.trl_rewards import SOLUTION


def gold_of(row: EvaluationRow, asked: RewardSpec | None = None) -> Any:
    """The right answer as its column has it, None where the row has none.

    It is the column `answer`; where a reward is `asked` for, the column that its option names, else `answer`,
    else the column that a reward of TRL asks for, else the text of the expected answer.
    """
    answer = row.columns.get("answer")
    if asked is None or asked.function is None:
        return answer
    if "column" in asked.options:
        return row.columns.get(asked.options["column"])
    if answer is not None:
        return answer
    if SOLUTION in known_reward(asked.function).columns and row.columns.get(SOLUTION) is not None:
        return row.columns[SOLUTION]
    return None if row.expected is None else completion_text(row.expected) or None
