"""One pass over the rows of a source, in this process or split: its errors, and a summary."""

from __future__ import annotations

import io
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import groupby, islice
from operator import attrgetter, itemgetter
from pathlib import Path
from typing import Any

from ptspec.data.checks.bad_rows import left_out
from ptspec.data.checks.fault import SHOWN_LINES, Fault, Tally
from ptspec.data.checks.placeholders import placeholders
from ptspec.data.checks.ranges import Range, ranges, shared_out
from ptspec.data.checks.repeats import BOUND, Repeats, prompt_key
from ptspec.data.checks.row_checks import LayoutChecker, RowChecker, Use, row_checker
from ptspec.data.checks.unused_columns import unused_columns
from ptspec.data.layouts.convert import label_of, reading_of
from ptspec.data.layouts.table import layout_for
from ptspec.data.readers.columns import missing_columns
from ptspec.data.readers.jsonl import plain_object
from ptspec.data.readers.placed import Item, PlacedRow, Unreadable, first_row, shown, unreadable
from ptspec.data.readers.scan import notes, row_of, scan
from ptspec.diagnostics import Diagnostic, Location, Severity
from ptspec.methods.types import Rows
from ptspec.recipe.json_pointer import join
from ptspec.recipe.sources import OnBadRow, Source

Items = list[PlacedRow | Unreadable]

KEPT = 500
"""Rows of a source kept for later checks, such as their lengths."""
KEPT_UNUSUAL = 20_000
"""Rows of an unusual form kept to be rendered with the chat template."""

CHUNK = 16_384
"""Rows whose hashes are compared at once."""

_HELD_OUT = Fault(
    "held-out-row",
    "this prompt stands in the held-out data too: what is measured there was trained on",
    Severity.WARNING,
)


@dataclass
class Seen:
    """The summary of a source.

    The number of rows, of KTO's labels (None: not read), the first rows, the text bytes of the largest of
    these, the columns of the first row, rows of an unusual form, which not every template accepts (of
    held-out rows all usable ones); the number of unusable rows; and whether all rows were read.
    """

    rows: int = 0
    labels: dict[bool, int] | None = None
    first: Items = field(default_factory=list)
    widest: int = 0
    columns: frozenset[str] = frozenset()
    unusual: Items = field(default_factory=list)
    bad: int = 0
    is_whole: bool = True


@dataclass
class _Part:
    """The result of a part of a file: `keys` are hashes of rows, `lines` their lines."""

    file: Path
    tally: Tally = field(default_factory=Tally)
    malformed: int = 0
    unreadable: list[Unreadable] = field(default_factory=list)
    first: Items = field(default_factory=list)
    unusual: Items = field(default_factory=list)
    bad: int = 0
    labels: dict[bool, int] = field(default_factory=lambda: {True: 0, False: 0})
    keys: array[int] = field(default_factory=lambda: array("q"))
    lines: array[int] = field(default_factory=lambda: array("Q"))
    prompts: set[int] = field(default_factory=set)
    last: int = 0
    """Lines of the part, if they count from its own beginning."""

    @property
    def is_something(self) -> bool:
        return bool(self.tally.rows or self.malformed)


