"""Load a source of the plan as the `datasets.Dataset` of a TRL trainer, or as an evaluation's rows."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, compress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ptspec.data.checks.bad_rows import is_too_many, too_many
from ptspec.data.checks.fault import Fault, Tally
from ptspec.data.checks.row_checks import RowChecker, Use, row_checker
from ptspec.data.layouts.convert import reading_of, to_trl
from ptspec.data.layouts.evaluation import EvaluationRow, evaluation_row
from ptspec.data.layouts.table import CHATS, WITHHELD, Layout, layout_for, wanted
from ptspec.data.left_out import LeftOut
from ptspec.data.readers.placed import PlacedRow, Unreadable, first_row, shown, unreadable
from ptspec.data.readers.scan import items_of
from ptspec.data.readers.selection import drawn
from ptspec.diagnostics import Diagnostic, InputError, Severity, cut
from ptspec.methods.types import Rows
from ptspec.recipe.sources import AnySource, Concat, Mix, OnBadRow, Source, Until

if TYPE_CHECKING:
    from datasets import Dataset

    from ptspec.data.exact_json import Kind, Table

BATCH = 256
"""Rows tokenised at once."""

TEXTS = ("text", "messages", "prompt", "completion", "chosen", "rejected")

Refuses = Callable[[Mapping[str, Any]], "str | None"]
"""Returns why the chat template refuses a row in TRL's columns; None if it accepts it."""


Encode = Callable[[Sequence[Mapping[str, Any]]], "Iterator[Tokenised]"]
"""Returns the tokens of rows in TRL's columns, as SFT's trainer has them before truncation."""


class Tokenised(NamedTuple):
    """Token ids and labels: `ids` with -100 where no loss is computed."""

    ids: Sequence[int]
    labels: Sequence[int]


@dataclass
class Loading:
    """How rows are read for one use.

    `refuses`: the template's check; `left_out` receives the rows that `on_bad_row` leaves out; `encode`
    tokenises rows whose sources differ in form, or all of them with `encodes_always`.
    """

    use: Use
    refuses: Refuses = field(default=lambda row: None)
    left_out: list[LeftOut] = field(default_factory=list)
    encode: Encode | None = None
    encodes_always: bool = False


def load(
    data: Mapping[str, AnySource], name: str, rows: Rows, seed: int, loading: Loading | None = None
) -> Dataset:
    """Return the rows of `data[name]` in the columns that TRL needs for `rows`.

    A mix draws from its sources with their probabilities, by `seed`; a concat takes its fraction of each. For
    SFT, sources of different forms (chats, prompts with completions, plain text) are joined as tokens, each
    row learned as in its own source alone. Raises `InputError` for an unusable row, or for hub or remote data
    that cannot be read.
    """
    import datasets

    from ptspec.data.exact_json import common_kinds

    loading = loading or Loading(Use("this stage", rows))
    source = data[name]
    parts = [source] if isinstance(source, Source) else [data[part] for part in source.parts]
    tables = [_table(part, rows, loading) for part in parts if isinstance(part, Source)]
    is_mixed = loading.encodes_always or len({form(table.kinds) for table in tables}) > 1
    if is_mixed and loading.encode is not None:
        datasets_of_parts = [_tokenised(table, loading.encode) for table in tables]
    else:
        kinds = common_kinds(tables)
        datasets_of_parts = [table.dataset(kinds) for table in tables]
    made = [
        _in_order(dataset, part, rows, seed)
        for dataset, part in zip(datasets_of_parts, parts, strict=True)
        if isinstance(part, Source)
    ]
    if isinstance(source, Concat):
        shares = source.fractions.values()
        taken = [_fraction(part, share, seed) for part, share in zip(made, shares, strict=True)]
        return datasets.concatenate_datasets(taken).shuffle(seed=seed)
    if isinstance(source, Mix):
        probabilities = list(source.weights.values())
        stop: Any = "first_exhausted" if source.until is Until.FIRST else "all_exhausted"
        return datasets.interleave_datasets(
            made, probabilities=probabilities, seed=seed, stopping_strategy=stop
        )
    return made[0]


