"""What a comparison of several models found. Types and words only; no numpy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from ptspec.evaluation.measurement import Better, RowMeasurement, metric
from ptspec.events import Figure


class Verdict(Enum):
    BETTER = "better"
    WORSE = "worse"
    MORE = "more"
    LESS = "less"
    NOT_SHOWN = "no difference shown"


DESCRIBED = {"response_length": {Verdict.MORE: "longer", Verdict.LESS: "shorter"}}


@dataclass(frozen=True)
class Effect:
    """Model `b` against model `a` (indices into `Comparison.names`) in one metric.

    `difference` is b − a over the `rows` that both have, with its 95 % interval; `p` tests "there is none",
    `p_holm` is the same after Holm's correction for all tests of the comparison. A verdict needs both the
    interval without 0 and p_holm ≤ 0.05. `needed` is about how many rows would narrow the interval to
    ± the metric's `precision`.
    """

    metric: str
    a: int
    b: int
    value_a: float
    value_b: float
    difference: Figure
    rows: int
    p: float
    p_holm: float
    verdict: Verdict
    needed: int

    @property
    def words(self) -> str:
        """The verdict in words: "better", "shorter", "no difference shown"."""
        described = DESCRIBED.get(self.metric, {})
        return described.get(self.verdict) or str(self.verdict.value)


@dataclass(frozen=True)
class WinRate:
    """How often `b`'s response has the higher `reward` of the two, ties half; tested against one half."""

    reward: str
    a: int
    b: int
    rate: Figure
    wins: int
    ties: int
    losses: int
    p: float
    p_holm: float
    verdict: Verdict


@dataclass(frozen=True)
class Comparison:
    """`shared` rows are compared, `left_out` per model are not: another model lacks the prompt or its data
    expects another answer. `values` are each model's aggregates on the shared rows."""

    names: tuple[str, ...]
    shared: int
    left_out: tuple[int, ...]
    values: tuple[Mapping[str, Figure], ...]
    effects: tuple[Effect, ...]
    win_rates: tuple[WinRate, ...]
    notes: tuple[str, ...]
    seed: int


@dataclass(frozen=True)
class Change:
    """One prompt that two models differ on: their rows, and by how much."""

    a: RowMeasurement
    b: RowMeasurement
    difference: float


def in_words(comparison: Comparison, b: int = 1) -> str:
    """One sentence on model `b` against the first, such as
    "dpo is better at style; accuracy is not shown to differ."
    """
    effects = [effect for effect in comparison.effects if effect.b == b]
    name = comparison.names[b]
    parts = []
    for verdict, phrase in ((Verdict.BETTER, "better"), (Verdict.WORSE, "worse")):
        labels = [metric(e.metric).label for e in effects if e.verdict is verdict]
        if labels:
            parts.append(f"{phrase} at {_listed(labels)}")
    alike = [
        metric(e.metric).label
        for e in effects
        if e.verdict is Verdict.NOT_SHOWN and metric(e.metric).better is not Better.NEITHER
    ]
    said = (
        f"{name} is {' and '.join(parts)}"
        if parts
        else f"{name} is not shown to differ from {comparison.names[0]}"
    )
    if parts and alike:
        said += f"; {_listed(alike)} {'is' if len(alike) == 1 else 'are'} not shown to differ"
    return said + "."


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
