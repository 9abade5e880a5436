"""From a source of the plan to the `datasets.Dataset` that a TRL trainer takes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ptspec.data.checks.fault import Tally
from ptspec.data.checks.row_checks import Use, row_checker
from ptspec.data.layouts import EvaluationRow, evaluation_row, shape_for, to_trl, wanted
from ptspec.data.readers.placed import shown
from ptspec.data.readers.scan import read_rows
from ptspec.diagnostics import Diagnostic, InputError
from ptspec.methods.types import Rows
from ptspec.recipe.plan import AnySource, Concat, Mix, Source, Until

if TYPE_CHECKING:
    from datasets import Dataset

RESERVED = frozenset({"prompt", "completion", "chosen", "rejected", "label", "messages", "text", "tools"})
"""Columns with a meaning to TRL: an online method's rewards get every other column of the row."""


def load(data: Mapping[str, AnySource], name: str, rows: Rows, seed: int) -> Dataset:
    """The rows of `data[name]` in the columns TRL wants for `rows`.

    A mix draws from its sources with their probabilities until one is used up, by `seed`.
    Raises `InputError` where a row lacks what the method needs.
    """
    import datasets

    source = data[name]
    if isinstance(source, Mix):
        parts = [load(data, part, rows, seed) for part in source.parts]
        shares = list(source.weights.values())
        stop: Any = "first_exhausted" if source.until is Until.FIRST else "all_exhausted"
        return datasets.interleave_datasets(parts, probabilities=shares, seed=seed, stopping_strategy=stop)
    if isinstance(source, Concat):
        parts = [
            _fraction(load(data, part, rows, seed), fraction, seed)
            for part, fraction in source.fractions.items()
        ]
        return datasets.concatenate_datasets(parts).shuffle(seed=seed)
    raw = _raw(source) if source.hub is None else _sound(_raw(source), source, rows)
    converted = datasets.Dataset.from_list(list(_convert(raw, source, rows)))
    # KTOTrainer takes rows in file order and mismatches neighbours for its reference point: the two halves of
    # a pair, side by side, would be each other's mismatch, with the right prompt.
    shuffled = source.shuffle or rows is Rows.UNPAIRED_PREFERENCE
    return converted.shuffle(seed=seed) if shuffled else converted


def _fraction(rows: Dataset, fraction: float, seed: int) -> Dataset:
    """So many of `rows`, drawn by the seed; all of them in their order where the fraction is 1."""
    return rows if fraction == 1 else rows.shuffle(seed=seed).select(range(round(len(rows) * fraction)))


def load_evaluation(data: Mapping[str, AnySource], name: str) -> list[EvaluationRow]:
    """The held-out rows of `data[name]`, in file order."""
    source = data[name]
    if not isinstance(source, Source):
        return [row for part in source.parts for row in load_evaluation(data, part)]
    return [evaluation_row(row, source.chat) for row in _raw(source)]


def strings_in(source: AnySource, data: Mapping[str, AnySource]) -> bool:
    """Whether the prompts of `source` are plain strings in the file, which loading makes turns of a chat."""
    if not isinstance(source, Source):
        return all(strings_in(data[part], data) for part in source.parts)
    first = next(_raw(source), {})
    return not any(isinstance(first.get(name), list) for name in ("prompt", "messages", "conversations"))


def _raw(source: Source) -> Iterator[Mapping[str, Any]]:
    if source.hub is None:
        yield from (row.values for row in read_rows(source))
    else:
        yield from _from_hub(source)


def _from_hub(source: Source) -> Iterator[Mapping[str, Any]]:
    import datasets

    rows = datasets.load_dataset(
        source.hub, source.config_name, split=source.split or "train", streaming=source.streaming
    )
    if source.columns:
        rows = rows.rename_columns({old: new for new, old in source.columns.items()})
    if source.limit is not None:
        rows = rows.take(source.limit)
    yield from rows


def _sound(raw: Iterator[Mapping[str, Any]], source: Source, rows: Rows) -> Iterator[Mapping[str, Any]]:
    """Rows of a hub, which nobody has checked before; raises `InputError` with every fault of them."""
    tally, faults_of = Tally(), None
    for number, row in enumerate(raw, start=1):
        faults_of = faults_of or row_checker(Use("this stage", rows), frozenset(row))
        for fault in faults_of(row):
            tally.add(fault, number)
        tally.rows += 1
        if not tally.counts:
            yield row
    if tally.counts:
        raise InputError(*tally.diagnostics(Path(source.hub or ""), source.at))


def _convert(raw: Iterator[Mapping[str, Any]], source: Source, rows: Rows) -> Iterator[dict[str, Any]]:
    shape = None
    for number, row in enumerate(raw, start=1):
        shape = shape or shape_for(rows, frozenset(row))
        if shape is None:
            raise InputError(_fault(source, f"needs the columns {wanted(rows)}; it has {', '.join(row)}"))
        try:
            converted = list(to_trl(row, rows, shape, source.chat))
        except KeyError as error:
            raise InputError(_fault(source, f"row {number} has no {error}")) from None
        extra = _other_columns(row) if rows is Rows.PROMPT_ONLY else {}
        yield from (extra | new for new in converted)


def _other_columns(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in RESERVED}


def _fault(source: Source, what: str) -> Diagnostic:
    return Diagnostic("missing-column", f'data "{source.name}": {what}', pointer=source.at)


def places(
    data: Mapping[str, AnySource], name: str, rows: Rows, wanted_rows: Sequence[Mapping[str, Any]]
) -> list[str]:
    """Where each of `wanted_rows`, as `load` gave them, stands: "data/train.jsonl:17", or the beginning of
    its text where it comes from the hub."""
    found: dict[str, str] = {}
    for source in local_parts(data, name):
        for row in read_rows(source):
            shape = shape_for(rows, frozenset(row.values))
            converted = to_trl(row.values, rows, shape, source.chat) if shape else ()
            extra = _other_columns(row.values) if rows is Rows.PROMPT_ONLY else {}
            for new in converted:
                found.setdefault(_key(extra | dict(new)), f"{shown(row.file)}:{row.line}")
    return [found.get(_key(row)) or _beginning(row) for row in wanted_rows]


def local_parts(data: Mapping[str, AnySource], name: str) -> list[Source]:
    """The sources on this machine that `data[name]` is made of."""
    source = data[name]
    if not isinstance(source, Source):
        return [part for mixed in source.parts for part in local_parts(data, mixed)]
    return [source] if source.hub is None else []


def _key(row: Any) -> str:
    """A row to compare by: Arrow fills columns that a row has not with nulls, at any depth."""
    return json.dumps(_filled(row), sort_keys=True, default=str)


def _filled(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _filled(one) for name, one in value.items() if one is not None}
    return [_filled(one) for one in value] if isinstance(value, list) else value


def _beginning(row: Mapping[str, Any], width: int = 60) -> str:
    text = json.dumps(_filled(row), ensure_ascii=False, default=str)
    return text if len(text) <= width else f"{text[: width - 1]}…"
