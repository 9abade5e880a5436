"""The right answer of a held-out row. Imports no torch."""

from __future__ import annotations

from typing import Any

from ptspec.data.layouts.evaluation import EvaluationRow
from ptspec.recipe.signals import RewardSpec
from ptspec.rewards.builtin import known_reward
from ptspec.rewards.matching import completion_text
from ptspec.rewards.trl_rewards import SOLUTION


def gold_of(row: EvaluationRow, asked: RewardSpec | None = None) -> Any:
    """Return the right answer as its column holds it, None if the row has none.

    The column `answer`; for a reward `asked` the column of its option, else `answer`, else the column that a
    TRL reward needs, else the text of the expected answer.
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
