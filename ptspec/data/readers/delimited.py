"""CSV: a header, then a row a record."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ptspec.data.readers.compression import open_binary
from ptspec.data.readers.placed import PlacedRow, Unreadable


def read_csv(path: Path) -> Iterator[PlacedRow | Unreadable]:
    with open_binary(path) as file, io.TextIOWrapper(file, encoding="utf-8-sig", newline="") as text:
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
