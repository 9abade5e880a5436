"""Aggregate measured rows to metrics with 95 % intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ptspec.evaluation.diversity import Words, distinct
from ptspec.evaluation.measurement import RowMeasurement, with_shares
from ptspec.evaluation.response_metrics import RESPONSE_METRICS
from ptspec.evaluation.row_values import TIE, Columns
from ptspec.evaluation.stats.clusters import Groups, groups_of, some_of
from ptspec.evaluation.stats.estimates import Asked, Estimate, mean, ratio, resolve, win_rate
from ptspec.evaluation.stats.intervals import CONFIDENCE
from ptspec.events import Figure
from ptspec.metrics import DRAWN

DISTINCT = {"distinct_1": 1, "distinct_2": 2}


@dataclass(frozen=True)
class _Rows:
    """The rows by columns, and their clusters."""

    columns: Columns
    groups: Groups | None

    def known(self, name: str) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
        """Return the values of the rows that have them, and the indices of these rows."""
        values = self.columns.values(name)
        there = np.flatnonzero(~np.isnan(values))
        return values[there], there


def aggregates(
    rows: Sequence[RowMeasurement], *, seed: int, confidence: float = CONFIDENCE
) -> dict[str, Figure]:
    """Return every metric that the rows allow, with its interval at this `confidence`.

    No interval for fewer than five rows, or clusters of rows (of one prompt, or of `eval.cluster`).
    """
    table = _Rows(Columns(rows), groups_of([row.unit for row in rows]))
    names = dict.fromkeys(name for row in rows for name in row.rewards)
    asked: dict[str, Asked | None] = {
        "loss": _ratio(table, "loss"),
        "bits_per_byte": _ratio(table, "bits_per_byte"),
        **{name: _mean(table, name) for name in ("accuracy", "sampled_accuracy")},
        "preference_accuracy": _preference(table, "reward_margin"),
        "reward_margin": _mean(table, "reward_margin"),
        "raw_preference": _preference(table, "raw_margin"),
        "raw_margin": _mean(table, "raw_margin"),
        "kl": _ratio(table, "kl"),
        **{name: _mean(table, name) for name in RESPONSE_METRICS},
        **_distinct(rows, table),
        **{name: _mean(table, name) for name in names},
        **{DRAWN + name: _mean(table, DRAWN + name) for name in names},
    }
    found = resolve({name: one for name, one in asked.items() if one is not None}, seed=seed)
    figures: dict[str, Figure] = {}
    for name, estimate in found.items():
        figures[name] = figure(estimate, confidence)
        if name == "loss":
            figures["perplexity"] = _exponential(figures[name])
    return with_shares(figures, rows)


def figure(estimate: Estimate, confidence: float = CONFIDENCE) -> Figure:
    """Return the value with its interval at this confidence, if there is one."""
    found = estimate.at(confidence)
    return Figure(estimate.value) if found is None else Figure(estimate.value, found.low, found.high)


def repetition(ids: Sequence[int], n: int = 4) -> float:
    """Return the share of n-grams that repeat an earlier one (Welleck et al. 2020, seq-rep-n)."""
    grams = _grams(ids, n)
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


def _ratio(table: _Rows, name: str) -> Asked | None:
    values, there = table.known(name)
    weights = table.columns.weights(name)[there]
    if not weights.sum():
        return None
    return ratio(values, weights, some_of(table.groups, there))


def _mean(table: _Rows, name: str) -> Asked | None:
    values, there = table.known(name)
    return mean(values, some_of(table.groups, there)) if len(values) else None


def _preference(table: _Rows, margin: str) -> Asked | None:
    margins, there = table.known(margin)
    return win_rate(margins, some_of(table.groups, there), TIE) if len(margins) else None


def _distinct(rows: Sequence[RowMeasurement], table: _Rows) -> dict[str, Estimate | None]:
    there = [index for index, row in enumerate(rows) if row.response is not None]
    words = Words([rows[index].response or "" for index in there])
    groups = some_of(table.groups, np.array(there, dtype=np.intp))
    return {name: distinct(words, n, groups) for name, n in DISTINCT.items()}


def _grams(ids: Sequence[int], n: int) -> list[tuple[int, ...]]:
    return [tuple(ids[i : i + n]) for i in range(len(ids) - n + 1)]


def _exponential(figure: Figure) -> Figure:
    low, high = (None if bound is None else _exp(bound) for bound in (figure.low, figure.high))
    return Figure(_exp(figure.value), low, high)


def _exp(value: float) -> float:
    return math.exp(min(value, 700.0))
