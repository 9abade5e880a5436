"""Read JSON lines of numbers as columns, in blocks.

pyarrow reads a long log many times faster than `json`; only one block is in memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptspec.report.html.json_lines import parsed
from ptspec.report.html.untrusted import number

BLOCK = 4 << 20
"""Bytes read at once."""
LONG = 1 << 20
"""Bytes from which importing pyarrow pays."""
LARGEST = 2**53
"""Floats represent integers exactly up to here."""


@dataclass(frozen=True)
class Column:
    """`values` of rows; `is_there`: the row has a number under this name, possibly not finite."""

    values: NDArray[np.float64]
    is_there: NDArray[np.bool_]


def read_columns(path: Path) -> Iterator[tuple[int, dict[str, Column]]]:
    """Yield blocks of rows as columns by name, each with the number of lines read so far.

    Only numbers; "step" only as an integer. Damaged lines are skipped; an unreadable file has no blocks.
    """
    with suppress(OSError):
        lines = _count_lines(path)
        with path.open("rb") as file:
            rest = b""
            while block := file.read(BLOCK):
                end = block.rfind(b"\n") + 1
                whole, rest = (rest + block[:end], block[end:]) if end else (b"", rest + block)
                if whole:
                    yield lines, _columns(whole)
            if rest:
                yield lines, _columns(rest)


def _count_lines(path: Path) -> int:
    with path.open("rb") as file:
        return sum(block.count(b"\n") for block in iter(lambda: file.read(BLOCK), b""))


def _columns(text: bytes) -> dict[str, Column]:
    found = _by_arrow(text) if len(text) >= LONG else None
    return _by_json(text) if found is None else found


def _by_arrow(text: bytes) -> dict[str, Column] | None:
    """Return a block by pyarrow; None if a line is not an object or a column has mixed types."""
    import pyarrow
    from pyarrow import json

    options = json.ReadOptions(use_threads=False, block_size=len(text) + 1)
    try:
        table = json.read_json(pyarrow.BufferReader(text), read_options=options)
    except pyarrow.ArrowException:
        return None
    types = dict(zip(table.column_names, table.schema.types, strict=True))
    if "step" not in types or not pyarrow.types.is_integer(types["step"]):
        return None
    found: dict[str, Column] = {}
    for name, kind in types.items():
        if pyarrow.types.is_integer(kind) or pyarrow.types.is_floating(kind):
            column = table.column(name)
            is_there = column.is_valid().to_numpy()
            found[name] = Column(column.fill_null(0).to_numpy().astype(np.float64), is_there)
    return found


def _by_json(text: bytes) -> dict[str, Column]:
    lines = text.decode("utf-8", "replace").split("\n")
    rows = [row for row in parsed([line for line in lines if line.strip()]) if isinstance(row, dict)]
    found = {}
    for key in dict.fromkeys(key for row in rows for key in row):
        values = [_step(row.get(key)) if key == "step" else _number(row.get(key)) for row in rows]
        is_there = np.array([value is not None for value in values], dtype=np.bool_)
        numbers = np.array([0 if value is None else value for value in values], dtype=np.float64)
        found[key] = Column(numbers, is_there)
    return found


def _step(value: Any) -> int | None:
    return value if type(value) is int and abs(value) < LARGEST else None


def _number(value: Any) -> float | None:
    if isinstance(value, float):
        return value
    found = number(value)
    return None if found is None else float(found)
