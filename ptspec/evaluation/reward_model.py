"""Measure a reward model on held-out pairs: how often the chosen answer scores above the rejected one."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from ptspec.data.layouts.evaluation import EvaluationRow
from ptspec.data.layouts.table import TEMPLATE
from ptspec.evaluation.aggregates import aggregates
from ptspec.evaluation.encoding import plain
from ptspec.evaluation.measurement import DataStamp, Measurement, RowMeasurement, Settings, row_ids
from ptspec.metrics import PAIR_METRICS
from ptspec.rewards.builtin import RewardFunction

REFERENCE = "the reward model's own scores"


def measure_pairs(
    score: RewardFunction,
    rows: Sequence[EvaluationRow],
    *,
    seed: int,
    name: str,
    data: DataStamp | None = None,
) -> Measurement:
    """Score the chosen and rejected answer of each row that has both; other rows have no margin."""
    begun = time.perf_counter()
    found = {index: row.pair for index, row in enumerate(rows) if row.pair is not None}
    pairs, prompts_of_pairs = list(found), [pair.prompt for pair in found.values()]
    context: dict[str, Any] = {name: [rows[i].columns.get(name) for i in pairs] for name in TEMPLATE}
    chosen = score(prompts_of_pairs, [pair.chosen for pair in found.values()], **context)
    rejected = score(prompts_of_pairs, [pair.rejected for pair in found.values()], **context)
    margins = {i: float(a or 0) - float(b or 0) for i, a, b in zip(pairs, chosen, rejected, strict=True)}
    prompts = [plain(row.prompt) if row.prompt is not None else "" for row in rows]
    measured = tuple(
        RowMeasurement(id=key, prompt=prompt, margin=margins.get(index))
        for index, (key, prompt) in enumerate(zip(row_ids(prompts), prompts, strict=True))
    )
    figures = aggregates(measured, seed=seed)
    return Measurement(
        name=name,
        rows=measured,
        metrics={pair: figures[name] for name, pair in PAIR_METRICS.items() if name in figures},
        settings=Settings(seed, 0, REFERENCE, chat=any(isinstance(row.prompt, list) for row in rows)),
        data=data,
        seconds=time.perf_counter() - begun,
    )
