"""Read CSV and TSV: a header, then a record per row. Separator and encoding are detected."""

from __future__ import annotations

import codecs
import csv
import io
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from ptspec.data.readers.compression import kind_of, open_binary
from ptspec.data.readers.encoding import UTF_8, conversion, first_undecodable, likely_encoding_of
from ptspec.data.readers.placed import Item, PlacedRow, Unreadable
from ptspec.diagnostics import Diagnostic, Severity

SAMPLE = 1 << 16
"""Bytes at the beginning of a file in which the separator is detected."""
ENCODING_SAMPLE = 1 << 20
"""Bytes at the beginning of a file in which the encoding is detected."""
RECORDS = 50
"""Records of these that are compared."""

_SEPARATORS = (",", ";", "\t", "|")
_NAMES = {",": '","', ";": '";"', "\t": "tabs", "|": '"|"'}
_EXPECTED = {".tsv": "\t"}
_LONGEST = 1 << 25
"""Maximum characters of a field. A longer one is due to an unclosed quote."""


@dataclass(frozen=True)
class Dialect:
    """A file's encoding and separator."""

    separator: str
    encoding: str


def read_delimited(path: Path) -> Iterator[Item]:
    """Yield the rows of a CSV or TSV file; an `Unreadable` at the first error of the format."""
    dialect = dialect_of(path)
    csv.field_size_limit(_LONGEST)
    with open_binary(path) as file, io.TextIOWrapper(file, encoding=dialect.encoding, newline="") as text:
        reader, line = csv.reader(text, delimiter=dialect.separator, strict=True), 0
        try:
            header = next((record for record in reader if record), [])
            if fault := _of_header(path, reader.line_num, header):
                yield fault
                return
            line = reader.line_num
            for record in reader:
                line = reader.line_num
                if len(record) == len(header):
                    yield PlacedRow(path, reader.line_num, dict(zip(header, record, strict=True)))
                elif record:
                    hint = _unquoted(dialect.separator) if len(record) > len(header) else None
                    yield Unreadable(path, reader.line_num, None, _miscounted(len(record), header), hint)
        except UnicodeDecodeError as error:
            what = f"not valid {dialect.encoding.upper()}: {error.reason}"
            found = first_undecodable(path) if dialect.encoding == UTF_8 else None
            yield found or Unreadable(path, line + 1, None, what)
        except csv.Error as error:
            is_open = any(words in str(error) for words in ("unexpected end", "field limit"))
            what = "a quote is never closed" if is_open else str(error)
            yield Unreadable(path, line + 1, None, f"not valid CSV: {what}")


def notes(path: Path) -> Iterator[Diagnostic]:
    """Yield warnings about encoding or separator that the file's name does not suggest, without location."""
    dialect, severity = dialect_of(path), Severity.WARNING
    if dialect.separator != _EXPECTED.get(kind_of(path), ","):
        text = f"columns are separated by {_NAMES[dialect.separator]}"
        yield Diagnostic("csv-separator", text, severity=severity)
    if dialect.encoding != UTF_8:
        yield Diagnostic("csv-encoding", f"read as {dialect.encoding.upper()}", severity=severity)


def dialect_of(path: Path) -> Dialect:
    """Return the detected encoding (byte order mark or first bytes) and separator (first records)."""
    with open_binary(path) as file:
        sample = file.read(ENCODING_SAMPLE)
    encoding = likely_encoding_of(sample, is_whole=len(sample) < ENCODING_SAMPLE)
    beginning = sample[:SAMPLE]
    text = codecs.getincrementaldecoder(encoding)(errors="replace").decode(beginning)
    is_whole = len(beginning) < SAMPLE
    expected = _EXPECTED.get(kind_of(path), ",")
    return Dialect(_separator(text, expected, is_whole=is_whole), encoding)


def _separator(text: str, expected: str, *, is_whole: bool) -> str:
    """Return the separator that gives each record as many fields as the header, and the most fields."""
    ranked = []
    for separator in (expected, *(one for one in _SEPARATORS if one != expected)):
        counts = _fields(text, separator, is_whole=is_whole)
        if counts and counts[0] > 1:
            ranked.append((len(set(counts)) == 1, counts[0], separator))
    if not ranked:
        return expected
    return max(ranked, key=lambda found: found[:2])[2]


def _fields(text: str, separator: str, *, is_whole: bool) -> list[int]:
    """Return the fields of each of the first records, without the last one of a truncated text."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    try:
        counts = [len(record) for record in islice(reader, RECORDS + 1) if record]
    except csv.Error:
        return []
    return counts if is_whole or len(counts) < 2 else counts[:-1]


def _of_header(path: Path, line: int, header: Sequence[str]) -> Unreadable | None:
    """Return what is wrong with the column names."""
    if any("\0" in name for name in header):
        reason = "the header holds NUL characters: the file is likely UTF-16 without a byte order mark"
        return Unreadable(path, line, None, reason, conversion(path, "utf-16le"))
    if empty := [number for number, name in enumerate(header, start=1) if not name.strip()]:
        reason = f"the header gives no name to column {', '.join(map(str, empty))} of {len(header)}"
        hint = "name every column"
        if empty == [1]:
            hint += "; pandas leaves out an index with to_csv(…, index=False)"
        return Unreadable(path, line, None, reason, hint)
    if twice := [name for name, count in Counter(header).items() if count > 1]:
        names = ", ".join(f'"{name}"' for name in twice)
        reason = f"the header names more than one column {names}"
        return Unreadable(path, line, None, reason, "give every column a name of its own")
    return None


def _unquoted(separator: str) -> str:
    return f"a text that holds {_NAMES[separator]} stands in double quotes"


def _miscounted(count: int, header: Sequence[str]) -> str:
    return f"this row has {count} values, the header names {len(header)} columns: {', '.join(header)}"
