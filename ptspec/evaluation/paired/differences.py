"""Differences between two models by metric, on the same rows, before estimation and tests."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ptspec.evaluation.aggregates import DISTINCT, figure
from ptspec.evaluation.diversity import Words, distinct_difference
from ptspec.evaluation.measurement import RowMeasurement
from ptspec.evaluation.row_values import Columns, is_ratio, reward_names
from ptspec.evaluation.stats.clusters import Groups, Values, groups_of, some_of, units
from ptspec.evaluation.stats.estimates import Asked, paired, ratio, resolve_one
from ptspec.evaluation.stats.intervals import CONFIDENCE
from ptspec.events import Figure
from ptspec.metrics import DRAWN, METRICS, metric

Rows = Sequence[RowMeasurement]


@dataclass(frozen=True)
class Difference:
    """A metric of a and of b, and b − a, on the `rows` that both have it on, in `clusters`.

    Two of an equal `quantity` are the same numbers, up to their unit.
    """

    metric: str
    value_a: float
    value_b: float
    asked: Asked
    rows: int
    clusters: int
    quantity: Hashable


@dataclass(frozen=True)
class Pair:
    """Two models on the same rows: their numbers by column, and the clusters."""

    a: Columns
    b: Columns
    groups: Groups | None

    @classmethod
    def of(cls, a: Rows, b: Rows) -> Pair:
        """Return the pair of `a` and `b`, whose rows correspond."""
        return cls(Columns(a), Columns(b), groups_of([row.unit for row in a]))

    def difference(self, name: str, among: NDArray[np.intp] | None = None) -> Difference | None:
        """Return b − a in `name` (`among`: on these row indices); None if no row of both has it."""
        if name in DISTINCT:
            return self._distinct(name, among)
        before, after = self.a.values(name), self.b.values(name)
        both = ~np.isnan(before) & ~np.isnan(after)
        there = np.flatnonzero(both) if among is None else among[both[among]]
        if not len(there):
            return None
        y, z, groups = before[there], after[there], some_of(self.groups, there)
        if is_ratio(name):
            weights = self.a.weights(name)[there], self.b.weights(name)[there]
            return _of_ratios(name, (y, z), weights, groups)
        known = metric(name).share or bool(np.isin(np.concatenate([y, z]), (0.0, 1.0)).all())
        asked = paired(z - y, groups, unit=1.0 if known else 0.0)
        return _difference(name, float(y.mean()), float(z.mean()), asked, z - y, groups)

    def _distinct(self, name: str, among: NDArray[np.intp] | None) -> Difference | None:
        if among is None and (one := self.a.responses) and (other := self.b.responses):
            return _of_distinct(name, one, other, self.groups)
        rows = range(len(self.a.rows)) if among is None else among
        said = [(i, self.a.rows[i].response, self.b.rows[i].response) for i in rows]
        texts = [(i, x, y) for i, x, y in said if x is not None and y is not None]
        there = np.array([i for i, _, _ in texts], dtype=np.intp)
        one, other = Words([x for _, x, _ in texts]), Words([y for _, _, y in texts])
        return _of_distinct(name, one, other, some_of(self.groups, there))


def _of_distinct(name: str, a: Words, b: Words, groups: Groups | None) -> Difference | None:
    found = distinct_difference(a, b, DISTINCT[name], groups)
    if found is None:
        return None
    (before, after), asked = found
    return Difference(name, before, after, asked, a.texts, asked.units, name)


def _difference(
    name: str, value_a: float, value_b: float, asked: Asked, differences: Values, groups: Groups | None
) -> Difference:
    size = float(np.abs(differences).max()) or 1.0
    quantity = (len(differences), (differences / size).tobytes(), asked.__class__)
    number = units(len(differences), groups)
    return Difference(name, value_a, value_b, asked, len(differences), number, quantity)


def _of_ratios(
    name: str, sums: tuple[Values, Values], weights: tuple[Values, Values], groups: Groups | None
) -> Difference | None:
    """Return b − a of two ratios of sums: of the sums for equal weights, else by linearisation."""
    (y, z), (of_a, of_b) = sums, weights
    if not of_a.sum() or not of_b.sum():
        return None
    value_a, value_b = float(y.sum() / of_a.sum()), float(z.sum() / of_b.sum())
    if name == "perplexity":
        value_a, value_b = math.exp(value_a), math.exp(value_b)
    if name != "perplexity" and bool((of_a == of_b).all()):
        return _difference(name, value_a, value_b, ratio(z - y, of_a, groups), z - y, groups)
    change = _influence(name, z, of_b) - _influence(name, y, of_a)
    asked = ratio(change, np.ones_like(change), groups)
    return _difference(name, value_a, value_b, asked, change, groups)


def _influence(name: str, numerators: Values, denominators: Values) -> Values:
    """Return values with mean Σ numerators / Σ denominators (of perplexity: its exponential).

    They vary by row as the ratio does, by linearisation. Their differences represent that of the ratios.
    """
    of_all = numerators.sum() / denominators.sum()
    change: Values = (numerators - of_all * denominators) / denominators.mean()
    return math.exp(of_all) * (1 + change) if name == "perplexity" else of_all + change


def change(name: str, a: Rows, b: Rows, *, seed: int, confidence: float = CONFIDENCE) -> Figure | None:
    """Return b − a in one metric, with its interval; None if no row of both has it."""
    found = Pair.of(a, b).difference(name)
    return None if found is None else figure(resolve_one(found.asked, seed=seed), confidence)


def compared_metrics(pair: Pair, *, tokens: bool, kl: bool, raw: bool) -> list[str]:
    """Return the compared metrics. Loss, perplexity and bits per byte are one quantity, compared once.

    `tokens`: both use the same tokens, so that likelihood and length are compared in them; else in bytes and
    characters. `kl`: both have the same base. `raw`: their preferences have different references, and only
    the raw one is compared.
    """
    likelihood, length = ("loss", "response_length") if tokens else ("bits_per_byte", "response_characters")
    names = reward_names(pair.a.rows, pair.b.rows)
    rewards = [each for name in names for each in (name, DRAWN + name)]
    preference = ["raw_preference", "raw_margin"] if raw else ["preference_accuracy", "reward_margin"]
    described = [length, *(name for name, known in METRICS.items() if known.compared)]
    fixed = ["accuracy", "sampled_accuracy", *rewards, *preference, likelihood]
    return [*fixed, *(["kl"] if kl else []), *described]
