"""Read rows of hub datasets, placed and renamed like rows of files."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from ptspec.data.layouts.convert import unpadded
from ptspec.data.readers.columns import missing_columns, renamer
from ptspec.data.readers.placed import PlacedRow
from ptspec.data.readers.selection import drawn
from ptspec.diagnostics import Diagnostic, InputError
from ptspec.recipe.hints import did_you_mean
from ptspec.recipe.json_pointer import join
from ptspec.recipe.sources import Source
from ptspec.recipe.splits import TRAIN

One = TypeVar("One")

BUFFER = 10_000
"""Buffer size in rows for shuffling a streamed source."""


def hub_rows(source: Source) -> Iterator[PlacedRow]:
    """Yield the rows of a hub source; `line` is the row's number in the split.

    Of a streamed and shuffled source its number in the shuffled order. `shuffle` decides, by the seed, which
    rows `limit` takes; they keep their order, except when streamed. Raises `InputError` if the hub, the
    dataset, its configuration, split or a column does not exist.
    """
    rows = _told(source, lambda: _load(source))
    renamed, file = renamer(source.columns), Path(source.hub or "")
    names = rows.column_names  # None for some streamed sources: use the first row
    if names is not None:
        _check(source, renamed(dict.fromkeys(names)))
    numbered = _numbered(rows, source)
    while (found := _told(source, lambda: next(numbered, None))) is not None:
        number, values = found
        row = PlacedRow(file, number, unpadded(renamed(values)))
        if names is None:
            _check(source, row.values)
            names = list(values)
        yield row


def stream_of_hub(source: Source) -> list[Callable[[int], Iterator[tuple[int, dict[str, Any]]]]]:
    """Return the parts of a streamed dataset; each yields its rows with their numbers, from one on.

    Raises `InputError` as `hub_rows` does.
    """
    rows = _told(source, lambda: _in_row_groups(_load(source)))
    if rows.column_names is not None:
        _check(source, renamer(source.columns)(dict.fromkeys(rows.column_names)))

    def part(index: int, start: int) -> Iterator[tuple[int, dict[str, Any]]]:
        found = rows.shard(rows.num_shards, index) if rows.num_shards > 1 else rows
        numbered = enumerate(found.skip(start) if start else found, start=start + 1)
        while (row := _told(source, lambda: next(numbered, None))) is not None:
            yield row

    return [partial(part, index) for index in range(rows.num_shards)]


def _in_row_groups(rows: Any) -> Any:
    """Return a streamed dataset in parts as small as its files allow, if the library can tell them."""
    return rows.reshard() if hasattr(rows, "reshard") else rows


def _check(source: Source, present: Iterable[str]) -> None:
    if missing := list(missing_columns(source, present)):
        raise InputError(*missing)


def _numbered(rows: Any, source: Source) -> Iterator[tuple[int, dict[str, Any]]]:
    limit = source.limit
    if source.streaming:
        rows = rows.shuffle(seed=source.seed, buffer_size=BUFFER) if source.shuffle else rows
        yield from enumerate(rows if limit is None else rows.take(limit), start=1)
        return
    if limit is None or limit >= len(rows):
        yield from enumerate(rows, start=1)
        return
    taken = drawn(len(rows), limit, source.seed) if source.shuffle else [True] * limit
    numbers = [index for index, is_taken in enumerate(taken) if is_taken]
    yield from zip((index + 1 for index in numbers), rows.select(numbers), strict=True)


def _load(source: Source) -> Any:
    import datasets

    return datasets.load_dataset(
        source.hub,
        source.config_name,
        split=source.split or TRAIN,
        revision=source.revision,
        streaming=source.streaming,
    )


def _told(source: Source, work: Callable[[], One]) -> One:
    """Return what `work` returns; raise its exceptions as `InputError`.

    `datasets` raises its own, those of its HTTP client, and those of any file reader.
    """
    try:
        return work()
    except Exception as error:
        raise InputError(_fault(source, error)) from error


def _fault(source: Source, error: Exception) -> Diagnostic:
    """Return the error at the recipe's key that it concerns."""
    from datasets.exceptions import DatasetNotFoundError

    text = " ".join(str(error).split())
    if isinstance(error, DatasetNotFoundError):
        key = "revision" if text.startswith("Revision") else "path"
        hint = "check the id; a private or gated dataset needs access and a login: hf auth login"
        return Diagnostic("no-such-dataset", text, pointer=join(source.at, key), hint=hint)
    if isinstance(error, ConnectionError):
        hint = "connect to the hub, load the dataset into the cache before, or name its files"
        return Diagnostic("hub-unreachable", text, pointer=join(source.at, "path"), hint=hint)
    there = _listed(text)
    if text.startswith(("Unknown split", "Bad split")):
        name = source.split or TRAIN
        message = f'"{source.hub}" has no split "{name}"'
        if source.streaming and "[" in name:
            message = f'"{name}" is a part of a split: a streamed source has whole splits alone'
        return Diagnostic(
            "unknown-split", message, pointer=join(source.at, "split"), hint=_hint(name, there, "splits")
        )
    if text.startswith(("Config name is missing", "BuilderConfig")):
        name = source.config_name or ""
        message = (
            f'"{source.hub}" has no configuration "{name}"'
            if name
            else f'"{source.hub}" has several configurations: "name" says which'
        )
        return Diagnostic(
            "unknown-config",
            message,
            pointer=join(source.at, "name"),
            hint=_hint(name, there, "configurations"),
        )
    deepest: BaseException = error.__cause__ or error
    why = " ".join(str(deepest).split()) or text
    message = f'"{source.hub}" cannot be loaded: {type(deepest).__name__}: {why}'
    return Diagnostic("unreadable-dataset", message, pointer=join(source.at, "path"))


def _listed(text: str) -> list[str]:
    """Return the names that a message of `datasets` lists: "… Available: ['a', 'b']"."""
    lists = re.findall(r"\[([^\[\]]*)\]", text)
    return re.findall(r"'([^']*)'", lists[-1]) if lists else []


def _hint(name: str, there: list[str], what: str) -> str | None:
    if not there:
        return None
    return did_you_mean(name, there) or f"{what} there: {', '.join(there)}"
