"""The first rows of a hub dataset, and errors in how a source names it.

Reads the caches, then the hub if it can be reached.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

from ptspec.data.layouts.convert import unpadded
from ptspec.data.readers import hub_files
from ptspec.data.readers.columns import renamer
from ptspec.data.readers.placed import PlacedRow
from ptspec.hub import arrow_cache, viewer
from ptspec.hub.arrow_cache import CachedConfig
from ptspec.hub.cache import DATASET
from ptspec.hub.connection import obstacle, reason
from ptspec.hub.repository import Refused, Repository, look
from ptspec.hub.viewer import Rows, Splits
from ptspec.recipe.hints import did_you_mean, listed
from ptspec.recipe.sources import Source
from ptspec.recipe.splits import ALL, TRAIN, parse

MOST = 100
"""Rows to read."""


@dataclass(frozen=True)
class Preview:
    """`columns` and `rows` after renaming.

    `rows` is empty if the source starts further down in its split, or the split is empty.
    """

    columns: frozenset[str]
    rows: tuple[PlacedRow, ...]


@dataclass(frozen=True)
class Wrong:
    """A part of a source that the dataset lacks; `key` is the source's key for it."""

    code: str
    key: str
    message: str
    hint: str | None = None


class NotRead(Exception):
    """Why the dataset could not be read."""


Outcome = Preview | Wrong | Refused | NotRead


def preview(source: Source) -> Outcome:
    """Return what the caches or the hub have of `source`, cached for the life of the process."""
    split = source.split or TRAIN
    try:
        found = _look(source.hub or "", source.config_name, source.revision, split)
    except NotRead as error:
        return error
    if not isinstance(found, Rows):
        return found
    rows = found.rows[: _read_of(split, len(found.rows))][: source.limit]
    file = Path(source.hub or "")
    renamed = renamer(source.columns)
    placed = [PlacedRow(file, number, unpadded(renamed(row))) for number, row in enumerate(rows, 1)]
    columns = renamed(dict.fromkeys(found.columns))
    return Preview(frozenset(columns), tuple(placed))


def first_rows(source: Source) -> list[PlacedRow] | None:
    """Return the first rows of a hub source; None if they are unavailable."""
    found = preview(source)
    return list(found.rows) if isinstance(found, Preview) else None


def is_cached(source: Source) -> bool:
    """Return whether `datasets` has the source in its own cache."""
    return _cached(source.hub or "", source.config_name, source.revision) is not None


def split_names(text: str) -> list[str]:
    """Return the splits in a `datasets` split expression: "train[:10%]+test"."""
    return [one.split for one in parse(text)]


def _read_of(text: str, rows: int) -> int:
    """Return how many of the first `rows` rows of a split the expression `text` certainly includes."""
    first = parse(text)[0]
    if first.start or (first.stop or 0) < 0:
        return 0
    if first.stop is None:
        return rows
    return rows * first.stop // 100 if first.rounding is not None else first.stop


def _cached(dataset: str, config: str | None, revision: str | None) -> CachedConfig | None:
    """Return the configuration that `datasets` would read from its cache; None if it would refuse."""
    found = arrow_cache.cached(dataset, revision)
    name = config or (next(iter(found)) if len(found) == 1 else "")
    return found.get(name)


@functools.lru_cache(maxsize=64)
def _look(dataset: str, config: str | None, revision: str | None, split: str) -> Rows | Wrong | Refused:
    """Read the dataset. Raises `NotRead`, which is not cached: a network may come back."""
    names = split_names(split)
    cached = _cached(dataset, config, revision)
    if cached is not None and names[0] in cached.splits:
        rows = arrow_cache.first_rows(cached, names[0], MOST)
        if rows is not None:
            return _unknown_split(dataset, names, tuple(cached.splits)) or rows
    if (why := obstacle(DATASET)) is not None:
        unknown = _unknown_split(dataset, names, tuple(cached.splits)) if cached is not None else None
        if unknown is None:
            raise NotRead(why)
        return unknown
    try:
        return _ask(look(dataset, revision, DATASET), config, names)
    except Refused as refused:
        return refused
    except NotRead:
        raise
    except Exception as error:  # network, file and server errors of various libraries
        raise NotRead(reason(error)) from error


def _ask(repository: Repository, config: str | None, names: list[str]) -> Rows | Wrong:
    from_viewer = viewer.splits(repository.name, repository.commit)
    known = from_viewer or hub_files.splits(repository)
    if known is None:
        raise NotRead("its files are of no format known here")
    chosen = config or _default(repository, known)
    if chosen in known:
        wrong = _unknown_split(repository.name, names, known[chosen])
    else:
        wrong = _unknown_config(repository.name, config, known)
    if wrong is not None:
        if from_viewer or hub_files.described(repository):
            return wrong
        raise NotRead("neither its card nor the names of its files tell its splits")
    split = known[chosen][0] if names[0] == ALL else names[0]
    rows = viewer.first_rows(repository.name, repository.commit, chosen, split) if from_viewer else None
    if rows is None or not rows.rows:
        rows = hub_files.first_rows(repository, chosen, split, MOST) or rows
    if rows is None:
        raise NotRead("its files are of no format known here")
    return rows


def _default(repository: Repository, known: Splits) -> str:
    """Return the configuration that `datasets` uses by default; "" if there is none."""
    if len(known) == 1:
        return next(iter(known))
    named = hub_files.default_config(repository)
    return named or (hub_files.DEFAULT if hub_files.DEFAULT in known else "")


def _unknown_config(dataset: str, given: str | None, known: Splits) -> Wrong | None:
    if given is None:
        message = f'"{dataset}" has several configurations, and none of them is the default'
        return Wrong("unknown-config", "", message, f'"name": one of {listed(known)}')
    hint = did_you_mean(given, known) or f"configurations: {listed(known)}"
    return Wrong("unknown-config", "name", f'"{dataset}" has no configuration "{given}"', hint)


def _unknown_split(dataset: str, names: list[str], known: tuple[str, ...]) -> Wrong | None:
    for name in names:
        if name not in known and name != ALL:
            hint = did_you_mean(name, known) or f"splits: {listed(known)}"
            return Wrong("unknown-split", "split", f'"{dataset}" has no split "{name}"', hint)
    return None