def load_evaluation(
    data: Mapping[str, AnySource], name: str, loading: Loading | None = None
) -> list[EvaluationRow]:
    """Return the held-out rows of `data[name]`, in file order.

    Of a concat the seeded fraction of each source, of a mix all rows. Raises `InputError` for an unusable
    row, or for data that cannot be read.
    """
    loading = loading or Loading(Use("eval", None))
    source = data[name]
    if isinstance(source, Concat):
        shares = ((data[part], share) for part, share in source.fractions.items())
        return [
            row
            for part, share in shares
            if isinstance(part, Source)
            for row in _drawn(load_evaluation(data, part.name, loading), share, part.seed)
        ]
    if isinstance(source, Mix):
        return [row for part in source.parts for row in load_evaluation(data, part, loading)]
    reading = reading_of(source)
    return [evaluation_row(row.values, reading) for row, _ in _sound(source, loading)]


def _drawn(rows: Sequence[EvaluationRow], fraction: float, seed: int) -> Iterator[EvaluationRow]:
    """Return so many of `rows`, in order."""
    return compress(rows, drawn(len(rows), round(len(rows) * fraction), seed))


def strings_in(source: AnySource, data: Mapping[str, AnySource]) -> bool:
    """Return whether the prompts of `source` are plain strings that loading turns into chats."""
    if not isinstance(source, Source):
        return all(strings_in(data[part], data) for part in source.parts)
    first = first_row(items_of(source))
    columns = first.values if first is not None else {}
    return not any(isinstance(columns.get(name), list | dict) for name in ("prompt", *CHATS))


def _table(source: Source, rows: Rows, loading: Loading) -> Table:
    from ptspec.data.exact_json import Table

    table = Table()
    for _, row in _trl_rows(source, rows, loading):
        table.add(row)
    return table


def _trl_rows(source: Source, rows: Rows, loading: Loading) -> Iterator[tuple[PlacedRow, dict[str, Any]]]:
    """Return the rows in TRL's columns, with those for rewards. Raises as `_sound` does."""
    for placed, made in _sound(source, loading):
        extra = other_columns(placed.values) if rows is Rows.PROMPT_ONLY else {}
        yield from ((placed, {**row, **extra}) for row in made)


def form(kinds: Mapping[str, Kind]) -> tuple[str, ...]:
    """Return the text columns by which a trainer distinguishes rows, chats marked.

    ("prompt", "completion").
    """
    return tuple(
        f"{name}*" if kind.value == "json" else name for name, kind in sorted(kinds.items()) if name in TEXTS
    )


def form_of_rows(rows: Dataset) -> tuple[str, ...]:
    """Return the `form` of loaded rows, or that they are tokens."""
    if "input_ids" in rows.column_names:
        return ("input_ids",)
    first = rows[0]
    there = [name for name in sorted(rows.column_names) if name in TEXTS]
    return tuple(f"{name}*" if isinstance(first[name], list) else name for name in there)


def _tokenised(table: Table, encode: Encode) -> Dataset:
    import datasets

    columns: dict[str, list[Sequence[int]]] = {"input_ids": [], "labels": []}
    rows = table.dataset(table.kinds)
    for start in range(0, len(rows), BATCH):
        batch = [rows[index] for index in range(start, min(start + BATCH, len(rows)))]
        for one in encode([{n: v for n, v in row.items() if v is not None} for row in batch]):
            columns["input_ids"].append(one.ids)
            columns["labels"].append(one.labels)
    return datasets.Dataset.from_dict(columns)


def _in_order(rows: Dataset, source: Source, kind: Rows, seed: int) -> Dataset:
    # KTOTrainer takes rows in file order and mismatches neighbours for its reference point: the two halves of
    # a pair, side by side, would be each other's mismatch, with the right prompt.
    is_shuffled = source.shuffle or kind is Rows.UNPAIRED_PREFERENCE
    return rows.shuffle(seed=seed) if is_shuffled else rows


def _fraction(rows: Dataset, fraction: float, seed: int) -> Dataset:
    """Return so many of `rows`, drawn by the seed; all of them in order for the fraction 1."""
    return rows if fraction == 1 else rows.shuffle(seed=seed).select(range(round(len(rows) * fraction)))


