"""Matches between completions and opponents: win probabilities by rows and groups.

Receives the text of both sides. A group is the completions of one prompt on this process; each of them meets
every opponent of the group.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ptspec.data.layouts.table import WITHHELD
from ptspec.rewards.checked import checked_judge, name_of
from ptspec.rewards.judges import BradleyTerry, Judge, Scores

LOGS = {"log_extra", "log_metric"}
"""Logging arguments of a reward function; passed for the policy's side only, as in TRL."""


@dataclass(frozen=True)
class Side:
    """One side's completions and their tokens; `rows` are the indices of their input rows."""

    prompts: list[Any]
    completions: list[Any]
    token_ids: list[list[int]]
    rows: list[int]


def groups_of(inputs: Sequence[Mapping[str, Any]], size: int) -> list[range]:
    """Return runs of equal rows, at most `size` long: TRL repeats each row once per generation."""
    groups: list[range] = []
    for row, values in enumerate(inputs):
        last = groups[-1] if groups else range(0)
        if last and len(last) < size and inputs[last[0]] == values:
            groups[-1] = range(last[0], row + 1)
        else:
            groups.append(range(row, row + 1))
    return groups


def opponent_rows(groups: Sequence[range], share: float) -> list[int]:
    """Return the rows that get an opponent: `share` of each group, at least one."""
    return [row for group in groups for row in group[: max(1, round(len(group) * share))]]


def pairings(groups: Sequence[range], opponents: Side) -> list[tuple[int, int]]:
    """Return (policy row, index of the opponent) of every match."""
    return [
        (row, number)
        for group in groups
        for row in group
        for number, opponent in enumerate(opponents.rows)
        if opponent in group
    ]


class Matches:
    """The policy's completions against any opponents.

    `columns` are the rows' columns; `hooks` are TRL's further arguments of reward functions.
    """

    def __init__(
        self, preference: Judge, inputs: Sequence[Mapping[str, Any]], policy: Side, hooks: Mapping[str, Any]
    ) -> None:
        by_rewards = isinstance(preference, BradleyTerry)
        self.preference = preference if by_rewards else checked_judge(preference)
        self.inputs = inputs
        self.policy = policy
        self.hooks = hooks
        self.policy_scores: Scores | None = None
        if isinstance(preference, BradleyTerry):
            self.policy_scores = self._scores(preference, policy, hooks)
        self.opponent_scores: Scores = []

    def against(self, opponents: Side, groups: Sequence[range]) -> Tensor:
        """Return the mean win probability of each completion, (rows,); nan if no reward scored it."""
        pairs = pairings(groups, opponents)
        wins: list[list[float]] = [[] for _ in self.policy.rows]
        for (row, _), win in zip(pairs, self._judged(opponents, pairs), strict=True):
            wins[row].append(win)
        return torch.tensor([mean_of(probabilities) for probabilities in wins])

    def asymmetry(self, opponents: Side, groups: Sequence[range]) -> float:
        """Return the mean |P(a, b) + P(b, a) − 1| over one match per row; 0 for Bradley-Terry."""
        pairs = list({row: (row, number) for row, number in pairings(groups, opponents)}.values())
        if isinstance(self.preference, BradleyTerry):
            return 0.0
        there = self._judged(opponents, pairs)
        back = self.preference(*_swapped(self._sides(opponents, pairs)))
        return mean_of([abs(p + q - 1) for p, q in zip(there, back, strict=True)])

    def reward_means(self) -> dict[str, tuple[float, float]]:
        """Return each reward's mean over the policy's completions, and over those of the last opponents."""
        if not isinstance(self.preference, BradleyTerry) or self.policy_scores is None:
            return {}
        names = [name_of(reward) for reward in self.preference.rewards]
        both = zip(names, self.policy_scores, self.opponent_scores, strict=True)
        return {name: (_mean_said(own), _mean_said(other)) for name, own, other in both}

    def _judged(self, opponents: Side, pairs: Sequence[tuple[int, int]]) -> list[float]:
        if isinstance(self.preference, BradleyTerry) and self.policy_scores is not None:
            discard_progress = {**self.hooks, **dict.fromkeys(LOGS & self.hooks.keys(), _discard)}
            self.opponent_scores = self._scores(self.preference, opponents, discard_progress)
            return self._compared(self.preference, self.policy_scores, pairs)
        return list(self.preference(*self._sides(opponents, pairs)))

    def _compared(
        self, preference: BradleyTerry, policy_scores: Scores, pairs: Sequence[tuple[int, int]]
    ) -> list[float]:
        wins = (
            preference.probability(policy_scores, row, self.opponent_scores, number) for row, number in pairs
        )
        return [math.nan if win is None else win for win in wins]

    def _sides(
        self, opponents: Side, pairs: Sequence[tuple[int, int]]
    ) -> tuple[list[Any], list[Any], list[Any]]:
        return (
            [self.policy.prompts[row] for row, _ in pairs],
            [self.policy.completions[row] for row, _ in pairs],
            [opponents.completions[number] for _, number in pairs],
        )

    def _scores(self, preference: BradleyTerry, side: Side, hooks: Mapping[str, Any]) -> Scores:
        names = [name for name in self.inputs[0] if name not in WITHHELD]
        columns = {name: [self.inputs[row][name] for row in side.rows] for name in names}
        return preference.scores(
            side.prompts, side.completions, completion_ids=side.token_ids, **columns, **hooks
        )


def _discard(*args: Any) -> None:
    pass


def _swapped(sides: tuple[list[Any], list[Any], list[Any]]) -> tuple[list[Any], list[Any], list[Any]]:
    prompts, a, b = sides
    return prompts, b, a


def _mean_said(scores: Sequence[float | None]) -> float:
    return mean_of([math.nan if score is None else score for score in scores])


def mean_of(values: Sequence[float]) -> float:
    """Return the mean of the values that are not nan."""
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan
