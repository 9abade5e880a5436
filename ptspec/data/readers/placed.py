"""Rows with the place each one stands at, and lines that are no row."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from ptspec.diagnostics import Diagnostic, Location


class PlacedRow(NamedTuple):
    """A row after `columns` were renamed.

    `line` counts from 1; of a list in JSON that on which the row begins, of CSV that on which it ends, of
    Parquet, Arrow and the hub its number. A tuple, since millions are made."""

    file: Path
    line: int
    values: dict[str, Any]


@dataclass(frozen=True)
class Unreadable:
    """A line that is no row, why, and what to do."""

    file: Path
    line: int
    column: int | None
    reason: str
    hint: str | None = None


Item = PlacedRow | Unreadable


def first_row(items: Iterable[Item]) -> PlacedRow | None:
    """The first of `items` that is a row: the columns of a source are those of it."""
    return next((item for item in items if isinstance(item, PlacedRow)), None)


def placed_in(item: Item, path: Path) -> Item:
    """The item as one of another file: of that which a local copy was made of."""
    return item._replace(file=path) if isinstance(item, PlacedRow) else replace(item, file=path)


def placed_at(item: Item, line: int) -> Item:
    return item._replace(line=line) if isinstance(item, PlacedRow) else replace(item, line=line)


_ADDRESS = re.compile(r"([a-z][a-z0-9+.-]+):/(?!/)", re.ASCII)


def shown(path: Path) -> str:
    """`path` as a user would type it: relative to the working directory where it lies below it.

    One that is relative already, a hub id too, stays as it is; an address (s3://bucket/file) is whole again.
    """
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return _ADDRESS.sub(r"\1://", str(path), count=1) if not path.is_absolute() else str(path)


def unreadable(fault: Unreadable, pointer: str | None = None) -> Diagnostic:
    return Diagnostic(
        code="malformed-row",
        message=fault.reason,
        location=Location(shown(fault.file), fault.line, fault.column),
        pointer=pointer,
        hint=fault.hint,
    )
