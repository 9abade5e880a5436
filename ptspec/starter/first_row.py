"""What the first row of a file offers: which methods it is for, under which names it has their columns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ptspec.data.column_names import renaming
from ptspec.data.layouts.convert import label_of
from ptspec.data.layouts.table import layout_for
from ptspec.data.layouts.turns import ROLES
from ptspec.data.readers.compression import kind_of
from ptspec.data.readers.placed import PlacedRow, Unreadable, shown, unreadable
from ptspec.data.readers.scan import READERS, scan
from ptspec.diagnostics import Diagnostic, InputError, Location
from ptspec.methods.types import Method, Rows
from ptspec.recipe.paths import ROWS_STAND_IN, is_file
from ptspec.recipe.sources import Source

CHATS = (("messages",), ("conversations",))
ANSWERED = (*CHATS, ("prompt",))


@dataclass(frozen=True)
class FirstRow:
    """What the first row of a file offers."""

    values: Mapping[str, Any]

    @property
    def names(self) -> frozenset[str]:
        return frozenset(self.values)

    def columns(self, rows: Rows) -> Mapping[str, str] | None:
        """The source's "columns" for a method that reads `rows`; None where these will not do."""
        return renaming(self.names, rows)

    def layout(self, rows: Rows) -> tuple[str, ...]:
        """The columns that such a method would read, under their wanted names."""
        renamed = self.columns(rows) or {}
        found = layout_for(rows, (self.names - {*renamed.values()}) | renamed.keys())
        return found.columns if found else ()

    def value(self, column: str, rows: Rows) -> Any:
        """The value of a wanted column."""
        return self.values.get((self.columns(rows) or {}).get(column, column))

    def is_labelled(self, rows: Rows) -> bool:
        """Whether a label says of each answer to imitate if it is a good one."""
        is_demonstration = rows is Rows.PROMPT_COMPLETION and self.layout(rows)[:1] in ANSWERED
        return is_demonstration and label_of(self.values.get("label")) is not None

    def serves(self, method: Method) -> bool:
        """Whether the row is one that `method` learns from: an answer to imitate, a label that is one."""
        if self.columns(method.rows) is None:
            return False
        layout = self.layout(method.rows)
        if "label" in layout:
            return label_of(self.value("label", method.rows)) is not None
        if method.rows is Rows.PROMPT_COMPLETION and layout in CHATS:
            return _is_answered(self.value(layout[0], method.rows))
        return True


def look_at(file: Path) -> FirstRow:
    """The first row of `file`. Raises `InputError` where it has none."""
    where = Location(shown(file))
    if not is_file(file):
        raise InputError(Diagnostic("missing-file", f"there is no file {file}", where))
    if kind_of(file) not in READERS:
        hint = f"{ROWS_STAND_IN}, optionally with .gz or .zst"
        raise InputError(Diagnostic("unsupported-format", "is in no format known here", where, hint=hint))
    first = next(scan(Source("data", (file.absolute(),))), None)
    if isinstance(first, Unreadable):
        raise InputError(unreadable(first))
    if not isinstance(first, PlacedRow):
        raise InputError(Diagnostic("no-rows", "has no rows", where))
    return FirstRow(first.values)


def _is_answered(turns: Any) -> bool:
    """Whether a chat ends with a turn of the assistant."""
    last = turns[-1] if isinstance(turns, list) and turns else None
    role = (last.get("role") or last.get("from")) if isinstance(last, dict) else None
    return ROLES.get(str(role), role) == "assistant"
