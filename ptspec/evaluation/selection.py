"""The selected variant of a matrix, and the reason. Types only; imports no numpy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ptspec.evaluation.comparison import Verdict
from ptspec.events import CheckedBound, Figure


@dataclass(frozen=True)
class Variant:
    """A measured variant.

    `value`: the selecting metric, None if not measured. `misses`: the bounds of checks that it fails;
    `reasons`: why a check could not be evaluated.
    """

    name: str
    settings: Mapping[str, Any]
    value: Figure | None
    misses: tuple[CheckedBound, ...] = ()
    reasons: tuple[str, ...] = ()

    @property
    def is_kept(self) -> bool:
        """Whether it was measured and passes every check."""
        return self.value is not None and not self.misses and not self.reasons


@dataclass(frozen=True)
class Rival:
    """The selected combination minus another one.

    `difference` has the deciding interval at the corrected level, `plain` the 95 % one. `verdict` BETTER: the
    two are distinguishable.
    """

    difference: Figure
    plain: Figure
    p_corrected: float | None
    verdict: Verdict
    mde: float | None

    @property
    def is_distinguishable(self) -> bool:
        """Whether the selected combination is significantly better."""
        return self.verdict is Verdict.BETTER


@dataclass(frozen=True)
class Combination:
    """The values of all axes but the seed, and its `variants`, one per seed.

    `value`: the mean over them, with an interval for a single seed; `spread`: their standard deviation.
    `is_kept`: each of them passes the checks. `rival`: against the selected one; None for that itself, and
    for invalid ones.
    """

    settings: Mapping[str, Any]
    variants: tuple[str, ...]
    value: Figure | None
    spread: float | None
    is_kept: bool
    rival: Rival | None = None


@dataclass(frozen=True)
class Selection:
    """What `stage` takes over.

    The variant `picked`, the first seed of the combination with the index `chosen`, by `metric` on `rows`
    rows in `clusters`. `next_best`: the index of the second best combination. `tests` pairs were corrected
    for, by `correction`. `held_out`: the selected value on rows that did not select it, the mean over
    `resamples`: without selection bias; None if unknown.
    """

    stage: str
    metric: str
    picked: str
    chosen: int
    next_best: int | None
    combinations: tuple[Combination, ...]
    variants: tuple[Variant, ...]
    rows: int
    clusters: int
    tests: int
    correction: str = "Holm"
    held_out: float | None = None
    resamples: int = 0
    notes: tuple[str, ...] = field(default_factory=tuple)

    @property
    def best(self) -> Combination:
        """The selected combination."""
        return self.combinations[self.chosen]

    @property
    def runner_up(self) -> Combination | None:
        """The second best combination, None without."""
        return None if self.next_best is None else self.combinations[self.next_best]
