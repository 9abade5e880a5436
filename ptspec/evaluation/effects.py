"""One metric of two models on the same rows: what each row adds, the difference, its interval and test."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ptspec.evaluation.diversity import distinct, distinct_difference
from ptspec.evaluation.measurement import DRAWN, RowMeasurement, metric
from ptspec.evaluation.metrics import TIE
from ptspec.evaluation.statistics import CONFIDENCE, Tested, Values, paired_test, ratio_test

Rows = Sequence[RowMeasurement]
DISTINCT = {"distinct_1": 1, "distinct_2": 2}
PER_TOKEN = ("loss", "perplexity", "kl")


@dataclass(frozen=True)
class Found:
    """A metric of a and of b on the `rows` that both have it on, and the tested b − a."""

    value_a: float
    value_b: float
    tested: Tested
    rows: int


def effect_names(a: Rows, b: Rows, *, tokens: bool, kl: bool) -> list[str]:
    """The metrics to test. Loss and perplexity are bits per byte in other units: one test, not three.

    `tokens`: both count in the same tokens, so that response lengths are compared in them; else in
    characters. `kl`: both are held against the same base.
    """
    fixed = ["bits_per_byte", "accuracy", "sampled_accuracy", "preference_accuracy", "reward_margin"]
    length = "response_length" if tokens else "response_characters"
    described = [length, "finished", "distinct_2", "repetition", "empty", "refusals"]
    rewards = [each for name in reward_names(a, b) for each in (name, DRAWN + name)]
    return [*fixed, *rewards, *(["kl"] if kl else []), *described]


def reward_names(a: Rows, b: Rows) -> list[str]:
    there = dict.fromkeys(name for row in a for name in row.rewards)
    return [name for name in there if any(name in row.rewards for row in b)]


def row_value(name: str, row: RowMeasurement) -> float | None:
    """What the row adds to the metric's sum (of bits per byte: its bits; of KL: its nats); None if it lacks
    the metric."""
    match name:
        case "bits_per_byte":
            return None if row.nll is None or not row.bytes else row.nll / math.log(2)
        case "loss" | "perplexity":
            return row.nll
        case "accuracy":
            return _number(row.correct)
        case "sampled_accuracy":
            return _number(row.sample_correct)
        case "preference_accuracy" | "pair_accuracy":
            return None if row.margin is None else 0.5 + 0.5 * _sign(row.margin)
        case "reward_margin" | "pair_margin":
            return row.margin
        case "kl":
            return row.kl
        case "response_length":
            return _number(row.response_tokens)
        case "response_characters":
            return None if row.response is None else float(len(row.response))
        case "finished":
            return _number(row.finished)
        case "repetition":
            return row.repetition
        case "empty":
            return None if row.response is None else float(not row.response.strip())
        case "refusals":
            return _number(row.refused)
    if name.startswith(DRAWN):
        return row.sample_rewards.get(name.removeprefix(DRAWN))
    return row.rewards.get(name)


def row_metric(name: str, row: RowMeasurement) -> float | None:
    """The metric of this row alone, in the metric's own unit; None if the row lacks it."""
    value, weight = row_value(name, row), _weight(name, row)
    if value is None or not weight:
        return None
    return math.exp(value / weight) if name == "perplexity" else value / weight


def _weight(name: str, row: RowMeasurement) -> float:
    """What the row counts in the metric's denominator."""
    if name in PER_TOKEN:
        return float((row.sample_tokens if name == "kl" else row.tokens) or 0)
    return float(row.bytes or 0) if name == "bits_per_byte" else 1.0


def _number(value: float | None) -> float | None:
    return None if value is None else float(value)


def _sign(margin: float) -> int:
    return (margin > TIE) - (margin < -TIE)


def find(name: str, a: Rows, b: Rows, seed: int, confidence: float = CONFIDENCE) -> Found | None:
    """The metric `name` of both on the rows where both have it; None where there are none."""
    if name in DISTINCT:
        return _distinct(DISTINCT[name], a, b, confidence)
    pairs = [
        (x, y, _weight(name, one), _weight(name, other))
        for one, other in zip(a, b, strict=True)
        if (x := row_value(name, one)) is not None and (y := row_value(name, other)) is not None
    ]
    if not pairs:
        return None
    before, after = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    of_a, of_b = [pair[2] for pair in pairs], [pair[3] for pair in pairs]
    if not sum(of_a) or not sum(of_b):
        return None
    value_a, value_b = sum(before) / sum(of_a), sum(after) / sum(of_b)
    differences = [late - early for early, late in zip(before, after, strict=True)]
    if name in PER_TOKEN:
        one, other = _influence(name, before, of_a), _influence(name, after, of_b)
        tested = ratio_test([float(v) for v in other - one], seed=seed, confidence=confidence)
        if name == "perplexity":
            value_a, value_b = math.exp(value_a), math.exp(value_b)
    elif name == "bits_per_byte":
        tested = ratio_test(differences, of_a, seed=seed, confidence=confidence)
    else:
        known = metric(name).share or {*before, *after} <= {0.0, 1.0}
        tested = paired_test(differences, seed=seed, unit=1.0 if known else 0.0, confidence=confidence)
    return Found(value_a, value_b, tested, len(pairs))


def _influence(name: str, numerators: Sequence[float], denominators: Sequence[float]) -> Values:
    """Values whose mean is Σ numerators / Σ denominators (of perplexity: its exponential), and which vary
    from row to row as that does: by linearisation. Their differences stand for that of the two ratios."""
    y, x = np.asarray(numerators), np.asarray(denominators)
    ratio = y.sum() / x.sum()
    change: Values = (y - ratio * x) / x.mean()
    return math.exp(ratio) * (1 + change) if name == "perplexity" else ratio + change


def _distinct(n: int, a: Rows, b: Rows, confidence: float) -> Found | None:
    said = [(x.response, y.response) for x, y in zip(a, b, strict=True)]
    texts = [(x, y) for x, y in said if x is not None and y is not None]
    one, other = [x for x, _ in texts], [y for _, y in texts]
    before, after = distinct(one, n), distinct(other, n)
    difference = distinct_difference(one, other, n, confidence)
    if before is None or after is None or difference is None:
        return None
    return Found(before.interval.value, after.interval.value, difference, len(texts))
