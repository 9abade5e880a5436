"""Stream the rows of sources with their locations. Imports no torch.

JSONL, JSON (a list of objects, or one per line), CSV, TSV, Parquet and Arrow, text formats also as `.gz` or
`.zst`, and the hub. Only a few rows are in memory at a time; a format's reader is imported with its first
file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache, partial
from itertools import chain, islice
from pathlib import Path

from ptspec.data.layouts.convert import unpadded
from ptspec.data.readers.columns import renamer
from ptspec.data.readers.compression import kind_of, read_errors
from ptspec.data.readers.jsonl import count_lines, json_row, read_jsonl
from ptspec.data.readers.placed import Item, PlacedRow, Unreadable, placed_in, shown
from ptspec.data.readers.selection import Stretch, limited, stretches
from ptspec.diagnostics import Diagnostic, Location
from ptspec.recipe.sources import Source


def _json(path: Path) -> Iterator[Item]:
    from ptspec.data.readers.json_rows import read_json

    return read_json(path)


def _delimited(path: Path) -> Iterator[Item]:
    from ptspec.data.readers.delimited import read_delimited

    return read_delimited(path)


def _parquet(path: Path) -> Iterator[Item]:
    from ptspec.data.readers.columnar import read_parquet

    return read_parquet(path)


def _arrow(path: Path) -> Iterator[Item]:
    from ptspec.data.readers.columnar import read_arrow

    return read_arrow(path)


def _count_parquet(path: Path) -> int:
    from ptspec.data.readers.columnar import count_parquet

    return count_parquet(path)


READERS: dict[str, Callable[[Path], Iterator[Item]]] = {
    ".jsonl": read_jsonl,
    ".ndjson": read_jsonl,
    ".json": _json,
    ".csv": _delimited,
    ".tsv": _delimited,
    ".parquet": _parquet,
    ".arrow": _arrow,
    ".feather": _arrow,
}

COUNTERS: dict[str, Callable[[Path], int]] = {
    ".jsonl": count_lines,
    ".ndjson": count_lines,
    ".parquet": _count_parquet,
}
"""Functions that count a file's items faster than reading them."""

PADDED = (".parquet", ".arrow", ".feather")
"""Formats in which Arrow gives every dict of a column all keys, with None for missing values."""


def scan(source: Source) -> Iterator[Item]:
    """Yield the rows of a local source and its unreadable lines, in order.

    Applies `split`, then `limit` (with `shuffle` of rows drawn by the seed, in order), then `columns`. Raises
    `InputError` if a split does not exist.
    """
    taken = stretches(source, count_rows)
    rows = limited(source, chain.from_iterable(map(_stretch, taken)), partial(_total, taken))
    padded = any(kind_of(path) in PADDED for path in source.paths)
    if not source.columns and not padded:
        yield from rows
        return
    yield from map(as_rows_of_files(source), rows)


def as_rows(source: Source, *, padded: bool) -> Callable[[Item], Item]:
    """Return a function that makes a row of an item: columns renamed, null keys of `padded` files removed."""
    renamed = renamer(source.columns)

    def finished(item: Item) -> Item:
        if not isinstance(item, PlacedRow):
            return item
        values = renamed(item.values) if source.columns else item.values
        return item._replace(values=unpadded(values) if padded else values)

    return finished


def as_rows_of_files(source: Source) -> Callable[[Item], Item]:
    """Return `as_rows` for items of files of any format."""
    by_padding = {padded: as_rows(source, padded=padded) for padded in (True, False)}
    return lambda item: by_padding[kind_of(item.file) in PADDED](item)


def row_of(source: Source, path: Path, number: int, line: bytes) -> Item | None:
    """Return the row of a line of a JSONL file; None for an empty line."""
    if line.isspace():
        return None
    item = json_row(path, number, line)
    if source.columns and isinstance(item, PlacedRow):
        return item._replace(values=renamer(source.columns)(item.values))
    return item


def items_of(source: Source) -> Iterator[Item]:
    """Yield the rows of a source and its unreadable lines.

    Raises what `scan`, `hub_rows` and `remote_rows` raise.
    """
    if source.addresses:
        return remote_rows(source)
    if source.hub is None:
        return scan(source)
    from ptspec.data.readers.hub import hub_rows

    return hub_rows(source)


def remote_rows(source: Source) -> Iterator[Item]:
    """Yield the rows at the addresses of a source, file by file.

    Raises `InputError` if they cannot be reached.
    """
    from ptspec.data.readers.remote import files_at, local_copy

    files = files_at(source)

    def rows() -> Iterator[Item]:
        for path in files:
            for item in items_in((local_copy(source, path),)):
                yield placed_in(item, path)

    def count() -> int:
        return count_rows(local_copy(source, path) for path in files)

    return limited(source, map(as_rows_of_files(source), rows()), count)


def notes(source: Source) -> Iterator[Diagnostic]:
    """Yield warnings about a local source's files.

    Separators other than commas, encodings other than UTF-8.
    """
    files: dict[Diagnostic, list[Path]] = {}
    for path in source.paths:
        if READERS.get(kind_of(path)) is _delimited:
            from ptspec.data.readers import delimited

            try:
                for note in delimited.notes(path):
                    files.setdefault(note, []).append(path)
            except read_errors():
                continue  # reported when the rows are read
    for note, paths in files.items():
        more = f" (and so in {len(paths) - 1} more files)" if len(paths) > 1 else ""
        where = Location(shown(paths[0]))
        yield replace(note, message=f"{note.message}{more}", location=where, pointer=source.at)


def _stretch(taken: Stretch) -> Iterator[Item]:
    return islice(items_in(taken.paths), taken.start, taken.stop)


def items_in(paths: Iterable[Path]) -> Iterator[Item]:
    """Yield the items of local files in order; an `Unreadable` if a file cannot be read further.

    Raises `OSError` for a missing decompression package.
    """
    for path in paths:
        line = 0
        try:
            for item in READERS[kind_of(path)](path):
                line = item.line
                yield item
        except Exception as error:
            if not isinstance(error, read_errors()):
                raise
            reason = getattr(error, "strerror", None) or str(error) or "the file ends too early"
            yield Unreadable(path, line + 1, None, f"cannot be read from here on: {reason}")


def _total(taken: Iterable[Stretch]) -> int:
    """Return how many items these stretches have."""
    found = 0
    for one in taken:
        rows = count_rows(one.paths)
        stop = rows if one.stop is None else min(one.stop, rows)
        found += max(stop - one.start, 0)
    return found


def count_rows(paths: Iterable[Path]) -> int:
    """Return how many items `items_in` yields of these files."""
    return sum(_count_file(path, _state(path)) for path in paths)


def _state(path: Path) -> tuple[int, int] | None:
    """Return size and modification time of a file; None if it does not exist."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns


@lru_cache(maxsize=1024)
def _count_file(path: Path, state: tuple[int, int] | None) -> int:
    """Return a file's number of items, cached while its `state` is unchanged."""
    counter = COUNTERS.get(kind_of(path))
    if counter is not None:
        with suppress(ValueError, *read_errors()):  # count the readable part of a damaged file
            return counter(path)
    return sum(1 for _ in items_in((path,)))