class SourcePass:
    """One pass over the rows of a source, all of them or those of `scanned`.

    Adds a held-out source's prompts to `prompts`, and compares others with them.
    """

    def __init__(
        self,
        source: Source,
        uses: list[Use],
        prompts: set[int],
        scanned: Callable[[], Iterator[Item]] | None = None,
        *,
        is_held_out: bool,
    ) -> None:
        self.source, self.uses, self.prompts, self.is_held_out = source, uses, prompts, is_held_out
        self.scanned = scanned or partial(scan, source)
        self.seen = Seen()
        self.compares = bool(prompts) or is_held_out
        self.malformed = 0

    def faults(self) -> Iterator[Diagnostic]:
        """Yield every error and warning of the source, in the order of its files.

        With `on_bad_row` "leave_out" errors of rows are warnings, while they are few enough.
        """
        found = list(self._faults())
        if self.source.on_bad_row is OnBadRow.STOP:
            yield from found
            return
        yield from left_out(self.source, found, self.seen.bad, self.seen.rows + self.malformed)

    def _faults(self) -> Iterator[Diagnostic]:
        first = first_row(self.scanned())
        self._begin(frozenset(first.values if first is not None else ()))
        tallies: dict[Path, Tally] = {path: Tally() for path in self.source.paths}
        offsets: dict[Path, int] = {}
        malformed = 0
        for part in self._parts():
            offset = offsets.get(part.file, 0)
            yield from self._unreadable(part, offset, SHOWN_LINES - malformed)
            malformed += part.malformed
            self._join(part, tallies.setdefault(part.file, Tally()), offset)
            offsets[part.file] = offset + part.last
        if malformed > SHOWN_LINES:
            yield _and_more(self.source, malformed)
        self.malformed = malformed
        yield from notes(self.source)
        if first is not None:
            placed = [item for item in self.seen.first if isinstance(item, PlacedRow)]
            names = frozenset(name for item in placed for name in item.values)
            yield from missing_columns(self.source, names)
            yield from unused_columns(self.source, self.uses, first.values, names)
            yield from placeholders(self.source, placed)
        for path, tally in tallies.items():
            yield from map(self._with_bound, tally.diagnostics(path, self.source.at))
        self.seen.bad += malformed
        if not malformed and first is None:
            yield _no_rows(self.source)

    def _begin(self, columns: frozenset[str]) -> None:
        """Set up from the first row, whose columns are the source's."""
        self.seen.columns = columns
        reading = reading_of(self.source)
        self.checkers: list[RowChecker] = [row_checker(use, columns, reading) for use in self.uses]
        self.repeats = Repeats(self.uses, columns)
        wanted = Rows.UNPAIRED_PREFERENCE
        layouts = [layout_for(wanted, columns) for use in self.uses if use.rows is wanted]
        if any(layout is not None and layout.has_label for layout in layouts):
            self.seen.labels = {True: 0, False: 0}

    def _parts(self) -> Iterator[_Part]:
        """Yield the result of each part of the source, in file order.

        In a split file lines count from the beginning of the part.
        """
        if not is_looked_at_in_part(self.source) and (parts := ranges(self.source)):
            yield from shared_out(self._range, parts)
            return
        for file, items in groupby(self.scanned(), key=attrgetter("file")):
            while (part := self._read(_Part(file), islice(items, CHUNK))).is_something:
                yield part

    def _range(self, place: Range) -> _Part:
        file, begin, end = place
        with file.open("rb") as opened:
            opened.seek(begin)
            lines = opened.read(end - begin)
        part, quick = _Part(file, last=lines.count(b"\n")), self._quick()
        is_first, renamed = begin == 0, bool(self.source.columns)
        for number, line in enumerate(io.BytesIO(lines), start=1):
            values = plain_object(line)
            found = None if values is None or renamed else quick(values)
            if values is None or found is None or (is_first and len(part.first) < KEPT):
                again = values is None or renamed
                item = (
                    row_of(self.source, file, number, line)
                    if again
                    else PlacedRow(file, number, values or {})
                )
                if item is not None:
                    self._item(part, item)
                continue
            part.keys.append(found)
            part.lines.append(number)
            if self.compares:
                self._compare(part, values, number)
        part.tally.rows = len(part.keys)
        return part

    def _read(self, part: _Part, items: Iterable[PlacedRow | Unreadable]) -> _Part:
        quick = self._quick()
        for item in items:
            found = quick(item.values) if isinstance(item, PlacedRow) and len(part.first) >= KEPT else None
            if found is None:
                self._item(part, item)
                continue
            part.keys.append(found)
            part.lines.append(item.line)
            if self.compares and isinstance(item, PlacedRow):
                self._compare(part, item.values, item.line)
        part.tally.rows = len(part.keys)
        return part

    def _item(self, part: _Part, item: PlacedRow | Unreadable) -> None:
        """Check a row completely."""
        if len(part.first) < KEPT:
            part.first.append(item)
        if isinstance(item, Unreadable):
            part.malformed += 1
            part.unreadable += [item] if part.malformed <= SHOWN_LINES else []
            return
        part.keys.append(self.repeats.key(item.values))
        part.lines.append(item.line)
        self._check(part, item)
        if self.compares:
            self._compare(part, item.values, item.line)
        if self.seen.labels is not None and (label := label_of(item.values.get("label"))) is not None:
            part.labels[label] += 1

    def _check(self, part: _Part, item: PlacedRow) -> None:
        if all(isinstance(one, LayoutChecker) and one.is_usual(item.values) for one in self.checkers):
            return
        found = dict.fromkeys(fault for faults_of in self.checkers for fault in faults_of(item.values))
        for fault in found:
            part.tally.add(fault, item.line)
        is_bad = any(fault.severity is Severity.ERROR for fault in found)
        part.bad += is_bad
        if not is_bad and len(part.unusual) < KEPT_UNUSUAL:
            part.unusual.append(item)

    def _quick(self) -> Callable[[Mapping[str, Any]], int | None]:
        """Return a function that hashes a row whose relevant columns are all texts, else returns None.

        Nearly all rows are so, and need no other check.
        """
        checkers = [one for one in self.checkers if isinstance(one, LayoutChecker)]
        columns = self.repeats.columns
        is_text = all(one.holds_prompt and not one.chats and not one.layout.has_label for one in checkers)
        if len(checkers) < len(self.checkers) or len(columns) < 2 or not is_text:
            return lambda values: None
        texts = itemgetter(*columns)
        beside = {"input"} if any(one.takes_input for one in checkers) else set()
        special = frozenset(beside).difference(columns).union(*(one.special for one in checkers))
        is_plain = [one.is_plain_beside for one in checkers]
        pair = any(one.layout.is_pair for one in checkers)
        chosen, rejected = (columns.index(name) if pair else 0 for name in ("chosen", "rejected"))

        def quick(values: Mapping[str, Any]) -> int | None:
            try:
                found = texts(values)
            except KeyError:
                return None
            for text in found:
                if type(text) is not str or not text or text.isspace():
                    return None
            if not special.isdisjoint(values) or (pair and found[chosen] == found[rejected]):
                return None
            return hash(found) if all(plain(values) for plain in is_plain) else None

        return quick

    def _compare(self, part: _Part, values: Mapping[str, Any], line: int) -> None:
        key = prompt_key(values)
        if key is None:
            return
        if self.is_held_out:
            part.prompts.add(key)
        elif key in self.prompts:
            part.tally.add(_HELD_OUT, line)

    def _unreadable(self, part: _Part, offset: int, most: int) -> Iterator[Diagnostic]:
        for fault in part.unreadable[: max(0, most)]:
            yield unreadable(replace(fault, line=offset + fault.line), self.source.at)

    def _join(self, part: _Part, tally: Tally, offset: int) -> None:
        """Add the result of a part of a file whose lines start after `offset`."""
        missing = KEPT - len(self.seen.first)
        first = [_moved(item, offset) for item in part.first[:missing]]
        self.seen.first += first
        widths = (bytes_of(item.values) for item in first if isinstance(item, PlacedRow))
        self.seen.widest = max(self.seen.widest, *widths, 0)
        self.seen.rows += part.tally.rows
        self.seen.bad += part.bad
        room = KEPT_UNUSUAL - len(self.seen.unusual)
        self.seen.unusual += [_moved(item, offset) for item in part.unusual[:room]]
        for place in self.repeats.which(part.keys):
            part.tally.add(self.repeats.fault, part.lines[place])
        tally.join(part.tally, offset)
        if (labels := self.seen.labels) is not None:
            for label, count in part.labels.items():
                labels[label] += count
        if len(self.prompts) < BOUND:
            self.prompts |= part.prompts

    def _with_bound(self, fault: Diagnostic) -> Diagnostic:
        if fault.code != "repeated-row" or not self.repeats.is_full:
            return fault
        note = (
            f"the first {BOUND:,} different rows were remembered; later ones were compared with these alone"
        )
        return replace(fault, notes=(*fault.notes, note))


