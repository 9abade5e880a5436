"""Unfilled placeholders like {{name}} in a file's texts."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from ptspec.data.layouts.table import LAYOUTS
from ptspec.data.readers.placed import PlacedRow, shown
from ptspec.diagnostics import Diagnostic, Location, Severity
from ptspec.recipe.hints import listed
from ptspec.recipe.json_pointer import strings_in
from ptspec.recipe.sources import Source

_PLACEHOLDER = re.compile(r"\{\{[A-Za-z_]\w*\}\}")
NAMED = 3
_COLUMNS = frozenset(
    (
        *("system", "history", "input"),
        *(name for layouts in LAYOUTS.values() for layout in layouts for name in layout.columns),
    )
)


def placeholders(source: Source, rows: Sequence[PlacedRow]) -> Iterator[Diagnostic]:
    """Yield a warning, once per source, if texts of its first `rows` hold placeholders."""
    found = [(row, names) for row in rows if (names := _names(row))]
    if not found:
        return
    first = found[0][0]
    names = list(dict.fromkeys(name for _, of_row in found for name in of_row))
    note = f"{len(found):,} of the first {len(rows):,} rows are so" if len(rows) > 1 else ""
    yield Diagnostic(
        "unfilled-placeholder",
        f"nothing replaces {listed(names, NAMED)}: it is learned as plain text",
        Location(shown(first.file), first.line),
        source.at,
        "put what is meant into the file, unless the rows are about such texts",
        (note,) if note else (),
        Severity.WARNING,
    )


def _names(row: PlacedRow) -> list[str]:
    """Return the placeholders in the texts of a row."""
    found = []
    for name, value in row.values.items():
        if name in _COLUMNS and (type(value) is not str or "{{" in value):
            found += [place for _, text in strings_in(value) for place in _PLACEHOLDER.findall(text)]
    return found
