"""The first rows of a dataset on the hub, checked for every stage that reads them, as rows of files are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ptspec.data.checks.fault import Tally
from ptspec.data.checks.row_checks import LayoutChecker, Use, row_checker
from ptspec.data.dataset import reading_of
from ptspec.data.readers.columns import missing_columns
from ptspec.data.readers.hub_rows import Preview
from ptspec.diagnostics import Diagnostic
from ptspec.recipe.plan import Plan, Source, parts_of


def check_rows(plan: Plan, source: Source, found: Preview) -> Iterator[Diagnostic]:
    """Columns that are renamed and not there, and every fault of the first rows."""
    if unknown := list(missing_columns(source, found.columns)):
        yield from unknown
        return
    uses = {
        Use(s.method.name, s.method.rows) for s in plan.stages if source.name in parts_of(plan.data, s.data)
    }
    checkers = [
        row_checker(use, found.columns, reading_of(source)) for use in sorted(uses, key=lambda use: use.who)
    ]
    tally = Tally(rows=len(found.rows))
    for row in found.rows:
        for check in checkers:
            for fault in check(row.values):
                tally.add(fault, row.line)
    if not found.rows:  # the columns alone, which are those of every row
        for check in checkers:
            for fault in () if isinstance(check, LayoutChecker) else check({}):
                tally.add(fault, 1)
    yield from tally.diagnostics(Path(source.hub or ""), source.at)
