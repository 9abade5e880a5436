"""What was picked of the variants of a matrix, and why. Types only; no numpy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ptspec.evaluation.comparison import Verdict
from ptspec.events import CheckedBound, Figure


@dataclass(frozen=True)
class Variant:
    """One variant as it was measured.

    `value`: the metric that picks, None where it was not measured. `misses`: the bounds of the checks that it
    does not hold to; `reasons`: why a check could not be asked."""

    name: str
    settings: Mapping[str, Any]
    value: Figure | None
    misses: tuple[CheckedBound, ...] = ()
    reasons: tuple[str, ...] = ()

    @property
    def is_kept(self) -> bool:
        return self.value is not None and not self.misses and not self.reasons


@dataclass(frozen=True)
class Rival:
    """The picked combination less another one: `difference` with the interval that decides, of the level that
    the correction leaves, `plain` with its 95 % interval. `verdict` BETTER: the two are distinguishable."""

    difference: Figure
    plain: Figure
    p_corrected: float | None
    verdict: Verdict
    mde: float | None

    @property
    def is_distinguishable(self) -> bool:
        return self.verdict is Verdict.BETTER


@dataclass(frozen=True)
class Combination:
    """The values of all axes but the seed, and its `variants`, one a seed.

    `value`: the mean over them, with an interval where there is one seed; `spread`: their standard deviation.
    `is_kept`: each of them holds to the checks. `rival`: against the picked one; None of that itself, and of
    what could not be picked."""

    settings: Mapping[str, Any]
    variants: tuple[str, ...]
    value: Figure | None
    spread: float | None
    is_kept: bool
    rival: Rival | None = None


@dataclass(frozen=True)
class Selection:
    """What `stage` takes over: the variant `picked`, the first seed of the combination with the index
    `chosen`, by `metric` on `rows` rows in `clusters` independent ones. `next_best`: the index of the
    combination that came after it.

    `tests` pairs were corrected for, by `correction`. `held_out`: what was picked by some of the rows
    measured on the others, in the mean of `resamples`: what the picked value would be had the choice not been
    made by the same rows; None where it is not known.
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
        return self.combinations[self.chosen]

    @property
    def runner_up(self) -> Combination | None:
        return None if self.next_best is None else self.combinations[self.next_best]
