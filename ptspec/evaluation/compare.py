"""Several models on the same prompts, paired row by row: differences, intervals, tests, verdicts.

Takes measurements, reads no file, asks no judge. The first measurement is what the others are held against.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from ptspec.diagnostics import Diagnostic, InputError
from ptspec.evaluation.choice import chosen
from ptspec.evaluation.comparison import Change, Comparison, Effect, Slice, Verdict, WinRate
from ptspec.evaluation.effects import effect_names, find, reward_names, row_metric
from ptspec.evaluation.judging import win_rates
from ptspec.evaluation.measurement import Better, JudgeStamp, Measurement, RowMeasurement, metric
from ptspec.evaluation.metrics import aggregates
from ptspec.evaluation.statistics import Interval, Tested, holm, rows_needed, win_rate
from ptspec.events import Figure

LEVEL = 0.05
SEED = 42
FEWEST = 2
"""Rows of a slice: of one there is no interval."""


@dataclass(frozen=True)
class Judgement:
    """What the judge called `name` said: `wins[b]` holds P(b's response is preferred to the first model's) by
    row id, b being the model's index. `stamp`: what it took."""

    name: str
    wins: Mapping[int, Mapping[str, float]] = field(default_factory=dict)
    stamp: JudgeStamp | None = None


def compare(
    measurements: Sequence[Measurement],
    *,
    seed: int = SEED,
    judgement: Judgement | None = None,
    prompts: int | None = None,
    by: str | None = None,
) -> Comparison:
    """Each later measurement against the first, on the rows that all have (`prompts`: so many of them).

    `by` names a column: the same once more for each of its values. compare([a, b]) and compare([b, a]) differ
    in sign only. Raises `InputError` if there are fewer than two, no row that all have, or no such column.
    """
    everything = _shared(measurements)
    shared = prompts_of(measurements, prompts, seed)
    pairing = _Pairing(measurements, judgement, seed)
    found, rates_found = pairing.tested(shared)
    effects, rates = _verdicts([*found, *pairing.tasks()], rates_found)
    return Comparison(
        names=tuple(m.name for m in measurements),
        shared=len(shared),
        left_out=tuple(len(m.rows) - len(everything) for m in measurements),
        values=tuple(
            {**aggregates(each, seed=seed), **_task_figures(m)}
            for each, m in zip(pairing.rows(shared), measurements, strict=True)
        ),
        effects=effects,
        win_rates=rates,
        notes=_notes(measurements, pairing),
        seed=seed,
        of=len(everything),
        slices=_slices(pairing, shared, by) if by is not None else (),
        by=by,
    )


def prompts_of(measurements: Sequence[Measurement], prompts: int | None, seed: int = SEED) -> list[str]:
    """Ids of the rows that are compared: `prompts` of those that every measurement has, by the seed."""
    shared = _shared(measurements)
    if prompts is None:
        return shared
    return [shared[i] for i in chosen(shared, prompts, seed)]


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


