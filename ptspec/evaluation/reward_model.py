"""A reward model on held-out pairs: how often it scores the chosen answer above the rejected one."""

from __future__ import annotations

import time
from collections.abc import Sequence

from ptspec.data.layouts import EvaluationRow
from ptspec.evaluation.encoding import plain
from ptspec.evaluation.measurement import DataStamp, Measurement, RowMeasurement, Settings, row_ids
from ptspec.evaluation.metrics import aggregates
from ptspec.rewards.builtin import RewardFunction

PAIR_METRICS = {"preference_accuracy": "pair_accuracy", "reward_margin": "pair_margin"}
"""A policy's preference is relative to its reference, a reward model's is not: alike, but named apart."""

REFERENCE = "the reward model's own scores"


def measure_pairs(
    score: RewardFunction,
    rows: Sequence[EvaluationRow],
    *,
    seed: int,
    name: str,
    data: DataStamp | None = None,
) -> Measurement:
    """`score` on the chosen and the rejected answer of each row that has both; other rows have no margin."""
    begun = time.perf_counter()
    pairs = [index for index, row in enumerate(rows) if row.chosen is not None and row.rejected is not None]
    chosen = score([rows[i].prompt for i in pairs], [rows[i].chosen for i in pairs])
    rejected = score([rows[i].prompt for i in pairs], [rows[i].rejected for i in pairs])
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
