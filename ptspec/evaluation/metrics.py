"""From measured rows to aggregates with 95 % intervals."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from ptspec.evaluation.diversity import distinct
from ptspec.evaluation.measurement import DRAWN, RowMeasurement
from ptspec.evaluation.statistics import (
    CONFIDENCE,
    Interval,
    mean_interval,
    proportion_interval,
    ratio_test,
    win_rate,
)
from ptspec.events import Figure

TIE = 1e-4
"""Margins within this many nats of 0 are ties: float32 noise of a policy that equals its reference."""

T = TypeVar("T")


@dataclass(frozen=True)
class _How:
    """How intervals are made."""

    seed: int
    confidence: float

    @property
    def given(self) -> dict[str, Any]:
        return {"seed": self.seed, "confidence": self.confidence}


def aggregates(
    rows: Sequence[RowMeasurement], *, seed: int, confidence: float = CONFIDENCE
) -> dict[str, Figure]:
    """Every metric that the rows allow, each with its interval of this `confidence`."""
    how = _How(seed, confidence)
    texts = [row.response for row in rows if row.response is not None]
    figures: dict[str, Figure | None] = {
        **_likelihood(rows, how),
        "accuracy": _share([row.correct for row in rows], how),
        "sampled_accuracy": _share([row.sample_correct for row in rows], how),
        **_preference(rows, how),
        "kl": _divergence(rows, how),
        "response_length": _mean([row.response_tokens for row in rows], how),
        "response_characters": _mean([None if r.response is None else len(r.response) for r in rows], how),
        "finished": _share([row.finished for row in rows], how),
        "distinct_1": _distinct(texts, 1, how),
        "distinct_2": _distinct(texts, 2, how),
        "repetition": _mean([row.repetition for row in rows], how),
        "empty": _share([None if row.response is None else not row.response.strip() for row in rows], how),
        "refusals": _share([row.refused for row in rows], how),
        **_rewards(rows, how),
    }
    return {name: figure for name, figure in figures.items() if figure is not None}


def repetition(ids: Sequence[int], n: int = 4) -> float:
    """The share of n-grams that repeat an earlier one (Welleck et al. 2020, seq-rep-n)."""
    grams = _grams(ids, n)
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


def _likelihood(rows: Sequence[RowMeasurement], how: _How) -> dict[str, Figure]:
    measured = [(row.nll, row.tokens, row.bytes) for row in rows if row.nll is not None]
    nll = [nll for nll, _, _ in measured]
    tokens = [float(tokens or 0) for _, tokens, _ in measured]
    texts = [(nll, float(size)) for nll, _, size in measured if size]
    if not sum(tokens):
        return {}
    loss = ratio_test(nll, tokens, **how.given).interval
    figures = {
        "loss": _figure(loss),
        "perplexity": Figure(*(_exp(bound) for bound in (loss.value, loss.low, loss.high))),
    }
    if texts:
        of_texts, size = [nll for nll, _ in texts], [size for _, size in texts]
        figures["bits_per_byte"] = _figure(
            ratio_test(of_texts, size, **how.given).interval.scaled(1 / math.log(2))
        )
    return figures


def _preference(rows: Sequence[RowMeasurement], how: _How) -> dict[str, Figure]:
    margins = _present([row.margin for row in rows])
    if not margins:
        return {}
    return {
        "preference_accuracy": _figure(win_rate(margins, TIE, how.confidence).interval),
        "reward_margin": _figure(mean_interval(margins, **how.given)),
    }


def _rewards(rows: Sequence[RowMeasurement], how: _How) -> Mapping[str, Figure | None]:
    names = dict.fromkeys(name for row in rows for name in row.rewards)
    greedy = {name: _mean([row.rewards.get(name) for row in rows], how) for name in names}
    drawn = {DRAWN + name: _mean([row.sample_rewards.get(name) for row in rows], how) for name in names}
    return {**greedy, **drawn}


def _share(values: Sequence[bool | None], how: _How) -> Figure | None:
    known = _present(values)
    return _figure(proportion_interval(sum(known), len(known), how.confidence)) if known else None


def _mean(values: Sequence[float | None], how: _How) -> Figure | None:
    known = [float(value) for value in _present(values)]
    return _figure(mean_interval(known, **how.given)) if known else None


def _divergence(rows: Sequence[RowMeasurement], how: _How) -> Figure | None:
    """Σ KL of the drawn responses over Σ of their tokens."""
    drawn = [(row.kl, float(row.sample_tokens or 0)) for row in rows if row.kl is not None]
    if not sum(tokens for _, tokens in drawn):
        return None
    return _figure(ratio_test([kl for kl, _ in drawn], [tokens for _, tokens in drawn], **how.given).interval)


def _distinct(texts: Sequence[str], n: int, how: _How) -> Figure | None:
    found = distinct(texts, n, how.confidence)
    if found is None:
        return None
    interval = found.interval
    return Figure(interval.value, max(0.0, interval.low), min(1.0, interval.high))


def _grams(ids: Sequence[int], n: int) -> list[tuple[int, ...]]:
    return [tuple(ids[i : i + n]) for i in range(len(ids) - n + 1)]


def _present(values: Sequence[T | None]) -> list[T]:
    return [value for value in values if value is not None]


def _figure(interval: Interval) -> Figure:
    return Figure(interval.value, interval.low, interval.high)


def _exp(value: float) -> float:
    return math.exp(min(value, 700.0))