class _Pairing:
    """The measurements row by row: what is compared of them, on any of the rows that they share."""

    def __init__(self, measurements: Sequence[Measurement], judgement: Judgement | None, seed: int) -> None:
        settings = [m.settings for m in measurements]
        self.measurements = measurements
        self.judgement = judgement
        self.seed = seed
        self.tables = [m.by_id() for m in measurements]
        self.raw = len({(s.preference_reference, s.reference_fingerprint) for s in settings}) > 1
        self.tokens = len({s.tokenizer for s in settings}) == 1
        self.kl = len({s.kl_base for s in settings if s.kl_base is not None}) <= 1

    def rows(self, keys: Sequence[str]) -> list[list[RowMeasurement]]:
        """Each model's rows; with `raw`, the margin is that of the likelihoods alone."""
        found = [[table[key] for key in keys] for table in self.tables]
        if not self.raw:
            return found
        return [[replace(row, margin=row.preference) for row in rows] for rows in found]

    def tested(self, keys: Sequence[str]) -> tuple[list[Effect], list[WinRate]]:
        """Every difference on the rows `keys`, each by itself: no verdicts yet."""
        rows = self.rows(keys)
        effects, rates = [], []
        for b in range(1, len(rows)):
            for name in effect_names(rows[0], rows[b], tokens=self.tokens, kl=self.kl):
                if (effect := _effect(name, b, rows[0], rows[b], self.seed)) is not None:
                    effects.append(effect)
            rates += [_win_rate(name, b, rows[0], rows[b]) for name in reward_names(rows[0], rows[b])]
            rates += self._judged(b, keys)
        return effects, rates

    def tasks(self) -> list[Effect]:
        """Differences in tasks of lm-evaluation-harness, paired by the documents that both have."""
        effects = []
        for b in range(1, len(self.measurements)):
            one, other = self.measurements[0].documents, self.measurements[b].documents
            for name in (name for name in one if name in other):
                shared = [document for document in one[name] if document in other[name]]
                rows = [_documents(name, side[name], shared) for side in (one, other)]
                if (effect := _effect(name, b, rows[0], rows[1], self.seed)) is not None:
                    effects.append(effect)
        return effects

    def _judged(self, b: int, keys: Sequence[str]) -> list[WinRate]:
        """Win rates by the judge, raw and length-controlled."""
        if self.judgement is None:
            return []
        wins = {key: p for key, p in self.judgement.wins.get(b, {}).items() if key in set(keys)}
        if not wins:
            return []
        raw, controlled = win_rates(wins, self.measurements[0], self.measurements[b], seed=self.seed)
        counts = sum(p > 0.5 for p in wins.values()), sum(p < 0.5 for p in wins.values())
        found = [_rate(self.judgement.name, b, raw, *counts, len(wins))]
        if controlled is not None:
            found.append(_rate(self.judgement.name, b, controlled, *counts, len(wins)))
        return [replace(rate, judge=True, controlled=i == 1) for i, rate in enumerate(found)]


def _documents(name: str, scores: Mapping[str, float], shared: Sequence[str]) -> list[RowMeasurement]:
    """Documents of a task as rows with one reward, the metric called `name`."""
    return [RowMeasurement(document, "", rewards={name: scores[document]}) for document in shared]


def _task_figures(measurement: Measurement) -> dict[str, Figure]:
    return {name: measurement.metrics[name] for name in measurement.documents if name in measurement.metrics}


def _effect(
    name: str, b: int, rows_a: Sequence[RowMeasurement], rows_b: Sequence[RowMeasurement], seed: int
) -> Effect | None:
    found = find(name, rows_a, rows_b, seed)
    if found is None:
        return None
    interval = found.tested.interval
    return Effect(
        metric=name,
        a=0,
        b=b,
        value_a=found.value_a,
        value_b=found.value_b,
        difference=_figure(interval),
        rows=found.rows,
        p=found.tested.p,
        p_holm=found.tested.p,
        verdict=Verdict.NOT_SHOWN,
        needed=rows_needed(found.rows, interval),
    )


def _win_rate(
    name: str, b: int, rows_a: Sequence[RowMeasurement], rows_b: Sequence[RowMeasurement]
) -> WinRate:
    """How often b's response has the higher reward."""
    pairs = [
        (one.rewards.get(name), other.rewards.get(name)) for one, other in zip(rows_a, rows_b, strict=True)
    ]
    differences = [after - before for before, after in pairs if before is not None and after is not None]
    tested = win_rate(differences) if differences else Tested(Interval(0.5, 0.0, 1.0), 1.0)
    wins, losses = sum(d > 0 for d in differences), sum(d < 0 for d in differences)
    return _rate(name, b, tested, wins, losses, len(differences))


def _rate(name: str, b: int, tested: Tested, wins: int, losses: int, rows: int) -> WinRate:
    rate, ties = _figure(tested.interval), rows - wins - losses
    return WinRate(name, 0, b, rate, wins, ties, losses, tested.p, tested.p, Verdict.NOT_SHOWN)


