"""What a comparison of several models found. Types only; no numpy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from ptspec.evaluation.measurement import RowMeasurement, metric
from ptspec.events import Figure


class Verdict(Enum):
    BETTER = "better"
    WORSE = "worse"
    MORE = "more"
    LESS = "less"
    NOT_SHOWN = "no difference shown"


_LENGTH = {Verdict.MORE: "longer", Verdict.LESS: "shorter"}
DESCRIBED: Mapping[str, Mapping[Verdict, str]] = {
    "response_length": _LENGTH,
    "response_characters": _LENGTH,
    "kl": {Verdict.MORE: "farther", Verdict.LESS: "closer"},
    "refusals": {Verdict.LESS: "fewer"},
}


@dataclass(frozen=True)
class Effect:
    """Model `b` against model `a` (indices into `Comparison.names`) in one metric.

    `difference` is b − a over the `rows` that both have, with its 95 % interval; `p` tests "there is none",
    `p_holm` is the same after Holm's correction for all tests of the comparison. A verdict needs both the
    interval without 0 and p_holm ≤ 0.05. `needed` is about how many rows would show half of what these show.
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
    """How often `b`'s response has the higher `reward` of the two, ties half; tested against one half.

    With `judge`, `reward` is the name of the judge that prefers it; `controlled`: were both equally long.
    """

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
    judge: bool = False
    controlled: bool = False

    @property
    def label(self) -> str:
        """What decides: "style", "judge fair", "judge fair, length-controlled"."""
        if not self.judge:
            return metric(self.reward).label
        return f"judge {self.reward}" + (", length-controlled" if self.controlled else "")


@dataclass(frozen=True)
class Slice:
    """The comparison on the `rows` whose column has this `value`."""

    value: str
    rows: int
    effects: tuple[Effect, ...]
    win_rates: tuple[WinRate, ...]


@dataclass(frozen=True)
class Comparison:
    """`shared` rows are compared, of the `of` that all have; `left_out` per model are not: another model
    lacks the prompt or its data expects another answer. `values` are each model's aggregates on the
    shared rows."""

    names: tuple[str, ...]
    shared: int
    left_out: tuple[int, ...]
    values: tuple[Mapping[str, Figure], ...]
    effects: tuple[Effect, ...]
    win_rates: tuple[WinRate, ...]
    notes: tuple[str, ...]
    seed: int
    of: int | None = None
    slices: tuple[Slice, ...] = ()
    by: str | None = None


@dataclass(frozen=True)
class Change:
    """One prompt that two models differ on: their rows, and by how much."""

    a: RowMeasurement
    b: RowMeasurement
    difference: float
