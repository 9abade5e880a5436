"""Choose interval and test for each kind of numbers.

An estimate has a value, the p of "it is `none`", and its interval at any confidence. What needs resampling is
a `Ratio` until `resolve` has estimated all of them together.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np

from ptspec.evaluation.stats import bootstrap
from ptspec.evaluation.stats.bootstrap import RESAMPLES, Ratio
from ptspec.evaluation.stats.clusters import FEWEST, Groups, Values, effective_share, units
from ptspec.evaluation.stats.intervals import Interval, paired_interval, proportion_interval
from ptspec.evaluation.stats.tests import paired_p


class Estimate(Protocol):
    """A value, its test, its interval.

    `units`: independent rows or clusters; `is_constant`: nothing varies, so that no test could be
    significant.
    """

    @property
    def value(self) -> float:
        """The estimated value."""
        ...

    @property
    def p(self) -> float:
        """Two-sided p of "it is `none`"."""
        ...

    @property
    def none(self) -> float:
        """The value under the null hypothesis."""
        ...

    @property
    def units(self) -> int:
        """Number of independent rows or clusters."""
        ...

    @property
    def is_constant(self) -> bool:
        """Whether nothing varies."""
        ...

    def at(self, confidence: float) -> Interval | None:
        """Return the interval; None for too few units."""


@dataclass(frozen=True)
class Few:
    """Fewer than five independent units: a value without interval or test."""

    value: float
    units: int
    none: float = 0.0
    p = 1.0
    is_constant = False

    def at(self, confidence: float) -> Interval | None:
        """Return None: too few units for an interval."""
        return None


@dataclass(frozen=True)
class PairedShares:
    """(wins − losses) / n times `size`: Tango's interval and McNemar's mid-p.

    For clustered rows `share` is the effective sample size per row. If the mid-p is slightly the larger, the
    interval is extended to 0, so that the two agree.
    """

    wins: int
    losses: int
    n: int
    units: int
    size: float = 1.0
    share: float = 1.0
    none = 0.0

    @property
    def value(self) -> float:
        """The difference of the shares, times `size`."""
        return (self.wins - self.losses) / self.n * self.size

    @property
    def is_constant(self) -> bool:
        """Whether every pair is tied."""
        return self.wins + self.losses == 0

    @property
    def p(self) -> float:
        """Two-sided p of "wins are as likely as losses"."""
        return paired_p(self.wins * self.share, self.losses * self.share)

    def at(self, confidence: float) -> Interval:
        """Return Tango's interval at this confidence."""
        wins, losses, n = (count * self.share for count in (self.wins, self.losses, self.n))
        found = paired_interval(wins, losses, n, confidence).scaled(self.size)
        edge = 0.0 if self.p > 1 - confidence else self.value
        return Interval(self.value, min(found.low, edge), max(found.high, edge))


@dataclass(frozen=True)
class Share:
    """low + (high − low) · successes / n: a proportion of a single sample; not tested."""

    successes: int
    n: int
    units: int
    low: float = 0.0
    high: float = 1.0
    share: float = 1.0
    none = 0.0
    p = 1.0
    is_constant = False

    @property
    def value(self) -> float:
        """The proportion, scaled."""
        return self.low + (self.high - self.low) * self.successes / self.n

    def at(self, confidence: float) -> Interval:
        """Return the proportion's score interval, scaled."""
        found = proportion_interval(self.successes * self.share, self.n * self.share, confidence)
        scaled = found.scaled(self.high - self.low, self.low)
        return Interval(self.value, scaled.low, scaled.high)


@dataclass(frozen=True)
class Scaled:
    """factor · estimate + shift, the factor positive."""

    of: Estimate
    factor: float
    shift: float

    @property
    def value(self) -> float:
        """The transformed value."""
        return self.of.value * self.factor + self.shift

    @property
    def none(self) -> float:
        """The transformed null value."""
        return self.of.none * self.factor + self.shift

    @property
    def p(self) -> float:
        """The p of the estimate."""
        return self.of.p

    @property
    def units(self) -> int:
        """The units of the estimate."""
        return self.of.units

    @property
    def is_constant(self) -> bool:
        """Whether the estimate is constant."""
        return self.of.is_constant

    def at(self, confidence: float) -> Interval | None:
        """Return the transformed interval."""
        found = self.of.at(confidence)
        return None if found is None else found.scaled(self.factor, self.shift)


