"""Select a variant of a matrix, and test whether it is distinguishable from the others.

The best of several is selected by the rows that compare them, so that any pair may be the relevant one: the
correction is over all pairs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations as pairs_of
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptspec.evaluation.aggregates import DISTINCT
from ptspec.evaluation.checks import outcome
from ptspec.evaluation.judging import BASE as OVER_BASE
from ptspec.evaluation.judging import PARENT as OVER_PARENT
from ptspec.evaluation.measurement import Measurement, RowMeasurement
from ptspec.evaluation.paired.decide import Decision, Question, decide
from ptspec.evaluation.paired.differences import Pair
from ptspec.evaluation.paired.held_out import RESAMPLES, held_out
from ptspec.evaluation.row_values import Columns, is_ratio
from ptspec.evaluation.selection import Combination, Rival, Selection, Variant
from ptspec.evaluation.stats.clusters import Groups, Values, groups_of, some_of, sums, units
from ptspec.evaluation.stats.crossed import crossed
from ptspec.evaluation.stats.estimates import Asked, Estimate, Few, resolve
from ptspec.evaluation.stats.tests import holm
from ptspec.events import Figure
from ptspec.metrics import Better, metric
from ptspec.recipe.matrix import SEED
from ptspec.recipe.plan import BASE, PickSpec, Stage

AT_ONCE = 200
"""Pairs estimated together, to limit memory."""


@dataclass(frozen=True)
class _Table:
    """The rows that all variants have the metric on, by variant. `name`: the rows' name of the metric."""

    name: str
    columns: Mapping[str, Columns]
    groups: Groups | None
    there: NDArray[np.intp]

    @property
    def clusters(self) -> int:
        return units(len(self.there), some_of(self.groups, self.there))


def select(
    stage: Stage, pick: PickSpec, variants: Sequence[Stage], measured: Mapping[str, Measurement], *, seed: int
) -> Selection | None:
    """Return what `stage` takes over of its `variants`: the best of those that pass the checks.

    The first of equal ones; None if none passes.
    """
    looked = look_at(pick, variants, measured)
    found = _combined(looked)
    is_higher = metric(pick.metric).better is not Better.LOWER
    kept = [index for index, one in enumerate(found) if one.is_kept]
    if not kept:
        return None
    ranked = sorted(kept, key=lambda i: (-_value(found[i]) if is_higher else _value(found[i]), i))
    chosen = ranked[0]
    table = _table(pick.metric, [found[i] for i in kept], measured, stage.parent)
    rivals, tests = _rivals(table, found, chosen, kept, is_higher=is_higher, seed=seed)
    compared = [replace(one, rival=rivals.get(i)) for i, one in enumerate(found)]
    picked = found[chosen].variants[0]
    value = None
    if table is not None and len(kept) > 1:
        value = _held_out(table, [found[i] for i in kept], is_higher=is_higher, seed=seed)
    return Selection(
        stage=stage.name,
        metric=pick.metric,
        picked=picked,
        chosen=chosen,
        next_best=ranked[1] if len(ranked) > 1 else None,
        combinations=tuple(compared),
        variants=tuple(looked),
        rows=len(table.there) if table is not None else 0,
        clusters=table.clusters if table is not None else 0,
        tests=tests,
        held_out=value,
        resamples=RESAMPLES if value is not None else 0,
        notes=_notes(table, kept),
    )


def look_at(pick: PickSpec, variants: Sequence[Stage], measured: Mapping[str, Measurement]) -> list[Variant]:
    """Return the metric and the check results of each variant."""
    return [_look(pick, variant, measured) for variant in variants]


def _look(pick: PickSpec, stage: Stage, measured: Mapping[str, Measurement]) -> Variant:
    settings: Mapping[str, Any] = stage.variant.settings if stage.variant is not None else {}
    outcomes = [outcome(check, stage.name, stage.parent, measured) for check in pick.keep]
    misses = tuple(bound for one in outcomes for bound in one.bounds if not bound.held)
    reasons = tuple(one.reason for one in outcomes if one.reason)
    value = measured[stage.name].metrics.get(pick.metric)
    return Variant(stage.name, settings, value, misses, reasons)


def _combined(variants: Sequence[Variant]) -> list[Combination]:
    """Return the variants grouped by everything but the seed."""
    groups: dict[str, list[Variant]] = {}
    for one in variants:
        settings = {axis: value for axis, value in one.settings.items() if axis != SEED}
        groups.setdefault(repr(settings), []).append(one)
    return [_combination(group) for group in groups.values()]


def _combination(group: Sequence[Variant]) -> Combination:
    settings = {axis: value for axis, value in group[0].settings.items() if axis != SEED}
    values = [one.value for one in group if one.value is not None]
    value, spread = values[0] if values else None, None
    if len(values) > 1:
        numbers = np.array([one.value for one in values])
        value = Figure(float(numbers.mean()), is_share=all(one.is_share for one in values))
        spread = float(numbers.std(ddof=1))
    names = tuple(one.name for one in group)
    return Combination(settings, names, value, spread, all(one.is_kept for one in group))


def _value(one: Combination) -> float:
    assert one.value is not None  # kept variants were measured
    return one.value.value


