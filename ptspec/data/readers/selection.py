"""Select rows of a source's files: its splits, their slices, and `limit` of these."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import NamedTuple, TypeVar

from ptspec.diagnostics import Diagnostic, InputError
from ptspec.recipe.data_files import named_splits
from ptspec.recipe.hints import did_you_mean, listed
from ptspec.recipe.json_pointer import join
from ptspec.recipe.sources import Source
from ptspec.recipe.splits import ALL, TRAIN, Slice, parse

Paths = tuple[Path, ...]
Count = Callable[[Paths], int]
One = TypeVar("One")


class Stretch(NamedTuple):
    """Rows `start` to `stop` (None: the last) of `paths`, counted from 0 over all of them."""

    paths: Paths
    start: int = 0
    stop: int | None = None

    @property
    def is_whole(self) -> bool:
        """Whether it includes all rows."""
        return not self.start and self.stop is None


def stretches(source: Source, count: Count) -> tuple[Stretch, ...]:
    """Return the rows of a local source's splits.

    `count` returns the number of rows in files; it is called if a bound depends on it. Raises `InputError` if
    a split does not exist.
    """
    if source.split is None:
        return (Stretch(source.paths),)
    splits = _splits(source)
    return tuple(_stretch(source, one, splits, count) for one in _slices(source, splits))


def is_whole(source: Source) -> bool:
    """Return whether a local source consists of all rows of its files, each once."""
    if source.limit is not None:
        return False
    if source.split is None:
        return True
    slices = _slices(source, _splits(source))
    return all(one.is_whole for one in slices) and len(slices) == len({one.split for one in slices})


def limited(source: Source, rows: Iterator[One], count: Callable[[], int]) -> Iterator[One]:
    """Return `limit` of these rows: the first, or with `shuffle` seeded ones in order.

    Of a streamed source the first, since drawing would read all. `count` returns how many there are.
    """
    if source.limit is None:
        return rows
    if source.shuffle and not source.streaming:
        return (
            row
            for row, is_drawn in zip(rows, drawn(count(), source.limit, source.seed), strict=False)
            if is_drawn
        )
    return islice(rows, min(source.limit, sys.maxsize))


def drawn(rows: int, limit: int, seed: int) -> Iterator[bool]:
    """Yield for each row whether it is among the `limit` drawn by the seed; ends with the last of these.

    All sets are equally likely. Knuth's selection sampling (The Art of Computer Programming, volume 2,
    algorithm 3.4.2S): no list of rows is kept, and of Python's generator only `random` is used, whose numbers
    are the same in each version.
    """
    uniform = random.Random(seed).random
    missing = min(limit, rows)
    for left in range(rows, 0, -1):
        if not missing:
            return
        is_drawn = uniform() * left < missing
        missing -= is_drawn
        yield is_drawn


def _splits(source: Source) -> Mapping[str, Paths]:
    if source.splits:
        return source.splits
    told = named_splits([(path.name, path) for path in source.paths])
    return {TRAIN: source.paths} | told if len(source.paths) == 1 or not told else told


def _slices(source: Source, splits: Iterable[str]) -> tuple[Slice, ...]:
    if source.split == ALL:
        return tuple(map(Slice, splits))
    try:
        return parse(source.split or TRAIN)
    except ValueError as error:
        raise InputError(_fault(source, "invalid-split", str(error))) from None


def _stretch(source: Source, one: Slice, splits: Mapping[str, Paths], count: Count) -> Stretch:
    paths = splits.get(one.split)
    if paths is None:
        hint = did_you_mean(one.split, splits) or f"splits there: {listed(splits)}"
        raise InputError(_fault(source, "unknown-split", f'no file is of the split "{one.split}"', hint))
    if one.is_whole:
        return Stretch(paths)
    if not one.needs_count:
        stop = one.stop if one.stop is None else min(one.stop, sys.maxsize)
        return Stretch(paths, min(one.start or 0, sys.maxsize), stop)
    try:
        return Stretch(paths, *one.bounds(count(paths)))
    except ValueError as error:
        raise InputError(_fault(source, "invalid-split", str(error))) from None


def _fault(source: Source, code: str, message: str, hint: str | None = None) -> Diagnostic:
    return Diagnostic(code, message, pointer=join(source.at, "split"), hint=hint)
