"""A measured row's contribution to a metric: its numerator and denominator."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ptspec.evaluation.diversity import Words
from ptspec.evaluation.measurement import RowMeasurement
from ptspec.evaluation.response_metrics import RESPONSE_METRICS, number
from ptspec.metrics import DRAWN

PER_TOKEN = ("loss", "perplexity", "kl")
TIE = 1e-4
"""Margins within this many nats of 0 are ties: float32 noise of a policy equal to its reference."""


class Columns:
    """Rows as arrays, one per metric, each computed once."""

    def __init__(self, rows: Sequence[RowMeasurement]) -> None:
        self.rows = rows
        self._values: dict[str, NDArray[np.float64]] = {}
        self._weights: dict[str, NDArray[np.float64]] = {}

    def values(self, name: str) -> NDArray[np.float64]:
        """Return each row's numerator; nan if it lacks the metric."""
        if name not in self._values:
            found = (row_value(name, row) for row in self.rows)
            self._values[name] = np.array([math.nan if v is None else v for v in found], dtype=np.float64)
        return self._values[name]

    @cached_property
    def responses(self) -> Words | None:
        """The responses' words; None if a row has none."""
        texts = [row.response for row in self.rows if row.response is not None]
        return Words(texts) if len(texts) == len(self.rows) else None

    def weights(self, name: str) -> NDArray[np.float64]:
        """Return each row's denominator."""
        if name not in self._weights:
            self._weights[name] = np.array([_weight(name, row) for row in self.rows], dtype=np.float64)
        return self._weights[name]


def is_ratio(name: str) -> bool:
    """Return whether the metric is a ratio of two sums rather than a mean over rows."""
    return name in PER_TOKEN or name == "bits_per_byte"


def reward_names(a: Sequence[RowMeasurement], b: Sequence[RowMeasurement]) -> list[str]:
    """Return the rewards that rows of both have."""
    other = {name for row in b for name in row.rewards}
    return [name for name in dict.fromkeys(name for row in a for name in row.rewards) if name in other]


def row_value(name: str, row: RowMeasurement) -> float | None:
    """Return the row's numerator (bits per byte: its bits; KL: its nats); None if it lacks the metric."""
    match name:
        case "bits_per_byte":
            return None if row.nll is None or not row.bytes else row.nll / math.log(2)
        case "loss" | "perplexity":
            return row.nll
        case "accuracy":
            return number(row.correct)
        case "sampled_accuracy":
            return number(row.sample_correct)
        case "preference_accuracy" | "pair_accuracy":
            return None if row.margin is None else 0.5 + 0.5 * _sign(row.margin)
        case "reward_margin" | "pair_margin":
            return row.margin
        case "raw_preference":
            return None if row.preference is None else 0.5 + 0.5 * _sign(row.preference)
        case "raw_margin":
            return row.preference
        case "kl":
            return row.kl
    if (of_response := RESPONSE_METRICS.get(name)) is not None:
        return of_response(row)
    if name.startswith(DRAWN):
        return row.sample_rewards.get(name.removeprefix(DRAWN))
    return row.rewards.get(name)


def row_metric(name: str, row: RowMeasurement) -> float | None:
    """Return the metric of this row alone, in the metric's own unit; None if the row lacks it."""
    value, weight = row_value(name, row), _weight(name, row)
    if value is None or not weight:
        return None
    return math.exp(value / weight) if name == "perplexity" else value / weight


def _weight(name: str, row: RowMeasurement) -> float:
    """Return the row's denominator."""
    if name in PER_TOKEN:
        return float((row.sample_tokens if name == "kl" else row.tokens) or 0)
    return float(row.bytes or 0) if name == "bits_per_byte" else 1.0


def _sign(margin: float) -> int:
    return (margin > TIE) - (margin < -TIE)
