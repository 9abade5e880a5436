"""Rows of local files, streamed with the place of each; knows no method and no torch.

JSONL, JSON (a list of objects, or one a line), CSV and Parquet, the text formats also as `.gz` or `.zst`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

from ptspec.data.readers.compression import kind_of, read_errors
from ptspec.data.readers.delimited import read_csv
from ptspec.data.readers.json_rows import read_json
from ptspec.data.readers.jsonl import json_row, read_jsonl
from ptspec.data.readers.parquet import read_parquet
from ptspec.data.readers.placed import PlacedRow, Unreadable, unreadable
from ptspec.diagnostics import InputError
from ptspec.recipe.plan import Source

READERS: dict[str, Callable[[Path], Iterator[PlacedRow | Unreadable]]] = {
    ".jsonl": read_jsonl,
    ".ndjson": read_jsonl,
    ".json": read_json,
    ".csv": read_csv,
    ".parquet": read_parquet,
}


def scan(source: Source) -> Iterator[PlacedRow | Unreadable]:
    """Every row of a local source in file order, faults among them; `limit` is applied, `shuffle` is not."""
    rows = _rows(source) if source.limit is None else islice(_rows(source), source.limit)
    if not source.columns:
        return rows
    return (_renamed(item, source) if isinstance(item, PlacedRow) else item for item in rows)


def _rows(source: Source) -> Iterator[PlacedRow | Unreadable]:
    for path in source.paths:
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


def row_of(source: Source, path: Path, number: int, line: bytes) -> PlacedRow | Unreadable | None:
    """The row that a line of a JSONL file is; None of an empty one."""
    if line.isspace():
        return None
    item = json_row(path, number, line)
    return _renamed(item, source) if source.columns and isinstance(item, PlacedRow) else item


def read_rows(source: Source) -> Iterator[PlacedRow]:
    """The rows of a local source; the first line that is no row raises `InputError`."""
    for item in scan(source):
        if isinstance(item, Unreadable):
            raise InputError(unreadable(item, source.at))
        yield item


def content_hash(source: Source) -> str:
    """SHA-256 over the bytes of every file of a source, in order."""
    digest = hashlib.sha256()
    for path in source.paths:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def _renamed(row: PlacedRow, source: Source) -> PlacedRow:
    old_to_new = {old: new for new, old in source.columns.items()}
    replaced = {*source.columns, *old_to_new}
    values = {name: value for name, value in row.values.items() if name not in replaced}
    values.update({old_to_new[name]: value for name, value in row.values.items() if name in old_to_new})
    return PlacedRow(row.file, row.line, values)