def _sound(source: Source, loading: Loading) -> Iterator[tuple[PlacedRow, list[dict[str, Any]]]]:
    """Return the usable rows, with their form in TRL's columns.

    Raises `InputError` with every error of the others, unless they are left out.
    """
    tallies: dict[Path, Tally] = {}
    checker, layout, read, is_sound = None, None, 0, True
    left_out_before = len(loading.left_out)
    kind = loading.use.rows
    for placed in items_of(source):
        read += 1
        if isinstance(placed, Unreadable):
            if source.on_bad_row is OnBadRow.STOP:
                raise InputError(unreadable(placed, source.at))
            loading.left_out.append(LeftOut(shown(placed.file), placed.line, "malformed-row", placed.reason))
            continue
        if checker is None:
            present = frozenset(placed.values)
            checker = row_checker(loading.use, present, reading_of(source))
            layout = None if kind is None else layout_of(source, kind, present)
        tally = tallies.setdefault(placed.file, Tally())
        tally.rows += 1
        made, faults = converted(placed, layout, kind, source, checker, loading)
        if not faults:
            if is_sound:
                yield placed, made
            continue
        if source.on_bad_row is OnBadRow.LEAVE_OUT:
            file = shown(placed.file)
            loading.left_out.append(LeftOut(file, placed.line, faults[0].code, faults[0].message))
            continue
        is_sound = False
        for fault in faults:
            tally.add(fault, placed.line)
    bad = len(loading.left_out) - left_out_before
    if is_too_many(source, bad, read):
        raise InputError(too_many(source, bad, read))
    if not is_sound:
        found = (tally.diagnostics(file, source.at) for file, tally in tallies.items())
        raise InputError(*chain.from_iterable(found))


def converted(
    placed: PlacedRow,
    layout: Layout | None,
    kind: Rows | None,
    source: Source,
    checker: RowChecker,
    loading: Loading,
) -> tuple[list[dict[str, Any]], list[Fault]]:
    """Return a row in TRL's columns, or the errors that make it unusable."""
    faults = [fault for fault in checker(placed.values) if fault.severity is Severity.ERROR]
    if faults:
        return [], faults
    if layout is None or kind is None:
        made = list(evaluation_row(placed.values, reading_of(source)).in_trl_columns())
    else:
        made = list(to_trl(placed.values, kind, layout, reading_of(source)))
    if why := next(filter(None, map(loading.refuses, made)), None):
        return [], [Fault("cannot-render", f"the chat template refuses this row: {why}")]
    return made, []


def layout_of(source: Source, rows: Rows, present: frozenset[str]) -> Layout:
    """Return the layout of the first row's columns. Raises `InputError` if there is none."""
    layout = layout_for(rows, present)
    if layout is None:
        what = f"needs the columns {wanted(rows)}; it has {', '.join(sorted(present))}"
        raise InputError(Diagnostic("missing-column", f'data "{source.name}": {what}', pointer=source.at))
    return layout


def other_columns(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the columns of a row that rewards receive, as in the file."""
    return {name: value for name, value in row.items() if name not in WITHHELD}


def places(
    data: Mapping[str, AnySource], name: str, rows: Rows, wanted_rows: Sequence[Mapping[str, Any]]
) -> list[str]:
    """Return where each of `wanted_rows` of `load` comes from: "data/train.jsonl:17".

    For a hub row the beginning of its text.
    """
    found: dict[str, str] = {}
    for source in local_parts(data, name):
        for placed, row in _trl_rows(source, rows, Loading(Use("this stage", rows))):
            found.setdefault(_key(row), f"{shown(placed.file)}:{placed.line}")
    return [found.get(_key(row)) or _beginning(row) for row in wanted_rows]


def local_parts(data: Mapping[str, AnySource], name: str) -> list[Source]:
    """Return the local sources that `data[name]` consists of."""
    source = data[name]
    if not isinstance(source, Source):
        return [part for mixed in source.parts for part in local_parts(data, mixed)]
    return [source] if source.hub is None else []


def _key(row: Mapping[str, Any]) -> str:
    """Return what rows are compared by: a table gives every row the columns of all."""
    return json.dumps({name: value for name, value in row.items() if value}, sort_keys=True, default=str)


def _beginning(row: Mapping[str, Any], width: int = 60) -> str:
    given = {name: value for name, value in row.items() if value is not None}
    return cut(json.dumps(given, ensure_ascii=False, default=str), width)
