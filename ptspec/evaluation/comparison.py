"""The result of comparing several models. Types only; imports no numpy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from ptspec.evaluation.measurement import RowMeasurement
from ptspec.events import Figure, MetricChange, StageComparison


class Verdict(Enum):
    """A verdict on a difference.

    `DESCRIBED`: the metric has no better direction, or was not requested; nothing was tested. `TOO_FEW`:
    fewer than five prompts, or clusters of them.
    """

    BETTER = "better"
    WORSE = "worse"
    NOT_SHOWN = "no difference shown"
    DESCRIBED = "described"
    TOO_FEW = "too few prompts"

    @property
    def mark(self) -> str:
        """The sign of a verdict; empty unless better or worse."""
        return {Verdict.BETTER: "▲", Verdict.WORSE: "▼"}.get(self, "")


@dataclass(frozen=True)
class Effect:
    """Model `b` against model `a` (indices into `Comparison.names`) in one metric.

    `difference` is b − a over the `rows` that both have, in `clusters` independent ones, with the deciding
    interval: at the level after the correction for multiple tests. `plain` is the same with its 95 %
    interval. `p` tests for no difference, `p_corrected` is p after the correction. Interval, p and verdict
    agree: better or worse exactly if `difference` excludes 0 and p_corrected ≤ 0.05. `is_tested`: it counts
    among the tests; a difference without variation does not. `mde`: the difference that this test detects
    with 80 % power.
    """

    metric: str
    a: int
    b: int
    value_a: float
    value_b: float
    difference: Figure
    plain: Figure
    rows: int
    clusters: int
    p: float | None
    p_corrected: float | None
    verdict: Verdict
    is_tested: bool
    mde: float | None

    @property
    def is_described(self) -> bool:
        """Whether the difference is described only, not tested."""
        return self.verdict is Verdict.DESCRIBED


@dataclass(frozen=True)
class WinRate:
    """How often `judge` prefers b's response, ties half; tested against one half.

    `controlled`: length-controlled. The rest as in `Effect`, `rate` with the deciding interval.
    """

    judge: str
    a: int
    b: int
    rate: Figure
    plain: Figure
    wins: int
    ties: int
    losses: int
    clusters: int
    p: float | None
    p_corrected: float | None
    verdict: Verdict
    is_tested: bool
    mde: float | None
    controlled: bool = False

    @property
    def metric(self) -> str:
        """The name of the policy's own metric of this kind."""
        return "win_rate_lc" if self.controlled else "win_rate"

    @property
    def label(self) -> str:
        """Its label: "judge fair", "judge fair, length-controlled"."""
        return f"judge {self.judge}" + (", length-controlled" if self.controlled else "")

    @property
    def rows(self) -> int:
        """Number of compared prompts."""
        return self.wins + self.ties + self.losses


@dataclass(frozen=True)
class Slice:
    """The comparison on the `rows` whose column has this `value`."""

    value: str
    rows: int
    effects: tuple[Effect, ...]
    win_rates: tuple[WinRate, ...]


@dataclass(frozen=True)
class Comparison:
    """A comparison of models.

    `shared` rows are compared, of the `of` that each has; `left_out` per model are not: another model lacks
    the prompt or has another expected answer. `values` are each model's aggregates on the shared rows.
    `tests` is the number of tests corrected for, by `correction`; `slice_tests` those of all slices together,
    by `slice_correction`. `fingerprints`: those of the measurements. `cluster`: the column of dependent rows,
    besides those of one prompt.
    """

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
    tests: int = 0
    correction: str = "Holm"
    slice_tests: int = 0
    slice_correction: str = "Benjamini-Hochberg"
    confidence: float = 0.95
    cluster: str | None = None
    fingerprints: tuple[str | None, ...] = field(default_factory=tuple)

    def verdicts(self, b: int = 1) -> dict[str, Verdict]:
        """Return the verdict on model `b`, against the first, in each metric."""
        effects = {effect.metric: effect.verdict for effect in self.effects if effect.b == b}
        return effects | {rate.metric: rate.verdict for rate in self.win_rates if rate.b == b}

    def of_stage(self, b: int = 1) -> StageComparison:
        """Return the event of model `b`, a stage, against the first, its parent."""
        effects = {e.metric: MetricChange(e.difference, e.verdict.value) for e in self.effects if e.b == b}
        rates = {r.metric: MetricChange(r.rate, r.verdict.value) for r in self.win_rates if r.b == b}
        return StageComparison(self.names[0], self.shared, self.tests, self.correction, {**effects, **rates})


@dataclass(frozen=True)
class Change:
    """A prompt on which two models differ: their rows, and the difference."""

    a: RowMeasurement
    b: RowMeasurement
    difference: float
