"""Measurements aligned by row, and the differences of a comparison on any subset of the rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ptspec import methods
from ptspec.evaluation.comparison import Effect, WinRate
from ptspec.evaluation.judging import win_rates
from ptspec.evaluation.measurement import JudgeStamp, Measurement, RowMeasurement
from ptspec.evaluation.paired.decide import Correction, Decision, Question, decide
from ptspec.evaluation.paired.differences import Difference, Pair, compared_metrics
from ptspec.evaluation.row_values import Columns
from ptspec.evaluation.stats.clusters import groups_of
from ptspec.evaluation.stats.estimates import Estimate, resolve
from ptspec.metrics import Better, metric

LIKELIHOOD = ("loss", "bits_per_byte")


@dataclass(frozen=True)
class Judgement:
    """The verdicts of the judge `name`.

    `wins[b]` holds P(b's response is preferred to the first model's) by row id, b being the model's index.
    `stamp`: its statistics.
    """

    name: str
    wins: Mapping[int, Mapping[str, float]] = field(default_factory=dict)
    stamp: JudgeStamp | None = None


def stored_judgement(before: Measurement, after: Measurement) -> Judgement | None:
    """Return the judge's verdicts on `after` against `before` that are stored in `after`."""
    wins = {row.id: row.judged[before.name] for row in after.rows if before.name in row.judged}
    return Judgement(after.judge.name, {1: wins}) if wins and after.judge is not None else None


@dataclass(frozen=True)
class Rate:
    """A win rate before its test: `counts` won, tied and lost."""

    b: int
    judge: str
    counts: tuple[int, int, int]
    estimate: Estimate
    controlled: bool


@dataclass(frozen=True)
class Asked:
    """The questions under one correction."""

    differences: list[tuple[int, Difference]]
    rates: list[Rate]


class Pairing:
    """The measurements on the rows `keys`, which all of them have, in one order."""

    def __init__(
        self,
        measurements: Sequence[Measurement],
        keys: Sequence[str],
        judgement: Judgement | None,
        seed: int,
    ) -> None:
        settings = [m.settings for m in measurements]
        self.measurements = measurements
        self.keys = keys
        self.judgement = judgement
        self.seed = seed
        self.raw = len({(s.preference_reference, s.reference_fingerprint) for s in settings}) > 1
        self.tokens = len({s.tokenizer for s in settings}) == 1
        self.kl = len({s.kl_base for s in settings if s.kl_base is not None}) <= 1
        tables = [m.by_id() for m in measurements]
        self.rows = [[table[key] for key in keys] for table in tables]
        columns = [Columns(rows) for rows in self.rows]
        groups = groups_of([row.unit for row in self.rows[0]])
        self.pairs = [Pair(columns[0], other, groups) for other in columns[1:]]

    def asked(self, among: Sequence[int] | None = None) -> Asked:
        """Return every difference on the rows (`among`: on these indices)."""
        some = None if among is None else np.array(among, dtype=np.intp)
        found = Asked([], [])
        for b, pair in enumerate(self.pairs, start=1):
            for name in compared_metrics(pair, tokens=self.tokens, kl=self.kl, raw=self.raw):
                if (difference := pair.difference(name, some)) is not None:
                    found.differences.append((b, difference))
            found.rates.extend(self._judged(b, some))
        return found

    def tasks(self) -> list[tuple[int, Difference]]:
        """Return differences in tasks of lm-evaluation-harness, paired by common documents."""
        found = []
        for b in range(1, len(self.measurements)):
            one, other = self.measurements[0].documents, self.measurements[b].documents
            for name in (name for name in one if name in other):
                shared = [document for document in one[name] if document in other[name]]
                rows = [_documents(name, side[name], shared) for side in (one, other)]
                if (difference := Pair.of(*rows).difference(name)) is not None:
                    found.append((b, difference))
        return found

    def _judged(self, b: int, among: NDArray[np.intp] | None) -> list[Rate]:
        """Yield win rates by the judge, raw and length-controlled."""
        if self.judgement is None:
            return []
        given = self.judgement.wins.get(b, {})
        keys = self.keys if among is None else [self.keys[index] for index in among]
        wins = {key: given[key] for key in keys if key in given}
        if not wins:
            return []
        raw, controlled = win_rates(wins, self.measurements[0], self.measurements[b], seed=self.seed)
        won, lost = sum(p > 0.5 for p in wins.values()), sum(p < 0.5 for p in wins.values())
        counts = (won, len(wins) - won - lost, lost)
        found = [Rate(b, self.judgement.name, counts, raw, False)]
        if controlled is not None:
            found.append(Rate(b, self.judgement.name, counts, controlled, True))
        return found

    def better(self, name: str, b: int) -> Better | None:
        """Return the better direction; None for a descriptive metric.

        The likelihood of reference answers is descriptive if one of the two was trained on preferences or
        rewards, which change it.
        """
        known = metric(name)
        if known.describes or known.better is Better.NEITHER:
            return None
        if name in LIKELIHOOD and not all(_learns_references(self.measurements[i]) for i in (0, b)):
            return None
        return known.better


def _learns_references(measurement: Measurement) -> bool:
    method = methods.find(measurement.settings.method)
    return method is None or method.learns_references


def _documents(name: str, scores: Mapping[str, float], shared: Sequence[str]) -> list[RowMeasurement]:
    """Return documents of a task as rows with one reward, the metric called `name`."""
    return [RowMeasurement(document, "", rewards={name: scores[document]}) for document in shared]


def decided(
    asked: Sequence[Asked], pairing: Pairing, correction: Correction
) -> tuple[list[tuple[tuple[Effect, ...], tuple[WinRate, ...]]], int]:
    """Return effects and win rates of each of `asked`, and the number of tests.

    One correction over all of them.
    """
    requests = {
        (part, place): difference.asked
        for part, one in enumerate(asked)
        for place, (_, difference) in enumerate(one.differences)
    }
    estimates = resolve(requests, seed=pairing.seed)
    questions = []
    for part, one in enumerate(asked):
        for place, (b, found) in enumerate(one.differences):
            better = pairing.better(found.metric, b)
            questions.append(Question(estimates[part, place], better, (part, b, found.quantity)))
        for rate in one.rates:
            key = (part, rate.b, rate.judge, rate.controlled)
            questions.append(Question(rate.estimate, Better.HIGHER, key))
    decisions, tests = decide(questions, correction)
    told = iter(decisions)
    results = []
    for one in asked:
        effects = tuple(_effect(b, found, next(told)) for b, found in one.differences)
        results.append((effects, tuple(_rate(rate, next(told)) for rate in one.rates)))
    return results, tests


def _effect(b: int, found: Difference, decision: Decision) -> Effect:
    return Effect(
        metric=found.metric,
        a=0,
        b=b,
        value_a=found.value_a,
        value_b=found.value_b,
        difference=decision.figure,
        plain=decision.plain,
        rows=found.rows,
        clusters=found.clusters,
        p=decision.p,
        p_corrected=decision.p_corrected,
        verdict=decision.verdict,
        is_tested=decision.is_tested,
        mde=decision.mde,
    )


def _rate(rate: Rate, decision: Decision) -> WinRate:
    wins, ties, losses = rate.counts
    return WinRate(
        judge=rate.judge,
        a=0,
        b=rate.b,
        rate=decision.figure,
        plain=decision.plain,
        wins=wins,
        ties=ties,
        losses=losses,
        clusters=rate.estimate.units,
        p=decision.p,
        p_corrected=decision.p_corrected,
        verdict=decision.verdict,
        is_tested=decision.is_tested,
        mde=decision.mde,
        controlled=rate.controlled,
    )
