"""Unusable rows under `on_bad_row` "leave_out": warnings, and an error for too many of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from ptspec.data.checks.fault import LEAVE_OUT
from ptspec.diagnostics import Diagnostic, Severity
from ptspec.recipe.json_pointer import join
from ptspec.recipe.sources import Source

OF_THE_SOURCE = frozenset(("no-rows", "missing-package"))
"""Errors of the source as a whole: leaving rows out does not help."""


def left_out(source: Source, found: Sequence[Diagnostic], bad: int, rows: int) -> Iterator[Diagnostic]:
    """Yield `found` with errors of rows as warnings; an error if `bad` of `rows` is too many.

    The source sets the limit; all rows is always too many.
    """
    for diagnostic in found:
        is_of_row = diagnostic.severity is Severity.ERROR and diagnostic.code not in OF_THE_SOURCE
        is_of_row = is_of_row and (diagnostic.location is not None and diagnostic.location.line is not None)
        yield _as_warning(diagnostic) if is_of_row else diagnostic
    if is_too_many(source, bad, rows):
        yield too_many(source, bad, rows)
    elif bad:
        message = f'{bad:,} of {rows:,} rows of "{source.name}" are left out (on_bad_row)'
        where = join(source.at, "on_bad_row")
        yield Diagnostic("rows-left-out", message, None, where, severity=Severity.WARNING)


def is_too_many(source: Source, bad: int, rows: int) -> bool:
    """Return whether `bad` of `rows` is more than the source allows, or all of them."""
    return bad > 0 and (bad == rows or bad > source.max_bad_rows * rows)


def too_many(source: Source, bad: int, rows: int) -> Diagnostic:
    """Return the error for more bad rows than `max_bad_rows` allows."""
    share = f"{bad:,} of {rows:,} rows ({bad / rows:.1%})" if rows else f"{bad:,} rows"
    allowed = f'"max_bad_rows" allows {source.max_bad_rows:.1%}'
    message = f'{share} of "{source.name}" cannot be used; {allowed}'
    hint = "correct the data, or raise max_bad_rows" if bad < rows else "no row is left"
    return Diagnostic("too-many-bad-rows", message, None, join(source.at, "on_bad_row"), hint)


def _as_warning(diagnostic: Diagnostic) -> Diagnostic:
    """Return a left-out row's error as a warning, without its hint."""
    hint = None if diagnostic.hint == LEAVE_OUT else diagnostic.hint
    notes = tuple(note for note in diagnostic.notes if note != LEAVE_OUT)
    return replace(diagnostic, severity=Severity.WARNING, hint=hint, notes=notes)
