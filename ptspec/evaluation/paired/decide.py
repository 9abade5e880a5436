"""Decide verdicts from estimates. The only place that does, so that p, interval and verdict agree."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace

from ptspec.evaluation.aggregates import figure
from ptspec.evaluation.comparison import Verdict
from ptspec.evaluation.stats.clusters import FEWEST
from ptspec.evaluation.stats.estimates import Estimate
from ptspec.evaluation.stats.intervals import Interval
from ptspec.evaluation.stats.tests import Corrected, detectable
from ptspec.events import Figure
from ptspec.metrics import Better

LEVEL = 0.05
Correction = Callable[[Sequence[float], float], list[Corrected]]


@dataclass(frozen=True)
class Question:
    """An estimate to decide.

    `better` None: it is described only. Equal `quantity`: the same numbers under two names, one test.
    """

    estimate: Estimate
    better: Better | None
    quantity: Hashable


@dataclass(frozen=True)
class Decision:
    """`figure` has the deciding interval, `plain` the 95 % one; the rest as in `Effect`."""

    figure: Figure
    plain: Figure
    p: float | None
    p_corrected: float | None
    verdict: Verdict
    is_tested: bool
    mde: float | None


def decide(questions: Sequence[Question], correction: Correction) -> tuple[list[Decision], int]:
    """Return a decision per question, with one correction over all tested, and the number of tests.

    Not tested: descriptive ones, too few prompts, and constants, which could never be significant (Tarone
    1990) and would only cost the others power.
    """
    tested: dict[Hashable, float] = {}
    for question in questions:
        if _is_test(question):
            tested.setdefault(question.quantity, question.estimate.p)
    corrected = dict(zip(tested, correction(list(tested.values()), LEVEL), strict=True))
    return [_decision(q, corrected.get(q.quantity)) for q in questions], len(tested)


def _is_test(question: Question) -> bool:
    estimate = question.estimate
    return question.better is not None and estimate.units >= FEWEST and not estimate.is_constant


def _decision(question: Question, corrected: Corrected | None) -> Decision:
    estimate, better = question.estimate, question.better
    plain = figure(estimate)
    if estimate.units < FEWEST:
        verdict = Verdict.DESCRIBED if better is None else Verdict.TOO_FEW
        return Decision(plain, plain, None, None, verdict, False, None)
    if better is None:
        return Decision(plain, plain, estimate.p, None, Verdict.DESCRIBED, False, None)
    if corrected is None or not _is_test(question):
        mde = _detectable(estimate, LEVEL)
        return Decision(plain, plain, estimate.p, 1.0, Verdict.NOT_SHOWN, False, mde)
    return replace(settled(estimate, corrected, better), plain=plain)


def settled(estimate: Estimate, corrected: Corrected, better: Better) -> Decision:
    """Return the decision of one test, with interval, p and verdict consistent.

    An estimate's p and interval agree up to rounding. What both show is shown: an interval is widened to the
    edge, or a p raised to just above the level, never the opposite.
    """
    found, none = estimate.at(1 - corrected.level), estimate.none
    assert found is not None  # too few are not tested
    p = corrected.p
    if p <= LEVEL and found.low <= none <= found.high:
        p = math.nextafter(LEVEL, 1.0)
    is_shown = p <= LEVEL
    if not is_shown:
        found = Interval(found.value, min(found.low, none), max(found.high, none))
    shown = Figure(estimate.value, found.low, found.high)
    mde = _detectable(estimate, corrected.level)
    verdict = _direction(estimate, better) if is_shown else Verdict.NOT_SHOWN
    return Decision(shown, shown, estimate.p, p, verdict, True, mde)


def _direction(estimate: Estimate, better: Better) -> Verdict:
    is_more = estimate.value > estimate.none
    return Verdict.BETTER if is_more == (better is Better.HIGHER) else Verdict.WORSE


def _detectable(estimate: Estimate, level: float) -> float | None:
    found = estimate.at(1 - level)
    return None if found is None or found.high <= found.low else detectable(found, level)
