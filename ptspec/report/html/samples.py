"""What the policies said to the same prompts, side by side, and the numbers that order and filter it.

All rows where they fit the page's size; else the first ones and those with the biggest changes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import escape

from ptspec.evaluation.measurement import Measurement, RowMeasurement, metric
from ptspec.report.html.text import LONGEST, visible

BUDGET = 1_600_000
"""Bytes of escaped text that the samples of a page may take."""
MOST_SLICES = 40
MARKUP = 420
"""About what the markup around one response takes."""


@dataclass(frozen=True)
class Reply:
    """What one policy said to a prompt. `marks` are its numbers in words."""

    policy: str
    text: str
    empty: bool
    correct: bool | None
    finished: bool | None
    marks: tuple[str, ...]


@dataclass(frozen=True)
class Sample:
    number: int
    prompt: str
    expected: str | None
    answer: str | None
    slices: tuple[str, ...]
    replies: tuple[Reply, ...]


@dataclass(frozen=True)
class Samples:
    """`metrics` are (name, label) of what one can order by, `scores[metric][sample][policy]` their values."""

    policies: tuple[str, ...]
    samples: tuple[Sample, ...]
    rows: int
    metrics: tuple[tuple[str, str], ...]
    scores: tuple[list[list[float | None]], ...]
    slices: tuple[str, ...]

    def data(self) -> dict[str, Any]:
        """For the script that orders and filters."""
        correct = [[reply.correct for reply in sample.replies] for sample in self.samples]
        slices = [list(sample.slices) for sample in self.samples]
        return {"policies": self.policies, "scores": self.scores, "correct": correct, "slices": slices}


def samples(measured: Sequence[Measurement]) -> Samples | None:
    """The prompts that every policy with responses was given; None where nobody was asked anything."""
    from ptspec.evaluation.row_values import row_value

    speaking = [m for m in measured if any(row.response is not None for row in m.rows)]
    if not speaking:
        return None
    tables = [m.by_id() for m in speaking]
    shared = [key for key in tables[0] if all(key in table for table in tables)]
    names = _metrics(speaking)
    values = {
        key: {name: [row_value(name, table[key]) for table in tables] for name in names} for key in shared
    }
    columns = _slicing([tables[0][key] for key in shared])
    made = {
        key: _sample(index, [table[key] for table in tables], speaking, columns)
        for index, key in enumerate(shared, start=1)
    }
    kept = _fitting(made, shared, sorted(shared, key=lambda key: -_change(values[key])))
    used = [name for name in names if any(v is not None for key in kept for v in values[key][name])]
    return Samples(
        policies=tuple(m.name for m in speaking),
        samples=tuple(made[key] for key in kept),
        rows=len(shared),
        metrics=tuple((name, _label(name)) for name in used),
        scores=tuple([[_short(v) for v in values[key][name]] for key in kept] for name in used),
        slices=tuple(sorted({part for key in kept for part in made[key].slices})),
    )


def _metrics(measured: Sequence[Measurement]) -> list[str]:
    rewards = dict.fromkeys(name for m in measured for row in m.rows for name in row.rewards)
    return ["accuracy", *rewards, "bits_per_byte", "response_length"]


def _label(name: str) -> str:
    return "bits of the expected answer" if name == "bits_per_byte" else metric(name).label


def _change(values: dict[str, list[float | None]]) -> float:
    """How much the last two policies differ on a row, over the metrics that are about what was said."""
    pairs = [of[-2:] for name, of in values.items() if name not in ("bits_per_byte", "response_length")]
    return sum(abs(b - a) for a, b in (p for p in pairs if len(p) == 2) if a is not None and b is not None)


def _fitting(made: dict[str, Sample], first: Sequence[str], changed: Sequence[str]) -> list[str]:
    """The samples that fit the budget, in the order of `first`."""
    left, kept = BUDGET, set()
    for key in _in_turn(first, changed):
        if key in kept:
            continue
        left -= _size(made[key])
        if left < 0:
            break
        kept.add(key)
    return [key for key in first if key in kept]


def _in_turn(first: Sequence[str], second: Sequence[str]) -> Iterator[str]:
    for pair in zip(first, second, strict=True):
        yield from pair


def _size(sample: Sample) -> int:
    texts = [sample.prompt, sample.expected or "", sample.answer or "", *sample.slices]
    texts += [reply.text for reply in sample.replies]
    return sum(len(escape(text).encode()) + MARKUP for text in texts)


def _slicing(rows: Sequence[RowMeasurement]) -> list[str]:
    """The columns worth a filter: few values, each of several rows."""
    values: dict[str, set[str]] = {}
    for row in rows:
        for name, value in row.slices.items():
            values.setdefault(name, set()).add(value)
    return [name for name, found in values.items() if 1 < len(found) <= min(MOST_SLICES, len(rows) // 2)]


def _sample(
    number: int,
    rows: Sequence[RowMeasurement],
    measured: Sequence[Measurement],
    columns: Sequence[str],
) -> Sample:
    first = rows[0]
    return Sample(
        number,
        visible(first.prompt, LONGEST),
        _visible(first.expected),
        _visible(first.answer),
        tuple(visible(f"{name}: {first.slices[name]}") for name in columns if name in first.slices),
        tuple(_reply(m.name, row) for m, row in zip(measured, rows, strict=True)),
    )


def _visible(text: str | None) -> str | None:
    return None if text is None else visible(text, LONGEST)


def _reply(policy: str, row: RowMeasurement) -> Reply:
    text = row.response or ""
    marks = [f"{row.response_tokens:,} tokens"] if row.response_tokens is not None else []
    marks += ["cut off"] if row.finished is False else []
    marks += [f"{_label(name)} {value:.3g}" for name, value in row.rewards.items() if value is not None]
    return Reply(policy, visible(text, LONGEST), not text.strip(), row.correct, row.finished, tuple(marks))


def _short(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.6g}")
