"""Rows of local files, streamed with the place of each; knows no method and no torch.

JSONL, JSON (a list of objects), CSV and Parquet, the text formats also as `.gz` or `.zst`.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import IO, Any

from ptspec.diagnostics import Diagnostic, InputError, Location
from ptspec.recipe.plan import Source

COMPRESSIONS = (".gz", ".zst")


@dataclass(frozen=True)
class PlacedRow:
    """A row after `columns` were renamed. `line` counts from 1 (JSON, Parquet: the row)."""

    file: Path
    line: int
    values: dict[str, Any]


@dataclass(frozen=True)
class Unreadable:
    """A line that is no row, and why."""

    file: Path
    line: int
    column: int | None
    reason: str


def shown(path: Path) -> str:
    """`path` as a user would type it: relative to the working directory where it lies below it."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def unreadable(fault: Unreadable, pointer: str | None = None) -> Diagnostic:
    return Diagnostic(
        code="malformed-row",
        message=fault.reason,
        location=Location(shown(fault.file), fault.line, fault.column),
        pointer=pointer,
    )


def scan(source: Source) -> Iterator[PlacedRow | Unreadable]:
    """Every row of a local source in file order, faults among them; `limit` is applied, `shuffle` is not."""
    given = 0
    for path in source.paths:
        for item in _read(path):
            if source.limit is not None and given >= source.limit:
                return
            given += 1
            yield _renamed(item, source) if isinstance(item, PlacedRow) and source.columns else item


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


def _read(path: Path) -> Iterator[PlacedRow | Unreadable]:
    return READERS[kind_of(path)](path)


def kind_of(path: Path) -> str:
    """The format's suffix: that before `.gz` or `.zst`, if there is one."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in COMPRESSIONS:
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


@contextmanager
def _open(path: Path) -> Iterator[IO[bytes]]:
    if path.suffix == ".gz":
        with gzip.open(path) as file:
            yield file  # type: ignore[misc]
    elif path.suffix == ".zst":
        with path.open("rb") as raw, _zstandard(path).ZstdDecompressor().stream_reader(raw) as file:
            yield io.BufferedReader(file)
    else:
        with path.open("rb") as file:
            yield file


def _zstandard(path: Path) -> Any:
    try:
        return import_module("zstandard")
    except ImportError:
        message = "a .zst file needs the package zstandard: pip install zstandard, or decompress the file"
        raise InputError(Diagnostic("missing-package", message, Location(shown(path)))) from None


def _read_jsonl(path: Path) -> Iterator[PlacedRow | Unreadable]:
    with _open(path) as file:
        for number, line in enumerate(file, start=1):
            if number == 1:
                line = line.removeprefix(b"\xef\xbb\xbf")
            if line.strip():
                yield _json_row(path, number, line)


def _json_row(path: Path, number: int, line: bytes) -> PlacedRow | Unreadable:
    try:
        value = json.loads(line)
    except json.JSONDecodeError as error:
        return Unreadable(path, number, error.colno, f"not valid JSON: {error.msg}")
    except UnicodeDecodeError as error:
        return Unreadable(path, number, error.start + 1, "not valid UTF-8")
    except RecursionError:
        return Unreadable(path, number, None, "nested too deeply")
    if not isinstance(value, dict):
        return Unreadable(path, number, 1, f"a row must be an object with columns, this is {_kind(value)}")
    return PlacedRow(path, number, value)


def _kind(value: object) -> str:
    names = {list: "a list", str: "a string", bool: "a boolean", int: "a number", float: "a number"}
    return names.get(type(value), "null")


def _read_json(path: Path) -> Iterator[PlacedRow | Unreadable]:
    with _open(path) as file:
        text = file.read()
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        yield Unreadable(path, error.lineno, error.colno, f"not valid JSON: {error.msg}")
        return
    except (UnicodeDecodeError, RecursionError) as error:
        yield Unreadable(path, 1, None, f"cannot be read as JSON: {error}")
        return
    if not isinstance(value, list):
        yield Unreadable(path, 1, 1, f"a .json data file must be a list of rows, this is {_kind(value)}")
        return
    for number, row in enumerate(value, start=1):
        if isinstance(row, dict):
            yield PlacedRow(path, number, row)
        else:
            yield Unreadable(path, number, None, f"row {number} must be an object, it is {_kind(row)}")


def _read_csv(path: Path) -> Iterator[PlacedRow | Unreadable]:
    with _open(path) as file, io.TextIOWrapper(file, encoding="utf-8-sig", newline="") as text:
        reader = csv.DictReader(text, strict=True)
        try:
            for row in reader:
                if None in row or None in row.values():
                    yield Unreadable(
                        path, reader.line_num, None, f"{len(reader.fieldnames or ())} columns expected"
                    )
                else:
                    yield PlacedRow(path, reader.line_num, dict(row))
        except (csv.Error, UnicodeDecodeError) as error:
            yield Unreadable(path, reader.line_num, None, f"not valid CSV: {error}")


def _read_parquet(path: Path) -> Iterator[PlacedRow | Unreadable]:
    import pyarrow
    import pyarrow.parquet

    try:
        file = pyarrow.parquet.ParquetFile(path)
    except (pyarrow.ArrowInvalid, OSError) as error:
        yield Unreadable(path, 1, None, f"not a Parquet file: {error}")
        return
    number = 0
    for batch in file.iter_batches(batch_size=1024):
        for row in batch.to_pylist():
            number += 1
            yield PlacedRow(path, number, row)


READERS: dict[str, Callable[[Path], Iterator[PlacedRow | Unreadable]]] = {
    ".jsonl": _read_jsonl,
    ".ndjson": _read_jsonl,
    ".json": _read_json,
    ".csv": _read_csv,
    ".parquet": _read_parquet,
}
