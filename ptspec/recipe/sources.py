"""Sources of a plan's rows: files, the hub, mixes and concatenations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path


class OnBadRow(Enum):
    """What an unusable row does: stop, or be left out."""

    STOP = "stop"
    LEAVE_OUT = "leave_out"


class Until(Enum):
    """When an epoch of a mix ends: with its first exhausted source, or with the last."""

    FIRST = "first"
    ALL = "all"


@dataclass(frozen=True)
class Source:
    """Rows of files, addresses or the hub.

    `paths`: the files to read (globs and folders expanded, sorted; only those of the splits in `split`), or
    empty with `hub`, or with `addresses` of fsspec ("s3://…", globs too). `streaming`: rows are read during
    training. `splits`: the files of each of these splits; {} if `split` is None. `columns`: wanted name ->
    name in the file. `seed`: the recipe's, which decides the rows that `shuffle` and `limit` select.
    `system`: a system prompt for rows without one. `max_bad_rows`: a share of the rows, for `on_bad_row`
    "leave_out".
    """

    name: str
    paths: tuple[Path, ...]
    hub: str | None = None
    addresses: tuple[str, ...] = ()
    config_name: str | None = None
    revision: str | None = None
    split: str | None = None
    splits: Mapping[str, tuple[Path, ...]] = field(default_factory=dict)
    columns: Mapping[str, str] = field(default_factory=dict)
    limit: int | None = None
    shuffle: bool = False
    streaming: bool = False
    chat: bool = True
    system: str | None = None
    on_bad_row: OnBadRow = OnBadRow.STOP
    max_bad_rows: float = 0.01
    seed: int = 42
    at: str = "/data"


@dataclass(frozen=True)
class Mix:
    """Rows drawn from other sources with these probabilities."""

    name: str
    weights: Mapping[str, float]
    until: Until = Until.FIRST
    at: str = "/data"

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of its sources."""
        return tuple(self.weights)


@dataclass(frozen=True)
class Concat:
    """These fractions of other sources, concatenated, then shuffled by the seed."""

    name: str
    fractions: Mapping[str, float]
    at: str = "/data"

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of its sources."""
        return tuple(self.fractions)


AnySource = Source | Mix | Concat


def parts_of(data: Mapping[str, AnySource], name: str) -> tuple[str, ...]:
    """Return the sources of `name`: itself, or those that it combines."""
    source = data[name]
    return (name,) if isinstance(source, Source) else source.parts


def is_streamed(data: Mapping[str, AnySource], name: str) -> bool:
    """Return whether rows of `name`, or of a part of it, are read during training.

    False for unknown data.
    """
    parts = (data.get(part) for part in parts_of(data, name)) if name in data else ()
    return any(isinstance(part, Source) and part.streaming for part in parts)
