"""The mean of differences that vary by row and by seed: an estimate for other rows and other seeds.

Every row is measured with every seed: a two-way layout without replication, both factors random (Brennan
2001, Generalizability Theory, §3). What the seeds do to all rows alike does not shrink with more rows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from ptspec.evaluation.stats.clusters import Values
from ptspec.evaluation.stats.distributions import student_p, student_quantile
from ptspec.evaluation.stats.intervals import Interval


@dataclass(frozen=True)
class Crossed:
    """An estimate with its standard error, and Satterthwaite's degrees of `freedom` of that."""

    value: float
    error: float
    freedom: float
    units: int
    none: float = 0.0

    @property
    def is_constant(self) -> bool:
        return self.error <= 1e-15 and self.value == 0

    @property
    def p(self) -> float:
        if self.error <= 1e-15:
            return 1.0 if self.value == 0 else 0.0
        return student_p(self.value / self.error, self.freedom)

    def at(self, confidence: float) -> Interval:
        half = student_quantile(confidence, self.freedom) * self.error if self.error > 1e-15 else 0.0
        return Interval(self.value, self.value - half, self.value + half)


def crossed(differences: Values) -> Crossed:
    """The mean of `differences`, a row a unit and a column a seed, at least two of each."""
    units, seeds = differences.shape
    grand = float(differences.mean())
    by_unit, by_seed = differences.mean(axis=1), differences.mean(axis=0)
    rest = differences - by_unit[:, None] - by_seed[None, :] + grand
    of_units = seeds * float(((by_unit - grand) ** 2).sum()) / (units - 1)
    of_seeds = units * float(((by_seed - grand) ** 2).sum()) / (seeds - 1)
    of_rest = float((rest**2).sum()) / ((units - 1) * (seeds - 1))
    # The seeds' part is never taken for less than nothing, and has no more freedom than there are seeds.
    square = max(of_units + of_seeds - of_rest, of_units, of_seeds)
    freedom = _freedom(square, ((of_units, units - 1), (of_seeds, seeds - 1)))
    return Crossed(grand, math.sqrt(square / (units * seeds)), freedom, units)


def _freedom(square: float, parts: tuple[tuple[float, int], ...]) -> float:
    spread = sum(part**2 / freedom for part, freedom in parts)
    fewest = float(min(freedom for _, freedom in parts))
    return max(fewest, square**2 / spread) if spread > 0 else fewest