def _slices(pairing: _Pairing, shared: Sequence[str], by: str) -> tuple[Slice, ...]:
    """The same for each value of the column `by`, with one correction over all of them."""
    values: dict[str, list[str]] = {}
    for key in shared:
        if (value := pairing.tables[0][key].slices.get(by)) is not None:
            values.setdefault(value, []).append(key)
    if not values:
        raise InputError(_no_slices(pairing.tables[0], shared, by))
    tested = {value: pairing.tested(keys) for value, keys in values.items() if len(keys) >= FEWEST}
    effects, rates = _verdicts(
        [e for found, _ in tested.values() for e in found], [r for _, found in tested.values() for r in found]
    )
    slices = []
    for value, (own_effects, own_rates) in tested.items():
        own = Slice(value, len(values[value]), effects[: len(own_effects)], rates[: len(own_rates)])
        effects, rates = effects[len(own_effects) :], rates[len(own_rates) :]
        slices.append(own)
    return tuple(slices)


def _no_slices(table: Mapping[str, RowMeasurement], shared: Sequence[str], by: str) -> Diagnostic:
    columns = dict.fromkeys(name for key in shared for name in table[key].slices)
    hint = f"columns: {', '.join(columns)}" if columns else "the rows have no column with short values"
    return Diagnostic("unknown-column", f'no row has a short value in a column "{by}"', hint=hint)


def _notes(measurements: Sequence[Measurement], pairing: _Pairing) -> tuple[str, ...]:
    settings = [m.settings for m in measurements]
    limits = {s.max_new_tokens for s in settings}
    stamps = {m.data.sha256: m.data.file for m in measurements if m.data is not None}
    told = {
        f"measured on different held-out data ({', '.join(dict.fromkeys(stamps.values()))}): "
        "compared on the prompts that all have": len(stamps) > 1,
        "preference by raw likelihood: the models' preference is relative to different policies": pairing.raw,
        "different tokenizers: lengths are compared in characters, likelihood by bytes": not pairing.tokens,
        "KL is to different bases: not compared": not pairing.kl,
        "responses were generated with different max_new_tokens": len(limits) > 1,
        "refusals were told by different patterns": len({s.refusals for s in settings}) > 1,
        "some were prompted through the chat template, some were not": len({s.chat for s in settings}) > 1,
    }
    stamp = pairing.judgement.stamp if pairing.judgement else None
    asked = [_asked(stamp)] if stamp is not None and stamp.asked else []
    return (*(note for note, holds in told.items() if holds), *asked)


def _asked(stamp: JudgeStamp) -> str:
    return (
        f"judge {stamp.name}: {stamp.asked:,} questions, {stamp.retried:,} asked again, {stamp.unparsed:,} "
        f"answers that could not be read (ties), {stamp.disagreed:,} pairs decided by their order (ties)"
    )


def _verdicts(
    effects: Sequence[Effect], rates: Sequence[WinRate]
) -> tuple[tuple[Effect, ...], tuple[WinRate, ...]]:
    """The same with Holm's p values over all of them, and the verdicts that follow."""
    adjusted = holm([*(effect.p for effect in effects), *(rate.p for rate in rates)])
    of_effects, of_rates = adjusted[: len(effects)], adjusted[len(effects) :]
    return (
        tuple(
            replace(e, p_holm=p, verdict=_verdict(e.difference, 0.0, p, metric(e.metric).better))
            for e, p in zip(effects, of_effects, strict=True)
        ),
        tuple(
            replace(r, p_holm=p, verdict=_verdict(r.rate, 0.5, p, Better.HIGHER))
            for r, p in zip(rates, of_rates, strict=True)
        ),
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


def biggest_changes(
    a: Measurement, b: Measurement, name: str, count: int, among: Sequence[str] = ()
) -> list[Change]:
    """The `count` prompts (of those with the ids `among`; none: of all shared) on which `b` differs most from
    `a` in the metric or reward `name`."""
    keys, before, after = among or _shared([a, b]), a.by_id(), b.by_id()
    changes = []
    for key in keys:
        one, other = row_metric(name, before[key]), row_metric(name, after[key])
        if one is not None and other is not None and one != other:
            changes.append(Change(before[key], after[key], other - one))
    return sorted(changes, key=lambda change: (-abs(change.difference), change.a.id))[:count]
