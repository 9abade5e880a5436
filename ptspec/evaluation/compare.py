"""Several models on the same prompts, paired row by row: differences, intervals, tests, words.

Takes measurements, reads no file. The first measurement is what the others are held against.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from ptspec.diagnostics import Diagnostic, InputError
from ptspec.evaluation.comparison import Change, Comparison, Effect, Verdict, WinRate
from ptspec.evaluation.measurement import Better, Measurement, RowMeasurement, metric
from ptspec.evaluation.metrics import TIE, aggregates
from ptspec.evaluation.statistics import (
    Interval,
    Tested,
    holm,
    paired_test,
    ratio_test,
    rows_needed,
    win_rate,
)
from ptspec.events import Figure

LEVEL = 0.05


def compare(measurements: Sequence[Measurement], *, seed: int = 42) -> Comparison:
    """Each later measurement against the first, on the rows that all have.

    compare([a, b]) and compare([b, a]) differ in sign only. Raises `InputError` if there are fewer than
    two, or no row that all have.
    """
    shared = _shared(measurements)
    raw = len({m.settings.preference_reference for m in measurements}) > 1
    rows = [[_comparable(m.by_id()[key], raw) for key in shared] for m in measurements]
    effects, rates = [], []
    for b in range(1, len(rows)):
        for name in _names(rows[0], rows[b]):
            if (effect := _effect(name, 0, b, rows[0], rows[b], seed)) is not None:
                effects.append(effect)
        rates += [_win_rate(name, 0, b, rows[0], rows[b]) for name in _reward_names(rows[0], rows[b])]
    effects, rates = _corrected(effects, rates)
    return Comparison(
        names=tuple(m.name for m in measurements),
        shared=len(shared),
        left_out=tuple(len(m.rows) - len(shared) for m in measurements),
        values=tuple(aggregates(each, seed=seed) for each in rows),
        effects=tuple(effects),
        win_rates=tuple(rates),
        notes=_notes(measurements, raw),
        seed=seed,
    )


def _shared(measurements: Sequence[Measurement]) -> list[str]:
    """Ids of the rows that every measurement has, with the same expected answer, in the first one's order."""
    if len(measurements) < 2:
        raise InputError(Diagnostic("nothing-to-compare", "a comparison needs two evaluations or more"))
    tables = [m.by_id() for m in measurements]
    asked = [{key: (row.prompt, row.expected, row.answer) for key, row in table.items()} for table in tables]
    shared = [key for key in asked[0] if all(other.get(key) == asked[0][key] for other in asked)]
    if not shared:
        names = ", ".join(m.name for m in measurements)
        raise InputError(
            Diagnostic(
                "nothing-to-compare",
                f"no prompt is in all of the evaluations of {names}",
                hint="pt eval --data FILE measures them on the same rows",
            )
        )
    return shared


def _comparable(row: RowMeasurement, raw: bool) -> RowMeasurement:
    """With `raw`, the margin is that of the likelihoods alone: the references are not the same."""
    return replace(row, margin=row.preference) if raw else row


def _notes(measurements: Sequence[Measurement], raw: bool) -> tuple[str, ...]:
    notes = []
    if raw:
        notes.append("preference by raw likelihood: the models' preference is relative to different policies")
    if len({m.settings.max_new_tokens for m in measurements}) > 1:
        notes.append("responses were generated with different max_new_tokens")
    if len({m.settings.chat for m in measurements}) > 1:
        notes.append("some were prompted through the chat template, some were not")
    return tuple(notes)


def _names(a: Sequence[RowMeasurement], b: Sequence[RowMeasurement]) -> list[str]:
    """The metrics to test. Loss and perplexity are bits per byte in other units: one test, not three."""
    fixed = ["bits_per_byte", "accuracy", "preference_accuracy", "reward_margin"]
    return [*fixed, *_reward_names(a, b), "response_length", "finished", "repetition", "empty"]


def _reward_names(a: Sequence[RowMeasurement], b: Sequence[RowMeasurement]) -> list[str]:
    there = dict.fromkeys(name for row in a for name in row.rewards)
    return [name for name in there if any(name in row.rewards for row in b)]


def row_value(name: str, row: RowMeasurement) -> float | None:
    """What the row adds to the metric's mean (of bits per byte: the row's bits); None if it lacks it."""
    match name:
        case "bits_per_byte":
            return None if row.nll is None or not row.bytes else row.nll / math.log(2)
        case "accuracy":
            return _number(row.correct)
        case "preference_accuracy":
            return None if row.margin is None else 0.5 + 0.5 * _sign(row.margin)
        case "reward_margin":
            return row.margin
        case "response_length":
            return _number(row.response_tokens)
        case "finished":
            return _number(row.finished)
        case "repetition":
            return row.repetition
        case "empty":
            return None if row.response is None else float(not row.response.strip())
    return row.rewards.get(name)


