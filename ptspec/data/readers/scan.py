"""Rows of local files, streamed with the place of each; knows no method and no torch.

JSONL, JSON (a list of objects, or one a line), CSV and Parquet, the text formats also as `.gz` or `.zst`.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import re
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import IO, Any, NamedTuple

from ptspec.data.readers.json_list import NotAList, elements
from ptspec.diagnostics import Diagnostic, InputError, Location
from ptspec.recipe.plan import Source

BOM = b"\xef\xbb\xbf"
COMPRESSIONS = (".gz", ".zst")

_HALF = "half of a surrogate pair (\\ud800 to \\udfff) stands alone: no text can hold it"


class PlacedRow(NamedTuple):
    """A row after `columns` were renamed. `line` counts from 1; of a list in JSON that on which the row
    begins, of CSV that on which it ends, of Parquet its number. A tuple, since millions are made."""

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
            if not isinstance(error, (OSError, EOFError, zlib.error, *_zstandard_errors())):
                raise
            reason = getattr(error, "strerror", None) or str(error) or "the file ends too early"
            yield Unreadable(path, line + 1, None, f"cannot be read from here on: {reason}")


def row_of(source: Source, path: Path, number: int, line: bytes) -> PlacedRow | Unreadable | None:
    """The row that a line of a JSONL file is; None of an empty one."""
    if line.isspace():
        return None
    item = _json_row(path, number, line)
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


def _zstandard_errors() -> tuple[type[Exception], ...]:
    module = sys.modules.get("zstandard")
    return (module.ZstdError,) if module else ()


def kind_of(path: Path) -> str:
    """The format's suffix: that before `.gz` or `.zst`, if there is one."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in COMPRESSIONS:
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


@contextmanager
def _open(path: Path) -> Iterator[IO[bytes]]:
    suffix = path.suffix.lower()
    if suffix == ".gz":
        with gzip.open(path) as file:
            yield file  # type: ignore[misc]
    elif suffix == ".zst":
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
        yield from _json_lines(path, file)


_DECODER = json.JSONDecoder()
_scan = _DECODER.scan_once  # type: ignore[attr-defined]


_half_escape = re.compile(r"\\u[dD]").search
"""Finds what may be half of a surrogate pair; only an escape can be. Thrice as fast as `in`."""


def plain_object(line: bytes) -> dict[str, Any] | None:
    """The object of a line that is one and a line break, as nearly every line is; None of another."""
    try:
        text = line.decode()
        value, end = _scan(text, 0)
        if type(value) is not dict or text[end:] != "\n":
            return None
        if _half_escape(text):
            _encodable(value)
    except (ValueError, StopIteration, RecursionError):
        return None
    return value


def _json_lines(path: Path, file: Iterable[bytes]) -> Iterator[PlacedRow | Unreadable]:
    for number, line in enumerate(file, start=1):
        if (value := plain_object(line)) is not None:
            yield PlacedRow(path, number, value)
        elif not line.isspace():
            yield _json_row(path, number, line)


def _json_row(path: Path, number: int, line: bytes) -> PlacedRow | Unreadable:
    begun = line.removeprefix(BOM)
    try:
        value = _DECODER.decode(begun.decode())
        _encodable(value)
    except json.JSONDecodeError as error:
        return Unreadable(path, number, error.colno, f"not valid JSON: {error.msg}")
    except UnicodeDecodeError as error:
        return Unreadable(path, number, error.start + 1, "not valid UTF-8")
    except RecursionError:
        return Unreadable(path, number, None, "nested too deeply")
    except UnicodeEncodeError:
        return Unreadable(path, number, None, _HALF)
    except ValueError as error:  # a number of thousands of digits
        return Unreadable(path, number, None, f"not valid JSON: {error}")
    return _row(path, number, value)


def _encodable(value: Any) -> None:
    """Raises `UnicodeEncodeError` for a text with half of a surrogate pair, which no tokenizer takes."""
    if type(value) is str:
        value.encode()
        return
    for item in value.values() if type(value) is dict else value if type(value) is list else ():
        if type(item) is not str or not item.isascii():
            _encodable(item)


def _row(path: Path, number: int, value: Any) -> PlacedRow | Unreadable:
    if not isinstance(value, dict):
        return Unreadable(path, number, 1, f"a row must be an object with columns, this is {_kind(value)}")
    return PlacedRow(path, number, value)


def _kind(value: object) -> str:
    names = {list: "a list", str: "a string", bool: "a boolean", int: "a number", float: "a number"}
    return names.get(type(value), "null")


def _read_json(path: Path) -> Iterator[PlacedRow | Unreadable]:
    """A list of rows, or, as the hub's .json files often are, one row a line."""
    with _open(path) as file:
        is_list = file.read(4096).removeprefix(BOM).lstrip()[:1] in (b"[", b"")
    if not is_list and isinstance(next(_read_jsonl(path), None), PlacedRow):
        yield from _read_jsonl(path)
        return
    with _open(path) as file, io.TextIOWrapper(file, encoding="utf-8-sig") as text:
        line = 1
        try:
            for line, value in elements(text):
                _encodable(value)
                yield _row(path, line, value)
        except NotAList as error:
            yield Unreadable(path, error.line, error.column, error.reason)
        except UnicodeDecodeError:
            yield Unreadable(path, line, None, "not valid UTF-8, on this line or after it")
        except UnicodeEncodeError:
            yield Unreadable(path, line, None, _HALF)


def _read_csv(path: Path) -> Iterator[PlacedRow | Unreadable]:
    with _open(path) as file, io.TextIOWrapper(file, encoding="utf-8-sig", newline="") as text:
        reader = csv.DictReader(text, strict=True)
        try:
            for row in reader:
                if None in row or None in row.values():
                    yield Unreadable(path, reader.line_num, None, _miscounted(row, reader.fieldnames or ()))
                else:
                    yield PlacedRow(path, reader.line_num, dict(row))
        except (csv.Error, UnicodeDecodeError) as error:
            what = "a quote is never closed" if "unexpected end" in str(error) else str(error)
            yield Unreadable(path, reader.line_num, None, f"not valid CSV: {what}")


def _miscounted(row: dict[Any, Any], header: Sequence[str]) -> str:
    given = len(header) + len(row.get(None) or ()) - sum(value is None for value in row.values())
    return f"this row has {given} values, the header names {len(header)} columns: {', '.join(header)}"


def _read_parquet(path: Path) -> Iterator[PlacedRow | Unreadable]:
    import pyarrow
    import pyarrow.parquet

    number = 0
    try:
        for batch in pyarrow.parquet.ParquetFile(path).iter_batches(batch_size=1024):
            for row in batch.to_pylist():
                number += 1
                yield PlacedRow(path, number, row)
    except (pyarrow.ArrowException, ValueError) as error:
        what = "cannot be read from here on" if number else "not a Parquet file"
        yield Unreadable(path, number + 1, None, f"{what}: {error}")


READERS: dict[str, Callable[[Path], Iterator[PlacedRow | Unreadable]]] = {
    ".jsonl": _read_jsonl,
    ".ndjson": _read_jsonl,
    ".json": _read_json,
    ".csv": _read_csv,
    ".parquet": _read_parquet,
}
