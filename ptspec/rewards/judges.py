"""Preferences between two completions: the judge type, and Bradley-Terry from rewards.

Prompts and completions are as in TRL's reward functions: strings, or lists of messages.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ptspec.rewards.builtin import RewardFunction
from ptspec.rewards.checked import checked_reward

Judge = Callable[[list[Any], list[Any], list[Any]], Sequence[float]]
"""`judge(prompts, a, b)`: for each row, the probability in [0, 1] that completion a is preferred to b."""


class Counts(Protocol):
    """Statistics of a judge; a user's judge may have such `counters` too."""

    def metrics(self) -> Mapping[str, float]:
        """Return numbers to log, by metric name."""


def counted(judge: Judge) -> Mapping[str, float]:
    """Return the present statistics of `judge`; empty if it has none."""
    counters: Counts | None = getattr(judge, "counters", None)
    return counters.metrics() if counters is not None else {}


Scores = list[list[float | None]]
"""For each reward function, its score of each completion; None if it cannot score it."""


@dataclass(frozen=True)
class BradleyTerry:
    """P(a ≻ b) = σ(Σ_k w_k·(r_k(a) − r_k(b))), Bradley and Terry (1952), with weights w of the rewards r.

    A reward that cannot score one side (None) does not count for that pair.
    """

    rewards: tuple[RewardFunction, ...]
    weights: tuple[float, ...]

    @property
    def __name__(self) -> str:
        return "bradley_terry"

    def __call__(self, prompts: list[Any], a: list[Any], b: list[Any], **columns: Any) -> list[float]:
        """Return P(a ≻ b) per row, as a `Judge`. A row that no reward can score is a tie, one half."""
        scores_a, scores_b = self.scores(prompts, a, **columns), self.scores(prompts, b, **columns)
        wins = (self.probability(scores_a, row, scores_b, row) for row in range(len(prompts)))
        return [0.5 if win is None else win for win in wins]

    def scores(self, prompts: list[Any], completions: list[Any], **columns: Any) -> Scores:
        """Return r_k of each completion.

        Raises `StageError` naming the function and the row of a wrong score.
        """
        rewards = map(checked_reward, self.rewards)
        return [reward(prompts, completions, **columns) for reward in rewards]

    def probability(self, a: Scores, row_a: int, b: Scores, row_b: int) -> float | None:
        """Return P(completion `row_a` of `a` ≻ `row_b` of `b`); None if no reward scores both."""
        pairs = zip(
            self.weights, (scores[row_a] for scores in a), (scores[row_b] for scores in b), strict=True
        )
        margins = [
            weight * (left - right) for weight, left, right in pairs if left is not None and right is not None
        ]
        return sigmoid(sum(margins)) if margins else None


def sigmoid(x: float) -> float:
    """The logistic function, without overflow."""
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))