def _number(value: float | None) -> float | None:
    return None if value is None else float(value)


def _sign(margin: float) -> int:
    return (margin > TIE) - (margin < -TIE)


def _effect(
    name: str, a: int, b: int, rows_a: Sequence[RowMeasurement], rows_b: Sequence[RowMeasurement], seed: int
) -> Effect | None:
    pairs = _pairs(name, rows_a, rows_b)
    if not pairs:
        return None
    differences = [after - before for before, after, _ in pairs]
    size = [weight for _, _, weight in pairs]
    if name == "bits_per_byte":
        tested = ratio_test(differences, size, seed=seed)
    else:
        tested = paired_test(differences, seed=seed, unit=1.0 if metric(name).share else 0.0)
    return Effect(
        metric=name,
        a=a,
        b=b,
        value_a=sum(before for before, _, _ in pairs) / sum(size),
        value_b=sum(after for _, after, _ in pairs) / sum(size),
        difference=_figure(tested.interval),
        rows=len(pairs),
        p=tested.p,
        p_holm=tested.p,
        verdict=Verdict.NOT_SHOWN,
        needed=rows_needed(len(pairs), tested.interval, metric(name).precision),
    )


def _pairs(
    name: str, rows_a: Sequence[RowMeasurement], rows_b: Sequence[RowMeasurement]
) -> list[tuple[float, float, float]]:
    """(value of a, value of b, weight) of the rows where both have the metric."""
    pairs = []
    for one, other in zip(rows_a, rows_b, strict=True):
        before, after = row_value(name, one), row_value(name, other)
        if before is not None and after is not None:
            pairs.append((before, after, float(one.bytes or 0) if name == "bits_per_byte" else 1.0))
    return pairs


def _win_rate(
    name: str, a: int, b: int, rows_a: Sequence[RowMeasurement], rows_b: Sequence[RowMeasurement]
) -> WinRate:
    differences = [after - before for before, after, _ in _pairs(name, rows_a, rows_b)]
    tested = win_rate(differences) if differences else Tested(Interval(0.5, 0.0, 1.0), 1.0)
    wins, losses = sum(d > 0 for d in differences), sum(d < 0 for d in differences)
    rate, ties = _figure(tested.interval), len(differences) - wins - losses
    return WinRate(name, a, b, rate, wins, ties, losses, tested.p, tested.p, Verdict.NOT_SHOWN)


def _corrected(effects: list[Effect], rates: list[WinRate]) -> tuple[list[Effect], list[WinRate]]:
    """The same with Holm's p values, and the verdicts that follow."""
    adjusted = holm([*(effect.p for effect in effects), *(rate.p for rate in rates)])
    of_effects, of_rates = adjusted[: len(effects)], adjusted[len(effects) :]
    return (
        [
            replace(e, p_holm=p, verdict=_verdict(e.difference, 0.0, p, metric(e.metric).better))
            for e, p in zip(effects, of_effects, strict=True)
        ],
        [
            replace(r, p_holm=p, verdict=_verdict(r.rate, 0.5, p, Better.HIGHER))
            for r, p in zip(rates, of_rates, strict=True)
        ],
    )


def _verdict(figure: Figure, none: float, p: float, better: Better) -> Verdict:
    if p > LEVEL or figure.low is None or figure.high is None or figure.low <= none <= figure.high:
        return Verdict.NOT_SHOWN
    more = figure.value > none
    if better is Better.NEITHER:
        return Verdict.MORE if more else Verdict.LESS
    return Verdict.BETTER if more == (better is Better.HIGHER) else Verdict.WORSE


def _figure(interval: Interval) -> Figure:
    return Figure(interval.value, interval.low, interval.high)


def biggest_changes(a: Measurement, b: Measurement, name: str, count: int) -> list[Change]:
    """The `count` shared prompts on which `b` differs most from `a` in the metric or reward `name`."""
    keys, before, after = _shared([a, b]), a.by_id(), b.by_id()
    changes = []
    for key in keys:
        one, other = row_value(name, before[key]), row_value(name, after[key])
        if one is not None and other is not None and one != other:
            changes.append(Change(before[key], after[key], other - one))
    return sorted(changes, key=lambda change: (-abs(change.difference), change.a.id))[:count]
