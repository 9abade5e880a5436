"""Convert a stream to TRL's columns; an unusable row stops it, or is left out and counted."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from typing import Any

from ptspec.data.checks.bad_rows import too_many
from ptspec.data.checks.fault import Fault, Tally
from ptspec.data.checks.row_checks import row_checker
from ptspec.data.dataset import Loading, converted, layout_of, other_columns
from ptspec.data.layouts.convert import reading_of
from ptspec.data.left_out import LeftOut
from ptspec.data.readers.placed import PlacedRow, Unreadable, first_row, shown, unreadable
from ptspec.data.stream.order import Entry
from ptspec.data.stream.pieces import Piece
from ptspec.diagnostics import Diagnostic, InputError
from ptspec.methods.types import Rows
from ptspec.recipe.sources import OnBadRow, Source

ENOUGH = 1000
"""Rows of a stream after which the share of bad ones is checked."""

Counts = dict[str, int]


class Converter:
    """Converts the entries of one source for one method."""

    def __init__(
        self,
        source: Source,
        pieces: list[Piece],
        rows: Rows,
        loading: Loading,
        left_out: Callable[[LeftOut], None],
    ) -> None:
        """Read the first row, which decides the layout. Raises `InputError` if there is none."""
        self.source, self.rows, self.loading, self.left_out = source, rows, loading, left_out
        items = (raw.read() for raw in chain.from_iterable(piece.rows(0) for piece in pieces))
        first = first_row(items)
        if first is None:
            raise InputError(Diagnostic("no-rows", f'data "{source.name}" has no rows', pointer=source.at))
        present = frozenset(first.values)
        self.layout = layout_of(source, rows, present)
        self.checker = row_checker(loading.use, present, reading_of(source))

    @property
    def halves(self) -> int:
        """The number of training rows per row: a pair is two for KTO."""
        return 2 if self.rows is Rows.UNPAIRED_PREFERENCE and self.layout.is_pair else 1

    def row(self, entry: Entry, counts: Counts) -> dict[str, Any] | None:
        """Return the row of `entry`; None if it is left out.

        `counts` has the rows read so far and the bad ones among them. Raises `InputError` for an unusable
        row, and for too many of them.
        """
        if not entry.half:
            counts["read"] += 1
        item = entry.raw.read()
        if isinstance(item, Unreadable):
            self._bad(entry, item, [], counts)
            return None
        made, faults = converted(item, self.layout, self.rows, self.source, self.checker, self.loading)
        if faults:
            self._bad(entry, item, faults, counts)
            return None
        return {**made[entry.half], **self._beside(item.values)}

    def first(self, pieces: list[Piece]) -> dict[str, Any] | None:
        """Return the first usable row, without counting."""
        counts = {"read": 0, "bad": -ENOUGH}
        raws = ((piece, raw) for piece in pieces for raw in piece.rows(0))
        made = (self.row(Entry(self.source, piece, raw), counts) for piece, raw in raws)
        return next((row for row in made if row is not None), None)

    def _beside(self, values: Mapping[str, Any]) -> dict[str, Any]:
        return other_columns(values) if self.rows is Rows.PROMPT_ONLY else {}

    def _bad(self, entry: Entry, item: PlacedRow | Unreadable, faults: list[Fault], counts: Counts) -> None:
        if entry.half:
            return  # reported for the first half
        placed = entry.piece.place(item)
        if self.source.on_bad_row is OnBadRow.STOP:
            raise InputError(*self._told(placed, faults))
        counts["bad"] += 1
        reason = faults[0] if faults else Fault("malformed-row", getattr(item, "reason", ""))
        self.left_out(LeftOut(shown(placed.file), placed.line, reason.code, reason.message))
        if counts["bad"] > self.source.max_bad_rows * max(counts["read"], ENOUGH):
            raise InputError(too_many(self.source, counts["bad"], max(counts["read"], counts["bad"])))

    def _told(self, item: PlacedRow | Unreadable, faults: list[Fault]) -> Iterator[Diagnostic]:
        if isinstance(item, Unreadable):
            yield unreadable(item, self.source.at)
            return
        tally = Tally(rows=2)  # not only this one: rows can be left out
        for fault in faults:
            tally.add(fault, item.line)
        yield from tally.diagnostics(item.file, self.source.at)
