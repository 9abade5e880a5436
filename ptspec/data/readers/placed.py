"""Rows with their locations, and unreadable lines."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from ptspec.diagnostics import Diagnostic, Location


class PlacedRow(NamedTuple):
    """A row after renaming columns.

    `line` counts from 1; in a JSON list the row's first line, in CSV its last, in Parquet, Arrow and the hub
    its number. A tuple, since millions are made.
    """

    file: Path
    line: int
    values: dict[str, Any]


@dataclass(frozen=True)
class Unreadable:
    """A line that is not a row, the reason, and a hint."""

    file: Path
    line: int
    column: int | None
    reason: str
    hint: str | None = None


Item = PlacedRow | Unreadable


def first_row(items: Iterable[Item]) -> PlacedRow | None:
    """Return the first of `items` that is a row: its columns are the source's."""
    return next((item for item in items if isinstance(item, PlacedRow)), None)


def placed_in(item: Item, path: Path) -> Item:
    """Return the item as one of another file: of the one that a local copy was made from."""
    return item._replace(file=path) if isinstance(item, PlacedRow) else replace(item, file=path)


def placed_at(item: Item, line: int) -> Item:
    """Return the item with another line number."""
    return item._replace(line=line) if isinstance(item, PlacedRow) else replace(item, line=line)


_ADDRESS = re.compile(r"([a-z][a-z0-9+.-]+):/(?!/)", re.ASCII)


def shown(path: Path) -> str:
    """Return `path` for display: relative to the working directory if below it.

    A relative path or hub id is unchanged; an address (s3://bucket/file) is restored.
    """
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return _ADDRESS.sub(r"\1://", str(path), count=1) if not path.is_absolute() else str(path)


def unreadable(fault: Unreadable, pointer: str | None = None) -> Diagnostic:
    """Return the error for an unreadable line."""
    return Diagnostic(
        code="malformed-row",
        message=fault.reason,
        location=Location(shown(fault.file), fault.line, fault.column),
        pointer=pointer,
        hint=fault.hint,
    )
