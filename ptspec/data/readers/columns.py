"""Rename columns, for rows of files and of the hub."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from ptspec.diagnostics import Diagnostic
from ptspec.recipe.hints import did_you_mean, listed
from ptspec.recipe.json_pointer import join
from ptspec.recipe.sources import Source

Values = dict[str, Any]


def renamer(columns: Mapping[str, str]) -> Callable[[Mapping[str, Any]], Values]:
    """Return a function that renames a row's columns; `columns` maps wanted names to those in the file.

    One column may serve several names. An existing column with a wanted name is dropped, and so is the
    renamed one.
    """
    gone = {*columns, *columns.values()}

    def renamed(values: Mapping[str, Any]) -> Values:
        kept = {name: value for name, value in values.items() if name not in gone}
        kept.update({new: values[old] for new, old in columns.items() if old in values})
        return kept

    return renamed


def missing_columns(source: Source, present: Iterable[str]) -> Iterator[Diagnostic]:
    """Yield errors for renamed columns that no row has; `present` are the names after renaming."""
    names = set(present)
    there = sorted({source.columns.get(name, name) for name in names})
    for new, old in source.columns.items():
        if new not in names:
            message = f'"columns" takes "{new}" from "{old}", and the data has no column "{old}"'
            hint = did_you_mean(old, there) or f"columns there: {listed(there)}"
            yield Diagnostic("missing-column", message, None, join(source.at, "columns", new), hint)