def is_looked_at_in_part(source: Source) -> bool:
    """Return whether only the first rows are checked before a run: of streams and remote files."""
    return source.streaming or bool(source.addresses)


def bytes_of(values: Mapping[str, Any]) -> int:
    """Return the bytes of text in a row."""
    size = 0
    for value in values.values():
        text = value if type(value) is str else repr(value)
        size += len(text) if text.isascii() else len(text.encode())
    return size


def _moved(item: PlacedRow | Unreadable, offset: int) -> PlacedRow | Unreadable:
    if isinstance(item, PlacedRow):
        return item._replace(line=item.line + offset)
    return replace(item, line=item.line + offset)


def _and_more(source: Source, malformed: int) -> Diagnostic:
    message = f"{malformed:,} lines in all cannot be read, the first {SHOWN_LINES} are above"
    file = source.addresses[0] if source.addresses else shown(source.paths[0])
    return Diagnostic("malformed-row", message, Location(file), source.at)


def _no_rows(source: Source) -> Diagnostic:
    files = ", ".join((*source.addresses, *(shown(path) for path in source.paths)))
    if source.split is not None and next(iter(scan(replace(source, split=None))), None) is not None:
        message = f'data "{source.name}": "{source.split}" takes none of the rows that are there'
        return Diagnostic("no-rows", message, None, join(source.at, "split"), "widen the slice")
    return Diagnostic("no-rows", f'data "{source.name}" has no rows', Location(files), source.at)