def _table(
    name: str, found: Sequence[Combination], measured: Mapping[str, Measurement], parent: str
) -> _Table | None:
    """Return None if the metric is not one of single rows."""
    if name.endswith("_lc"):
        return None
    names = [variant for one in found for variant in one.variants]
    rows = {variant: _rows(name, measured[variant], parent) for variant in names}
    keys = [key for key in rows[names[0]] if all(key in of for of in rows.values())]
    if not keys:
        return None
    columns = {variant: Columns([of[key] for key in keys]) for variant, of in rows.items()}
    groups = groups_of([rows[names[0]][key].unit for key in keys])
    if name in DISTINCT:
        return _Table(name, columns, groups, np.arange(len(keys)))
    missing = np.array([np.isnan(one.values(name)) for one in columns.values()])
    there = np.flatnonzero(~missing.any(axis=0))
    return _Table(name, columns, groups, there) if len(there) else None


def _rows(name: str, measured: Measurement, parent: str) -> Mapping[str, RowMeasurement]:
    """Return the rows by id; of a task of lm-evaluation-harness its documents; verdicts as a reward."""
    if name in measured.documents:
        scores = measured.documents[name]
        return {key: RowMeasurement(key, "", rewards={name: score}) for key, score in scores.items()}
    opponent = {OVER_PARENT: parent, OVER_BASE: BASE}.get(name)
    if opponent is None:
        return measured.by_id()
    return {
        row.id: replace(row, rewards={name: row.judged[opponent]})
        for row in measured.rows
        if opponent in row.judged
    }


def _rivals(
    table: _Table | None,
    found: Sequence[Combination],
    chosen: int,
    kept: Sequence[int],
    *,
    is_higher: bool,
    seed: int,
) -> tuple[dict[int, Rival], int]:
    """Return the selected combination against each other valid one, and the number of pairs corrected for."""
    if table is None or len(kept) < 2:
        return {}, 0
    order = [index for index in kept if index != chosen] + [chosen]
    pairs = list(pairs_of(order, 2))
    asked = {pair: _difference(table, found[pair[0]], found[pair[1]]) for pair in pairs}
    estimates: dict[tuple[int, int], Estimate] = {}
    for start in range(0, len(pairs), AT_ONCE):
        some = {pair: asked[pair] for pair in pairs[start : start + AT_ONCE]}
        estimates |= resolve(some, seed=seed)
    better = Better.HIGHER if is_higher else Better.LOWER
    decisions, tests = decide([Question(estimates[pair], better, pair) for pair in pairs], holm)
    told = dict(zip(pairs, decisions, strict=True))
    return {other: _rival(told[other, chosen]) for other in order[:-1]}, tests


def _rival(decision: Decision) -> Rival:
    return Rival(decision.figure, decision.plain, decision.p_corrected, decision.verdict, decision.mde)


def _difference(table: _Table, a: Combination, b: Combination) -> Asked:
    """Return b − a: paired by rows, and with several seeds by these too."""
    if len(a.variants) == 1:
        pair = Pair(table.columns[a.variants[0]], table.columns[b.variants[0]], table.groups)
        found = pair.difference(table.name, None if table.name in DISTINCT else table.there)
        assert found is not None  # all variants have the metric on these rows
        return found.asked
    changes = [_units(table, z) - _units(table, y) for y, z in zip(a.variants, b.variants, strict=True)]
    differences = np.stack(changes, axis=1)
    if len(differences) < 2:
        return Few(float(differences.mean()), len(differences))
    return crossed(differences)


def _units(table: _Table, variant: str) -> Values:
    """Return a number per unit whose mean is the metric of `variant`: of a ratio by linearisation."""
    numerators, denominators = _sums(table, variant)
    of_all = numerators.sum() / denominators.sum()
    change: Values = (numerators - of_all * denominators) / denominators.mean()
    at: Values = math.exp(of_all) * (1 + change) if table.name == "perplexity" else of_all + change
    return at


def _sums(table: _Table, variant: str) -> tuple[Values, Values]:
    """Return numerators and denominators of the metric of `variant`, by unit."""
    columns, groups = table.columns[variant], some_of(table.groups, table.there)
    values = columns.values(table.name)[table.there]
    weights = columns.weights(table.name)[table.there] if is_ratio(table.name) else np.ones(len(values))
    return sums(values, groups), sums(weights, groups)


def _held_out(table: _Table, kept: Sequence[Combination], *, is_higher: bool, seed: int) -> float | None:
    if table.name in DISTINCT or table.clusters < 2:
        return None
    names = [variant for one in kept for variant in one.variants]
    parts = [_sums(table, name) for name in names]
    indices = [np.array([names.index(name) for name in one.variants], dtype=np.intp) for one in kept]
    numerators, denominators = (np.stack(column) for column in zip(*parts, strict=True))
    found = held_out(numerators, denominators, indices, is_higher_better=is_higher, seed=seed)
    return float(np.exp(found)) if found is not None and table.name == "perplexity" else found


def _notes(table: _Table | None, kept: Sequence[int]) -> tuple[str, ...]:
    if table is None and len(kept) > 1:
        return ("this metric has no value per row: the variants are not compared pair by pair",)
    if table is not None and table.name in DISTINCT:
        return ("the selection bias of the picked value is unknown for this metric",)
    return ()
