"""Score responses with reward functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ptspec.data.layouts.evaluation import EvaluationRow
from ptspec.data.layouts.table import WITHHELD
from ptspec.data.layouts.turns import Text
from ptspec.evaluation.encoding import plain
from ptspec.evaluation.generation import Response
from ptspec.rewards.builtin import RewardFunction
from ptspec.rewards.checked import checked_reward

CONVERSATIONS = ("prompt", "messages", "conversations")
NO_COLUMN = (*WITHHELD, "prompts", "completions")
"""Columns that TRL does not pass on, or that collide with its own arguments."""


def reward_scores(
    rewards: Mapping[str, RewardFunction], rows: Sequence[EvaluationRow], responses: Mapping[int, Response]
) -> dict[int, dict[str, float | None]]:
    """Return each reward's score of each response, by row index; None for rows it cannot score.

    Raises `StageError` for any error of a function.
    """
    answered = [rows[i] for i in responses]
    if not answered:
        return {}
    given = _arguments(answered, list(responses.values()))
    columns = {name: _scores(name, function, given) for name, function in rewards.items()}
    return {i: {name: scores[n] for name, scores in columns.items()} for n, i in enumerate(responses)}


def _arguments(rows: Sequence[EvaluationRow], responses: Sequence[Response]) -> dict[str, Any]:
    """Return TRL's arguments of a reward function. Plain strings in the data stay strings."""
    names = dict.fromkeys(name for row in rows for name in row.columns if name not in NO_COLUMN)
    return {
        "prompts": [_prompt(row) for row in rows],
        "completions": [_completion(row, r.text) for row, r in zip(rows, responses, strict=True)],
        "completion_ids": [list(r.ids) for r in responses],
        **{name: [row.columns.get(name) for row in rows] for name in names},
    }


def is_conversation(row: EvaluationRow) -> bool:
    """Return whether a text column of the row holds messages."""
    return any(isinstance(row.columns.get(name), list | dict) for name in CONVERSATIONS)


def _prompt(row: EvaluationRow) -> Text:
    return row.prompt if is_conversation(row) else plain(row.prompt)


def _completion(row: EvaluationRow, text: str) -> Text:
    return [{"role": "assistant", "content": text}] if is_conversation(row) else text


def _scores(name: str, function: RewardFunction, given: Mapping[str, Any]) -> list[float | None]:
    """Return the scores of one function. Raises `StageError` for any error of it."""
    return checked_reward(function, name)(**given)
