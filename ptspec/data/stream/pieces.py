"""Split a source's files into small pieces, or pieces readable from any row, for shuffling and resuming."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import accumulate, islice
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from ptspec.data.checks.source_pass import bytes_of
from ptspec.data.readers.columnar import BATCH
from ptspec.data.readers.hub import stream_of_hub
from ptspec.data.readers.placed import Item, PlacedRow, placed_at, placed_in
from ptspec.data.readers.remote import files_at, is_address, local_copy, open_file, size_of
from ptspec.data.readers.scan import as_rows, as_rows_of_files, items_in, row_of
from ptspec.recipe.sources import Source

PIECE = 1 << 20
"""Bytes of a piece of a file of lines."""
LINES = (".jsonl", ".ndjson")


class Raw(NamedTuple):
    """An unparsed row: its approximate bytes of text, and its parser."""

    size: int
    read: Callable[[], Item]


class Piece(Protocol):
    """Part of a source."""

    def rows(self, start: int) -> Iterator[Raw]:
        """Yield its rows without the first `start`."""

    def place(self, item: Item) -> Item:
        """Return an item of this piece with its line in the whole file."""
        ...


def pieces_of(source: Source) -> list[Piece]:
    """Return the pieces of `source`, in the order of its rows.

    Raises `InputError` if the hub or an address cannot be read.
    """
    if source.hub is not None:
        return [_HubPart(source, part) for part in stream_of_hub(source)]
    paths = [*source.paths, *files_at(source)]
    return [piece for path in paths for piece in _pieces_in(source, path)]


def items_in_pieces(source: Source) -> Iterator[Item]:
    """Yield the rows of `source` in order with their lines, reading no more than requested.

    Raises what `pieces_of` raises.
    """
    for piece in pieces_of(source):
        before = 0
        for number, raw in enumerate(piece.rows(0)):
            item = raw.read()
            if not number:
                before = piece.place(item).line - item.line
            yield placed_at(item, before + item.line)


def _pieces_in(source: Source, path: Path) -> list[Piece]:
    if path.suffix.lower() in LINES:
        ends = range(0, size_of(source, path), PIECE)
        return [_Lines(source, path, begin) for begin in ends]
    if path.suffix.lower() == ".parquet":
        return _row_groups(source, path)
    return [_WholeFile(source, path)]


@dataclass(frozen=True)
class _Lines:
    """The lines that start in `PIECE` bytes of a file from `begin` on."""

    source: Source
    path: Path
    begin: int

    def rows(self, start: int) -> Iterator[Raw]:
        return islice(self._rows(), start, None)

    def _rows(self) -> Iterator[Raw]:
        for number, line in enumerate(self._lines(), start=1):
            if not line.isspace():
                yield Raw(len(line), partial(self._item, number, line))

    def _item(self, number: int, line: bytes) -> Item:
        item = row_of(self.source, self.path, number, line)
        assert item is not None  # an empty line is not a row
        return item

    def _lines(self) -> Iterator[bytes]:
        with open_file(self.source, self.path) as file:
            if self.begin:
                file.seek(self.begin - 1)
                file.readline()  # a line that began earlier belongs to the previous piece
                if (left := self.begin + PIECE - file.tell()) <= 0:
                    return
            else:
                left = PIECE
            text = file.read(left)
            if not text.endswith(b"\n"):
                text += file.readline()
        yield from io.BytesIO(text)

    def place(self, item: Item) -> Item:
        """Count the lines before it; needed only for messages."""
        line = item.line
        with open_file(self.source, self.path) as file:
            left = self.begin
            while left and (block := file.read(min(left, PIECE))):
                left -= len(block)
                line += block.count(b"\n")
            if self.begin and not block.endswith(b"\n"):
                line += 1
        return placed_at(item, line)


@dataclass(frozen=True)
class _RowGroup:
    """A row group of a Parquet file, after `before` rows."""

    source: Source
    path: Path
    group: int
    before: int

    def rows(self, start: int) -> Iterator[Raw]:
        import pyarrow.parquet

        finish = as_rows(self.source, padded=True)
        number = 0
        with open_file(self.source, self.path) as file, pyarrow.parquet.ParquetFile(file) as table:
            for batch in table.iter_batches(batch_size=BATCH, row_groups=[self.group]):
                first = max(0, start - number)
                for at, values in enumerate(batch.slice(first).to_pylist(), start=number + first + 1):
                    row = PlacedRow(self.path, at, values)
                    yield Raw(bytes_of(values), partial(finish, row))
                number += batch.num_rows

    def place(self, item: Item) -> Item:
        return placed_at(item, self.before + item.line)


def _row_groups(source: Source, path: Path) -> list[Piece]:
    import pyarrow
    import pyarrow.parquet

    try:
        with open_file(source, path) as file, pyarrow.parquet.ParquetFile(file) as table:
            counts = [table.metadata.row_group(group).num_rows for group in range(table.num_row_groups)]
    except (pyarrow.ArrowException, ValueError):
        return [_WholeFile(source, path)]  # whose reader reports the error
    befores = accumulate(counts[:-1], initial=0)
    return [
        _RowGroup(source, path, group, before)
        for group, before in zip(range(len(counts)), befores, strict=False)
    ]


@dataclass(frozen=True)
class _WholeFile:
    """A file that is readable only from its beginning: compressed, CSV, a JSON list, Arrow."""

    source: Source
    path: Path

    def rows(self, start: int) -> Iterator[Raw]:
        finish = as_rows_of_files(self.source)
        here = local_copy(self.source, self.path) if is_address(self.path) else self.path
        for item in islice(items_in((here,)), start, None):
            placed = placed_in(item, self.path)
            yield Raw(
                bytes_of(placed.values) if isinstance(placed, PlacedRow) else 0, partial(finish, placed)
            )

    def place(self, item: Item) -> Item:
        return item


@dataclass(frozen=True)
class _HubPart:
    """A part of a streamed hub dataset: `rows_of` yields its rows from one on."""

    source: Source
    rows_of: Callable[[int], Iterator[tuple[int, dict[str, Any]]]]

    def rows(self, start: int) -> Iterator[Raw]:
        finish, file = as_rows(self.source, padded=True), Path(self.source.hub or "")
        for number, values in self.rows_of(start):
            yield Raw(bytes_of(values), partial(finish, PlacedRow(file, number, values)))

    def place(self, item: Item) -> Item:
        return item
