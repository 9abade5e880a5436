"""Compare several models on the same prompts, paired by row.

Works on measurements; reads no file and calls no judge. The first measurement is the baseline.
"""

from __future__ import annotations

from collections.abc import Sequence

from ptspec.diagnostics import Diagnostic, InputError
from ptspec.evaluation.aggregates import aggregates
from ptspec.evaluation.choice import chosen
from ptspec.evaluation.comparison import Change, Comparison, Slice
from ptspec.evaluation.measurement import JudgeStamp, Measurement, RowMeasurement, Settings
from ptspec.evaluation.paired.pairing import Asked, Judgement, Pairing, decided
from ptspec.evaluation.row_values import row_metric
from ptspec.evaluation.stats.tests import benjamini_hochberg, holm
from ptspec.events import Figure
from ptspec.metrics import metric

SEED = 42


def compare(
    measurements: Sequence[Measurement],
    *,
    seed: int = SEED,
    judgement: Judgement | None = None,
    prompts: int | None = None,
    by: str | None = None,
) -> Comparison:
    """Compare each later measurement with the first, on the rows that all have (`prompts`: so many).

    `by` names a column: the comparison is repeated for each of its values. compare([a, b]) and compare([b,
    a]) differ in sign only. Raises `InputError` for fewer than two, no common row, or an unknown column.
    """
    everything = _shared(measurements)
    shared = _some(everything, prompts, seed)
    pairing = Pairing(measurements, shared, judgement, seed)
    asked = pairing.asked()
    ((effects, rates),), tests = decided(
        [Asked([*asked.differences, *pairing.tasks()], asked.rates)], pairing, holm
    )
    slices, slice_tests = _slices(pairing, by) if by is not None else ((), 0)
    return Comparison(
        names=tuple(m.name for m in measurements),
        shared=len(shared),
        left_out=tuple(len(m.rows) - len(everything) for m in measurements),
        values=tuple(_figures(m, rows, pairing) for m, rows in zip(measurements, pairing.rows, strict=True)),
        effects=effects,
        win_rates=rates,
        notes=_notes(measurements, pairing),
        seed=seed,
        of=len(everything),
        slices=slices,
        by=by,
        tests=tests,
        slice_tests=slice_tests,
        cluster=next((m.settings.cluster for m in measurements if m.settings.cluster), None),
        fingerprints=tuple(m.fingerprint for m in measurements),
    )


def prompts_of(measurements: Sequence[Measurement], prompts: int | None, seed: int = SEED) -> list[str]:
    """Return ids of the compared rows: `prompts` seeded ones of those that every measurement has."""
    return _some(_shared(measurements), prompts, seed)


def _some(shared: list[str], prompts: int | None, seed: int) -> list[str]:
    return shared if prompts is None else [shared[i] for i in chosen(shared, prompts, seed)]


def _shared(measurements: Sequence[Measurement]) -> list[str]:
    """Return ids of the rows in every measurement with the same expected answer, in the first's order."""
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


def _figures(measurement: Measurement, rows: Sequence[RowMeasurement], pairing: Pairing) -> dict[str, Figure]:
    """Return the aggregates on the compared rows: the stored ones if these are all rows."""
    is_whole = measurement.metrics and len(rows) == len(measurement.rows)
    found = measurement.metrics if is_whole else aggregates(rows, seed=pairing.seed)
    tasks = {name: f for name, f in measurement.metrics.items() if name in measurement.documents}
    return {n: f for n, f in {**found, **tasks}.items() if not (pairing.raw and metric(n).relative)}


def _slices(pairing: Pairing, by: str) -> tuple[tuple[Slice, ...], int]:
    """Return the comparison per value of the column `by`, with one correction, and the number of tests."""
    values: dict[str, list[int]] = {}
    for index, row in enumerate(pairing.rows[0]):
        if (value := row.slices.get(by)) is not None:
            values.setdefault(value, []).append(index)
    if not values:
        raise InputError(_no_slices(pairing.rows[0], by))
    asked = [pairing.asked(rows) for rows in values.values()]
    results, tests = decided(asked, pairing, benjamini_hochberg)
    return tuple(
        Slice(value, len(rows), effects, rates)
        for (value, rows), (effects, rates) in zip(values.items(), results, strict=True)
    ), tests


def _no_slices(rows: Sequence[RowMeasurement], by: str) -> Diagnostic:
    columns = dict.fromkeys(name for row in rows for name in row.slices)
    hint = f"columns: {', '.join(columns)}" if columns else "the rows have no column with short values"
    return Diagnostic("unknown-column", f'no row has a short value in a column "{by}"', hint=hint)


def _notes(measurements: Sequence[Measurement], pairing: Pairing) -> tuple[str, ...]:
    settings = [m.settings for m in measurements]
    limits = {s.max_new_tokens for s in settings}
    stamps = {m.data.sha256: m.data.file for m in measurements if m.data is not None}
    told = {
        f"measured on different held-out data ({', '.join(dict.fromkeys(stamps.values()))}): "
        "compared on the prompts that all have": len(stamps) > 1,
        "different tokenizers: lengths are compared in characters, likelihood by bytes": not pairing.tokens,
        "KL is to different bases: not compared": not pairing.kl,
        "responses were generated with different max_new_tokens": len(limits) > 1,
        _generated_by(settings): len({s.generated_by for s in settings}) > 1,
        "accuracy goes by different rewards": len({s.accuracy for s in settings}) > 1,
        "refusals were detected by different patterns": len({s.refusals for s in settings}) > 1,
        "of rows longer than a model's context the first tokens were left out": any(
            s.shortened_rows for s in settings
        ),
        "some were prompted through the chat template, some were not": len({s.chat for s in settings}) > 1,
    }
    stamp = pairing.judgement.stamp if pairing.judgement else None
    asked = [_asked(stamp)] if stamp is not None and stamp.asked else []
    return (*(note for note, holds in told.items() if holds), *asked)


def _generated_by(settings: Sequence[Settings]) -> str:
    names = dict.fromkeys(s.generated_by or "transformers, here" for s in settings)
    return (
        f"responses were generated by different programs ({', '.join(names)}): greedy ones may part where "
        "two tokens are equally likely up to rounding, and drawn ones have other random numbers"
    )


def _asked(stamp: JudgeStamp) -> str:
    return (
        f"judge {stamp.name}: {stamp.compared:,} pairs of answers, {stamp.ties:,} of them ties; "
        f"{stamp.asked:,} questions, {stamp.retried:,} asked again, {stamp.unparsed:,} "
        f"answers that could not be read (ties), {stamp.disagreed:,} pairs decided by their order (ties)"
    )


def biggest_changes(
    a: Measurement, b: Measurement, name: str, count: int, among: Sequence[str] = ()
) -> list[Change]:
    """Return the `count` prompts on which `b` differs most from `a` in `name`.

    Of those with the ids `among`; if empty, of all common ones.
    """
    keys, before, after = among or _shared([a, b]), a.by_id(), b.by_id()
    changes = []
    for key in keys:
        one, other = row_metric(name, before[key]), row_metric(name, after[key])
        if one is not None and other is not None and one != other:
            changes.append(Change(before[key], after[key], other - one))
    return sorted(changes, key=lambda change: (-abs(change.difference), change.a.id))[:count]
