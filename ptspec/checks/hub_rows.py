"""Check the first rows of a hub dataset for every stage that reads them, like rows of files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ptspec.data.checks.fault import Tally
from ptspec.data.checks.row_checks import LayoutChecker, Use, row_checker
from ptspec.data.checks.unused_columns import unused_columns
from ptspec.data.layouts.convert import reading_of
from ptspec.data.readers.columns import missing_columns
from ptspec.data.readers.hub_rows import Preview
from ptspec.diagnostics import Diagnostic
from ptspec.recipe.plan import Plan
from ptspec.recipe.sources import Source, parts_of


def check_rows(plan: Plan, source: Source, found: Preview) -> Iterator[Diagnostic]:
    """Yield renamed columns that do not exist, unused columns, and every error of the first rows."""
    if unknown := list(missing_columns(source, found.columns)):
        yield from unknown
        return
    found_uses = {
        Use(s.method.name, s.method.rows) for s in plan.trained if source.name in parts_of(plan.data, s.data)
    }
    uses = sorted(found_uses, key=lambda use: use.who)
    checkers = [row_checker(use, found.columns, reading_of(source)) for use in uses]
    if found.rows and uses:
        yield from unused_columns(source, uses, found.rows[0].values, found.columns)
    tally = Tally(rows=len(found.rows))
    for row in found.rows:
        for check in checkers:
            for fault in check(row.values):
                tally.add(fault, row.line)
    if not found.rows:  # only the columns, which every row has
        for check in checkers:
            for fault in () if isinstance(check, LayoutChecker) else check({}):
                tally.add(fault, 1)
    yield from tally.diagnostics(Path(source.hub or ""), source.at)