ENOUGH_FOR_TWO = 20
Asked = Estimate | Ratio
K = TypeVar("K", bound=Hashable)


def mean(values: Sequence[float] | Values, groups: Groups | None = None) -> Asked:
    """Return the estimate of a sample's mean.

    A share if each value is 0 or 1, or of twenty rows one of two others (with fewer a third may be unseen);
    else by the bootstrap.
    """
    v = np.asarray(values, dtype=np.float64)
    if (number := units(len(v), groups)) < FEWEST:
        return Few(float(v.mean()), number)
    low, high = float(v.min()), float(v.max())
    if low in (0.0, 1.0) and high in (0.0, 1.0):
        low, high = 0.0, 1.0
    are_enough = number >= ENOUGH_FOR_TWO or (low, high) == (0.0, 1.0)
    if are_enough and low != high and bool(((v == low) | (v == high)).all()):
        return Share(int((v == high).sum()), len(v), number, low, high, effective_share(v, groups))
    return Ratio(v, None, groups)


def ratio(numerators: Values, denominators: Values, groups: Groups | None = None) -> Asked:
    """Return the estimate of Σ numerators / Σ denominators, by the bootstrap."""
    found = Ratio(numerators, denominators, groups)
    if found.units < FEWEST:
        return Few(float(numerators.sum() / denominators.sum()), found.units)
    return found


def paired(
    differences: Sequence[float] | Values, groups: Groups | None = None, *, unit: float = 0.0
) -> Asked:
    """Return the estimate of the mean of paired differences, tested against 0.

    Paired shares if each is −c, 0 or c (right against wrong). `unit` is c if known beforehand, so that rows
    which all agree do not count as certain. Else by the bootstrap.
    """
    d = np.asarray(differences, dtype=np.float64)
    number = units(len(d), groups)
    if number < FEWEST:
        return Few(float(d.mean()), number)
    size = max(unit, float(np.abs(d).max()))
    if size == 0:
        return bootstrap.Constant(0.0, number)
    if bool(np.isin(np.abs(d), (0.0, size)).all()):
        wins, losses = int((d > 0).sum()), int((d < 0).sum())
        return PairedShares(wins, losses, len(d), number, size, effective_share(d, groups))
    return Ratio(d, None, groups)


def win_rate(
    differences: Sequence[float] | Values, groups: Groups | None = None, tie: float = 0.0
) -> Estimate:
    """Return how often `differences` are above 0, those within `tie` counting half.

    Tested against one half.
    """
    d = np.asarray(differences, dtype=np.float64)
    signs = (d > tie).astype(np.float64) - (d < -tie)
    found = paired(signs, groups, unit=1.0)
    assert not isinstance(found, Ratio)  # signs are paired shares
    return Scaled(found, 0.5, 0.5)


def resolve(asked: Mapping[K, Asked], *, seed: int, resamples: int = RESAMPLES) -> dict[K, Estimate]:
    """Return all estimates, those by the bootstrap over the same resamples."""
    keys = [key for key, value in asked.items() if isinstance(value, Ratio)]
    ratios = [value for value in asked.values() if isinstance(value, Ratio)]
    found: dict[K, Estimate] = dict(
        zip(keys, bootstrap.estimates(ratios, seed=seed, resamples=resamples), strict=True)
    )
    return {key: value if not isinstance(value, Ratio) else found[key] for key, value in asked.items()}


def resolve_one(asked: Asked, *, seed: int, resamples: int = RESAMPLES) -> Estimate:
    """Return a single estimate, as `resolve` does."""
    return resolve({0: asked}, seed=seed, resamples=resamples)[0]
