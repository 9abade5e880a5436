"""What the first row of a file offers: the methods that it serves, and its columns for them."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ptspec.data.column_names import renaming
from ptspec.data.layouts.convert import label_of
from ptspec.data.layouts.table import layout_for
from ptspec.data.layouts.turns import ROLES
from ptspec.data.readers.placed import shown
from ptspec.diagnostics import Diagnostic, InputError, Location
from ptspec.methods.types import Method, Rows
from ptspec.recipe.hints import did_you_mean, listed

CHATS = (("messages",), ("conversations",))
ANSWERED = (*CHATS, ("prompt",))


@dataclass(frozen=True)
class FirstRow:
    """What the first row of a file offers."""

    values: Mapping[str, Any]
    given: Mapping[str, str] = field(default_factory=dict)
    """Wanted names with the names of columns that the user gave for them."""

    def with_columns(self, given: Mapping[str, str], file: Path) -> FirstRow:
        """The row with the user's names. Raises `InputError` where `file` has no such column."""
        found = {wanted: _named_like(name, self.names) for wanted, name in given.items()}
        faults = [
            Diagnostic(
                "missing-column",
                f'--{wanted}: there is no column "{given[wanted]}"',
                Location(shown(file)),
                hint=did_you_mean(given[wanted], self.names)
                or f"columns there: {listed(sorted(self.names))}",
            )
            for wanted, name in found.items()
            if name is None
        ]
        if faults:
            raise InputError(*faults)
        return replace(self, given={wanted: name for wanted, name in found.items() if name is not None})

    @property
    def names(self) -> frozenset[str]:
        """The names of the columns."""
        return frozenset(self.values)

    @property
    def texts(self) -> tuple[str, ...]:
        """The columns that hold a text, in the order of the file."""
        return tuple(name for name, value in self.values.items() if isinstance(value, str) and value.strip())

    def columns(self, rows: Rows) -> Mapping[str, str] | None:
        """The source's "columns" for a method that reads `rows`; None where these will not do."""
        given = {wanted: name for wanted, name in self.given.items() if wanted != name}
        found = renaming((self.names - {*given.values()}) | given.keys(), rows)
        return None if found is None else {**given, **found}

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


def _named_like(name: str, names: Iterable[str]) -> str | None:
    """Return the one of `names` that `name` means.

    Itself, or the only one that differs in case, spaces or the composition of an umlaut.
    """
    there = list(names)
    if name in there:
        return name
    alike = [one for one in there if _folded(one) == _folded(name)]
    return alike[0] if len(alike) == 1 else None


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).strip().casefold()


def _is_answered(turns: Any) -> bool:
    """Whether a chat ends with a turn of the assistant."""
    last = turns[-1] if isinstance(turns, list) and turns else None
    role = (last.get("role") or last.get("from")) if isinstance(last, dict) else None
    return ROLES.get(str(role), role) == "assistant"
