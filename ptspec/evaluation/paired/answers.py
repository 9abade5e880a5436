"""Differences between two models' greedy answers: how many, and on which prompts."""

from __future__ import annotations

from collections.abc import Sequence

from ptspec.evaluation.comparison import Change
from ptspec.evaluation.measurement import Measurement
from ptspec.evaluation.paired.compare import biggest_changes
from ptspec.evaluation.row_values import row_metric

LIKELIHOOD = "loss"


def answers_differ(a: Measurement, b: Measurement, among: Sequence[str]) -> tuple[int, int]:
    """Return how many answers to the prompts `among` differ, and how many both answered."""
    there = _answered(a, b, among)
    return len(_differing(a, b, there)), len(there)


def changes_to_show(
    a: Measurement, b: Measurement, name: str, count: int, among: Sequence[str]
) -> tuple[str, list[Change]]:
    """Return the inspected metric, and `count` of the prompts `among` with different answers.

    Those where `name` changed most come first. If no answer differs: the prompts where the likelihood of the
    expected answer changed most.
    """
    before, after = a.by_id(), b.by_id()
    keys = _differing(a, b, _answered(a, b, among))
    if not keys:
        return LIKELIHOOD, biggest_changes(a, b, LIKELIHOOD, count, among) if count else []
    changes = []
    for key in keys:
        one, other = row_metric(name, before[key]), row_metric(name, after[key])
        difference = 0.0 if one is None or other is None else other - one
        changes.append(Change(before[key], after[key], difference))
    return name, sorted(changes, key=lambda change: -abs(change.difference))[:count]


def _answered(a: Measurement, b: Measurement, among: Sequence[str]) -> list[str]:
    before, after = a.by_id(), b.by_id()
    return [key for key in among if before[key].response is not None and after[key].response is not None]


def _differing(a: Measurement, b: Measurement, keys: Sequence[str]) -> list[str]:
    before, after = a.by_id(), b.by_id()
    return [key for key in keys if before[key].response != after[key].response]
