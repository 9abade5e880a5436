"""The rows of a stage that `pt rows` shows: the first, in turn from several sources, or from a line on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, dropwhile, islice, repeat, zip_longest
from pathlib import Path

from ptspec.data.readers import hub_rows
from ptspec.data.readers.placed import Item, shown
from ptspec.data.readers.scan import scan
from ptspec.data.stream.pieces import items_in_pieces
from ptspec.diagnostics import Diagnostic, InputError
from ptspec.recipe.hints import listed
from ptspec.recipe.plan import Plan, Stage
from ptspec.recipe.sources import Source, parts_of


@dataclass(frozen=True)
class Place:
    """The line to start with; without `file`, in the first file of a stage's data."""

    line: int
    file: str | None = None

    def is_in(self, path: Path) -> bool:
        """Return whether the named file is `path`."""
        name = self.file or ""
        return name in (shown(path), str(path), path.name) or Path(name).absolute() == path


def place_of(text: str) -> Place:
    """Return the place of "12" or "data/train.jsonl:12". Raises `InputError`."""
    file, _, line = text.rpartition(":")
    if not (line.isascii() and line.isdigit() and int(line) > 0):
        hint = "a line, or a file and a line: 12, data/train.jsonl:12"
        raise InputError(Diagnostic("wrong-usage", f'--line: "{text}" is not a line', hint=hint))
    return Place(int(line), file or None)


def sources_of(plan: Plan, stage: Stage) -> list[Source]:
    """Return the sources of a stage's rows."""
    found = [plan.data[name] for name in parts_of(plan.data, stage.data)]
    return [one for one in found if isinstance(one, Source)]


def items_of(source: Source) -> Iterator[Item]:
    """Return the rows of a source; of a hub source the first ones in the caches or on the hub."""
    if source.addresses:
        return items_in_pieces(source)
    return scan(source) if source.hub is None else iter(hub_rows.first_rows(source) or ())


def first_rows(sources: Sequence[Source], count: int) -> Iterator[tuple[Source, Item]]:
    """Yield the first `count` rows of `sources` in turn, at least one of each."""
    readers = [zip(repeat(one), items_of(one), strict=False) for one in sources]
    in_turn = chain.from_iterable(zip_longest(*readers))
    return islice((one for one in in_turn if one is not None), max(count, len(readers)))


def rows_from(sources: Sequence[Source], place: Place, count: int) -> list[tuple[Source, Item]]:
    """Return `count` rows from a line on, of the first source with that file; [] if there is none."""
    for source in sources:
        path = next((path for path in source.paths if place.file is None or place.is_in(path)), None)
        if path is not None:
            here = (item for item in scan(source) if item.file == path)
            behind = dropwhile(lambda item: item.line < place.line, here)
            return [(source, item) for item in islice(behind, count)]
    return []


def no_such_line(place: Place, sources: Sequence[Source]) -> Diagnostic:
    """Return the error if no stage has a row at `place`."""
    files = list(dict.fromkeys(shown(path) for source in sources for path in source.paths))
    where = place.file or (files[0] if files else "the data")
    message = f"--line: no stage reads a row at line {place.line} of {where}"
    return Diagnostic("wrong-usage", message, hint=f"files: {listed(files)}" if files else None)
