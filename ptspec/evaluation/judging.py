"""Compare two policies' responses with a judge, each pair in both orders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ptspec.data.layouts.evaluation import EvaluationRow
from ptspec.evaluation.aggregates import figure
from ptspec.evaluation.controlled import length_controlled
from ptspec.evaluation.measurement import JudgeStamp, Measurement, RowMeasurement
from ptspec.evaluation.stats.clusters import groups_of
from ptspec.evaluation.stats.estimates import Estimate, Scaled, paired, resolve_one
from ptspec.evaluation.stats.intervals import CONFIDENCE
from ptspec.events import Figure
from ptspec.rewards.checked import checked_judge
from ptspec.rewards.endpoint import Counters, EndpointJudge
from ptspec.rewards.judges import BradleyTerry, Judge

PARENT, BASE = "win_rate", "win_rate_base"
TIE = 1e-9


@dataclass(frozen=True)
class NamedJudge:
    """A judge with its name.

    `rows`: the held-out rows by id, if available: it then receives the original prompts, and a judge by
    rewards all their columns.
    """

    name: str
    judge: Judge
    rows: Mapping[str, EvaluationRow] = field(default_factory=dict)


def preferences(named_judge: NamedJudge, a: Measurement, b: Measurement) -> dict[str, float]:
    """Return P(b's response is preferred to a's) for each row that both answered, by id.

    The mean of both orders cancels position bias; equal responses are ties without a question. Raises
    `StageError` if the judge fails or cannot be reached.
    """
    before, after = a.by_id(), b.by_id()
    keys = [key for key in before if key in after and _answered(before[key]) and _answered(after[key])]
    differing = [key for key in keys if before[key].response != after[key].response]
    wins = _wins(named_judge, a, [before[key] for key in differing], [after[key] for key in differing])
    return {**dict.fromkeys(keys, 0.5), **dict(zip(differing, wins, strict=True))}


def _answered(row: RowMeasurement) -> bool:
    return row.response is not None


def _wins(
    named_judge: NamedJudge, a: Measurement, before: Sequence[RowMeasurement], after: Sequence[RowMeasurement]
) -> list[float]:
    if not before:
        return []
    chat = a.settings.chat
    prompts = [_prompt(named_judge.rows.get(row.id), row.prompt, chat) for row in before]
    one = [_turn("assistant", row.response or "", chat) for row in before]
    other = [_turn("assistant", row.response or "", chat) for row in after]
    if isinstance(named_judge.judge, BradleyTerry):  # swapping the two gives 1 − P by construction
        return named_judge.judge(prompts, other, one, **_columns(named_judge, before))
    judge = checked_judge(named_judge.judge, named_judge.name)
    there = judge(prompts, other, one)
    back = judge(prompts, one, other)
    return [(first + 1 - second) / 2 for first, second in zip(there, back, strict=True)]


def _prompt(row: EvaluationRow | None, text: str, chat: bool) -> Any:
    return _turn("user", text, chat) if row is None else row.prompt


def _turn(role: str, text: str, chat: bool) -> Any:
    """Return a text as a trainer passes it to judges: a chat if the model was prompted with one."""
    return [{"role": role, "content": text}] if chat else text


def _columns(named_judge: NamedJudge, rows: Sequence[RowMeasurement]) -> dict[str, list[Any]]:
    """Return the columns for a reward: the rows' if known, else those stored in the evaluation."""
    of_rows = [
        held.columns if (held := named_judge.rows.get(row.id)) else {"answer": row.answer, **row.slices}
        for row in rows
    ]
    names = dict.fromkeys(name for columns in of_rows for name in columns)
    return {name: [columns.get(name) for columns in of_rows] for name in names if name not in TEXTS}


TEXTS = ("prompt", "completion", "prompts", "completions", "completion_ids")


def win_rates(
    wins: Mapping[str, float], a: Measurement, b: Measurement, *, seed: int
) -> tuple[Estimate, Estimate | None]:
    """Return the win rate of `b` with ties half, and its length-controlled win rate over `a`.

    Paired shares if each pair is won, lost or tied; else (probabilities) the bootstrap of their mean.
    """
    before, after = a.by_id(), b.by_id()
    groups = groups_of([before[key].unit for key in wins])
    raw = resolve_one(paired([_centred(p) for p in wins.values()], groups, unit=1.0), seed=seed)
    longer = [len(after[key].response or "") - len(before[key].response or "") for key in wins]
    return Scaled(raw, 0.5, 0.5), length_controlled(list(wins.values()), longer, groups)


def _centred(p: float) -> float:
    """Return 2p − 1, exactly 0 for a tie."""
    return 0.0 if abs(p - 0.5) < TIE else 2 * p - 1


def judged(
    named_judge: NamedJudge, measured: Measurement, parent: Measurement | None, base: Measurement | None
) -> Measurement:
    """Return `measured` with its win rates over its parent and the base, raw and length-controlled."""
    before = counted(named_judge.judge)
    wins: dict[str, dict[str, float]] = {}
    metrics = dict(measured.metrics)
    for name, opponent in ((PARENT, parent), (BASE, base)):
        if opponent is None:
            continue
        if opponent.name not in wins:
            wins[opponent.name] = preferences(named_judge, opponent, measured)
        metrics |= _metrics(name, wins[opponent.name], opponent, measured)
    rows = tuple(
        replace(row, judged={name: won[row.id] for name, won in wins.items() if row.id in won})
        for row in measured.rows
    )
    stamp = stamp_of(named_judge, [p for won in wins.values() for p in won.values()], before)
    return replace(measured, rows=rows, metrics=metrics, judge=stamp)


def _metrics(
    name: str, wins: Mapping[str, float], opponent: Measurement, measured: Measurement
) -> dict[str, Figure]:
    if not wins:
        return {}
    raw, controlled = win_rates(wins, opponent, measured, seed=measured.settings.seed)
    found = {name: raw, f"{name}_lc": controlled}
    return {key: figure(estimate, CONFIDENCE) for key, estimate in found.items() if estimate is not None}


def counted(judge: Judge) -> Counters:
    """Return the statistics of a server judge; empty for another judge."""
    return replace(judge.counters) if isinstance(judge, EndpointJudge) else Counters()


def stamp_of(named_judge: NamedJudge, wins: Sequence[float], before: Counters) -> JudgeStamp:
    """Return the judge's statistics since `before`, and the ties among `wins`."""
    now = counted(named_judge.judge)
    return JudgeStamp(
        name=named_judge.name,
        compared=len(wins),
        ties=sum(abs(p - 0.5) < TIE for p in wins),
        asked=now.asked - before.asked,
        retried=now.retried - before.retried,
        unparsed=now.unparsed - before.unparsed,
        disagreed=now.disagreed - before.disagreed,
    )
