"""The policies' responses side by side, and the numbers to sort and filter by.

All rows if they fit the page's size; else the first ones and those with the largest changes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import escape

from ptspec.evaluation.measurement import Measurement, RowMeasurement
from ptspec.metrics import metric
from ptspec.report.html.text import LONGEST, visible

BUDGET = 1_200_000
"""Bytes of escaped text for the samples of a page."""
MOST_SLICES = 40
MARKUP = 420
"""Approximate bytes of markup around one response."""


@dataclass(frozen=True)
class Reply:
    """A policy's response to a prompt. `marks` are its numbers in words."""

    policy: str
    text: str
    empty: bool
    correct: bool | None
    marks: tuple[str, ...]


@dataclass(frozen=True)
class Sample:
    """A prompt with every policy's response."""

    number: int
    prompt: str
    expected: str | None
    answer: str | None
    slices: tuple[str, ...]
    replies: tuple[Reply, ...]


@dataclass(frozen=True)
class Samples:
    """`metrics` are (name, label) to sort by, `scores[metric][sample][policy]` their values.

    `texts[sample][policy]` is an equal number for equal answers. `before`: the index of the policy that the
    last one is initially compared with.
    """

    policies: tuple[str, ...]
    before: int
    samples: tuple[Sample, ...]
    rows: int
    metrics: tuple[tuple[str, str], ...]
    scores: tuple[list[list[float | None]], ...]
    texts: tuple[list[int], ...]
    slices: tuple[str, ...]

    def data(self) -> dict[str, Any]:
        """Return the data for the page's script."""
        correct = [[reply.correct for reply in sample.replies] for sample in self.samples]
        slices = [list(sample.slices) for sample in self.samples]
        return {
            "policies": self.policies,
            "scores": self.scores,
            "correct": correct,
            "texts": self.texts,
            "slices": slices,
        }


def samples(measured: Sequence[Measurement]) -> Samples | None:
    """Return the prompts that every policy with responses has; None without responses."""
    from ptspec.evaluation.row_values import row_value

    speaking = [m for m in measured if any(row.response is not None for row in m.rows)]
    if not speaking:
        return None
    tables = [m.by_id() for m in speaking]
    shared = [key for key in tables[0] if all(key in table for table in tables)]
    names = _metrics(speaking)
    told = [name for name in names if name not in ("bits_per_byte", "response_length")]
    columns = _slicing([tables[0][key] for key in shared])
    before = _before_the_last(speaking)
    changes = {key: _change(told, tables[before][key], tables[-1][key]) for key in shared}
    numbers = {key: number for number, key in enumerate(shared, start=1)}
    kept: dict[str, Sample] = {}
    left = BUDGET
    for key in dict.fromkeys(_in_turn(shared, sorted(shared, key=lambda key: changes[key], reverse=True))):
        made = _sample(numbers[key], [table[key] for table in tables], speaking, columns)
        left -= _size(made)
        if left < 0:
            break
        kept[key] = made
    keys = sorted(kept, key=lambda key: numbers[key])
    rows = [[table[key] for table in tables] for key in keys]
    scores = {name: [[_short(row_value(name, row)) for row in of] for of in rows] for name in names}
    used = [name for name in names if any(v is not None for of in scores[name] for v in of)]
    return Samples(
        policies=tuple(m.name for m in speaking),
        before=before,
        samples=tuple(kept[key] for key in keys),
        rows=len(shared),
        metrics=tuple((name, _label(name)) for name in used),
        scores=tuple(scores[name] for name in used),
        texts=tuple(_same([row.response for row in of]) for of in rows),
        slices=tuple(sorted({part for sample in kept.values() for part in sample.slices})),
    )


def _metrics(measured: Sequence[Measurement]) -> list[str]:
    rewards = dict.fromkeys(name for m in measured for row in m.rows for name in row.rewards)
    return ["accuracy", *rewards, "bits_per_byte", "response_length"]


def _label(name: str) -> str:
    return "bits of the expected answer" if name == "bits_per_byte" else metric(name).label


def _before_the_last(measured: Sequence[Measurement]) -> int:
    """Return the last policy's parent if it is there, else the previous policy."""
    names = [m.name for m in measured]
    parent = measured[-1].settings.preference_reference
    return names.index(parent) if parent in names[:-1] else max(0, len(names) - 2)


def _change(names: Sequence[str], a: RowMeasurement, b: RowMeasurement) -> tuple[float, bool]:
    """Return how much two policies differ on a row: in response metrics, and whether the texts differ."""
    from ptspec.evaluation.row_values import row_value

    pairs = [(row_value(name, a), row_value(name, b)) for name in names]
    change = sum(abs(after - before) for before, after in pairs if before is not None and after is not None)
    return change, a.response != b.response


def _same(texts: Sequence[str | None]) -> list[int]:
    """Return a number per text, equal for equal texts."""
    numbers: dict[str | None, int] = {}
    return [numbers.setdefault(text, len(numbers)) for text in texts]


def _in_turn(first: Sequence[str], second: Sequence[str]) -> Iterator[str]:
    for pair in zip(first, second, strict=True):
        yield from pair


def _size(sample: Sample) -> int:
    texts = [sample.prompt, sample.expected or "", sample.answer or "", *sample.slices]
    texts += [reply.text for reply in sample.replies]
    return sum(len(escape(text).encode()) + MARKUP for text in texts)


def _slicing(rows: Sequence[RowMeasurement]) -> list[str]:
    """Return the columns to filter by: few values, each of several rows."""
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
    return Reply(policy, visible(text, LONGEST), not text.strip(), row.correct, tuple(marks))


def _short(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.6g}")
